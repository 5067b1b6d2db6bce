//! HTTP: requests to guests, responses back.
//!
//! - [`route`]: one request while it lives: its body in pieces, the credit of both directions, its end.
//! - [`response`]: what of a guest's response may leave.
//! - [`buffered`]: `rivet:actor/http-handler`, whole bodies.
//! - [`clients`]: the paths that RivetKit's clients ask for.
//! - [`streaming`]: `wasi:http/incoming-handler`, bodies as streams.

pub mod buffered;
pub mod clients;
pub mod response;
pub mod route;
pub mod streaming;

pub use self::buffered::Gathered;
pub use self::response::Response;
pub use self::route::{Route, Routes};

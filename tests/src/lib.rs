//! What the end-to-end tests have in common: a real engine each, and the words to talk to it.
//!
//! Nothing in here knows how the engine works inside: it starts the binary, speaks HTTP to it, and kills it.
//!
//! In reading order:
//! - [`engine`]: one running engine, its data directory, its death. [`process`]: as a process.
//! - [`runner`]: a runner for components on its own.
//! - [`call`]: a request as a value; [`answer`]: what came back.
//! - [`address`]: the targets of actors. [`guest`]: the components that are deployed.
//! - [`socket`]: a WebSocket. [`envoy`]: a runner that connects, and says what a test wants.
//! - [`collector`]: takes traces and metrics, as a collector does.
//! - [`until`]: waits for something to become true, and no longer than it may take.

pub mod address;
pub mod answer;
pub mod call;
pub mod collector;
pub mod engine;
pub mod envoy;
pub mod guest;
pub mod process;
pub mod runner;
pub mod socket;
pub mod until;

pub use answer::Answer;
pub use call::Call;
pub use engine::Engine;
pub use envoy::Envoy;
pub use runner::Runner;
pub use socket::Socket;
pub use until::until;

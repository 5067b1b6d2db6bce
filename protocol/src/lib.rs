//! What the engine and a runner say to each other, and the words both use.
//!
//! A *runner* is any place where actors run. The one inside the engine gets these values over an in-process link, without
//! encoding; others get them through a wire codec, which is a translation and nothing more. So there is one set of messages,
//! and neither side can tell how far away the other is.
//!
//! Holds no decisions, no sockets and no clock; only spans take the time.
//!
//! In reading order:
//! - [`id`]: names of actors, namespaces, requests.
//! - [`key`]: an actor's key, as parts and as text.
//! - [`limits`]: every number that bounds something, with its unit.
//! - [`message`]: the messages.
//! - [`database`]: those about an actor's SQLite database.
//! - [`component`]: what is known of a deployed component. [`outbound`]: how the places are written that it may send requests to.
//! - [`link`]: the two doors the messages go through.
//! - [`clock`]: time that a test turns by hand. [`trace`]: what follows a request. [`histogram`]: how long things took.
//! - [`wire`]: the same as bytes, for runners elsewhere.

pub mod clock;
pub mod component;
pub mod database;
pub mod histogram;
pub mod id;
pub mod key;
pub mod limits;
pub mod link;
pub mod message;
pub mod outbound;
pub mod trace;
pub mod wire;

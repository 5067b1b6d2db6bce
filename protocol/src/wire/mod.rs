//! What travels between the engine and a runner that is not inside it: the messages of Rivet's wire protocols, byte for byte, and
//! those of a protocol of ours, for runners of components.
//!
//! For Rivet's, a plain mirror of the wire schema: one set of types, those of the newest envoy protocol, and codecs for the older ones onto
//! the same types. What an older version does not say is filled in when it is read and left out when it is written; a message
//! that it cannot say at all is [`CannotSay`]. Nothing here decides, keeps state or knows what a message is for; the meaning is
//! [`crate::message`]'s.
//!
//! Every byte may come from a stranger: no input may panic, and none makes memory grow beyond a small multiple of itself.
//! Bodies and values are slices of the frame that they came in. Whoever keeps one for long copies it, or it keeps the frame.
//!
//! In reading order:
//! - `bare`: the encoding of plain values.
//! - `version`: the versions, and all that differs between them.
//! - `schema`: how a message is declared, once, for reading and writing.
//! - [`envoy`]: the messages of an envoy.
//! - [`actor`], [`kv`], [`sqlite`], [`tunnel`]: what they carry.
//! - [`runner`]: the messages of a legacy runner.
//! - [`components`]: those of our own protocol.

mod bare;
mod schema;
mod version;

pub mod actor;
pub mod components;
pub mod envoy;
pub mod kv;
pub mod runner;
pub mod sqlite;
pub mod tunnel;

#[cfg(test)]
mod tests;

pub use bare::{DecodeError, Problem};
pub use version::{CannotSay, ComponentsVersion, Dialect, EnvoyVersion, Language, RunnerVersion};

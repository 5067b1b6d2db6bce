//! Runs actors that are WebAssembly components.
//!
//! A runner in the sense of `protocol`: it is told to start actors and given their requests, and answers with their responses
//! and commits. It knows no engine, only a [`protocol::link::FromRunnerLink`] that somebody answers. It listens on no
//! socket, opens one only for a request that a deployment allows, reads no file but its own cache of compiled components, and gives a
//! guest nothing that its configuration does not name.
//!
//! In reading order:
//! - [`config`]: what can be turned, and the numbers behind it.
//! - [`runner`]: the door; routes each message to the actor it is for.
//! - `actor`: one actor in memory: its mailbox, its task, its output gate.
//! - `state`: what an actor has written and may read. Pure; the consistency model is stated there.
//! - `agenda`: the moments that an actor wants to be woken at, and how the runner keeps them.
//! - `host`: what a guest can call, one file per interface.
//! - `http`: requests in, responses out, whole or streamed.
//! - `sockets`: RivetKit's connections, and other WebSockets.
//! - `client`: what RivetKit's clients say and hear, in their three encodings. Pure.
//! - `outbound`: requests of guests to elsewhere.
//! - `component`: from bytes to something that can be instantiated; the cache.
//! - `sandbox`: the engine that compiles and runs guests; time, memory and room for them.

mod actor;
mod agenda;
mod bindings;
mod client;
mod clock;
mod component;
pub mod config;
mod host;
mod http;
mod outbound;
mod runner;
mod sandbox;
mod sockets;
mod state;

pub use component::Code;
pub use config::{Config, Grant, Isolated, StartError};
pub use runner::{Metrics, Runner, VERSION};

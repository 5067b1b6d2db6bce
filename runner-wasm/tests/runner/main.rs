//! The runner from outside: real guests, and an engine that is a map in memory.
//!
//! Only `engine.rs` knows the messages; a test says what it asks and what must come back.

mod actors;
mod components;
mod engine;
mod gate;
mod sockets;
mod streams;
mod traps;

//! The runner from outside: real guests, and an engine that is two maps and a database in memory.
//!
//! Only `engine.rs` knows the messages; a test says what it asks and what must come back.

mod actors;
mod components;
mod database;
mod engine;
mod features;
mod gate;
mod room;
mod sockets;
mod standard;
mod streams;
mod traps;

//! Runners of components that are not inside the engine: the same runner as its own, over a WebSocket.
//!
//! A connection is a runner: it has a number of its own, and when it ends everything that the runner had ends with it, at once. So
//! nothing is kept for one that is away, and nothing that an earlier connection said can be taken for a word of a later one.
//!
//! In reading order:
//! - [`connect`]: who may connect.
//! - [`link`]: such a runner, as the rest of the engine sees it.
//! - [`session`]: its connection, from the first frame to the last.

pub mod connect;
pub mod link;
pub mod session;
#[cfg(test)]
mod tests;

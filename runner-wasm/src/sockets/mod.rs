//! The sockets that clients have open to an actor: RivetKit's connections, and any other WebSocket.
//!
//! All of them hibernate: the client's side stays open while the actor sleeps, is upgraded or has crashed. So what is known of a
//! socket is part of the actor's state, in the runner's own entries, and changes in the transactions of messages. Each message of a
//! socket has an index and is sent again until it is acked; the index of the last one that was handled is in the same commit as what
//! it wrote, so that it counts once. What a message says to sockets is collected while it runs and leaves behind its commit.
//!
//! - [`table`]: what is known of them, within and between messages. Pure.
//! - [`record`]: how that is stored.
//! - [`serve`]: opened, written to, closed: each a message of the actor.

pub mod record;
pub mod serve;
pub mod table;

pub use self::table::{Said, Table};

#[cfg(test)]
mod tests;

//! Actors' SQLite databases, as far as they touch the disk.
//!
//! A runner that runs SQLite itself asks for pages; for one that cannot, the engine runs its statements on the same pages. Nothing
//! here writes: what statements change goes to the core, which fences, commits and answers.
//!
//! In reading order:
//! - [`pages`]: answers to who asks for pages.
//! - [`statements`]: whose statement runs next, and on which connection.
//! - [`message`]: the transaction that one message of an actor is.
//! - [`connection`]: one open database, and the head that it stands on.
//! - [`words`]: what the protocol says, in the words of `engine_sql`, and back.

mod connection;
mod message;
mod pages;
mod statements;
#[cfg(test)]
mod tests;
mod words;

pub use connection::{head_of, open_to_read};
pub use pages::read_pages;
pub use statements::{Databases, run_sql};

use protocol::database::DatabaseError;

fn not_found() -> DatabaseError {
    let message = "transaction failed: sqlite database was not found in this bucket branch".to_string();
    DatabaseError { group: "depot", code: "database_not_found", message }
}

/// The database is not the one that the asker, or an open connection, believes in.
fn head_moved(expected: u64, current: u64) -> DatabaseError {
    let message =
        format!("transaction failed: sqlite head fence mismatch: expected head txid {expected}, current head txid {current}");
    DatabaseError { group: "depot", code: "head_fence_mismatch", message }
}

fn failed(message: impl Into<String>) -> DatabaseError {
    DatabaseError { group: "core", code: "internal_error", message: message.into() }
}

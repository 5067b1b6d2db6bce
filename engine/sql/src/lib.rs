//! One actor's SQLite database, run by the engine on pages that somebody else keeps.
//!
//! What may be relied on:
//!
//! 1. SQLite reads through [`Pages`] and writes into memory. Nothing here opens a file, a socket or a clock; what the caller does
//!    not commit is gone with the [`Database`].
//! 2. [`Database::take_changes`] hands over exactly what SQLite has committed since it was last asked, as whole pages and a size.
//!    Pages of a transaction that is still open, or was rolled back, are never in it.
//! 3. The pages, written one after the other into a file, are a database for any SQLite.
//! 4. Both the statements and the pages may be hostile: each gives a result or a [`SqlError`], within [`Limits`].
//!
//! Knows nothing of actors, of the store or of the wire. Who calls fences the commits, and throws the `Database` away when one of
//! them is refused or when somebody else writes the same pages.
//!
//! In reading order:
//! - [`value`]: what goes in and comes out. [`limits`]: every bound. [`error`]: what can go wrong, each with a sentence.
//! - [`database`]: the calls, and how they are taken apart into SQLite's own.
//! - [`pages`]: where pages come from, and where changes go.
//! - `layers`: the database as SQLite sees it: the caller's pages, what was committed above them, what is being written.
//! - `files`: that database, its journal and temporary files, all in memory, all counted.
//! - `policy`: which statements are refused. `host`: the one value that everything SQLite calls back into belongs to.
//! - `ffi`: SQLite itself. The only place with `unsafe`.

#![deny(unsafe_code)]

pub mod database;
pub mod error;
#[expect(unsafe_code, reason = "SQLite is C")]
mod ffi;
mod files;
mod host;
mod layers;
pub mod limits;
pub mod pages;
mod policy;
pub mod value;

pub use database::Database;
pub use error::SqlError;
pub use limits::{BIND_BYTES_MAX, Limits, PAGE_BYTES};
pub use pages::{Changes, Clock, Pages, PagesError};
pub use value::{Execution, Rows, Statement, Value};

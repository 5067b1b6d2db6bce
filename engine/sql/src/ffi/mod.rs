//! SQLite, behind calls that are safe.
//!
//! - [`connection`]: a connection and its statements.
//! - [`vfs`]: what SQLite takes for a file system.
//! - [`heap`]: what SQLite takes for an allocator; counts what one call takes.
//!
//! Nothing outside of this folder needs `unsafe`, and nothing inside of it decides.

pub(crate) mod connection;
mod heap;
mod vfs;

use std::sync::OnceLock;

use libsqlite3_sys as sqlite;

/// Once in the process, before anything of SQLite is used.
fn set_up() -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| {
        heap::install()?;
        // SAFETY: no arguments; any thread may call it at any time.
        let code = unsafe { sqlite::sqlite3_initialize() };
        if code != sqlite::SQLITE_OK {
            return Err(format!("sqlite3_initialize gave {code}"));
        }
        vfs::register()
    })
    .clone()
}

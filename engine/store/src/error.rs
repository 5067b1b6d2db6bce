//! What can go wrong with the store: each says what, which, and what to do.
//!
//! The errors are values that can be cloned, because one failed group is told to each of its batches. They carry texts, not the
//! backend's own error types: nobody above this crate decides by what RocksDB calls a thing.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The check with this number does not hold; nothing of its batch was written.
    Conflict { check: usize, key: Bytes },
    /// An earlier write failed, so what is on disk is unknown; this one was not tried.
    Poisoned { cause: String },
    /// The disk or the backend refused. After a write this also poisons the store.
    Io { doing: &'static str, cause: String },
    /// What was read is not what was ever written.
    Corrupt { what: String },
    /// The writer was closed; the batch was not written.
    Closed,
    /// Another process has the directory open.
    Locked { path: PathBuf },
    /// Written by an engine that is newer than this one.
    NewerFormat { what: String, found: u32, known: u32 },
    /// Written by an engine that is newer than this one, in a format that this one knows.
    NewerEngine { path: PathBuf, wrote: String },
    /// There is something at the path that is not ours; it is left alone.
    NotADataDirectory { path: PathBuf, reason: String },
    /// The directory cannot be made, read or written.
    CannotOpen { path: PathBuf, cause: String },
}

impl StoreError {
    pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { what: what.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Conflict { check, key } => {
                write!(
                    f,
                    "check {check} of the batch does not hold: the key {} has another value by now; nothing was written",
                    hex(key)
                )
            }
            StoreError::Poisoned { cause } => write!(
                f,
                "the store takes no more writes because an earlier one failed ({cause}); restart the engine once the disk is well"
            ),
            StoreError::Io { doing, cause } => {
                write!(f, "the disk failed while {doing}: {cause}; check the disk and its free space")
            }
            StoreError::Corrupt { what } => {
                write!(f, "damaged data: {what}; check the disk, and restore the data directory from a backup")
            }
            StoreError::Closed => f.write_str("the store is being closed; nothing was written"),
            StoreError::Locked { path } => write!(
                f,
                "{} is in use by another process; stop the engine that runs there, or choose another data directory",
                path.display()
            ),
            StoreError::NewerFormat { what, found, known } => write!(
                f,
                "{what} has format {found}, and this engine knows formats up to {known}; use the engine that wrote it, or a newer one"
            ),
            StoreError::NewerEngine { path, wrote } => write!(
                f,
                "{} was last written by engine {wrote}, and this is {}; start that one or a newer one, or set runtime.allow_version_rollback \
                 to go back: the format of the data is the same",
                path.display(),
                crate::format::ENGINE_VERSION
            ),
            StoreError::NotADataDirectory { path, reason } => write!(
                f,
                "{} is not a data directory of this engine ({reason}) and was left as it is; choose an empty or a new directory",
                path.display()
            ),
            StoreError::CannotOpen { path, cause } => {
                write!(f, "the data directory {} cannot be opened: {cause}; check that it may be read and written", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Keys are partly binary, and may be long.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let mut text: String = bytes.iter().take(SHOWN_MAX).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_MAX {
        text.push_str("...");
    }
    text
}

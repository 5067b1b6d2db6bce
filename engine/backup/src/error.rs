//! What can go wrong with backups: each says what, which, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use engine_store::StoreError;

#[derive(Debug)]
pub enum BackupError {
    Io {
        doing: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    Store(StoreError),
    /// Another process, or another backup of this one, is changing the repository.
    Busy {
        path: PathBuf,
    },
    NotARepository {
        path: PathBuf,
        reason: String,
    },
    NewerFormat {
        what: &'static str,
        found: u32,
        known: u32,
    },
    NoSuchBackup {
        id: String,
        path: PathBuf,
    },
    /// What is there is not what was written.
    Damaged {
        backup: String,
        what: String,
    },
    /// There is something at the place that is to be restored to.
    Occupied {
        path: PathBuf,
    },
    /// What is restored cannot be renamed to there.
    NoPlace {
        path: PathBuf,
        why: &'static str,
    },
    /// Nobody knows which files this backup has.
    Unreadable {
        id: String,
        why: String,
    },
    GivenUp,
}

impl BackupError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
        let path = path.to_owned();
        move |cause| BackupError::Io { doing, path, cause }
    }

    pub(crate) fn damaged(backup: &str, what: impl Into<String>) -> BackupError {
        BackupError::Damaged { backup: backup.to_owned(), what: what.into() }
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Store(error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Io { doing, path, cause } => {
                write!(f, "{doing} {}: {cause}; check its disk, free space and permissions", path.display())
            }
            BackupError::Store(cause) => cause.fmt(f),
            BackupError::Busy { path } => {
                write!(f, "the backups in {} are being changed by another process; try again when it is done", path.display())
            }
            BackupError::NotARepository { path, reason } => write!(
                f,
                "{} is not a folder of backups ({reason}) and was left as it is; name one, or a new or empty folder",
                path.display()
            ),
            BackupError::NewerFormat { what, found, known } => {
                write!(f, "{what} has format {found}, and this engine knows formats up to {known}; use a newer engine")
            }
            BackupError::NoSuchBackup { id, path } => {
                write!(f, "there is no whole backup {id:?} in {}; `rivet-engine backup list` shows those there are", path.display())
            }
            BackupError::Damaged { backup, what } => {
                write!(f, "backup {backup} is damaged: {what}; use another one, and check the disk that it lies on")
            }
            BackupError::Occupied { path } => write!(
                f,
                "{} is there and not empty; a restore never writes over anything: name a new folder, or move this one away first",
                path.display()
            ),
            BackupError::NoPlace { path, why } => write!(
                f,
                "{} is {why}, and a restore is built beside its place and then renamed to it: name a new folder in there, as {}, and start \
                 the engine with that as --data-dir",
                path.display(),
                path.join("data").display()
            ),
            BackupError::Unreadable { id, why } => write!(
                f,
                "nothing was removed, because nobody knows which files backup {id} has ({why}); rivet-engine backup remove {id} forgets it"
            ),
            BackupError::GivenUp => f.write_str("it was given up; what was copied so far is used by the next backup or removed"),
        }
    }
}

impl std::error::Error for BackupError {}

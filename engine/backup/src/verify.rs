//! Whether a backup is what it says: every checksum is compared, and it is opened as a store and read from the first key to the last.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use engine_store::check::{self, Census};
use engine_store::{Rocks, StoreError};

use crate::error::BackupError;
use crate::files;
use crate::manifest::{FileEntry, Manifest};
use crate::repository::Repository;
use crate::stage::STORE;
use crate::{Step, Tell};

/// Names to try until one is free.
const FOLDERS_MAX: u32 = 1_000;

pub fn verify(repository: &Repository, id: &str, tell: Tell<'_>) -> Result<Manifest, BackupError> {
    let _shared = repository.share()?;
    let manifest = repository.find(id)?;
    let (mut done, of) = (0, manifest.bytes);
    for file in &manifest.files {
        let path = repository.file(&file.sha256);
        let bytes = fs::metadata(&path).map_err(|error| missing(&manifest, file, &error))?.len();
        let sha256 = files::hash(&path, &mut |more| {
            done += more;
            tell(Step::Hashed { bytes: done, of })
        })?;
        if bytes != file.bytes || sha256 != file.sha256 {
            return Err(BackupError::damaged(&manifest.id, format!("{} is not what was written", path.display())));
        }
    }
    let folder = Temporary::new()?;
    for file in manifest.files.iter().filter(|file| file.path.starts_with(STORE)) {
        let (from, to) = (repository.file(&file.sha256), folder.0.join(&file.path));
        let from = fs::canonicalize(&from).map_err(BackupError::io("reading", &from))?;
        std::os::unix::fs::symlink(&from, &to).map_err(BackupError::io("linking", &to))?;
    }
    open(&manifest, &folder.0, tell)?;
    Ok(manifest)
}

pub(crate) fn missing(manifest: &Manifest, file: &FileEntry, cause: &std::io::Error) -> BackupError {
    BackupError::damaged(&manifest.id, format!("the bytes of {} ({}) cannot be read: {cause}", file.path, file.sha256))
}

/// Opens what lies in this folder, reads all of it, and compares it with the manifest. Changes nothing.
pub(crate) fn open(manifest: &Manifest, folder: &Path, tell: Tell<'_>) -> Result<Census, BackupError> {
    let damaged = |what: String| BackupError::damaged(&manifest.id, what);
    let does_not_open = |error: StoreError| match error {
        StoreError::NewerFormat { .. } => BackupError::Store(error),
        error => damaged(format!("it does not open: {error}")),
    };
    let store = Rocks::look(&folder.join(STORE)).map_err(does_not_open)?;
    let mut go_on = true;
    let census = check::check(&store, &mut |keys| go_on &= tell(Step::Read { keys })).map_err(does_not_open)?;
    if !go_on {
        return Err(BackupError::GivenUp);
    }
    if let Some(problem) = census.problems.first() {
        return Err(damaged(format!("{problem}; {} problems in all", census.problems_count)));
    }
    if census.counts != manifest.counts {
        return Err(damaged(format!("it holds {:?}, and the manifest says {:?}", census.counts, manifest.counts)));
    }
    match census.components.iter().find(|component| manifest.file(&format!("components/{component}.wasm")).is_none()) {
        Some(component) => Err(damaged(format!("the component {component} is missing, which a version needs"))),
        None => Ok(census),
    }
}

/// Removed when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Temporary, BackupError> {
        let parent = std::env::temp_dir();
        for number in 0..FOLDERS_MAX {
            let path = parent.join(format!("rivet-engine-verify-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let folder = Temporary(path);
                    files::make_folder(&folder.0.join(STORE))?;
                    return Ok(folder);
                }
                // Nobody else's is used.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BackupError::io("making", &path)(error)),
            }
        }
        Err(BackupError::Occupied { path: parent.join(format!("rivet-engine-verify-{}-0", process::id())) })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Links only: what is left of them takes no room.
        let _ = files::remove_folder(&self.0);
    }
}

//! Copies a stage into the repository: what is there already is not copied, what is copied is hashed on the way, and the manifest is
//! written when all of it is on the disk.
//!
//! A table is there already if one of the same size and the same end is: the end of a table names the process that wrote it, with an
//! id that no other process has, and its number there. A name alone says nothing: numbers are used again after a restore.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use engine_store::{Rocks, check, format};

use crate::error::BackupError;
use crate::files::{self, Pace, hash_tail, sync_folder};
use crate::manifest::{self, FileEntry, Manifest, is_sha256};
use crate::repository::Repository;
use crate::stage::{COMPONENTS, STORE, Stage};
use crate::{Step, Tell};

/// A backup that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub manifest: Manifest,
    /// Files that were not there before.
    pub new_files: u64,
}

/// `id` is new, and later in the order of letters than those before it.
pub fn create(
    stage: &Stage,
    repository: &Repository,
    id: &str,
    now_ms: u64,
    bytes_per_second: Option<u64>,
    tell: Tell<'_>,
) -> Result<Report, BackupError> {
    let lock = repository.lock()?;
    repository.clear_partial()?;
    // Before it is opened: that adds a log for people.
    let paths = stage.files()?;
    let (counts, data_format) = look(stage, tell)?;
    let mut copying = Copying {
        stage: stage.folder(),
        repository,
        known: repository.known_tables()?,
        pace: Pace::new(bytes_per_second),
        folders: BTreeSet::new(),
        done: 0,
        of: paths.iter().map(|path| fs::metadata(stage.folder().join(path)).map_or(0, |found| found.len())).sum(),
        new_bytes: 0,
        new_files: 0,
    };
    let files = paths.into_iter().map(|path| copying.file(path, tell)).collect::<Result<Vec<_>, _>>()?;
    for folder in &copying.folders {
        sync_folder(folder)?;
    }
    repository.sync_files()?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        id: id.to_owned(),
        engine: format::ENGINE_VERSION.to_owned(),
        data_format,
        create_ms: now_ms,
        counts,
        bytes: files.iter().map(|file| file.bytes).sum(),
        new_bytes: copying.new_bytes,
        files,
    };
    repository.add(&manifest, &lock)?;
    Ok(Report { manifest, new_files: copying.new_files })
}

fn look(stage: &Stage, tell: Tell<'_>) -> Result<(check::Counts, u8), BackupError> {
    let store = Rocks::look(&stage.folder().join(STORE))?;
    let counts = check::count(&store, &mut |keys| tell(Step::Read { keys }))?.ok_or(BackupError::GivenUp)?;
    let number = format::read(&store)?.map_or(engine_store::records::FORMAT_VERSION, |found| found.number);
    Ok((counts, number))
}

struct Copying<'a> {
    stage: &'a Path,
    repository: &'a Repository,
    known: HashMap<(u64, String), String>,
    pace: Pace,
    /// That got new names.
    folders: BTreeSet<PathBuf>,
    done: u64,
    of: u64,
    new_bytes: u64,
    new_files: u64,
}

impl Copying<'_> {
    fn file(&mut self, path: String, tell: Tell<'_>) -> Result<FileEntry, BackupError> {
        let from = self.stage.join(&path);
        let bytes = fs::metadata(&from).map_err(BackupError::io("reading", &from))?.len();
        let tail_sha256 = path.ends_with(".sst").then(|| hash_tail(&from)).transpose()?;
        let expected = component(&path);
        let known = match &tail_sha256 {
            Some(tail) => self.known.get(&(bytes, tail.clone())).cloned(),
            None => expected.clone(),
        };
        if let Some(sha256) = known.filter(|sha256| self.repository.has(sha256, bytes)) {
            self.done += bytes;
            return match tell(Step::Copied { bytes: self.done, of: self.of }) {
                true => Ok(FileEntry { path, bytes, sha256, tail_sha256 }),
                false => Err(BackupError::GivenUp),
            };
        }
        let partial = self.repository.partial("file");
        let (done, of) = (&mut self.done, self.of);
        let (sha256, copied) = files::copy(&from, &partial, &mut self.pace, &mut |more| {
            *done += more;
            tell(Step::Copied { bytes: *done, of })
        })?;
        if expected.is_some_and(|expected| expected != sha256) {
            return Err(BackupError::damaged("of now", format!("the component {path} is not what its name says")));
        }
        if self.repository.has(&sha256, copied) {
            fs::remove_file(&partial).map_err(BackupError::io("removing", &partial))?;
        } else {
            self.folders.insert(self.repository.keep(&partial, &sha256)?);
            self.new_bytes += copied;
            self.new_files += 1;
        }
        Ok(FileEntry { path, bytes: copied, sha256, tail_sha256 })
    }
}

/// The SHA-256 that a component is named after.
fn component(path: &str) -> Option<String> {
    let name = path.strip_prefix(COMPONENTS)?.strip_prefix('/')?.strip_suffix(".wasm")?;
    is_sha256(name).then(|| name.to_owned())
}

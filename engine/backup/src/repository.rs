//! The folder that backups lie in.
//!
//! ```text
//! rivet-backups.json       that it is one, and its format
//! lock                     held by whoever adds or removes, and shared by whoever reads
//! backups/ID.json          a manifest: there is one for each whole backup
//! files/ab/ab12…           bytes, named after their SHA-256; shared by all backups that have them
//! partial/                 what is being written, or was when somebody was stopped
//! ```
//!
//! A file is written in `partial`, synced and renamed, and never changed again. It may lie on another disk, or on a network's.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::files::{self, make_folder, make_private, names, remove_folder, sync_folder};
use crate::manifest::{self, FileEntry, MANIFEST_BYTES_MAX, Manifest, is_id};

const MARK: &str = "rivet-backups.json";
const LOCK: &str = "lock";
const BACKUPS: &str = "backups";
const FILES: &str = "files";
const PARTIAL: &str = "partial";
const ENDING: &str = ".json";
/// What stands for the newest backup where an id is asked for.
pub const LATEST: &str = "latest";

pub struct Repository {
    path: PathBuf,
}

/// Held while something is added or removed, or while it must not be.
pub struct Lock(#[allow(dead_code, reason = "the lock ends with the file")] File);

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
}

/// A backup in the list: one whose manifest cannot be read is in it too, so that nobody relies on it.
pub type Listed = (String, Result<Manifest, BackupError>);

impl Repository {
    /// Opens the folder, or makes one if it is absent or empty.
    pub fn create(path: &Path) -> Result<Repository, BackupError> {
        if !path.exists() {
            make_folder(path)?;
            make_private(path)?;
        }
        let found = names(path)?;
        let begun = |name: &String| [LOCK, BACKUPS, FILES, PARTIAL].contains(&name.as_str());
        if !found.iter().any(|name| name == MARK) {
            if let Some(other) = found.iter().find(|name| !begun(name)) {
                return Err(BackupError::NotARepository { path: path.to_owned(), reason: format!("it contains {other:?}") });
            }
            let repository = Repository { path: path.to_owned() };
            for folder in [BACKUPS, FILES, PARTIAL] {
                make_folder(&path.join(folder))?;
            }
            let _lock = repository.lock()?;
            repository.clear_partial()?;
            let mark = serde_json::to_vec(&Mark { format: manifest::FORMAT }).expect("a number can be written as JSON");
            repository.put(&repository.partial("mark"), &mark, &path.join(MARK))?;
        }
        Repository::open(path)
    }

    pub fn open(path: &Path) -> Result<Repository, BackupError> {
        let not = |reason: String| BackupError::NotARepository { path: path.to_owned(), reason };
        let mark = fs::read(path.join(MARK)).map_err(|error| not(format!("{MARK}: {error}")))?;
        let mark: Mark = serde_json::from_slice(&mark).map_err(|error| not(format!("{MARK}: {error}")))?;
        match mark.format > manifest::FORMAT {
            true => Err(BackupError::NewerFormat { what: "the folder of backups", found: mark.format, known: manifest::FORMAT }),
            false => Ok(Repository { path: path.to_owned() }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For whoever adds or removes.
    pub fn lock(&self) -> Result<Lock, BackupError> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(BackupError::io("opening", &path))?;
        let taken = file.try_lock();
        self.locked(file, taken)
    }

    /// For whoever reads what must not be removed meanwhile. None where nothing can be locked: what cannot be written to
    /// is not removed from either.
    pub fn share(&self) -> Result<Option<Lock>, BackupError> {
        let Ok(file) = File::open(self.path.join(LOCK)) else { return Ok(None) };
        let taken = file.try_lock_shared();
        match &taken {
            Err(TryLockError::Error(_)) => Ok(None),
            _ => self.locked(file, taken).map(Some),
        }
    }

    fn locked(&self, file: File, taken: Result<(), TryLockError>) -> Result<Lock, BackupError> {
        match taken {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(BackupError::Busy { path: self.path.clone() }),
            Err(TryLockError::Error(cause)) => Err(BackupError::io("locking", &self.path.join(LOCK))(cause)),
        }
    }

    /// All whole backups, oldest first, and those whose manifest is damaged.
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let names = names(&self.path.join(BACKUPS))?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(ENDING)).filter(|id| is_id(id));
        Ok(ids.map(|id| (id.to_owned(), self.read(id))).collect())
    }

    /// The one with this id, or the newest for [`LATEST`].
    pub fn find(&self, id: &str) -> Result<Manifest, BackupError> {
        let none = || BackupError::NoSuchBackup { id: id.to_owned(), path: self.path.clone() };
        match id {
            LATEST => self.list()?.pop().ok_or_else(none)?.1,
            id if is_id(id) && self.manifest(id).is_file() => self.read(id),
            _ => Err(none()),
        }
    }

    fn read(&self, id: &str) -> Result<Manifest, BackupError> {
        let path = self.manifest(id);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(BackupError::io("reading", &path))?;
        file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).map_err(BackupError::io("reading", &path))?;
        Manifest::decode(id, &bytes)
    }

    /// The last step of a backup: from here on it is there. Everything that it names must be durable.
    pub(crate) fn add(&self, manifest: &Manifest, _lock: &Lock) -> Result<(), BackupError> {
        self.put(&self.partial(&manifest.id), &manifest.encode(), &self.manifest(&manifest.id))
    }

    /// Removes one backup, and the files that no other one has. How many bytes became free.
    pub fn remove(&self, id: &str) -> Result<u64, BackupError> {
        let lock = self.lock()?;
        let path = self.manifest(id);
        if !is_id(id) || !path.is_file() {
            return Err(BackupError::NoSuchBackup { id: id.to_owned(), path: self.path.clone() });
        }
        self.readable(Some(id))?;
        self.forget(id)?;
        self.collect(&lock)
    }

    /// Removes all but the newest. The ids of those that are gone, and how many bytes became free.
    pub fn prune(&self, keep: usize) -> Result<(Vec<String>, u64), BackupError> {
        let lock = self.lock()?;
        let whole = self.readable(None)?;
        let old = &whole[..whole.len().saturating_sub(keep)];
        for id in old {
            self.forget(id)?;
        }
        Ok((old.to_vec(), self.collect(&lock)?))
    }

    /// All others, oldest first. An error before anything is removed: what a manifest names that cannot be read must stay.
    fn readable(&self, except: Option<&str>) -> Result<Vec<String>, BackupError> {
        let others = self.list()?.into_iter().filter(|(id, _)| Some(id.as_str()) != except);
        let looked_at = others.map(|(id, manifest)| match manifest {
            Ok(_) => Ok(id),
            Err(error) => Err(BackupError::Unreadable { id, why: error.to_string() }),
        });
        looked_at.collect()
    }

    /// The manifest goes first: a backup without some of its files must not look like one.
    fn forget(&self, id: &str) -> Result<(), BackupError> {
        let path = self.manifest(id);
        fs::remove_file(&path).map_err(BackupError::io("removing", &path))?;
        sync_folder(&self.path.join(BACKUPS))
    }

    /// Removes files that no backup has. Not while a manifest cannot be read: nobody knows what it names.
    fn collect(&self, _lock: &Lock) -> Result<u64, BackupError> {
        let mut used = BTreeSet::new();
        for (_, manifest) in self.list()? {
            used.extend(manifest?.files.into_iter().map(|file| file.sha256));
        }
        self.clear_partial()?;
        let mut freed = 0;
        let folder = self.path.join(FILES);
        for part in names(&folder)? {
            for name in names(&folder.join(&part))? {
                if !used.contains(&name) {
                    let path = folder.join(&part).join(&name);
                    freed += fs::metadata(&path).map_or(0, |found| found.len());
                    fs::remove_file(&path).map_err(BackupError::io("removing", &path))?;
                }
            }
        }
        Ok(freed)
    }

    /// Tables that are there, by size and end: with the SHA-256 of the whole.
    pub(crate) fn known_tables(&self) -> Result<HashMap<(u64, String), String>, BackupError> {
        let mut known = HashMap::new();
        for (_, manifest) in self.list()? {
            for FileEntry { bytes, sha256, tail_sha256, .. } in manifest.map(|manifest| manifest.files).unwrap_or_default() {
                if let Some(tail) = tail_sha256 {
                    known.insert((bytes, tail), sha256);
                }
            }
        }
        Ok(known)
    }

    /// Whether the bytes are there, as far as their size shows.
    pub(crate) fn has(&self, sha256: &str, bytes: u64) -> bool {
        fs::metadata(self.file(sha256)).is_ok_and(|found| found.len() == bytes)
    }

    /// Where these bytes lie.
    pub fn file(&self, sha256: &str) -> PathBuf {
        self.path.join(FILES).join(sha256.get(..2).unwrap_or_default()).join(sha256)
    }

    fn manifest(&self, id: &str) -> PathBuf {
        self.path.join(BACKUPS).join(format!("{id}{ENDING}"))
    }

    /// A place for what is being written.
    pub(crate) fn partial(&self, name: &str) -> PathBuf {
        self.path.join(PARTIAL).join(name)
    }

    pub(crate) fn clear_partial(&self) -> Result<(), BackupError> {
        let folder = self.path.join(PARTIAL);
        remove_folder(&folder)?;
        make_folder(&folder)
    }

    /// A file that was written in `partial`, to its place. Its folder is the caller's to sync.
    pub(crate) fn keep(&self, partial: &Path, sha256: &str) -> Result<PathBuf, BackupError> {
        let place = self.file(sha256);
        let folder = place.parent().unwrap_or(&self.path).to_owned();
        make_folder(&folder)?;
        // What is there under this name is these bytes, or a remainder of another size.
        fs::rename(partial, &place).map_err(BackupError::io("renaming", &place))?;
        Ok(folder)
    }

    /// The folders of files, once new ones were made in it.
    pub(crate) fn sync_files(&self) -> Result<(), BackupError> {
        sync_folder(&self.path.join(FILES))
    }

    fn put(&self, partial: &Path, bytes: &[u8], place: &Path) -> Result<(), BackupError> {
        files::write(partial, bytes)?;
        fs::rename(partial, place).map_err(BackupError::io("renaming", place))?;
        sync_folder(place.parent().unwrap_or(&self.path))
    }
}

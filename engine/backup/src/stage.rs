//! The moment that a backup is a copy of: links to all files of the data directory as they are, in a folder inside of it.
//!
//! Making it takes as long as writing out what is in memory, and no room beside that: tables and components are never changed, so a
//! link is as good as a copy. It is removed when it is dropped; one that was left by a process that was killed is removed by the next
//! ([`clear`]).

use std::fs;
use std::path::{Path, PathBuf};

use engine_store::Rocks;

use crate::error::BackupError;
use crate::files::{make_folder, names, remove_folder};

/// In the data directory.
const FOLDER: &str = "checkpoint";
pub(crate) const STORE: &str = "store";
pub(crate) const COMPONENTS: &str = "components";

pub struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// The caller sees to it that no component is removed meanwhile.
    pub fn make(store: &Rocks, data_dir: &Path) -> Result<Stage, BackupError> {
        clear(data_dir)?;
        let stage = Stage { folder: data_dir.join(FOLDER) };
        make_folder(&stage.folder.join(COMPONENTS))?;
        store.checkpoint(&stage.folder.join(STORE))?;
        // After the store: a component is on disk before anything there points at it.
        let components = data_dir.join(COMPONENTS);
        for name in names(&components)?.iter().filter(|name| name.ends_with(".wasm")) {
            let (from, to) = (components.join(name), stage.folder.join(COMPONENTS).join(name));
            fs::hard_link(&from, &to).map_err(BackupError::io("linking", &from))?;
        }
        Ok(stage)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of it, by folder and name.
    pub(crate) fn files(&self) -> Result<Vec<String>, BackupError> {
        // What RocksDB writes for people, and its lock, are not part of a store.
        let is_data = |name: &String| name != "LOCK" && name != "LOG" && !name.starts_with("LOG.old");
        let mut files = Vec::new();
        for folder in [STORE, COMPONENTS] {
            let names = names(&self.folder.join(folder))?;
            files.extend(names.iter().filter(|name| is_data(name)).map(|name| format!("{folder}/{name}")));
        }
        Ok(files)
    }
}

/// Removes what a process that was killed has left.
pub fn clear(data_dir: &Path) -> Result<(), BackupError> {
    remove_folder(&data_dir.join(FOLDER))
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.folder) {
            tracing::warn!(%error, "what was linked for a backup is removed when the engine starts next");
        }
    }
}

//! Makes a data directory of a backup: beside its place, checked, opened and read, and then renamed.
//!
//! At no moment is there half a data directory at the place. Stopped anywhere, it is begun again by the next attempt.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::BackupError;
use crate::files::{self, Pace, make_folder, make_private, names, remove_folder, sync_folder};
use crate::manifest::Manifest;
use crate::repository::Repository;
use crate::stage::{COMPONENTS, STORE};
use crate::{Step, Tell, verify};

/// In what is being built: without it, somebody else's folder is left alone.
const MARK: &str = "being-restored";

pub fn restore(repository: &Repository, id: &str, data_dir: &Path, tell: Tell<'_>) -> Result<Manifest, BackupError> {
    let _shared = repository.share()?;
    let manifest = repository.find(id)?;
    refuse_occupied(data_dir)?;
    let aside = aside(data_dir)?;
    let parent = aside.parent().unwrap_or(Path::new(".")).to_owned();
    make_folder(&parent)?;
    begin(&aside)?;
    let (mut done, of) = (0, manifest.bytes);
    for file in &manifest.files {
        let (from, to) = (repository.file(&file.sha256), aside.join(&file.path));
        fs::metadata(&from).map_err(|error| verify::missing(&manifest, file, &error))?;
        let (sha256, bytes) = files::copy(&from, &to, &mut Pace::new(None), &mut |more| {
            done += more;
            tell(Step::Copied { bytes: done, of })
        })?;
        if sha256 != file.sha256 || bytes != file.bytes {
            return Err(BackupError::damaged(&manifest.id, format!("{} is not what was written", from.display())));
        }
    }
    verify::open(&manifest, &aside, tell)?;
    for folder in [&aside.join(STORE), &aside.join(COMPONENTS)] {
        sync_folder(folder)?;
    }
    let mark = aside.join(MARK);
    fs::remove_file(&mark).map_err(BackupError::io("removing", &mark))?;
    sync_folder(&aside)?;
    // Over an empty folder, or nothing: anything else refuses it.
    fs::rename(&aside, data_dir).map_err(BackupError::io("renaming", data_dir))?;
    sync_folder(&parent)?;
    Ok(manifest)
}

fn refuse_occupied(data_dir: &Path) -> Result<(), BackupError> {
    let no_place = |why| Err(BackupError::NoPlace { path: data_dir.to_owned(), why });
    if let Ok(found) = data_dir.symlink_metadata() {
        let parent = data_dir.canonicalize().ok().and_then(|whole| whole.parent().and_then(|parent| parent.metadata().ok()));
        if found.is_symlink() {
            return no_place("a link");
        }
        if found.is_dir() && parent.is_some_and(|parent| parent.dev() != found.dev()) {
            return no_place("a file system of its own");
        }
    }
    let occupied = if data_dir.is_dir() { !names(data_dir)?.is_empty() } else { data_dir.symlink_metadata().is_ok() };
    match occupied {
        true => Err(BackupError::Occupied { path: data_dir.to_owned() }),
        false => Ok(()),
    }
}

/// On the same file system, so that it can be renamed.
fn aside(data_dir: &Path) -> Result<PathBuf, BackupError> {
    let name = data_dir.file_name().ok_or_else(|| BackupError::Occupied { path: data_dir.to_owned() })?;
    let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.join(format!(".{}.restoring", name.to_string_lossy())))
}

fn begin(aside: &Path) -> Result<(), BackupError> {
    if aside.symlink_metadata().is_ok() {
        let found = names(aside)?;
        // Empty: it was stopped between the first two steps. Without the mark and whole: between the last two.
        if !found.is_empty() && !found.iter().all(|name| [MARK, STORE, COMPONENTS].contains(&name.as_str())) {
            return Err(BackupError::Occupied { path: aside.to_owned() });
        }
        remove_folder(aside)?;
    }
    make_folder(aside)?;
    make_private(aside)?;
    files::write(&aside.join(MARK), b"")?;
    for folder in [STORE, COMPONENTS] {
        make_folder(&aside.join(folder))?;
    }
    Ok(())
}

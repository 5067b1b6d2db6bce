//! Copies, syncs and hashes files: slowly if it is told to, and never believing that a name says what is in a file.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::aside;
use crate::error::BackupError;

const CHUNK_BYTES: usize = 1024 * 1024;
/// The end of a table. It holds the table's properties, among them an id of the process that wrote it and its number therein.
const TAIL_BYTES: u64 = 64 * 1024;

/// Bounds how fast bytes are copied.
pub struct Pace {
    bytes_per_second: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// None: as fast as the disks are.
    pub fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), begun: Instant::now(), bytes: 0 }
    }

    fn spend(&mut self, bytes: u64) {
        self.bytes += bytes;
        let Some(rate) = self.bytes_per_second else { return };
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}

/// Copies to a new file and syncs it. The SHA-256 of what was copied, and how much it was. `step` may give it up.
pub fn copy(from: &Path, to: &Path, pace: &mut Pace, step: &mut dyn FnMut(u64) -> bool) -> Result<(String, u64), BackupError> {
    let mut source = File::open(from).map_err(BackupError::io("reading", from))?;
    let mut target = File::create_new(to).map_err(BackupError::io("making", to))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut chunk).map_err(BackupError::io("reading", from))?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(BackupError::io("writing", to))?;
        aside::write_out(&target, bytes, read as u64);
        bytes += read as u64;
        pace.spend(read as u64);
        if !step(read as u64) {
            return Err(BackupError::GivenUp);
        }
    }
    target.sync_all().map_err(BackupError::io("syncing", to))?;
    aside::forget(&target);
    Ok((hex(&hash.finalize()), bytes))
}

/// The SHA-256 of a file.
pub fn hash(path: &Path, step: &mut dyn FnMut(u64) -> bool) -> Result<String, BackupError> {
    let mut file = File::open(path).map_err(BackupError::io("reading", path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(BackupError::io("reading", path))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&chunk[..read]);
        if !step(read as u64) {
            return Err(BackupError::GivenUp);
        }
    }
}

/// The SHA-256 of the end of a table, which tells it from every other table that any process ever wrote.
pub fn hash_tail(path: &Path) -> Result<String, BackupError> {
    let mut file = File::open(path).map_err(BackupError::io("reading", path))?;
    let length = file.metadata().map_err(BackupError::io("reading", path))?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
        .and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut tail))
        .map_err(BackupError::io("reading", path))?;
    Ok(hex(&Sha256::digest(&tail)))
}

/// A new file with these bytes, on the disk.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(BackupError::io("writing", path))
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(BackupError::io("syncing", path))
}

pub fn make_folder(path: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(path).map_err(BackupError::io("making", path))
}

/// It holds secrets: only its user may look into it.
pub fn make_private(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(BackupError::io("protecting", path))
}

/// Whatever is there; nothing is fine too.
pub fn remove_folder(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BackupError::io("removing", path)(error)),
        _ => Ok(()),
    }
}

/// The names of what is in a folder; none if there is no folder.
pub fn names(path: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |error| BackupError::io("reading", path)(error);
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

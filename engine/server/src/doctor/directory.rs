//! The folder itself: whose it is, what may be done with it, what it lies on, who holds it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, FlockOperation, access, fcntl_lock, statfs, statvfs};
use rustix::io::Errno;

use crate::doctor::{Finding, Wanted};

/// Fewer files than this cannot be made any more: RocksDB makes some all the time.
const INODES_MIN: u64 = 1_000;
/// File systems that a data directory should not lie on: magic number, name, why.
const UNSUITABLE: [(u64, &str, &str); 8] = [
    (0x0102_1994, "tmpfs", "it lies in memory, and is gone after a restart of the machine"),
    (0x8584_58f6, "ramfs", "it lies in memory, and is gone after a restart of the machine"),
    (0x6969, "NFS", "locks and syncs of a network's file system depend on its server; a second engine may not be kept out"),
    (0xff53_4d42, "CIFS", "locks and syncs of a network's file system depend on its server; a second engine may not be kept out"),
    (0xfe53_4d42, "SMB", "locks and syncs of a network's file system depend on its server; a second engine may not be kept out"),
    (0x0102_1997, "9p", "locks and syncs depend on the host; a second engine may not be kept out"),
    (0x6573_5546, "FUSE", "what a sync means depends on a program"),
    (0x794c_7630, "overlayfs", "it is a container's own layer, which goes with the container"),
];

pub enum Lock {
    /// Until it is dropped no engine can start here.
    Held(#[allow(dead_code, reason = "the lock ends with the file")] File),
    Taken,
    /// There is no store.
    None,
    Unknown(io::Error),
}

/// False: there is no directory to look into.
pub fn look(data_dir: &Path, wanted: &Wanted, findings: &mut Vec<Finding>) -> bool {
    let shown = data_dir.display();
    let found = match fs::metadata(data_dir) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            let next = "name the data directory with --data-dir";
            findings.push(Finding::error("directory", format!("{shown} is not a directory"), next));
            return false;
        }
        Err(error) => {
            let next = "name the data directory with --data-dir; an engine that starts makes one if there is none";
            findings.push(Finding::error("directory", format!("{shown} cannot be looked at: {error}"), next));
            return false;
        }
    };
    findings.push(Finding::ok("directory", format!("{shown}, of user {}", found.uid())));
    permissions(data_dir, &found, findings);
    file_system(data_dir, findings);
    space(data_dir, wanted, findings);
    true
}

fn permissions(data_dir: &Path, found: &fs::Metadata, findings: &mut Vec<Finding>) {
    let mode = found.mode() & 0o777;
    if access(data_dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let text = format!("you (user {}) may not read and write it", rustix::process::getuid().as_raw());
        findings.push(Finding::error(
            "permissions",
            text,
            format!("run the engine, and this, as user {}, or chown it", found.uid()),
        ));
    } else if mode & 0o077 != 0 {
        let text =
            format!("others may look into it or write to it (mode {mode:o}); it holds secrets, and what is in compiled/ is run");
        findings.push(Finding::warn("permissions", text, format!("chmod 700 {}", data_dir.display())));
    } else {
        findings.push(Finding::ok("permissions", format!("only its user may enter it (mode {mode:o})")));
    }
}

fn file_system(data_dir: &Path, findings: &mut Vec<Finding>) {
    let Ok(found) = statfs(data_dir) else { return };
    // Signed on some machines, and never more than 32 bits.
    let kind = u64::from(found.f_type as u32);
    match UNSUITABLE.iter().find(|(magic, ..)| *magic == kind) {
        Some((_, name, why)) => {
            let next = "put the data directory on a disk of this machine, with a file system such as ext4 or xfs";
            findings.push(Finding::warn("file-system", format!("it lies on {name}: {why}"), next));
        }
        None => findings.push(Finding::ok("file-system", format!("nothing is known against it (type {kind:x})"))),
    }
}

fn space(data_dir: &Path, wanted: &Wanted, findings: &mut Vec<Finding>) {
    let found = match statvfs(data_dir) {
        Ok(found) => found,
        Err(error) => {
            let next = "check the disk";
            return findings.push(Finding::error("space", format!("the file system does not say what is free: {error}"), next));
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let text = format!("{} MiB free, {} MiB are to stay free (storage.reserve_mib)", mib(free), mib(wanted.reserve_bytes));
    findings.push(match free {
        _ if free < wanted.reserve_bytes => {
            Finding::error("space", format!("{text}: the engine refuses what grows"), "make room, or a larger disk")
        }
        _ if free < wanted.reserve_bytes.saturating_mul(4) => Finding::warn("space", text, "make room before it is less"),
        _ => Finding::ok("space", text),
    });
    // Some file systems make them as they need them, and say 0 of 0.
    if found.f_files > 0 && found.f_favail < INODES_MIN {
        let text = format!("{} files can still be made", found.f_favail);
        findings.push(Finding::error("inodes", text, "remove files, or make the file system anew with more inodes"));
    }
}

pub fn lock(data_dir: &Path) -> Lock {
    let store = data_dir.join("store");
    match OpenOptions::new().read(true).write(true).open(store.join("LOCK")) {
        // RocksDB's own way, so that either keeps out the other.
        Ok(file) => match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Lock::Held(file),
            Err(Errno::ACCESS | Errno::AGAIN) => Lock::Taken,
            Err(error) => Lock::Unknown(error.into()),
        },
        // A copy, or what was restored and never used: nobody has locked it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && store.is_dir() => match File::open(&store) {
            Ok(folder) => Lock::Held(folder),
            Err(error) => Lock::Unknown(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Lock::None,
        Err(error) => Lock::Unknown(error),
    }
}

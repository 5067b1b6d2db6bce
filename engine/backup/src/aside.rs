//! What copying takes from those who serve meanwhile: as little as it can.
//!
//! It is last in the line for processors. Of what it writes little is ever only in memory: on file systems that keep their order, a
//! sync of the engine's log waits for everything that other files have there. And what it has written does not stay in memory, where
//! it would take the place of what serves.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::fs::Advice;

/// The lowest priority there is.
const NICE: i32 = 19;

/// This thread runs when the others do not want to. For threads of their own: there is no way back.
pub fn step_back() {
    // On Linux, no process means this thread. One that may not step back is just slower to be preempted.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Waits until this part of a file is with the disk. It promises nothing: that is what a sync does.
pub fn write_out(file: &File, from: u64, bytes: u64) {
    let (Ok(from), Ok(bytes)) = (from.try_into(), bytes.try_into()) else { return };
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a system call with four numbers, of which the first is a file that is open. File systems that do not know it refuse it.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), from, bytes, flags) };
}

/// What is in memory of a file that was written and synced need not stay.
pub fn forget(file: &File) {
    // Only advice.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

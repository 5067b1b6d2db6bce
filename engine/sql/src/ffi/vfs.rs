//! What SQLite takes for a file system: every file is one of [`Files`](crate::files::Files), and there are no others.
//!
//! One for the whole process. Which database a file belongs to is known from the thread: SQLite opens files only while it works
//! for a connection, and whoever makes it work says for which ([`enter`]). Without that there is nothing to open.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use libsqlite3_sys as sqlite;
use libsqlite3_sys::{sqlite3_file, sqlite3_int64, sqlite3_vfs};

use crate::files::{FileError, Which};
use crate::host::{Host, State};

pub(super) const NAME: &CStr = c"rivet-pages";
/// Of the database; its journal has `-journal` behind it. Never looked up anywhere.
pub(super) const FILE_NAME: &CStr = c"actor";
const PATH_BYTES_MAX: c_int = 64;
/// 1970-01-01 as a Julian day, in milliseconds.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
}

/// Until it is dropped, this thread works for one database.
pub(super) struct Entered {
    before: Option<Arc<Host>>,
}

pub(super) fn enter(host: &Arc<Host>) -> Entered {
    Entered { before: CURRENT.replace(Some(Arc::clone(host))) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

fn current() -> Option<Arc<Host>> {
    CURRENT.with_borrow(Option::clone)
}

pub(super) fn register() -> Result<(), String> {
    let vfs = Box::new(sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<File>() as c_int,
        mxPathname: PATH_BYTES_MAX,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: None,
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: it lives as long as the process, and is not the default one.
    let code = unsafe { sqlite::sqlite3_vfs_register(Box::leak(vfs), 0) };
    if code == sqlite::SQLITE_OK { Ok(()) } else { Err(format!("sqlite3_vfs_register gave {code}")) }
}

/// An open file, in memory that SQLite provides.
#[repr(C)]
struct File {
    /// First, because SQLite knows only this part.
    base: sqlite3_file,
    /// One count of an `Arc`, from `open` to `close`.
    host: *const Host,
    which: Which,
}

/// Version 1: no shared memory, and so no write-ahead log; no mapped pages.
static METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(nothing),
    xFileSize: Some(file_size),
    xLock: Some(nothing),
    xUnlock: Some(nothing),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    _: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes. Null methods say that there is nothing to close if opening fails.
    unsafe { (*file).pMethods = ptr::null() };
    let Some(host) = current() else { return sqlite::SQLITE_CANTOPEN };
    const TEMPORARY: c_int = sqlite::SQLITE_OPEN_TEMP_DB
        | sqlite::SQLITE_OPEN_TRANSIENT_DB
        | sqlite::SQLITE_OPEN_TEMP_JOURNAL
        | sqlite::SQLITE_OPEN_SUBJOURNAL;
    let which = if flags & sqlite::SQLITE_OPEN_MAIN_DB != 0 {
        Which::Database
    } else if flags & sqlite::SQLITE_OPEN_MAIN_JOURNAL != 0 {
        host.state().files.open_journal()
    } else if flags & TEMPORARY != 0 {
        host.state().files.open_temporary()
    } else {
        // A write-ahead log, or a journal of several databases: neither can happen with what the policy allows.
        return sqlite::SQLITE_CANTOPEN;
    };
    // SAFETY: the memory is large enough and aligned as malloc does; `out_flags` may be null.
    unsafe {
        file.cast::<File>().write(File { base: sqlite3_file { pMethods: &METHODS }, host: Arc::into_raw(host), which });
        if let Some(out_flags) = out_flags.as_mut() {
            *out_flags = flags;
        }
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file that `open` has opened, once; so the count is still there, and is given back here.
    let (host, which) = unsafe {
        let file = &*file.cast::<File>();
        (Arc::from_raw(file.host), file.which)
    };
    host.state().files.close(which);
    sqlite::SQLITE_OK
}

/// What `work` says for an open file. A panic of the caller's pages must not pass through C.
///
/// # Safety
/// `file` was opened by [`open`] and not closed since.
unsafe fn with(file: *mut sqlite3_file, work: impl FnOnce(&mut State, Which) -> c_int) -> c_int {
    // SAFETY: the caller's promise; the `Arc` counted there keeps the host.
    let (host, which) = unsafe {
        let file = &*file.cast::<File>();
        (&*file.host, file.which)
    };
    catch_unwind(AssertUnwindSafe(|| work(&mut host.state(), which))).unwrap_or(sqlite::SQLITE_IOERR)
}

fn failed(state: &mut State, error: FileError, otherwise: c_int) -> c_int {
    let code = if error == FileError::Full { sqlite::SQLITE_FULL } else { otherwise };
    state.file_failed(error);
    code
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    let (Ok(length), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else { return sqlite::SQLITE_IOERR_READ };
    // SAFETY: SQLite gives `bytes` bytes to write to, and an open file. They are zeroed first, as they may be uninitialised.
    unsafe {
        ptr::write_bytes(into.cast::<u8>(), 0, length);
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), length);
        with(file, |state, which| match state.files.read(which, offset, into) {
            Ok(there) if there == length => sqlite::SQLITE_OK,
            Ok(_) => sqlite::SQLITE_IOERR_SHORT_READ,
            Err(error) => failed(state, error, sqlite::SQLITE_IOERR_READ),
        })
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    let (Ok(length), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else { return sqlite::SQLITE_IOERR_WRITE };
    // SAFETY: SQLite gives `bytes` bytes to read, and an open file.
    unsafe {
        let from = std::slice::from_raw_parts(from.cast::<u8>(), length);
        with(file, |state, which| match state.files.write(which, offset, from) {
            Ok(()) => sqlite::SQLITE_OK,
            Err(error) => failed(state, error, sqlite::SQLITE_IOERR_WRITE),
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let Ok(size) = u64::try_from(size) else { return sqlite::SQLITE_IOERR_TRUNCATE };
    // SAFETY: SQLite gives an open file.
    unsafe {
        with(file, |state, which| match state.files.truncate(which, size) {
            Ok(()) => sqlite::SQLITE_OK,
            Err(error) => failed(state, error, sqlite::SQLITE_IOERR_TRUNCATE),
        })
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file, and where to write the size.
    unsafe {
        with(file, |state, which| {
            *size = i64::try_from(state.files.size(which)).unwrap_or(i64::MAX);
            sqlite::SQLITE_OK
        })
    }
}

/// Nothing to sync, as the caller does; nobody to lock out, as a database has one connection.
unsafe extern "C" fn nothing(_: *mut sqlite3_file, _: c_int) -> c_int {
    sqlite::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: SQLite says where to write the answer.
    unsafe { *reserved = 0 };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, _: *mut c_void) -> c_int {
    if op != sqlite::SQLITE_FCNTL_COMMIT_PHASETWO {
        return sqlite::SQLITE_NOTFOUND;
    }
    // SAFETY: SQLite gives an open file.
    unsafe {
        with(file, |state, which| {
            if which == Which::Database {
                state.files.layers.commit();
            }
            sqlite::SQLITE_OK
        })
    }
}

unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    crate::limits::PAGE_BYTES as c_int
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite3_file) -> c_int {
    // Nothing is torn, so SQLite need not guard against it: its journal has small headers.
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite::SQLITE_IOCAP_SAFE_APPEND
}

/// Only the journal is ever asked for or deleted by name: temporary files have none, and the database is never deleted.
unsafe fn is_journal(name: *const c_char) -> bool {
    // SAFETY: SQLite gives null or a text that ends with a zero byte.
    !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes().ends_with(b"-journal")
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    // SAFETY: the name is SQLite's.
    if let (true, Some(host)) = (unsafe { is_journal(name) }, current()) {
        host.state().files.delete_journal();
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, name: *const c_char, _: c_int, there: *mut c_int) -> c_int {
    // SAFETY: the name is SQLite's, and it says where to write the answer.
    unsafe {
        let journal = is_journal(name) && current().is_some_and(|host| host.state().files.has_journal());
        *there = c_int::from(journal);
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut sqlite3_vfs, name: *const c_char, bytes: c_int, into: *mut c_char) -> c_int {
    // SAFETY: SQLite gives a text that ends with a zero byte, and `bytes` bytes to write to.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if usize::try_from(bytes).unwrap_or(0) < name.len() {
            return sqlite::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr().cast(), into, name.len());
    }
    sqlite::SQLITE_OK
}

/// SQLite takes randomness from its default file system; this one has none.
unsafe extern "C" fn randomness(_: *mut sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn sleep(_: *mut sqlite3_vfs, _: c_int) -> c_int {
    0
}

unsafe extern "C" fn current_time_ms(_: *mut sqlite3_vfs, time: *mut sqlite3_int64) -> c_int {
    let now_ms = catch_unwind(|| current().map_or(0, |host| host.state().now_ms())).unwrap_or(0);
    // SAFETY: SQLite says where to write the answer.
    unsafe { *time = UNIX_EPOCH_JULIAN_MS.saturating_add(now_ms) };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, days: *mut f64) -> c_int {
    let mut time = 0;
    // SAFETY: as SQLite calls it, and both places can be written to.
    unsafe {
        current_time_ms(vfs, &raw mut time);
        *days = time as f64 / 86_400_000.0;
    }
    sqlite::SQLITE_OK
}

//! Counts what SQLite allocates during one call, and refuses what is too much.
//!
//! SQLite's own allocator does the work; this stands before it. Counted for each thread, because a call runs on one. Memory that
//! is kept between calls, such as cached pages, counts in the call that takes it and again, as a gain, in the one that frees it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use libsqlite3_sys as sqlite;

thread_local! {
    /// Bytes that may still be taken.
    static LEFT: Cell<i64> = const { Cell::new(i64::MAX / 2) };
    /// Something was refused since this was last asked.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn take_refused() -> bool {
    REFUSED.replace(false)
}

/// Whether so much more may be taken.
fn has_room(bytes: i64) -> bool {
    let room = bytes <= LEFT.get();
    if !room {
        REFUSED.set(true);
    }
    room
}

/// Until it is dropped, this thread may take `bytes_max` more.
pub(super) struct Allowance {
    before: i64,
}

pub(super) fn allow(bytes_max: usize) -> Allowance {
    Allowance { before: LEFT.replace(i64::try_from(bytes_max).unwrap_or(i64::MAX / 2)) }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        LEFT.set(self.before);
    }
}

/// SQLite's own functions.
struct Inner {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static INNER: OnceLock<Inner> = OnceLock::new();

pub(super) fn install() -> Result<(), String> {
    let mut methods = sqlite::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: std::ptr::null_mut(),
    };
    // SAFETY: GETMALLOC takes one pointer to such a value and fills it in.
    let code = unsafe { sqlite::sqlite3_config(sqlite::SQLITE_CONFIG_GETMALLOC, &raw mut methods) };
    let (Some(malloc), Some(free), Some(realloc), Some(size)) = (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize)
    else {
        return Err(format!("the allocator cannot be read: sqlite3_config gave {code}"));
    };
    INNER.get_or_init(|| Inner { malloc, free, realloc, size });
    methods.xMalloc = Some(counted_malloc);
    methods.xFree = Some(counted_free);
    methods.xRealloc = Some(counted_realloc);
    // SAFETY: MALLOC takes one pointer to such a value and copies it; its functions live as long as the process, and keep the
    // contract because SQLite's own do.
    let code = unsafe { sqlite::sqlite3_config(sqlite::SQLITE_CONFIG_MALLOC, &raw const methods) };
    if code != sqlite::SQLITE_OK {
        return Err(format!("the allocator cannot be set: sqlite3_config gave {code}"));
    }
    // SAFETY: MEMSTATUS takes one integer. Without it allocations of different threads need no common lock.
    let code = unsafe { sqlite::sqlite3_config(sqlite::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
    if code == sqlite::SQLITE_OK { Ok(()) } else { Err(format!("sqlite3_config(MEMSTATUS) gave {code}")) }
}

unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    let Some(inner) = INNER.get().filter(|_| has_room(i64::from(bytes))) else { return std::ptr::null_mut() };
    // SAFETY: what SQLite asks of us it may ask of its own allocator.
    let block = unsafe { (inner.malloc)(bytes) };
    if !block.is_null() {
        // SAFETY: the block is one of this allocator.
        LEFT.set(LEFT.get() - i64::from(unsafe { (inner.size)(block) }));
    }
    block
}

unsafe extern "C" fn counted_free(block: *mut c_void) {
    // Whatever is freed was allocated, so the functions are known.
    let Some(inner) = INNER.get().filter(|_| !block.is_null()) else { return };
    // SAFETY: SQLite frees a block once, and it is one of this allocator.
    unsafe {
        LEFT.set(LEFT.get() + i64::from((inner.size)(block)));
        (inner.free)(block);
    }
}

unsafe extern "C" fn counted_realloc(block: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(inner) = INNER.get() else { return std::ptr::null_mut() };
    // SAFETY: SQLite reallocates only a living block, and it is one of this allocator.
    let before = i64::from(unsafe { (inner.size)(block) });
    if !has_room(i64::from(bytes) - before) {
        return std::ptr::null_mut();
    }
    // SAFETY: as above; on failure the old block stays valid, which is also what SQLite expects of us.
    let moved = unsafe { (inner.realloc)(block, bytes) };
    if !moved.is_null() {
        // SAFETY: the block is one of this allocator.
        LEFT.set(LEFT.get() + before - i64::from(unsafe { (inner.size)(moved) }));
    }
    moved
}

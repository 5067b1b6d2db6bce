//! A connection and its statements, as little of them as this crate needs.
//!
//! Texts that come out of SQLite may be anything, as a hostile schema can say anything: they are never assumed to be UTF-8.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use libsqlite3_sys as sqlite;

use super::{heap, vfs};
use crate::host::Host;
use crate::limits::STEPS_PER_LOOK;
use crate::value::Value;

/// SQLite's extended result code and sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: c_int,
    pub message: String,
}

/// One connection to one database. May move between threads; not used by two at a time, as it is not `Sync`.
pub(crate) struct Connection {
    db: NonNull<sqlite::sqlite3>,
    host: Arc<Host>,
}

// SAFETY: SQLite is compiled thread-safe, so a connection may be used by any thread, one at a time; `host` is `Send` and `Sync`.
unsafe impl Send for Connection {}

/// While it lives, this thread works for one database.
pub(crate) struct Work {
    _entered: vfs::Entered,
    _allowance: heap::Allowance,
}

impl Connection {
    pub fn open(host: &Arc<Host>) -> Result<Connection, Failure> {
        super::set_up().map_err(|message| Failure { code: sqlite::SQLITE_MISUSE, message })?;
        let flags = sqlite::SQLITE_OPEN_READWRITE
            | sqlite::SQLITE_OPEN_CREATE
            | sqlite::SQLITE_OPEN_NOMUTEX
            | sqlite::SQLITE_OPEN_PRIVATECACHE
            | sqlite::SQLITE_OPEN_EXRESCODE;
        let _entered = vfs::enter(host);
        let mut db = ptr::null_mut();
        // SAFETY: both texts end with a zero byte; `db` can be written to.
        let code = unsafe { sqlite::sqlite3_open_v2(vfs::FILE_NAME.as_ptr(), &raw mut db, flags, vfs::NAME.as_ptr()) };
        let Some(db) = NonNull::new(db) else {
            return Err(Failure { code, message: "out of memory".to_owned() });
        };
        // From here on dropped, and so closed, also if opening has failed.
        let connection = Connection { db, host: Arc::clone(host) };
        connection.check(code)?;
        Ok(connection)
    }

    /// Everything between is done for this connection's database, with so much memory.
    pub fn work(&self, heap_bytes_max: usize) -> Work {
        Work { _entered: vfs::enter(&self.host), _allowance: heap::allow(heap_bytes_max) }
    }

    /// Whether this thread was refused memory since it last asked. SQLite may have done without.
    pub fn take_heap_refused(&self) -> bool {
        heap::take_refused()
    }

    /// `SQLITE_LIMIT_*`.
    pub fn limit(&self, limit: c_int, value: u32) {
        // SAFETY: the connection is open; SQLite cuts values that are too large.
        unsafe { sqlite::sqlite3_limit(self.db.as_ptr(), limit, c_int::try_from(value).unwrap_or(c_int::MAX)) };
    }

    /// `SQLITE_DBCONFIG_*`, of the kind that is switched on or off.
    pub fn switch(&self, option: c_int, on: bool) -> Result<(), Failure> {
        // SAFETY: the connection is open; these options take an integer and a pointer that may be null.
        let code = unsafe { sqlite::sqlite3_db_config(self.db.as_ptr(), option, c_int::from(on), ptr::null_mut::<c_int>()) };
        self.check(code)
    }

    /// From here on the host is asked what a statement may do, and how long it may run.
    pub fn guard(&self) -> Result<(), Failure> {
        let host = Arc::as_ptr(&self.host).cast_mut().cast::<c_void>();
        // SAFETY: the connection is open. It calls these functions with `host` until it is closed, and owns a count of it.
        let code = unsafe {
            sqlite::sqlite3_progress_handler(self.db.as_ptr(), STEPS_PER_LOOK as c_int, Some(progress), host);
            sqlite::sqlite3_set_authorizer(self.db.as_ptr(), Some(authorize), host)
        };
        self.check(code)
    }

    /// The first statement of `sql`, if there is one, and what follows it.
    pub fn prepare<'sql>(&self, sql: &'sql CStr) -> Result<(Option<Statement<'_>>, &'sql CStr), Failure> {
        let mut statement = ptr::null_mut();
        let mut tail = ptr::null();
        let length = c_int::try_from(sql.to_bytes_with_nul().len()).unwrap_or(c_int::MAX);
        // SAFETY: `sql` has `length` bytes, the zero byte included, unless it is longer than SQLite takes anyway.
        let code = unsafe { sqlite::sqlite3_prepare_v2(self.db.as_ptr(), sql.as_ptr(), length, &raw mut statement, &raw mut tail) };
        self.check(code)?;
        let statement = NonNull::new(statement).map(|statement| Statement { statement, connection: self });
        // SAFETY: it points into `sql`, or to its zero byte; so what follows ends with that byte and has no other.
        let tail = unsafe {
            let at = if tail.is_null() { sql.count_bytes() } else { tail.offset_from_unsigned(sql.as_ptr()) };
            CStr::from_bytes_with_nul_unchecked(&sql.to_bytes_with_nul()[at..])
        };
        Ok((statement, tail))
    }

    pub fn in_transaction(&self) -> bool {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_get_autocommit(self.db.as_ptr()) == 0 }
    }

    /// Whether the transaction has begun to write to the database.
    pub fn is_writing(&self) -> bool {
        // SAFETY: the connection is open; the name ends with a zero byte.
        unsafe { sqlite::sqlite3_txn_state(self.db.as_ptr(), c"main".as_ptr()) == sqlite::SQLITE_TXN_WRITE }
    }

    pub fn changes(&self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_changes64(self.db.as_ptr()) }
    }

    /// Since the connection was opened.
    pub fn total_changes(&self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_total_changes64(self.db.as_ptr()) }
    }

    pub fn last_insert_row_id(&self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_last_insert_rowid(self.db.as_ptr()) }
    }

    fn check(&self, code: c_int) -> Result<(), Failure> {
        if code == sqlite::SQLITE_OK { Ok(()) } else { Err(self.failure(code)) }
    }

    fn failure(&self, code: c_int) -> Failure {
        // SAFETY: the connection is open; the text is copied before anything else happens to the connection.
        let message = unsafe { text(sqlite::sqlite3_errmsg(self.db.as_ptr())) };
        Failure { code, message }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _entered = vfs::enter(&self.host);
        // SAFETY: no statement lives, as each borrows the connection; it is not used again.
        unsafe { sqlite::sqlite3_close(self.db.as_ptr()) };
    }
}

/// One compiled statement.
pub(crate) struct Statement<'c> {
    statement: NonNull<sqlite::sqlite3_stmt>,
    connection: &'c Connection,
}

impl Statement<'_> {
    pub fn parameter_count(&self) -> usize {
        // SAFETY: the statement is alive.
        unsafe { sqlite::sqlite3_bind_parameter_count(self.statement.as_ptr()) }.try_into().unwrap_or(0)
    }

    /// `number` is counted from 1.
    pub fn bind(&mut self, number: usize, value: &Value) -> Result<(), Failure> {
        let statement = self.statement.as_ptr();
        let number = c_int::try_from(number).unwrap_or(c_int::MAX);
        let copy = sqlite::SQLITE_TRANSIENT();
        // SAFETY: the statement is alive; pointer and length describe one value, which SQLite copies.
        let code = unsafe {
            match value {
                Value::Null => sqlite::sqlite3_bind_null(statement, number),
                Value::Integer(value) => sqlite::sqlite3_bind_int64(statement, number, *value),
                Value::Float(value) => sqlite::sqlite3_bind_double(statement, number, *value),
                Value::Text(text) => {
                    let encoding = sqlite::SQLITE_UTF8 as u8;
                    sqlite::sqlite3_bind_text64(statement, number, text.as_ptr().cast(), text.len() as u64, copy, encoding)
                }
                // Of an empty one the pointer would do as well, but SQLite takes some pointers for null.
                Value::Blob(blob) if blob.is_empty() => sqlite::sqlite3_bind_zeroblob(statement, number, 0),
                Value::Blob(blob) => sqlite::sqlite3_bind_blob64(statement, number, blob.as_ptr().cast(), blob.len() as u64, copy),
            }
        };
        self.connection.check(code)
    }

    /// Whether there is a row.
    pub fn step(&mut self) -> Result<bool, Failure> {
        // SAFETY: the statement is alive.
        match unsafe { sqlite::sqlite3_step(self.statement.as_ptr()) } {
            sqlite::SQLITE_ROW => Ok(true),
            sqlite::SQLITE_DONE => Ok(false),
            code => Err(self.connection.failure(code)),
        }
    }

    pub fn only_reads(&self) -> bool {
        // SAFETY: the statement is alive.
        unsafe { sqlite::sqlite3_stmt_readonly(self.statement.as_ptr()) != 0 }
    }

    /// Ends it before its end, undoing what it has written: just dropping it would commit that. As with every failure of this
    /// kind, SQLite then rolls back the whole transaction, unless the statement only reads.
    pub fn abandon(mut self) {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_interrupt(self.connection.db.as_ptr()) };
        // It fails, which is what is wanted.
        let _ = self.step();
    }

    pub fn column_count(&self) -> usize {
        // SAFETY: the statement is alive.
        unsafe { sqlite::sqlite3_column_count(self.statement.as_ptr()) }.try_into().unwrap_or(0)
    }

    pub fn column_name(&self, column: usize) -> String {
        // SAFETY: the statement is alive; SQLite gives null for a column that there is not; the text is copied.
        unsafe { text(sqlite::sqlite3_column_name(self.statement.as_ptr(), column as c_int)) }
    }

    /// Of the row that `step` has found. None: larger than `bytes_max`.
    pub fn value(&self, column: usize, bytes_max: usize) -> Result<Option<Value>, Failure> {
        let (statement, column) = (self.statement.as_ptr(), column as c_int);
        // SAFETY: the statement is alive; for a column that there is not SQLite gives null. A pointer is used before the next call
        // for the same value, and `column_bytes` after `column_text` is the length of what that has returned.
        unsafe {
            Ok(Some(match sqlite::sqlite3_column_type(statement, column) {
                sqlite::SQLITE_INTEGER => Value::Integer(sqlite::sqlite3_column_int64(statement, column)),
                sqlite::SQLITE_FLOAT => Value::Float(sqlite::sqlite3_column_double(statement, column)),
                sqlite::SQLITE_TEXT => {
                    let start = sqlite::sqlite3_column_text(statement, column);
                    let length = sqlite::sqlite3_column_bytes(statement, column).try_into().unwrap_or(0_usize);
                    if start.is_null() {
                        return Err(self.connection.failure(sqlite::SQLITE_NOMEM));
                    }
                    if length > bytes_max {
                        return Ok(None);
                    }
                    Value::Text(String::from_utf8_lossy(std::slice::from_raw_parts(start, length)).into_owned())
                }
                sqlite::SQLITE_BLOB => {
                    let start = sqlite::sqlite3_column_blob(statement, column).cast::<u8>();
                    let length = sqlite::sqlite3_column_bytes(statement, column).try_into().unwrap_or(0_usize);
                    if length > bytes_max {
                        return Ok(None);
                    }
                    // Null if it is empty, or if memory for the zeros of a zeroblob was refused.
                    match (start.is_null(), length) {
                        (_, 0) => Value::Blob(Bytes::new()),
                        (true, _) => return Err(self.connection.failure(sqlite::SQLITE_NOMEM)),
                        (false, _) => Value::Blob(Bytes::copy_from_slice(std::slice::from_raw_parts(start, length))),
                    }
                }
                _ => Value::Null,
            }))
        }
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement is alive, and is not used again. The code repeats what `step` has said.
        unsafe { sqlite::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

unsafe extern "C" fn progress(host: *mut c_void) -> c_int {
    // SAFETY: as registered in `guard`: a host that the connection keeps alive.
    let host = unsafe { &*host.cast::<Host>() };
    c_int::from(catch_unwind(AssertUnwindSafe(|| host.state().stops())).unwrap_or(true))
}

unsafe extern "C" fn authorize(
    host: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: as registered in `guard`: a host that the connection keeps alive; the texts are null or end with a zero byte.
    let (host, first, second) = unsafe { (&*host.cast::<Host>(), text(first), (!second.is_null()).then(|| text(second))) };
    if host.state().refuses(action, &first, second.as_deref()) { sqlite::SQLITE_DENY } else { sqlite::SQLITE_OK }
}

/// A copy; empty for null.
///
/// # Safety
/// `start` is null or a text that ends with a zero byte.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

//! One open database: statements in, rows out, and the pages that they changed.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use libsqlite3_sys as sqlite;

use crate::error::SqlError;
use crate::ffi::connection::{Connection, Failure, Statement as Compiled};
use crate::host::Host;
use crate::limits::{
    BIND_BYTES_MAX, EXPRESSION_DEPTH_MAX, Limits, PAGE_BYTES, PATTERN_BYTES_MAX, PROGRAM_STEPS_MAX, TRIGGER_DEPTH_MAX,
};
use crate::pages::{Changes, Clock, Pages};
use crate::policy::Within;
use crate::value::{Execution, Rows, Statement, Value};

/// One connection to one database, for one generation of its actor. Calls block; one thread at a time.
///
/// After each call, whether it failed or not, ask [`Database::take_changes`]: a call of several statements may have committed some
/// before one failed. If what it gives cannot be stored, the `Database` knows more than is true: throw it away.
pub struct Database {
    connection: Connection,
    host: Arc<Host>,
    limits: Limits,
    /// What statements are compiled for between two calls.
    within: Within,
}

/// What a value takes beside its content, in a result.
const VALUE_BYTES: usize = size_of::<Value>();
const ROW_BYTES: usize = size_of::<Vec<Value>>();

impl Database {
    pub fn open(pages: Box<dyn Pages>, clock: Clock, limits: Limits) -> Result<Database, SqlError> {
        check_format(&*pages)?;
        let host = Arc::new(Host::new(pages, clock, limits.clone()));
        let connection = Connection::open(&host).map_err(|failure| SqlError::Setup { cause: failure.message })?;
        let database = Database { connection, host, limits, within: Within::Statement };
        let _work = database.connection.work(database.limits.heap_bytes_max);
        database.set_up().map_err(|failure| database.explain(failure))?;
        drop(_work);
        Ok(database)
    }

    /// Any number of statements, one after the other until one fails. Rows are those of the last.
    pub fn exec(&mut self, sql: &str) -> Result<Rows, SqlError> {
        self.call(self.within, |database| {
            let sql = database.text(sql)?;
            let mut rest = sql.as_c_str();
            let mut rows = Rows::default();
            while !rest.is_empty() {
                let (statement, tail) = database.prepare(rest)?;
                rest = tail;
                if let Some(statement) = statement {
                    // Not wanted any more, and makes room.
                    drop(std::mem::take(&mut rows));
                    rows = database.run(statement, &mut database.limits.result_bytes_max.clone())?;
                }
            }
            Ok(rows)
        })
    }

    /// Exactly one statement. Parameters are positional; those that are missing are NULL.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<Execution, SqlError> {
        self.call(self.within, |database| database.one(sql, params, &mut database.limits.result_bytes_max.clone()))
    }

    /// All or nothing: one transaction, rolled back when the first statement fails.
    pub fn execute_batch(&mut self, statements: &[Statement]) -> Result<Vec<Execution>, SqlError> {
        self.call(self.within, |database| {
            database.control(c"BEGIN")?;
            let done = database.all(statements).and_then(|executions| {
                database.host.state().within = Within::Statement;
                database.control(c"COMMIT")?;
                Ok(executions)
            });
            // Some failures make SQLite roll back by itself.
            if done.is_err() && database.connection.in_transaction() {
                database.end_in_rollback()?;
            }
            done
        })
    }

    /// From here on all calls are one transaction, which no statement can end: only [`Database::commit`] and [`Database::roll_back`].
    /// A statement that fails may have rolled it back all the same; [`Database::in_transaction`] tells.
    pub fn begin(&mut self) -> Result<(), SqlError> {
        self.call(Within::Statement, |database| database.control(c"BEGIN"))?;
        self.within = Within::Transaction;
        Ok(())
    }

    /// Ends what `begin` has begun. If it fails, by a constraint that was deferred for one, all of it is rolled back.
    pub fn commit(&mut self) -> Result<(), SqlError> {
        self.within = Within::Statement;
        self.call(Within::Statement, |database| {
            let done = database.control(c"COMMIT");
            if done.is_err() && database.connection.in_transaction() {
                database.end_in_rollback()?;
            }
            done
        })
    }

    /// Ends what `begin` has begun, if SQLite has not rolled it back by itself.
    pub fn roll_back(&mut self) -> Result<(), SqlError> {
        self.within = Within::Statement;
        self.call(Within::Statement, |database| match database.connection.in_transaction() {
            true => database.end_in_rollback(),
            false => Ok(()),
        })
    }

    /// What SQLite has committed since the last time; None if nothing. Of a transaction that is still open there is nothing in it.
    pub fn take_changes(&mut self) -> Option<Changes> {
        self.host.state().files.layers.take()
    }

    /// All changes that were taken are stored, and can be read in `pages`: they need not be held in memory any longer.
    pub fn settle(&mut self, pages: Box<dyn Pages>) {
        self.host.state().files.layers.settle(pages);
    }

    pub fn in_transaction(&self) -> bool {
        self.connection.in_transaction()
    }

    fn set_up(&self) -> Result<(), Failure> {
        let connection = &self.connection;
        for (limit, value) in [
            (sqlite::SQLITE_LIMIT_LENGTH, clamp(self.limits.value_bytes_max)),
            (sqlite::SQLITE_LIMIT_SQL_LENGTH, clamp(self.limits.sql_bytes_max)),
            (sqlite::SQLITE_LIMIT_EXPR_DEPTH, EXPRESSION_DEPTH_MAX),
            (sqlite::SQLITE_LIMIT_VDBE_OP, PROGRAM_STEPS_MAX),
            (sqlite::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, clamp(PATTERN_BYTES_MAX)),
            (sqlite::SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH_MAX),
            // The one that VACUUM needs.
            (sqlite::SQLITE_LIMIT_ATTACHED, 1),
            (sqlite::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.limit(limit, value);
        }
        connection.switch(sqlite::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        connection.switch(sqlite::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.switch(sqlite::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.switch(sqlite::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, false)?;
        connection.switch(sqlite::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
        // Temporary files stay files: ours, counted and in memory. SQLite's own memory for them would know no limit.
        let pragmas = format!(
            "PRAGMA locking_mode = exclusive; PRAGMA journal_size_limit = 0; PRAGMA synchronous = off; \
             PRAGMA cell_size_check = on; PRAGMA cache_size = -{}; PRAGMA max_page_count = {};",
            self.limits.cache_bytes_max / 1024,
            self.limits.database_pages_max,
        );
        let pragmas = CString::new(pragmas).expect("it was just written without a zero byte");
        let mut rest = pragmas.as_c_str();
        while let (Some(mut statement), tail) = connection.prepare(rest)? {
            while statement.step()? {}
            rest = tail;
        }
        connection.guard()
    }

    fn call<T>(&mut self, within: Within, work: impl FnOnce(&Database) -> Result<T, SqlError>) -> Result<T, SqlError> {
        self.host.state().begin_call(within);
        let working = self.connection.work(self.limits.heap_bytes_max);
        let result = work(self);
        if matches!(result, Err(SqlError::HeldExhausted { .. })) && !self.connection.in_transaction() {
            // SQLite undoes what it has written to the temporary tables only when it reads them next, and until then they are
            // held. If it cannot even read, that was said already.
            let _ = self.control(c"SELECT 1 FROM temp.sqlite_schema");
        }
        drop(working);
        let mut state = self.host.state();
        state.end_limits();
        if !self.connection.in_transaction() {
            state.files.layers.forget_open();
        }
        result
    }

    fn all(&self, statements: &[Statement]) -> Result<Vec<Execution>, SqlError> {
        let mut left = self.limits.result_bytes_max;
        self.host.state().within = Within::Batch;
        statements.iter().map(|statement| self.one(&statement.sql, &statement.params, &mut left)).collect()
    }

    fn one(&self, sql: &str, params: &[Value], left: &mut usize) -> Result<Execution, SqlError> {
        let sql = self.text(sql)?;
        let (statement, tail) = self.prepare(&sql)?;
        // What cannot be compiled is not nothing either.
        if !tail.is_empty() && !matches!(self.prepare(tail), Ok((None, _))) {
            return Err(SqlError::MultipleStatements);
        }
        let taken = statement.as_ref().map_or(0, Compiled::parameter_count);
        if params.len() > taken {
            return Err(SqlError::TooManyParameters { given: params.len(), taken });
        }
        let changed_before = self.connection.total_changes();
        let rows = match statement {
            None => Rows::default(),
            Some(mut statement) => {
                self.bind(&mut statement, params)?;
                self.run(statement, left)?
            }
        };
        // Of a statement that changed nothing SQLite says what the one before it has changed, and so does the original.
        let says_old = self.within == Within::Transaction && self.connection.total_changes() == changed_before;
        let inserted = self.connection.last_insert_row_id();
        Ok(Execution {
            columns: rows.columns,
            rows: rows.rows,
            changes: if says_old { 0 } else { self.connection.changes() },
            last_insert_row_id: (inserted != 0).then_some(inserted),
        })
    }

    /// For BEGIN, COMMIT and ROLLBACK.
    fn control(&self, sql: &CStr) -> Result<(), SqlError> {
        if let (Some(statement), _) = self.prepare(sql)? {
            self.run(statement, &mut 0)?;
        }
        Ok(())
    }

    /// Whatever the limits were, as it ends what they have stopped.
    fn end_in_rollback(&self) -> Result<(), SqlError> {
        let _work = self.connection.work(usize::MAX);
        let mut state = self.host.state();
        state.within = Within::Statement;
        state.end_limits();
        drop(state);
        self.control(c"ROLLBACK")
    }

    fn text(&self, sql: &str) -> Result<CString, SqlError> {
        let bytes_max = self.limits.sql_bytes_max;
        if sql.len() > bytes_max {
            return Err(SqlError::SqlTooLarge { bytes: sql.len(), bytes_max });
        }
        CString::new(sql).map_err(|error| SqlError::ZeroByte { at: error.nul_position() })
    }

    fn prepare<'sql>(&self, sql: &'sql CStr) -> Result<(Option<Compiled<'_>>, &'sql CStr), SqlError> {
        self.connection.prepare(sql).map_err(|failure| self.explain(failure))
    }

    fn bind(&self, statement: &mut Compiled<'_>, params: &[Value]) -> Result<(), SqlError> {
        for (number, value) in (1..).zip(params) {
            let bytes = value.content_bytes();
            if bytes > BIND_BYTES_MAX {
                return Err(SqlError::ParameterTooLarge { number, bytes, bytes_max: BIND_BYTES_MAX });
            }
            statement.bind(number, value).map_err(|failure| self.explain(failure))?;
        }
        Ok(())
    }

    /// To its end. `left` is what the result may still take.
    fn run(&self, statement: Compiled<'_>, left: &mut usize) -> Result<Rows, SqlError> {
        let was_writing = self.connection.is_writing();
        let result = self.run_to_end(statement, left);
        // A RELEASE that cannot commit loses what the transaction has written, and leaves it open. It would go on without that.
        if result.is_err() && was_writing && self.connection.in_transaction() && !self.connection.is_writing() {
            self.end_in_rollback()?;
        }
        result
    }

    fn run_to_end(&self, mut statement: Compiled<'_>, left: &mut usize) -> Result<Rows, SqlError> {
        let before = self.begin_run()?;
        let mut rows = Vec::new();
        while statement.step().map_err(|failure| self.explain(failure))? {
            match self.row(&statement, left) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    statement.abandon();
                    return Err(error);
                }
            }
        }
        self.host.state().within = before;
        // PRAGMA integrity_check takes a page that it could not read for a damaged one. What writes or commits has succeeded,
        // whatever was refused on the way.
        if statement.only_reads() && statement.column_count() > 0 {
            self.nothing_refused()?;
        }
        // After it has run, because it may have been compiled again for a schema that has changed since.
        let columns = (0..statement.column_count()).map(|column| statement.column_name(column)).collect();
        Ok(Rows { columns, rows })
    }

    fn nothing_refused(&self) -> Result<(), SqlError> {
        let heap = || SqlError::HeapExhausted { bytes_max: self.limits.heap_bytes_max };
        let refused = self.connection.take_heap_refused().then(heap);
        let trouble = self.host.state().take_trouble();
        trouble.or(refused).map_or(Ok(()), Err)
    }

    fn row(&self, statement: &Compiled<'_>, left: &mut usize) -> Result<Vec<Value>, SqlError> {
        let too_large = || SqlError::ResultTooLarge { bytes_max: self.limits.result_bytes_max };
        let columns = statement.column_count();
        *left = left.checked_sub(ROW_BYTES + columns * VALUE_BYTES).ok_or_else(too_large)?;
        let mut row = Vec::with_capacity(columns);
        for column in 0..columns {
            let value = statement.value(column, *left).map_err(|failure| self.explain(failure))?;
            let value = value.ok_or_else(too_large)?;
            *left = left.checked_sub(value.content_bytes()).ok_or_else(too_large)?;
            row.push(value);
        }
        Ok(row)
    }

    /// Each statement counts, as SQLite asks nobody about one that is short.
    fn begin_run(&self) -> Result<Within, SqlError> {
        self.connection.take_heap_refused();
        let mut state = self.host.state();
        if state.stops()
            && let Some(trouble) = state.take_trouble()
        {
            return Err(trouble);
        }
        Ok(std::mem::replace(&mut state.within, Within::Run))
    }

    /// Ours if a callback has said no, otherwise SQLite's.
    fn explain(&self, failure: Failure) -> SqlError {
        if let Some(trouble) = self.host.state().take_trouble() {
            return trouble;
        }
        match failure.code & 0xff {
            sqlite::SQLITE_CORRUPT | sqlite::SQLITE_NOTADB => SqlError::Corrupt { message: failure.message },
            sqlite::SQLITE_FULL => SqlError::DatabaseFull { pages_max: self.limits.database_pages_max },
            sqlite::SQLITE_NOMEM => SqlError::HeapExhausted { bytes_max: self.limits.heap_bytes_max },
            sqlite::SQLITE_TOOBIG => SqlError::ValueTooLarge { bytes_max: self.limits.value_bytes_max },
            _ => SqlError::Statement { message: failure.message, sqlite_code: failure.code },
        }
    }
}

/// What SQLite could read, but not with whole pages of our size.
fn check_format(pages: &dyn Pages) -> Result<(), SqlError> {
    if pages.size_pages() == 0 {
        return Ok(());
    }
    let Some(first) = pages.read(1).map_err(SqlError::Pages)? else { return Ok(()) };
    // Anything else is for SQLite to judge.
    if !first.starts_with(b"SQLite format 3\0") || first.len() < 20 {
        return Ok(());
    }
    // 1 stands for 65536.
    let page_bytes = match u16::from_be_bytes([first[16], first[17]]) {
        1 => 65536,
        other => usize::from(other),
    };
    if page_bytes != PAGE_BYTES {
        return Err(SqlError::Unsupported { what: format!("has pages of {page_bytes} bytes") });
    }
    if first[18] > 1 || first[19] > 1 {
        return Err(SqlError::Unsupported { what: "is in WAL mode".to_owned() });
    }
    Ok(())
}

fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

//! The database of an actor, for the engine of these tests: SQLite in memory, and the order of a message's steps, which it insists on.

use bytes::Bytes;
use protocol::database::{DatabaseAnswer, DatabaseError, Executed, MessageStep, Rows, SqlValue};
use protocol::message::DatabaseCommit;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

#[derive(Default)]
pub struct Database {
    connection: Option<Connection>,
    /// What `Seal` was answered with, and not yet committed.
    sealed: Option<u64>,
    pub steps: Vec<&'static str>,
}

impl Database {
    pub fn step(&mut self, call: u64, step: MessageStep) -> Result<DatabaseAnswer, DatabaseError> {
        assert_eq!(self.sealed, None, "what was sealed is committed before anything else happens");
        let connection = self.connection.get_or_insert_with(open);
        let is_open = !connection.is_autocommit();
        if !is_open {
            assert!(!matches!(step, MessageStep::Seal), "a message is sealed that has used no database");
            connection.execute_batch("BEGIN").map_err(error)?;
        }
        let executed = Ok(DatabaseAnswer::Executed(Executed::default()));
        match step {
            MessageStep::Execute(statement) => {
                self.steps.push("execute");
                execute(connection, &statement.sql).map(DatabaseAnswer::Executed).map_err(error)
            }
            MessageStep::Script(sql) => {
                self.steps.push("script");
                connection.execute_batch(&sql).map_err(error).and(executed)
            }
            MessageStep::Seal => {
                self.steps.push("seal");
                let sealed = connection.execute_batch("COMMIT").map_err(error);
                if sealed.is_err() {
                    let _ = connection.execute_batch("ROLLBACK");
                    sealed?;
                }
                self.sealed = Some(call);
                Ok(DatabaseAnswer::Sealed { pages: vec![(1, Bytes::from_static(b"page"))], size_pages: 1 })
            }
            MessageStep::RollBack => {
                self.steps.push("roll back");
                connection.execute_batch("ROLLBACK").map_err(error)?;
                Ok(DatabaseAnswer::Unchanged)
            }
        }
    }

    pub fn committed(&mut self, commit: Option<&DatabaseCommit>) {
        let sealed = self.sealed.take();
        assert_eq!(commit.map(|commit| commit.call), sealed, "a commit has what was sealed for it");
    }
}

fn open() -> Connection {
    let connection = Connection::open_in_memory().expect("memory");
    connection.execute_batch("PRAGMA foreign_keys = ON").expect("SQLite has foreign keys");
    connection
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<Executed> {
    let before = connection.total_changes();
    let mut statement = connection.prepare(sql)?;
    let columns: Vec<String> = statement.column_names().map(String::from).collect();
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((0..columns.len()).map(|at| row.get_ref(at).map(value)).collect::<rusqlite::Result<Vec<_>>>()?);
    }
    let changes = (connection.total_changes() - before) as i64;
    Ok(Executed { rows: Rows { columns, rows }, changes, last_insert_row_id: Some(connection.last_insert_rowid()) })
}

fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(integer) => SqlValue::Integer(integer),
        ValueRef::Real(real) => SqlValue::Float(real),
        ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => SqlValue::Blob(Bytes::copy_from_slice(bytes)),
    }
}

fn error(error: rusqlite::Error) -> DatabaseError {
    DatabaseError { group: "sqlite", code: "statement_failed", message: error.to_string() }
}

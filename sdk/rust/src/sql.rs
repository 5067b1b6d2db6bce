//! The actor's own SQLite database. What one call does in it is one transaction, together with all else that the call writes.
//!
//! So `BEGIN`, `COMMIT` and `ROLLBACK` are not for the actor; `SAVEPOINT` is.
//!
//! ```no_run
//! use rivet_actor::sql;
//!
//! # fn example() -> Result<(), rivet_actor::Failure> {
//! sql::script("CREATE TABLE IF NOT EXISTS todo (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
//! let added = sql::execute("INSERT INTO todo (text) VALUES (?)", &["water the plants".into()])?;
//! let todos = sql::execute("SELECT id, text FROM todo WHERE id >= ?", &[added.last_insert_row_id.into()])?;
//! for row in &todos.rows {
//!     let (id, text) = (row[0].integer(), row[1].text());
//! }
//! # Ok(())
//! # }
//! ```

use crate::bindings::rivet::actor::sql;
pub use crate::bindings::rivet::actor::sql::{Executed, SqlError, Value};

/// Exactly one statement. Parameters are positional; those that are missing are NULL.
pub fn execute(statement: &str, parameters: &[Value]) -> Result<Executed, SqlError> {
    sql::execute(statement, parameters)
}

/// Any number of statements without parameters, until one fails: for a schema.
pub fn script(statements: &str) -> Result<(), SqlError> {
    sql::execute_script(statements)
}

impl Value {
    /// None for anything but an integer.
    pub fn integer(&self) -> Option<i64> {
        if let Value::Integer(integer) = self { Some(*integer) } else { None }
    }

    /// Of an integer too.
    pub fn real(&self) -> Option<f64> {
        match self {
            Value::Real(real) => Some(*real),
            Value::Integer(integer) => Some(*integer as f64),
            Value::Null | Value::Text(_) | Value::Blob(_) => None,
        }
    }

    /// None for anything but a text.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// None for anything but a blob.
    pub fn blob(&self) -> Option<&[u8]> {
        if let Value::Blob(blob) = self { Some(blob) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Value {
        Value::Integer(integer)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Integer(truth.into())
    }
}

impl From<f64> for Value {
    fn from(real: f64) -> Value {
        Value::Real(real)
    }
}

impl From<Vec<u8>> for Value {
    fn from(blob: Vec<u8>) -> Value {
        Value::Blob(blob)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

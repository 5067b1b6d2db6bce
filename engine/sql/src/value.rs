//! What goes into a statement and what comes out of it.

use bytes::Bytes;

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Integer(i64),
    Float(f64),
    /// Bytes that are no UTF-8, which SQLite can hold in a text, are shown as U+FFFD.
    Text(String),
    Blob(Bytes),
}

impl Value {
    /// Of its content; numbers have none.
    pub fn content_bytes(&self) -> usize {
        match self {
            Value::Null | Value::Integer(_) | Value::Float(_) => 0,
            Value::Text(text) => text.len(),
            Value::Blob(blob) => blob.len(),
        }
    }
}

/// One statement of a batch, with its positional parameters.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    pub sql: String,
    pub params: Vec<Value>,
}

#[derive(Clone, PartialEq, Default, Debug)]
pub struct Rows {
    /// Empty if the statement returns no rows by its nature.
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Execution {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// Rows that the last INSERT, UPDATE or DELETE of this connection changed; a statement that only reads leaves it as it was.
    pub changes: i64,
    /// None until this connection has inserted a row.
    pub last_insert_row_id: Option<i64>,
}

//! What the protocol says about SQL, in the words of `engine_sql`, and back.

use engine_core::input::DatabaseChanges;
use engine_sql::{Changes, Database, Execution, SqlError, Value};
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, Executed, MessageStep, Rows, SqlValue, Statement};

use super::failed;

/// SQLite's result codes, as far as they have a code of their own.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const CONSTRAINT: i32 = 19;

/// What one bound value takes in memory beside its content.
const VALUE_BYTES: usize = 40;

pub fn ask(database: &mut Database, question: DatabaseQuestion) -> Result<DatabaseAnswer, SqlError> {
    match question {
        DatabaseQuestion::Exec { sql, .. } => {
            database.exec(&sql).map(|rows| DatabaseAnswer::Rows(rows_of(rows.columns, rows.rows)))
        }
        DatabaseQuestion::Execute { statement, .. } => {
            let Statement { sql, parameters } = statement;
            let parameters: Vec<Value> = parameters.into_iter().map(value).collect();
            database.execute(&sql, &parameters).map(|done| DatabaseAnswer::Executed(executed(done)))
        }
        DatabaseQuestion::ExecuteBatch { statements, .. } => {
            let statements: Vec<engine_sql::Statement> = statements.into_iter().map(statement_of).collect();
            let done = database.execute_batch(&statements)?;
            Ok(DatabaseAnswer::ExecutedBatch(done.into_iter().map(executed).collect()))
        }
        // Those of a message are taken apart before, those about pages are the core's.
        DatabaseQuestion::Message { .. } => Err(SqlError::Denied { what: "a message".to_string() }),
        DatabaseQuestion::GetPages { .. }
        | DatabaseQuestion::Commit { .. }
        | DatabaseQuestion::StageBegin { .. }
        | DatabaseQuestion::StageSegment { .. }
        | DatabaseQuestion::StageFinalize { .. } => Err(SqlError::Denied { what: "a page".to_string() }),
    }
}

/// The same for what a message runs.
pub fn ask_within(database: &mut Database, statements: MessageStep) -> Result<DatabaseAnswer, SqlError> {
    match statements {
        MessageStep::Execute(Statement { sql, parameters }) => {
            let parameters: Vec<Value> = parameters.into_iter().map(value).collect();
            database.execute(&sql, &parameters).map(|done| DatabaseAnswer::Executed(executed(done)))
        }
        MessageStep::Script(sql) => database.exec(&sql).map(|_| DatabaseAnswer::Executed(Executed::default())),
        MessageStep::Seal | MessageStep::RollBack => Err(SqlError::Denied { what: "the end of a message".to_string() }),
    }
}

/// About what a question takes in memory while it waits.
pub fn question_bytes(question: &DatabaseQuestion) -> usize {
    let statement = |statement: &Statement| {
        let parameters = statement.parameters.iter().map(|parameter| VALUE_BYTES + content_bytes(parameter));
        VALUE_BYTES + statement.sql.len() + parameters.sum::<usize>()
    };
    match question {
        DatabaseQuestion::Exec { sql, .. } => VALUE_BYTES + sql.len(),
        DatabaseQuestion::Execute { statement: one, .. } => statement(one),
        DatabaseQuestion::ExecuteBatch { statements, .. } => VALUE_BYTES + statements.iter().map(statement).sum::<usize>(),
        DatabaseQuestion::Message { step, .. } => match step {
            MessageStep::Execute(one) => statement(one),
            MessageStep::Script(sql) => VALUE_BYTES + sql.len(),
            MessageStep::Seal | MessageStep::RollBack => 0,
        },
        DatabaseQuestion::GetPages { .. }
        | DatabaseQuestion::Commit { .. }
        | DatabaseQuestion::StageBegin { .. }
        | DatabaseQuestion::StageSegment { .. }
        | DatabaseQuestion::StageFinalize { .. } => 0,
    }
}

/// The original has one code for all of these; SQLite's own sentence is what clients show.
pub fn error(error: &SqlError) -> DatabaseError {
    failed(error.to_string())
}

/// What the guest of a component sees, whose codes are part of the contract.
pub fn message_error(error: &SqlError) -> DatabaseError {
    let code = match error {
        SqlError::Statement { sqlite_code, .. } => match sqlite_code & 0xff {
            CONSTRAINT => "constraint",
            BUSY | LOCKED => "busy",
            _ => "error",
        },
        SqlError::MultipleStatements | SqlError::ZeroByte { .. } | SqlError::TooManyParameters { .. } => "invalid_argument",
        SqlError::ParameterTooLarge { .. }
        | SqlError::SqlTooLarge { .. }
        | SqlError::ValueTooLarge { .. }
        | SqlError::ResultTooLarge { .. }
        | SqlError::HeapExhausted { .. }
        | SqlError::HeldExhausted { .. } => "too_large",
        SqlError::TooManySteps { .. } | SqlError::TookTooLong { .. } => "interrupted",
        SqlError::DatabaseFull { .. } => "full",
        SqlError::Denied { .. } => "denied",
        SqlError::Corrupt { .. } | SqlError::Unsupported { .. } => "corrupt",
        SqlError::Pages(_) | SqlError::Setup { .. } => "unavailable",
    };
    message_failed(code, error.to_string())
}

pub fn message_failed(code: &'static str, message: String) -> DatabaseError {
    DatabaseError { group: SqlError::GROUP, code, message }
}

pub fn changes(changes: Changes, base_txid: u64) -> DatabaseChanges {
    DatabaseChanges { base_txid, pages: changes.pages, size_pages: changes.size_pages }
}

fn statement_of(statement: Statement) -> engine_sql::Statement {
    engine_sql::Statement { sql: statement.sql, params: statement.parameters.into_iter().map(value).collect() }
}

fn executed(done: Execution) -> Executed {
    Executed { rows: rows_of(done.columns, done.rows), changes: done.changes, last_insert_row_id: done.last_insert_row_id }
}

fn rows_of(columns: Vec<String>, rows: Vec<Vec<Value>>) -> Rows {
    Rows { columns, rows: rows.into_iter().map(|row| row.into_iter().map(sql_value).collect()).collect() }
}

fn value(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Float(number) => Value::Float(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
    }
}

fn sql_value(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Integer(number) => SqlValue::Integer(number),
        Value::Float(number) => SqlValue::Float(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Blob(bytes),
    }
}

fn content_bytes(value: &SqlValue) -> usize {
    match value {
        SqlValue::Null | SqlValue::Integer(_) | SqlValue::Float(_) => 0,
        SqlValue::Text(text) => text.len(),
        SqlValue::Blob(bytes) => bytes.len(),
    }
}

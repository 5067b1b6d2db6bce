//! `rivet:actor/sql`: statements in the actor's own database, which the engine runs, in the transaction of the running message.

use protocol::database::{DatabaseAnswer, DatabaseError, Executed, MessageStep, SqlValue, Statement};
use protocol::trace::{self, Kind};

use super::Host;
use crate::bindings::rivet::actor::sql;

impl sql::Host for Host {
    async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> wasmtime::Result<Result<sql::Executed, sql::SqlError>> {
        let parameters = parameters.into_iter().map(SqlValue::from).collect();
        let executed = self.step(MessageStep::Execute(Statement { sql: statement, parameters })).await;
        Ok(executed.map(sql::Executed::from))
    }

    async fn execute_script(&mut self, statements: String) -> wasmtime::Result<Result<(), sql::SqlError>> {
        Ok(self.step(MessageStep::Script(statements)).await.map(drop))
    }
}

impl Host {
    async fn step(&mut self, step: MessageStep) -> Result<Executed, sql::SqlError> {
        let used = self.actor.books().state.use_database();
        if let Err(refusal) = used {
            return Err(sql::SqlError { code: "ended".to_string(), message: refusal.text().to_string() });
        }
        let mut span = trace::child("sql.execute", Kind::Internal);
        match self.actor.ask_database(step).await.1 {
            Ok(DatabaseAnswer::Executed(executed)) => Ok(executed),
            Ok(_) => Err(crate::actor::no_database_answer().into()),
            Err(error) => {
                // Its message may hold what was written.
                span.fail(|| error.code.to_string());
                Err(error.into())
            }
        }
    }
}

impl From<DatabaseError> for sql::SqlError {
    fn from(error: DatabaseError) -> sql::SqlError {
        sql::SqlError { code: error.code.to_string(), message: error.message }
    }
}

impl From<sql::Value> for SqlValue {
    fn from(value: sql::Value) -> SqlValue {
        match value {
            sql::Value::Null => SqlValue::Null,
            sql::Value::Integer(integer) => SqlValue::Integer(integer),
            sql::Value::Real(real) => SqlValue::Float(real),
            sql::Value::Text(text) => SqlValue::Text(text),
            sql::Value::Blob(bytes) => SqlValue::Blob(bytes.into()),
        }
    }
}

impl From<SqlValue> for sql::Value {
    fn from(value: SqlValue) -> sql::Value {
        match value {
            SqlValue::Null => sql::Value::Null,
            SqlValue::Integer(integer) => sql::Value::Integer(integer),
            SqlValue::Float(real) => sql::Value::Real(real),
            SqlValue::Text(text) => sql::Value::Text(text),
            SqlValue::Blob(bytes) => sql::Value::Blob(bytes.into()),
        }
    }
}

impl From<Executed> for sql::Executed {
    fn from(executed: Executed) -> sql::Executed {
        let row = |row: Vec<SqlValue>| row.into_iter().map(sql::Value::from).collect();
        sql::Executed {
            columns: executed.rows.columns,
            rows: executed.rows.rows.into_iter().map(row).collect(),
            changes: u64::try_from(executed.changes).unwrap_or(0),
            last_insert_row_id: executed.last_insert_row_id,
        }
    }
}

//! The transaction that one message of an actor is.
//!
//! ```text
//! None --first statement--> Open --sealed, rolled back--> None
//!                            | SQLite, or the end of the connection, has rolled it back
//!                            v
//!                           Broken --sealed (refused), rolled back--> None
//! ```
//!
//! All of a message is written or nothing: what comes after a transaction that was lost must not begin another one, so a broken one
//! answers everything with an error until the message is over. What was sealed is not here any more: SQLite has committed it, and if
//! the actor's commit does not, the connection is thrown away.

use engine_core::input::DatabaseChanges;
use protocol::database::{DatabaseAnswer, DatabaseError, MessageStep, PAGE_BYTES};
use protocol::limits::DATABASE_MESSAGE_PAGES_MAX;

use super::connection::{Connection, Ran};
use super::words::{self, message_failed};

#[derive(Default)]
pub enum Message {
    /// There is none. Next: Open, with the first statement of one.
    #[default]
    None,
    /// Next: None when it ends, Broken if it is lost.
    Open,
    /// Rolled back before its end, for this reason. Next: None when it ends.
    Broken(DatabaseError),
}

impl Message {
    pub fn is_none(&self) -> bool {
        matches!(self, Message::None)
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Message::Open)
    }

    /// Its connection is gone.
    pub fn lose(&mut self, why: &str) {
        if self.is_open() {
            *self = broken(why);
        }
    }

    /// What this step is answered, and what it sealed. The connection is taken if it is of no use any more; one is opened if there is
    /// none.
    pub fn step(
        &mut self,
        step: MessageStep,
        connection: &mut Option<Connection>,
        open: impl FnOnce() -> Result<Connection, DatabaseError>,
    ) -> Ran {
        if connection.is_none() {
            self.lose("its connection was closed");
        }
        match step {
            MessageStep::RollBack => (self.roll_back(connection), None),
            MessageStep::Seal => self.seal(connection),
            statements => (self.run(statements, connection, open), None),
        }
    }

    fn run(
        &mut self,
        statements: MessageStep,
        connection: &mut Option<Connection>,
        open: impl FnOnce() -> Result<Connection, DatabaseError>,
    ) -> Result<DatabaseAnswer, DatabaseError> {
        if let Message::Broken(error) = self {
            return Err(error.clone());
        }
        let database = match connection {
            Some(database) => database,
            None => connection.insert(open().map_err(|error| message_failed("unavailable", error.message))?),
        };
        if self.is_none() {
            database.begin()?;
            *self = Message::Open;
        }
        let answer = database.run_within(statements);
        match &answer {
            // It goes on, without this statement.
            Err(_) if database.in_transaction() => {}
            Err(error) => self.lose(&error.message),
            Ok(_) => {}
        }
        if let Some(error) = database.moved() {
            *connection = None;
            self.lose(&error.message);
            return Err(message_failed("aborted", error.message));
        }
        answer
    }

    fn seal(&mut self, connection: &mut Option<Connection>) -> Ran {
        match (std::mem::take(self), connection.as_mut()) {
            (Message::Broken(error), _) => (Err(error), None),
            (Message::None, _) | (Message::Open, None) => (Ok(DatabaseAnswer::Unchanged), None),
            (Message::Open, Some(database)) => match database.seal() {
                Err(error) => (Err(error), None),
                Ok(None) => (Ok(DatabaseAnswer::Unchanged), None),
                Ok(Some(changes)) if changes.pages.len() > DATABASE_MESSAGE_PAGES_MAX => {
                    *connection = None;
                    (Err(too_large(changes.pages.len())), None)
                }
                Ok(Some(changes)) => (Ok(sealed(&changes)), Some(changes)),
            },
        }
    }

    fn roll_back(&mut self, connection: &mut Option<Connection>) -> Result<DatabaseAnswer, DatabaseError> {
        if self.is_open() && connection.as_mut().is_some_and(|database| database.roll_back().is_err()) {
            // Closed, it is rolled back all the same.
            *connection = None;
        }
        *self = Message::None;
        Ok(DatabaseAnswer::Unchanged)
    }
}

fn sealed(changes: &DatabaseChanges) -> DatabaseAnswer {
    DatabaseAnswer::Sealed { pages: changes.pages.clone(), size_pages: changes.size_pages }
}

fn broken(why: &str) -> Message {
    let message = format!("the message's transaction was rolled back ({why}); nothing more of it can be done");
    Message::Broken(message_failed("aborted", message))
}

fn too_large(pages: usize) -> DatabaseError {
    let message = format!(
        "the message has changed {pages} pages of {PAGE_BYTES} bytes, and one may change {DATABASE_MESSAGE_PAGES_MAX}; divide the work \
         among several messages"
    );
    words::message_failed("too_large", message)
}

//! What an actor asks the engine for: its entries, steps of its database's transaction, other actors.

use bytes::Bytes;
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, MessageStep};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, KV_LIST_ENTRIES_MAX, cut};
use protocol::message::{
    Ask, CallError, CallTarget, DatabaseCommit, Failure, FailureKind, FromRunner, KvAnswer, KvChange, KvQuestion, KvRange, KvSpace,
};
use protocol::trace::Carried;

use super::Actor;
use super::questions::Answer;
use crate::state::list::Pair;
use crate::state::{Known, Refusal};

impl Actor {
    pub async fn ask(&self, space: KvSpace, question: KvQuestion) -> Result<KvAnswer, Refusal> {
        let (actor, generation) = (self.id, self.generation);
        match self.question(|call| FromRunner::Kv { actor, generation, call, space, question }).await {
            (_, Some(Answer::Kv(Ok(answer)))) => Ok(answer),
            (_, Some(Answer::Kv(Err(cause)))) => Err(Refusal::Other(format!("the engine could not read the state: {cause}"))),
            _ => Err(unexpected_answer()),
        }
    }

    /// An entry as the running message sees it.
    pub async fn read(&self, space: KvSpace, key: Bytes) -> Result<Option<Bytes>, Refusal> {
        let known = self.books().state.known(space, &key);
        match known {
            Known::Value(value) => return Ok(Some(value)),
            Known::Absent => return Ok(None),
            Known::Unknown => {}
        }
        match self.ask(space, KvQuestion::Get { keys: vec![key.clone()] }).await? {
            KvAnswer::Get(mut values) if values.len() == 1 => {
                // A copy of its own: the answer may be a slice of something large.
                let value = values.pop().flatten().map(|entry| Bytes::copy_from_slice(&entry.value));
                self.books().state.learn(space, key, value.clone());
                Ok(value)
            }
            _ => Err(unexpected_answer()),
        }
    }

    /// Entries as the running message sees them, at most [`KV_LIST_ENTRIES_MAX`].
    pub async fn list(
        &self,
        space: KvSpace,
        range: KvRange,
        reverse: bool,
        limit: usize,
        keys_only: bool,
    ) -> Result<Vec<Pair>, Refusal> {
        let mut listing = self.books().state.list(space, range, reverse, limit.min(KV_LIST_ENTRIES_MAX), keys_only);
        while let Some(question) = listing.question() {
            match self.ask(space, question).await? {
                KvAnswer::List(entries) => listing.answer(entries)?,
                KvAnswer::Get(_) | KvAnswer::Written => return Err(unexpected_answer()),
            }
        }
        listing.finish()
    }

    /// A step of the running message's transaction in the actor's database, and the number of the question.
    pub async fn ask_database(&self, step: MessageStep) -> (u64, Result<DatabaseAnswer, DatabaseError>) {
        let (call, answer) = self.question(|call| self.database_step(call, step)).await;
        match answer {
            Some(Answer::Database(answer)) => (call, answer),
            _ => (call, Err(no_database_answer())),
        }
    }

    /// Ends the running message's transaction in the database, if it has one: what is to be part of its commit.
    pub(super) async fn seal_database(&self) -> Result<Option<DatabaseCommit>, Failure> {
        if !self.books().state.uses_database() {
            return Ok(None);
        }
        let failed = |message: String| {
            let message = cut(format!("the actor's SQL could not be committed: {message}"), FAILURE_TEXT_BYTES_MAX);
            Err(Failure { kind: FailureKind::HandlerError, message })
        };
        match self.ask_database(MessageStep::Seal).await {
            (call, Ok(DatabaseAnswer::Sealed { pages, size_pages })) => Ok(Some(DatabaseCommit { call, pages, size_pages })),
            (_, Ok(DatabaseAnswer::Unchanged)) => Ok(None),
            (_, Ok(_)) => failed(no_database_answer().message),
            (_, Err(error)) => failed(format!("{} ({})", error.message, error.code)),
        }
    }

    /// Whether what the running message has written may be stored, if its actor may not store as much as it likes. Asked before it is
    /// committed, because the next message builds on that.
    pub(super) async fn ask_storage(&self, database: Option<&DatabaseCommit>) -> Result<(), Failure> {
        if self.settings().is_none_or(|settings| settings.limits.storage_bytes.is_none()) {
            return Ok(());
        }
        let (changes, own) = self.books().state.changes();
        let puts = |changes: &[KvChange]| changes.iter().any(|change| matches!(change, KvChange::Put { .. }));
        let size_pages = database.map(|database| database.size_pages);
        if !puts(&changes) && !puts(&own) && size_pages.is_none() {
            return Ok(());
        }
        let (actor, generation) = (self.id, self.generation);
        let ask = |call| FromRunner::AskStorage { actor, generation, call, changes, own, size_pages };
        match self.question(ask).await.1 {
            Some(Answer::Kv(Ok(KvAnswer::Written))) => Ok(()),
            Some(Answer::Kv(Err(message))) => Err(Failure { kind: FailureKind::StorageFull, message }),
            _ => Err(Failure { kind: FailureKind::Internal, message: unexpected_answer().text().to_string() }),
        }
    }

    /// Calls another actor, once what this one has committed is durable: what it hears must not be lost.
    pub async fn call(&self, target: CallTarget, ask: Ask, timeout_ms: u64) -> Result<String, CallError> {
        self.durable().await;
        let (actor, generation, trace) = (self.id, self.generation, Carried::current());
        match self.question(|call| FromRunner::CallActor { actor, generation, call, target, ask, timeout_ms, trace }).await.1 {
            Some(Answer::Call(answer)) => answer,
            _ => Err(CallError {
                group: "core".to_string(),
                code: "internal_error".to_string(),
                message: "the engine's answer does not fit the question".to_string(),
                metadata: None,
            }),
        }
    }

    /// Nobody waits for the answer: whatever comes next about the database comes after it.
    pub(super) fn roll_back_database(&self) {
        let (call, _) = self.books().questions.ask();
        self.send(self.database_step(call, MessageStep::RollBack));
    }

    fn database_step(&self, call: u64, step: MessageStep) -> FromRunner {
        let question = DatabaseQuestion::Message { generation: u64::from(self.generation), step };
        FromRunner::Database { actor: self.id, call, question }
    }

    async fn question(&self, message: impl FnOnce(u64) -> FromRunner) -> (u64, Option<Answer>) {
        let (call, answer) = self.books().questions.ask();
        self.send(message(call));
        (call, answer.await.ok())
    }
}

fn unexpected_answer() -> Refusal {
    Refusal::Other("the engine's answer does not fit the question".to_string())
}

pub fn no_database_answer() -> DatabaseError {
    DatabaseError { group: "sqlite", code: "no_answer", message: "the engine's answer does not fit the question".to_string() }
}

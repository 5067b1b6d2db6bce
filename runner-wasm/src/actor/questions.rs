//! What an actor has asked the engine, each with whoever waits for the answer.
//!
//! Numbers never repeat over the generations of an actor: an answer about the database does not say which one it is for.

use std::collections::BTreeMap;

use protocol::database::{DatabaseAnswer, DatabaseError};
use protocol::id::Generation;
use protocol::message::{CallError, KvAnswer};
use tokio::sync::oneshot;

pub enum Answer {
    Kv(Result<KvAnswer, String>),
    Database(Result<DatabaseAnswer, DatabaseError>),
    Call(Result<String, CallError>),
}

/// A message asks one thing at a time, so there are as many as there are messages that run: one, and what ended early.
pub struct Questions {
    last: u64,
    open: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Questions {
    pub fn new(generation: Generation) -> Questions {
        Questions { last: u64::from(generation) << 32, open: BTreeMap::new() }
    }

    pub fn ask(&mut self) -> (u64, oneshot::Receiver<Answer>) {
        // Who was ended while it waited does not wait any more.
        self.open.retain(|_, tell| !tell.is_closed());
        self.last += 1;
        let (tell, answer) = oneshot::channel();
        self.open.insert(self.last, tell);
        (self.last, answer)
    }

    pub fn answered(&mut self, question: u64, answer: Answer) {
        if let Some(tell) = self.open.remove(&question) {
            let _ = tell.send(answer);
        }
    }
}

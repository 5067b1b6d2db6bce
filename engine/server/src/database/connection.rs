//! One open database, and the head that it stands on.
//!
//! A connection sees the database as of one head: the one that it was opened at, or the one of its own last commit. Its pages are
//! read when SQLite wants them, each together with the head as of one moment; if that is another one, somebody else has written
//! and the connection is of no use any more. Never writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use engine_core::input::DatabaseChanges;
use engine_core::record::DatabaseHead;
use engine_sql::{Database, Limits, Pages, PagesError};
use engine_store::State;
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, MessageStep};
use protocol::id::ActorId;

use super::pages::unreadable;
use super::{failed, head_moved, words};
use crate::clock::Clock;

/// What SQL takes for the time.
#[derive(Default)]
pub struct Time {
    clock: Clock,
    /// How often somebody has looked since the end; 0: there was none yet.
    looks: AtomicI64,
}

/// Longer than any statement may take.
const LOOK_MS: i64 = 3_600_000;

impl Time {
    pub fn new(clock: Clock) -> Time {
        Time { clock, looks: AtomicI64::new(0) }
    }

    /// The engine ends, and nothing is committed any more. From one look to the next now passes more time than a statement has.
    pub fn end(&self) {
        self.looks.fetch_max(1, Ordering::Relaxed);
    }

    fn now_ms(&self) -> i64 {
        let now_ms = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX);
        match self.looks.load(Ordering::Relaxed) {
            0 => now_ms,
            _ => now_ms.saturating_add(LOOK_MS.saturating_mul(self.looks.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

pub struct Connection {
    database: Database,
    state: State,
    actor: ActorId,
    head: DatabaseHead,
    /// Another head that was seen while reading a page.
    moved: Arc<AtomicU64>,
}

/// No head was seen that is not the expected one.
const NOT_MOVED: u64 = u64::MAX;

impl Connection {
    pub fn open(state: &State, actor: ActorId, time: &Arc<Time>) -> Result<Connection, DatabaseError> {
        let (head, moved) = (head_of(state, actor)?, Arc::new(AtomicU64::new(NOT_MOVED)));
        let pages = StoredPages { state: state.clone(), actor, head, moved: moved.clone() };
        let time = time.clone();
        let opened = Database::open(Box::new(pages), Box::new(move || time.now_ms()), Limits::default());
        let database = opened.map_err(|error| {
            tracing::warn!(%actor, %error, "an actor's database cannot be opened");
            words::error(&error)
        })?;
        Ok(Connection { database, state: state.clone(), actor, head, moved })
    }

    pub fn in_transaction(&self) -> bool {
        self.database.in_transaction()
    }

    /// Whether the head on disk is the one that this stands on; `committed`: and its own last changes, which are durable now.
    pub fn refresh(&mut self, committed: bool) -> Result<(), DatabaseError> {
        let (head, expected) = (head_of(&self.state, self.actor)?, self.head.txid + u64::from(committed));
        if head.txid != expected {
            return Err(head_moved(expected, head.txid));
        }
        if committed {
            let (state, moved) = (self.state.clone(), self.moved.clone());
            self.database.settle(Box::new(StoredPages { state, actor: self.actor, head, moved }));
            self.head = head;
        }
        Ok(())
    }

    /// The answer, and what is to be committed before it is given. `Err`: this is of no use any more, and nothing is to be committed.
    pub fn run(&mut self, question: DatabaseQuestion) -> Result<Ran, DatabaseError> {
        let result = words::ask(&mut self.database, question);
        // Whether it failed or not: of several statements the first ones may have been committed.
        let changes = self.database.take_changes().map(|changes| words::changes(changes, self.head.txid));
        match self.moved() {
            None => Ok((result.map_err(|error| words::error(&error)), changes)),
            Some(error) => Err(error),
        }
    }

    pub fn begin(&mut self) -> Result<(), DatabaseError> {
        self.database.begin().map_err(|error| words::message_error(&error))
    }

    /// Statements of the transaction that was begun.
    pub fn run_within(&mut self, statements: MessageStep) -> Result<DatabaseAnswer, DatabaseError> {
        words::ask_within(&mut self.database, statements).map_err(|error| words::message_error(&error))
    }

    /// Ends the transaction that was begun: what it has changed, if that is anything.
    pub fn seal(&mut self) -> Result<Option<DatabaseChanges>, DatabaseError> {
        self.database.commit().map_err(|error| words::message_error(&error))?;
        Ok(self.database.take_changes().map(|changes| words::changes(changes, self.head.txid)))
    }

    pub fn roll_back(&mut self) -> Result<(), DatabaseError> {
        self.database.roll_back().map_err(|error| words::message_error(&error))
    }

    /// Why this is of no use any more, if somebody else has written.
    pub fn moved(&self) -> Option<DatabaseError> {
        let current = self.moved.load(Ordering::Relaxed);
        (current != NOT_MOVED).then(|| head_moved(self.head.txid, current))
    }
}

pub type Ran = (Result<DatabaseAnswer, DatabaseError>, Option<DatabaseChanges>);

/// As it is in the state, for reading. Whatever is written to it is gone with it.
pub fn open_to_read(state: &State, actor: ActorId) -> Result<Option<Database>, DatabaseError> {
    let (head, clock) = (head_of(state, actor)?, Clock::default());
    if head.size_pages == 0 {
        return Ok(None);
    }
    let pages = StoredPages { state: state.clone(), actor, head, moved: Arc::default() };
    let now_ms = move || i64::try_from(clock.now_ms()).unwrap_or(i64::MAX);
    let opened = Database::open(Box::new(pages), Box::new(now_ms), Limits::default());
    opened.map(Some).map_err(|error| words::error(&error))
}

/// A database that was never written is empty.
pub fn head_of(state: &State, actor: ActorId) -> Result<DatabaseHead, DatabaseError> {
    let (head, _) = state.pages(actor, &[]).map_err(|error| unreadable(actor, &error))?;
    Ok(head.unwrap_or_default())
}

/// The transaction of a connection that had to be closed.
pub fn transaction_lost(why: &str) -> DatabaseError {
    failed(format!("the open transaction was rolled back: {why}; begin it again"))
}

struct StoredPages {
    state: State,
    actor: ActorId,
    head: DatabaseHead,
    moved: Arc<AtomicU64>,
}

impl Pages for StoredPages {
    fn size_pages(&self) -> u32 {
        self.head.size_pages
    }

    fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
        let (head, mut pages) =
            self.state.pages(self.actor, &[pgno]).map_err(|error| PagesError(unreadable(self.actor, &error).message))?;
        let head = head.unwrap_or_default();
        if head.txid != self.head.txid {
            self.moved.store(head.txid, Ordering::Relaxed);
            return Err(PagesError(head_moved(self.head.txid, head.txid).message));
        }
        Ok(pages.pop().flatten())
    }
}

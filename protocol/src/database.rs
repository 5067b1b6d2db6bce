//! The words about an actor's SQLite database.
//!
//! A runner either runs SQLite itself and has the engine keep the pages, or has the engine run it. Both see the same database:
//! pages of [`PAGE_BYTES`], numbered from 1, and a head that every commit raises by one.

use bytes::Bytes;

pub const PAGE_BYTES: usize = 4096;

/// One page and its number.
pub type Page = (u32, Bytes);

/// The generation and the head that the asker believes in. What a fence is missing, and whether it must be there, the engine says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fence {
    pub generation: Option<u64>,
    pub head_txid: Option<u64>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum DatabaseQuestion {
    GetPages {
        fence: Fence,
        pages: Vec<u32>,
    },
    Commit {
        fence: Fence,
        pages: Vec<Page>,
        size_pages: u32,
    },
    /// A commit that is too large for one message: announced, sent in segments, and made visible at the end.
    StageBegin {
        fence: Fence,
    },
    StageSegment {
        generation: Option<u64>,
        txid: u64,
        first_page: u32,
        pages: Vec<Page>,
    },
    StageFinalize {
        generation: Option<u64>,
        txid: u64,
        size_pages: u32,
        first_pages: Vec<u32>,
    },
    /// Many statements; answered by the last one's rows.
    Exec {
        generation: u64,
        sql: String,
    },
    /// One statement.
    Execute {
        generation: u64,
        statement: Statement,
    },
    /// All or none of these.
    ExecuteBatch {
        generation: u64,
        statements: Vec<Statement>,
    },
    /// *Ours.* A step of the transaction that one message of an actor is: it begins with the first of these, and ends with `Seal` or
    /// `RollBack`.
    Message {
        generation: u64,
        step: MessageStep,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub enum MessageStep {
    /// One statement; answered by `Executed`.
    Execute(Statement),
    /// Many; answered by `Executed` of nothing.
    Script(String),
    /// The message has succeeded: answered by `Sealed` with what it changed, which comes back in the message's commit, or by
    /// `Unchanged`. Until that commit is durable no other statement of the actor runs.
    Seal,
    /// The message has failed; answered by `Unchanged`.
    RollBack,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    pub sql: String,
    pub parameters: Vec<SqlValue>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum SqlValue {
    Null,
    Integer(i64),
    Float(f64),
    Text(String),
    Blob(Bytes),
}

#[derive(Clone, PartialEq, Debug)]
pub enum DatabaseAnswer {
    Pages {
        pages: Vec<(u32, Option<Bytes>)>,
        head_txid: u64,
    },
    Committed {
        head_txid: u64,
    },
    Staging {
        txid: u64,
    },
    Staged {
        bytes: u64,
    },
    Rows(Rows),
    Executed(Executed),
    ExecutedBatch(Vec<Executed>),
    /// *Ours.*
    Sealed {
        pages: Vec<Page>,
        size_pages: u32,
    },
    /// *Ours.*
    Unchanged,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<SqlValue>>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Executed {
    pub rows: Rows,
    /// Of the last statement that changed rows; in a message, of this one.
    pub changes: i64,
    pub last_insert_row_id: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseError {
    pub group: &'static str,
    pub code: &'static str,
    pub message: String,
}

//! Actors' SQLite databases, as far as they touch the disk.

use std::sync::Arc;

use protocol::database::DatabaseQuestion;
use protocol::id::{ActorId, Generation, RunnerId};

use crate::engine::Engine;

pub fn read_pages(
    _engine: &Arc<Engine>,
    _runner: RunnerId,
    _actor: ActorId,
    _call: u64,
    _pages: Vec<u32>,
    _expected_txid: Option<u64>,
) {
}

pub fn run_sql(
    _engine: &Arc<Engine>,
    _runner: RunnerId,
    _actor: ActorId,
    _generation: Generation,
    _call: u64,
    _question: DatabaseQuestion,
) {
}

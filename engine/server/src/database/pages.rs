//! Answers a runner that asks for pages of an actor's database.
//!
//! That it may ask, and for what, the core has checked. The texts of errors are the original's: clients look for them.

use std::sync::Arc;

use bytes::Bytes;
use engine_store::State;
use protocol::database::{DatabaseAnswer, DatabaseError, PAGE_BYTES};
use protocol::id::{ActorId, RunnerId};
use protocol::limits::{DATABASE_READ_PAGES_MAX, REQUEST_BODY_BYTES_MAX};
use protocol::message::ToRunner;

use super::{failed, head_moved, not_found};
use crate::engine::Engine;
use crate::readers::READS_WAITING_MAX;

static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

pub fn read_pages(engine: &Arc<Engine>, runner: RunnerId, actor: ActorId, call: u64, pages: Vec<u32>, expected_txid: Option<u64>) {
    let answer = move |engine: &Engine, result| engine.runners.send(runner, ToRunner::Database { actor, call, result });
    if pages.len() > DATABASE_READ_PAGES_MAX {
        let asked = pages.len();
        let message = format!("{asked} pages were asked for, and one answer has at most {DATABASE_READ_PAGES_MAX}; ask for fewer");
        return answer(engine, Err(failed(message)));
    }
    let shared = engine.clone();
    let accepted = engine.readers.try_read(move |state| answer(&shared, read(state, actor, &pages, expected_txid)));
    if !accepted {
        answer(engine, Err(failed(format!("{READS_WAITING_MAX} reads are waiting for the disk; try again in a moment"))));
    }
}

pub(super) fn read(
    state: &State,
    actor: ActorId,
    numbers: &[u32],
    expected_txid: Option<u64>,
) -> Result<DatabaseAnswer, DatabaseError> {
    let (head, pages) = state.pages(actor, numbers).map_err(|error| unreadable(actor, &error))?;
    // Before the fence, as the original does: this is how a client learns that its database is new.
    let head = head.ok_or_else(not_found)?;
    if let Some(expected) = expected_txid.filter(|expected| *expected != head.txid) {
        return Err(head_moved(expected, head.txid));
    }
    let page = |(number, page): (&u32, Option<Bytes>)| {
        let inside = *number <= head.size_pages;
        (*number, inside.then(|| page.unwrap_or(Bytes::from_static(&ZEROS))))
    };
    Ok(DatabaseAnswer::Pages { pages: numbers.iter().zip(pages).map(page).collect(), head_txid: head.txid })
}

pub(super) fn unreadable(actor: ActorId, error: &engine_store::StoreError) -> DatabaseError {
    tracing::error!(%actor, %error, "an actor's database cannot be read");
    failed("the engine could not read the database; its log has the cause")
}

const _: () = assert!(
    (DATABASE_READ_PAGES_MAX * (PAGE_BYTES + 16)) as u64 <= REQUEST_BODY_BYTES_MAX,
    "an answer fits in what the wire protocols call a payload"
);

//! Who may write an actor's database, and on what.
//!
//! Two fences. The generation: only the one that runs reads or writes, so a runner that was given up cannot. The head: a writer says
//! which commit it has seen last, and one that has missed some is refused. The texts are the original's: clients look for them.
//!
//! What the statements of a component's message wrote goes to its runner and comes back as part of the message's commit. Here it is
//! kept meanwhile, so that nothing else can be written in its place.

use std::collections::{BTreeMap, BTreeSet};

use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, Fence, MessageStep, PAGE_BYTES, Page};
use protocol::id::{ActorId, Generation, RunnerId};
use protocol::limits::{
    DATABASE_COMMIT_BYTES_MAX, DATABASE_PAGES_MAX, DATABASE_SEGMENT_ALIGNMENT, DATABASE_SEGMENT_PAGES_MAX, DATABASE_SEGMENTS_MAX,
    DATABASE_STAGED_BYTES_MAX,
};
use protocol::message::{DatabaseCommit, ToRunner};

use crate::action::Action;
use crate::core::{ActorThen, Core};
use crate::input::DatabaseChanges;
use crate::life::{Actor, Life};
use crate::record::{Change, DatabaseHead};
use crate::words::NO_SUCH_ACTOR;

/// A commit that comes in pieces; nothing of it is visible before its end.
pub(crate) struct Stage {
    txid: u64,
    /// By their first page.
    segments: BTreeMap<u32, Vec<Page>>,
    bytes: usize,
}

/// What the statements of one message wrote, until the message's commit brings it.
pub(crate) struct Sealed {
    /// The `Seal` that was answered with it.
    call: u64,
    changes: DatabaseChanges,
}

/// What is to be committed, and then answered.
struct Write {
    pages: Vec<Page>,
    size_pages: u32,
}

enum Next {
    Answer(DatabaseAnswer),
    Commit(Write),
    Read { pages: Vec<u32>, expected_txid: Option<u64> },
    Run(Generation, DatabaseQuestion),
}

impl Core {
    pub(crate) fn database(&mut self, runner: RunnerId, id: ActorId, call: u64, question: DatabaseQuestion) {
        let runs_components = self.runners.get(&runner).is_some_and(|runner| runner.profile.runs_components());
        let own = self.actors.get(&id).is_some_and(|actor| {
            runs_components || self.runners.get(&runner).is_some_and(|runner| runner.is_of(actor.record.namespace))
        });
        let next = match self.actors.get_mut(&id).filter(|_| own) {
            // Only these have messages that are transactions.
            Some(_) if matches!(question, DatabaseQuestion::Message { .. }) && !runs_components => Err(no_message()),
            Some(actor) => actor.database(question),
            None => Err(no_such_actor()),
        };
        match next {
            Ok(Next::Answer(answer)) => self.answer_database(runner, id, call, Ok(answer)),
            Ok(Next::Commit(write)) => self.commit_database(runner, id, call, write, None),
            Ok(Next::Read { pages, expected_txid }) => {
                self.act(Action::ReadPages { runner, actor: id, call, pages, expected_txid });
            }
            Ok(Next::Run(generation, question)) => self.run_sql(runner, id, generation, call, question),
            Err(error) => self.answer_database(runner, id, call, Err(error)),
        }
    }

    fn run_sql(&mut self, runner: RunnerId, id: ActorId, generation: Generation, call: u64, question: DatabaseQuestion) {
        if matches!(question, DatabaseQuestion::Message { step: MessageStep::RollBack, .. }) {
            self.drop_seal(id);
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.uses_sql = true;
        }
        self.act(Action::RunSql { runner, actor: id, generation, call, question });
    }

    /// The engine has run a statement of the actor: what it wrote is committed before it is answered, unless it is part of a message.
    pub(crate) fn sql_ran(
        &mut self,
        runner: RunnerId,
        id: ActorId,
        generation: Generation,
        call: u64,
        result: Result<DatabaseAnswer, DatabaseError>,
        changes: Option<DatabaseChanges>,
    ) {
        let current = self.actors.get(&id).is_some_and(|actor| actor.may_use_database(u64::from(generation)));
        let head_txid = self.actors.get(&id).map_or(0, Actor::head_txid);
        match (result, changes) {
            _ if !current => self.answer_database(runner, id, call, Err(no_such_actor())),
            // The runner has written pages of its own meanwhile.
            (_, Some(DatabaseChanges { base_txid, .. })) if base_txid != head_txid => {
                self.answer_database(runner, id, call, Err(head_fence_mismatch(base_txid, head_txid)));
            }
            (Ok(answer @ DatabaseAnswer::Sealed { .. }), Some(changes)) => {
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.sealed = Some(Box::new(Sealed { call, changes }));
                }
                self.answer_database(runner, id, call, Ok(answer));
            }
            (result, Some(DatabaseChanges { pages, size_pages, .. })) => {
                self.commit_database(runner, id, call, Write { pages, size_pages }, Some(result));
            }
            (result, None) => self.answer_database(runner, id, call, result),
        }
    }

    fn answer_database(&mut self, runner: RunnerId, actor: ActorId, call: u64, result: Result<DatabaseAnswer, DatabaseError>) {
        self.act(Action::ToRunner { runner, message: ToRunner::Database { actor, call, result } });
    }

    /// `answer`: what is said when it is durable, if that is not the new head.
    fn commit_database(
        &mut self,
        runner: RunnerId,
        id: ActorId,
        call: u64,
        write: Write,
        answer: Option<Result<DatabaseAnswer, DatabaseError>>,
    ) {
        if let Err(error) = self.check_pages(id, write.size_pages) {
            return self.answer_database(runner, id, call, Err(error));
        }
        self.used(id);
        let Some(change) = self.change_database(id, write.pages, write.size_pages) else { return };
        let head_txid = self.actors.get(&id).map_or(0, Actor::head_txid);
        let result = answer.unwrap_or(Ok(DatabaseAnswer::Committed { head_txid }));
        let answer = Box::new(ToRunner::Database { actor: id, call, result });
        self.commit_actor(id, vec![change], ActorThen::Answered { runner, answer });
    }

    /// What a message's commit says about the database: the call that sealed it, and the change; or what is wrong with it.
    ///
    /// The engine's connection goes on from the pages that it has sealed, so others under them would be a damaged database.
    pub(crate) fn sealed(&mut self, id: ActorId, database: Option<DatabaseCommit>) -> Result<Option<(u64, Change)>, String> {
        let Some(DatabaseCommit { call, pages, size_pages }) = database else {
            // Its message has failed after all.
            self.drop_seal(id);
            return Ok(None);
        };
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(None) };
        let head_txid = actor.head_txid();
        let Some(sealed) = actor.sealed.take().filter(|sealed| sealed.call == call) else {
            return Err(format!("its runner sent a commit with pages of call {call}, which has sealed none"));
        };
        let Sealed { changes, .. } = *sealed;
        if changes.base_txid != head_txid {
            let base_txid = changes.base_txid;
            return Err(format!("its runner sent a commit with pages on head {base_txid} of the database, and it has {head_txid}"));
        }
        if changes.pages != pages || changes.size_pages != size_pages {
            return Err(format!("its runner sent a commit with other pages than call {call} has sealed"));
        }
        Ok(self.change_database(id, changes.pages, changes.size_pages).map(|change| (call, change)))
    }

    /// What was sealed will not be committed: the connection that did is of no use any more.
    fn drop_seal(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let generation = actor.record.generation;
        if let Some(sealed) = actor.sealed.take() {
            self.act(Action::SqlSettled { actor: id, generation, call: sealed.call, committed: false });
        }
    }

    /// The next head of the actor's database, in memory and for the disk.
    fn change_database(&mut self, id: ActorId, pages: Vec<Page>, size_pages: u32) -> Option<Change> {
        let actor = self.actors.get_mut(&id)?;
        let old = actor.database.unwrap_or_default();
        let head = DatabaseHead { txid: old.txid + 1, size_pages };
        actor.database = Some(head);
        // Whatever was staged was to come after another head.
        actor.stage = None;
        Some(Change::Database { actor: id, head, pages, shrunk: head.size_pages < old.size_pages })
    }
}

impl Actor {
    /// The generation is what owns the database, wherever it runs: a runner that a URL has called reads before it says so.
    fn may_use_database(&self, generation: u64) -> bool {
        let runs = matches!(self.life, Life::Calling | Life::Starting { .. } | Life::Running { .. } | Life::Stopping { .. });
        runs && u64::from(self.record.generation) == generation
    }

    fn head_txid(&self) -> u64 {
        self.database.map_or(0, |head| head.txid)
    }

    fn database(&mut self, question: DatabaseQuestion) -> Result<Next, DatabaseError> {
        match question {
            DatabaseQuestion::GetPages { fence, pages } => {
                self.check_generation(fence.generation, "get_pages")?;
                self.get_pages(fence, pages)
            }
            DatabaseQuestion::Commit { fence, pages, size_pages } => {
                self.check_generation(fence.generation, "commit")?;
                self.check_head(fence.head_txid)?;
                check_commit(&pages, size_pages)?;
                Ok(Next::Commit(Write { pages, size_pages }))
            }
            DatabaseQuestion::StageBegin { fence } => {
                self.check_generation(fence.generation, "staged commit")?;
                self.check_head(fence.head_txid)?;
                let txid = self.head_txid() + 1;
                if self.stage.as_ref().is_none_or(|stage| stage.txid != txid) {
                    self.stage = Some(Box::new(Stage { txid, segments: BTreeMap::new(), bytes: 0 }));
                }
                Ok(Next::Answer(DatabaseAnswer::Staging { txid }))
            }
            DatabaseQuestion::StageSegment { generation, txid, first_page, pages } => {
                self.check_generation(generation, "staged commit")?;
                let stage = self.stage(txid)?;
                stage.add(first_page, pages)?;
                Ok(Next::Answer(DatabaseAnswer::Staged { bytes: stage.bytes as u64 }))
            }
            DatabaseQuestion::StageFinalize { generation, txid, size_pages, first_pages } => {
                self.check_generation(generation, "staged commit")?;
                let pages = self.stage(txid)?.finish(&first_pages)?;
                check_size(size_pages)?;
                Ok(Next::Commit(Write { pages, size_pages }))
            }
            DatabaseQuestion::Exec { generation, .. }
            | DatabaseQuestion::Execute { generation, .. }
            | DatabaseQuestion::ExecuteBatch { generation, .. }
            | DatabaseQuestion::Message { generation, .. } => {
                if !self.may_use_database(generation) {
                    return Err(no_such_actor());
                }
                Ok(Next::Run(self.record.generation, question))
            }
        }
    }

    fn get_pages(&self, fence: Fence, pages: Vec<u32>) -> Result<Next, DatabaseError> {
        if pages.contains(&0) {
            return Err(internal("get_pages does not accept page 0".to_string()));
        }
        if self.database.is_none() && self.stage.is_some() {
            let message = "transaction failed: sqlite meta missing for get_pages".to_string();
            return Err(DatabaseError { group: "depot", code: "meta_missing", message });
        }
        Ok(Next::Read { pages, expected_txid: fence.head_txid })
    }

    fn check_generation(&self, expected: Option<u64>, what: &str) -> Result<(), DatabaseError> {
        let Some(expected) = expected else {
            let message = format!("sqlite {what} missing expectedGeneration");
            return Err(DatabaseError { group: "sqlite", code: "invalid_request", message });
        };
        self.may_use_database(expected).then_some(()).ok_or_else(no_such_actor)
    }

    fn check_head(&self, expected: Option<u64>) -> Result<(), DatabaseError> {
        match expected {
            Some(expected) if expected != self.head_txid() => Err(head_fence_mismatch(expected, self.head_txid())),
            _ => Ok(()),
        }
    }

    fn stage(&mut self, txid: u64) -> Result<&mut Stage, DatabaseError> {
        let head_txid = self.head_txid();
        match self.stage.as_deref_mut().filter(|stage| stage.txid == txid) {
            Some(stage) => Ok(stage),
            None => Err(head_fence_mismatch(txid.saturating_sub(1), head_txid)),
        }
    }
}

impl Stage {
    fn add(&mut self, first_page: u32, pages: Vec<Page>) -> Result<(), DatabaseError> {
        let invalid = |why: String| DatabaseError {
            group: "depot",
            code: "stage_segment_invalid",
            message: format!("transaction failed: StageSegmentInvalid: {why}"),
        };
        if !first_page.is_multiple_of(DATABASE_SEGMENT_ALIGNMENT) {
            return Err(invalid(format!("first page {first_page} is not shard-aligned")));
        }
        check_pages(&pages)?;
        let end = first_page.saturating_add(DATABASE_SEGMENT_PAGES_MAX);
        if let Some((page, _)) = pages.iter().find(|(page, _)| *page < first_page || *page >= end) {
            return Err(invalid(format!("page {page} is outside of the segment from {first_page} to {end}")));
        }
        // The same segment again, because its answer was lost, replaces the one that is there. Those that begin further away
        // cannot have pages of this one.
        let nearest = first_page.saturating_sub(DATABASE_SEGMENT_PAGES_MAX - 1);
        let taken: BTreeSet<u32> = self
            .segments
            .range(nearest..end)
            .filter(|(at, _)| **at != first_page)
            .flat_map(|(_, pages)| pages.iter().map(|(page, _)| *page))
            .collect();
        if let Some((page, _)) = pages.iter().find(|(page, _)| taken.contains(page)) {
            return Err(invalid(format!("page {page} is in another segment already")));
        }
        let bytes = pages.len() * PAGE_BYTES;
        let before = self.segments.get(&first_page).map_or(0, |pages| pages.len() * PAGE_BYTES);
        let after = self.bytes - before + bytes;
        let is_one_more = self.segments.len() >= DATABASE_SEGMENTS_MAX && !self.segments.contains_key(&first_page);
        if after > DATABASE_STAGED_BYTES_MAX || is_one_more {
            let message = format!(
                "the transaction has more than {DATABASE_STAGED_BYTES_MAX} bytes of changed pages; commit in smaller transactions"
            );
            return Err(DatabaseError { group: "depot", code: "commit_too_large", message });
        }
        self.bytes = after;
        self.segments.insert(first_page, pages);
        Ok(())
    }

    fn finish(&mut self, first_pages: &[u32]) -> Result<Vec<Page>, DatabaseError> {
        let listed: BTreeSet<&u32> = first_pages.iter().collect();
        if let Some(missing) = first_pages.iter().find(|first| !self.segments.contains_key(first)) {
            let message = format!("transaction failed: StageNotFound: no staged segment at page {missing} for txid {}", self.txid);
            return Err(DatabaseError { group: "depot", code: "stage_not_found", message });
        }
        if let Some(extra) = self.segments.keys().find(|first| !listed.contains(first)) {
            let message =
                format!("transaction failed: StageSegmentInvalid: the segment at page {extra} was staged and is not listed");
            return Err(DatabaseError { group: "depot", code: "stage_segment_invalid", message });
        }
        Ok(std::mem::take(&mut self.segments).into_values().flatten().collect())
    }
}

fn check_commit(pages: &[Page], size_pages: u32) -> Result<(), DatabaseError> {
    let bytes: usize = pages.iter().map(|(_, bytes)| bytes.len()).sum();
    if bytes > DATABASE_COMMIT_BYTES_MAX {
        let message = format!("sqlite commit too large: actual_size_bytes={bytes}, max_size_bytes={DATABASE_COMMIT_BYTES_MAX}");
        return Err(DatabaseError { group: "depot", code: "commit_too_large", message });
    }
    check_pages(pages)?;
    check_size(size_pages)
}

fn check_pages(pages: &[Page]) -> Result<(), DatabaseError> {
    let mut seen = BTreeSet::new();
    for (page, bytes) in pages {
        if *page == 0 {
            return Err(internal("sqlite commit does not accept page 0".to_string()));
        }
        if bytes.len() != PAGE_BYTES {
            return Err(internal(format!("sqlite commit page {page} had {} bytes, expected {PAGE_BYTES}", bytes.len())));
        }
        if !seen.insert(page) {
            return Err(internal(format!("sqlite commit duplicated page {page} in a single request")));
        }
    }
    Ok(())
}

fn check_size(size_pages: u32) -> Result<(), DatabaseError> {
    if size_pages > DATABASE_PAGES_MAX {
        let message =
            format!("the database would have {size_pages} pages of {PAGE_BYTES} bytes; at most {DATABASE_PAGES_MAX} are allowed");
        return Err(DatabaseError { group: "depot", code: "quota_exceeded", message });
    }
    Ok(())
}

fn head_fence_mismatch(expected: u64, current: u64) -> DatabaseError {
    let message =
        format!("transaction failed: sqlite head fence mismatch: expected head txid {expected}, current head txid {current}");
    DatabaseError { group: "depot", code: "head_fence_mismatch", message }
}

fn no_message() -> DatabaseError {
    let message = "only a runner of components can make statements part of a message".to_string();
    DatabaseError { group: "sqlite", code: "invalid_request", message }
}

fn no_such_actor() -> DatabaseError {
    internal(NO_SUCH_ACTOR.to_string())
}

fn internal(message: String) -> DatabaseError {
    DatabaseError { group: "core", code: "internal_error", message }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Would take minutes if each segment were compared with all the others.
    #[test]
    fn segments_are_bounded_and_each_is_quick() {
        let mut stage = Stage { txid: 1, segments: BTreeMap::new(), bytes: 0 };
        let page = Bytes::from(vec![0; PAGE_BYTES]);
        for at in 0..DATABASE_SEGMENTS_MAX as u32 {
            let first = at * DATABASE_SEGMENT_ALIGNMENT;
            let pages = if at % 2 == 0 { vec![] } else { vec![(first, page.clone())] };
            assert!(stage.add(first, pages).is_ok(), "segment {at}");
        }
        let next = DATABASE_SEGMENTS_MAX as u32 * DATABASE_SEGMENT_ALIGNMENT;
        let code = |result: Result<(), DatabaseError>| result.map_err(|error| error.code);
        assert_eq!(code(stage.add(next, vec![])), Err("commit_too_large"), "also if it is empty");
        assert_eq!(code(stage.add(64, vec![(64, page.clone())])), Ok(()), "one that is there may come again");
        assert_eq!(code(stage.add(0, vec![(64, page.clone())])), Err("stage_segment_invalid"), "a page of the next one");
        assert_eq!(code(stage.add(192, vec![(256, page.clone()), (320, page)])), Err("stage_segment_invalid"));
        let listed: Vec<u32> = (0..1_000_000).map(|at| at % DATABASE_SEGMENTS_MAX as u32 * DATABASE_SEGMENT_ALIGNMENT).collect();
        assert_eq!(stage.finish(&listed).map(|pages| pages.len()), Ok(DATABASE_SEGMENTS_MAX / 2));
    }
}

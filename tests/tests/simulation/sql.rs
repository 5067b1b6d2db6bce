//! Who runs the statements of components' messages: no SQLite, but the same waiting and the same words.

use std::collections::VecDeque;

use engine_core::input::{DatabaseChanges, Input};
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, MessageStep};
use protocol::id::{ActorId, Generation, RunnerId};

use crate::model::pages;
use crate::tally::Happened;
use crate::world::World;

/// Of one generation of an actor.
pub struct Sql {
    generation: Generation,
    /// What this call has sealed is neither durable nor given up: nothing else runs.
    sealed: Option<u64>,
    waiting: VecDeque<(RunnerId, u64, MessageStep)>,
}

impl World {
    pub fn take_sql(&mut self, runner: RunnerId, actor: ActorId, generation: Generation, call: u64, question: DatabaseQuestion) {
        let DatabaseQuestion::Message { step, .. } = question else { unreachable!("nobody asks for {question:?}") };
        let sql = self.sql.entry(actor).or_insert_with(|| Sql { generation, sealed: None, waiting: VecDeque::new() });
        assert_eq!(sql.generation, generation, "{actor}: the one before was not ended");
        sql.waiting.push_back((runner, call, step));
    }

    pub fn sql_waits(&self) -> bool {
        self.sql.values().any(|sql| !sql.waiting.is_empty())
    }

    /// The next step of each actor that has one and may.
    pub fn run_sql(&mut self) {
        let actors: Vec<ActorId> = self.sql.keys().copied().collect();
        for actor in actors {
            let Some(sql) = self.sql.get_mut(&actor).filter(|sql| sql.sealed.is_none()) else { continue };
            let generation = sql.generation;
            let Some((runner, call, step)) = sql.waiting.pop_front() else { continue };
            let (result, changes) = match step {
                MessageStep::Seal => {
                    sql.sealed = Some(call);
                    let size_pages = self.rng.u32(1..70);
                    let base_txid = self.state.pages(actor, &[]).expect("memory does not fail").0.unwrap_or_default().txid;
                    let pages = pages(self.number(), generation, size_pages);
                    let answer = DatabaseAnswer::Sealed { pages: pages.clone(), size_pages };
                    (answer, Some(DatabaseChanges { base_txid, pages, size_pages }))
                }
                _ => (DatabaseAnswer::Unchanged, None),
            };
            self.input(Input::SqlRan { runner, actor, generation, call, result: Ok(result), changes });
        }
    }

    pub fn sql_settled(&mut self, actor: ActorId, generation: Generation, call: u64, committed: bool) {
        let Some(sql) = self.sql.get_mut(&actor).filter(|sql| sql.generation == generation) else { return };
        assert_eq!(sql.sealed.take(), Some(call), "{actor}: something is settled that was not sealed");
        self.tally.count(if committed { Happened::Sealed } else { Happened::SealForgotten });
    }

    pub fn sql_ends(&mut self, actor: ActorId, generation: Generation) {
        let ended = self.sql.remove(&actor).expect("it has run statements");
        assert_eq!(ended.generation, generation, "{actor}");
    }

    /// The runner hears what a call has sealed.
    pub fn hear_sealed(&mut self, actor: ActorId, call: u64, result: Result<DatabaseAnswer, DatabaseError>) {
        let sealed = match result {
            Ok(DatabaseAnswer::Sealed { pages, size_pages }) => Some((pages, size_pages)),
            Ok(_) => return,
            Err(_) => {
                // As the server does.
                if let Some(sql) = self.sql.get_mut(&actor) {
                    sql.sealed.take_if(|sealed| *sealed == call);
                }
                None
            }
        };
        let Some(running) = self.actors.get_mut(&actor) else { return };
        let said = running.sealed(actor, call, sealed, self.now_ms, self.faults, &mut self.rng);
        self.said(actor, said);
    }
}

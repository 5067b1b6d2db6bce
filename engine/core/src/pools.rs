//! How pools get their runners: what the API says about that, and what a pool's URL does.

use std::collections::btree_map::Entry;

use protocol::id::{ActorId, Generation, NamespaceId, RunnerId};
use protocol::limits::ACTOR_NAME_BYTES_MAX;
use protocol::message::{Checkpoint, Serves, StopReason};

use crate::action::{Action, Answer};
use crate::core::{Core, Then};
use crate::input::{CallId, CallOutcome};
use crate::life::{End, Life};
use crate::record::{ActorError, After, Change, PoolError, PoolKind, RunnerConfigRecord, RunnerRef};
use crate::refusal::Refusal;

/// A pool's error is forgotten after so many starts in a row that went well.
const STARTS_TO_RECOVER: u32 = 3;

pub(crate) struct Pool {
    pub config: RunnerConfigRecord,
    /// Why its URL could not start an actor.
    pub error: Option<PoolError>,
    /// Starts in a row that went well since.
    starts: u32,
    /// The newest version of its code that its URL has announced.
    version: Option<u32>,
}

impl Pool {
    pub fn new(config: RunnerConfigRecord) -> Pool {
        Pool { config, error: None, starts: 0, version: None }
    }
}

impl Core {
    pub(crate) fn pool(&self, namespace: NamespaceId, pool: &str) -> Option<&Pool> {
        self.pools.get(&(namespace, pool.to_string()))
    }

    pub(crate) fn put_runner_config(
        &mut self,
        call: CallId,
        namespace: String,
        mut record: RunnerConfigRecord,
    ) -> Result<(), Refusal> {
        record.namespace = self.namespace(&namespace)?;
        let place = (record.namespace, record.pool.clone());
        let old = self.pools.get(&place);
        record.protocol_version = old.and_then(|pool| pool.config.protocol_version);
        let endpoint_changed = match old.map(|pool| &pool.config.kind).zip(Some(&record.kind)) {
            Some((PoolKind::Serverless(old), PoolKind::Serverless(new))) => old.url != new.url || old.headers != new.headers,
            _ => true,
        };
        let changed = old.is_none_or(|old| old.config.kind != record.kind);
        match self.pools.get_mut(&place).filter(|_| !changed) {
            // What is known of its URL is still true.
            Some(pool) => pool.config = record.clone(),
            None => drop(self.pools.insert(place, Pool::new(record.clone()))),
        }
        let answer = Answer::RunnerConfig { endpoint_changed };
        self.commit(vec![Change::PutRunnerConfig(Box::new(record))], Then::Reply(call, answer));
        self.place_unplaced();
        Ok(())
    }

    pub(crate) fn delete_runner_config(&mut self, call: CallId, namespace: String, pool: String) -> Result<(), Refusal> {
        let namespace = self.namespace(&namespace)?;
        // Also if there is none: an earlier deletion of it may be on its way to the disk.
        let change = self.pools.remove(&(namespace, pool.clone())).map(|_| Change::DeleteRunnerConfig { namespace, pool });
        self.commit(change.into_iter().collect(), Then::Reply(call, Answer::Done));
        Ok(())
    }

    pub(crate) fn list_runners(&mut self, call: CallId, namespace: String) -> Result<(), Refusal> {
        let namespace = self.namespace(&namespace)?;
        let actors = self.runners.iter().map(|(id, runner)| (*id, runner.actors.len() as u32)).collect();
        let of_namespace = self.pools.range((namespace, String::new())..).take_while(|((of, _), _)| *of == namespace);
        let pool_errors = of_namespace.filter_map(|((_, name), pool)| Some((name.clone(), pool.error.clone()?))).collect();
        self.reply(call, Ok(Answer::Runners { actors, pool_errors }));
        Ok(())
    }
}

// Pools whose URL is called.
impl Core {
    /// What became of a call, or is becoming of it.
    pub(crate) fn called_out(&mut self, id: ActorId, generation: Generation, outcome: CallOutcome) {
        let Some(actor) = self.actors.get(&id).filter(|actor| actor.record.generation == generation && actor.record.by_url) else {
            return;
        };
        let pool = (actor.record.namespace, actor.record.pool.clone());
        match (outcome, actor.life) {
            (CallOutcome::Failed(error), Life::Calling) => {
                self.url_failed(pool, error.clone());
                self.ended(id, End::Lost(ActorError::RunnerPoolError(error)));
            }
            (CallOutcome::Failed(error), _) => {
                self.url_failed(pool, error);
                self.call_over(id);
            }
            // Its runner may have it and be about to say so; if not, the start takes too long.
            (CallOutcome::Ended, Life::Calling) => self.url_failed(pool, PoolError::ServerlessStreamEndedEarly),
            // Whoever was called ends before it has begun.
            (CallOutcome::Stopping, Life::Calling) => {
                let error = PoolError::ServerlessStreamEndedEarly;
                self.ended(id, End::Lost(ActorError::RunnerPoolError(error)));
            }
            (CallOutcome::Stopping, Life::Starting { .. } | Life::Running { .. }) => {
                self.stop(id, StopReason::GoingAway, After::Start);
            }
            (CallOutcome::Ended, _) => self.call_over(id),
            (CallOutcome::Stopping, _) => {}
        }
    }

    /// Its program answers the call for as long as it lives. Without the call and without a connection nothing of it is left.
    fn call_over(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.call_over = true;
        if let Some(on) = actor.on() {
            self.lose_called(on);
        }
    }

    /// The actors on a runner that is away whose calls are over.
    pub(crate) fn lose_called(&mut self, on: RunnerId) {
        let Some(runner) = self.runners.get(&on).filter(|runner| !runner.is_here()) else { return };
        let over = |id: &&ActorId| self.actors.get(id).is_some_and(|actor| actor.call_over);
        let gone: Vec<ActorId> = runner.actors.iter().filter(over).copied().collect();
        let error = self.loss_of(on);
        for actor in gone {
            self.lost(actor, error.clone());
        }
    }

    fn url_failed(&mut self, pool: (NamespaceId, String), error: PoolError) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.error = Some(error);
            pool.starts = 0;
        }
    }

    pub(crate) fn url_started(&mut self, namespace: NamespaceId, pool: &str) {
        let Some(pool) = self.pools.get_mut(&(namespace, pool.to_string())) else { return };
        pool.starts += 1;
        if pool.starts >= STARTS_TO_RECOVER {
            pool.error = None;
        }
    }

    /// A generation that a URL was called for is over.
    pub(crate) fn end_call_out(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id).filter(|actor| actor.record.by_url) else { return };
        actor.record.by_url = false;
        let taken = actor.life != Life::Calling;
        let generation = actor.record.generation;
        let pool = (actor.record.namespace, actor.record.pool.clone());
        if let Entry::Occupied(mut running) = self.running_by_url.entry(pool) {
            match running.get() {
                0 | 1 => drop(running.remove()),
                more => drop(running.insert(more - 1)),
            }
        }
        self.act(Action::EndCallOut { actor: id, generation, taken });
        self.place_unplaced();
    }

    /// A runner of the pool says that it has an actor that the pool's URL was called for: then it is on that runner.
    pub(crate) fn take_called(&mut self, runner: RunnerId, checkpoint: Checkpoint) {
        let Some(actor) = self.actors.get_mut(&checkpoint.actor) else { return };
        if actor.life != Life::Calling || actor.record.generation != checkpoint.generation {
            return;
        }
        let Some(profile) = self.runners.get(&runner).map(|runner| &runner.profile) else { return };
        let same_pool = matches!(&profile.serves, Serves::Pool { namespace, pool, .. }
            if *namespace == actor.record.namespace && *pool == actor.record.pool);
        if same_pool {
            actor.life = Life::Starting { on: runner };
            actor.record.runner = Some(RunnerRef::of(profile));
            // Somebody has destroyed it meanwhile: that can be said now.
            let destroy = !actor.calls.is_empty();
            self.board(checkpoint.actor, runner);
            if destroy {
                self.stop(checkpoint.actor, StopReason::Destroy, After::Destroy);
            }
        }
    }

    pub(crate) fn pool_announces(
        &mut self,
        namespace: NamespaceId,
        pool: String,
        version: Option<u32>,
        protocol: Option<u16>,
        names: Vec<(String, String)>,
    ) {
        self.put_names(namespace, names);
        let Some(entry) = self.pools.get_mut(&(namespace, pool.clone())) else { return };
        if protocol.is_none() && entry.config.protocol_version.is_some() {
            entry.error = Some(PoolError::Downgrade);
            entry.starts = 0;
        }
        let newer = version.filter(|version| entry.version.is_none_or(|known| *version > known));
        entry.version = newer.or(entry.version);
        let drains = entry.config.drain_on_version_upgrade;
        if let Some(protocol) = protocol {
            self.update_pool(namespace, &pool, |config| config.protocol_version = Some(protocol));
        }
        if let Some(version) = newer.filter(|_| drains) {
            self.drain_older(namespace, &pool, version, |_| true);
        }
    }

    pub(crate) fn runner_names(&mut self, runner: RunnerId, names: Vec<(String, String)>) {
        if let Some(Serves::Pool { namespace, .. }) = self.runners.get(&runner).map(|runner| &runner.profile.serves) {
            self.put_names(*namespace, names);
        }
    }

    fn put_names(&mut self, namespace: NamespaceId, names: Vec<(String, String)>) {
        if self.deleting(namespace).is_err() || !self.namespace_names.contains_key(&namespace) {
            return;
        }
        let change = |(name, metadata)| Change::PutActorName { namespace, name, metadata: Some(metadata) };
        let changes: Vec<Change> = names.into_iter().filter(|(name, _)| name.len() <= ACTOR_NAME_BYTES_MAX).map(change).collect();
        if !changes.is_empty() {
            self.commit(changes, Then::Nothing);
        }
    }
}

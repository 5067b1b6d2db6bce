//! The value that is the engine: what it holds, and which part of it each input goes to.
//!
//! What is in memory: every namespace, deployment and runner; every actor that is awake, or that something is about to happen
//! to; nothing of the others. An actor leaves memory when it is asleep (or destroyed), all its commits are durable and nobody
//! waits for it, so that a later read from disk finds the truth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::id::{ActorId, Id, NamespaceId, RequestId, RunnerId};
use protocol::message::{FromRunner, ToRunner};

use crate::action::{Action, Answer};
use crate::alarms::{ALARMS_IN_MEMORY_MAX, Alarms};
use crate::api::ActorCall;
use crate::audit::{AUDIT_ENTRIES_MAX, Note};
use crate::awake::Awake;
use crate::crashes::Crashes;
use crate::deletion::{Deletion, NOBODY};
use crate::deploys::Deploying;
use crate::input::{Boot, CallId, CommitId, Input, KeyRef};
use crate::life::Actor;
use crate::moves::{MOVES_IN_FLIGHT_MAX, Moves};
use crate::pools::Pool;
use crate::quotas::Bucket;
use crate::record::{Alarm, Change, DeploymentRecord, NamespaceRecord, TokenRecord};
use crate::refusal::Refusal;
use crate::requests::{KeyEntry, KeyLoad, Request, Wish};
use crate::runners::Runner;
use crate::storage::{Ask, Usage};

/// Actors that alarms may be waking at one time, so that a million overdue ones do not all start at once.
pub const ALARM_WAKES_IN_FLIGHT_MAX: usize = 256;
/// Actors whose fate at start is written in one commit.
const BOOT_COMMIT_ACTORS_MAX: usize = 1_000;

#[derive(Clone, Debug)]
pub struct Config {
    pub datacenter_label: u16,
    /// How long a request may wait for its actor to run.
    pub ready_timeout_ms: u64,
    /// How long a runner may take to start an actor.
    pub start_timeout_ms: u64,
    /// How long a runner may take to stop an actor.
    pub stop_timeout_ms: u64,
    /// How long a runner of a pool may be away before its actors are given up.
    pub runner_lost_ms: u64,
    /// The same for actors that somebody waits for, once another runner has joined the pool. Longer than a client's first try to
    /// connect again after its connection broke.
    pub runner_replaced_ms: u64,
    /// How often the start of an actor of a pool that somebody waits for is tried, and the pause before the next time.
    pub start_retries_max: u32,
    pub start_retry_ms: u64,
    /// The pause before the second restart after a crash, and before an alarm whose handler failed fires again; doubled each time.
    pub retry_base_ms: u64,
    /// How often that pause is doubled at most.
    pub retry_doublings_max: u32,
    /// An actor that ran for so long has recovered: its next crash counts as the first.
    pub retry_reset_ms: u64,
    /// Alarms held in memory; see [`Alarms`].
    pub alarms_in_memory_max: usize,
    /// Actors that may be between two versions at one time.
    pub moves_in_flight_max: usize,
    /// What an actor may store; none: as much as there is. A deployment can only say less.
    pub actor_storage_bytes_max: Option<u64>,
    /// Entries of the audit log that are kept.
    pub audit_entries_max: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            datacenter_label: 1,
            ready_timeout_ms: 30_000,
            start_timeout_ms: 30_000,
            stop_timeout_ms: 30 * 60_000,
            runner_lost_ms: 15_000,
            runner_replaced_ms: 1_500,
            start_retries_max: 8,
            start_retry_ms: 60,
            retry_base_ms: 2_000,
            retry_doublings_max: 8,
            retry_reset_ms: 10 * 60_000,
            alarms_in_memory_max: ALARMS_IN_MEMORY_MAX,
            moves_in_flight_max: MOVES_IN_FLIGHT_MAX,
            actor_storage_bytes_max: None,
            audit_entries_max: AUDIT_ENTRIES_MAX,
        }
    }
}

impl Config {
    /// The pause before try number `failures + 1`.
    pub(crate) fn pause_ms(&self, failures: u32) -> u64 {
        self.retry_base_ms << failures.saturating_sub(1).min(self.retry_doublings_max)
    }

    /// The alarm after one more failure of its handler.
    pub(crate) fn later(&self, alarm: Alarm, now_ms: u64) -> Alarm {
        let failures = alarm.failures.saturating_add(1);
        Alarm { fire_ms: now_ms + self.pause_ms(failures), failures, ..alarm }
    }
}

pub struct Core {
    pub(crate) config: Config,
    pub(crate) now_ms: u64,
    actions: VecDeque<Action>,

    pub(crate) namespaces: BTreeMap<String, NamespaceRecord>,
    pub(crate) namespace_names: BTreeMap<NamespaceId, String>,
    pub(crate) usage: BTreeMap<NamespaceId, Usage>,
    /// Of namespaces with a quota on requests.
    pub(crate) buckets: BTreeMap<NamespaceId, Bucket>,
    pub(crate) awake: Awake,
    pub(crate) crashes: Crashes,
    pub(crate) deletions: BTreeMap<NamespaceId, Deletion>,
    /// By namespace and actor name.
    pub(crate) deployments: BTreeMap<NamespaceId, BTreeMap<String, DeploymentRecord>>,
    pub(crate) deploying: Vec<Deploying>,
    /// Deployments as they will be when the last commit about them is durable.
    pub(crate) publishing: BTreeMap<(NamespaceId, String), DeploymentRecord>,
    pub(crate) runners: BTreeMap<RunnerId, Runner>,
    pub(crate) pools: BTreeMap<(NamespaceId, String), Pool>,
    /// Actors of a pool that its URL was called for.
    pub(crate) running_by_url: BTreeMap<(NamespaceId, String), u32>,

    pub(crate) tokens: BTreeMap<String, TokenRecord>,
    /// Of calls that the audit log is to have an entry of.
    pub(crate) notes: BTreeMap<CallId, Note>,
    pub(crate) last_audit: u64,

    pub(crate) actors: BTreeMap<ActorId, Actor>,
    pub(crate) keys: BTreeMap<KeyRef, KeyEntry>,
    /// Keys that are being read.
    pub(crate) key_loads: BTreeMap<KeyRef, KeyLoad>,
    pub(crate) requests: BTreeMap<RequestId, Request>,
    /// Wanted, and no runner could take them.
    pub(crate) unplaced: BTreeSet<ActorId>,
    /// On their way to another version.
    pub(crate) moves: Moves,

    pub(crate) alarms: Alarms,
    /// Taken from the alarms and not yet running.
    pub(crate) alarm_wakes: BTreeSet<ActorId>,
    pub(crate) timers: BTreeSet<(u64, Timer)>,

    /// In the order they were asked for, which is the order they become durable in.
    commits: VecDeque<(CommitId, Then)>,
    last_commit: u64,
    booted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The request has waited long enough.
    Request(RequestId),
    /// The actor has taken too long to start or stop, or its pause is over.
    Actor(ActorId),
    /// The runner may have been away for too long.
    RunnerAway(RunnerId),
    /// More of its actors may be told to go elsewhere.
    RunnerDrain(RunnerId),
}

/// What happens when a commit is durable.
#[derive(Debug)]
pub(crate) enum Then {
    Nothing,
    /// Something of this actor is on disk.
    Actor(ActorId, ActorThen),
    Reply(CallId, Answer),
    Deleting {
        call: CallId,
        name: String,
        namespace: NamespaceId,
    },
    Forgotten {
        namespace: NamespaceId,
        count: u64,
    },
    NamespaceGone {
        namespace: NamespaceId,
    },
    Refuse(CallId, Refusal),
    Deployed {
        call: Option<CallId>,
        /// Which version the call is about.
        version: u32,
        deployment: Box<DeploymentRecord>,
    },
}

#[derive(Debug)]
pub(crate) enum ActorThen {
    Nothing,
    /// Its start is: tell the runner. And who created it.
    Start {
        generation: u32,
        created_by: Option<CallId>,
    },
    /// It exists; this call wanted it to.
    Created {
        by: Option<CallId>,
    },
    /// What a message of it wrote is: tell the runner.
    Written {
        runner: RunnerId,
        generation: u32,
        commit: u64,
        /// The call that sealed what it wrote to the database.
        sealed: Option<u64>,
    },
    /// What its runner asked for is: tell it.
    Answered {
        runner: RunnerId,
        answer: Box<ToRunner>,
    },
    /// What a call wanted of it is.
    Told {
        call: CallId,
        answer: Answer,
    },
    /// Its end is.
    Destroyed,
}

impl Core {
    pub fn new(config: Config) -> Core {
        let alarms = Alarms::new(config.alarms_in_memory_max);
        Core {
            config,
            now_ms: 0,
            actions: VecDeque::new(),
            namespaces: BTreeMap::new(),
            namespace_names: BTreeMap::new(),
            usage: BTreeMap::new(),
            buckets: BTreeMap::new(),
            awake: Awake::default(),
            crashes: Crashes::default(),
            deletions: BTreeMap::new(),
            deployments: BTreeMap::new(),
            deploying: Vec::new(),
            publishing: BTreeMap::new(),
            runners: BTreeMap::new(),
            pools: BTreeMap::new(),
            running_by_url: BTreeMap::new(),
            tokens: BTreeMap::new(),
            notes: BTreeMap::new(),
            last_audit: 0,
            actors: BTreeMap::new(),
            keys: BTreeMap::new(),
            key_loads: BTreeMap::new(),
            requests: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            moves: Moves::default(),
            alarms,
            alarm_wakes: BTreeSet::new(),
            timers: BTreeSet::new(),
            commits: VecDeque::new(),
            last_commit: 0,
            booted: false,
        }
    }

    /// Takes one input. Never fails: what is wrong with it becomes an action that tells whoever sent it.
    /// Time never goes backwards; the first input is `Booted`.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        self.now_ms = self.now_ms.max(now_ms);
        match input {
            Input::Booted(boot) => self.boot(boot),
            Input::Request { request, target, kind, skip_ready_wait } => {
                self.request_arrived(request, target, Wish { kind, skip_ready_wait, caller: None, counted: false, within: None });
            }
            Input::ActorCalls { request, runner, actor, generation, callee } => {
                self.actor_calls(request, runner, actor, generation, callee);
            }
            Input::SocketOpened { request, can_hibernate } => self.socket_opened(request, can_hibernate),
            Input::SocketWakes { request } => self.socket_wakes(request),
            Input::RequestEnded { request } | Input::RequestAborted { request } => self.request_over(request),
            Input::Call { call, operation, by } => {
                self.note(call, by.map(|by| *by), &operation);
                self.call(call, operation);
            }
            Input::Attempted(attempt) => self.attempted(*attempt),
            Input::RunnerJoined { runner, profile } => self.runner_joined(runner, profile),
            Input::RunnerLeft { runner } => self.runner_left(runner),
            Input::RunnerEnds { runner } => self.put_to_rest(runner),
            Input::FromRunner { runner, message } => self.runner_says(runner, message),
            Input::ActorLoaded { actor, found } => self.actor_loaded(actor, found),
            Input::KeyLoaded { key, found } => self.key_loaded(key, found),
            Input::AlarmsLoaded { alarms, complete } => self.alarms.loaded(alarms, complete),
            Input::Committed { commit } => self.committed(commit),
            Input::RunnerFresh { runner, fresh } => self.runner_fresh(runner, fresh),
            Input::SqlRan { runner, actor, generation, call, result, changes } => {
                self.sql_ran(runner, actor, generation, call, result, changes);
            }
            Input::CalledOut { actor, generation, outcome } => self.called_out(actor, generation, outcome),
            Input::PoolAnnounces { namespace, pool, envoy_version, protocol_version, names } => {
                self.pool_announces(namespace, pool, envoy_version, protocol_version, names);
            }
            Input::Weighed { actor, entries_bytes, after_bytes, namespace_bytes } => {
                self.weighed(actor, entries_bytes, after_bytes, namespace_bytes);
            }
            Input::NamespaceLoaded { namespace, actors } => self.namespace_loaded(namespace, actors),
            Input::Tick => {}
        }
        self.pass_time();
    }

    /// What to do next; none when everything that follows from the inputs so far has been asked for.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How long until time alone is a reason to call `handle` again; none if it never is.
    pub fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let timer = self.timers.first().map(|(due_ms, _)| *due_ms);
        let alarm = self.alarms.next_ms().filter(|_| self.booted && self.alarm_wakes.len() < ALARM_WAKES_IN_FLIGHT_MAX);
        let next = timer.into_iter().chain(alarm).chain(self.moves.next_ms()).chain(self.awake.next_ms()).min()?;
        Some(next.saturating_sub(now_ms))
    }

    /// How many actors are in memory.
    pub fn actors_in_memory(&self) -> usize {
        self.actors.len()
    }

    /// How many requests wait or run.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.len()
    }

    fn boot(&mut self, boot: Boot) {
        for namespace in boot.namespaces {
            self.namespace_names.insert(namespace.id, namespace.name.clone());
            self.namespaces.insert(namespace.name.clone(), namespace);
        }
        for record in boot.deployments {
            self.deployments.entry(record.namespace).or_default().insert(record.name.clone(), record);
        }
        for record in boot.runner_configs {
            self.pools.insert((record.namespace, record.pool.clone()), Pool::new(record));
        }
        self.usage.extend(boot.usage.into_iter().map(|(namespace, usage)| (namespace, usage.into())));
        for record in boot.tokens {
            self.tokens.insert(record.id.clone(), record);
        }
        self.trim_audit(boot.audit);
        let expected = self.expect_runners(boot.runners);
        let mut changes = Vec::new();
        for loaded in boot.awake {
            if let Some(change) = self.resurrect(loaded, &expected) {
                changes.push(change);
            }
            if changes.len() >= BOOT_COMMIT_ACTORS_MAX {
                self.commit(std::mem::take(&mut changes), Then::Nothing);
            }
        }
        if !changes.is_empty() {
            self.commit(changes, Then::Nothing);
        }
        self.booted = true;
        // A pool's URL can be called at once.
        self.place_unplaced();
        self.go_on_deleting();
    }

    fn runner_says(&mut self, runner: RunnerId, message: FromRunner) {
        match message {
            FromRunner::Event(checkpoint, event) => self.event(runner, checkpoint, event),
            FromRunner::Commit(commit) => self.write(runner, commit),
            FromRunner::AskStorage { actor, generation, call, changes, own, size_pages } => {
                self.asks_storage(runner, actor, generation, call, Ask { changes, own, size_pages });
            }
            FromRunner::Prepared { component, result } => self.prepared(runner, component, result),
            FromRunner::RequestReturned { request } => self.request_returned(runner, request),
            // These go past the core: the server hands them straight to whom they concern.
            FromRunner::ResponseStart { .. }
            | FromRunner::ResponseChunk { .. }
            | FromRunner::ResponseAbort { .. }
            | FromRunner::RequestWindow { .. }
            | FromRunner::Kv { .. }
            | FromRunner::CallActor { .. }
            | FromRunner::GetComponent { .. }
            | FromRunner::RequestBodyCancel { .. }
            | FromRunner::SocketOpened { .. }
            | FromRunner::SocketMessage { .. }
            | FromRunner::SocketAck { .. }
            | FromRunner::SocketClose { .. }
            | FromRunner::Log { .. } => {}
            FromRunner::Names(names) => self.runner_names(runner, names),
            FromRunner::AckCommands(checkpoints) => self.commands_acked(runner, checkpoints),
            FromRunner::Stopping => self.drain(runner, false),
            FromRunner::KvWrite { actor, call, changes } => self.kv_write(runner, actor, call, changes),
            FromRunner::Database { actor, call, question } => self.database(runner, actor, call, question),
        }
    }

    /// Timers, alarms that are due, alarms that must be read.
    fn pass_time(&mut self) {
        while let Some((_, timer)) = self.timers.first().copied().filter(|(due_ms, _)| *due_ms <= self.now_ms) {
            self.timers.pop_first();
            match timer {
                Timer::Request(request) => self.request_waited_too_long(request),
                Timer::Actor(actor) => self.actor_timer(actor),
                Timer::RunnerAway(runner) => self.runner_away(runner),
                Timer::RunnerDrain(runner) => self.drain_on(runner),
            }
        }
        if !self.booted {
            return;
        }
        self.move_on();
        self.give_places();
        while self.alarm_wakes.len() < ALARM_WAKES_IN_FLIGHT_MAX {
            let Some(actor) = self.alarms.pop_due(self.now_ms) else { break };
            self.ring(actor);
        }
        if let Some(from) = self.alarms.want(CommitId(self.last_commit), self.commits.is_empty()) {
            self.load_alarms(from);
        }
    }

    fn committed(&mut self, commit: CommitId) {
        // The store reports in order, and one report stands for all before it.
        while let Some((id, _)) = self.commits.front()
            && *id <= commit
        {
            let (_, then) = self.commits.pop_front().expect("it was just looked at");
            match then {
                Then::Nothing => {}
                Then::Actor(actor, then) => self.actor_durable(actor, then),
                Then::Reply(call, answer) => self.reply(call, Ok(answer)),
                Then::Deleting { call, name, namespace } => self.begun_deleting(call, &name, namespace),
                Then::Forgotten { namespace, count } => self.records_forgotten(namespace, count),
                Then::NamespaceGone { namespace } => self.namespace_gone(namespace),
                Then::Refuse(call, refusal) => self.reply(call, Err(refusal)),
                Then::Deployed { call, version, deployment } => self.deployed(call, version, *deployment),
            }
        }
        if let Some(from) = self.alarms.durable(commit) {
            self.load_alarms(from);
        }
    }

    fn load_alarms(&mut self, from: Option<(u64, ActorId)>) {
        let limit = self.alarms.limit();
        self.act(Action::LoadAlarms { from, limit });
    }

    pub(crate) fn all_durable(&self) -> bool {
        self.commits.is_empty()
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Once everything that was decided so far is.
    pub(crate) fn reply_when_durable(&mut self, call: CallId, answer: Answer) {
        match self.all_durable() {
            true => self.reply(call, Ok(answer)),
            false => self.commit(Vec::new(), Then::Reply(call, answer)),
        }
    }

    pub(crate) fn reply(&mut self, call: CallId, result: Result<Answer, Refusal>) {
        if call == NOBODY {
            return;
        }
        match self.audited(call, result.as_ref().err()) {
            None => self.act(Action::Reply { call, result }),
            Some(entry) => {
                let then = result.map_or_else(|refusal| Then::Refuse(call, refusal), |answer| Then::Reply(call, answer));
                self.commit(vec![entry], then);
            }
        }
    }

    pub(crate) fn commit(&mut self, mut changes: Vec<Change>, then: Then) {
        changes.extend(self.audited_with(&then));
        self.last_commit += 1;
        let commit = CommitId(self.last_commit);
        self.commits.push_back((commit, then));
        self.act(Action::Commit { commit, changes });
    }

    /// A commit that keeps the actor in memory until it is durable.
    pub(crate) fn commit_actor(&mut self, actor: ActorId, changes: Vec<Change>, then: ActorThen) {
        if let Some(actor) = self.actors.get_mut(&actor) {
            actor.commits_in_flight += 1;
        }
        self.commit(changes, Then::Actor(actor, then));
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<NamespaceId, Refusal> {
        match self.namespaces.get(name) {
            Some(record) => self.deleting(record.id).map(|()| record.id),
            None => Err(Refusal::NamespaceNotFound { namespace: name.to_string() }),
        }
    }

    pub(crate) fn new_id(&self, random: [u8; 16]) -> Id {
        Id::new(random, self.config.datacenter_label)
    }

    pub(crate) fn answer_calls(&mut self, calls: Vec<ActorCall>, result: Result<Answer, Refusal>) {
        for call in calls {
            self.reply(call.call, result.clone());
        }
    }
}

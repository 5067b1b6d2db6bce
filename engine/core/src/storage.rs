//! How much an actor, and its namespace, may store.
//!
//! The store counts exactly, with each commit; here is kept what it can be at most, which costs no reading: what was read last, and
//! all that was put since. While that is within the limits, and it nearly always is, a commit is decided at once. Where it is not,
//! the commit waits until the actor's earlier ones are durable, and its true weight is read ([`Action::Weigh`]): it is refused only
//! if it grows, and what there would be then is above a limit. So a limit is exact for an actor; for a namespace, what its other
//! actors have on their way to the disk counts with all that it puts.
//!
//! A message of a component must not be refused once it is committed, because the next one builds on it. Its runner asks before
//! ([`FromRunner::AskStorage`]), and what was granted is set aside until the commit comes.

use std::collections::VecDeque;

use protocol::database::{DatabaseError, PAGE_BYTES};
use protocol::id::{ActorId, Generation, NamespaceId, RunnerId};
use protocol::message::{KvAnswer, KvChange, KvSpace, ToRunner};

use crate::action::Action;
use crate::core::{ActorThen, Core};
use crate::record::{ActorRecord, Change, NamespaceUsage};
use crate::words::NO_SUCH_ACTOR;

/// What one actor has stored, as far as it is known here.
#[derive(Default)]
pub(crate) struct Stored {
    /// Its entries have so many bytes at most, those included that are on their way to the disk.
    entries_max: u64,
    /// What each commit with entries puts that is on its way.
    growing: VecDeque<u64>,
    /// What a runner may commit: it has asked.
    granted: Option<u64>,
    /// Writes that cannot be decided yet, and all after them.
    held: VecDeque<Held>,
    /// The first of them is being weighed.
    weighing: bool,
}

impl Stored {
    pub fn new(entries_bytes: u64) -> Stored {
        Stored { entries_max: entries_bytes, ..Stored::default() }
    }

    pub fn is_settled(&self) -> bool {
        self.held.is_empty() && !self.weighing
    }
}

struct Held {
    runner: RunnerId,
    call: u64,
    what: What,
    /// `Usage::durable` when it began to be weighed.
    durable: u64,
}

enum What {
    /// A runner's write that belongs to no message.
    Write(Vec<KvChange>),
    Ask {
        generation: Generation,
        changes: Vec<KvChange>,
        own: Vec<KvChange>,
        size_pages: Option<u32>,
    },
}

/// What a namespace has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub actors: u64,
    /// So many bytes at most.
    bytes_max: u64,
    /// What was put and set aside since the engine started, and what of it is durable, or was not used.
    charged: u64,
    settled: u64,
}

impl Usage {
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

impl From<NamespaceUsage> for Usage {
    fn from(found: NamespaceUsage) -> Usage {
        Usage { actors: found.actors, bytes_max: found.bytes, ..Usage::default() }
    }
}

/// What a commit would add.
#[derive(Clone, Copy)]
struct Growth {
    /// Bytes of entries; at most, unless it was weighed.
    entries: i64,
    database: i64,
}

impl Growth {
    fn total(self) -> i64 {
        self.entries.saturating_add(self.database)
    }
}

impl Core {
    /// The least of the limits on what this actor may store; its runner asks before it commits if there is one.
    pub(crate) fn storage_limit(&self, record: &ActorRecord) -> Option<u64> {
        self.actor_storage_limit(record).into_iter().chain(self.namespace_storage_limit(record.namespace)).min()
    }

    fn actor_storage_limit(&self, record: &ActorRecord) -> Option<u64> {
        let deployed = self.version_for(record).and_then(Result::ok).and_then(|version| version.settings.limits.storage_bytes);
        deployed.into_iter().chain(self.config.actor_storage_bytes_max).min()
    }

    fn namespace_storage_limit(&self, namespace: NamespaceId) -> Option<u64> {
        self.quotas(namespace).storage_bytes
    }

    /// Writes of a runner that belong to no message: decided, or held until they can be. The actor is known, and this runner's.
    pub(crate) fn store_entries(&mut self, runner: RunnerId, id: ActorId, call: u64, changes: Vec<KvChange>) {
        self.decide_or_hold(id, Held { runner, call, what: What::Write(changes), durable: 0 });
    }

    /// A runner of components is about to commit this.
    pub(crate) fn ask_storage(&mut self, runner: RunnerId, id: ActorId, generation: Generation, call: u64, ask: Ask) {
        let Ask { changes, own, size_pages } = ask;
        self.release_grant(id);
        let held = Held { runner, call, what: What::Ask { generation, changes, own, size_pages }, durable: 0 };
        self.decide_or_hold(id, held);
    }

    fn decide_or_hold(&mut self, id: ActorId, held: Held) {
        let Some(actor) = self.actors.get(&id) else { return };
        let may_wait = !actor.stored.held.is_empty();
        let growth = held.what.growth_at_most(actor.database.unwrap_or_default().size_pages);
        if !may_wait && self.over(id, growth).is_none() {
            return self.accept(id, held, growth);
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.stored.held.push_back(held);
        }
        self.weigh_next(id);
    }

    /// The sentence, if this would go over a limit.
    fn over(&self, id: ActorId, growth: Growth) -> Option<String> {
        let actor = self.actors.get(&id)?;
        let grows = u64::try_from(growth.total()).ok().filter(|grows| *grows > 0)?;
        let used = actor.stored.entries_max + actor.database.unwrap_or_default().bytes();
        let record = &actor.record;
        if let Some(limit) = self.actor_storage_limit(record)
            && used.saturating_add(grows) > limit
        {
            return Some(format!(
                "actor {id} has stored {used} bytes, and {grows} more would be above its limit of {limit}; delete something, or \
                 raise the limit: rivet-engine configure {} --limit storage=...",
                record.name
            ));
        }
        let (namespace, limit) = (record.namespace, self.namespace_storage_limit(record.namespace)?);
        let used = self.usage.get(&namespace).map_or(0, |usage| usage.bytes_max);
        (used.saturating_add(grows) > limit).then(|| {
            let name = self.namespace_names.get(&namespace).map_or("", String::as_str);
            format!(
                "the actors of namespace {name:?} have stored {used} bytes, and {grows} more would be above its quota \
                 storage_bytes of {limit}; delete something, or raise it: rivet-engine namespaces quotas {name}"
            )
        })
    }

    /// Reads the weight of the first write that waits, once all before it are durable.
    fn weigh_next(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let stored = &mut actor.stored;
        if stored.weighing || !stored.growing.is_empty() {
            return;
        }
        let Some(first) = stored.held.front_mut() else { return };
        stored.weighing = true;
        let namespace = actor.record.namespace;
        first.durable = self.usage.get(&namespace).map_or(0, |usage| usage.settled);
        let changes = first.what.changes();
        self.act(Action::Weigh { actor: id, namespace, changes });
    }

    pub(crate) fn weighed(&mut self, id: ActorId, entries_bytes: u64, after_bytes: u64, namespace_bytes: u64) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.stored.weighing = false;
        let Some(held) = actor.stored.held.pop_front() else { return self.forget_if_idle(id) };
        actor.stored.entries_max = entries_bytes;
        if let Some(usage) = self.usage.get_mut(&actor.record.namespace) {
            // All that was durable when it was asked for has been read; of the rest nobody knows.
            usage.bytes_max = namespace_bytes + usage.charged.saturating_sub(held.durable);
        }
        let size_pages = actor.database.unwrap_or_default().size_pages;
        let weighed = i64::try_from(after_bytes).unwrap_or(i64::MAX) - i64::try_from(entries_bytes).unwrap_or(i64::MAX);
        let growth = Growth { entries: weighed, ..held.what.growth_at_most(size_pages) };
        match self.over(id, growth) {
            None => self.accept(id, held, growth),
            Some(why) => {
                // A runner of components has a field for the code.
                let why = if matches!(held.what, What::Write(_)) { format!("actor.storage_full: {why}") } else { why };
                self.answer_entries(held.runner, id, &held.what, held.call, Err(why));
            }
        }
        // Those behind it may be decided without being weighed.
        if let Some(actor) = self.actors.get_mut(&id) {
            for held in std::mem::take(&mut actor.stored.held) {
                self.decide_or_hold(id, held);
            }
        }
        self.forget_if_idle(id);
    }

    fn accept(&mut self, id: ActorId, held: Held, growth: Growth) {
        let Held { runner, call, what, .. } = held;
        let now_ms = self.now_ms;
        match what {
            What::Write(changes) => {
                let answer = Box::new(ToRunner::Kv { actor: id, generation: 0, call, result: Ok(KvAnswer::Written) });
                self.charge(id, growth);
                self.grow(id, positive(growth.entries));
                let changes = vec![Change::Kv { actor: id, space: KvSpace::Actor, now_ms, changes }];
                self.commit_actor(id, changes, ActorThen::Answered { runner, answer });
            }
            // Its generation is over.
            What::Ask { generation, .. } if self.actors.get(&id).is_none_or(|actor| actor.record.generation != generation) => {}
            What::Ask { .. } => {
                self.charge(id, growth);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.stored.granted = Some(positive(growth.total()));
                }
                self.answer_entries(runner, id, &what, call, Ok(KvAnswer::Written));
            }
        }
    }

    fn answer_entries(&mut self, runner: RunnerId, actor: ActorId, what: &What, call: u64, result: Result<KvAnswer, String>) {
        let generation = match what {
            What::Write(_) => 0,
            What::Ask { generation, .. } => *generation,
        };
        self.act(Action::ToRunner { runner, message: ToRunner::Kv { actor, generation, call, result } });
    }

    /// A commit of a component, before it is made: it was asked for, or is within the limits by any account. Otherwise why not.
    pub(crate) fn take_grant(&mut self, id: ActorId, entries: u64, size_pages: Option<u32>) -> Result<(), String> {
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
        if let Some(granted) = actor.stored.granted.take() {
            self.grow(id, granted);
            return Ok(());
        }
        let before = actor.database.unwrap_or_default().size_pages;
        let growth = Growth { entries: signed(entries), database: growth_of_pages(before, size_pages) };
        if let Some(why) = self.over(id, growth) {
            return Err(why);
        }
        self.charge(id, growth);
        self.grow(id, positive(growth.total()));
        Ok(())
    }

    /// The last commit that was to grow is not made after all, and its generation is over: nothing is to wait for it.
    pub(crate) fn take_back(&mut self, id: ActorId) {
        let bytes = self.actors.get_mut(&id).and_then(|actor| actor.stored.growing.pop_back());
        self.settle_charge(id, bytes.unwrap_or(0));
    }

    /// Pages that a runner commits by itself, or that the engine's statements have changed outside of a message.
    pub(crate) fn check_pages(&mut self, id: ActorId, size_pages: u32) -> Result<(), DatabaseError> {
        let Some(actor) = self.actors.get(&id) else { return Ok(()) };
        let before = actor.database.unwrap_or_default().size_pages;
        let growth = Growth { entries: 0, database: growth_of_pages(before, Some(size_pages)) };
        match self.over(id, growth) {
            Some(message) => Err(DatabaseError { group: "depot", code: "quota_exceeded", message }),
            None => {
                self.charge(id, growth);
                self.grow(id, positive(growth.total()));
                Ok(())
            }
        }
    }

    /// An actor that comes from elsewhere has so much from the beginning; it is set aside until that is durable.
    pub(crate) fn charge_import(&mut self, id: ActorId, entries: u64, bytes: u64) {
        let database = signed(bytes.saturating_sub(entries));
        self.charge(id, Growth { entries: signed(entries), database });
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.stored.granted = Some(bytes);
        }
    }

    /// The generation that may have asked is over, or asks for something else.
    pub(crate) fn release_grant(&mut self, id: ActorId) {
        let granted = self.actors.get_mut(&id).and_then(|actor| actor.stored.granted.take());
        if let Some(granted) = granted {
            self.settle_charge(id, granted);
        }
    }

    /// A generation is over: nobody waits for its questions.
    pub(crate) fn forget_asks(&mut self, id: ActorId) {
        self.release_grant(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let stored = &mut actor.stored;
        // The one that is being weighed is answered all the same; nobody hears it.
        let mut first = stored.weighing;
        stored.held.retain(|held| std::mem::take(&mut first) || matches!(held.what, What::Write(_)));
        self.weigh_next(id);
    }

    /// It is destroyed: what waits to be written will not be.
    pub(crate) fn forget_writes(&mut self, id: ActorId) {
        self.release_grant(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let held = std::mem::take(&mut actor.stored.held);
        let namespace = actor.record.namespace;
        if let Some(usage) = self.usage.get_mut(&namespace) {
            usage.actors = usage.actors.saturating_sub(1);
        }
        for held in held {
            self.answer_entries(held.runner, id, &held.what, held.call, Err(NO_SUCH_ACTOR.to_string()));
        }
    }

    fn charge(&mut self, id: ActorId, growth: Growth) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.stored.entries_max = actor.stored.entries_max.saturating_add(positive(growth.entries));
        let usage = self.usage.entry(actor.record.namespace).or_default();
        let bytes = positive(growth.total());
        usage.bytes_max = usage.bytes_max.saturating_add(bytes);
        usage.charged = usage.charged.saturating_add(bytes);
    }

    /// So much of what was charged is no longer under way.
    fn settle_charge(&mut self, id: ActorId, bytes: u64) {
        let namespace = self.actors.get(&id).map(|actor| actor.record.namespace);
        if let Some(usage) = namespace.and_then(|namespace| self.usage.get_mut(&namespace)) {
            usage.settled = usage.settled.saturating_add(bytes);
        }
    }

    fn grow(&mut self, id: ActorId, bytes: u64) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.stored.growing.push_back(bytes);
        }
    }

    /// The earliest of its commits with entries is durable.
    pub(crate) fn grown(&mut self, id: ActorId) {
        let bytes = self.actors.get_mut(&id).and_then(|actor| actor.stored.growing.pop_front());
        self.settle_charge(id, bytes.unwrap_or(0));
        self.weigh_next(id);
    }
}

/// What a runner of components asks for before it commits.
pub(crate) struct Ask {
    pub changes: Vec<KvChange>,
    pub own: Vec<KvChange>,
    pub size_pages: Option<u32>,
}

impl What {
    /// If nothing that it puts replaces anything.
    fn growth_at_most(&self, before_pages: u32) -> Growth {
        match self {
            What::Write(changes) => Growth { entries: signed(bytes_put(changes)), database: 0 },
            What::Ask { changes, own, size_pages, .. } => Growth {
                entries: signed(bytes_put(changes) + bytes_put(own)),
                database: growth_of_pages(before_pages, *size_pages),
            },
        }
    }

    fn changes(&self) -> Vec<(KvSpace, Vec<KvChange>)> {
        match self {
            What::Write(changes) => vec![(KvSpace::Actor, changes.clone())],
            What::Ask { changes, own, .. } => vec![(KvSpace::Actor, changes.clone()), (KvSpace::Runner, own.clone())],
        }
    }
}

/// Keys and values.
pub(crate) fn bytes_put(changes: &[KvChange]) -> u64 {
    let put = |change: &KvChange| match change {
        KvChange::Put { key, value } => (key.len() + value.len()) as u64,
        KvChange::Delete { .. } | KvChange::DeleteRange { .. } => 0,
    };
    changes.iter().map(put).sum()
}

fn growth_of_pages(before: u32, after: Option<u32>) -> i64 {
    after.map_or(0, |after| (i64::from(after) - i64::from(before)) * PAGE_BYTES as i64)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn positive(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

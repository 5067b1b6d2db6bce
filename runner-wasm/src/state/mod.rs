//! What an actor has written and may read, and which of it is durable. Pure: no waiting, no clock, no WebAssembly.
//!
//! **One message is one transaction, and messages are pipelined.** The consistency model, which a guest relies on:
//!
//! 1. A read sees, in this order: what the running message wrote ([`write_set`]); what earlier messages wrote and the engine has
//!    not yet confirmed ([`pending`]); what is known to be stored ([`read_cache`]); what the engine answers.
//! 2. When a handler returns, its writes become one numbered commit, whole. When it fails they are dropped, whole.
//! 3. Commits are numbered from 1 without gaps and confirmed in order. The next message may run before that: it sees the writes
//!    of the earlier one, which will become durable unless the whole engine fails.
//! 4. Therefore nothing a message says may leave before all commits up to its own are confirmed: [`gate`]. A reader's answer
//!    waits for the writers before it as its own writes would.
//! 5. The alarm and all else on the [agenda](crate::agenda) are part of the same transaction, with the same rules; so is the actor's database, whose part of it the engine runs
//!    and hands over sealed, and so are the runner's own entries for the actor ([`KvSpace::Runner`]), which the guest never sees.
//!
//! All of it rests on one fact: within its generation an actor is the only writer of its state.

pub mod gate;
pub mod list;
pub mod pending;
pub mod read_cache;
pub mod write_set;

use bytes::Bytes;
use protocol::id::Generation;
use protocol::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use protocol::message::{AlarmChange, KvChange, KvRange, KvSpace};

use self::list::Listing;
use self::pending::Pending;
use self::read_cache::ReadCache;
use self::write_set::{WriteLimits, WriteSet};
use crate::agenda::Agenda;
use crate::config::{PENDING_BYTES_MAX, PENDING_CHANGES_MAX};

/// Why a write or a read was refused; the text names the limit and the size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    Invalid(String),
    TooLarge(String),
    /// The actor has as much of this as it may have.
    QuotaExceeded(String),
    Other(String),
}

impl Refusal {
    pub fn text(&self) -> &str {
        match self {
            Refusal::Invalid(text) | Refusal::TooLarge(text) | Refusal::QuotaExceeded(text) | Refusal::Other(text) => text,
        }
    }
}

/// What is known of a key without asking the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    Value(Bytes),
    Absent,
    Unknown,
}

/// What a message leaves behind when it has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub commit: u64,
    pub changes: Vec<KvChange>,
    pub own: Vec<KvChange>,
    pub alarm: AlarmChange,
}

/// What became of the engine's alarm that a message was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmEnd {
    Done,
    /// The engine keeps it, and sends it again, later.
    Failed,
}

/// One of the two key spaces.
struct Entries {
    writes: WriteSet,
    pending: Pending,
    cache: ReadCache,
}

impl Entries {
    fn new(limits: &'static WriteLimits) -> Entries {
        Entries { writes: WriteSet::new(limits), pending: Pending::default(), cache: ReadCache::default() }
    }

    /// The running message's writes are those of this commit.
    fn commit(&mut self, commit: u64) -> Vec<KvChange> {
        let writes = self.writes.take();
        let changes = writes.changes();
        self.pending.push(commit, writes);
        changes
    }
}

pub struct State {
    guest: Entries,
    own: Entries,
    /// The running message has used the actor's database.
    uses_database: bool,
    /// As the running message sees it; and as it was before the message changed it.
    agenda: Agenda,
    agenda_before: Option<Agenda>,
    /// The message has set the alarm: again, if it was set to that moment before.
    alarm_set: bool,
    /// The engine's alarm once it has all commits.
    engine_alarm_ms: Option<u64>,
    /// The running message's response has begun: its transaction is over.
    sealed: bool,
    commits: u64,
}

impl State {
    /// With the alarm that the engine has; [`State::load`] follows if it has one.
    pub fn new(generation: Generation, alarm_ms: Option<u64>) -> State {
        State {
            guest: Entries::new(&write_set::OF_GUEST),
            own: Entries::new(&write_set::OF_RUNNER),
            uses_database: false,
            agenda: Agenda::new(generation, alarm_ms, &[]).unwrap_or_default(),
            agenda_before: None,
            alarm_set: false,
            engine_alarm_ms: alarm_ms,
            sealed: false,
            commits: 0,
        }
    }

    /// What is stored of the agenda, before the first message.
    pub fn load(&mut self, agenda: Agenda) {
        self.agenda = agenda;
    }

    /// A message begins.
    pub fn begin(&mut self) {
        debug_assert!(!self.has_written() && self.agenda_before.is_none(), "the message before has ended");
        self.sealed = false;
    }

    /// The message is the alarm's: the alarm is no longer set, unless the handler sets it again.
    pub fn begin_alarm(&mut self) {
        self.begin();
        self.agenda_mut().set_alarm(None);
    }

    pub fn known(&self, space: KvSpace, key: &[u8]) -> Known {
        let entries = self.entries(space);
        let written = entries.writes.get(key).or_else(|| entries.pending.get(key));
        match written.or_else(|| entries.cache.get(key)) {
            Some(Some(value)) => Known::Value(value.clone()),
            Some(None) => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// The engine's answer for a key that was unknown.
    pub fn learn(&mut self, space: KvSpace, key: Bytes, value: Option<Bytes>) {
        match space {
            KvSpace::Actor => self.guest.cache.put(key, value),
            KvSpace::Runner => self.own.cache.put(key, value),
        }
    }

    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Refusal> {
        self.check_open()?;
        check_key(&key)?;
        if value.len() > KV_VALUE_BYTES_MAX {
            return Err(Refusal::TooLarge(format!("a value has at most {KV_VALUE_BYTES_MAX} bytes, this has {}", value.len())));
        }
        self.guest.writes.put(key.into(), Some(value.into()))
    }

    pub fn delete(&mut self, key: Vec<u8>) -> Result<(), Refusal> {
        self.check_open()?;
        check_key(&key)?;
        self.guest.writes.put(key.into(), None)
    }

    /// Puts or deletes an entry of the runner's own, as part of the running message.
    pub fn write_own(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Refusal> {
        self.check_open()?;
        debug_assert!(key.len() <= KV_KEY_BYTES_MAX, "what becomes part of such a key is bounded before");
        self.own.writes.put(key.into(), value.map(Bytes::from))
    }

    /// Begins a list: what is to be asked from the engine, and what to lay over its answers.
    pub fn list(&self, space: KvSpace, range: KvRange, reverse: bool, limit: usize, keys_only: bool) -> Listing {
        let entries = self.entries(space);
        Listing::new(range, reverse, limit, keys_only, &entries.writes, &entries.pending)
    }

    /// The message is about to use the actor's database: whatever ends it must end that transaction too.
    pub fn use_database(&mut self) -> Result<(), Refusal> {
        self.check_open()?;
        self.uses_database = true;
        Ok(())
    }

    pub fn uses_database(&self) -> bool {
        self.uses_database
    }

    pub fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// The agenda, to be changed as part of the running message.
    pub fn agenda_mut(&mut self) -> &mut Agenda {
        if self.agenda_before.is_none() {
            self.agenda_before = Some(self.agenda.clone());
        }
        &mut self.agenda
    }

    /// The same for the guest, which cannot once its response has begun.
    pub fn change_agenda(&mut self) -> Result<&mut Agenda, Refusal> {
        self.check_open()?;
        Ok(self.agenda_mut())
    }

    pub fn alarm_ms(&self) -> Option<u64> {
        self.agenda.alarm().map(|alarm| alarm.at_ms)
    }

    pub fn set_alarm(&mut self, alarm_ms: Option<u64>) -> Result<(), Refusal> {
        self.change_agenda()?.set_alarm(alarm_ms);
        self.alarm_set = alarm_ms.is_some();
        Ok(())
    }

    /// From now on the message's writes are refused: its response has begun.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the running message has something to commit so far; it may turn out that it has not.
    pub fn has_changes(&self) -> bool {
        self.has_written() || self.uses_database || self.agenda_before.is_some()
    }

    /// What the running message has written so far, in both key spaces.
    pub fn changes(&self) -> (Vec<KvChange>, Vec<KvChange>) {
        let mut own = self.own.writes.changes();
        if let Some(before) = &self.agenda_before {
            own.extend(self.agenda.changes(before).into_iter().map(change));
        }
        (self.guest.writes.changes(), own)
    }

    /// The message has succeeded. `None` when it wrote nothing, unless the engine's alarm `fired` with it, or its database changed:
    /// then there is a commit all the same.
    pub fn commit(&mut self, fired: Option<AlarmEnd>, changed_database: bool) -> Option<Sealed> {
        self.uses_database = false;
        let alarm = self.alarm_change(fired);
        let agenda_before = self.agenda_before.take();
        let agenda = agenda_before.map(|before| self.agenda.changes(&before)).unwrap_or_default();
        let unchanged = !self.has_written() && agenda.is_empty() && alarm == AlarmChange::Keep;
        if unchanged && fired.is_none() && !changed_database {
            return None;
        }
        self.commits += 1;
        let mut own = self.own.commit(self.commits);
        own.extend(agenda.into_iter().map(change));
        Some(Sealed { commit: self.commits, changes: self.guest.commit(self.commits), own, alarm })
    }

    /// What the running message, as it ends, makes of the engine's alarm: it is the earliest of the agenda.
    fn alarm_change(&mut self, fired: Option<AlarmEnd>) -> AlarmChange {
        if fired == Some(AlarmEnd::Done) {
            self.engine_alarm_ms = None;
        }
        let earliest_ms = self.agenda.earliest().map(|(at_ms, _)| at_ms);
        let is_set_again = std::mem::take(&mut self.alarm_set) && earliest_ms == self.alarm_ms();
        let before_ms = std::mem::replace(&mut self.engine_alarm_ms, earliest_ms);
        match earliest_ms {
            Some(at_ms) if before_ms != Some(at_ms) || is_set_again => AlarmChange::Set(at_ms),
            None if before_ms.is_some() => AlarmChange::Clear,
            _ => AlarmChange::Keep,
        }
    }

    /// The message has failed: it has written nothing, and the agenda is as it was. Whether the engine must drop a transaction of the
    /// database.
    pub fn drop_writes(&mut self) -> bool {
        self.guest.writes.take();
        self.own.writes.take();
        if let Some(before) = self.agenda_before.take() {
            self.agenda = before;
        }
        self.alarm_set = false;
        std::mem::take(&mut self.uses_database)
    }

    /// The engine has made all commits up to this one durable.
    pub fn confirmed(&mut self, commit: u64) {
        for entries in [&mut self.guest, &mut self.own] {
            entries.pending.confirm(commit, &mut entries.cache);
        }
    }

    /// Whether one more message may run before the engine has confirmed something.
    pub fn has_room(&self) -> bool {
        let (guest, own) = (&self.guest.pending, &self.own.pending);
        guest.bytes() + own.bytes() <= PENDING_BYTES_MAX && guest.changes() + own.changes() <= PENDING_CHANGES_MAX
    }

    fn entries(&self, space: KvSpace) -> &Entries {
        match space {
            KvSpace::Actor => &self.guest,
            KvSpace::Runner => &self.own,
        }
    }

    fn has_written(&self) -> bool {
        !self.guest.writes.is_empty() || !self.own.writes.is_empty()
    }

    fn check_open(&self) -> Result<(), Refusal> {
        match self.sealed {
            true => Err(Refusal::Other("the response has begun: write before you answer".to_string())),
            false => Ok(()),
        }
    }
}

fn change((key, value): (Vec<u8>, Option<Vec<u8>>)) -> KvChange {
    match value {
        Some(value) => KvChange::Put { key: key.into(), value: value.into() },
        None => KvChange::Delete { key: key.into() },
    }
}

pub fn check_key(key: &[u8]) -> Result<(), Refusal> {
    match key.len() > KV_KEY_BYTES_MAX {
        true => Err(Refusal::TooLarge(format!("a key has at most {KV_KEY_BYTES_MAX} bytes, this has {}", key.len()))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;

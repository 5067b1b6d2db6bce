//! A runner that behaves, as far as the protocol goes, and whose actors do not.
//!
//! Each actor counts: a request adds one to its counter, durably, and is answered with the new value. An alarm's handler notes that it
//! ran. What an actor writes is one commit, and what depends on a commit leaves when the engine says that it is durable. Some
//! messages have statements too, which are sealed before the commit, and some call another actor first and wait for it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::database::Page;
use protocol::id::{ActorId, Generation, RequestId};
use protocol::message::{AlarmChange, Checkpoint, Commit, DatabaseCommit, Event, KvChange, Outcome};

use crate::model::value_of;

/// What an actor still has to do; one at a time, in order.
#[derive(Debug)]
pub enum Work {
    Start,
    Request(RequestId),
    Alarm { scheduled_ms: u64 },
    Stop,
}

/// What it runs.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    pub number: u32,
    pub component: u8,
    /// Its state is another version's.
    pub migrates: bool,
}

impl Version {
    fn bytes(self) -> Bytes {
        [&self.number.to_be_bytes()[..], &[self.component]].concat().into()
    }

    /// The number and the component.
    pub fn read(bytes: &[u8]) -> (u32, u8) {
        (u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")), bytes[4])
    }
}

#[derive(Debug)]
pub struct Running {
    pub generation: Generation,
    version: Version,
    pub mailbox: VecDeque<Work>,
    pub counter: u64,
    pub alarm_ms: Option<u64>,
    commit: u64,
    event: u64,
    /// Answers that wait for a commit.
    pub held: BTreeMap<u64, (RequestId, u64)>,
    asked_to_sleep: bool,
    /// The message that waits until this call has sealed its statements.
    sealing: Option<(u64, RequestId)>,
    /// The call to another actor that it waits for.
    pub calling: Option<RequestId>,
    /// It has stopped as soon as nothing is held any more.
    pub stopping: Option<Outcome>,
}

/// What a step of an actor says to the engine.
#[derive(Debug)]
pub enum Said {
    Event(Checkpoint, Event),
    Commit(Commit),
    Returned(RequestId),
    /// Answered; the value if the handler got that far.
    Answer(RequestId, Option<u64>),
    /// Its statements are to be sealed by this call; or what was sealed is to be forgotten.
    Seal(u64),
    RollBack(u64),
    /// It calls another actor.
    Calls(RequestId),
}

impl Running {
    pub fn new(generation: Generation, counter: u64, alarm_ms: Option<u64>, version: Version) -> Running {
        Running {
            generation,
            version,
            mailbox: VecDeque::from([Work::Start]),
            counter,
            alarm_ms,
            commit: 0,
            event: 0,
            held: BTreeMap::new(),
            asked_to_sleep: false,
            sealing: None,
            calling: None,
            stopping: None,
        }
    }

    /// Handles one message, or asks to sleep when there is none.
    pub fn step(&mut self, actor: ActorId, now_ms: u64, faults: bool, next: &mut u64, rng: &mut fastrand::Rng) -> Vec<Said> {
        if self.stopping.is_some() {
            return self.finish(actor);
        }
        let crash = faults && rng.u8(..) < 12;
        if self.sealing.is_some() || self.calling.is_some() {
            return if crash { self.die(actor, "crashed while it waited") } else { Vec::new() };
        }
        *next += 1;
        match self.mailbox.pop_front() {
            Some(Work::Request(request)) if crash => {
                let mut said = vec![Said::Answer(request, None)];
                said.extend(self.die(actor, "crashed in a request"));
                said
            }
            Some(Work::Start) if self.version.migrates && faults && rng.u8(..4) == 0 => {
                self.stopping = Some(Outcome::NotMigrated("it cannot be".to_string()));
                self.finish(actor)
            }
            Some(Work::Start) => {
                // Durable before it runs or not: that is for the engine to bear.
                let mut said =
                    vec![self.writes(actor, vec![("wrote", self.version.bytes())], Vec::new(), None, AlarmChange::Keep, None)];
                match crash {
                    true => said.extend(self.die(actor, "crashed at its start")),
                    false => said.push(self.event(actor, Event::Running)),
                }
                said
            }
            Some(_) if crash => self.die(actor, "crashed"),
            Some(Work::Request(request)) if rng.u8(..5) == 0 => {
                self.sealing = Some((*next, request));
                vec![Said::Seal(*next)]
            }
            Some(Work::Request(request)) if rng.u8(..6) == 0 => {
                // Then it counts this one.
                self.mailbox.push_front(Work::Request(request));
                self.calling = Some(RequestId(*next));
                vec![Said::Calls(RequestId(*next))]
            }
            Some(Work::Request(request)) => self.count(actor, request, None, now_ms, rng),
            Some(Work::Alarm { scheduled_ms }) => self.ring(actor, scheduled_ms, faults, rng),
            Some(Work::Stop) => self.stop(actor),
            None if !self.asked_to_sleep && self.event > 0 && rng.bool() => {
                self.asked_to_sleep = true;
                let event = if faults && rng.u8(..) < 10 { Event::StopIntent } else { Event::SleepIntent };
                vec![self.event(actor, event)]
            }
            None => Vec::new(),
        }
    }

    /// What a call has sealed, or that it could not.
    pub fn sealed(
        &mut self,
        actor: ActorId,
        call: u64,
        sealed: Option<(Vec<Page>, u32)>,
        now_ms: u64,
        faults: bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<Said> {
        let Some((_, request)) = self.sealing.take_if(|(sealing, _)| *sealing == call) else { return Vec::new() };
        let Some((mut pages, size_pages)) = sealed else { return vec![Said::Answer(request, None)] };
        if rng.u8(..8) == 0 {
            // The message fails after all.
            return vec![Said::RollBack(call), Said::Answer(request, None)];
        }
        if faults && rng.u8(..24) == 0 {
            // A bug of the runner: the engine must not write that.
            match rng.u8(..3) {
                0 => pages[0].1 = vec![7; pages[0].1.len()].into(),
                1 => drop(pages.pop()),
                _ => pages[0].0 = 0,
            }
        }
        self.count(actor, request, Some(DatabaseCommit { call, pages, size_pages }), now_ms, rng)
    }

    /// It is given up, and whoever waits for it is told.
    pub fn give_up(mut self) -> Vec<Said> {
        let unbegun = self.mailbox.drain(..).filter_map(|work| match work {
            Work::Request(request) => Some(Said::Returned(request)),
            Work::Start | Work::Alarm { .. } | Work::Stop => None,
        });
        let begun = self.held.into_values().map(|(request, _)| request).chain(self.sealing.map(|(_, request)| request));
        unbegun.collect::<Vec<_>>().into_iter().chain(begun.map(|request| Said::Answer(request, None))).collect()
    }

    /// The engine has made everything up to this commit durable.
    pub fn committed(&mut self, commit: u64) -> Vec<Said> {
        let later = self.held.split_off(&(commit + 1));
        std::mem::replace(&mut self.held, later).into_values().map(|(request, value)| Said::Answer(request, Some(value))).collect()
    }

    fn count(
        &mut self,
        actor: ActorId,
        request: RequestId,
        database: Option<DatabaseCommit>,
        now_ms: u64,
        rng: &mut fastrand::Rng,
    ) -> Vec<Said> {
        self.counter += 1;
        let alarm = match rng.u8(..8) {
            0 => AlarmChange::Set(now_ms + rng.u64(0..5_000)),
            1 => AlarmChange::Clear,
            _ => AlarmChange::Keep,
        };
        let commit = self.commit(actor, database, alarm, None);
        self.held.insert(self.commit, (request, self.counter));
        vec![commit]
    }

    fn ring(&mut self, actor: ActorId, scheduled_ms: u64, faults: bool, rng: &mut fastrand::Rng) -> Vec<Said> {
        if self.alarm_ms != Some(scheduled_ms) {
            return Vec::new();
        }
        if faults && rng.u8(..) < 40 {
            self.commit += 1;
            return vec![Said::Commit(Commit {
                actor,
                generation: self.generation,
                commit: self.commit,
                changes: Vec::new(),
                own: Vec::new(),
                database: None,
                alarm: AlarmChange::Keep,
                fired_ms: Some(scheduled_ms),
                alarm_failed: true,
            })];
        }
        self.counter += 1;
        let alarm = if rng.u8(..) < 60 { AlarmChange::Set(scheduled_ms + rng.u64(1..9_000)) } else { AlarmChange::Keep };
        self.alarm_ms = None;
        vec![self.commit(actor, None, alarm, Some(scheduled_ms))]
    }

    fn stop(&mut self, actor: ActorId) -> Vec<Said> {
        self.stopping = Some(Outcome::Ok);
        self.finish(actor)
    }

    fn die(&mut self, actor: ActorId, text: &str) -> Vec<Said> {
        self.stopping = Some(Outcome::Error(Some(text.to_string())));
        self.finish(actor)
    }

    /// Returns what was not begun and says goodbye, once no answer is held back.
    fn finish(&mut self, actor: ActorId) -> Vec<Said> {
        if !self.held.is_empty() {
            return Vec::new();
        }
        let mut said: Vec<Said> = self.sealing.take().map(|(_, request)| Said::Answer(request, None)).into_iter().collect();
        for work in self.mailbox.drain(..) {
            if let Work::Request(request) = work {
                said.push(Said::Returned(request));
            }
        }
        let outcome = self.stopping.clone().expect("it is stopping");
        said.push(self.event(actor, Event::Stopped(outcome)));
        said
    }

    fn commit(&mut self, actor: ActorId, database: Option<DatabaseCommit>, alarm: AlarmChange, fired_ms: Option<u64>) -> Said {
        match alarm {
            AlarmChange::Set(ms) => self.alarm_ms = Some(ms),
            AlarmChange::Clear => self.alarm_ms = None,
            AlarmChange::Keep => {}
        }
        let value = Bytes::copy_from_slice(&self.counter.to_be_bytes());
        // Three keys in two spaces, and a fourth of what the database holds: if ever one of them differs, half a message was written.
        let mut entries = vec![("count", value.clone()), ("again", value.clone())];
        if let Some((_, page)) = database.as_ref().and_then(|database| database.pages.first()) {
            entries.push(("pages", Bytes::copy_from_slice(&value_of(page).0.to_be_bytes())));
        }
        self.writes(actor, entries, vec![("own", value)], database, alarm, fired_ms)
    }

    fn writes(
        &mut self,
        actor: ActorId,
        entries: Vec<(&'static str, Bytes)>,
        own: Vec<(&'static str, Bytes)>,
        database: Option<DatabaseCommit>,
        alarm: AlarmChange,
        fired_ms: Option<u64>,
    ) -> Said {
        self.commit += 1;
        let puts = |entries: Vec<(&'static str, Bytes)>| {
            entries.into_iter().map(|(key, value)| KvChange::Put { key: key.into(), value }).collect()
        };
        Said::Commit(Commit {
            actor,
            generation: self.generation,
            commit: self.commit,
            changes: puts(entries),
            own: puts(own),
            database,
            alarm,
            fired_ms,
            alarm_failed: false,
        })
    }

    fn event(&mut self, actor: ActorId, event: Event) -> Said {
        let checkpoint = Checkpoint { actor, generation: self.generation, index: self.event };
        self.event += 1;
        Said::Event(checkpoint, event)
    }
}

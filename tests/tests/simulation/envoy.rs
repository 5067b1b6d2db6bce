//! A runner of a pool, as RivetKit is one: it keeps its actors while it is disconnected, and repeats itself when it is back.
//!
//! It never touches the core: what it hears comes from a queue, what it says goes to one, and both are lost with the connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, Fence};
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::message::{Checkpoint, Command, Event, FromRunner, KvAnswer, KvChange, Outcome, StopReason, ToRunner};

use crate::model::{KV_KEYS, Model, pages};
use crate::tally::{Happened, Tally};

/// Away from the engine for so long, it stops its actors by itself.
pub const GIVES_UP_MS: u64 = 15_000;
const SIZES: [u32; 3] = [1, 2, 65];

/// On the way from the engine.
pub enum Down {
    Said(ToRunner),
    Request { request: RequestId, actor: ActorId, generation: Generation },
    Socket { request: RequestId, actor: ActorId, generation: Generation, opened: bool },
}

/// On the way to the engine.
pub enum Up {
    Said(Box<FromRunner>),
    /// The request is over.
    Answer(RequestId),
    Opened {
        request: RequestId,
        can_hibernate: bool,
    },
}

pub struct Envoy {
    pub key: String,
    pub pool: &'static str,
    pub version: u32,
    pub slots: Option<u32>,
    /// Its connection, if it has one.
    pub link: Option<RunnerId>,
    pub down: VecDeque<Down>,
    pub up: VecDeque<Up>,
    pub away_since_ms: u64,
    /// It is about to end, and has said so.
    pub stopping: bool,
    pub actors: BTreeMap<(ActorId, Generation), Held>,
    /// The last command heard.
    heard: BTreeMap<(ActorId, Generation), u64>,
    said: BTreeMap<(ActorId, Generation), Story>,
    /// Questions that are not answered.
    asked: BTreeMap<u64, Asked>,
    calls: u64,
    /// Answers that could not be sent.
    kept: Vec<RequestId>,
    unacked: Vec<Checkpoint>,
}

/// The events of one generation that were not acknowledged, and the next one's index.
#[derive(Default)]
struct Story {
    events: Vec<(u64, Event)>,
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Starting,
    Running,
    Stopping,
}

/// An actor that it runs.
pub struct Held {
    stage: Stage,
    pub requests: Vec<RequestId>,
    sockets: BTreeSet<RequestId>,
    /// The database's head, once it has been read.
    head_txid: Option<u64>,
    /// It waits for the answer to a question about its database.
    waits: bool,
    asked_to_sleep: bool,
}

#[derive(Clone)]
struct Asked {
    of: (ActorId, Generation),
    what: What,
    /// Asked once more, on another connection.
    again: bool,
}

#[derive(Clone)]
enum What {
    Write { actor: ActorId, value: u64 },
    Database { question: DatabaseQuestion, value: u64, fence: Belief },
}

/// Whether the head that a question names is the one the envoy knows of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    Right,
    Wrong,
}

/// Where an envoy lives, for one step of it.
pub struct Around<'a> {
    pub now_ms: u64,
    pub faults: bool,
    pub rng: &'a mut fastrand::Rng,
    pub model: &'a mut Model,
    pub tally: &'a mut Tally,
}

impl Around<'_> {
    /// One of so many times, and only while things go wrong.
    fn goes_wrong(&mut self, of: u32) -> bool {
        self.faults && self.rng.u32(..of) == 0
    }
}

impl Envoy {
    pub fn new(key: String, pool: &'static str, version: u32, slots: Option<u32>) -> Envoy {
        Envoy {
            key,
            pool,
            version,
            slots,
            link: None,
            down: VecDeque::new(),
            up: VecDeque::new(),
            away_since_ms: 0,
            stopping: false,
            actors: BTreeMap::new(),
            heard: BTreeMap::new(),
            said: BTreeMap::new(),
            asked: BTreeMap::new(),
            calls: 0,
            kept: Vec::new(),
            unacked: Vec::new(),
        }
    }

    /// A connection stands: everything that may have been lost is said again.
    pub fn connected(&mut self, runner: RunnerId, around: &mut Around) {
        self.link = Some(runner);
        self.down.clear();
        self.up.clear();
        for ((actor, generation), story) in &self.said {
            for (index, event) in &story.events {
                around.tally.count(Happened::EventRepeated);
                let checkpoint = Checkpoint { actor: *actor, generation: *generation, index: *index };
                self.up.push_back(Up::Said(Box::new(FromRunner::Event(checkpoint, event.clone()))));
            }
        }
        // To write again would bring an old value back: the actor has to read what is there.
        self.asked.retain(|_, asked| matches!(asked.what, What::Database { .. }));
        for (call, asked) in &mut self.asked {
            asked.again = true;
            self.up.push_back(Up::Said(Box::new(asked.message(*call))));
        }
        self.up.extend(self.kept.drain(..).map(Up::Answer));
        if self.stopping {
            self.up.push_back(Up::Said(Box::new(FromRunner::Stopping)));
        }
    }

    /// What is on its way is lost.
    pub fn disconnected(&mut self, now_ms: u64) {
        self.link = None;
        self.down.clear();
        self.up.clear();
        self.away_since_ms = now_ms;
    }

    pub fn stops(&mut self) {
        self.stopping = true;
        self.say(Up::Said(Box::new(FromRunner::Stopping)));
    }

    pub fn is_idle(&self) -> bool {
        self.actors.is_empty() && self.asked.is_empty() && self.down.is_empty() && self.up.is_empty()
    }

    fn say(&mut self, up: Up) {
        match up {
            up if self.link.is_some() => self.up.push_back(up),
            Up::Answer(request) => self.kept.push(request),
            Up::Said(_) | Up::Opened { .. } => {}
        }
    }

    fn event(&mut self, of: (ActorId, Generation), event: Event) {
        let story = self.said.entry(of).or_default();
        let index = story.next;
        story.next += 1;
        story.events.push((index, event.clone()));
        self.say(Up::Said(Box::new(FromRunner::Event(Checkpoint { actor: of.0, generation: of.1, index }, event))));
    }

    fn ask(&mut self, of: (ActorId, Generation), what: What) {
        self.calls += 1;
        let asked = Asked { of, what, again: false };
        let message = asked.message(self.calls);
        self.asked.insert(self.calls, asked);
        self.say(Up::Said(Box::new(message)));
    }

    // What it hears.

    pub fn hear(&mut self, down: Down, around: &mut Around) {
        match down {
            Down::Said(ToRunner::Command(checkpoint, command)) => self.command(checkpoint, command, around),
            Down::Said(ToRunner::AckEvents(Checkpoint { actor, generation, index })) => {
                around.tally.count(Happened::EventsAcked);
                if let Some(story) = self.said.get_mut(&(actor, generation)) {
                    story.events.retain(|(said, _)| *said > index);
                }
            }
            Down::Said(ToRunner::Kv { call, result, .. }) => {
                let Some(Asked { what: What::Write { actor, value }, .. }) = self.asked.remove(&call) else { return };
                match result {
                    Ok(KvAnswer::Written) => {
                        around.tally.count(Happened::KvWritten);
                        around.model.word_acked(actor, value);
                    }
                    _ => around.tally.count(Happened::KvOfNobody),
                }
            }
            Down::Said(ToRunner::Database { call, result, .. }) => self.database_answered(call, result, around),
            Down::Said(other) => unreachable!("an envoy is not told {other:?}"),
            Down::Request { request, actor, generation } => match self.actors.get_mut(&(actor, generation)) {
                Some(held) => held.requests.push(request),
                None => self.say(Up::Answer(request)),
            },
            Down::Socket { request, actor, generation, opened } => match self.actors.get_mut(&(actor, generation)) {
                Some(held) => {
                    held.sockets.insert(request);
                    if !opened {
                        let can_hibernate = around.rng.u8(..4) > 0;
                        self.say(Up::Opened { request, can_hibernate });
                    }
                }
                None => self.say(Up::Answer(request)),
            },
        }
    }

    pub fn command(&mut self, checkpoint: Checkpoint, command: Command, around: &mut Around) {
        let Checkpoint { actor, generation, index } = checkpoint;
        let of = (actor, generation);
        if self.heard.get(&of).is_some_and(|heard| index <= *heard) {
            return around.tally.count(Happened::CommandRepeated);
        }
        self.heard.insert(of, index);
        if around.rng.u8(..8) > 0 {
            self.unacked.push(checkpoint);
        }
        match command {
            Command::Start(_) => {
                around.model.held(actor, generation, &self.key);
                around.tally.count(Happened::Started);
                self.actors.insert(of, Held::new());
            }
            Command::Stop(StopReason::Lost) => {
                if self.actors.contains_key(&of) {
                    around.tally.count(Happened::ToldToStopAsLost);
                    self.end(of, Outcome::Error(None));
                }
            }
            Command::Stop(_) => {
                if let Some(held) = self.actors.get_mut(&of) {
                    held.stage = Stage::Stopping;
                }
            }
        }
    }

    fn database_answered(&mut self, call: u64, result: Result<DatabaseAnswer, DatabaseError>, around: &mut Around) {
        let Some(Asked { of, what: What::Database { question, value, fence }, again }) = self.asked.remove(&call) else { return };
        let size_pages = SIZES[2];
        let Some(held) = self.actors.get_mut(&of) else {
            if let Ok(DatabaseAnswer::Committed { head_txid }) = result {
                around.model.database_acked(of.0, head_txid);
            }
            return;
        };
        held.waits = false;
        let generation = Some(u64::from(of.1));
        let next = match (question, result) {
            (DatabaseQuestion::GetPages { .. }, Ok(DatabaseAnswer::Pages { head_txid, .. })) => {
                if held.stage == Stage::Starting && !again {
                    around.model.first_read(of.0, of.1, head_txid);
                }
                held.head_txid = Some(head_txid);
                return;
            }
            (DatabaseQuestion::GetPages { .. }, Err(error)) if error.code == "database_not_found" => {
                held.head_txid = Some(0);
                return;
            }
            (DatabaseQuestion::Commit { .. } | DatabaseQuestion::StageFinalize { .. }, Ok(answer)) => {
                let DatabaseAnswer::Committed { head_txid } = answer else { unreachable!("a commit is answered with {answer:?}") };
                assert!(fence == Belief::Right, "{}: a commit with the wrong head was taken", of.0);
                around.tally.count(Happened::DatabaseCommitted);
                around.model.database_acked(of.0, head_txid);
                held.head_txid = Some(head_txid);
                if again {
                    // It may have been taken twice: nobody knows the head.
                    self.end(of, Outcome::Error(Some("the database is not known".into())));
                }
                return;
            }
            (DatabaseQuestion::StageBegin { .. }, Ok(DatabaseAnswer::Staging { txid })) => {
                let pages = pages(value, of.1, size_pages).into_iter().filter(|(page, _)| *page < 64).collect();
                DatabaseQuestion::StageSegment { generation, txid, first_page: 0, pages }
            }
            (DatabaseQuestion::StageSegment { txid, first_page: 0, .. }, Ok(_)) => {
                let pages = pages(value, of.1, size_pages).into_iter().filter(|(page, _)| *page >= 64).collect();
                DatabaseQuestion::StageSegment { generation, txid, first_page: 64, pages }
            }
            (DatabaseQuestion::StageSegment { txid, .. }, Ok(_)) => {
                around.tally.count(Happened::DatabaseStaged);
                DatabaseQuestion::StageFinalize { generation, txid, size_pages, first_pages: vec![0, 64] }
            }
            (question, Ok(answer)) => unreachable!("{question:?} is answered with {answer:?}"),
            (_, Err(error)) => {
                let fenced = error.code == "head_fence_mismatch";
                assert!(again || !fenced || fence == Belief::Wrong, "{}: a commit with the right head: {error:?}", of.0);
                around.tally.count(Happened::DatabaseFenced);
                around.tally.count(Happened::Crashed);
                return self.end(of, Outcome::Error(Some("the database is lost".into())));
            }
        };
        held.waits = true;
        self.ask(of, What::Database { question: next, value, fence });
    }

    // What it does.

    /// Every actor may do something.
    pub fn step(&mut self, around: &mut Around) {
        if self.link.is_none() && around.now_ms >= self.away_since_ms + GIVES_UP_MS && !self.actors.is_empty() {
            around.tally.count(Happened::EnvoyGaveUp);
            for of in self.actors.keys().copied().collect::<Vec<_>>() {
                self.end(of, Outcome::Error(Some("the engine is lost".into())));
            }
        }
        if around.rng.u8(..4) == 0 && !self.unacked.is_empty() {
            let acks = std::mem::take(&mut self.unacked);
            self.say(Up::Said(Box::new(FromRunner::AckCommands(acks))));
        }
        for of in self.actors.keys().copied().collect::<Vec<_>>() {
            if around.rng.bool() {
                self.step_actor(of, around);
            }
        }
    }

    fn step_actor(&mut self, of: (ActorId, Generation), around: &mut Around) {
        let Some(held) = self.actors.get_mut(&of) else { return };
        match held.stage {
            _ if around.goes_wrong(120) => {
                around.tally.count(Happened::Crashed);
                self.end(of, Outcome::Error(Some("crashed".into())));
            }
            Stage::Starting if held.waits => {}
            Stage::Starting if held.head_txid.is_none() && around.rng.bool() => self.read(of),
            // It hangs, now and then for ever.
            Stage::Starting if around.goes_wrong(3) => {}
            Stage::Starting => {
                held.stage = Stage::Running;
                self.event(of, Event::Running);
            }
            Stage::Running => self.run(of, around),
            Stage::Stopping if around.goes_wrong(2) => {}
            Stage::Stopping => {
                for request in std::mem::take(&mut held.requests) {
                    self.say(Up::Answer(request));
                }
                self.end(of, Outcome::Ok);
            }
        }
    }

    fn run(&mut self, of: (ActorId, Generation), around: &mut Around) {
        let Some(held) = self.actors.get_mut(&of) else { return };
        match around.rng.u8(..32) {
            0..8 => {
                if let Some(request) = held.requests.pop() {
                    self.say(Up::Answer(request));
                }
            }
            8..11 if around.faults => {
                let alarm_ms = (around.rng.u8(..4) > 0).then(|| around.now_ms + around.rng.u64(..6_000));
                self.event(of, Event::SetAlarm(alarm_ms));
            }
            11..14 if around.faults => {
                let others: Vec<ActorId> = around.model.records.keys().copied().collect();
                let actor = if around.rng.bool() { of.0 } else { others[around.rng.usize(..others.len())] };
                self.ask(of, What::Write { actor, value: around.rng.u64(..) });
            }
            14..22 if around.faults && !held.waits => self.commit(of, around),
            22 => {
                if let Some(socket) = held.sockets.pop_first() {
                    self.say(Up::Answer(socket));
                }
            }
            23 if around.goes_wrong(4) => self.event(of, Event::StopIntent),
            24 if around.goes_wrong(8) => self.end(of, Outcome::Ok),
            // Enough of them to be told that they need not be kept.
            25 if around.goes_wrong(12) => (0..251).for_each(|_| self.event(of, Event::SetAlarm(None))),
            26 if !held.asked_to_sleep && held.requests.is_empty() => {
                held.asked_to_sleep = true;
                self.event(of, Event::SleepIntent);
            }
            _ => {}
        }
    }

    fn read(&mut self, of: (ActorId, Generation)) {
        if let Some(held) = self.actors.get_mut(&of) {
            held.waits = true;
        }
        let fence = Fence { generation: Some(u64::from(of.1)), head_txid: None };
        let question = DatabaseQuestion::GetPages { fence, pages: vec![1] };
        self.ask(of, What::Database { question, value: 0, fence: Belief::Right });
    }

    fn commit(&mut self, of: (ActorId, Generation), around: &mut Around) {
        let Some(held) = self.actors.get_mut(&of) else { return };
        let Some(known) = held.head_txid else { return self.read(of) };
        held.waits = true;
        let (fence, head_txid) = match around.rng.u8(..32) {
            0 => (Belief::Wrong, Some(known + 1)),
            1 if known > 0 => (Belief::Wrong, Some(known - 1)),
            2..4 => (Belief::Right, None),
            _ => (Belief::Right, Some(known)),
        };
        let value = around.rng.u64(..);
        let head = Fence { generation: Some(u64::from(of.1)), head_txid };
        let question = match around.rng.u8(..5) {
            0 => DatabaseQuestion::StageBegin { fence: head },
            _ => {
                let size_pages = SIZES[around.rng.usize(..SIZES.len())];
                DatabaseQuestion::Commit { fence: head, pages: pages(value, of.1, size_pages), size_pages }
            }
        };
        self.ask(of, What::Database { question, value, fence });
    }

    fn end(&mut self, of: (ActorId, Generation), outcome: Outcome) {
        self.actors.remove(&of);
        self.event(of, Event::Stopped(outcome));
    }
}

impl Held {
    fn new() -> Held {
        Held {
            stage: Stage::Starting,
            requests: Vec::new(),
            sockets: BTreeSet::new(),
            head_txid: None,
            waits: false,
            asked_to_sleep: false,
        }
    }
}

impl Asked {
    fn message(&self, call: u64) -> FromRunner {
        match &self.what {
            What::Write { actor, value } => {
                let value = Bytes::copy_from_slice(&value.to_be_bytes());
                let changes = KV_KEYS.map(|key| KvChange::Put { key: key.into(), value: value.clone() });
                FromRunner::KvWrite { actor: *actor, call, changes: changes.into() }
            }
            What::Database { question, .. } => FromRunner::Database { actor: self.of.0, call, question: question.clone() },
        }
    }
}

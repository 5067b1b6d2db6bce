//! What becomes of one socket between a client and an actor: pure, its time comes in, what is to be done comes out.
//!
//! The client's side is open from the beginning; the actor's comes and goes with the actor's generations. Only the runner that
//! the socket was dispatched to is listened to. Each socket has one of these, driven by one task: see [`super::session`].

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;
use engine_core::refusal::Refusal;
use http::HeaderValue;
use protocol::id::RunnerId;
use protocol::limits::MIB;
use protocol::message::FailureKind;
use tokio_tungstenite::tungstenite::Message;

use crate::sockets::kept::{Indexed, Kept};
use crate::websocket::{Close, ERROR, NORMAL};

/// How long an actor may take to accept a socket.
pub const OPEN_MS_MAX: u64 = 15_000;
/// How long an actor that runs may take to make a message durable.
pub const UNACKED_MS_MAX: u64 = 30_000;
/// How long a client that left a sleeping actor's socket is remembered, for the actor to be told when it is awake. A little more
/// than actors have to wake up.
pub const LEAVING_MS_MAX: u64 = 35_000;
/// No more is read from a client while so much waits for the actor to accept the socket.
const READ_AHEAD_BYTES: usize = MIB;
/// What an actor may say to the client before the core has heard that it runs.
const EARLY_BYTES_MAX: usize = 32 * MIB;
/// What is sent in the place of a client that did not say goodbye.
const DOWNSTREAM_CLOSED: &str = "ws.downstream_closed";
/// With these an envoy refuses a socket in the place of its actor, which had been told to stop or was gone already.
const NEVER_BEGUN: [&str; 2] = ["envoy.actor_generation_mismatch", "envoy.actor_not_found"];

/// ```text
/// Waiting -- dispatched --> Opening -- opened --> Open -- its actor stops --> Hibernating -- dispatched --> Open
///                                                                                  | client leaves
///                                                                               Leaving -- dispatched --> Over
/// ```
/// Every state can end in Over; an actor that cannot hibernate ends there when it stops.
#[derive(Debug)]
enum State {
    /// The actor is being found or woken. Next: Opening; how long that may take is the core's to say.
    Waiting,
    /// The actor was asked. Next: Open; Waiting, if it stops without having heard of it; or Over after [`OPEN_MS_MAX`].
    Opening {
        runner: RunnerId,
        until_ms: u64,
    },
    /// Messages go both ways. Next: Hibernating, when the actor stops and both can go on later.
    Open {
        runner: RunnerId,
        can_hibernate: bool,
        /// The actor was told to stop: the client's messages wait for the next generation.
        holds_back: bool,
    },
    /// The actor does not run. Next: Open, when it is dispatched again; `woken` if that was asked for.
    Hibernating {
        woken: bool,
    },
    /// The client has left while the actor slept, and the actor is being woken to hear that. Next: Over.
    Leaving {
        code: Option<u16>,
        reason: Option<String>,
        until_ms: u64,
    },
    Over,
}

#[derive(Debug)]
pub enum Event {
    /// The core has found the runner; the socket goes on there if it hibernated.
    Dispatched(RunnerId),
    /// The core tells the actor to stop, and the socket is to stay.
    HoldsBack,
    /// The core says that the actor has stopped and the socket is to stay.
    Hibernates,
    /// The core says that nothing will come of it, or no more.
    Refused(Refusal),
    Runner(RunnerId, Said),
    FromClient {
        data: Bytes,
        binary: bool,
    },
    /// In order, with what it said.
    ClientCloses {
        code: Option<u16>,
        reason: Option<String>,
    },
    /// Without a word.
    ClientLost,
    /// It has to end for a reason of ours: group and code.
    Fails(&'static str, &'static str),
    /// Time has passed.
    Tick,
}

/// What a runner says about a socket.
#[derive(Debug)]
pub enum Said {
    Opened {
        can_hibernate: bool,
    },
    Message(Message),
    /// A text message that is no text.
    NoText,
    Ack(u16),
    Close {
        code: Option<u16>,
        reason: Option<String>,
        hibernate: bool,
    },
}

#[derive(Debug, PartialEq)]
pub enum Act {
    /// Ask the actor.
    OpenActor,
    /// It has accepted, and is not asked again.
    ForgetHead,
    ToActor(Indexed),
    CloseActor {
        index: u16,
        code: Option<u16>,
        reason: Option<String>,
    },
    ToClient(Message),
    /// The last for the client.
    CloseClient(Close),
    TellCore(Word),
}

/// What the core is told. That the actor has taken the socket it knows already: see [`super::line`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Wakes,
    Ended,
    Aborted,
}

pub struct Machine {
    state: State,
    kept: Kept,
    /// What runners said while the actor was not dispatched: an actor that starts may speak before the core has heard that it runs.
    early: Vec<(RunnerId, Said)>,
    early_bytes: usize,
    acts: VecDeque<Act>,
    now_ms: u64,
    /// Part of every reason that names an error.
    ray: HeaderValue,
}

impl Said {
    /// The actor never heard of the socket, if it has not accepted it before: the next generation may have it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Said::Close { reason: Some(reason), .. } if NEVER_BEGUN.contains(&reason.as_str()))
    }
}

impl Machine {
    pub fn new(ray: HeaderValue) -> Machine {
        Machine {
            state: State::Waiting,
            kept: Kept::default(),
            early: Vec::new(),
            early_bytes: 0,
            acts: VecDeque::new(),
            now_ms: 0,
            ray,
        }
    }

    pub fn handle(&mut self, now_ms: u64, event: Event) {
        self.now_ms = now_ms;
        match event {
            Event::Dispatched(runner) => self.dispatched(runner),
            Event::HoldsBack => self.holds_back(),
            Event::Hibernates => self.hibernates(),
            Event::Refused(refusal) => self.refused(&refusal),
            Event::Runner(runner, said) => self.runner_says(runner, said),
            Event::FromClient { data, binary } => self.client_says(data, binary),
            Event::ClientCloses { code, reason } => self.client_gone(code, reason),
            Event::ClientLost => self.client_gone(Some(ERROR), Some(DOWNSTREAM_CLOSED.to_string())),
            Event::Fails(group, code) => self.fail(group, code),
            Event::Tick => self.pass_time(),
        }
    }

    /// Drained before the next event.
    pub fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When it wants to hear a tick.
    pub fn due_ms(&self) -> Option<u64> {
        match &self.state {
            State::Opening { until_ms, .. } | State::Leaving { until_ms, .. } => Some(*until_ms),
            State::Open { .. } => self.kept.unacked_since_ms().map(|since_ms| since_ms + UNACKED_MS_MAX),
            State::Waiting | State::Hibernating { .. } | State::Over => None,
        }
    }

    /// Whether the client is to be listened to. Before the actor has accepted, only so much is taken.
    pub fn reads(&self) -> bool {
        match &self.state {
            State::Waiting | State::Opening { .. } => self.kept.held_bytes() < READ_AHEAD_BYTES,
            State::Open { .. } | State::Hibernating { .. } => true,
            State::Leaving { .. } | State::Over => false,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// What it holds in memory.
    pub fn held_bytes(&self) -> usize {
        self.kept.held_bytes() + self.early_bytes
    }

    fn dispatched(&mut self, runner: RunnerId) {
        match &mut self.state {
            // Also again: the runner that was asked has given it back.
            State::Waiting | State::Opening { .. } => {
                self.state = State::Opening { runner, until_ms: self.now_ms + OPEN_MS_MAX };
                self.act(Act::OpenActor);
            }
            State::Hibernating { .. } | State::Open { can_hibernate: true, .. } => {
                self.state = State::Open { runner, can_hibernate: true, holds_back: false };
                self.kept.send_again();
                self.send_kept();
                // Nobody else was dispatched to.
                for (said_by, said) in self.take_early() {
                    self.runner_says(said_by, said);
                }
            }
            // The generation that knew it is gone, and this one cannot take it over.
            State::Open { can_hibernate: false, .. } => self.over(Word::Aborted, stopped()),
            State::Leaving { code, reason, .. } => {
                let (code, reason) = (*code, reason.take());
                self.kept.send_again();
                self.send_kept();
                self.close_actor(code, reason);
                self.end(Some(Word::Aborted));
            }
            State::Over => {}
        }
    }

    fn holds_back(&mut self) {
        // Any other has nothing to hold back, or no next generation.
        if let State::Open { can_hibernate: true, holds_back, .. } = &mut self.state {
            *holds_back = true;
        }
    }

    fn hibernates(&mut self) {
        match &self.state {
            State::Open { can_hibernate: true, .. } => {
                self.kept.send_again();
                let woken = !self.kept.is_empty();
                self.state = State::Hibernating { woken };
                if woken {
                    self.act(Act::TellCore(Word::Wakes));
                }
            }
            // It slept already; what the core was asked for then may have come to nothing.
            State::Hibernating { woken: true } => self.act(Act::TellCore(Word::Wakes)),
            // Never accepted by that generation, or nothing to be done.
            State::Waiting | State::Opening { .. } | State::Hibernating { woken: false } => {}
            State::Open { can_hibernate: false, .. } => self.over(Word::Aborted, stopped()),
            State::Leaving { .. } | State::Over => {}
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let (group, code) = refusal.code();
        let has_stopped = matches!(refusal, Refusal::Failed { failure, .. } if failure.kind == FailureKind::Stopped);
        let is_gone = matches!(refusal, Refusal::ActorNotFound | Refusal::ActorDestroyedWhileWaiting { .. });
        let close = match &self.state {
            State::Waiting | State::Opening { .. } if has_stopped => {
                self.error("guard", "actor_stopped_while_waiting_for_websocket_open")
            }
            State::Open { .. } | State::Hibernating { .. } if has_stopped => stopped(),
            // A RivetKit client forgets the actor's id when it reads this.
            State::Open { .. } | State::Hibernating { .. } if is_gone => Close::new(NORMAL, "actor.destroyed_while_connected"),
            State::Waiting | State::Opening { .. } | State::Open { .. } | State::Hibernating { .. } => self.error(group, code),
            State::Leaving { .. } => return self.end(None),
            State::Over => return,
        };
        if self.runner().is_some() {
            self.close_actor(Some(NORMAL), None);
        }
        self.act(Act::CloseClient(close));
        self.end(None);
    }

    fn runner_says(&mut self, runner: RunnerId, said: Said) {
        match &self.state {
            State::Opening { runner: on, .. } | State::Open { runner: on, .. } if *on != runner => {}
            State::Opening { .. } => self.answered(runner, said),
            State::Open { can_hibernate, .. } => match said {
                Said::Opened { .. } => {}
                Said::Message(message) => self.act(Act::ToClient(message)),
                Said::NoText => self.fail("ws", "invalid_packet"),
                Said::Ack(index) => self.kept.ack(index),
                // It is about to sleep, which the core says when it is so; what it does not ack until then comes again.
                Said::Close { hibernate: true, .. } if *can_hibernate => {}
                Said::Close { code, reason, .. } => self.closed_by_actor(code, reason),
            },
            State::Hibernating { .. } => self.keep_early(runner, said),
            State::Waiting | State::Leaving { .. } | State::Over => {}
        }
    }

    fn keep_early(&mut self, runner: RunnerId, said: Said) {
        self.early_bytes += said.bytes();
        self.early.push((runner, said));
        if self.early_bytes > EARLY_BYTES_MAX {
            self.fail("guard", "websocket_pending_limit_reached");
        }
    }

    fn take_early(&mut self) -> Vec<(RunnerId, Said)> {
        self.early_bytes = 0;
        mem::take(&mut self.early)
    }

    fn answered(&mut self, runner: RunnerId, said: Said) {
        match said {
            Said::Opened { can_hibernate } => {
                self.state = State::Open { runner, can_hibernate, holds_back: false };
                self.act(Act::ForgetHead);
                self.send_kept();
            }
            // The core has been told already, or what it hears next of the actor would come first: see the line.
            said if said.is_refusal() => self.state = State::Waiting,
            Said::Close { code: None, .. } => {
                self.act(Act::CloseClient(self.error("guard", "websocket_closed_before_open")));
                self.end(Some(Word::Ended));
            }
            Said::Close { code, reason, .. } => self.closed_by_actor(code, reason),
            // It has not said yet that it wants to have the socket.
            Said::Message(_) | Said::NoText | Said::Ack(_) => {}
        }
    }

    fn closed_by_actor(&mut self, code: Option<u16>, reason: Option<String>) {
        let reason = reason.unwrap_or_else(|| if code.is_none() { "ws.closed".to_string() } else { String::new() });
        self.act(Act::CloseClient(Close::new(sendable(code), reason)));
        self.end(Some(Word::Ended));
    }

    fn client_says(&mut self, data: Bytes, binary: bool) {
        if matches!(self.state, State::Leaving { .. } | State::Over) {
            return;
        }
        if self.kept.push(data, binary).is_err() {
            return self.fail("guard", "websocket_pending_limit_reached");
        }
        match &mut self.state {
            State::Open { holds_back: false, .. } => self.send_kept(),
            State::Hibernating { woken } => {
                if !mem::replace(woken, true) {
                    self.act(Act::TellCore(Word::Wakes));
                }
            }
            // It is sent with the next dispatch.
            State::Open { holds_back: true, .. } => {}
            State::Waiting | State::Opening { .. } | State::Leaving { .. } | State::Over => {}
        }
    }

    fn client_gone(&mut self, code: Option<u16>, reason: Option<String>) {
        match &self.state {
            State::Opening { .. } | State::Open { .. } => {
                // What was held back, if anything: it is said before the close, as the client did.
                if matches!(self.state, State::Open { .. }) {
                    self.send_kept();
                }
                self.close_actor(code, reason);
                self.end(Some(Word::Aborted));
            }
            State::Waiting => self.end(Some(Word::Aborted)),
            State::Hibernating { woken } => {
                if !woken {
                    self.act(Act::TellCore(Word::Wakes));
                }
                self.take_early();
                self.state = State::Leaving { code, reason, until_ms: self.now_ms + LEAVING_MS_MAX };
            }
            State::Leaving { .. } | State::Over => {}
        }
    }

    fn fail(&mut self, group: &'static str, code: &'static str) {
        let close = self.error(group, code);
        self.over(Word::Aborted, close);
    }

    fn pass_time(&mut self) {
        if self.due_ms().is_none_or(|due_ms| self.now_ms < due_ms) {
            return;
        }
        match &self.state {
            State::Opening { .. } => self.fail("guard", "websocket_open_timeout"),
            State::Open { .. } => self.fail("guard", "websocket_garbage_collected"),
            State::Leaving { .. } => self.end(Some(Word::Aborted)),
            State::Waiting | State::Hibernating { .. } | State::Over => {}
        }
    }

    fn send_kept(&mut self) {
        while let Some(message) = self.kept.send_next(self.now_ms) {
            self.acts.push_back(Act::ToActor(message));
        }
        // An actor that cannot hibernate acks nothing, and nobody comes after it.
        if matches!(self.state, State::Open { can_hibernate: false, .. }) {
            self.kept.forget_sent();
        }
    }

    fn close_actor(&mut self, code: Option<u16>, reason: Option<String>) {
        let index = self.kept.next_index();
        self.act(Act::CloseActor { index, code, reason });
    }

    /// Both sides are told the same.
    fn over(&mut self, word: Word, close: Close) {
        match &self.state {
            State::Over => return,
            State::Opening { .. } | State::Open { .. } => {
                self.close_actor(Some(close.code), Some(close.reason.clone()));
            }
            State::Waiting | State::Hibernating { .. } | State::Leaving { .. } => {}
        }
        if !matches!(self.state, State::Leaving { .. }) {
            self.act(Act::CloseClient(close));
        }
        self.end(Some(word));
    }

    /// The core is told, unless it said so itself.
    fn end(&mut self, word: Option<Word>) {
        self.acts.extend(word.map(Act::TellCore));
        self.state = State::Over;
        self.kept = Kept::default();
        self.take_early();
    }

    /// The runner that has the socket.
    fn runner(&self) -> Option<RunnerId> {
        match &self.state {
            State::Opening { runner, .. } | State::Open { runner, .. } => Some(*runner),
            State::Waiting | State::Hibernating { .. } | State::Leaving { .. } | State::Over => None,
        }
    }

    fn error(&self, group: &str, code: &str) -> Close {
        Close::error(group, code, &self.ray)
    }

    fn act(&mut self, act: Act) {
        self.acts.push_back(act);
    }
}

fn stopped() -> Close {
    Close::new(NORMAL, "actor.stopped")
}

/// The runner's number, as far as it may stand in a close frame: others would break the client's connection instead.
fn sendable(code: Option<u16>) -> u16 {
    match code {
        None => NORMAL,
        Some(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => code,
        Some(_) => ERROR,
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

//! What one socket has yet to be told, by the core and by its runner, in the order in which it was said.
//!
//! Those who speak do not wait, so what waits for a slow client is bounded here: the messages in the line and those that its task
//! has taken out and not written yet. Over the bound the client is let go. The core's words are few: one at a time, each answered
//! by the task before there is a next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use engine_core::refusal::Refusal;
use protocol::id::RunnerId;
use protocol::limits::{MIB, SOCKET_MESSAGE_BYTES_MAX};
use tokio_tungstenite::tungstenite::Message;

use crate::lock::lock;
use crate::requests::Place;
use crate::sockets::Held;
use crate::sockets::state::Said;

/// What may wait for one client to read it.
pub const CLIENT_BYTES_MAX: usize = 64 * MIB;
/// What a word costs beside a message's bytes.
const WORD_BYTES: usize = 64;
const _: () = assert!(2 * SOCKET_MESSAGE_BYTES_MAX <= CLIENT_BYTES_MAX, "one message may wait behind another");

pub enum Word {
    Dispatched(Place),
    HoldsBack,
    Hibernates,
    Refused(Refusal),
    Runner(RunnerId, Said),
    /// For a reason of ours: group and code.
    Ends(&'static str, &'static str),
}

/// What decides what becomes of the socket when its actor stops. The runner's next word may be that it has: so this goes to the core
/// as the runner says it, and not by way of the socket's task.
pub enum ForCore {
    /// The actor has taken it.
    Opened { can_hibernate: bool },
    /// Another generation may have it.
    Returned,
}

pub struct Line {
    state: Mutex<State>,
    /// Of messages that wait for the client, here or in its task.
    waiting_bytes: AtomicUsize,
    held: Arc<Held>,
}

#[derive(Default)]
struct State {
    words: VecDeque<Word>,
    /// The runner that was dispatched to last; none while the actor is known not to run.
    runner: Option<RunnerId>,
    reader: Option<Waker>,
    /// An actor has accepted the socket.
    is_accepted: bool,
    /// Too much was said; nothing more is taken.
    is_cut: bool,
}

impl Line {
    pub fn new(held: Arc<Held>) -> Line {
        Line { state: Mutex::default(), waiting_bytes: AtomicUsize::new(0), held }
    }

    pub fn tell(&self, word: Word) {
        let mut state = lock(&self.state);
        match &word {
            Word::Dispatched(place) => state.runner = Some(place.runner),
            Word::Hibernates => state.runner = None,
            Word::HoldsBack | Word::Refused(_) | Word::Runner(..) | Word::Ends(..) => {}
        }
        state.push(word);
    }

    /// What the core has to hear of it at once, if anything.
    pub fn hear(&self, runner: RunnerId, said: Said) -> Option<ForCore> {
        let mut state = lock(&self.state);
        if state.is_cut || state.runner.is_some_and(|on| on != runner) {
            return None;
        }
        let for_core = match &said {
            _ if state.is_accepted => None,
            Said::Opened { can_hibernate } if state.runner.is_some() => {
                state.is_accepted = true;
                Some(ForCore::Opened { can_hibernate: *can_hibernate })
            }
            said => said.is_refusal().then_some(ForCore::Returned),
        };
        let bytes = said.bytes();
        let fits_all = self.held.add(bytes);
        let fits = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes <= CLIENT_BYTES_MAX;
        if fits && fits_all {
            state.push(Word::Runner(runner, said));
            return for_core;
        }
        self.give_back(bytes);
        state.is_cut = true;
        state.push(if fits {
            Word::Ends("guard", "service_unavailable")
        } else {
            Word::Ends("guard", "websocket_client_too_slow")
        });
        None
    }

    pub fn poll_word(&self, context: &mut Context<'_>) -> Poll<Word> {
        let mut state = lock(&self.state);
        match state.words.pop_front() {
            Some(word) => Poll::Ready(word),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// So much was written, or will never be.
    pub fn give_back(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.held.sub(bytes);
    }

    /// Something that was given back has to wait for the client after all.
    pub fn take_again(&self, bytes: usize) {
        self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.held.add(bytes);
    }

    pub fn held(&self) -> &Held {
        &self.held
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // What was said and never heard, and what was never written.
        self.held.sub(*self.waiting_bytes.get_mut());
    }
}

impl State {
    fn push(&mut self, word: Word) {
        self.words.push_back(word);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Said {
    /// What it costs to keep.
    pub fn bytes(&self) -> usize {
        match self {
            Said::Message(message) => cost(message),
            Said::Close { reason, .. } => WORD_BYTES + reason.as_ref().map_or(0, String::len),
            Said::Opened { .. } | Said::Ack(_) | Said::NoText => WORD_BYTES,
        }
    }
}

pub fn cost(message: &Message) -> usize {
    WORD_BYTES + message.len()
}

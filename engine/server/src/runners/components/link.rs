//! A runner of components elsewhere, as the rest of the engine sees it: a link like that of the engine's own.
//!
//! What is said to it becomes a frame at once, and waits to be sent. The bytes of components are the exception: only their names
//! wait here, and the session reads them from the disk a piece at a time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::component::ComponentHash;
use protocol::id::RunnerId;
use protocol::link::ToRunnerLink;
use protocol::message::{RunnerProfile, ToRunner};
use protocol::wire::ComponentsVersion;
use protocol::wire::components::{FRAME_BYTES_MAX, ToComponents, encode_to_components};
use tokio_tungstenite::tungstenite::Message;

use crate::lock::lock;
use crate::outbox::Outbox;
use crate::runners::ending::{EndSignal, Ending};
use crate::runners::pings::PingTimes;

/// Components that one runner may be waiting for. It asks once for each.
const WANTED_MAX: usize = 1_024;

pub struct ComponentLink {
    pub runner: RunnerId,
    pub version: ComponentsVersion,
    pub profile: RunnerProfile,
    pub connect_ms: u64,
    pub pings: PingTimes,
    /// 0: it has not said that it is going to stop.
    pub stopping_ms: AtomicU64,
    pub outbox: Outbox,
    pub ending: EndSignal,
    wanted: Mutex<VecDeque<ComponentHash>>,
}

impl ComponentLink {
    pub fn new(runner: RunnerId, version: ComponentsVersion, profile: RunnerProfile, now_ms: u64) -> ComponentLink {
        ComponentLink {
            runner,
            version,
            profile,
            connect_ms: now_ms,
            pings: PingTimes::new(now_ms),
            stopping_ms: AtomicU64::new(0),
            outbox: Outbox::default(),
            ending: EndSignal::default(),
            wanted: Mutex::default(),
        }
    }

    pub fn stopping(&self) -> Option<u64> {
        Some(self.stopping_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    pub fn push(&self, frame: Message) {
        if !self.outbox.push(frame) {
            self.ending.tell(Ending::TooSlow);
        }
    }

    /// It asks for the bytes of a component. Twice is once.
    pub fn want(&self, component: ComponentHash) {
        let mut wanted = lock(&self.wanted);
        if wanted.contains(&component) {
            return;
        }
        if wanted.len() == WANTED_MAX {
            drop(wanted);
            return self.ending.tell(Ending::Internal);
        }
        wanted.push_back(component);
        drop(wanted);
        self.outbox.wake();
    }

    pub fn next_wanted(&self) -> Option<ComponentHash> {
        lock(&self.wanted).pop_front()
    }

    /// The limits of the protocol keep every message below the length of a frame, and the engine says to such a runner what it says
    /// to its own: a bug of ours. The runner would wait for it, or go on without it.
    fn unsaid(&self, why: &str) {
        tracing::error!(runner = self.runner.0, why, "a runner of components cannot be told something; its connection ends");
        self.ending.tell(Ending::Internal);
    }
}

impl ToRunnerLink for ComponentLink {
    fn send(&self, message: ToRunner) {
        match encode_to_components(self.version, &ToComponents::Say(message)) {
            Ok(frame) if frame.len() <= FRAME_BYTES_MAX => self.push(Message::Binary(frame)),
            Ok(frame) => self.unsaid(&format!("{} bytes are more than the {FRAME_BYTES_MAX} of a frame", frame.len())),
            Err(error) => self.unsaid(&error.to_string()),
        }
    }

    fn backlog_bytes(&self) -> usize {
        self.outbox.bytes()
    }
}

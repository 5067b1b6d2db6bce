//! An engine for tests: everything but sockets and a runner, on a store in memory.
//!
//! Tests that need actors that really run are in the `tests` crate, against the binary.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use engine_core::input::Boot;
use engine_core::{Core, Input};
use engine_store::{Durability, Memory, State, Writer};
use protocol::link::ToRunnerLink;
use protocol::message::ToRunner;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::driver::Driver;
use crate::embedded;
use crate::engine::Engine;
use crate::lock::lock;

pub struct TestEngine {
    pub engine: Arc<Engine>,
    /// The driver ends with it.
    _end: oneshot::Sender<()>,
    folder: TempDir,
}

/// Inside a runtime of more than one thread.
pub fn start() -> TestEngine {
    let store = Arc::new(Memory::new());
    let (engine, folder) = without_driver(State::new(store.clone()));
    engine.inbox.push(Input::Booted(Boot::default()));
    let core = Core::new(engine_core::Config::default());
    let (end, ended) = oneshot::channel();
    tokio::spawn(Driver::new(core, engine.clone(), Writer::start(store, Durability::Relaxed)).run(ended));
    TestEngine { engine, _end: end, folder }
}

/// What the core would be told lies in the inbox.
pub fn without_driver(state: State) -> (Arc<Engine>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut engine = embedded::engine(state, Arc::default(), folder.path(), Clock::default()).expect("an empty folder opens");
    engine.started_ms = 0;
    engine.runner_times.metadata_poll_min_ms = 50;
    (Arc::new(engine), folder)
}

impl TestEngine {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A runner that only listens.
pub struct Heard {
    messages: Mutex<Vec<ToRunner>>,
    streams: bool,
    pub backlog_bytes: AtomicUsize,
}

impl Default for Heard {
    fn default() -> Heard {
        Heard { messages: Mutex::default(), streams: true, backlog_bytes: AtomicUsize::new(0) }
    }
}

impl ToRunnerLink for Heard {
    fn send(&self, message: ToRunner) {
        lock(&self.messages).push(message);
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn backlog_bytes(&self) -> usize {
        self.backlog_bytes.load(Ordering::Relaxed)
    }
}

impl Heard {
    /// One that takes each request whole.
    pub fn without_streams() -> Heard {
        Heard { streams: false, ..Heard::default() }
    }

    pub fn take(&self) -> Vec<ToRunner> {
        std::mem::take(&mut lock(&self.messages))
    }
}

//! The runners that are connected, by id.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use protocol::id::RunnerId;
use protocol::link::ToRunnerLink;
use protocol::message::ToRunner;

use crate::lock::{read, write};

#[derive(Default)]
pub struct Runners {
    links: RwLock<HashMap<RunnerId, Arc<dyn ToRunnerLink>>>,
}

impl Runners {
    pub fn join(&self, runner: RunnerId, link: Arc<dyn ToRunnerLink>) {
        write(&self.links).insert(runner, link);
    }

    pub fn count(&self) -> usize {
        read(&self.links).len()
    }

    pub fn link(&self, runner: RunnerId) -> Option<Arc<dyn ToRunnerLink>> {
        read(&self.links).get(&runner).cloned()
    }

    /// It is to end, and not to come back.
    pub fn evict(&self, runner: RunnerId) {
        write(&self.links).remove(&runner);
    }

    /// Who comes under its name is a new one.
    pub fn forget(&self, runner: RunnerId) {
        write(&self.links).remove(&runner);
    }

    /// To a runner that has left there is nothing to say: the core learns of that by itself.
    pub fn send(&self, runner: RunnerId, message: ToRunner) {
        if let Some(link) = self.link(runner) {
            link.send(message);
        }
    }
}

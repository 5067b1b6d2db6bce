//! What one actor may use: its deployment's limits, and never more than the runner's own.

use protocol::component::ActorLimits;
use protocol::limits::{REQUEST_BODY_BYTES_MAX, REQUESTS_PER_ACTOR_MAX};

use crate::config::ACTION_MS;
use crate::runner;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Processor time of one message.
    pub cpu_ms: u64,
    /// How long somebody may wait for an action, its waits included.
    pub action_ms: u64,
    pub memory_bytes: usize,
    /// Of a request's body, an action's arguments, a message.
    pub message_bytes: usize,
    /// Requests that stand in line.
    pub mailbox: usize,
}

impl Limits {
    pub fn new(runner: &runner::Limits, deployed: ActorLimits) -> Limits {
        let least =
            |deployed: Option<u64>, own: usize| deployed.map_or(own, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(own));
        Limits {
            cpu_ms: deployed.cpu_ms.map_or(runner.cpu_per_message_ms, |limit| u64::from(limit).min(runner.cpu_per_message_ms)),
            action_ms: deployed.action_ms.map_or(ACTION_MS, u64::from).min(runner.message_ms),
            memory_bytes: least(deployed.memory_bytes, runner.memory_per_actor_bytes),
            message_bytes: least(deployed.message_bytes, REQUEST_BODY_BYTES_MAX as usize),
            mailbox: least(deployed.mailbox.map(u64::from), REQUESTS_PER_ACTOR_MAX),
        }
    }
}

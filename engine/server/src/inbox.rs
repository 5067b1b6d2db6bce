//! What the core has yet to be told.
//!
//! Many threads push, one driver takes everything at once: a lock held for a push, no allocation once it has grown. How much
//! can lie here is bounded where it comes from: requests by [`crate::requests::REQUESTS_IN_FLIGHT_MAX`], sockets by
//! [`crate::sockets::SOCKETS_MAX`], API calls by [`crate::calls::CALLS_IN_FLIGHT_MAX`], what runners say by the protocol's limits
//! per actor, answers by what was asked.

use std::mem;
use std::sync::Mutex;

use engine_core::Input;
use tokio::sync::Notify;

use crate::lock::lock;

#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Vec<Input>>,
    filled: Notify,
}

impl Inbox {
    pub fn push(&self, input: Input) {
        let mut waiting = lock(&self.waiting);
        // A commit stands for all before it: of a group that became durable at once, the core needs to hear the last only.
        if let (Some(Input::Committed { commit: last }), Input::Committed { commit }) = (waiting.last_mut(), &input) {
            *last = *commit;
            return;
        }
        waiting.push(input);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
    }

    /// Waits until something was pushed. For one waiter.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty()
    }

    /// Swaps what waits with the empty `taken`, so that both buffers are used again and again.
    pub fn take(&self, taken: &mut Vec<Input>) {
        debug_assert!(taken.is_empty());
        mem::swap(&mut *lock(&self.waiting), taken);
    }
}

//! API calls that wait for the core's answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_core::Input;
use engine_core::action::Answer;
use engine_core::audit::By;
use engine_core::input::{CallId, Operation};
use engine_core::refusal::Refusal;
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::inbox::Inbox;
use crate::lock::lock;

/// API calls that may wait for the core at one time.
pub const CALLS_IN_FLIGHT_MAX: usize = 4_096;

type Waiter = oneshot::Sender<Result<Answer, Refusal>>;

#[derive(Default)]
pub struct Calls {
    last: AtomicU64,
    waiting: Mutex<HashMap<CallId, Waiter>>,
}

impl Calls {
    /// Tells the core what is wanted, and by whom, and waits for its answer. A caller that leaves early changes nothing: it will be done.
    pub async fn call(&self, inbox: &Inbox, operation: Operation, by: Option<By>) -> Result<Answer, ApiError> {
        let call = CallId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (waiter, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= CALLS_IN_FLIGHT_MAX {
                return Err(ApiError::busy(format!("{CALLS_IN_FLIGHT_MAX} API calls are being worked on; try again in a moment")));
            }
            waiting.insert(call, waiter);
        }
        inbox.push(Input::Call { call, operation, by: by.map(Box::new) });
        match answer.await {
            Ok(result) => result.map_err(ApiError::from),
            // The driver is gone: the engine is about to exit.
            Err(_) => Err(ApiError::from(Refusal::ShuttingDown)),
        }
    }

    pub fn reply(&self, call: CallId, result: Result<Answer, Refusal>) {
        let waiter = lock(&self.waiting).remove(&call);
        if let Some(waiter) = waiter {
            // The caller may have left.
            let _ = waiter.send(result);
        }
    }
}

//! What is written now and then: when tokens were used last, and how many attempts were refused.

use std::sync::Arc;

use engine_core::Input;
use engine_core::input::Operation;

use crate::auth::attempts::WINDOW_MS;
use crate::engine::Engine;
use crate::lock::lock;

/// So exact is what is stored about a token's last use, and so seldom is it written.
const USED_MS: u64 = 60_000;
const _: () = assert!(WINDOW_MS.is_multiple_of(USED_MS), "the one is counted in the other");

/// As long as the engine runs.
pub async fn run(engine: Arc<Engine>) {
    for round in 1.. {
        engine.clock.after(USED_MS).await;
        let used = std::mem::take(&mut *lock(&engine.auth.used));
        for (id, used_ms) in used {
            if let Err(error) = engine.call(Operation::TouchToken { id: id.clone(), used_ms }).await {
                // It was revoked meanwhile, most likely.
                tracing::debug!(id, error = error.message, "the last use of a token could not be written");
            }
        }
        if u64::is_multiple_of(round, WINDOW_MS / USED_MS) {
            for attempt in engine.auth.attempts.take() {
                engine.inbox.push(Input::Attempted(Box::new(attempt)));
            }
        }
    }
}

//! What the service manager is told again and again: that the start or the end goes on, and that the engine is alive.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::notify::Manager;
use crate::readiness::{Readiness, Reason};

/// How often more time is asked for while the start or the end takes long, and how much.
const PATIENCE_EVERY_MS: u64 = 5_000;
const PATIENCE_MS: u64 = 30_000;

/// A store that recovers, or requests that finish, must not be killed for taking long. Each has a bound of its own elsewhere, and the
/// manager stops waiting once this task does not run any more.
pub async fn patience(manager: Arc<Manager>, readiness: Arc<Readiness>) {
    loop {
        tokio::time::sleep(Duration::from_millis(PATIENCE_EVERY_MS)).await;
        if readiness.is(Reason::Starting) || readiness.is(Reason::Draining) {
            manager.extend(Duration::from_millis(PATIENCE_MS));
        }
    }
}

/// A sign of life means that the core decides: a process whose driver hangs is as good as dead, and is to be killed.
pub async fn watch(manager: Arc<Manager>, engine: Arc<Engine>) {
    let Some(interval) = manager.watchdog() else { return };
    loop {
        if engine.metrics.ask_driver(&engine).await.is_some() {
            manager.alive();
        }
        tokio::time::sleep(interval / 2).await;
    }
}

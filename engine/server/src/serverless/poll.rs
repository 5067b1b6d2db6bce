//! Asks every pool's URL for its metadata: when the pool is configured, when its configuration changes, and again and again.
//!
//! One task a pool, and one that keeps them in step with the directory. What a pool's metadata means is the core's to decide.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use engine_core::record::{PoolKind, RunnerConfigRecord, ServerlessConfig};
use protocol::id::NamespaceId;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::RunnerTimes;
use crate::engine::Engine;
use crate::serverless::{client, metadata};

/// URLs that are asked at one time. The others wait: each answers within ten seconds or not at all.
const POLLS_AT_ONCE: usize = 64;
/// After a failure the pause doubles, so many times and up to so long.
const DOUBLINGS_MAX: u32 = 8;
const PAUSE_MS_MAX: u64 = 10 * 60_000;

type Place = (NamespaceId, String);

/// A pool that is asked until this is dropped.
struct Poller {
    record: Arc<RunnerConfigRecord>,
    task: JoinHandle<()>,
}

impl Poller {
    /// Whether it still does what is wanted. Another protocol version was learned by asking, or from a runner; a configuration that
    /// was put again, as an app does when it comes up, is asked about again.
    fn goes_on(&mut self, wanted: Option<&Arc<RunnerConfigRecord>>) -> bool {
        let Some(wanted) = wanted else { return false };
        let known = std::mem::replace(&mut self.record, wanted.clone());
        Arc::ptr_eq(&known, wanted) || known.kind == wanted.kind && known.protocol_version != wanted.protocol_version
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the engine closes.
pub async fn run(engine: Arc<Engine>) {
    let room = Arc::new(Semaphore::new(POLLS_AT_ONCE));
    // As many as are configured, and those lie on the disk.
    let mut pollers: HashMap<Place, Poller> = HashMap::new();
    loop {
        let wanted = engine.directory.serverless_pools();
        pollers.retain(|place, poller| poller.goes_on(wanted.get(place)));
        for (place, record) in wanted {
            if let (Entry::Vacant(free), PoolKind::Serverless(config)) = (pollers.entry(place.clone()), &record.kind) {
                let task = tokio::spawn(poll(engine.clone(), place, (**config).clone(), room.clone()));
                free.insert(Poller { record, task });
            }
        }
        tokio::select! {
            () = engine.directory.pools_changed() => {}
            () = engine.serverless.closing.cancelled() => return,
        }
    }
}

async fn poll(engine: Arc<Engine>, (namespace, pool): Place, config: ServerlessConfig, room: Arc<Semaphore>) {
    let mut failures = 0;
    let mut told = Vec::new();
    loop {
        let fetched = {
            let Ok(_room) = room.acquire().await else { return };
            metadata::fetch(&engine.outbound, &config.url, client::headers(&config.headers)).await
        };
        match fetched {
            Ok(metadata) => {
                failures = 0;
                let names = metadata.names();
                // The same ones again would be written to the disk again.
                let news = if names == told { Vec::new() } else { names.clone() };
                told = names;
                metadata::announce(&engine, namespace, &pool, &metadata, news);
            }
            Err(error) => {
                failures += 1;
                // Once is enough: as long as it fails, its starts fail too, and the API shows that.
                match failures {
                    1 => tracing::warn!(pool, "{error}"),
                    _ => tracing::debug!(pool, failures, "{error}"),
                }
            }
        }
        sleep(Duration::from_millis(pause_ms(&engine.runner_times, &config, failures))).await;
    }
}

fn pause_ms(times: &RunnerTimes, config: &ServerlessConfig, failures: u32) -> u64 {
    let pause_ms = config.metadata_poll_interval_ms.unwrap_or(times.metadata_poll_ms).max(times.metadata_poll_min_ms);
    let longer_ms = pause_ms.saturating_mul(1 << failures.min(DOUBLINGS_MAX));
    longer_ms.min(PAUSE_MS_MAX.max(pause_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses() {
        let rows = [
            (None, 0, 10_000),
            (Some(1_000), 0, 5_000),
            (Some(7_000), 0, 7_000),
            (Some(7_000), 1, 14_000),
            (None, 5, 320_000),
            (None, 6, 600_000),
            (Some(1_000), 1_000, 600_000),
            (Some(3_600_000), 3, 3_600_000),
            (Some(u64::MAX), 8, u64::MAX),
        ];
        for (interval_ms, failures, expected) in rows {
            let config =
                ServerlessConfig { metadata_poll_interval_ms: interval_ms, ..crate::serverless::tests::config("http://app") };
            assert_eq!(pause_ms(&RunnerTimes::default(), &config, failures), expected, "{interval_ms:?} {failures}");
        }
    }
}

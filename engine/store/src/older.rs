//! Records as they were laid out once, and what they say today.

use engine_core::record::{ActorError, ActorRecord, Alarm, CrashPolicy, RunnerRef};
use protocol::id::{ActorId, Generation, NamespaceId};
use serde::Deserialize;

/// Until runners of pools there were only those of components.
#[derive(Deserialize)]
pub struct ActorRecordV1 {
    id: ActorId,
    namespace: NamespaceId,
    name: String,
    key: Option<String>,
    pool: String,
    crash_policy: CrashPolicy,
    has_input: bool,
    create_ms: u64,
    start_ms: Option<u64>,
    connectable_ms: Option<u64>,
    sleep_ms: Option<u64>,
    pending_ms: Option<u64>,
    reschedule_ms: Option<u64>,
    destroy_ms: Option<u64>,
    error: Option<ActorError>,
    generation: Generation,
    runner: Option<String>,
    alarm: Option<Alarm>,
    crashes: u32,
}

impl From<ActorRecordV1> for ActorRecord {
    fn from(old: ActorRecordV1) -> ActorRecord {
        ActorRecord {
            id: old.id,
            namespace: old.namespace,
            name: old.name,
            key: old.key,
            pool: old.pool,
            crash_policy: old.crash_policy,
            has_input: old.has_input,
            create_ms: old.create_ms,
            start_ms: old.start_ms,
            connectable_ms: old.connectable_ms,
            sleep_ms: old.sleep_ms,
            pending_ms: old.pending_ms,
            reschedule_ms: old.reschedule_ms,
            destroy_ms: old.destroy_ms,
            error: old.error,
            generation: old.generation,
            runner: old.runner.map(|key| RunnerRef::Components { key }),
            alarm: old.alarm,
            crashes: old.crashes,
            stop: None,
            acked_command: 0,
            events_taken: 0,
            by_url: false,
        }
    }
}

//! What several tests of this crate begin with.

use engine_core::record::{ActorRecord, CrashPolicy};
use protocol::id::{ActorId, NamespaceId};

/// To which nothing has happened yet.
pub fn actor(id: ActorId, namespace: NamespaceId) -> ActorRecord {
    ActorRecord {
        id,
        namespace,
        name: "counter".to_owned(),
        key: None,
        pool: "default".to_owned(),
        crash_policy: CrashPolicy::Sleep,
        has_input: false,
        create_ms: 1,
        start_ms: None,
        connectable_ms: None,
        sleep_ms: None,
        pending_ms: None,
        reschedule_ms: None,
        destroy_ms: None,
        error: None,
        generation: 0,
        runner: None,
        alarm: None,
        crashes: 0,
        stop: None,
        acked_command: 0,
        events_taken: 0,
        by_url: false,
        state_version: None,
        pin: None,
        held_back: None,
    }
}

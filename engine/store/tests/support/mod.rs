//! What several tests of this crate begin with.

use engine_core::record::ActorRecord;
use protocol::id::{ActorId, NamespaceId};

/// To which nothing has happened yet.
pub fn actor(id: ActorId, namespace: NamespaceId) -> ActorRecord {
    let (name, pool) = ("counter".to_owned(), "default".to_owned());
    ActorRecord { namespace, name, pool, create_ms: 1, ..ActorRecord::unknown(id) }
}

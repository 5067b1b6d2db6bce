//! An actor that comes from elsewhere, with all that was stored about it there.
//!
//! What it brings may be more than a commit can hold, so it is staged first: entries and pages under an id that nobody knows. Then the
//! actor is created like any other, under its key, in one commit that takes what was staged; and it is asleep, until something wants
//! it or its alarm rings. What is staged and not taken is dropped, at the latest by the next start. It begins with generation 0: nothing
//! that ran elsewhere speaks for it.

use protocol::id::{ActorId, NamespaceId};

use crate::core::Core;
use crate::input::{CallId, Create, Import};
use crate::life::{Actor, Life};
use crate::record::{ActorRecord, Alarm, Change, DatabaseHead};

impl Import {
    /// What it brings counts as stored.
    pub(crate) fn bytes(&self) -> u64 {
        let database = self.database.as_ref().map_or(0, DatabaseHead::bytes);
        self.kv_bytes.saturating_add(self.runner_kv_bytes).saturating_add(database)
    }
}

impl Core {
    pub(crate) fn import_actor(
        &mut self,
        namespace: NamespaceId,
        name: String,
        key: Option<String>,
        import: Import,
        by: CallId,
    ) -> ActorId {
        let bytes = import.bytes();
        let Import { create, create_ms, start_ms, alarm_ms, kv_bytes, runner_kv_bytes, database } = import;
        let id = create.id(self.config.datacenter_label, namespace, &name, key.as_deref());
        let Create { random: _, pool, crash_policy, input } = create;
        // Not from later than now: what is listed is in the order of these moments.
        let create_ms = create_ms.min(self.now_ms);
        let has_input = input.is_some();
        let record =
            ActorRecord { namespace, name, key, pool, crash_policy, has_input, create_ms, start_ms, ..ActorRecord::unknown(id) };
        self.usage.entry(namespace).or_default().actors += 1;
        self.enter(Actor::new(record.clone(), input.clone(), database, Life::Asleep));
        self.charge_import(id, kv_bytes.saturating_add(runner_kv_bytes), bytes);
        let mut changes = vec![Change::CreateActor { record: Box::new(record), input }];
        changes.push(Change::TakeImport { actor: id, kv_bytes, runner_kv_bytes });
        if let Some(head) = database {
            changes.push(Change::Database { actor: id, head, pages: Vec::new(), shrunk: false });
        }
        if let Some(ms) = alarm_ms {
            changes.extend(self.change_alarm(id, Some(Alarm { scheduled_ms: ms, fire_ms: ms, failures: 0 })));
        }
        self.fall_asleep(id, changes, Some(by));
        id
    }
}

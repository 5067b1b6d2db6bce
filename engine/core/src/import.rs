//! An actor that comes from elsewhere, with all that was stored about it there.
//!
//! It is created like any other, under its key and with an id of its own, in one commit with everything it brings; and then it is
//! asleep, until something wants it or its alarm rings. It begins with generation 0: nothing that ran elsewhere speaks for it.

use protocol::id::{ActorId, NamespaceId, Partition};
use protocol::message::{KvChange, KvSpace};

use crate::core::Core;
use crate::input::{CallId, Create, Import};
use crate::life::{Actor, Life};
use crate::record::{ActorRecord, Alarm, Change};

impl Core {
    pub(crate) fn import_actor(
        &mut self,
        namespace: NamespaceId,
        name: String,
        key: Option<String>,
        import: Import,
        by: CallId,
    ) -> ActorId {
        let Import { create, create_ms, start_ms, alarm_ms, entries, database } = import;
        let Create { random, pool, crash_policy, input } = create;
        let mut id = self.new_id(random);
        if let Some(key) = &key {
            id = id.in_partition(Partition::of_key(namespace, &name, key));
        }
        // Not from later than now: what is listed is in the order of these moments.
        let create_ms = create_ms.min(self.now_ms);
        let has_input = input.is_some();
        let record =
            ActorRecord { namespace, name, key, pool, crash_policy, has_input, create_ms, start_ms, ..ActorRecord::unknown(id) };
        let head = database.as_ref().map(|(head, _)| *head);
        self.enter(Actor::new(record.clone(), input.clone(), head, Life::Asleep));
        let mut changes = vec![Change::CreateActor { record: Box::new(record), input }];
        for (of_runner, entry) in entries {
            let changed = vec![KvChange::Put { key: entry.key, value: entry.value }];
            let space = if of_runner { KvSpace::Runner } else { KvSpace::Actor };
            changes.push(Change::Kv { actor: id, space, now_ms: entry.update_ms, changes: changed });
        }
        if let Some((head, pages)) = database {
            changes.push(Change::Database { actor: id, head, pages, shrunk: false });
        }
        if let Some(ms) = alarm_ms {
            changes.extend(self.change_alarm(id, Some(Alarm { scheduled_ms: ms, fire_ms: ms, failures: 0 })));
        }
        self.fall_asleep(id, changes, Some(by));
        id
    }
}

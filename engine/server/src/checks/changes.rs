//! What a fork has changed: its two maps, its database, its alarm. Blocking.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::record::Alarm;
use engine_store::fork::{Difference, Differences};
use engine_store::{Fork, Snapshot, State, StoreError};
use protocol::id::ActorId;
use protocol::limits::cut;
use protocol::message::KvSpace;

use super::report::{AlarmMoved, Changes, Counted, Entries};
use super::tables;

/// Keys of each kind that are told, and of each so much.
const KEYS_SHOWN: usize = 5;
const KEY_BYTES_SHOWN: usize = 128;

pub fn of(below: Arc<dyn Snapshot>, fork: &Arc<Fork>, actor: ActorId, alarm: Option<Alarm>) -> Result<Changes, StoreError> {
    let (before, after) = (State::new(Arc::new(Fork::whole(below))), State::new(fork.clone()));
    let mut changes = Changes {
        kv: entries(fork.differences(KvSpace::Actor, actor, KEYS_SHOWN)?),
        kept: counted(&fork.differences(KvSpace::Runner, actor, 0)?),
        ..Changes::default()
    };
    match tables::compare(&before, &after, actor) {
        Ok((tables, unknown)) => (changes.tables, changes.unknown) = (tables, unknown),
        Err(why) => changes.unknown.push(format!("its database: {why}")),
    }
    let set = |alarm: Option<Alarm>| alarm.map(|alarm| alarm.scheduled_ms);
    let (before_ts, after_ts) = (set(alarm), set(after.actor_record(actor)?.and_then(|record| record.alarm)));
    changes.alarm = (before_ts != after_ts).then_some(AlarmMoved { before_ts, after_ts });
    Ok(changes)
}

fn counted(found: &Differences) -> Counted {
    Counted { added: found.added, changed: found.changed, removed: found.removed, more: found.more }
}

fn entries(found: Differences) -> Entries {
    let mut keys: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (key, difference) in &found.first {
        let of = match difference {
            Difference::Added => "added",
            Difference::Changed => "changed",
            Difference::Removed => "removed",
        };
        keys.entry(of).or_default().push(cut(String::from_utf8_lossy(key).into_owned(), KEY_BYTES_SHOWN));
    }
    Entries { counted: counted(&found), keys, digest: found.digest }
}

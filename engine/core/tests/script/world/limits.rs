//! What scripts say of limits and quotas: `quotas actors=2`, `a asks 1 k=10 pages=3`, `envoy e1 puts a 1 k=10`.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::{ActorId, NamespaceId};
use protocol::message::{FromRunner, KvChange, KvSpace};
use rivet_engine_core::deletion::Progress;
use rivet_engine_core::input::{Input, Operation};
use rivet_engine_core::quotas::{InUse, QuotaName};
use rivet_engine_core::record::{ActorRecord, Listed, NamespaceRecord, NamespaceUsage};

use super::{Disk, RUNNER, World};

/// How long each value is: of which actor, whether it is its runner's, under which key.
pub type Entries = BTreeMap<(ActorId, bool, Bytes), usize>;

pub fn apply(entries: &mut Entries, actor: ActorId, space: KvSpace, changes: Vec<KvChange>) {
    let own = space == KvSpace::Runner;
    for change in changes {
        match change {
            KvChange::Put { key, value } => drop(entries.insert((actor, own, key), value.len())),
            KvChange::Delete { key } => drop(entries.remove(&(actor, own, key))),
            KvChange::DeleteRange { range } => {
                entries.retain(|(of, runners, key), _| (*of, *runners) != (actor, own) || !range.contains(key));
            }
        }
    }
}

pub fn bytes_of(entries: &Entries, actor: ActorId) -> u64 {
    entries.iter().filter(|((of, ..), _)| *of == actor).map(|((_, _, key), value)| (key.len() + value) as u64).sum()
}

pub fn say_quotas(record: &NamespaceRecord, in_use: &InUse, deletion: Option<Progress>) -> String {
    if let Some(Progress { stage, actors_left, records_removed }) = deletion {
        return format!("deleting {}: {stage:?}, {actors_left} actors left, {records_removed} records removed", record.name);
    }
    let quotas = QuotaName::ALL.into_iter().filter_map(|name| Some(format!(" {name}={}", name.of(&record.quotas)?)));
    let InUse { actors, awake_actors, deployments, component_bytes } = in_use;
    let quotas: String = quotas.collect();
    format!(
        "quotas:{quotas}; {actors} actors, {awake_actors} awake, {deployments} deployments, {component_bytes} bytes of components"
    )
}

/// `k=10`: a value of so many bytes. `-k`: it goes.
fn changes_of(words: &[&str]) -> Vec<KvChange> {
    let change = |word: &&str| match (word.split_once('='), word.strip_prefix('-')) {
        (Some((key, bytes)), _) => {
            let value = vec![b'v'; bytes.parse().expect("a number")];
            KvChange::Put { key: key.to_string().into(), value: value.into() }
        }
        (None, Some(key)) => KvChange::Delete { key: key.to_string().into() },
        (None, None) => panic!("an entry does not know {word:?}"),
    };
    words.iter().map(change).collect()
}

impl Disk {
    pub fn usage(&self) -> Vec<(NamespaceId, NamespaceUsage)> {
        let of = |namespace: &NamespaceRecord| (namespace.id, self.usage_of(namespace.id));
        self.namespaces.iter().map(of).collect()
    }

    pub fn in_namespace(&self, namespace: NamespaceId, destroyed: bool, limit: usize) -> Vec<Listed> {
        let records = self.actors.values().map(|actor| &actor.record);
        let found = records.filter(|record| record.namespace == namespace && record.destroy_ms.is_some() == destroyed);
        let listed = |record: &ActorRecord| Listed { actor: record.id, name: record.name.clone(), create_ms: record.create_ms };
        found.map(listed).take(limit).collect()
    }

    /// Nothing of its actors is left by then. Deployments and pools here are those of all namespaces.
    pub fn delete_namespace(&mut self, namespace: NamespaceId) {
        assert!(self.actors.values().all(|actor| actor.record.namespace != namespace), "actors of a namespace that is gone");
        assert!(self.keys.keys().all(|key| key.namespace != namespace), "keys of a namespace that is gone");
        self.namespaces.retain(|record| record.id != namespace);
        self.deployments.retain(|_, deployment| deployment.namespace != namespace);
    }

    fn usage_of(&self, namespace: NamespaceId) -> NamespaceUsage {
        let alive = |actor: &&super::LoadedActor| actor.record.namespace == namespace && actor.record.destroy_ms.is_none();
        let of = |actor: &super::LoadedActor| actor.entries_bytes + actor.database.map_or(0, |head| head.bytes());
        let mut usage = NamespaceUsage::default();
        for actor in self.actors.values().filter(alive) {
            usage.actors += 1;
            usage.bytes += of(actor);
        }
        usage
    }
}

impl World {
    /// False if the line means nothing here.
    pub(super) fn limit_step(&mut self, words: &[&str]) -> bool {
        let namespace = String::from("default");
        match *words {
            ["quotas"] => self.call(Operation::ShowQuotas { namespace }),
            ["quotas", ref set @ ..] => {
                let quota = |word: &&str| {
                    let (name, value) = word.split_once('=').expect("name=value");
                    let name = QuotaName::ALL.into_iter().find(|known| known.to_string() == name).expect("a quota");
                    (name, value.parse().ok())
                };
                self.call(Operation::SetQuotas { namespace, quotas: set.iter().map(quota).collect() });
            }
            // Before a commit.
            ["may", actor, call, ref what @ ..] => {
                let (actor, generation) = self.generation(actor);
                let (own, rest): (Vec<&str>, Vec<&str>) = what.iter().partition(|word| word.starts_with("own."));
                let own: Vec<&str> = own.iter().map(|word| &word["own.".len()..]).collect();
                let (pages, entries): (Vec<&str>, Vec<&str>) = rest.iter().partition(|word| word.starts_with("pages="));
                let size_pages = pages.first().map(|word| word["pages=".len()..].parse().expect("a number"));
                let call = call.parse().expect("a number");
                let (changes, own) = (changes_of(&entries), changes_of(&own));
                self.says(RUNNER, FromRunner::AskStorage { actor, generation, call, changes, own, size_pages });
            }
            ["stores", actor, commit, ref entries @ ..] => {
                let (actor, generation) = self.generation(actor);
                let mut message = super::commit_of(actor, generation, commit.parse().expect("a number"));
                message.changes = changes_of(entries);
                self.says(RUNNER, FromRunner::Commit(message));
            }
            ["envoy", envoy, "puts", actor, call, ref entries @ ..] => {
                let (actor, call) = (self.actor(actor), call.parse().expect("a number"));
                let changes = changes_of(entries);
                self.says(self.envoys[envoy], FromRunner::KvWrite { actor, call, changes });
            }
            ["delete", "namespace", name] => self.call(Operation::DeleteNamespace { namespace: name.into() }),
            ["progress", name] => self.call(Operation::ShowQuotas { namespace: name.into() }),
            ["bytes", actor] => {
                let stored = &self.disk.actors[&self.actor(actor)];
                let database = stored.database.map_or(0, |head| head.bytes());
                let line = format!("{actor}: {} bytes of entries, {database} of its database", stored.entries_bytes);
                self.say(&line);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn weigh(&mut self, actor: ActorId, changes: Vec<(KvSpace, Vec<KvChange>)>) {
        let entries_bytes = bytes_of(&self.disk.kv, actor);
        let mut after = self.disk.kv.clone();
        for (space, changes) in changes {
            apply(&mut after, actor, space, changes);
        }
        let namespace = self.disk.actors[&actor].record.namespace;
        let namespace_bytes = self.disk.usage_of(namespace).bytes;
        self.input(Input::Weighed { actor, entries_bytes, after_bytes: bytes_of(&after, actor), namespace_bytes });
    }
}

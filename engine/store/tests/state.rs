//! What the core's changes write is what the server reads, on every backend.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use engine_core::input::{KeyRef, LoadedActor};
use engine_core::record::{
    ActorRecord, Change, DatabaseHead, DeploymentRecord, HeldBack, NamespaceRecord, PoolKind, Quotas, Rate, RunnerConfigRecord,
    RunnerRef, VersionRecord,
};
use protocol::component::{ComponentHash, ComponentInfo};
use protocol::database::PAGE_BYTES;
use protocol::id::{ActorId, Id, NamespaceId, Partition};
use protocol::limits::{KV_LIST_BYTES_MAX, KV_LIST_ENTRIES_MAX, KV_VALUE_BYTES_MAX};
use protocol::message::{KvChange, KvEntry, KvRange, KvSpace};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Memory, Persist, Rocks, State, Store, StoreError, group, keys};

struct World {
    store: Arc<dyn Store>,
    state: State,
    backend: &'static str,
    _directory: Option<tempfile::TempDir>,
}

fn worlds() -> Vec<World> {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let rocks: Arc<dyn Store> = Arc::new(Rocks::open(directory.path(), &Tuning::default()).expect("a new store opens"));
    let memory: Arc<dyn Store> = Arc::new(Memory::new());
    vec![
        World { state: State::new(memory.clone()), store: memory, backend: "memory", _directory: None },
        World { state: State::new(rocks.clone()), store: rocks, backend: "rocks", _directory: Some(directory) },
    ]
}

impl World {
    fn commit(&self, changes: &[Change]) {
        self.try_commit(changes).unwrap_or_else(|error| panic!("{}: {error}", self.backend));
    }

    fn try_commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(&group::alone(&*self.store, State::batch(changes))?, Persist::Written)
    }

    fn names(&self, name: &str, key: Option<&str>, destroyed: bool, before_ms: Option<u64>, limit: usize) -> Vec<u64> {
        let found = self.state.actors_by_name(namespace(), name, key, destroyed, before_ms, limit).expect("a read");
        found.iter().map(|record| record.create_ms).collect()
    }

    fn list(&self, actor: ActorId, range: KvRange, reverse: bool, limit: usize) -> String {
        let found =
            self.state.kv_list(KvSpace::Actor, actor, &range, reverse, limit, false).expect("a read").expect("a short list");
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        found.iter().map(|entry| format!("{}={}", text(&entry.key), text(&entry.value))).collect::<Vec<_>>().join(" ")
    }
}

fn namespace() -> NamespaceId {
    Id::new([1; 16], 1)
}

/// An actor as the core makes one: in the partition of its key, or in any.
fn actor(number: u64, name: &str, key: Option<&str>) -> ActorRecord {
    let mut random = [0; 16];
    random[..8].copy_from_slice(&number.to_le_bytes());
    random[15] = number as u8;
    let id = Id::new(random, 1);
    let id = key.map_or(id, |key| id.in_partition(Partition::of_key(namespace(), name, key)));
    let (name, key) = (name.to_owned(), key.map(str::to_owned));
    ActorRecord { name, key, create_ms: number, ..support::actor(id, namespace()) }
}

fn create(record: &ActorRecord) -> Change {
    Change::CreateActor { record: Box::new(record.clone()), input: None }
}

fn put(record: &ActorRecord) -> Change {
    Change::PutActor(Box::new(record.clone()))
}

fn destroyed(record: &ActorRecord, at_ms: u64) -> ActorRecord {
    ActorRecord { destroy_ms: Some(at_ms), ..record.clone() }
}

fn destroy(record: &ActorRecord) -> Change {
    Change::DestroyActor { record: Box::new(record.clone()), database: false }
}

fn runner(key: &str) -> RunnerRef {
    RunnerRef::Components { key: key.to_owned() }
}

fn kv(actor: ActorId, now_ms: u64, puts: &[(&str, &str)]) -> Change {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let changes = puts.iter().map(|(key, value)| KvChange::Put { key: bytes(key), value: bytes(value) }).collect();
    Change::Kv { actor, space: KvSpace::Actor, now_ms, changes }
}

fn key_ref(name: &str, key: &str) -> KeyRef {
    KeyRef { namespace: namespace(), name: name.to_owned(), key: key.to_owned() }
}

#[test]
fn an_actor_from_its_creation_to_its_end() {
    for world in worlds() {
        let record = ActorRecord { has_input: true, ..actor(5, "counter", Some("a")) };
        let input = Some(Bytes::from_static(b"input"));
        assert_eq!(world.state.load_actor(record.id), Ok(None));
        assert_eq!(world.state.load_key(&key_ref("counter", "a")), Ok(None));

        world.commit(&[put(&record), Change::CreateActor { record: Box::new(record.clone()), input: input.clone() }]);
        let expected = Some(LoadedActor { record: record.clone(), input, database: None, entries_bytes: 0 });
        assert_eq!(world.state.load_actor(record.id), Ok(expected.clone()));
        assert_eq!(world.state.load_key(&key_ref("counter", "a")), Ok(expected));
        assert_eq!(world.state.load_key(&key_ref("counter", "b")), Ok(None));

        world.commit(&[kv(record.id, 7, &[("k", "v"), ("l", "w")]), Change::PutAlarm { fire_ms: 9, actor: record.id }]);
        assert_eq!(world.state.kv_entry(record.id, b"k"), Ok(Some((Bytes::from_static(b"v"), 7))));

        let end = destroyed(&record, 10);
        world.commit(&[Change::DeleteAlarm { fire_ms: 9, actor: record.id }, put(&end), destroy(&end)]);
        assert_eq!(
            world.state.load_actor(record.id),
            Ok(Some(LoadedActor { record: end, input: None, database: None, entries_bytes: 0 }))
        );
        assert_eq!(world.state.load_key(&key_ref("counter", "a")), Ok(None));
        assert_eq!(world.state.kv_entry(record.id, b"k"), Ok(None));
        assert_eq!(world.list(record.id, KvRange::all(), false, 10), "");
        assert_eq!(world.state.load_alarms(None, 10), Ok((vec![], true)));
        assert_eq!(world.names("counter", None, false, None, 10), [0u64; 0]);
        assert_eq!(world.names("counter", None, true, None, 10), [5]);
        assert_eq!(world.names("counter", Some("a"), true, None, 10), [5]);
        assert_eq!(world.state.boot().expect("a read").awake, []);
    }
}

#[test]
fn a_key_is_held_by_one_actor() {
    for world in worlds() {
        let (first, second) = (actor(1, "counter", Some("a")), actor(2, "counter", Some("a")));
        world.commit(&[create(&first)]);
        let refused = world.try_commit(&[create(&second)]);
        assert!(matches!(refused, Err(StoreError::Conflict { check: 0, .. })), "{refused:?}");
        assert_eq!(world.state.load_actor(second.id), Ok(None));
        // Another key, another name: another reservation.
        world.commit(&[create(&actor(3, "counter", Some("b"))), create(&actor(4, "other", Some("a")))]);

        let end = destroyed(&first, 10);
        world.commit(&[put(&end), destroy(&end)]);
        world.commit(&[create(&second)]);
        let found = world.state.load_key(&key_ref("counter", "a")).expect("a read").expect("it was created");
        assert_eq!(found.record.id, second.id);

        // In one commit: the old one goes, and a new one takes its place.
        let (end, third) = (destroyed(&second, 20), actor(5, "counter", Some("a")));
        world.commit(&[put(&end), destroy(&end), create(&third)]);
        let found = world.state.load_key(&key_ref("counter", "a")).expect("a read").expect("it was created");
        assert_eq!(found.record.id, third.id);
        assert_eq!(world.names("counter", Some("a"), true, None, 10), [5, 2, 1]);
        assert_eq!(world.names("counter", Some("a"), false, None, 10), [5]);
    }
}

#[test]
fn actors_that_are_held_back_are_listed_by_name() {
    for world in worlds() {
        let note = |version| Box::new(HeldBack { version, attempt: 0, message: "no".to_owned() });
        let put = |record: &ActorRecord, version| Change::PutHeldBack {
            actor: record.id,
            namespace: namespace(),
            name: record.name.clone(),
            held: note(version),
        };
        for number in 0..50 {
            let record = ActorRecord { held_back: Some(note(2)), ..actor(number, "counter", None) };
            world.commit(&[create(&record), put(&record, 2)]);
        }
        let of_version =
            |version| world.state.held_back(namespace(), "counter", 20, |held| held.version == version).expect("a read");
        let counted = |version| (of_version(version).0, of_version(version).1.len());
        assert_eq!((counted(2), counted(3)), ((50, 20), (0, 0)), "{}", world.backend);
        let (first, second, third) = (actor(0, "counter", None), actor(1, "counter", None), actor(2, "counter", None));
        let ended = ActorRecord { held_back: Some(note(2)), ..destroyed(&third, 9) };
        let gone = Change::DeleteHeldBack { actor: second.id, namespace: namespace(), name: "counter".to_owned() };
        world.commit(&[put(&first, 3), gone, destroy(&ended)]);
        assert_eq!((counted(2), counted(3)), ((47, 20), (1, 1)), "{}", world.backend);
        assert_eq!(of_version(3).1, [(first.id, *note(3))], "{}", world.backend);
        assert_eq!(world.state.held_back(namespace(), "count", 20, |_| true), Ok((0, vec![])), "{}", world.backend);
    }
}

#[test]
fn a_boot_finds_what_was_awake() {
    for world in worlds() {
        let default = NamespaceRecord {
            id: namespace(),
            name: "default".to_owned(),
            display_name: "Default".to_owned(),
            create_ms: 1,
            quotas: Quotas::default(),
            delete_ms: None,
        };
        let info = ComponentInfo { handlers: vec![], imports: vec![], bytes: 1, compiled_bytes: 2, compile_ms: 3 };
        let component = ComponentHash([7; 32]);
        let version = VersionRecord { number: 1, component, info, deploy_ms: 4, settings: Arc::default(), attempt: 0, kept: false };
        let deployment = DeploymentRecord {
            namespace: namespace(),
            name: "counter".to_owned(),
            pool: "default".to_owned(),
            live: 1,
            versions: vec![version],
            canary: None,
        };
        let config = |pool: &str, eviction_s| RunnerConfigRecord {
            namespace: namespace(),
            pool: pool.to_owned(),
            kind: PoolKind::Normal,
            drain_on_version_upgrade: true,
            actor_eviction_delay_s: eviction_s,
            actor_eviction_period_s: 2,
            actor_eviction_rate: Rate::new(0.5),
            metadata: Some("{}".to_owned()),
            protocol_version: Some(8),
        };
        world.commit(&[Change::PutNamespace(default.clone()), Change::PutDeployment(Box::new(deployment.clone()))]);
        let configs = [config("a", 1), config("b", 2), config("gone", 3)].map(|config| Change::PutRunnerConfig(Box::new(config)));
        world.commit(&configs);
        world.commit(&[
            Change::PutRunnerConfig(Box::new(config("b", 4))),
            Change::DeleteRunnerConfig { namespace: namespace(), pool: "gone".to_owned() },
            Change::DeleteRunnerConfig { namespace: namespace(), pool: "never".to_owned() },
        ]);

        let mut expected = Vec::new();
        for number in 0..300 {
            let mut record = actor(number, "counter", None);
            world.commit(&[create(&record)]);
            match number % 6 {
                0 => record.runner = Some(runner("runner")),
                1 => record.pending_ms = Some(1),
                2 => record.reschedule_ms = Some(1),
                3 => record.runner = Some(runner("runner")),
                _ => {}
            }
            world.commit(&[put(&record)]);
            match number % 6 {
                0..3 => expected.push(record.id),
                // It was awake, and is not any more.
                3 => world.commit(&[put(&ActorRecord { runner: None, ..record.clone() })]),
                4 => world.commit(&[put(&destroyed(&record, 9)), destroy(&destroyed(&record, 9))]),
                _ => {}
            }
        }
        let boot = world.state.boot().expect("a read");
        assert_eq!(boot.namespaces, [default]);
        assert_eq!(boot.deployments, [deployment]);
        assert_eq!(boot.runner_configs, [config("a", 1), config("b", 4)]);
        let mut found: Vec<ActorId> = boot.awake.iter().map(|loaded| loaded.record.id).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", world.backend);
    }
}

#[test]
fn alarms_of_all_partitions_are_one_list() {
    for world in worlds() {
        assert_eq!(world.state.load_alarms(None, 0), Ok((vec![], true)));
        let mut expected = Vec::new();
        for number in 0..500 {
            // Many at one moment, so that the actor decides the order too.
            let alarm = (1_000 + number * 7919 % 97, actor(number, "counter", None).id);
            world.commit(&[Change::PutAlarm { fire_ms: alarm.0, actor: alarm.1 }]);
            expected.push(alarm);
        }
        expected.sort();
        for limit in [0, 1, 2, 63, 64, 65, 499] {
            let (alarms, complete) = world.state.load_alarms(None, limit).expect("a read");
            assert_eq!(alarms, expected[..limit], "{}: {limit}", world.backend);
            assert!(!complete);
        }
        assert_eq!(world.state.load_alarms(None, 500), Ok((expected.clone(), true)));
        assert_eq!(world.state.load_alarms(None, 5_000), Ok((expected.clone(), true)));
        // From any of them on, itself included: also in the middle of those that are due at one moment.
        for from in [0, 1, 17, 250, 499] {
            assert_eq!(world.state.load_alarms(Some(expected[from]), 500), Ok((expected[from..].to_vec(), true)), "{from}");
        }
        assert_eq!(world.state.load_alarms(Some((u64::MAX, expected[0].1)), 500), Ok((vec![], true)));
        let (fire_ms, actor) = expected.remove(3);
        world.commit(&[Change::DeleteAlarm { fire_ms, actor }]);
        assert_eq!(world.state.load_alarms(None, 500), Ok((expected, true)));
    }
}

#[test]
fn actors_of_a_name_newest_first() {
    for world in worlds() {
        for number in 0..400 {
            let key = (number % 4 == 0).then(|| (number % 8).to_string());
            let record = actor(number, "counter", key.as_deref());
            world.commit(&[create(&record)]);
            if number < 392 && (number % 4 == 0 || number % 5 == 0) {
                world.commit(&[put(&destroyed(&record, 1_000)), destroy(&destroyed(&record, 1_000))]);
            }
        }
        world.commit(&[create(&actor(1_000, "counter2", None)), create(&actor(1_001, "counte", None))]);
        let all = |filter: &dyn Fn(u64) -> bool| (0..400).rev().filter(|number| filter(*number)).collect::<Vec<u64>>();
        let alive = |number: u64| number >= 392 || !(number.is_multiple_of(4) || number.is_multiple_of(5));
        assert_eq!(world.names("counter", None, false, None, 1_000), all(&alive), "{}", world.backend);
        assert_eq!(world.names("counter", None, true, None, 1_000), all(&|_| true));
        assert_eq!(world.names("counter", None, true, None, 10), all(&|_| true)[..10]);
        assert_eq!(world.names("counter", None, true, Some(200), 10), all(&|number| number < 200)[..10]);
        assert_eq!(world.names("counter", None, false, Some(200), 1_000), all(&|number| number < 200 && alive(number)));
        assert_eq!(world.names("counter", None, true, Some(0), 10), [0u64; 0]);
        assert_eq!(world.names("counter", None, true, None, 0), [0u64; 0]);
        assert_eq!(world.names("counter", Some("4"), false, None, 10), [396]);
        assert_eq!(world.names("counter", Some("4"), true, None, 3), [396, 388, 380]);
        assert_eq!(world.names("counter", Some("5"), true, None, 10), [0u64; 0]);
        assert_eq!(world.names("counter2", None, true, None, 10), [1_000]);
        assert_eq!(world.names("nothing", None, true, None, 10), [0u64; 0]);
        let names = |after, limit| {
            let found = world.state.actor_names(namespace(), after, limit).expect("a read");
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(None, 10), ["counte", "counter", "counter2"]);
        assert_eq!(names(None, 2), ["counte", "counter"]);
        assert_eq!(names(Some("counter"), 10), ["counter2"]);
        assert_eq!(names(Some("count"), 1), ["counte"]);
        assert_eq!(names(Some("counter2"), 10), [""; 0]);
        assert_eq!(world.state.actor_names(Id::new([2; 16], 1), None, 10), Ok(vec![]));
    }
}

#[test]
fn the_entries_of_an_actor() {
    for world in worlds() {
        let (one, other) = (actor(1, "a", None).id, actor(2, "a", None).id);
        world.commit(&[kv(one, 5, &[("", "0"), ("a", "1"), ("b", "2"), ("bb", "3"), ("c", "")]), kv(other, 5, &[("b", "9")])]);
        let delete = Change::Kv {
            actor: one,
            space: KvSpace::Actor,
            now_ms: 6,
            changes: vec![KvChange::Delete { key: Bytes::from_static(b"a") }],
        };
        world.commit(&[delete, kv(one, 7, &[("b", "4")])]);

        let get = |keys: &[&'static str]| {
            let keys: Vec<Bytes> = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
            world.state.kv_get(KvSpace::Actor, one, &keys).expect("a read")
        };
        let entry = |key: &'static str, value: &'static str, update_ms| KvEntry { key: key.into(), value: value.into(), update_ms };
        assert_eq!(get(&[]), []);
        assert_eq!(get(&["a"]), [None]);
        assert_eq!(get(&["c", "a", "b"]), [Some(entry("c", "", 5)), None, Some(entry("b", "4", 7))]);
        // As often as it is asked for.
        assert_eq!(get(&["c", "c"]), [Some(entry("c", "", 5)), Some(entry("c", "", 5))]);
        assert_eq!(world.state.kv_entry(one, b"b"), Ok(Some((Bytes::from_static(b"4"), 7))));
        assert_eq!(world.state.kv_entry(one, b"bb"), Ok(Some((Bytes::from_static(b"3"), 5))));

        let range = |start: &'static str, end: &'static str| KvRange { start: start.into(), end: Some(end.into()) };
        assert_eq!(world.list(one, KvRange::all(), false, 10), "=0 b=4 bb=3 c=");
        assert_eq!(world.list(one, KvRange::all(), true, 2), "c= bb=3");
        assert_eq!(world.list(one, KvRange::prefix("b".into()), false, usize::MAX), "b=4 bb=3");
        assert_eq!(world.list(one, range("b", "c"), false, 10), "b=4 bb=3");
        assert_eq!(world.list(one, range("c", "b"), false, 10), "");
        assert_eq!(world.list(one, range("", "b"), true, 10), "=0");
        assert_eq!(world.list(one, KvRange::all(), false, 0), "");
        assert_eq!(world.list(other, KvRange::all(), false, 10), "b=9");
        let list = |keys_only| world.state.kv_list(KvSpace::Actor, one, &KvRange::all(), true, 2, keys_only);
        assert_eq!(list(false), Ok(Ok(vec![entry("c", "", 5), entry("bb", "3", 5)])));
        // Of keys alone nothing else is read.
        assert_eq!(list(true), Ok(Ok(vec![entry("c", "", 0), entry("bb", "", 0)])));
    }
}

#[test]
fn the_entries_that_a_runner_keeps_for_an_actor_are_beside_its_own() {
    for world in worlds() {
        let (record, other) = (actor(1, "a", Some("k")), actor(2, "a", None).id);
        let own = |actor, changes| Change::Kv { actor, space: KvSpace::Runner, now_ms: 6, changes };
        let put = |key: &'static str, value: &'static str| KvChange::Put { key: key.into(), value: value.into() };
        world.commit(&[create(&record), kv(record.id, 5, &[("a", "1"), ("b", "2")])]);
        world.commit(&[own(record.id, vec![put("a", "9"), put("c", "8")]), own(other, vec![put("a", "7")])]);
        let seen = |actor, space| {
            let found = world.state.kv_list(space, actor, &KvRange::all(), false, 9, false).expect("a read").expect("a short list");
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            found.iter().map(|entry| format!("{}={}", text(&entry.key), text(&entry.value))).collect::<Vec<_>>().join(" ")
        };
        let both = || (seen(record.id, KvSpace::Actor), seen(record.id, KvSpace::Runner));
        let pair = |actors: &str, runners: &str| (actors.to_owned(), runners.to_owned());
        assert_eq!(both(), pair("a=1 b=2", "a=9 c=8"), "{}", world.backend);
        let get = |space| world.state.kv_get(space, record.id, &["c".into()]).expect("a read").pop().flatten();
        assert!(get(KvSpace::Actor).is_none() && get(KvSpace::Runner).is_some());
        // What the API shows.
        assert_eq!(world.state.kv_entry(record.id, b"a"), Ok(Some((Bytes::from_static(b"1"), 5))));
        assert_eq!(world.state.kv_entry(record.id, b"c"), Ok(None));

        let all = || vec![KvChange::DeleteRange { range: KvRange::all() }];
        world.commit(&[own(record.id, vec![KvChange::Delete { key: "b".into() }, KvChange::Delete { key: "c".into() }])]);
        assert_eq!(both(), pair("a=1 b=2", "a=9"));
        world.commit(&[Change::Kv { actor: record.id, space: KvSpace::Actor, now_ms: 7, changes: all() }]);
        assert_eq!(both(), pair("", "a=9"));
        world.commit(&[kv(record.id, 8, &[("a", "1")]), own(record.id, all()), own(record.id, vec![put("d", "5")])]);
        assert_eq!(both(), pair("a=1", "d=5"));
        world.commit(&[destroy(&destroyed(&record, 10))]);
        assert_eq!(both(), pair("", ""));
        assert_eq!(seen(other, KvSpace::Runner), "a=7");
    }
}

#[test]
fn ranges_of_an_actors_entries_are_deleted() {
    for world in worlds() {
        let (one, other) = (actor(1, "a", None).id, actor(2, "a", None).id);
        let entries = [("", "0"), ("a", "1"), ("b", "2"), ("bb", "3"), ("c", "4")];
        let delete = |range| KvChange::DeleteRange { range };
        let change = |changes| Change::Kv { actor: one, space: KvSpace::Actor, now_ms: 6, changes };
        let range = |start: &'static str, end: &'static str| KvRange { start: start.into(), end: Some(end.into()) };
        let put = |key: &'static str| KvChange::Put { key: key.into(), value: "5".into() };
        let rows = [
            (vec![delete(range("b", "c"))], "=0 a=1 c=4"),
            // Neither of these holds anything.
            (vec![delete(range("c", "b")), delete(range("b", "b"))], "=0 a=1 b=2 bb=3 c=4"),
            (vec![delete(KvRange::prefix("b".into()))], "=0 a=1 c=4"),
            (vec![delete(KvRange { start: "b".into(), end: None })], "=0 a=1"),
            (vec![delete(KvRange::all())], ""),
            // In their order.
            (vec![put("b"), put("d"), delete(range("b", "bb")), put("a")], "=0 a=5 bb=3 c=4 d=5"),
            (vec![put("d"), delete(KvRange::all()), put("b")], "b=5"),
        ];
        for (changes, expected) in rows {
            world.commit(&[change(vec![delete(KvRange::all())]), kv(one, 5, &entries), kv(other, 5, &[("b", "9")])]);
            let what = format!("{}: {changes:?}", world.backend);
            world.commit(&[change(changes)]);
            assert_eq!(world.list(one, KvRange::all(), false, 10), expected, "{what}");
            assert_eq!(world.list(other, KvRange::all(), false, 10), "b=9", "{what}");
        }
    }
}

/// Pages that are full of one byte.
fn pages(actor: ActorId, txid: u64, size_pages: u32, shrunk: bool, pages: &[(u32, u8)]) -> Change {
    let pages = pages.iter().map(|(number, byte)| (*number, Bytes::from(vec![*byte; PAGE_BYTES]))).collect();
    Change::Database { actor, head: DatabaseHead { txid, size_pages }, pages, shrunk }
}

impl World {
    /// Head and pages, each page as the byte that it is full of.
    fn pages(&self, actor: ActorId, numbers: &[u32]) -> String {
        let (head, pages) = self.state.pages(actor, numbers).expect("a read");
        assert_eq!(pages.len(), numbers.len());
        let page = |page: &Option<Bytes>| match page {
            Some(page) => {
                assert!(page.len() == PAGE_BYTES && page.iter().all(|byte| *byte == page[0]));
                format!(" {}", page[0])
            }
            None => " -".to_owned(),
        };
        let head = head.map_or("none".to_owned(), |head| format!("{}/{}", head.txid, head.size_pages));
        head + &pages.iter().map(page).collect::<String>()
    }
}

#[test]
fn the_pages_of_a_database() {
    for world in worlds() {
        let (one, other) = (actor(1, "a", None), actor(2, "a", None));
        let id = one.id;
        let all = [1, 2, 3, 4, 5, u32::MAX];
        world.commit(&[create(&one), create(&other), pages(other.id, 1, 3, false, &[(1, 90), (2, 91), (3, 92)])]);
        assert_eq!(world.pages(id, &all), "none - - - - - -");
        assert_eq!(world.state.load_actor(id).expect("a read").expect("it was created").database, None);
        let rows = [
            (pages(id, 1, 3, false, &[(1, 10), (3, 30)]), "1/3 10 - 30 - - -"),
            (pages(id, 2, 3, false, &[]), "2/3 10 - 30 - - -"),
            (pages(id, 3, 4, false, &[(4, 40), (3, 31)]), "3/4 10 - 31 40 - -"),
            // What has no place in it is not there later either.
            (pages(id, 4, 4, false, &[(5, 50), (u32::MAX, 51)]), "4/4 10 - 31 40 - -"),
            (pages(id, 5, 5, false, &[]), "5/5 10 - 31 40 - -"),
            (pages(id, 6, 1, true, &[(1, 11), (3, 32)]), "6/1 11 - - - - -"),
            (pages(id, 7, 4, false, &[(2, 20)]), "7/4 11 20 - - - -"),
            (pages(id, 8, 0, true, &[]), "8/0 - - - - - -"),
            (pages(id, 9, 5, false, &[(5, 52)]), "9/5 - - - - 52 -"),
        ];
        for (change, expected) in rows {
            world.commit(&[change]);
            assert_eq!(world.pages(id, &all), expected, "{}", world.backend);
        }
        // In the order asked for, as often as asked for.
        assert_eq!(world.pages(id, &[5, 1, 5]), "9/5 52 - 52");
        assert_eq!(world.pages(id, &[]), "9/5");
        let loaded = world.state.load_actor(id).expect("a read").expect("it was created");
        assert_eq!(loaded.database, Some(DatabaseHead { txid: 9, size_pages: 5 }));

        let end = destroyed(&one, 10);
        world.commit(&[put(&end), Change::DestroyActor { record: Box::new(end.clone()), database: true }]);
        assert_eq!(world.pages(id, &all), "none - - - - - -");
        assert_eq!(
            world.state.load_actor(id),
            Ok(Some(LoadedActor { record: end, input: None, database: None, entries_bytes: 0 }))
        );
        assert_eq!(world.pages(other.id, &[1, 2, 3]), "1/3 90 91 92");
    }
}

/// A writer raises all pages together, and nobody ever reads two that differ.
#[test]
fn head_and_pages_are_read_as_of_one_moment() {
    for world in worlds() {
        let id = actor(1, "a", None).id;
        let commit = |txid: u8| world.commit(&[pages(id, txid.into(), 2, false, &[(1, txid), (2, txid)])]);
        commit(1);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| (2..=200).for_each(commit));
            while !writing.is_finished() {
                let read = world.pages(id, &[1, 2]);
                let (head, found) = read.split_once('/').expect("it was written");
                assert_eq!(found, format!("2 {head} {head}"), "{}", world.backend);
            }
        });
    }
}

#[test]
fn names_and_their_metadata() {
    for world in worlds() {
        let name = |name: &str, metadata: Option<&str>| Change::PutActorName {
            namespace: namespace(),
            name: name.to_owned(),
            metadata: metadata.map(str::to_owned),
        };
        let names = || {
            let found = world.state.actor_names(namespace(), None, 10).expect("a read");
            found
                .iter()
                .map(|(name, metadata)| format!("{name}={}", metadata.as_deref().unwrap_or("-")))
                .collect::<Vec<_>>()
                .join(" ")
        };
        world.commit(&[name("a", None), name("b", Some("{}"))]);
        assert_eq!(names(), "a=- b={}", "{}", world.backend);
        // An actor, or a runner that says nothing, leaves what is known.
        world.commit(&[create(&actor(1, "b", None)), create(&actor(2, "c", None)), name("b", None)]);
        assert_eq!(names(), "a=- b={} c=-");
        world.commit(&[name("b", Some(r#"{"x":1}"#)), name("c", Some("{}"))]);
        assert_eq!(names(), r#"a=- b={"x":1} c={}"#);
        world.commit(&[create(&actor(3, "c", None))]);
        assert_eq!(names(), r#"a=- b={"x":1} c={}"#);
        assert_eq!(world.state.actor_names(Id::new([2; 16], 1), None, 10), Ok(vec![]));
    }
}

#[test]
fn a_list_that_is_too_long_is_refused_not_cut() {
    for world in worlds() {
        let actor = actor(1, "a", None).id;
        // Exactly as much as a list may be: keys of 4 bytes, and values.
        let count = KV_LIST_BYTES_MAX / KV_VALUE_BYTES_MAX;
        let value = Bytes::from(vec![7; KV_VALUE_BYTES_MAX - 4]);
        for number in 0..count {
            let key = Bytes::from(format!("{number:04}"));
            let changes = vec![KvChange::Put { key, value: value.clone() }];
            world.commit(&[Change::Kv { actor, space: KvSpace::Actor, now_ms: 1, changes }]);
        }
        let list = |limit, keys_only| {
            world.state.kv_list(KvSpace::Actor, actor, &KvRange::all(), false, limit, keys_only).expect("a read")
        };
        assert_eq!(list(usize::MAX, false).map(|list| list.len()), Ok(count), "{}", world.backend);
        world.commit(&[kv(actor, 1, &[("x", "")])]);
        let refused = list(usize::MAX, false).expect_err("a byte too many");
        assert!(refused.contains("16777216 bytes"), "{refused}");
        assert_eq!(list(count, false).map(|list| list.len()), Ok(count));
        assert_eq!(list(usize::MAX, true).map(|list| list.len()), Ok(count + 1));
        let many: Vec<KvChange> = (0..=KV_LIST_ENTRIES_MAX as u32)
            .map(|number| KvChange::Put { key: Bytes::copy_from_slice(&number.to_be_bytes()), value: Bytes::new() })
            .collect();
        world.commit(&[Change::Kv { actor, space: KvSpace::Actor, now_ms: 1, changes: many }]);
        assert_eq!(list(usize::MAX, true).map(|list| list.len()), Ok(KV_LIST_ENTRIES_MAX));
    }
}

#[test]
fn damaged_records_are_errors_that_name_their_kind() {
    for world in worlds() {
        let record = ActorRecord { has_input: true, runner: Some(runner("r")), ..actor(1, "counter", Some("a")) };
        let fresh = || world.commit(&[put(&record)]);
        let damage = |key: Vec<u8>, value: &'static [u8]| {
            let mut batch = Batch::new();
            batch.put(key, value);
            world.store.commit(&batch, Persist::Written).expect("a batch");
        };
        world.commit(&[Change::CreateActor { record: Box::new(record.clone()), input: Some(Bytes::from_static(b"in")) }]);
        let says = |result: Result<(), StoreError>, text: &str| {
            let error = result.expect_err(text).to_string();
            assert!(error.contains(text), "{}: {error}", world.backend);
        };
        damage(keys::actor(record.id), b"\x01\x02");
        says(world.state.load_actor(record.id).map(drop), "the record of an actor");
        says(world.state.boot().map(drop), "the record of an actor");
        says(world.names_error("counter"), "the record of an actor");
        damage(keys::actor(record.id), b"\x07");
        says(world.state.load_actor(record.id).map(drop), "has format 7");
        fresh();
        damage(keys::input(record.id), b"");
        says(world.state.load_actor(record.id).map(drop), "an actor's input");
        damage(keys::reservation(&key_ref("counter", "a")), b"\x01");
        says(world.state.load_key(&key_ref("counter", "a")).map(drop), "the reservation of a key");
        damage(keys::kv(KvSpace::Actor, record.id, b"k"), b"\x01\x00");
        says(world.state.kv_entry(record.id, b"k").map(drop), "an entry of an actor's KV");
        says(world.state.kv_get(KvSpace::Actor, record.id, &["k".into()]).map(drop), "an entry of an actor's KV");
        says(
            world.state.kv_list(KvSpace::Actor, record.id, &KvRange::all(), false, 9, false).map(drop),
            "an entry of an actor's KV",
        );
        damage(keys::page(record.id, 1), b"\x01\x00");
        says(world.state.pages(record.id, &[1]).map(drop), "a page of an actor's database: it has 1 bytes and not 4096");
        damage(keys::database_head(record.id), b"\x01");
        says(world.state.pages(record.id, &[]).map(drop), "the head of an actor's database");
        damage(keys::actor_name_metadata(namespace(), "counter"), b"\x01\xff");
        says(world.state.actor_names(namespace(), None, 10).map(drop), "the metadata of an actor name");
        damage(keys::alarms(record.id.partition(), None).0, b"");
        says(world.state.load_alarms(None, 10).map(drop), "an alarm");
    }
}

impl World {
    fn names_error(&self, name: &str) -> Result<(), StoreError> {
        self.state.actors_by_name(namespace(), name, None, false, None, 10).map(drop)
    }
}

//! What an import brings is nobody's until it is taken: not counted, not shown, gone when it is dropped or when the next start looks.

mod support;

use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;

use engine_core::record::{ActorRecord, Change, DatabaseHead, NamespaceRecord, StoredBytes};
use protocol::database::PAGE_BYTES;
use protocol::id::{ActorId, Id, NamespaceId};
use protocol::message::{KvEntry, KvSpace};
use rivet_engine_store::export::Part;
use rivet_engine_store::group::Group;
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Memory, Persist, Rocks, State, Store, check, group, imports};

const NOTHING: &str = "entries 0, pages 0, stored none, cleared 0";

fn id(seed: u8) -> Id {
    Id::new([seed; 16], 1)
}

fn actor() -> ActorId {
    id(7)
}

fn namespace() -> NamespaceId {
    id(9)
}

fn entry(key: &str) -> KvEntry {
    KvEntry { key: key.to_owned().into(), value: "value".into(), update_ms: 5 }
}

fn stage(key: &str, page: u32) -> Change {
    let entries = vec![(KvSpace::Actor, entry(key)), (KvSpace::Runner, entry(key))];
    Change::StageImport { actor: actor(), entries, pages: vec![(page, vec![page as u8; PAGE_BYTES].into())] }
}

fn drop_it() -> Vec<Change> {
    vec![Change::DropImport { actor: actor() }]
}

/// As the core does it.
fn take() -> Vec<Change> {
    let record = ActorRecord { sleep_ms: Some(1), ..support::actor(actor(), namespace()) };
    vec![
        Change::CreateActor { record: Box::new(record.clone()), input: None },
        Change::TakeImport { actor: actor(), kv_bytes: 14, runner_kv_bytes: 14 },
        Change::Database { actor: actor(), head: DatabaseHead { txid: 4, size_pages: 2 }, pages: Vec::new(), shrunk: false },
        Change::PutActor(Box::new(record)),
    ]
}

/// After these commits nothing is wrong, and this is what a start on it finds.
fn check(commits: &[Vec<Change>], expected: &str) {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let rocks = Rocks::open(folder.path(), &Tuning::default()).expect("a new store opens");
    let stores: [(&str, Arc<dyn Store>); 2] = [("memory", Arc::new(Memory::new())), ("rocks", Arc::new(rocks))];
    for (backend, store) in stores {
        let state = State::new(store.clone());
        let namespace = NamespaceRecord {
            id: namespace(),
            name: "default".to_owned(),
            display_name: "Default".to_owned(),
            create_ms: 1,
            quotas: Default::default(),
            delete_ms: None,
        };
        let before = vec![Change::PutNamespace(namespace)];
        for changes in iter::once(&before).chain(commits) {
            let batch = group::alone(&*store, State::batch(changes)).expect("it can be counted");
            store.commit(&batch, Persist::Written).expect("a commit");
        }
        let census = check::check(&*store, &mut |_| {}).expect("it can be read");
        assert!(census.is_whole(), "{backend}: {:?}", census.problems);
        let shown = state.exported(actor()).expect("a read");
        assert_eq!(shown.is_some(), state.stored(actor()).expect("a read").is_some(), "{backend}: there, or not there");

        let cleared = imports::clear(&*store).expect("it can be cleared");
        let census = check::check(&*store, &mut |_| {}).expect("it can be read");
        assert!(census.is_whole(), "{backend}, cleared: {:?}", census.problems);
        let stored = match state.stored(actor()).expect("a read") {
            Some(StoredBytes { kv, runner_kv, database, .. }) => format!("{kv}+{runner_kv}+{database}"),
            None => "none".to_owned(),
        };
        let (entries, pages) = (census.counts.entries, census.counts.pages);
        let found = format!("entries {entries}, pages {pages}, stored {stored}, cleared {cleared}");
        assert_eq!(found, expected, "{backend}");
        assert_eq!(imports::clear(&*store), Ok(0), "{backend}: there is nothing more");
    }
}

#[test]
fn what_is_staged_is_taken_or_goes() {
    let staged = || vec![vec![stage("a1", 1)], vec![stage("a2", 2)]];
    // Keys of 2 bytes, values of 5.
    let taken = |cleared: usize| format!("entries 4, pages 2, stored 14+14+{}, cleared {cleared}", 2 * PAGE_BYTES);
    check(&[], NOTHING);
    check(&staged(), "entries 0, pages 0, stored none, cleared 1");
    check(&[staged(), vec![drop_it()]].concat(), NOTHING);
    check(&[vec![drop_it()], vec![drop_it()]].concat(), NOTHING);
    check(&[staged(), vec![take()]].concat(), &taken(0));
    // Whoever gives up without knowing that it went well changes nothing.
    check(&[staged(), vec![take(), drop_it(), drop_it()]].concat(), &taken(0));
}

#[test]
fn what_is_dropped_may_be_on_its_way_to_the_disk_still() {
    let (store, mut group) = (Memory::new(), Group::new());
    for changes in [vec![stage("a1", 1)], drop_it()] {
        group.add(&store, State::batch(&changes)).expect("it can be counted");
    }
    store.commit(group.merged(), Persist::Written).expect("a commit");
    assert_eq!(check::count(&store, &mut |_| true).map(|counts| counts.map(|counts| counts.keys)), Ok(Some(0)));
}

#[test]
fn all_of_an_actor_is_read_in_the_order_of_its_keys() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    for changes in [vec![stage("b", 2)], vec![stage("a", 1)], take()] {
        let batch = group::alone(&*store, State::batch(&changes)).expect("it can be counted");
        store.commit(&batch, Persist::Written).expect("a commit");
    }
    let state = State::new(store);
    let read = |parts_max: usize| {
        let mut told = Vec::new();
        let take = |part| {
            told.push(match part {
                Part::Entry(space, entry) => format!("{space:?} {}", String::from_utf8_lossy(&entry.key)),
                Part::Page((number, bytes)) => format!("page {number} of {}", bytes[0]),
            });
            if told.len() < parts_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        state.export(actor(), take).expect("it can be read");
        told.join(", ")
    };
    assert_eq!(read(usize::MAX), "Actor a, Actor b, Runner a, Runner b, page 1 of 1, page 2 of 2");
    assert_eq!(read(3), "Actor a, Actor b, Runner a");
}

//! Recorded requests: the newest of each actor, within every bound, and gone when they are removed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use protocol::id::{ActorId, Id, NamespaceId};
use rivet_engine_store::recordings::{NewRequest, RecordedBody, RecordedEnd, RecordedRequest, RecordingLimits};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Memory, Recordings, Rocks, Scan, Store};

const WIDE: RecordingLimits = RecordingLimits { actor_bytes: 1 << 30, namespace_bytes: 1 << 30, total_bytes: 1 << 30 };

/// An id by its letter.
fn id(letter: char) -> Id {
    Id::new([letter as u8; 16], 1)
}

fn request(path: &str, body_bytes: usize) -> RecordedRequest {
    RecordedRequest {
        arrived_ms: 1,
        version: 1,
        method: "POST".to_string(),
        path: path.to_string(),
        headers: Vec::new(),
        body: RecordedBody::Whole(vec![b'h'; body_bytes]),
        ended: RecordedEnd::Left,
    }
}

/// `a1:x` is the request x of the actor a in the namespace 1; its name is that of its actor in capitals.
fn record(recordings: &Recordings, keep: u32, body_bytes: usize, requests: &str) {
    for one in requests.split_whitespace() {
        let mut letters = one.chars();
        let (actor, namespace) = (letters.next().expect("an actor"), letters.next().expect("a namespace"));
        let path = one.split_once(':').expect("a path").1;
        let new = NewRequest {
            actor: id(actor),
            namespace: id(namespace),
            name: &actor.to_uppercase().to_string(),
            keep,
            request: request(path, body_bytes),
        };
        recordings.write([new]).expect("it is written");
    }
}

fn paths(recordings: &Recordings, actor: ActorId, count: usize) -> String {
    let found = recordings.read(actor, count).expect("it is read");
    found.iter().map(|request| request.path.clone()).collect::<Vec<_>>().join(" ")
}

/// What the places of all requests add up to: the sums say the same.
fn added_up(store: &dyn Store) -> u64 {
    let all = |kind: &'static [u8], end: &'static [u8]| {
        let scan = Scan { start: kind, end: Some(end), reverse: false, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
        store.scan(scan).expect("it is read")
    };
    let requests = all(b"r", b"s");
    assert_eq!(requests.len(), all(b"o", b"p").len(), "each request has one place");
    requests.iter().map(|pair| pair.value.len() as u64 + 128).sum()
}

#[test]
fn the_newest_within_every_bound_are_kept() {
    // About 250 bytes each with a body of 100.
    let actor = RecordingLimits { actor_bytes: 600, ..WIDE };
    let namespace = RecordingLimits { namespace_bytes: 600, ..WIDE };
    let total = RecordingLimits { total_bytes: 1_100, ..WIDE };
    let rows = [
        (WIDE, 3, "a1:1 a1:2", "1 2", ""),
        (WIDE, 3, "a1:1 a1:2 a1:3 a1:4 b1:5", "2 3 4", "5"),
        (WIDE, 1, "a1:1 b1:2 a1:3 b1:4", "3", "4"),
        (WIDE, 0, "a1:1", "", ""),
        (actor, 9, "a1:1 b1:2 a1:3 a1:4", "3 4", "2"),
        (namespace, 9, "a1:1 b1:2 a1:3", "3", "2"),
        (namespace, 9, "a1:1 b2:2 a1:3 b2:4 a1:5", "3 5", "2 4"),
        // Who has most makes room.
        (total, 9, "a1:1 a1:2 a1:3 b2:4 b2:5", "2 3", "4 5"),
        (total, 2, "a1:1 a1:2 a1:3 b2:4 b2:5 a1:6", "3 6", "4 5"),
        (RecordingLimits { actor_bytes: 100, ..WIDE }, 9, "a1:1", "", ""),
    ];
    for (limits, keep, requests, of_a, of_b) in rows {
        let store = Arc::new(Memory::new());
        let recordings = Recordings::open(store.clone(), limits).expect("it opens");
        record(&recordings, keep, 100, requests);
        let found = (paths(&recordings, id('a'), 100), paths(&recordings, id('b'), 100));
        assert_eq!((&found.0[..], &found.1[..]), (of_a, of_b), "{requests}");
        assert_eq!(recordings.bytes(), added_up(&*store), "{requests}");
        let again = Recordings::open(store.clone(), limits).expect("it opens again");
        assert_eq!(again.bytes(), recordings.bytes(), "{requests}");
        record(&again, 9, 0, "a1:new");
        assert!(paths(&again, id('a'), 1) == "new" || limits.actor_bytes < 200, "{requests}: the newest is read first");
        assert_eq!(again.bytes(), added_up(&*store), "{requests}");
    }
}

#[test]
fn what_is_removed_is_gone() {
    type Remove = fn(&Recordings);
    let rows: [(Remove, &str); 6] = [
        (|of| of.remove_actors(&[id('a'), id('x')]).expect("removed"), "-|2 4|5|6"),
        (|of| of.remove_name(id('1'), "A").expect("removed"), "-|2 4|5|6"),
        (|of| of.remove_name(id('2'), "A").expect("removed"), "1 3|2 4|5|6"),
        (|of| of.remove_name(id('1'), "").expect("removed"), "1 3|2 4|5|6"),
        (|of| of.remove_namespace(id('1')).expect("removed"), "-|-|5|6"),
        (|of| of.remove_namespace(id('3')).expect("removed"), "1 3|2 4|5|6"),
    ];
    for (remove, expected) in rows {
        let store = Arc::new(Memory::new());
        let recordings = Recordings::open(store.clone(), WIDE).expect("it opens");
        record(&recordings, 9, 100, "a1:1 b1:2 a1:3 b1:4 c2:5 d2:6");
        remove(&recordings);
        let left = ['a', 'b', 'c', 'd'].map(|actor| paths(&recordings, id(actor), 9));
        let left = left.map(|paths| if paths.is_empty() { "-".to_string() } else { paths }).join("|");
        assert_eq!(left, expected);
        assert_eq!(recordings.bytes(), added_up(&*store));
        let names: Vec<NamespaceId> = recordings.names().expect("names").into_iter().map(|(namespace, _)| namespace).collect();
        let actors = recordings.actors(None, 9).expect("actors");
        assert_eq!(names.len(), actors.len(), "each name has one actor here");
        assert_eq!(recordings.actors(actors.first().copied(), 9).expect("actors"), actors[1..]);
        for namespace in ['1', '2'] {
            recordings.remove_namespace(id(namespace)).expect("removed");
        }
        let all = Scan { start: b"a", end: Some(b"z"), reverse: false, keys_only: true, limit: 9, bytes_max: usize::MAX };
        assert!(store.scan(all).expect("it is read").is_empty(), "nothing is left, not even a count");
    }
}

/// The bytes of all files in a folder.
fn contains(folder: &Path, needle: &[u8]) -> bool {
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut files = files.filter(|path| path.is_file());
    files.any(|path| fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle)))
}

#[test]
fn what_is_erased_is_not_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let rocks = Arc::new(Rocks::open(folder.path(), &Tuning::recordings()).expect("it opens"));
    let recordings = Recordings::open(rocks.clone(), WIDE).expect("it opens");
    record(&recordings, 9, 10, "a1:hush-4711 b1:kept-0815");
    assert!(contains(folder.path(), b"hush-4711"), "it is in the log");
    rocks.erase_deleted().expect("it is written out");
    assert!(contains(folder.path(), b"hush-4711"), "it is in a table");
    recordings.remove_actors(&[id('a')]).expect("removed");
    rocks.erase_deleted().expect("it is rewritten");
    // RocksDB removes files that it needs no more a moment later.
    let began = Instant::now();
    while contains(folder.path(), b"hush-4711") {
        assert!(began.elapsed() < Duration::from_secs(10), "it is still on the disk");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(contains(folder.path(), b"kept-0815"));
    assert_eq!(paths(&recordings, id('b'), 9), "kept-0815");
}

//! One actor as a file: taken to another key and to another engine, with everything that is stored about it.

use std::fs;
use std::path::{Path, PathBuf};

use engine_core::record::Change;
use engine_store::keys::{self, Kind};
use engine_store::rocks::Tuning;
use engine_store::{Persist, Rocks, Scan, State, Store, check, group};
use protocol::id::{ActorId, Partition};
use protocol::message::{KvChange, KvSpace};
use rivet_tests::address::by_key;
use rivet_tests::engine::Done;
use rivet_tests::{Call, Engine, Socket, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[track_caller]
fn done(done: Done) -> String {
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    done.out
}

#[track_caller]
fn refused(done: Done, words: &str) {
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert!(done.err.contains(words), "{words:?} expected, seen {}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_goes_to_another_engine_with_its_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("actor.ndjson");
    let (here, there) = (Engine::start().await, Engine::start().await);
    for engine in [&here, &there] {
        engine.deploy("counter", "counter").await;
    }
    let (actor, _) = here.get_or_create("counter", "a", Some("aW5wdXQ=")).await;
    for _ in 0..5 {
        here.increment("counter", "a").await;
    }
    // While it runs: what it has acknowledged by then is in it.
    done(here.cli(&["actors", "export", &actor, text(&file)]).await);
    here.increment("counter", "a").await;
    refused(here.cli(&["actors", "export", &actor, text(&file)]).await, "cannot be written");
    refused(here.cli(&["actors", "import", text(&file)]).await, "actor.duplicate_key");

    done(there.cli(&["actors", "import", text(&file)]).await);
    let shown: Value =
        serde_json::from_str(&done(here.cli(&["actors", "import", text(&file), "--key", "b", "--json"]).await)).expect("JSON");
    let copy = &shown["actor"];
    assert_ne!(copy["actor_id"], json!(actor));
    assert!(copy["connectable_ts"].is_null() && !copy["sleep_ts"].is_null(), "it is asleep: {copy}");
    assert_eq!(copy["create_ts"], here.actor(&actor).await["create_ts"]);
    for (engine, key) in [(&there, "a"), (&here, "b")] {
        assert_eq!(engine.get(by_key("counter", key, "/")).await.number("the count"), 5, "{key}");
        assert_eq!(engine.increment("counter", key).await, 6);
    }
    assert_eq!(here.get(by_key("counter", "a", "/")).await.number("the count"), 6, "the one it was made of has its own");

    let elsewhere = Engine::start().await;
    refused(elsewhere.cli(&["actors", "import", text(&file)]).await, "actor.no_runner_config_configured");
    let whole = fs::read(&file).expect("it was written");
    for cut in [0, whole.len() / 2, whole.len() - 2] {
        let answer = there.send(Call::post("/actors/import?namespace=default&key=c").body(&whole[..cut])).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "actor.import_invalid"), "{cut}: {answer}");
    }
    there.get("/health").await.expect_ok("the engine serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_alarm_rings_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("actor.ndjson");
    let engine = Engine::start().await;
    engine.deploy("reminders", "reminders").await;
    let soon = by_key("reminders", "a", "/reminders?in_ms=1500");
    engine.send(Call::post(soon).body("tea")).await.expect_ok("a reminder");
    let (actor, _) = engine.get_or_create("reminders", "a", None).await;
    done(engine.cli(&["actors", "export", &actor, text(&file)]).await);
    done(engine.cli(&["actors", "import", text(&file), "--key", "b"]).await);
    for key in ["a", "b"] {
        until("the reminder is done", async || {
            let seen = engine.get(by_key("reminders", key, "/reminders")).await.text();
            seen.contains("done").then_some(()).ok_or(format!("{key}: {seen}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_database_goes_along_and_is_one_for_sqlite_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, database) = (folder.path().join("actor.ndjson"), folder.path().join("actor.sqlite"));
    let engine = Engine::start().await;
    engine.deploy("chat", "chat").await;
    let room = by_key("chat", "lobby", "/request/");
    let mut socket = Socket::open(&engine, &by_key("chat", "lobby", "/websocket/?name=bob"), "rivet").await;
    socket.send(Message::text("hello")).await.expect("it is open");
    let said = until("it is in the history", async || {
        let seen = engine.get(&room).await.text();
        seen.contains("hello").then_some(seen.clone()).ok_or(seen)
    })
    .await;
    let (actor, _) = engine.get_or_create("chat", "lobby", None).await;
    done(engine.cli(&["actors", "export", &actor, text(&file), "--sqlite", text(&database)]).await);
    done(engine.cli(&["actors", "import", text(&file), "--key", "attic"]).await);
    assert_eq!(engine.get(by_key("chat", "attic", "/request/")).await.text(), said);
    assert!(fs::read(&database).expect("it was written").starts_with(b"SQLite format 3\0"));
}

/// Entries of an actor with more state than a message, a commit or a piece of its file holds: 24 MB, and 32 MB as a file.
const MANY: u32 = 200;
const MANY_BYTES: usize = 120_000;
/// What the engine may take beyond what it had while it writes the file; and while it reads it, when its store has what was written last in
/// memory too. With the file and what is made of it in memory it would be twice as much.
const HELD_WRITING_BYTES_MAX: u64 = 20 << 20;
const HELD_READING_BYTES_MAX: u64 = HELD_WRITING_BYTES_MAX + 3 * (MANY as usize * MANY_BYTES) as u64;

fn many_key(number: u32) -> String {
    format!("many/{number:08}")
}

/// Letters that do not repeat.
fn many_value(number: u32) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number.into());
    (0..MANY_BYTES).map(|_| random.lowercase() as u8).collect()
}

fn entries_of(store: &Rocks) -> u64 {
    check::count(store, &mut |_| true).expect("it can be read").expect("nobody gives it up").entries
}

fn store_of(engine: &Engine) -> Rocks {
    Rocks::look(&engine.data_dir().join("store")).expect("nobody has it open")
}

/// It has stopped. That nothing is left of an import, beside so many entries of actors.
#[track_caller]
fn left(engine: &Engine, entries: u64) {
    let store = store_of(engine);
    let census = check::check(&store, &mut |_| {}).expect("it can be read");
    assert!(census.is_whole(), "{:?}", census.problems);
    assert_eq!((census.counts.entries, census.unknown_keys), (entries, 0));
    for partition in Partition::all() {
        let (start, end) = keys::all_of(Kind::Importing, partition);
        assert_eq!(store.scan(Scan::range(&start, &end, 1)).expect("it can be read"), []);
    }
}

/// Such an actor, its file, and how many entries the store has.
async fn with_large_file(folder: &Path) -> (Engine, PathBuf, u64) {
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "large", None).await;
    engine.stop().await;
    let id: ActorId = actor.parse().expect("an id");
    let store = Rocks::open(&engine.data_dir().join("store"), &Tuning::default()).expect("nobody has it open");
    for number in 0..MANY {
        let put = KvChange::Put { key: many_key(number).into(), value: many_value(number).into() };
        let change = Change::Kv { actor: id, space: KvSpace::Actor, now_ms: 1, changes: vec![put] };
        let batch = group::alone(&store, State::batch(&[change])).expect("it can be counted");
        store.commit(&batch, Persist::Written).expect("there is room");
    }
    let entries = entries_of(&store);
    store.close().expect("it is written out");
    engine.restart().await;
    let (file, before) = (folder.join("large.ndjson"), engine.peak_memory());
    done(engine.cli(&["actors", "export", &actor, text(&file)]).await);
    let grown = engine.peak_memory() - before;
    assert!(grown < HELD_WRITING_BYTES_MAX, "{grown} bytes more than before");
    (engine, file, entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_actor_goes_through_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, file, _) = with_large_file(folder.path()).await;
    let before = engine.peak_memory();
    let second = folder.path().join("second.ndjson");
    let made: Value =
        serde_json::from_str(&done(engine.cli(&["actors", "import", text(&file), "--key", "copy", "--json"]).await)).expect("JSON");
    let copy = made["actor"]["actor_id"].as_str().expect("an id");
    done(engine.cli(&["actors", "export", copy, text(&second)]).await);
    let grown = engine.peak_memory() - before;
    assert!(grown < HELD_READING_BYTES_MAX, "{grown} bytes more than before");

    let stored = async |actor: &str| {
        let stored = engine.get(format!("/actors/{actor}/storage?namespace=default")).await.expect_ok("what it has stored").json();
        stored["total_bytes"].as_u64().expect("a number")
    };
    let (original, _) = engine.get_or_create("hostile", "large", None).await;
    assert!(stored(copy).await >= u64::from(MANY) * MANY_BYTES as u64, "it is counted");
    assert_eq!(stored(copy).await, stored(&original).await);
    let (first, second) = (fs::read(&file).expect("a file"), fs::read(&second).expect("a file"));
    let entries = |file: &[u8]| {
        let lines: Vec<Vec<u8>> = file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines[1..=MANY as usize].to_vec()
    };
    assert!(entries(&first) == entries(&second), "every entry is what it was");
    let last = engine.get(by_key("hostile", "copy", &format!("/get?key={}", many_key(MANY - 1)))).await.expect_ok("an entry");
    assert_eq!(last.body[..], many_value(MANY - 1)[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cut_leaves_nothing_and_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut engine, file, entries) = with_large_file(folder.path()).await;
    let whole = fs::read(&file).expect("it was written");
    let host = engine.url().strip_prefix("http://").expect("an address").to_string();
    let announce = format!(
        "POST /actors/import?namespace=default&key=copy HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    // When it returns, all but what sockets hold has been read, and staged.
    let begun = async |host: &str| {
        let mut stream = TcpStream::connect(host).await.expect("it listens");
        stream.write_all(announce.as_bytes()).await.expect("it reads");
        stream.write_all(&whole[..whole.len() / 2]).await.expect("it reads");
        stream
    };
    // The client leaves; then the file is damaged near its end; then the engine is killed.
    let stream = begun(&host).await;
    drop(stream);
    let mut damaged = whole.clone();
    let at = whole.len() - 200;
    damaged[at] ^= 1;
    let answer = engine.send(Call::post("/actors/import?namespace=default&key=copy").body(&damaged[..])).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "actor.import_invalid"), "{answer}");
    until("what was staged is gone", async || {
        let list = engine.get("/actors?namespace=default&name=hostile&key=copy").await.expect_ok("a list").json();
        list["actors"].as_array().is_some_and(Vec::is_empty).then_some(()).ok_or(list.to_string())
    })
    .await;
    engine.stop().await;
    left(&engine, entries);

    engine.restart().await;
    let stream = begun(engine.url().strip_prefix("http://").expect("an address")).await;
    engine.kill9();
    drop(stream);
    assert!(entries_of(&store_of(&engine)) > entries, "it was killed in the middle");
    engine.restart().await;
    engine.stop().await;
    left(&engine, entries);

    engine.restart().await;
    done(engine.cli(&["actors", "import", text(&file), "--key", "copy"]).await);
    engine.stop().await;
    left(&engine, 2 * entries);
    engine.restart().await;
    let first = engine.get(by_key("hostile", "copy", &format!("/get?key={}", many_key(0)))).await.expect_ok("an entry");
    assert_eq!(first.body[..], many_value(0)[..]);
}

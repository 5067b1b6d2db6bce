//! What stops a start, in one sentence; and starts that are killed, on data that must be brought up to a newer format first.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use engine_store::rocks::Tuning;
use engine_store::{Batch, Persist, Rocks, Store, keys, records};
use rivet_tests::Engine;
use rivet_tests::engine::run_with;

use crate::Told;

const KILLS_DEFAULT: u64 = 6;
/// About as long as a start takes.
const START_MS: u64 = 250;

/// A start on this directory ends with 1 and one line that has these words.
pub async fn refused(data_dir: &Path, words: &str) {
    let data_dir = data_dir.to_str().expect("a path that is text");
    let done = run_with(&["start", "--port", "0", "--data-dir", data_dir], &[("RUST_LOG", "off")]).await;
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert!(done.err.contains(words), "{words:?} expected, seen {}", done.err);
    assert_eq!(done.err.trim().lines().count(), 1, "one sentence: {}", done.err);
}

pub fn put(data_dir: &Path, key: &'static [u8], value: bytes::Bytes) {
    let allowed = Tuning { allow_older_engine: true, ..Tuning::default() };
    let store = Rocks::open(&data_dir.join("store"), &allowed).expect("nobody has it open");
    let mut batch = Batch::new();
    batch.put(key, value);
    store.commit(&batch, Persist::Synced).expect("a commit");
}

pub fn spoil(data_dir: &Path, name: &str, how: impl Fn(&Path)) {
    let entries = fs::read_dir(data_dir.join("store")).expect("it is there").map(|entry| entry.expect("an entry").path());
    let found: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(name)).collect();
    assert!(!found.is_empty(), "no file {name}");
    found.iter().for_each(|path| how(path));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_start_is_said_in_one_sentence() {
    type Spoil = fn(&Path);
    let rows: [(Spoil, &str); 7] = [
        (|data| put(data, keys::FORMAT, records::format(99)), "has format 99, and this engine knows formats up to 3"),
        (|data| put(data, keys::WRITER, records::engine_version("99.0.0")), "was last written by engine 99.0.0"),
        (|data| put(data, keys::FORMAT, vec![0, 1].into()), "damaged data: the format of the data directory"),
        (|data| spoil(data, "CURRENT", |path| fs::remove_file(path).expect("it is there")), "its file CURRENT is missing"),
        (|data| spoil(data, "MANIFEST", |path| fs::write(path, "damaged").expect("it is there")), "store"),
        (|data| spoil(data, ".sst", |path| fs::remove_file(path).expect("it is there")), "store"),
        (
            |data| {
                fs::remove_dir_all(data.join("store")).expect("it is ours");
                fs::write(data.join("store"), "a file").expect("it can be written");
            },
            "is not a data directory of this engine (it is a file)",
        ),
    ];
    for (spoil, words) in rows {
        let mut engine = Engine::start_alone(&[]).await;
        refused(&engine.data_dir(), "is in use by another process").await;
        engine.stop().await;
        spoil(&engine.data_dir());
        refused(&engine.data_dir(), words).await;
        // And it is the same sentence the next time: nothing was changed.
        refused(&engine.data_dir(), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_before_is_let_back_when_that_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("engine.yaml");
    fs::write(&file, "runtime: {allow_version_rollback: true}\n").expect("a file");
    let mut engine = Engine::start_alone(&["--config", file.to_str().expect("a path that is text")]).await;
    engine.stop().await;
    put(&engine.data_dir(), keys::WRITER, records::engine_version("99.0.0"));
    refused(&engine.data_dir(), "runtime.allow_version_rollback").await;
    engine.restart().await;
    engine.stop().await;
    put(&engine.data_dir(), keys::FORMAT, records::format(99));
    refused(&engine.data_dir(), "has format 99").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_killed_at_any_moment_loses_nothing() {
    let kills: u64 = env::var("RIVET_KILLS").map_or(KILLS_DEFAULT, |text| text.parse().expect("a whole number"));
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    let mut told = Told::default();
    let (mut lost, mut upgrades) = (0, 0);
    for round in 0..kills {
        told.increment(&engine).await;
        engine.kill9();
        if round % 2 == 0 {
            // As the first release left it, and with a log that is still to be read.
            put(&engine.data_dir(), keys::FORMAT, records::format(1));
            upgrades += 1;
        }
        for _ in 0..3 {
            engine.start_and_kill9(Duration::from_millis(fastrand::u64(0..START_MS))).await;
        }
        engine.restart().await;
        lost += told.lost(&engine).await;
    }
    println!("starts killed {}, {upgrades} upgrades, acknowledged writes lost {lost}", kills * 3);
    assert_eq!(lost, 0);
}

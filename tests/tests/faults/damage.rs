//! What `doctor` says of a data directory whose files were damaged, one after the other: which part, and what to do; and it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine_store::{keys, records};
use rivet_tests::Engine;
use rivet_tests::engine::run_with;
use serde_json::Value;

use crate::starting::{put, spoil};

/// Every file below it, with its bytes. RocksDB's log for people grows with each look, and is no data.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("LOG")) => {}
            false => drop(found.insert(path.clone(), fs::read(&path).expect("it can be read"))),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut found = BTreeMap::new();
    files(from, &mut found);
    for (path, bytes) in found {
        let place = to.join(path.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(place.parent().expect("it is in a folder")).expect("a folder");
        fs::write(place, bytes).expect("a file");
    }
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it is there");
    how(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

fn flip_in_the_middle(path: &Path) {
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
    });
}

fn halve(path: &Path) {
    change(path, |bytes| bytes.truncate(bytes.len() / 2));
}

fn component(data: &Path) -> PathBuf {
    let mut entries = fs::read_dir(data.join("components")).expect("it is there").map(|entry| entry.expect("an entry").path());
    entries.find(|path| path.extension().is_some_and(|ending| ending == "wasm")).expect("one is deployed")
}

async fn doctor(data: &Path) -> (Option<i32>, Value) {
    let done = run_with(&["doctor", "--json", "--data-dir", data.to_str().expect("text")], &[]).await;
    (done.code, serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}{}", done.out, done.err)))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_damaged_and_changes_nothing() {
    type Spoil = fn(&Path);
    let rows: [(Spoil, &str, &str); 12] = [
        (|data| spoil(data, "CURRENT", |path| fs::remove_file(path).expect("it is there")), "store", "CURRENT"),
        (|data| spoil(data, "CURRENT", |path| fs::write(path, "MANIFEST-999999\n").expect("a file")), "store", "999999"),
        (|data| spoil(data, "CURRENT", |path| fs::write(path, "nonsense").expect("a file")), "store", ""),
        (|data| spoil(data, "MANIFEST", |path| fs::remove_file(path).expect("it is there")), "store", ""),
        (|data| spoil(data, "MANIFEST", flip_in_the_middle), "store", ""),
        (|data| spoil(data, ".sst", |path| fs::remove_file(path).expect("it is there")), "store", ""),
        (|data| spoil(data, ".sst", halve), "store", ""),
        (|data| put(data, keys::FORMAT, records::format(99)), "format", "has format 99"),
        (|data| put(data, keys::WRITER, vec![9, 9].into()), "", ""),
        (|data| put(data, b"p\0a", vec![1].into()), "records", "the record of an actor"),
        (|data| fs::remove_file(component(data)).expect("it is there"), "components", "is missing, which a version needs"),
        (|data| flip_in_the_middle(&component(data)), "components", "is not what its name says"),
    ];
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    for key in 0..20 {
        engine.increment("counter", &key.to_string()).await;
    }
    engine.stop().await;
    let (code, seen) = doctor(&engine.data_dir()).await;
    assert_eq!((code, &seen["errors"]), (Some(0), &0.into()), "{seen}");
    assert!(!seen.to_string().contains("does not know"), "it knows every key: {seen}");

    let folder = tempfile::tempdir().expect("a folder");
    for (number, (spoil, check, words)) in rows.into_iter().enumerate() {
        let data = folder.path().join(number.to_string());
        copy(&engine.data_dir(), &data);
        spoil(&data);
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        files(&data, &mut before);
        let (code, seen) = doctor(&data).await;
        files(&data, &mut after);
        assert!(before == after, "row {number}: it changes nothing");
        assert_eq!(code, Some(1), "row {number}: {seen}");
        let errors = seen["findings"].as_array().expect("findings").iter().filter(|finding| finding["level"] == "error");
        let named = errors.filter(|finding| finding["check"].as_str().is_some_and(|of| check.is_empty() || of == check));
        let mut named = named.filter(|finding| finding["text"].as_str().is_some_and(|text| text.contains(words)));
        let found = named.next().unwrap_or_else(|| panic!("row {number}: {check} {words:?} expected, seen {seen}"));
        assert!(found["next"].as_str().is_some_and(|next| !next.is_empty()), "row {number}: what to do: {found}");
    }
}

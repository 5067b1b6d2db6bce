//! What is in the directory when the engine starts: every case opens or says what is wrong, and none destroys anything.

use std::fs;
use std::path::Path;

use rivet_engine_store::format::{self, Format};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Persist, Rocks, Store, StoreError, keys, records};

fn open(path: &Path) -> Result<Rocks, StoreError> {
    Rocks::open(path, &Tuning::default())
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("the temporary directory can be written")
}

/// A directory with one pair in a table on disk.
fn filled() -> tempfile::TempDir {
    let directory = directory();
    let store = open(directory.path()).expect("a new store opens");
    put(&store, b"key", &[7; 4_000]);
    store.close().expect("it closes");
    directory
}

fn put(store: &Rocks, key: &'static [u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(key, value.to_vec());
    store.commit(&batch, Persist::Synced).expect("a batch");
}

/// Why it does not open; `Rocks` itself cannot be printed.
fn refusal(path: &Path) -> StoreError {
    match open(path) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error,
    }
}

fn files(path: &Path, suffix: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).expect("the directory is there").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

#[test]
fn a_new_directory_is_made_with_those_above_it() {
    let directory = directory();
    let path = directory.path().join("a/b/c");
    put(&open(&path).expect("a new store opens"), b"key", b"value");
    assert_eq!(open(&path).expect("it opens again").get(b"key"), Ok(Some("value".into())));
}

#[test]
fn a_clean_end_leaves_no_log_to_read() {
    let directory = filled();
    assert_eq!(files(directory.path(), ".sst").len(), 1);
    let store = open(directory.path()).expect("it opens again");
    assert_eq!(store.get(b"key").expect("a read").map(|value| value.len()), Some(4_000));
    drop(store);
    assert_eq!(files(directory.path(), ".sst").len(), 1, "nothing was written out again");
}

#[test]
fn a_directory_in_use_is_locked() {
    let directory = directory();
    let _store = open(directory.path()).expect("a new store opens");
    let error = refusal(directory.path());
    assert_eq!(error, StoreError::Locked { path: directory.path().to_owned() });
    assert!(error.to_string().contains("stop the engine that runs there"), "{error}");
}

#[test]
fn a_newer_format_is_refused_and_a_damaged_one_is_named() {
    let rows: [(&[u8], &str); 6] = [
        (b"\x04\x40", "has format 4, and this engine knows formats up to 3; use the engine that wrote it"),
        (b"\xff", "has format 255"),
        (b"", "the format of the data directory: it is empty"),
        (b"\x00\x40", "there never was a version 0"),
        (b"\x01", "0 bytes where there is 1"),
        (b"\x01\x20", "it has 32 partitions, and there are always 64"),
    ];
    for (format, says) in rows {
        let directory = filled();
        put(&open(directory.path()).expect("it opens"), keys::FORMAT, format);
        for _ in 0..2 {
            let error = refusal(directory.path()).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn an_older_format_is_brought_up_to_ours_once() {
    let directory = filled();
    let store = open(directory.path()).expect("it opens");
    put(&store, keys::FORMAT, b"\x01\x40");
    let mut batch = Batch::new();
    batch.delete(keys::WRITER);
    store.commit(&batch, Persist::Synced).expect("a batch");
    drop(store);
    let looked = Rocks::look(directory.path()).expect("one who looks reads every format");
    assert_eq!(format::read(&looked), Ok(Some(Format { number: 1, engine: None })));
    drop(looked);
    let copied = Rocks::open_as_it_is(directory.path()).expect("one who copies too, and keeps the others out");
    assert!(matches!(refusal(directory.path()), StoreError::Locked { .. }));
    drop(copied);
    let looked = Rocks::look(directory.path()).expect("it opens");
    assert_eq!(format::read(&looked).expect("a read").map(|format| format.number), Some(1), "and it is what it was");
    drop(looked);
    for _ in 0..2 {
        let store = open(directory.path()).expect("it opens");
        let expected = Format { number: 3, engine: Some(format::ENGINE_VERSION.to_owned()) };
        assert_eq!(format::read(&store), Ok(Some(expected)));
        assert_eq!(store.get(b"key").expect("a read").map(|value| value.len()), Some(4_000));
    }
}

#[test]
fn an_older_engine_is_refused_unless_it_is_wanted() {
    let directory = filled();
    put(&open(directory.path()).expect("it opens"), keys::WRITER, &records::engine_version("999.0.0"));
    let error = refusal(directory.path()).to_string();
    assert!(error.contains("was last written by engine 999.0.0") && error.contains("runtime.allow_version_rollback"), "{error}");
    // A format that this engine does not know stays refused, whatever is allowed.
    let allowed = Tuning { allow_older_engine: true, ..Tuning::default() };
    drop(Rocks::open(directory.path(), &allowed).expect("the format is ours"));
    let store = open(directory.path()).expect("from then on it is this engine's");
    put(&store, keys::FORMAT, b"\x04\x40");
    drop(store);
    assert!(matches!(Rocks::open(directory.path(), &allowed), Err(StoreError::NewerFormat { found: 4, .. })));
}

#[test]
fn looking_changes_nothing() {
    let directory = filled();
    let store = open(directory.path()).expect("it opens");
    put(&store, b"late", b"only in the log");
    let copy = self::directory();
    let checkpoint = copy.path().join("checkpoint");
    store.checkpoint(&checkpoint).expect("a copy as of one moment");
    put(&store, b"later", b"not in the copy");
    let looked = Rocks::look(&checkpoint).expect("it opens");
    assert_eq!(looked.get(b"late"), Ok(Some("only in the log".into())));
    assert_eq!(looked.get(b"later"), Ok(None));
    let mut batch = Batch::new();
    batch.put("key", "value");
    assert!(matches!(looked.commit(&batch, Persist::Synced), Err(StoreError::Poisoned { .. })));
    assert!(matches!(Rocks::look(copy.path()), Err(StoreError::NotADataDirectory { .. })));
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("it can be written");
    assert!(matches!(refusal(&file), StoreError::NotADataDirectory { .. }));
    assert!(matches!(refusal(directory.path()), StoreError::NotADataDirectory { .. }));
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 1, "nothing was added");
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");

    let other = directory.path().join("other");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let database = rocksdb::DB::open(&options, &other).expect("a new database opens");
    database.put("their key", "their value").expect("it can be written");
    drop(database);
    let error = refusal(&other);
    assert!(matches!(&error, StoreError::NotADataDirectory { reason, .. } if reason.contains("something else")), "{error}");
    let database = rocksdb::DB::open(&options, &other).expect("it still opens");
    assert_eq!(database.get("their key").expect("a read").as_deref(), Some(&b"their value"[..]));
}

#[test]
fn a_directory_that_cannot_be_made_says_so() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("it can be written");
    let error = refusal(&file.join("below"));
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error}");
    assert!(error.to_string().contains("check that it may be read and written"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).expect("it is ours");
    // The superuser may write anywhere.
    if fs::write(directory.path().join("probe"), "").is_err() {
        assert!(matches!(refusal(directory.path()), StoreError::CannotOpen { .. }));
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
}

#[test]
fn a_creation_that_was_interrupted_is_begun_again() {
    let directory = directory();
    for name in ["LOCK", "LOG", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        fs::write(directory.path().join(name), "half").expect("it can be written");
    }
    put(&open(directory.path()).expect("it opens"), b"key", b"value");
    assert_eq!(open(directory.path()).expect("it opens again").get(b"key"), Ok(Some("value".into())));

    // Interrupted one step later: a database without our first key.
    let directory = self::directory();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    drop(rocksdb::DB::open(&options, directory.path()).expect("a new database opens"));
    put(&open(directory.path()).expect("it opens"), b"key", b"value");
}

#[test]
fn tables_without_their_database_are_not_thrown_away() {
    let directory = filled();
    fs::remove_file(directory.path().join("CURRENT")).expect("it is there");
    let error = refusal(directory.path());
    assert!(matches!(&error, StoreError::Corrupt { what } if what.contains("CURRENT is missing")), "{error}");
    assert_eq!(files(directory.path(), ".sst").len(), 1);
}

#[test]
fn damaged_files_are_errors() {
    // In the list of files: nothing can be opened.
    let directory = filled();
    for manifest in files(directory.path(), "").iter().filter(|path| path.to_string_lossy().contains("MANIFEST")) {
        let mut bytes = fs::read(manifest).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(manifest, bytes).expect("it can be written");
    }
    let error = refusal(directory.path());
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

    // A table is missing.
    let directory = filled();
    fs::remove_file(&files(directory.path(), ".sst")[0]).expect("it is there");
    let error = refusal(directory.path());
    assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::CannotOpen { .. }), "{error}");

    // In the middle of a table: what is read of it is an error.
    let directory = filled();
    let table = &files(directory.path(), ".sst")[0];
    let mut bytes = fs::read(table).expect("it is there");
    bytes[10] ^= 0x55;
    fs::write(table, bytes).expect("it can be written");
    let read = open(directory.path()).and_then(|store| store.get(b"key"));
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
}

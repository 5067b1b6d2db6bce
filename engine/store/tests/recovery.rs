//! Kills the process that writes, again and again, and looks at what the next one finds.
//!
//! Each round a child process (this test again, told by a variable) opens the directory, writes from several threads through the
//! writer in mode `sync`, and prints each batch once it was acknowledged. At a random moment it is killed. Then: every batch
//! whose acknowledgement was printed must be there, no batch may be there in part, and none may be missing before one that is
//! there. The next child goes on in the same directory, which it too checks first. `RIVET_KILLS` sets the number of rounds.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Durability, Persist, Rocks, Scan, Store, StoreError, Writer};

const KILLS: u64 = 15;
const THREADS: u64 = 8;
/// Batches of one thread that are on their way at a time.
const IN_FLIGHT: u64 = 16;
/// So many of the newest batches of a thread are kept; older ones are deleted by newer ones.
const KEPT: u64 = 200;
const CHILD: &str = "RIVET_STORE_CHILD";
const DIRECTORY: &str = "RIVET_STORE_DIRECTORY";

/// Small memtables, so that tables, compactions and recycled logs are under way whenever the kill comes.
fn tuning() -> Tuning {
    Tuning { memtable_bytes: 256 * 1024, ..Tuning::default() }
}

fn key(half: char, thread: u64, number: u64) -> Vec<u8> {
    [format!("{half}/").as_bytes(), &[thread as u8], &number.to_be_bytes()].concat()
}

/// What batch `number` of a thread writes under both its keys: its length and each byte say if it is whole.
fn contents(thread: u64, number: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(thread << 32 | number);
    (0..random.usize(0..1_500)).map(|_| random.u8(..)).collect()
}

fn counter(thread: u64) -> Vec<u8> {
    vec![b'c', thread as u8]
}

/// Two keys that belong together, a counter that must stand where it stood, and the end of an old batch.
fn batch(thread: u64, number: u64) -> Batch {
    let mut batch = Batch::new();
    let before = (number > 1).then(|| Bytes::copy_from_slice(&(number - 1).to_be_bytes()));
    batch.check(counter(thread), before);
    batch.put(key('a', thread, number), contents(thread, number));
    batch.put(counter(thread), number.to_be_bytes().to_vec());
    if let Some(old) = number.checked_sub(KEPT) {
        // Both ways of deleting.
        batch.delete(key('a', thread, old));
        batch.delete_range(key('b', thread, 0), key('b', thread, old + 1));
    }
    batch.put(key('b', thread, number), contents(thread, number));
    batch
}

/// How far each thread came; fails if anything is there in part, too much or too little.
fn verify(store: &dyn Store) -> Result<BTreeMap<u64, u64>, String> {
    let read = |half: char, thread: u64| -> Result<BTreeMap<u64, Bytes>, String> {
        let (start, end) = (key(half, thread, 0), key(half, thread, u64::MAX));
        let pairs = store.scan(Scan::range(&start, &end, usize::MAX)).map_err(|error| error.to_string())?;
        let number = |pair: &[u8]| u64::from_be_bytes(pair[3..].try_into().expect("a key of this test ends with 8 bytes"));
        Ok(pairs.into_iter().map(|pair| (number(&pair.key), pair.value)).collect())
    };
    let mut reached = BTreeMap::new();
    for thread in 0..THREADS {
        let last = store.get(&counter(thread)).map_err(|error| error.to_string())?;
        let last = last.map_or(0, |value| u64::from_be_bytes(value[..].try_into().expect("a counter has 8 bytes")));
        let expected: BTreeMap<u64, Bytes> =
            (last.saturating_sub(KEPT - 1).max(1)..=last).map(|number| (number, contents(thread, number))).collect();
        for half in ['a', 'b'] {
            if read(half, thread)? != expected {
                return Err(format!("thread {thread} has counted to {last}, and its half {half} says something else"));
            }
        }
        reached.insert(thread, last);
    }
    Ok(reached)
}

fn child(role: &str, directory: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("a test knows its own path"));
    command.args(["--exact", "child_process", "--nocapture", "--test-threads", "1"]);
    command.env(CHILD, role).env(DIRECTORY, directory).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts")
}

/// Does nothing, unless another test of this file started it.
#[test]
fn child_process() {
    let (Ok(role), Ok(directory)) = (env::var(CHILD), env::var(DIRECTORY)) else { return };
    let directory = PathBuf::from(directory);
    match role.as_str() {
        "load" => load(&directory),
        "hold" => {
            let _store = Rocks::open(&directory, &tuning()).expect("a new store opens");
            say("holds");
            thread::sleep(Duration::from_secs(600));
        }
        "disk-full" => disk_full(&directory),
        other => panic!("no test starts a child as {other}"),
    }
}

/// One line at once, so that a killed child leaves no half of one but the last.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have stopped listening.
    let _ = out.write_all(format!("\n= {line}\n").as_bytes()).and_then(|()| out.flush());
}

fn load(directory: &Path) {
    let store: Arc<dyn Store> = Arc::new(Rocks::open(directory, &tuning()).expect("it opens again"));
    let reached = verify(&*store).unwrap_or_else(|what| panic!("on opening: {what}"));
    let writer = Writer::start(store, Durability::Sync);
    say("begins");
    thread::scope(|scope| {
        for (thread, last) in reached {
            let writer = &writer;
            scope.spawn(move || {
                let (sender, receiver) = mpsc::channel();
                for number in last + 1.. {
                    let sender = sender.clone();
                    let done = move |verdict: Result<(), StoreError>| {
                        verdict.expect("the disk is well and nobody else writes these keys");
                        say(&format!("{thread} {number}"));
                        // Fails only while the test ends.
                        let _ = sender.send(());
                    };
                    writer.submit(batch(thread, number), Box::new(done));
                    if number > last + IN_FLIGHT {
                        receiver.recv().expect("every batch is told something");
                    }
                }
            });
        }
    });
}

#[derive(Default)]
struct Tally {
    kills: u64,
    acknowledged: u64,
    lost: u64,
    torn: u64,
}

#[test]
fn every_acknowledged_batch_survives_being_killed() {
    let rounds = env::var("RIVET_KILLS").map_or(KILLS, |rounds| rounds.parse().expect("RIVET_KILLS is a number"));
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut tally = Tally::default();
    for round in 0..rounds {
        let mut child = child("load", directory.path());
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        // Some are killed before they have begun, most in the middle.
        let wait = Duration::from_millis(if random.u8(0..4) == 0 { random.u64(0..60) } else { random.u64(60..900) });
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            child.kill().expect("it is ours");
            child.wait().expect("it is ours")
        });
        let mut line = String::new();
        while lines.read_line(&mut line).expect("it is text") > 0 {
            // The last line may be cut, and a number that is cut is another number.
            let told = line.strip_suffix('\n').and_then(|line| line.strip_prefix("= ")).and_then(|line| line.split_once(' '));
            if let Some((thread, number)) = told {
                let (thread, number): (u64, u64) = (thread.parse().expect("a number"), number.parse().expect("a number"));
                let last = acknowledged.entry(thread).or_insert(0);
                *last = number.max(*last);
                tally.acknowledged += 1;
            }
            line.clear();
        }
        let status = killer.join().expect("it does not panic");
        assert!(status.code().is_none(), "seed {seed}, round {round}: the child ended by itself: {status}");
        tally.kills += 1;
        look(directory.path(), &acknowledged, &mut tally);
        assert_eq!((tally.lost, tally.torn), (0, 0), "seed {seed}, round {round}");
    }
    println!("kills {} acknowledged {} lost {} torn {}", tally.kills, tally.acknowledged, tally.lost, tally.torn);
    assert!(tally.acknowledged > 100 * rounds, "there was load: {} batches", tally.acknowledged);
}

fn look(directory: &Path, acknowledged: &BTreeMap<u64, u64>, tally: &mut Tally) {
    // Looking at it must not repair it for the next child: a copy is opened.
    let copy = copy(directory);
    let store = Rocks::open(copy.path(), &tuning()).expect("it opens after a kill");
    match verify(&store) {
        Err(what) => {
            println!("{what}");
            tally.torn += 1;
        }
        Ok(reached) => {
            for (thread, last) in acknowledged {
                let found = reached.get(thread).copied().unwrap_or(0);
                tally.lost += last.saturating_sub(found);
            }
        }
    }
}

fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("the temporary directory can be written");
    for entry in fs::read_dir(directory).expect("it is there") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("it can be copied");
    }
    copy
}

/// Losing the end of the log is the disk's fault, and may lose what was acknowledged; but never half a batch, or one in between.
#[test]
fn a_log_that_is_cut_anywhere_opens_at_an_earlier_moment() {
    const CUTS: usize = 25;
    let mut random = fastrand::Rng::new();
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let mut child = child("load", directory.path());
    let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let seen = lines.map_while(Result::ok).filter(|line| line.starts_with("= ")).take(3_000).count();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    assert_eq!(seen, 3_000);
    let mut moments = Vec::new();
    for _ in 0..CUTS {
        let copy = copy(directory.path());
        let log = newest_log(copy.path());
        let length = fs::metadata(&log).expect("it is there").len();
        let kept = random.u64(0..=length);
        OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(kept)).expect("it can be cut");
        let store = Rocks::open(copy.path(), &tuning()).expect("it opens with a cut log");
        let reached = verify(&store).unwrap_or_else(|what| panic!("{kept} of {length} bytes: {what}"));
        moments.push((kept, reached.values().sum::<u64>()));
        // And it can be written to.
        let (thread, last) = reached.first_key_value().expect("there are threads");
        store.commit(&batch(*thread, last + 1), Persist::Synced).expect("a batch");
    }
    moments.sort();
    assert!(moments.windows(2).all(|two| two[0].1 <= two[1].1), "less of the log never gives more: {moments:?}");
}

fn newest_log(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("an entry").path());
    let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.filter(|log| fs::metadata(log).expect("it is there").len() > 0).max().expect("there is a log")
}

#[test]
fn a_directory_in_use_by_another_process_is_locked_until_that_is_gone() {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let mut child = child("hold", directory.path());
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    assert!(lines.any(|line| line.expect("it is text") == "= holds"));
    let error = Rocks::open(directory.path(), &tuning()).map(drop).expect_err("it is in use");
    assert_eq!(error, StoreError::Locked { path: directory.path().to_owned() });
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    Rocks::open(directory.path(), &tuning()).expect("nobody holds it any more");
}

/// A disk that takes no more bytes, made by a limit on the length of files: the real backend is poisoned and stays so.
#[cfg(unix)]
#[test]
fn a_disk_that_refuses_poisons_and_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let mut command = Command::new("sh");
    // Blocks of 512 bytes; without the trap the signal would end the process.
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(env::current_exe().expect("a test knows its own path"));
    command.args(["--exact", "child_process", "--nocapture", "--test-threads", "1"]);
    let output = command.env(CHILD, "disk-full").env(DIRECTORY, directory.path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let number = |what: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("= {what} ")));
        line.unwrap_or_else(|| panic!("it says {what}: {text}")).parse().expect("it is a number")
    };
    assert!(number("acknowledged") > 0 && number("refused") > 10, "{text}");
    let store = Rocks::open(directory.path(), &Tuning::default()).expect("it opens once the disk is well");
    let reached = verify(&store).expect("all is whole");
    // The batch that failed may be there; a batch after it may not.
    assert!((number("acknowledged")..=number("acknowledged") + 1).contains(&reached[&0]), "{reached:?} {text}");
    store.commit(&batch(0, reached[&0] + 1), Persist::Synced).expect("it takes writes again");
}

fn disk_full(directory: &Path) {
    // Large memtables: the log is what grows, and nothing else is written.
    let store = Rocks::open(directory, &Tuning::default()).expect("a new store opens");
    let (mut acknowledged, mut refused) = (0, 0);
    for number in 1..20_000 {
        match store.commit(&batch(0, number), Persist::Synced) {
            Ok(()) if refused == 0 => acknowledged = number,
            Ok(()) => panic!("batch {number} was taken after one that failed"),
            Err(StoreError::Io { .. }) if refused == 0 => refused += 1,
            Err(StoreError::Poisoned { .. } | StoreError::Conflict { .. }) if refused > 0 => refused += 1,
            Err(other) => panic!("batch {number}: {other}"),
        }
        if refused > 20 {
            break;
        }
    }
    assert!(store.poisoned().is_some());
    // Reads go on.
    assert_eq!(store.get(&key('a', 0, acknowledged)), Ok(Some(contents(0, acknowledged))));
    say(&format!("acknowledged {acknowledged}"));
    say(&format!("refused {refused}"));
}

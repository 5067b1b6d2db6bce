//! What actors have logged: read as it was written, within its bounds, after a kill too.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use protocol::id::{ActorId, Id};
use protocol::limits::{KIB, MIB};
use protocol::message::LogLevel;
use rivet_engine_store::actor_logs::{ActorLogs, Between, LogEntry, LogLimits, LogSource};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Memory, Rocks, Scan, Store};

const DIRECTORY: &str = "RIVET_TEST_LOGS_DIRECTORY";
const WIDE: LogLimits = LogLimits { actor_bytes: 1 << 30, total_bytes: 1 << 40, age_ms: u64::MAX };
const NARROW: LogLimits = LogLimits { actor_bytes: 64 * KIB as u64, total_bytes: MIB as u64, age_ms: 1_000 };

fn actor(number: u8) -> ActorId {
    Id::new([number; 16], 1)
}

fn entry(number: u64, text: &str) -> LogEntry {
    LogEntry { number, source: LogSource::Actor, level: LogLevel::Info, time_ms: number * 10, text: text.to_string() }
}

fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<LogEntry> {
    numbers.into_iter().map(|number| entry(number, &format!("line {number}"))).collect()
}

fn numbers(entries: Vec<LogEntry>) -> Vec<u64> {
    entries.into_iter().map(|entry| entry.number).collect()
}

fn rocks(directory: &Path) -> Arc<dyn Store> {
    Arc::new(Rocks::open(directory, &Tuning::logs()).expect("it opens"))
}

/// What the chunks and the accounts take, added up: both are what the sums say.
fn added_up(store: &dyn Store) -> u64 {
    let all = Scan { start: b"l", end: Some(b"m"), reverse: false, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
    let chunks = store.scan(all).expect("chunks can be read");
    let places = store.scan(Scan { start: b"o", end: Some(b"p"), keys_only: true, ..all }).expect("places can be read");
    assert_eq!(chunks.len(), places.len(), "each chunk has one place in the order");
    chunks.iter().map(|chunk| chunk.value.len() as u64 + 128).sum()
}

/// Lines 1, 3, 5 … 39 of one actor in groups of 7, between those of another.
fn odd(store: Arc<dyn Store>) -> ActorLogs {
    let logs = ActorLogs::open(store, WIDE).expect("it opens");
    let odd: Vec<u64> = (1..40).step_by(2).collect();
    for some in odd.chunks(7) {
        let others = entries(some.iter().map(|number| number + 1));
        logs.write(0, &[(actor(1), entries(some.iter().copied())), (actor(2), others)]).expect("a group");
    }
    logs
}

#[test]
fn the_lines_between_two_numbers_are_read_in_order() {
    let logs = odd(Arc::new(Memory::new()));
    let check = |after: u64, before: u64, lines: usize, expected: &[u64]| {
        let found = logs.read(actor(1), Between { after, before }, lines, usize::MAX).expect("lines");
        assert_eq!(numbers(found), expected, "at most {lines} after {after} and before {before}");
    };
    check(0, u64::MAX, 3, &[1, 3, 5]);
    check(5, u64::MAX, 3, &[7, 9, 11]);
    check(12, 16, 9, &[13, 15]);
    check(13, 15, 9, &[]);
    check(35, u64::MAX, 9, &[37, 39]);
    check(39, u64::MAX, 9, &[]);
    check(0, 0, 9, &[]);
    check(0, u64::MAX, 0, &[]);
    assert_eq!(logs.read(actor(3), Between::ALL, 9, usize::MAX), Ok(Vec::new()), "of an actor that has logged nothing");
    let few = logs.read(actor(1), Between::ALL, 99, 1).expect("lines");
    assert_eq!(few.first().map(|entry| entry.number), Some(1), "however few bytes are wanted, there is one");
}

#[test]
fn the_newest_lines_are_found_from_any_place() {
    let logs = odd(Arc::new(Memory::new()));
    let check = |after: u64, before: u64, since_ms: u64, lines: usize, expected: &[u64]| {
        let between = Between { after, before };
        let (from, found) = logs.newest(actor(1), between, since_ms, lines).expect("a place");
        let read = logs.read(actor(1), Between { after: from, before }, usize::MAX, usize::MAX).expect("lines");
        assert_eq!(numbers(read), expected, "the newest {lines} after {after}, before {before}, since {since_ms}");
        assert_eq!(found, expected.len());
    };
    check(0, u64::MAX, 0, 3, &[35, 37, 39]);
    check(0, u64::MAX, 370, 9, &[37, 39]);
    check(0, u64::MAX, 391, 9, &[]);
    check(0, 14, 0, 2, &[11, 13]);
    check(0, 15, 0, 2, &[11, 13]);
    check(9, 14, 0, 9, &[11, 13]);
    check(0, 4, 0, 9, &[1, 3]);
    check(0, 1, 0, 9, &[]);
    check(0, 0, 0, 9, &[]);
    check(0, 1000, 0, 1, &[39]);
    check(36, u64::MAX, 0, 9, &[37, 39]);
    check(0, u64::MAX, 0, 0, &[]);
}

/// What is left when actors have logged so much: never more than the bounds, and always the newest.
#[test]
fn bounds_hold_for_one_actor_in_total_and_in_age() {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let store = rocks(directory.path());
    let logs = ActorLogs::open(store.clone(), NARROW).expect("it opens");
    let text = "x".repeat(900);
    let mut number = 0;
    let mut log = |of: u8, lines: u64, now_ms: u64| {
        let first = number + 1;
        number += lines;
        let entries = (first..=number).map(|number| entry(number, &text)).collect();
        logs.write(now_ms, &[(actor(of), entries)]).expect("a group");
        assert_eq!(added_up(&*store), logs.bytes(), "the sums are exact after line {number}");
    };
    let kept = |of: u8| numbers(logs.read(actor(of), Between::ALL, usize::MAX, usize::MAX).expect("lines"));

    log(9, 3, 0);
    for round in 0..100 {
        log(1, 10, round);
    }
    assert_eq!(kept(9), [1, 2, 3], "one that floods takes nothing from another");
    let flood = kept(1);
    assert!((50..=70).contains(&flood.len()), "{} lines of 900 bytes in 64 KiB", flood.len());
    assert!(
        flood.windows(2).all(|two| two[0] + 1 == two[1]) && flood.last() == Some(&1_003),
        "the newest, without a gap: {flood:?}"
    );

    for of in 10..60 {
        log(of, 30, 500);
    }
    assert!(logs.bytes() <= NARROW.total_bytes, "{} bytes", logs.bytes());
    assert!(logs.bytes() > NARROW.total_bytes / 2, "no more is dropped than must be: {} bytes", logs.bytes());
    assert_eq!((kept(9).len(), kept(1).len(), kept(10).len()), (0, 0, 0), "the oldest make room");
    assert_eq!(kept(59).len(), 30);

    log(60, 1, 1_400);
    logs.age(1_600).expect("ageing");
    assert_eq!((kept(59).len(), kept(60).len()), (0, 1), "those from before 600 go");
    logs.age(9_000).expect("ageing");
    assert_eq!((logs.bytes(), added_up(&*store)), (0, 0));
}

/// What is dropped is given back by the disk, even if nothing of it can be compressed.
#[test]
fn a_flood_does_not_fill_the_disk() {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let limits = LogLimits { total_bytes: 16 * MIB as u64, ..NARROW };
    let logs = ActorLogs::open(rocks(directory.path()), limits).expect("it opens");
    let mut random = fastrand::Rng::with_seed(1);
    let mut most = 0;
    for group in 0..60u64 {
        let line = |number| entry(number, &(0..1_000).map(|_| random.alphanumeric()).collect::<String>());
        let lines: Vec<LogEntry> = (group * 1_000 + 1..group * 1_000 + 1_001).map(line).collect();
        let group: Vec<(ActorId, Vec<LogEntry>)> =
            lines.chunks(50).enumerate().map(|(of, lines)| (actor((group * 20 % 240) as u8 + of as u8), lines.to_vec())).collect();
        logs.write(0, &group).expect("a group");
        let files = std::fs::read_dir(directory.path()).expect("it can be listed").filter_map(Result::ok);
        most = most.max(files.filter_map(|file| Some(file.metadata().ok()?.len())).sum());
    }
    assert!(most < 6 * limits.total_bytes, "{most} bytes on the disk for {} that are kept", logs.bytes());
    println!("{} bytes kept of 60 MB, at most {most} on the disk", logs.bytes());
}

#[test]
fn a_late_group_with_early_numbers_is_dropped_in_its_turn() {
    let logs = ActorLogs::open(Arc::new(Memory::new()), NARROW).expect("it opens");
    logs.write(0, &[(actor(1), entries(10..20))]).expect("a group");
    logs.age(5_000).expect("ageing");
    logs.write(6_000, &[(actor(2), entries(5..8))]).expect("a group");
    assert_eq!(numbers(logs.read(actor(2), Between::ALL, 9, usize::MAX).expect("lines")), [5, 6, 7]);
    logs.age(9_000).expect("ageing");
    assert_eq!((logs.bytes(), logs.last()), (0, 19));
}

#[test]
fn what_actors_have_logged_can_be_removed() {
    let store = Arc::new(Memory::new());
    let logs = odd(store.clone());
    logs.remove(&[actor(1), actor(3)]).expect("removed");
    assert_eq!(logs.read(actor(1), Between::ALL, 9, usize::MAX), Ok(Vec::new()));
    assert_eq!(numbers(logs.read(actor(2), Between::ALL, 2, usize::MAX).expect("lines")), [2, 4]);
    assert_eq!(added_up(&*store), logs.bytes());
    logs.write(0, &[(actor(1), entries(50..52))]).expect("a group");
    assert_eq!(numbers(logs.read(actor(1), Between::ALL, 9, usize::MAX).expect("lines")), [50, 51], "it may log again");
}

/// Does nothing, unless the next test started it: then it logs without end.
#[test]
fn child_process() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let logs = ActorLogs::open(rocks(Path::new(&directory)), NARROW).expect("it opens");
    for group in 0.. {
        let numbers = group * 20 + 1..group * 20 + 21;
        logs.write(group, &[(actor((group % 7) as u8), entries(numbers))]).expect("a group");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nwrote {}", group * 20 + 20).and_then(|()| out.flush()).expect("somebody reads");
    }
}

#[test]
fn a_killed_process_leaves_what_it_has_written() {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let mut child = Command::new(env::current_exe().expect("a test knows its own path"))
        .args(["--exact", "child_process", "--nocapture", "--test-threads", "1"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let wrote = said.map_while(Result::ok).filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
    let last = wrote.take_while(|last| *last < 30_000).last().expect("it writes");
    child.kill().expect("it is ours");
    child.wait().expect("it ends");

    let store = rocks(directory.path());
    let logs = ActorLogs::open(store.clone(), NARROW).expect("it opens after a kill");
    assert!(logs.last() >= last, "{} is on the disk, and {last} was written", logs.last());
    assert_eq!(added_up(&*store), logs.bytes(), "the sums are exact");
    let newest = logs.newest(actor(((logs.last() / 20 - 1) % 7) as u8), Between::ALL, 0, 1).expect("lines");
    assert_eq!(newest, (logs.last() - 1, 1), "the last line is there");
}

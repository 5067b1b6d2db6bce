//! The book as its readers see it: over the disk, over a restart, in a flood, and with a store that is damaged.

use std::fs;
use std::path::Path;

use protocol::id::Id;
use protocol::limits::LOG_LINE_BYTES_MAX;

use super::*;
use crate::logs::waiting::{GROUP_BYTES_MAX, WAITING_ACTOR_BYTES_MAX};

fn actor(number: u16) -> ActorId {
    Id::new([1; 16], number)
}

fn lines(texts: impl IntoIterator<Item = String>) -> Vec<LogLine> {
    texts.into_iter().map(|text| LogLine { time_ms: 1, level: LogLevel::Info, text }).collect()
}

fn open(folder: &Path) -> LogBook {
    LogBook::start(Place::Folder(folder.join("logs")), LIMITS, Clock::default()).expect("a thread")
}

fn texts(book: &LogBook, actor: ActorId) -> Vec<String> {
    let mut between = Between::ALL;
    let mut texts = Vec::new();
    loop {
        let entries = book.read(actor, between).expect("lines");
        let Some(last) = entries.last() else { return texts };
        between.after = last.number;
        texts.extend(entries.into_iter().map(|entry| entry.text));
    }
}

fn on_disk(book: &LogBook) {
    for _ in 0..1_000 {
        if lock(&book.shared.waiting).is_settled() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the lines are not written within 10 s");
}

#[test]
fn lines_are_read_in_order_wherever_they_are() {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let mut expected: Vec<String> = Vec::new();
    let text = |round: usize, number: usize| format!("round {round}, line {number}");
    for round in 0..3 {
        let book = open(folder.path());
        assert_eq!(texts(&book, actor(1)), expected, "after {round} restarts");
        for number in 0..1_500 {
            book.write(actor(1), lines([text(round, number)]));
            book.write(actor(2), lines(["another's".to_string()]));
            expected.push(text(round, number));
        }
        assert_eq!(texts(&book, actor(1)), expected, "some on the disk, some on their way");
        on_disk(&book);
        assert_eq!(texts(&book, actor(1)), expected, "all on the disk");
        book.note(actor(1), LogLevel::Warn, "ended".to_string());
        expected.push("ended".to_string());
        // Closed by being dropped: what waits is written.
    }
    let book = open(folder.path());
    assert_eq!(texts(&book, actor(1)), expected);
    let newest = |lines: usize| {
        let after = book.newest(actor(1), Between::ALL, 0, lines).expect("a place");
        book.read(actor(1), Between { after, ..Between::ALL }).expect("lines").into_iter().map(|entry| entry.text)
    };
    assert_eq!(newest(3).collect::<Vec<_>>(), expected[expected.len() - 3..]);
    assert_eq!(newest(0).count(), 0, "only what comes");
    book.write(actor(1), lines(["new".to_string()]));
    assert_eq!(newest(2).collect::<Vec<_>>(), ["ended", "new"], "one on the disk, one on its way");
    book.remove(&[actor(1)]).expect("removed");
    assert_eq!((texts(&book, actor(1)).len(), texts(&book, actor(2)).len()), (0, 4_500));
}

#[test]
fn what_waits_is_bounded_and_the_oldest_goes() {
    let check = |actors: u16, lines_each: usize, most: usize| {
        let mut waiting = Waiting::new(u64::MAX, WAITING_BYTES_MAX);
        let text = "x".repeat(LOG_LINE_BYTES_MAX);
        let dropped: u64 = (0..lines_each * usize::from(actors))
            .map(|number| waiting.push(actor(number as u16 % actors), LogSource::Actor, lines([text.clone()])))
            .sum();
        let mut kept = 0;
        let mut notices = 0;
        while !waiting.is_empty() {
            let group = waiting.take();
            let bytes: usize = group.iter().flat_map(|(_, entries)| entries).map(|entry| entry.text.len()).sum();
            assert!(bytes <= GROUP_BYTES_MAX + WAITING_ACTOR_BYTES_MAX, "{bytes} in one group");
            for (_, entries) in group.iter() {
                assert!(entries.windows(2).all(|two| two[0].number < two[1].number), "in order");
                notices += entries.iter().filter(|entry| entry.source == LogSource::Engine).count();
                kept += entries.iter().filter(|entry| entry.source == LogSource::Actor).count();
            }
        }
        assert_eq!(kept as u64 + dropped, (lines_each * usize::from(actors)) as u64, "each line is kept or counted");
        assert!(kept * LOG_LINE_BYTES_MAX <= most, "{kept} lines are kept");
        assert_eq!(dropped > 0, notices > 0, "who lost lines is told");
    };
    check(1, 10, WAITING_ACTOR_BYTES_MAX);
    check(1, 1_000, WAITING_ACTOR_BYTES_MAX);
    check(3, 200, 3 * WAITING_ACTOR_BYTES_MAX);
    check(60, 60, WAITING_BYTES_MAX);
    check(5_000, 1, WAITING_BYTES_MAX);
}

#[test]
fn who_floods_takes_nothing_from_who_is_quiet() {
    let mut waiting = Waiting::new(u64::MAX, WAITING_BYTES_MAX);
    waiting.push(actor(0), LogSource::Actor, lines(["quiet".to_string()]));
    for number in 0..6_000 {
        waiting.push(actor(1 + number % 60), LogSource::Actor, lines(["x".repeat(LOG_LINE_BYTES_MAX)]));
    }
    assert_eq!(waiting.read(actor(0), Between::ALL, 9, 999).len(), 1, "sixty flood, and its line is there");
}

#[test]
fn a_flood_drops_lines_and_keeps_the_book() {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let book = open(folder.path());
    book.write(actor(2), lines(["quiet".to_string()]));
    let text = "x".repeat(1_000);
    for number in 0..20_000 {
        book.write(actor(1), lines([format!("{number} {text}")]));
    }
    on_disk(&book);
    let flood = texts(&book, actor(1));
    assert!(flood.last().is_some_and(|line| line.starts_with("19999 ")), "the newest is kept");
    assert!(flood.iter().any(|line| line.ends_with("lines were dropped here: they came faster than the disk takes them")));
    assert!(flood.iter().map(String::len).sum::<usize>() as u64 <= LIMITS.actor_bytes);
    assert_eq!(texts(&book, actor(2)), ["quiet"]);
    assert!(book.figures().1 > 0, "what was dropped is counted");
}

/// Each row ruins the store in another way.
#[test]
fn a_damaged_store_is_set_aside() {
    let check = |what: &str, damage: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().expect("the temporary directory can be written");
        let book = open(folder.path());
        book.write(actor(1), lines(["before".to_string()]));
        let last = book.read(actor(1), Between::ALL).expect("lines")[0].number;
        drop(book);
        damage(&folder.path().join("logs"));
        let book = open(folder.path());
        book.write(actor(1), lines(["after".to_string()]));
        on_disk(&book);
        assert_eq!(texts(&book, actor(1)), ["after"], "{what}");
        let after = book.read(actor(1), Between { after: last, ..Between::ALL }).expect("lines").len();
        assert_eq!(after, 1, "{what}: whoever followed goes on");
        assert!(keeper::aside(&folder.path().join("logs")).exists(), "{what}: what was there is still there");
        drop(book);
        assert_eq!(texts(&open(folder.path()), actor(1)), ["after"], "{what}: the new one is kept");
    };
    let every = |folder: &Path, name: &str, write: fn(u64) -> Vec<u8>| {
        let entries = fs::read_dir(folder).expect("it can be listed").map(|entry| entry.expect("an entry").path());
        let found: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(name)).collect();
        assert!(!found.is_empty(), "there is no {name} to ruin");
        for path in found {
            let length = fs::metadata(&path).expect("it is there").len();
            fs::write(path, write(length)).expect("it can be written");
        }
    };
    check("a file in its place", &|folder| {
        fs::remove_dir_all(folder).expect("it is ours");
        fs::write(folder, "no store").expect("it can be written");
    });
    check("another's files", &|folder| {
        fs::remove_dir_all(folder).expect("it is ours");
        fs::create_dir(folder).expect("it can be made");
        fs::write(folder.join("notes.txt"), "no store").expect("it can be written");
    });
    check("without its CURRENT", &|folder| fs::remove_file(folder.join("CURRENT")).expect("it is there"));
    check("with an empty MANIFEST", &|folder| every(folder, "MANIFEST", |_| Vec::new()));
    check("with tables of noise", &|folder| every(folder, ".sst", |length| vec![7; length as usize]));
}

#[test]
fn whoever_follows_is_woken_by_his_actor_alone() {
    let book = LogBook::start(Place::Memory, LIMITS, Clock::default()).expect("a thread");
    let mut logged = book.follow(actor(1));
    logged.mark_unchanged();
    book.write(actor(2), lines(["x".to_string()]));
    assert_eq!(logged.has_changed().ok(), Some(false));
    book.write(actor(1), lines(["x".to_string()]));
    assert_eq!(logged.has_changed().ok(), Some(true));
    logged.mark_unchanged();
    book.end();
    assert_eq!((logged.has_changed().ok(), book.has_ended()), (Some(true), true));
}

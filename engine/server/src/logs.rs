//! The log book: what actors have logged of late, in memory.
//!
//! For looking at what an actor does, not for keeping: each actor has room for so many bytes, all together for so many more,
//! and the oldest lines make place. Nothing of it survives the engine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::id::ActorId;
use protocol::limits::{KIB, LOG_LINE_BYTES_MAX, MIB};
use protocol::message::LogLine;
use tokio::sync::watch;

use crate::lock::lock;

/// What one actor's lines may take.
pub const LOG_ACTOR_BYTES_MAX: usize = 256 * KIB;
/// What the lines of all actors may take together.
pub const LOG_TOTAL_BYTES_MAX: usize = 64 * MIB;
/// What a line takes beside its text: its place in the book's lists.
const LINE_OVERHEAD_BYTES: usize = 128;
const _: () = assert!(LOG_LINE_BYTES_MAX + LINE_OVERHEAD_BYTES <= LOG_ACTOR_BYTES_MAX, "every line must fit");
const _: () = assert!(LOG_ACTOR_BYTES_MAX <= LOG_TOTAL_BYTES_MAX);

pub struct LogBook {
    pages: Mutex<Pages>,
    /// The number of the last line written, for those who follow.
    written: watch::Sender<u64>,
    /// Nobody will write any more.
    ended: AtomicBool,
}

#[derive(Default)]
struct Pages {
    by_actor: HashMap<ActorId, Page>,
    /// Whose each line is, oldest first.
    order: BTreeMap<u64, ActorId>,
    bytes: usize,
    last: u64,
}

#[derive(Default)]
struct Page {
    lines: VecDeque<(u64, LogLine)>,
    bytes: usize,
}

impl Default for LogBook {
    fn default() -> LogBook {
        LogBook { pages: Mutex::default(), written: watch::Sender::new(0), ended: AtomicBool::new(false) }
    }
}

impl LogBook {
    pub fn write(&self, actor: ActorId, lines: Vec<LogLine>) {
        let mut pages = lock(&self.pages);
        for line in lines {
            pages.write(actor, line);
        }
        let last = pages.last;
        drop(pages);
        self.written.send_replace(last);
    }

    /// The newest lines of an actor, at most `limit`, written after line number `after`; each with its number.
    pub fn read(&self, actor: ActorId, after: u64, limit: usize) -> Vec<(u64, LogLine)> {
        let pages = lock(&self.pages);
        let Some(page) = pages.by_actor.get(&actor) else { return Vec::new() };
        let first = page.lines.partition_point(|(number, _)| *number <= after);
        let first = first.max(page.lines.len().saturating_sub(limit));
        page.lines.range(first..).cloned().collect()
    }

    /// Wakes its holder whenever anything is written by anyone.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Whoever follows may go: the engine is about to stop.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.written.send_modify(|_| {});
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Pages {
    fn write(&mut self, actor: ActorId, line: LogLine) {
        self.last += 1;
        let bytes = size(&line);
        let page = self.by_actor.entry(actor).or_default();
        page.lines.push_back((self.last, line));
        page.bytes += bytes;
        self.bytes += bytes;
        self.order.insert(self.last, actor);
        while self.by_actor.get(&actor).is_some_and(|page| page.bytes > LOG_ACTOR_BYTES_MAX) {
            self.drop_oldest_of(actor);
        }
        while self.bytes > LOG_TOTAL_BYTES_MAX {
            let Some((_, oldest)) = self.order.first_key_value() else { return };
            self.drop_oldest_of(*oldest);
        }
    }

    fn drop_oldest_of(&mut self, actor: ActorId) {
        let Some(page) = self.by_actor.get_mut(&actor) else { return };
        if let Some((number, line)) = page.lines.pop_front() {
            page.bytes -= size(&line);
            self.bytes -= size(&line);
            self.order.remove(&number);
        }
        if page.lines.is_empty() {
            self.by_actor.remove(&actor);
        }
    }
}

fn size(line: &LogLine) -> usize {
    line.text.len() + LINE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;
    use protocol::message::LogLevel;

    use super::*;

    fn line(text: String) -> LogLine {
        LogLine { time_ms: 1, level: LogLevel::Info, text }
    }

    fn actor(number: u16) -> ActorId {
        Id::new([1; 16], number)
    }

    fn texts(book: &LogBook, actor: ActorId, after: u64, limit: usize) -> Vec<String> {
        book.read(actor, after, limit).into_iter().map(|(_, line)| line.text).collect()
    }

    #[test]
    fn the_newest_lines_are_read() {
        let book = LogBook::default();
        book.write(actor(1), vec![line("a".to_string()), line("b".to_string())]);
        book.write(actor(2), vec![line("x".to_string())]);
        book.write(actor(1), vec![line("c".to_string())]);
        assert_eq!(texts(&book, actor(1), 0, 100), ["a", "b", "c"]);
        assert_eq!(texts(&book, actor(1), 0, 2), ["b", "c"]);
        assert_eq!(texts(&book, actor(1), 2, 100), ["c"]);
        assert_eq!(texts(&book, actor(2), 0, 0), [""; 0]);
        assert_eq!(texts(&book, actor(3), 0, 100), [""; 0]);
    }

    #[test]
    fn one_actor_cannot_fill_the_book() {
        let book = LogBook::default();
        book.write(actor(2), vec![line("kept".to_string())]);
        for number in 0..1_000 {
            book.write(actor(1), vec![line(format!("{number:01000}"))]);
        }
        let lines = texts(&book, actor(1), 0, usize::MAX);
        assert_eq!(lines.len(), LOG_ACTOR_BYTES_MAX / (1_000 + LINE_OVERHEAD_BYTES));
        assert!(lines.last().is_some_and(|line| line.ends_with("999")));
        assert_eq!(texts(&book, actor(2), 0, 100), ["kept"]);
    }

    #[test]
    fn all_together_stay_below_the_total() {
        let book = LogBook::default();
        for number in 0..500 {
            let text = "x".repeat(LOG_LINE_BYTES_MAX);
            book.write(actor(number), (0..20).map(|_| line(text.clone())).collect());
        }
        let pages = lock(&book.pages);
        assert!(pages.bytes <= LOG_TOTAL_BYTES_MAX);
        assert_eq!(pages.bytes, pages.by_actor.values().map(|page| page.bytes).sum::<usize>());
        assert_eq!(pages.order.len(), pages.by_actor.values().map(|page| page.lines.len()).sum::<usize>());
        assert!(!pages.by_actor.contains_key(&actor(0)), "the oldest make place");
        assert!(pages.by_actor.contains_key(&actor(499)));
    }
}

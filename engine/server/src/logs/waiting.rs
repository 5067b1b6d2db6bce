//! Lines in memory, on their way to the disk: numbered, bounded for each actor and in total.
//!
//! No waiting, no disk, no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine_store::actor_logs::{Between, LINE_OVERHEAD_BYTES, LogEntry, LogSource};
use protocol::id::ActorId;
use protocol::limits::{KIB, LOG_LINE_BYTES_MAX, MIB};
use protocol::message::{LogLevel, LogLine};

/// Lines of one actor that may wait; half of what it may keep, if that is less.
pub const WAITING_ACTOR_BYTES_MAX: usize = 512 * KIB;
/// Lines of all actors that may wait, unless there is less memory for them.
pub const WAITING_BYTES_MAX: usize = 16 * MIB;
/// What an actor's page takes beyond its lines; also when all of them had to go, and only their number waits to be told.
const PAGE_OVERHEAD_BYTES: usize = 256;
/// The least memory for them.
pub const WAITING_BYTES_MIN: usize = MIB;
/// What is taken at one time: at most so much, and what one actor has.
pub const GROUP_BYTES_MAX: usize = 2 * MIB;
const _: () = assert!(LOG_LINE_BYTES_MAX < WAITING_ACTOR_BYTES_MAX && WAITING_ACTOR_BYTES_MAX <= WAITING_BYTES_MIN);

pub type Group = Vec<(ActorId, Vec<LogEntry>)>;

pub struct Waiting {
    pages: HashMap<ActorId, Page>,
    /// Whose turn it is to be taken; each actor with a page once.
    turns: VecDeque<ActorId>,
    /// Being written.
    taken: Arc<Group>,
    bytes: usize,
    actor_bytes_max: usize,
    bytes_max: usize,
    /// The number of the last line.
    pub last: u64,
    pub closed: bool,
}

#[derive(Default)]
struct Page {
    lines: VecDeque<LogEntry>,
    bytes: usize,
    dropped: u64,
    /// The number and the time of the last line that was dropped.
    gap: (u64, u64),
}

impl Waiting {
    pub fn new(kept_actor_bytes: u64, bytes: usize) -> Waiting {
        Waiting {
            pages: HashMap::new(),
            turns: VecDeque::new(),
            taken: Arc::default(),
            bytes: 0,
            actor_bytes_max: WAITING_ACTOR_BYTES_MAX.min(usize::try_from(kept_actor_bytes / 2).unwrap_or(usize::MAX)),
            bytes_max: bytes.clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX),
            last: 0,
            closed: false,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Everything is on the disk.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.turns.is_empty() && self.taken.is_empty()
    }

    pub fn close(&mut self) {
        self.closed = true;
    }

    /// How many lines had to go for these.
    pub fn push(&mut self, actor: ActorId, source: LogSource, lines: Vec<LogLine>) -> u64 {
        let mut dropped = 0;
        for LogLine { time_ms, level, text } in lines {
            self.last += 1;
            let page = self.pages.entry(actor).or_insert_with(|| {
                self.turns.push_back(actor);
                self.bytes += PAGE_OVERHEAD_BYTES;
                Page::default()
            });
            let entry = LogEntry { number: self.last, source, level, time_ms, text };
            page.bytes += size(&entry);
            self.bytes += size(&entry);
            page.lines.push_back(entry);
            while page.bytes > self.actor_bytes_max && page.lines.len() > 1 {
                self.bytes -= page.drop_oldest();
                dropped += 1;
            }
            while self.bytes > self.bytes_max {
                // Who has more than his part pays for what he adds; else who has waited longest.
                let part = self.bytes_max / self.pages.len().max(1);
                let is_greedy = self.pages.get(&actor).is_some_and(|page| page.bytes > part);
                let from = if is_greedy { Some(&actor) } else { self.turns.front() };
                let Some(page) = from.and_then(|from| self.pages.get_mut(from)) else { break };
                match page.drop_oldest() {
                    // Nothing but a number is left of the one whose turn it is: that goes as well.
                    0 => self.forget_first(),
                    freed => {
                        dropped += 1;
                        self.bytes -= freed;
                    }
                }
            }
        }
        dropped
    }

    /// Those who have waited longest. They can be read here until `written` is called.
    pub fn take(&mut self) -> Arc<Group> {
        let mut group = Group::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES_MAX {
            let Some(actor) = self.turns.pop_front() else { break };
            let Some(mut page) = self.pages.remove(&actor) else { continue };
            bytes += page.bytes + PAGE_OVERHEAD_BYTES;
            if page.dropped > 0 {
                let text = format!("{} lines were dropped here: they came faster than the disk takes them", page.dropped);
                let (number, time_ms) = page.gap;
                page.lines.push_front(LogEntry { number, source: LogSource::Engine, level: LogLevel::Warn, time_ms, text });
            }
            group.push((actor, page.lines.into()));
        }
        self.bytes -= bytes;
        self.taken = Arc::new(group);
        self.taken.clone()
    }

    fn forget_first(&mut self) {
        if self.turns.pop_front().and_then(|first| self.pages.remove(&first)).is_some() {
            self.bytes -= PAGE_OVERHEAD_BYTES;
        }
    }

    pub fn written(&mut self) {
        self.taken = Arc::default();
    }

    pub fn remove(&mut self, actors: &[ActorId]) {
        for actor in actors {
            if let Some(page) = self.pages.remove(actor) {
                self.bytes -= page.bytes + PAGE_OVERHEAD_BYTES;
                self.turns.retain(|other| other != actor);
            }
        }
    }

    pub fn read(&self, actor: ActorId, between: Between, lines_max: usize, bytes_max: usize) -> Vec<LogEntry> {
        let mut bytes = 0;
        let fits = |entry: &&LogEntry| {
            let fits = bytes < bytes_max;
            bytes += entry.text.len();
            fits
        };
        let lines = self.lines(actor).filter(|entry| between.has(entry.number));
        lines.take(lines_max).take_while(fits).cloned().collect()
    }

    /// The number of the first line here, the number after which the newest ones come, how many they are, and if there are
    /// no others that are wanted.
    pub fn newest(&self, actor: ActorId, between: Between, since_ms: u64, lines: usize) -> (u64, u64, usize, bool) {
        let first = self.lines(actor).next().map_or(between.before, |entry| entry.number.min(between.before));
        // Nothing has a higher number yet.
        let mut after = between.before.saturating_sub(1).min(self.last).max(between.after);
        let mut found = 0;
        for entry in self.lines(actor).rev().filter(|entry| entry.number < between.before) {
            if found == lines || entry.number <= between.after || entry.time_ms < since_ms {
                return (first, after, found, true);
            }
            after = entry.number - 1;
            found += 1;
        }
        (first, after, found, found == lines)
    }

    fn lines(&self, actor: ActorId) -> impl DoubleEndedIterator<Item = &LogEntry> {
        let taken = self.taken.iter().filter(move |(of, _)| *of == actor).flat_map(|(_, entries)| entries);
        taken.chain(self.pages.get(&actor).into_iter().flat_map(|page| &page.lines))
    }
}

impl Page {
    /// What that gives back.
    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.lines.pop_front() else { return 0 };
        self.dropped += 1;
        self.gap = (oldest.number, oldest.time_ms);
        self.bytes -= size(&oldest);
        size(&oldest)
    }
}

fn size(entry: &LogEntry) -> usize {
    entry.text.len() + LINE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    /// While nothing can be written, whoever comes by leaves no more than there is room for.
    #[test]
    fn actors_without_lines_are_not_kept_for_ever() {
        const LINE_BYTES: usize = 100;
        let mut waiting = Waiting::new(u64::MAX, WAITING_BYTES_MAX);
        let (mut dropped, actors) = (0, 4 * WAITING_BYTES_MAX / (LINE_BYTES + PAGE_OVERHEAD_BYTES));
        for number in 0..actors {
            let line = LogLine { time_ms: 1, level: LogLevel::Info, text: "l".repeat(LINE_BYTES) };
            dropped += waiting.push(Id::new((number as u128).to_le_bytes(), 0), LogSource::Engine, vec![line]);
        }
        let kept: usize = waiting.pages.values().map(|page| page.lines.len()).sum();
        assert_eq!(kept as u64 + dropped, actors as u64, "each line is kept or counted");
        assert_eq!((waiting.pages.len(), waiting.pages.is_empty()), (waiting.turns.len(), false));
        assert!(waiting.pages.len() * PAGE_OVERHEAD_BYTES < WAITING_BYTES_MAX, "{} pages", waiting.pages.len());
        while !waiting.is_empty() {
            waiting.take();
        }
        assert_eq!(waiting.bytes, 0);
    }
}

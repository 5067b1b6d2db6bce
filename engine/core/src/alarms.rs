//! Which alarm is due next, without holding all of them.
//!
//! All alarms are on disk in order of (moment, actor). In memory is a window on the first of them: every alarm before the
//! `horizon` is in it, none after. When it runs empty the next ones are read. Entries are hints: whoever takes one looks at the
//! actor's record for the truth. So an entry too many does no harm; one too few would, and that is what this file prevents:
//!
//! - A commit that sets an alarm may not be on disk yet while the next ones are read. So a read begins only after every commit
//!   asked for so far is durable (the barrier), and what is set from then on is kept aside until the read is in.

use std::collections::BTreeSet;

use protocol::id::ActorId;

use crate::input::CommitId;

/// How many alarms are held in memory: 48 bytes each.
pub const ALARMS_IN_MEMORY_MAX: usize = 16_384;

/// A moment and an actor: the order on disk and in memory.
pub type Entry = (u64, ActorId);

pub struct Alarms {
    window: BTreeSet<Entry>,
    /// The window holds everything before this; `End` is after everything.
    horizon: Horizon,
    load: Load,
    /// Alarms at or after the horizon that were set while a read is under way.
    meanwhile: BTreeSet<Entry>,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Horizon {
    Start,
    At(Entry),
    End,
}

/// Idle --want--> Barrier --durable--> Loading --loaded--> Idle
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Load {
    Idle,
    /// Waiting until this commit is durable.
    Barrier(CommitId),
    Loading,
}

impl Alarms {
    pub fn new(limit: usize) -> Alarms {
        assert!(limit >= 2, "a read must be able to move the horizon");
        Alarms { window: BTreeSet::new(), horizon: Horizon::Start, load: Load::Idle, meanwhile: BTreeSet::new(), limit }
    }

    pub fn insert(&mut self, entry: Entry) {
        if Horizon::At(entry) < self.horizon {
            self.window.insert(entry);
            if self.window.len() > self.limit {
                let last = self.window.pop_last().expect("it is over its limit");
                self.horizon = Horizon::At(last);
            }
        } else if self.load != Load::Idle {
            self.meanwhile.insert(entry);
        }
    }

    pub fn remove(&mut self, entry: Entry) {
        self.window.remove(&entry);
        self.meanwhile.remove(&entry);
    }

    /// When the next alarm is due; none if that has to be read first, or there is none.
    pub fn next_ms(&self) -> Option<u64> {
        self.window.first().map(|(fire_ms, _)| *fire_ms)
    }

    /// Takes the next alarm that is due.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<ActorId> {
        let first = self.window.first().filter(|(fire_ms, _)| *fire_ms <= now_ms)?;
        let actor = first.1;
        self.window.pop_first();
        Some(actor)
    }

    /// Whether more have to be read. `newest` is the last commit asked for, `durable` whether it is on disk already.
    /// Says from where to read if that can begin at once.
    pub fn want(&mut self, newest: CommitId, durable: bool) -> Option<Option<Entry>> {
        if !self.window.is_empty() || self.horizon == Horizon::End || self.load != Load::Idle {
            return None;
        }
        self.load = Load::Barrier(newest);
        if durable { self.durable(newest) } else { None }
    }

    /// This commit, and all before it, are durable. Says from where to read if that waited for it.
    pub fn durable(&mut self, commit: CommitId) -> Option<Option<Entry>> {
        match self.load {
            Load::Barrier(barrier) if barrier <= commit => self.load = Load::Loading,
            _ => return None,
        }
        Some(match self.horizon {
            Horizon::At(entry) => Some(entry),
            Horizon::Start | Horizon::End => None,
        })
    }

    /// What was read, in order; the window then reaches as far as that.
    pub fn loaded(&mut self, entries: Vec<Entry>, complete: bool) {
        self.load = Load::Idle;
        self.horizon = match entries.last() {
            Some(last) if !complete => Horizon::At(*last),
            _ => Horizon::End,
        };
        let meanwhile = std::mem::take(&mut self.meanwhile);
        for entry in entries.into_iter().chain(meanwhile) {
            self.insert(entry);
        }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::id::Id;

    fn entry(fire_ms: u64) -> Entry {
        (fire_ms, Id::new([fire_ms as u8; 16], 1))
    }

    /// A disk with alarms, a window of three, and everything popped in order.
    #[test]
    fn all_alarms_come_in_order_through_a_small_window() {
        let disk: BTreeSet<Entry> = (0..20).map(|n| entry(n / 3)).chain((0..20).map(entry)).collect();
        let mut alarms = Alarms::new(3);
        let mut popped = Vec::new();
        loop {
            if let Some(from) = alarms.want(CommitId(0), true) {
                let rest: Vec<Entry> = disk.iter().filter(|entry| from.is_none_or(|from| **entry >= from)).copied().collect();
                let complete = rest.len() <= alarms.limit();
                alarms.loaded(rest.into_iter().take(alarms.limit()).collect(), complete);
            }
            match alarms.next_ms() {
                Some(next_ms) => popped.push((next_ms, alarms.pop_due(next_ms).expect("it is due"))),
                None => break,
            }
        }
        assert_eq!(popped, disk.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_alarm_set_before_its_commit_is_durable_is_not_missed() {
        let mut alarms = Alarms::new(3);
        // Commit 7 sets alarm 5, but is not durable: the read must wait, and what is set meanwhile is kept.
        alarms.insert(entry(5));
        assert_eq!(alarms.want(CommitId(7), false), None);
        alarms.insert(entry(6));
        assert_eq!(alarms.durable(CommitId(6)), None);
        assert_eq!(alarms.durable(CommitId(7)), Some(None));
        alarms.loaded(vec![entry(5)], true);
        assert_eq!(alarms.pop_due(10), Some(entry(5).1));
        assert_eq!(alarms.pop_due(10), Some(entry(6).1));
        assert_eq!(alarms.pop_due(10), None);
    }

    #[test]
    fn a_full_window_forgets_its_last_and_reads_it_again() {
        let mut alarms = Alarms::new(2);
        assert_eq!(alarms.want(CommitId(0), true), Some(None));
        alarms.loaded(vec![], true);
        for fire_ms in [3, 1, 2] {
            alarms.insert(entry(fire_ms));
        }
        assert_eq!(alarms.pop_due(9), Some(entry(1).1));
        assert_eq!(alarms.pop_due(9), Some(entry(2).1));
        assert_eq!(alarms.pop_due(9), None);
        assert_eq!(alarms.want(CommitId(3), true), Some(Some(entry(3))));
    }
}

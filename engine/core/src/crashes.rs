//! How soon an actor that crashes again and again may start again.
//!
//! A crash costs others something too: a synced write for the next generation, an instance, lines of a log. So it is counted, and time
//! forgives so many a second. Up to a number of them an actor starts at once when something wants it; with more it waits until enough of
//! them are forgiven, and what wants it waits with it. An actor that now and then fails at a request never comes near that.
//!
//! In memory only: who crashed before the engine went down begins anew. Envoys are not counted: theirs is the process that suffers.

use std::collections::BTreeMap;

use protocol::id::ActorId;

/// Crashes that are followed by a start at once.
pub const CRASHES_AT_ONCE: u64 = 10;
/// After so long one of them is forgiven: beyond those, an actor starts so often.
pub const CRASH_FORGIVEN_MS: u64 = 250;
/// Actors whose crashes are remembered: 65,536 that fail four times a second would be busy with nothing else.
const CRASHED_ACTORS_MAX: usize = 65_536;

/// When all crashes of an actor will be forgiven.
#[derive(Default)]
pub(crate) struct Crashes(BTreeMap<ActorId, u64>);

impl Crashes {
    pub fn add(&mut self, id: ActorId, now_ms: u64) {
        if self.0.len() >= CRASHED_ACTORS_MAX {
            self.0.retain(|_, forgiven_ms| *forgiven_ms > now_ms);
        }
        if self.0.len() < CRASHED_ACTORS_MAX || self.0.contains_key(&id) {
            let forgiven_ms = self.0.entry(id).or_default();
            *forgiven_ms = now_ms.max(*forgiven_ms) + CRASH_FORGIVEN_MS;
        }
    }

    /// When it may start, if that is not now.
    pub fn start_ms(&self, id: ActorId, now_ms: u64) -> Option<u64> {
        let start_ms = self.0.get(&id)?.saturating_sub(CRASHES_AT_ONCE * CRASH_FORGIVEN_MS);
        (start_ms > now_ms).then_some(start_ms)
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    fn actor(number: u32) -> ActorId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Id::new(bytes, 1)
    }

    /// An actor that crashes so often, each time as soon as it may have started, with so long in between: when it starts after each.
    fn check(crashes: u64, pause_ms: u64, expected_ms: &[u64]) {
        let (mut crashed, mut now_ms, mut starts_ms) = (Crashes::default(), 1_000, Vec::new());
        for _ in 0..crashes {
            crashed.add(actor(1), now_ms);
            now_ms = crashed.start_ms(actor(1), now_ms).unwrap_or(now_ms);
            starts_ms.push(now_ms - 1_000);
            now_ms += pause_ms;
        }
        assert_eq!(&starts_ms[starts_ms.len() - expected_ms.len()..], expected_ms, "{crashes} crashes, {pause_ms} ms between");
    }

    #[test]
    fn a_few_crashes_are_free_and_then_time_forgives_them_one_by_one() {
        check(10, 0, &[0, 0]);
        check(13, 0, &[0, 250, 500, 750]);
        check(13, 100, &[1_000, 1_100, 1_200]);
        check(100, CRASH_FORGIVEN_MS, &[99 * CRASH_FORGIVEN_MS]);
        // Quicker than they are forgiven: in the long run as often as they are.
        check(1_000, 100, &[(1_000 - CRASHES_AT_ONCE) * CRASH_FORGIVEN_MS]);
    }

    #[test]
    fn others_are_not_concerned_and_not_too_many_are_remembered() {
        let mut crashed = Crashes::default();
        for _ in 0..=CRASHES_AT_ONCE {
            crashed.add(actor(0), 0);
        }
        assert_eq!(crashed.start_ms(actor(0), 0), Some(CRASH_FORGIVEN_MS));
        assert_eq!(crashed.start_ms(actor(1), 0), None);
        for number in 1..CRASHED_ACTORS_MAX as u32 + 10 {
            crashed.add(actor(number), 0);
        }
        assert_eq!(crashed.0.len(), CRASHED_ACTORS_MAX);
        crashed.add(actor(0), 0);
        assert_eq!(crashed.start_ms(actor(0), 0), Some(2 * CRASH_FORGIVEN_MS), "who is known goes on being counted");
        crashed.add(actor(u32::MAX), CRASH_FORGIVEN_MS);
        assert_eq!(crashed.0.len(), 2, "those whose crashes are forgiven make room");
    }
}

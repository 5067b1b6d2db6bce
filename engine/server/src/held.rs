//! Commits that the writer's queue does not take because the disk has no room: kept in their order, so that the driver goes on.
//!
//! What is here was decided and told to nobody. Beyond a bound nothing that could add to it is let in any more, reads included:
//! a read may wake an actor, and that is a commit. What is in already adds no more than the protocol lets each actor have under
//! way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_store::writer::Done;
use engine_store::{Batch, Writer};
use protocol::limits::MIB;

use crate::error::ApiError;

/// From so many commits on, nothing is let in.
pub const HELD_BATCHES_MAX: usize = 64 * 1024;
/// And from so many bytes of them on.
pub const HELD_BYTES_MAX: usize = 256 * MIB;

/// How much is held, for those at the door.
#[derive(Default)]
pub struct Sums {
    batches: AtomicUsize,
    bytes: AtomicUsize,
}

impl Sums {
    /// Refused while too much waits for the disk.
    pub fn for_more(&self) -> Result<(), ApiError> {
        let (batches, bytes) = (self.batches.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if batches < HELD_BATCHES_MAX && bytes < HELD_BYTES_MAX {
            return Ok(());
        }
        Err(ApiError::new(
            "storage",
            "no_space",
            format!(
                "the engine's disk has no room, and {batches} commits of {bytes} bytes wait for it, beyond which nothing is let in \
                 ({HELD_BATCHES_MAX} commits or {HELD_BYTES_MAX} bytes); free some space on it and this ends by itself"
            ),
        ))
    }
}

/// The driver's.
pub struct Held {
    queue: VecDeque<(Batch, Done)>,
    sums: Arc<Sums>,
}

impl Held {
    pub fn new(sums: Arc<Sums>) -> Held {
        Held { queue: VecDeque::new(), sums }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn push(&mut self, batch: Batch, done: Done) {
        self.sums.batches.fetch_add(1, Ordering::Relaxed);
        self.sums.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
        self.queue.push_back((batch, done));
    }

    /// As many as the writer takes. May wait for it, but not for room on the disk.
    pub fn hand_over(&mut self, writer: &Writer) {
        while let Some((batch, done)) = self.queue.pop_front() {
            let bytes = batch.bytes();
            if let Some(back) = writer.offer(batch, done) {
                self.queue.push_front(back);
                return;
            }
            self.sums.batches.fetch_sub(1, Ordering::Relaxed);
            self.sums.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Commits and their bytes.
    pub fn figures(&self) -> (u64, u64) {
        (self.queue.len() as u64, self.sums.bytes.load(Ordering::Relaxed) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use engine_store::{Durability, Memory};

    use super::*;

    #[test]
    fn beyond_either_bound_nothing_is_let_in() {
        let check = |batches: usize, bytes: usize, is_let_in: bool| {
            let sums = Sums { batches: AtomicUsize::new(batches), bytes: AtomicUsize::new(bytes) };
            let refused = sums.for_more().err().map(|error| error.message);
            assert_eq!(refused.is_none(), is_let_in, "{batches} commits, {bytes} bytes: {refused:?}");
        };
        check(0, 0, true);
        check(HELD_BATCHES_MAX - 1, HELD_BYTES_MAX - 1, true);
        check(HELD_BATCHES_MAX, 0, false);
        check(1, HELD_BYTES_MAX, false);
    }

    #[test]
    fn what_is_handed_over_is_written_in_order_and_counted_no_more() {
        let sums = Arc::new(Sums::default());
        let mut held = Held::new(sums.clone());
        let told = Arc::new(Mutex::new(Vec::new()));
        for number in 0..3 {
            let (mut batch, told) = (Batch::new(), told.clone());
            batch.put(format!("key{number}"), "value");
            let done = move |verdict| told.lock().expect("no test panics with it").push((number, verdict));
            held.push(batch, Box::new(done));
        }
        assert!(held.figures().0 == 3 && held.figures().1 > 0, "{:?}", held.figures());
        let writer = Writer::start(Arc::new(Memory::new()), Durability::Sync);
        held.hand_over(&writer);
        writer.close();
        assert!(held.is_empty());
        assert_eq!(held.figures(), (0, 0));
        assert_eq!(*told.lock().expect("no test panics with it"), [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    }
}

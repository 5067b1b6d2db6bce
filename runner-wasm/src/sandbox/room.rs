//! Room for guests: how many instances may live, and the memory of each and of all.
//!
//! Both are refusals, never an abort: past the kernel's limit on [`mappings`](super::mappings) an allocation of ours would end the
//! process, so live instances stay below what could reach it. Before it comes to that, room is made: who runs short presses, and
//! [`idle`](crate::runner::idle) puts actors to sleep that have nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use protocol::message::{Failure, FailureKind};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::ResourceLimiter;

use super::mappings::{Mappings, Taken};
use crate::config::{
    ACTORS_MAX_ELSEWHERE, AWAKE_BYTES, CORE_INSTANCES_MAX, INITIAL_MEMORY_SHARE, MEMORIES_MAX, MEMORY_HIGH_PERCENT,
    MEMORY_LOW_PERCENT, ROOM_WAIT_MS, SQUEEZED_SHARE_MIN, TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX, TABLES_MAX,
};

pub struct Room {
    actors_max: usize,
    actors: Arc<Semaphore>,
    mappings: Mappings,
    /// Starts that wait for a place.
    waiting: AtomicUsize,
    memory_total_bytes: usize,
    memory_used_bytes: AtomicUsize,
    /// Of that, compiled code.
    code_bytes: AtomicUsize,
    /// What others of the process have too much, so that there is less for guests.
    memory_squeezed_bytes: AtomicUsize,
    /// The most that a guest was refused since somebody looked.
    memory_refused_bytes: AtomicUsize,
    memory_refusals: AtomicU64,
    pressed: Notify,
}

impl Room {
    pub fn new(actors_max: Option<usize>, mappings_allowed: Option<usize>, memory_total_bytes: usize) -> Room {
        let mappings = Mappings::new(mappings_allowed);
        let fit = mappings.instances().unwrap_or(ACTORS_MAX_ELSEWHERE);
        let actors_max = actors_max.unwrap_or(fit).min(Semaphore::MAX_PERMITS);
        Room {
            actors_max,
            actors: Arc::new(Semaphore::new(actors_max)),
            mappings,
            waiting: AtomicUsize::new(0),
            memory_total_bytes,
            memory_used_bytes: AtomicUsize::new(0),
            code_bytes: AtomicUsize::new(0),
            memory_squeezed_bytes: AtomicUsize::new(0),
            memory_refused_bytes: AtomicUsize::new(0),
            memory_refusals: AtomicU64::new(0),
            pressed: Notify::new(),
        }
    }

    /// The right to one live instance that may have so many mappings; given back when dropped. Waits a while if there is none, in
    /// the order of arrival.
    pub async fn admit(&self, mappings: u32) -> Result<Place, Failure> {
        if let Ok(actor) = Arc::clone(&self.actors).try_acquire_owned()
            && let Some(taken) = self.mappings.try_take(mappings)
        {
            return Ok(Place { _actor: actor, _mappings: taken });
        }
        let _waiting = Waiting::new(self);
        let until = Instant::now() + Duration::from_millis(ROOM_WAIT_MS);
        let actor = tokio::time::timeout_at(until, Arc::clone(&self.actors).acquire_owned()).await;
        let Some(actor) = actor.ok().and_then(Result::ok) else {
            return Err(no_room(format!(
                "{} Wasm actors are awake, as many as this runner takes (wasm.actors_max, or what the kernel's vm.max_map_count \
                 allows, if it is not set)",
                self.actors_max
            )));
        };
        let taken = tokio::time::timeout_at(until, self.mappings.take(mappings)).await;
        let Some(taken) = taken.ok().flatten() else {
            return Err(no_room(format!(
                "{} Wasm actors are awake, and this one may need {mappings} more memory mappings than the kernel's vm.max_map_count \
                 leaves: raise it and start the engine again",
                self.actors().saturating_sub(1)
            )));
        };
        Ok(Place { _actor: actor, _mappings: taken })
    }

    /// Starts that wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Whether memory is about to run out, or has since this was asked before: how much was wanted.
    pub fn is_short_of_memory(&self) -> Option<usize> {
        let refused_bytes = self.memory_refused_bytes.swap(0, Relaxed);
        let is_high = self.memory_used_bytes() > percent(self.memory_total_bytes(), MEMORY_HIGH_PERCENT);
        (is_high || refused_bytes > 0).then_some(refused_bytes)
    }

    /// What must be given back until there is plenty again, and so many bytes fit.
    pub fn memory_to_free_bytes(&self, wanted_bytes: usize) -> usize {
        let total_bytes = self.memory_total_bytes();
        let low = percent(total_bytes, MEMORY_LOW_PERCENT);
        self.memory_used_bytes().saturating_sub(low.min(total_bytes.saturating_sub(wanted_bytes)))
    }

    /// Says that somebody should look whether there is room.
    pub fn press(&self) {
        self.pressed.notify_one();
    }

    /// Waits for [`Room::press`]. For one task.
    pub async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// How many may be awake at a time, if all of them are of the smallest kind.
    pub fn actors_max(&self) -> usize {
        self.actors_max.min(self.mappings.instances().unwrap_or(usize::MAX))
    }

    pub fn actors(&self) -> usize {
        self.actors_max - self.actors.available_permits()
    }

    pub fn memory_used_bytes(&self) -> usize {
        self.memory_used_bytes.load(Relaxed)
    }

    pub fn memory_total_bytes(&self) -> usize {
        self.memory_total_bytes - self.memory_squeezed_bytes.load(Relaxed)
    }

    /// How often there was not enough.
    pub fn memory_refusals(&self) -> u64 {
        self.memory_refusals.load(Relaxed)
    }

    /// The process has so much more than it may; guests have less until it has not. No guest loses what it has, idle ones sleep.
    pub fn squeeze(&self, bytes: usize) {
        let most = self.memory_total_bytes - self.memory_total_bytes / SQUEEZED_SHARE_MIN;
        self.memory_squeezed_bytes.store(bytes.min(most), Relaxed);
        self.press_if_high();
    }

    /// Whether so much more may be had.
    pub fn take(&self, bytes: usize) -> bool {
        let total_bytes = self.memory_total_bytes();
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= total_bytes);
        let taken = self.memory_used_bytes.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if !taken {
            self.memory_refused_bytes.fetch_max(bytes, Relaxed);
            self.memory_refusals.fetch_add(1, Relaxed);
            self.press();
        }
        self.press_if_high();
        taken
    }

    /// What is there already counts, whether it fits or not: then nothing new fits.
    pub fn count(self: &Arc<Self>, bytes: usize) -> Counted {
        self.add(bytes);
        Counted { room: Arc::clone(self), bytes, code_bytes: 0 }
    }

    /// The same for compiled code.
    pub fn count_code(self: &Arc<Self>, bytes: usize) -> Counted {
        self.add(bytes);
        self.code_bytes.fetch_add(bytes, Relaxed);
        Counted { room: Arc::clone(self), bytes, code_bytes: bytes }
    }

    pub fn code_bytes(&self) -> usize {
        self.code_bytes.load(Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.memory_used_bytes.fetch_add(bytes, Relaxed);
        self.press_if_high();
    }

    pub fn is_high(&self) -> bool {
        self.memory_used_bytes() > percent(self.memory_total_bytes(), MEMORY_HIGH_PERCENT)
    }

    fn press_if_high(&self) {
        if self.is_high() {
            self.press();
        }
    }

    pub fn give_back(&self, bytes: usize) {
        self.memory_used_bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Counts until it is dropped.
pub struct Counted {
    room: Arc<Room>,
    bytes: usize,
    code_bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
        self.room.code_bytes.fetch_sub(self.code_bytes, Relaxed);
    }
}

/// A start that waits for a place is counted.
struct Waiting<'a>(&'a Room);

impl<'a> Waiting<'a> {
    fn new(room: &'a Room) -> Waiting<'a> {
        room.waiting.fetch_add(1, Relaxed);
        room.press();
        Waiting(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

fn percent(of: usize, percent: usize) -> usize {
    of / 100 * percent
}

/// The right to one live instance.
pub struct Place {
    _actor: OwnedSemaphorePermit,
    _mappings: Taken,
}

fn no_room(what: String) -> Failure {
    let message =
        format!("{what}; for {ROOM_WAIT_MS} ms none was idle that could be put to sleep, so try again when some are asleep");
    Failure { kind: FailureKind::NoRoom, message }
}

/// What one guest has of the memory for all. And whether, and why, it was not allowed more since its message began: says what a trap
/// that follows is about.
#[derive(Default)]
pub struct Share {
    taken_bytes: AtomicUsize,
    refused: AtomicU8,
}

const NOT_REFUSED: u8 = 0;
const BY_ACTOR: u8 = 1;
const BY_TOTAL: u8 = 2;

impl Share {
    pub fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Relaxed)
    }

    pub fn begin(&self) {
        self.refused.store(NOT_REFUSED, Relaxed);
    }

    pub fn failure(&self, memory_per_actor_bytes: usize) -> Option<Failure> {
        match self.refused.load(Relaxed) {
            BY_ACTOR => Some(Failure {
                kind: FailureKind::MemoryExceeded,
                message: format!(
                    "the actor wanted more memory than the {memory_per_actor_bytes} bytes it may have; see --wasm-actor-memory and the limits of \
                     its deployment"
                ),
            }),
            BY_TOTAL => Some(no_memory()),
            _ => None,
        }
    }
}

/// All that guests may have together is in use.
pub fn no_memory() -> Failure {
    let message = "the memory that all Wasm actors together may have is used up; raise memory_limit or --wasm-memory, or try again when \
                   some are asleep";
    Failure { kind: FailureKind::NoRoom, message: message.to_string() }
}

/// Holds one instance to its limits, and counts what it has.
pub struct Limiter {
    room: Arc<Room>,
    share: Arc<Share>,
    limit_bytes: usize,
    used_bytes: usize,
    /// What the latest permitted growth used and took: given back if the kernel refuses it after us.
    latest: (usize, usize),
    table_elements: usize,
    /// The same of the latest table that grew.
    latest_elements: usize,
}

impl Limiter {
    pub fn new(room: Arc<Room>, share: Arc<Share>, limit_bytes: usize) -> Limiter {
        // It is there: if this is too much, it gets no memory.
        room.add(AWAKE_BYTES);
        share.taken_bytes.fetch_add(AWAKE_BYTES, Relaxed);
        Limiter { room, share, limit_bytes, used_bytes: 0, latest: (0, 0), table_elements: 0, latest_elements: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.latest = (0, 0);
        // The guest's numbers: `desired` may be anything.
        let more = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.used_bytes.checked_add(more).is_none_or(|used| used > self.limit_bytes) {
            self.share.refused.store(BY_ACTOR, Relaxed);
            return Ok(false);
        }
        let taken = if current == 0 { more / INITIAL_MEMORY_SHARE } else { more };
        if !self.room.take(taken) {
            self.share.refused.store(BY_TOTAL, Relaxed);
            return Ok(false);
        }
        self.used_bytes += more;
        self.share.taken_bytes.fetch_add(taken, Relaxed);
        self.latest = (more, taken);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        let (used, taken) = std::mem::take(&mut self.latest);
        self.room.give_back(taken);
        self.used_bytes -= used;
        self.share.taken_bytes.fetch_sub(taken, Relaxed);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.latest_elements = 0;
        let more = desired.saturating_sub(current);
        if self.table_elements.saturating_add(more) > TABLE_ELEMENTS_MAX {
            self.share.refused.store(BY_ACTOR, Relaxed);
            return Ok(false);
        }
        if !self.room.take(more * TABLE_ELEMENT_BYTES) {
            self.share.refused.store(BY_TOTAL, Relaxed);
            return Ok(false);
        }
        self.share.taken_bytes.fetch_add(more * TABLE_ELEMENT_BYTES, Relaxed);
        self.table_elements += more;
        self.latest_elements = more;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        let elements = std::mem::take(&mut self.latest_elements);
        self.room.give_back(elements * TABLE_ELEMENT_BYTES);
        self.share.taken_bytes.fetch_sub(elements * TABLE_ELEMENT_BYTES, Relaxed);
        self.table_elements -= elements;
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.room.give_back(self.share.taken_bytes.swap(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_once_and_given_back() {
        const PAGE: usize = 65_536;
        // Beside what two actors take for being awake.
        const AWAKE: usize = 2 * AWAKE_BYTES;
        let room = Arc::new(Room::new(Some(2), None, 16 * PAGE + AWAKE));
        let share = || Arc::new(Share::default());
        let (of_first, of_second) = (share(), share());
        let others = room.count(AWAKE_BYTES);
        let mut first = Limiter::new(Arc::clone(&room), Arc::clone(&of_first), 31 * PAGE);
        let grow = |limiter: &mut Limiter, from: usize, to: usize| {
            limiter.memory_growing(from * PAGE, to * PAGE, None).is_ok_and(|grown| grown)
        };
        // What it begins with counts for a sixteenth.
        assert!(grow(&mut first, 0, 16));
        assert!(grow(&mut first, 16, 30));
        assert!(!grow(&mut first, 30, 32));
        assert_eq!(of_first.failure(1).map(|failure| failure.kind), Some(FailureKind::MemoryExceeded));
        // A refusal that the kernel then reports too gives nothing back twice.
        assert!(first.memory_grow_failed(wasmtime::Error::msg("refused")).is_ok());
        assert_eq!(room.memory_used_bytes(), 15 * PAGE + AWAKE);

        assert_eq!(of_first.taken_bytes(), 15 * PAGE + AWAKE_BYTES);
        // Above the mark, but nothing was refused for want of memory.
        assert_eq!(room.is_short_of_memory(), Some(0));
        assert_eq!(room.memory_to_free_bytes(0), 15 * PAGE + AWAKE - (16 * PAGE + AWAKE) / 100 * 75);
        assert_eq!(room.memory_to_free_bytes(10 * PAGE), 9 * PAGE);
        drop(others);

        let mut second = Limiter::new(Arc::clone(&room), Arc::clone(&of_second), 100 * PAGE);
        assert!(grow(&mut second, 0, 16));
        assert!(!grow(&mut second, 16, 17));
        assert_eq!(of_second.failure(1).map(|failure| failure.kind), Some(FailureKind::NoRoom));
        drop(first);
        // Said once: it was refused.
        assert_eq!((room.is_short_of_memory(), room.is_short_of_memory()), (Some(PAGE), None));
        assert!(grow(&mut second, 16, 20));
        assert!(second.memory_grow_failed(wasmtime::Error::msg("no memory")).is_ok());
        assert_eq!(room.memory_used_bytes(), PAGE + AWAKE_BYTES);
        assert!(!grow(&mut second, 16, usize::MAX / PAGE));
        // Tables count; what the kernel refused is given back.
        assert!(second.table_growing(0, 8_192, None).is_ok_and(|grown| grown));
        assert_eq!(room.memory_used_bytes(), 2 * PAGE + AWAKE_BYTES);
        assert!(second.table_growing(8_192, TABLE_ELEMENTS_MAX + 1, None).is_ok_and(|grown| !grown));
        assert!(second.table_grow_failed(wasmtime::Error::msg("refused")).is_ok());
        assert_eq!(room.memory_used_bytes(), 2 * PAGE + AWAKE_BYTES);
        drop(second);
        assert_eq!(room.memory_used_bytes(), 0);
    }

    #[test]
    fn what_others_have_too_much_guests_have_less() {
        let room = Arc::new(Room::new(Some(1), None, 1_000));
        assert!(room.take(600));
        // Bytes that are squeezed, what is left of the total, whether 100 more fit, and what has to be freed.
        let rows =
            [(0, 1_000, true, 0), (300, 700, true, 75), (301, 699, false, 150), (10_000, 250, false, 450), (0, 1_000, true, 0)];
        for (squeezed, total, fits, to_free) in rows {
            room.squeeze(squeezed);
            assert_eq!((room.memory_total_bytes(), room.memory_to_free_bytes(0)), (total, to_free), "{squeezed}");
            assert_eq!(room.take(100), fits, "{squeezed}");
            if fits {
                room.give_back(100);
            }
        }
        assert_eq!(room.memory_refusals(), 2);
        // What is there counts, and nothing new fits beside it.
        let counted = room.count(1_000);
        assert!(!room.take(1));
        drop(counted);
        assert!(room.take(400) && room.is_high());
    }

    async fn check_the_last_place(room: Room, mappings: u32, expected: &str) {
        let place = room.admit(mappings).await.expect("the first fits");
        let refusal = room.admit(mappings).await.err().expect("the second does not");
        assert_eq!(refusal.kind, FailureKind::NoRoom);
        assert!(refusal.message.contains(expected), "{}", refusal.message);
        assert_eq!((room.actors(), room.waiting()), (1, 0));
        let (second, ()) = tokio::join!(room.admit(mappings), async {
            room.pressed().await;
            assert_eq!(room.waiting(), 1);
            drop(place);
        });
        drop(second.expect("the first has left in time"));
        assert_eq!((room.actors(), room.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn the_last_place_is_the_last() {
        check_the_last_place(Room::new(Some(1), Some(1_000), 0), 4, "1 Wasm actors are awake, as many as this runner takes").await;
        // Of 20 an eighth is left to others.
        check_the_last_place(Room::new(Some(9), Some(20), 0), 10, "may need 10 more memory mappings").await;
        let room = Room::new(None, Some(65_530), 0);
        assert_eq!(room.actors_max(), 14_334);
        assert!(Room::new(Some(9), Some(20), 0).admit(19).await.is_err(), "one that never fits is refused");
        assert_eq!(Room::new(None, None, 0).actors_max(), ACTORS_MAX_ELSEWHERE);
    }
}

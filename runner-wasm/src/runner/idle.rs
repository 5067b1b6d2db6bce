//! Makes room: of the actors that have nothing to do, those that were used least lately are put to sleep when others need their
//! place, or when memory runs short.
//!
//! One task, which sleeps until somebody presses ([`Room::press`]). It looks at all actors, remembers those of the idle ones that were
//! used least lately, and takes from these before it looks at all again: what was used or became idle since is younger than they
//! are. An actor that is asked says so to the engine like one that has been idle for long, and the engine stops it. If a message came
//! before that it is not disturbed, and another one is asked.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Shared;
use crate::actor::Actor;
use crate::config::{CANDIDATES_MIN, CANDIDATES_SHARE, LEAVING_MS, ROOM_TICK_MS, SCAN_TIME_SHARE};
use crate::sandbox::room::Room;

pub async fn run(room: Arc<Room>, shared: Weak<Shared>) {
    let mut keeper = Keeper::new();
    loop {
        room.pressed().await;
        loop {
            let Some(shared) = shared.upgrade() else { return };
            if !keeper.look(&shared) {
                break;
            }
            drop(shared);
            sleep(Duration::from_millis(ROOM_TICK_MS)).await;
        }
    }
}

struct Keeper {
    /// Idle actors in the order in which they were used last, and when that was.
    candidates: VecDeque<(u64, Weak<Actor>)>,
    next_scan: Instant,
    /// Those that were asked, and when.
    leaving: Vec<(Instant, Weak<Actor>)>,
    /// Memory is short: until it is not, and so many bytes fit.
    wanted_bytes: Option<usize>,
}

enum Found {
    Actor(Arc<Actor>),
    /// None is idle.
    Nobody,
    /// Nobody is known, and it is too early to look at all again.
    Later,
}

impl Keeper {
    fn new() -> Keeper {
        Keeper { candidates: VecDeque::new(), next_scan: Instant::now(), leaving: Vec::new(), wanted_bytes: None }
    }

    /// Asks as many to sleep as are needed. Whether to look again soon.
    fn look(&mut self, shared: &Shared) -> bool {
        let room = &shared.room;
        let (leaving, leaving_bytes) = self.leaving();
        let mut places = room.waiting().saturating_sub(leaving);
        self.wanted_bytes = room.is_short_of_memory().max(self.wanted_bytes);
        let to_free_bytes = self.wanted_bytes.map_or(0, |wanted| room.memory_to_free_bytes(wanted));
        if to_free_bytes == 0 {
            self.wanted_bytes = None;
        }
        let mut bytes = to_free_bytes.saturating_sub(leaving_bytes);
        while places > 0 || bytes > 0 {
            match self.oldest(shared) {
                Found::Actor(actor) => {
                    places = places.saturating_sub(1);
                    bytes = bytes.saturating_sub(actor.share.taken_bytes());
                    shared.slept_for_room.fetch_add(1, Relaxed);
                    self.leaving.push((Instant::now(), Arc::downgrade(&actor)));
                }
                Found::Nobody => {
                    if bytes > 0 {
                        shared.components.forget_unused();
                    }
                    // Who wants more memory presses again.
                    self.wanted_bytes = self.wanted_bytes.filter(|_| !self.leaving.is_empty());
                    break;
                }
                Found::Later => break,
            }
        }
        room.waiting() > 0 || self.wanted_bytes.is_some()
    }

    /// How many are on their way, and what memory they have.
    fn leaving(&mut self) -> (usize, usize) {
        let now = Instant::now();
        let mut bytes = 0;
        self.leaving.retain(|(asked, actor)| {
            let is_in_time = now.duration_since(*asked) < Duration::from_millis(LEAVING_MS);
            let actor = actor.upgrade().filter(|actor| is_in_time && actor.rest.is_leaving());
            bytes += actor.as_ref().map_or(0, |actor| actor.share.taken_bytes());
            actor.is_some()
        });
        (self.leaving.len(), bytes)
    }

    /// The idle actor that was used least lately; it has been asked.
    fn oldest(&mut self, shared: &Shared) -> Found {
        for is_scanned in [false, true] {
            if is_scanned {
                if Instant::now() < self.next_scan {
                    return Found::Later;
                }
                self.scan(shared);
            }
            while let Some((since_us, actor)) = self.candidates.pop_front() {
                let unused = actor.upgrade().filter(|actor| actor.rest.since_us() == since_us);
                if let Some(actor) = unused.filter(|actor| actor.ask_to_sleep()) {
                    return Found::Actor(actor);
                }
            }
        }
        Found::Nobody
    }

    fn scan(&mut self, shared: &Shared) {
        let began = Instant::now();
        let mut idle = Vec::new();
        shared.actors.look(|actor| {
            if actor.rest.is_idle() {
                idle.push((actor.rest.since_us(), Arc::downgrade(actor)));
            }
        });
        let keep = (idle.len() / CANDIDATES_SHARE).max(CANDIDATES_MIN);
        if keep < idle.len() {
            idle.select_nth_unstable_by_key(keep, |(since_us, _)| *since_us);
            idle.truncate(keep);
        }
        idle.sort_unstable_by_key(|(since_us, _)| *since_us);
        self.candidates = idle.into();
        let now = Instant::now();
        self.next_scan = now + now.duration_since(began) * SCAN_TIME_SHARE;
    }
}

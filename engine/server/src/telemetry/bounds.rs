//! How many spans one trace may have here.
//!
//! A guest that is called once and asks for a million things is one trace, and so is a client that gives all of its requests one
//! number. What a trace has too much of is not made, and counted; its next span of an entry says how much that was. Looked at for
//! sampled traces only, and as large as it is made: of two traces in one place the newer is counted anew.

use std::sync::Mutex;

use crate::lock::lock;

/// Spans that a trace may begin in this process within [`WINDOW_MS`].
pub const SPANS_PER_TRACE_MAX: u32 = 1_000;
/// A trace that goes on for longer may have as many again.
const WINDOW_MS: u64 = 10_000;
/// Traces that are remembered at one time.
const TRACES_MAX: usize = 1_024;

pub struct Bounds {
    places: Box<[Mutex<Place>]>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    trace_id: u128,
    since_ms: u64,
    begun: u32,
    left_out: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { places: (0..TRACES_MAX).map(|_| Mutex::default()).collect() }
    }
}

impl Bounds {
    /// Whether it may have one more.
    pub fn begin(&self, trace_id: u128, now_ms: u64) -> bool {
        let mut place = lock(self.place(trace_id));
        if place.trace_id != trace_id {
            *place = Place { trace_id, since_ms: now_ms, ..Place::default() };
        } else if now_ms.saturating_sub(place.since_ms) >= WINDOW_MS {
            (place.since_ms, place.begun) = (now_ms, 0);
        }
        let may = place.begun < SPANS_PER_TRACE_MAX;
        match may {
            true => place.begun += 1,
            false => place.left_out += 1,
        }
        may
    }

    /// How many it has wanted in vain since this was asked last.
    pub fn take_left_out(&self, trace_id: u128) -> u64 {
        let mut place = lock(self.place(trace_id));
        match place.trace_id == trace_id {
            true => std::mem::take(&mut place.left_out),
            false => 0,
        }
    }

    fn place(&self, trace_id: u128) -> &Mutex<Place> {
        // Clients choose numbers; whoever makes them meet has only its own counted anew.
        &self.places[(trace_id ^ trace_id >> 64) as usize % TRACES_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_so_many_spans_and_the_rest_is_counted() {
        let bounds = Bounds::default();
        let begin = |trace_id, times: u32, now_ms| (0..times).filter(|_| bounds.begin(trace_id, now_ms)).count() as u32;
        let max = SPANS_PER_TRACE_MAX;
        assert_eq!(begin(1, max, 0), max);
        assert_eq!(begin(1, 7, WINDOW_MS - 1), 0);
        assert_eq!(begin(2, 1, 0), 1, "it concerns no other");
        assert_eq!([1, 1, 2].map(|trace| bounds.take_left_out(trace)), [7, 0, 0]);
        assert_eq!(begin(1, max + 1, WINDOW_MS), max, "later it may have as many again");
        let same_place = 1 + TRACES_MAX as u128;
        assert_eq!(begin(same_place, 1, 0), 1);
        assert_eq!(bounds.take_left_out(1), 0, "the newer has the place");
        assert_eq!(begin(1, 1, WINDOW_MS), 1);
    }
}

//! How long something took, counted in buckets: for metrics.
//!
//! Counting is two additions without a lock. What is read while others count may be off by what is being counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in microseconds, from a tenth of a millisecond to five minutes: the longest that anything of a request may take.
pub const BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];
/// The last has no bound.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// What was counted until now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// In each bucket alone.
    pub counts: [u64; BUCKETS],
    pub sum_us: u64,
}

impl Histogram {
    pub fn count(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    pub fn counted(&self) -> Counted {
        let mut counted = Counted { sum_us: self.sum_us.load(Relaxed), ..Counted::default() };
        for (count, bucket) in counted.counts.iter_mut().zip(&self.counts) {
            *count = bucket.load(Relaxed);
        }
        counted
    }
}

impl Counted {
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let rows = [(0, 0), (100, 0), (101, 1), (250, 1), (300_000_000, 19), (300_000_001, 20), (u64::MAX, 20)];
        for (us, bucket) in rows {
            let histogram = Histogram::default();
            histogram.count(Duration::from_micros(us));
            let counted = histogram.counted();
            assert_eq!((counted.counts[bucket], counted.total(), counted.sum_us), (1, 1, us), "{us}");
        }
    }
}

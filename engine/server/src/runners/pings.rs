//! The pings of one connection of a runner: when they go out, and what follows if they are not answered. How one is written on the
//! wire is the session's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine_core::Input;
use protocol::id::RunnerId;
use tokio::time::Instant;

use crate::config::RunnerTimes;
use crate::engine::Engine;
use crate::random;
use crate::runners::ending::Ending;

/// A pong that is older tells nothing about the way.
const RTT_MS_MAX: u64 = 15_000;
/// Without a pong for so long a runner gets no more actors.
const STALE_MS: u64 = 10_000;
const JITTER_MS: u64 = 128;

/// When pings go out, and what follows if they are not answered. In milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub first_ping: u64,
    pub ping: u64,
    /// Pings are a little later than that, each by another bit, so that many runners are not pinged at once.
    pub jitter: u64,
    /// Without a pong for so long it gets no more actors.
    pub stale: u64,
    /// And for so long: closed.
    pub lost: u64,
}

impl Pace {
    pub fn envoy(times: &RunnerTimes) -> Pace {
        let (ping, lost) = (times.ping_interval_ms, times.ping_timeout_ms);
        Pace { first_ping: 0, ping, jitter: JITTER_MS, stale: STALE_MS.min(lost), lost }
    }

    pub fn legacy(times: &RunnerTimes) -> Pace {
        Pace { first_ping: times.ping_interval_ms, ..Pace::envoy(times) }
    }
}

/// What pings have shown, for whoever asks. In milliseconds.
pub struct PingTimes {
    pub last_ms: AtomicU64,
    pub rtt_ms: AtomicU64,
}

impl PingTimes {
    pub fn new(now_ms: u64) -> PingTimes {
        PingTimes { last_ms: AtomicU64::new(now_ms), rtt_ms: AtomicU64::new(0) }
    }
}

pub struct Clockwork<'a> {
    engine: &'a Arc<Engine>,
    runner: RunnerId,
    times: &'a PingTimes,
    pace: Pace,
    ping_at: Instant,
    pong_at: Instant,
    fresh: bool,
}

impl<'a> Clockwork<'a> {
    pub fn new(engine: &'a Arc<Engine>, runner: RunnerId, times: &'a PingTimes, pace: &Pace) -> Clockwork<'a> {
        let now = Instant::now();
        let ping_at = now + Duration::from_millis(pace.first_ping);
        Clockwork { engine, runner, times, pace: *pace, ping_at, pong_at: now, fresh: true }
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        let silent = if self.fresh { self.stale_at() } else { self.lost_at() };
        self.ping_at.min(silent)
    }

    /// The ping that is due: what it is to say. Draws the conclusions from those that were not answered.
    pub fn pass(&mut self) -> Result<Option<u64>, Ending> {
        let now = Instant::now();
        if now >= self.lost_at() {
            return Err(Ending::TimedOut);
        }
        if self.fresh && now >= self.stale_at() {
            self.fresh(false);
        }
        if now < self.ping_at {
            return Ok(None);
        }
        let [random] = random::bytes();
        self.ping_at = now + Duration::from_millis(self.pace.ping + u64::from(random) % self.pace.jitter.max(1));
        let now_ms = self.engine.clock.now_ms();
        self.times.last_ms.store(now_ms, Ordering::Relaxed);
        Ok(Some(now_ms))
    }

    /// With the number that its ping had. It comes from the runner: it may be anything, or none.
    pub fn ponged(&mut self, sent_ms: Option<u64>) {
        let now_ms = self.engine.clock.now_ms();
        self.pong_at = Instant::now();
        self.times.last_ms.store(now_ms, Ordering::Relaxed);
        let rtt_ms = sent_ms.and_then(|sent_ms| now_ms.checked_sub(sent_ms)).filter(|rtt_ms| *rtt_ms <= RTT_MS_MAX);
        if let Some(rtt_ms) = rtt_ms {
            self.times.rtt_ms.store(rtt_ms, Ordering::Relaxed);
        }
        if !self.fresh {
            self.fresh(true);
        }
    }

    fn fresh(&mut self, fresh: bool) {
        self.fresh = fresh;
        self.engine.inbox.push(Input::RunnerFresh { runner: self.runner, fresh });
    }

    fn stale_at(&self) -> Instant {
        self.pong_at + Duration::from_millis(self.pace.stale)
    }

    fn lost_at(&self) -> Instant {
        self.pong_at + Duration::from_millis(self.pace.lost)
    }
}

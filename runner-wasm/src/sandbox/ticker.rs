//! Time for guests: interrupts those that run, and says how long each has run.
//!
//! One thread raises the engine's epoch every few milliseconds, which makes a running guest yield its thread and look whether
//! its processor time is used up. While no guest runs the thread is parked, so an idle runner costs nothing.
//!
//! A guest's time is what it spends on a thread ([`Meter`]); waiting for the host is not its own. Until a message meets its first
//! tick nothing is counted, which costs nothing. A message that runs longer is measured by the processor time of its thread, so that
//! on a busy machine a guest does not pay for what others did meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak};

use crate::config::{StartError, TICK_MS, TICKS_BEFORE_PARK};
use crate::sandbox::Engines;

#[derive(Default)]
pub struct Ticker {
    ticks: AtomicU64,
    /// Guests that are on a thread now.
    running: AtomicUsize,
    parked: AtomicBool,
    ended: AtomicBool,
    thread: OnceLock<Thread>,
    /// All time is that of the thread, and added up.
    counts: bool,
    used_us: AtomicU64,
}

impl Ticker {
    pub fn start(engines: &Engines, counts: bool) -> Result<Arc<Ticker>, StartError> {
        let ticker = Arc::new(Ticker { counts, ..Ticker::default() });
        let (engines, its) = (engines.each().map(Engine::weak), Arc::clone(&ticker));
        let thread = std::thread::Builder::new()
            .name("wasm-ticker".to_string())
            .spawn(move || its.tick(engines))
            .map_err(StartError::Ticker)?;
        ticker.thread.get_or_init(|| thread.thread().clone());
        Ok(ticker)
    }

    pub fn end(&self) {
        self.ended.store(true, SeqCst);
        self.unpark();
    }

    /// Of all guests, if it is counted.
    pub fn used_us(&self) -> u64 {
        self.used_us.load(Relaxed)
    }

    pub fn now(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    fn tick(&self, engines: [EngineWeak; 2]) {
        let mut idle = 0;
        while !self.ended.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(TICK_MS));
            self.ticks.fetch_add(1, Relaxed);
            for engine in &engines {
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
            idle = if self.running.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle >= TICKS_BEFORE_PARK {
                self.park();
                idle = 0;
            }
        }
    }

    fn park(&self) {
        self.parked.store(true, SeqCst);
        // Either this sees the guest that has just begun, or that guest sees that the thread is parked.
        if self.running.load(SeqCst) > 0 {
            self.parked.store(false, SeqCst);
        }
        while self.parked.load(SeqCst) && !self.ended.load(SeqCst) {
            std::thread::park();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn enter(&self) -> OnThread<'_> {
        self.running.fetch_add(1, SeqCst);
        if self.parked.load(SeqCst) && self.parked.swap(false, SeqCst) {
            self.unpark();
        }
        OnThread(self)
    }
}

/// A guest is on a thread while this lives.
struct OnThread<'a>(&'a Ticker);

impl Drop for OnThread<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// The processor time of one actor's running message.
pub struct Meter {
    ticker: Arc<Ticker>,
    budget_us: u64,
    spent_us: AtomicU64,
    /// A tick has passed, or all time counts: what comes now is measured.
    is_measured: AtomicBool,
    /// Where the clock that counts stood when the guest came onto its thread: that thread's time, or before the first tick the ticks.
    entered: AtomicU64,
    /// How long it was on a thread: finer than what is compared with the budget, and without a system call.
    ran_us: AtomicU64,
}

impl Meter {
    pub fn new(ticker: Arc<Ticker>, budget_ms: u64) -> Meter {
        let budget_us = budget_ms.saturating_mul(1000);
        Meter {
            is_measured: AtomicBool::new(ticker.counts),
            ticker,
            budget_us,
            spent_us: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            ran_us: AtomicU64::new(0),
        }
    }

    pub fn reset(&self) {
        self.spent_us.store(0, Relaxed);
        self.is_measured.store(self.ticker.counts, Relaxed);
        self.ran_us.store(0, Relaxed);
    }

    pub fn ran(&self) -> Duration {
        Duration::from_micros(self.ran_us.load(Relaxed))
    }

    /// For the guest's own thread, while it runs, at a tick.
    pub fn is_used_up(&self) -> bool {
        if !self.is_measured.load(Relaxed) {
            self.measure();
        }
        self.spent_us.load(Relaxed) + thread_us().saturating_sub(self.entered.load(Relaxed)) > self.budget_us
    }

    /// The first tick counts as one, however long this thread had to wait for its processor meanwhile.
    fn measure(&self) {
        self.is_measured.store(true, Relaxed);
        self.spent_us.store(TICK_MS * 1000, Relaxed);
        self.entered.store(thread_us(), Relaxed);
    }

    fn enter(&self) {
        let entered = if self.is_measured.load(Relaxed) { thread_us() } else { self.ticker.now() };
        self.entered.store(entered, Relaxed);
    }

    fn leave(&self) {
        let entered = self.entered.load(Relaxed);
        if self.is_measured.load(Relaxed) {
            let more_us = thread_us().saturating_sub(entered);
            self.spent_us.fetch_add(more_us, Relaxed);
            if self.ticker.counts {
                self.ticker.used_us.fetch_add(more_us, Relaxed);
            }
        } else if self.ticker.now() > entered {
            self.measure();
        }
    }

    /// Runs `guest`, counting the time it is on a thread. `None` when `deadline` was over first.
    pub async fn run<R>(&self, guest: impl Future<Output = R>, deadline: impl Future<Output = ()>) -> Option<R> {
        let mut guest = pin!(guest);
        let mut deadline = pin!(deadline);
        poll_fn(|cx| {
            let polled = {
                let _on_thread = self.ticker.enter();
                self.enter();
                let since = Instant::now();
                let polled = guest.as_mut().poll(cx);
                let ran_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.ran_us.fetch_add(ran_us, Relaxed);
                self.leave();
                polled
            };
            match polled {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                // A guest that never waits never makes a timer.
                Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
    }
}

fn thread_us() -> u64 {
    u64::try_from(thread_time().as_micros()).unwrap_or(u64::MAX)
}

/// Processor time that this thread has used.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec where the pointer says.
    let known = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    match known {
        0 => Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_parks_when_no_guest_runs_and_ticks_again_when_one_does() {
        let engines = Engines::new().expect("this machine runs the sandbox");
        let ticker = Ticker::start(&engines, false).expect("a thread");
        let until = |condition: &dyn Fn() -> bool| {
            (0..2_000).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                condition()
            })
        };
        assert!(until(&|| ticker.parked.load(SeqCst)));
        let parked_at = ticker.now();
        std::thread::sleep(Duration::from_millis(5 * TICK_MS));
        assert_eq!(ticker.now(), parked_at);
        let guest = ticker.enter();
        assert!(until(&|| ticker.now() > parked_at + 2));
        drop(guest);
        ticker.end();
    }
}

//! Two lanes for connections: one that carries much goes aside, so that the others are answered in time.
//!
//! The kernel copies what is sent and read, on the thread that asks for it: a third of a millisecond for each MiB. Requests of a few KiB
//! do not notice each other; beside some that are answered with megabytes each would wait for all of these at every step. So bytes
//! make a debt, and with too much of it the connection's task moves aside, between two polls: to threads that the kernel runs when the
//! others leave it a processor. Once time has forgiven the debt, it comes back. (The runner for components does the same with actors
//! that compute for long.)

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use protocol::limits::{KIB, MIB};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// With more of that a connection goes on aside.
const DEBT_BYTES_MAX: u64 = MIB as u64;
/// What is forgiven of it.
const FORGIVEN_BYTES_PER_MS: u64 = 4 * KIB as u64;
/// Less than that in one turn makes no debt: it is what everybody needs.
const TURN_BYTES_MIN: u64 = 16 * KIB as u64;
/// Beside a busy thread, one of those gets a tenth of the processor.
const ASIDE_NICE: i32 = 10;

pub struct Lanes {
    quick: Handle,
    /// None where one thread does everything, or once this ends.
    aside: Option<Runtime>,
}

/// What a connection has sent and read.
#[derive(Clone, Default)]
pub struct Carried(Arc<AtomicU64>);

impl Carried {
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Lanes {
    /// Beside the runtime that this is called in.
    pub fn start() -> Arc<Lanes> {
        let quick = Handle::current();
        let aside = match quick.runtime_flavor() {
            RuntimeFlavor::CurrentThread => None,
            _ => threads_aside(),
        };
        Arc::new(Lanes { quick, aside })
    }

    /// Runs a connection, which counts what it carries.
    pub fn spawn(self: &Arc<Self>, carried: Carried, connection: impl Future<Output = ()> + Send + 'static) {
        if self.aside.is_none() {
            self.quick.spawn(connection);
            return;
        }
        let lanes = Arc::clone(self);
        let debt = Debt { bytes: 0, since: Instant::now() };
        Task { connection: Some(Box::pin(connection)), carried, counted_bytes: 0, debt, lanes, is_aside: false }.go(false);
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // The last connection may have ended on one of these threads, which cannot wait for themselves.
        if let Some(aside) = self.aside.take() {
            aside.shutdown_background();
        }
    }
}

/// One processor is left to the others whatever these threads do.
fn threads_aside() -> Option<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get());
    let threads = Builder::new_multi_thread()
        .worker_threads(processors.saturating_sub(1).max(1))
        .thread_name("http-aside")
        .on_thread_start(step_back)
        .enable_all()
        .build();
    threads.inspect_err(|error| tracing::warn!(%error, "there are no threads for connections that carry much: all share")).ok()
}

fn step_back() {
    // SAFETY: a system call with three numbers; on Linux 0 is the calling thread. A thread that may not step back is just slower to
    // be preempted.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, ASIDE_NICE) };
}

#[derive(Clone, Copy)]
struct Debt {
    bytes: u64,
    since: Instant,
}

impl Debt {
    fn at(self, now: Instant) -> Debt {
        let passed_ms = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        match passed_ms {
            // The rest of a millisecond counts with the next one.
            0 => self,
            _ => Debt {
                bytes: self.bytes.saturating_sub(passed_ms.saturating_mul(FORGIVEN_BYTES_PER_MS)),
                since: self.since + Duration::from_millis(passed_ms),
            },
        }
    }
}

/// A connection in one of the lanes.
struct Task {
    /// None once it has gone elsewhere.
    connection: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    carried: Carried,
    /// How much of it is in the debt, or was too little.
    counted_bytes: u64,
    debt: Debt,
    lanes: Arc<Lanes>,
    is_aside: bool,
}

impl Task {
    fn go(self, is_aside: bool) {
        let lanes = Arc::clone(&self.lanes);
        let to = lanes.aside.as_ref().filter(|_| is_aside).map_or(&lanes.quick, |aside| aside.handle());
        to.spawn(Task { is_aside, ..self });
    }

    /// What was carried since this was called last makes a debt. Whether it is to go on aside.
    fn charge(&mut self) -> bool {
        let carried_bytes = self.carried.0.load(Ordering::Relaxed);
        let bytes = carried_bytes - self.counted_bytes;
        self.counted_bytes = carried_bytes;
        if bytes < TURN_BYTES_MIN && !self.is_aside {
            return false;
        }
        self.debt = self.debt.at(Instant::now());
        let is_forgiven = self.debt.bytes == 0;
        if bytes >= TURN_BYTES_MIN {
            self.debt.bytes = self.debt.bytes.saturating_add(bytes);
        }
        if self.is_aside { !is_forgiven } else { self.debt.bytes > DEBT_BYTES_MAX }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        let Some(connection) = &mut task.connection else { return Poll::Ready(()) };
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let goes_aside = task.charge();
        if goes_aside == task.is_aside {
            return Poll::Pending;
        }
        // It is polled again there: nobody who has meanwhile woken this one is forgotten.
        let Task { counted_bytes, debt, is_aside, .. } = *task;
        let (connection, carried, lanes) = (task.connection.take(), task.carried.clone(), Arc::clone(&task.lanes));
        Task { connection, carried, counted_bytes, debt, lanes, is_aside }.go(goes_aside);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Carries so much in so many turns, and says where it was after the last one, and where it is once all is forgiven.
    fn check(turns: u64, turn_bytes: u64, expected: [bool; 2]) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let _inside = runtime.enter();
        let (lanes, carried) = (Lanes::start(), Carried::default());
        let (tell, told) = mpsc::channel();
        let counts = carried.clone();
        lanes.spawn(carried, async move {
            let is_aside = || std::thread::current().name() == Some("http-aside");
            for _ in 0..turns {
                counts.add(turn_bytes as usize);
                tokio::task::yield_now().await;
            }
            let then = is_aside();
            tokio::time::sleep(Duration::from_millis(turns * turn_bytes / FORGIVEN_BYTES_PER_MS + 50)).await;
            tokio::task::yield_now().await;
            let _ = tell.send([then, is_aside()]);
        });
        let seen = told.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert_eq!(seen, expected, "{turns} turns of {turn_bytes} bytes: aside after them, and later");
    }

    #[test]
    fn whoever_carries_much_goes_aside_and_comes_back() {
        check(64, 128 * KIB as u64, [true, false]);
        check(3, 256 * KIB as u64, [false, false]);
        check(500, TURN_BYTES_MIN - 1, [false, false]);
    }

    #[test]
    fn one_thread_does_everything_where_there_is_one() {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (lanes, carried) = (Lanes::start(), Carried::default());
            carried.add(100 * MIB);
            let (tell, told) = tokio::sync::oneshot::channel();
            lanes.spawn(carried, async move {
                tokio::task::yield_now().await;
                tell.send(std::thread::current().id()).expect("it is waited for");
            });
            assert_eq!(told.await, Ok(std::thread::current().id()));
        });
    }
}

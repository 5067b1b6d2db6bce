//! Two lanes for actors: whoever computes for long goes aside, so that the others are answered in time.
//!
//! An actor's task begins in the quick lane, on the threads that also serve everything else. There it may compute in short stretches
//! as much as it likes; long ones make a debt. With too much of it the task moves aside, between two polls: to threads that the kernel
//! runs when the others leave it a processor. Once the debt is paid, it comes back.
//!
//! What counts is how long others had to wait for the thread, not how much an actor works: ten thousand short messages a second
//! disturb nobody, a single loop does.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use protocol::id::ActorId;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use crate::actor::lock;
use crate::config::{ASIDE_NICE, DEBT_MAX, DEBT_TIME_SHARE, DEBTORS_MAX, FAULT_DEBT, STRETCH_MAX};
use crate::sandbox::ticker::thread_time;

pub struct Lanes {
    quick: Handle,
    /// None where one thread does everything, or once this ends.
    aside: Option<Runtime>,
    /// By actor, whatever its generation: a fault does not free it of its debt.
    debtors: Mutex<HashMap<ActorId, Arc<Account>>>,
}

impl Lanes {
    /// Beside the runtime that actors begin on.
    pub fn start(quick: Handle) -> io::Result<Arc<Lanes>> {
        let aside = match quick.runtime_flavor() {
            RuntimeFlavor::CurrentThread => None,
            _ => Some(threads_aside()?),
        };
        Ok(Arc::new(Lanes { quick, aside, debtors: Mutex::default() }))
    }

    pub fn spawn(self: &Arc<Self>, actor: ActorId, life: impl Future<Output = ()> + Send + 'static) {
        if self.aside.is_none() {
            self.quick.spawn(life);
            return;
        }
        let account = lock(&self.debtors).get(&actor).cloned();
        let is_aside = account.as_ref().is_some_and(|account| account.debt(Instant::now()) > DEBT_MAX);
        Task { actor, life: Some(Box::pin(life)), lanes: Arc::clone(self), account, is_watched: is_aside, is_aside: false }
            .go(is_aside);
    }

    /// Its guest has failed.
    pub fn charge_fault(&self, actor: ActorId) {
        if self.aside.is_none() {
            return;
        }
        let now = Instant::now();
        let account = lock(&self.debtors).get(&actor).cloned();
        account.unwrap_or_else(|| self.open(actor, now)).charge(FAULT_DEBT, now);
    }

    /// The account of an actor that is in debt for the first time, or again.
    fn open(&self, actor: ActorId, now: Instant) -> Arc<Account> {
        let mut debtors = lock(&self.debtors);
        if debtors.len() >= DEBTORS_MAX {
            debtors.retain(|_, account| account.debt(now) > Duration::ZERO);
        }
        let account = Arc::new(Account(Mutex::new((Duration::ZERO, now))));
        if debtors.len() < DEBTORS_MAX {
            debtors.insert(actor, Arc::clone(&account));
        }
        account
    }

    fn close(&self, actor: ActorId) {
        lock(&self.debtors).remove(&actor);
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // The last actor may have ended on one of these threads, which cannot wait for themselves.
        if let Some(aside) = self.aside.take() {
            aside.shutdown_background();
        }
    }
}

/// One processor is left to the others whatever these threads do: a memory bus has no priorities, nor has a container's share.
fn threads_aside() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(all_but_one())
        .thread_name("wasm-aside")
        .on_thread_start(step_back)
        .enable_all()
        .build()
}

/// For as long as this is held: the threads that a component is compiled on, which step back as well. A compile takes half a minute.
pub fn compilers() -> io::Result<ThreadPool> {
    let threads = ThreadPoolBuilder::new()
        .num_threads(all_but_one())
        .thread_name(|_| "wasm-compile".to_string())
        .start_handler(|_| step_back());
    threads.build().map_err(io::Error::other)
}

fn all_but_one() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get());
    processors.saturating_sub(1).max(1)
}

/// This thread runs after those that have not called this.
pub fn step_back() {
    // SAFETY: a system call with three numbers; on Linux 0 is the calling thread. A thread that may not step back is just slower to
    // be preempted.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, ASIDE_NICE) };
}

/// What an actor owes for its long stretches: grows by their time, and shrinks by a share of all time.
struct Account(Mutex<(Duration, Instant)>);

impl Account {
    fn debt(&self, now: Instant) -> Duration {
        let (debt, since) = *lock(&self.0);
        debt.saturating_sub(now.saturating_duration_since(since) / DEBT_TIME_SHARE)
    }

    fn charge(&self, stretch: Duration, now: Instant) -> Duration {
        let debt = self.debt(now) + stretch;
        *lock(&self.0) = (debt, now);
        debt
    }
}

/// An actor's life in one of the lanes.
struct Task {
    actor: ActorId,
    /// None once it has gone elsewhere.
    life: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lanes: Arc<Lanes>,
    /// None while it owes nothing.
    account: Option<Arc<Account>>,
    /// Its last stretch was long.
    is_watched: bool,
    is_aside: bool,
}

impl Task {
    fn go(self, is_aside: bool) {
        let lanes = Arc::clone(&self.lanes);
        let to = lanes.aside.as_ref().filter(|_| is_aside).map_or(&lanes.quick, |aside| aside.handle());
        to.spawn(Task { is_aside, ..self });
    }

    /// The task goes on elsewhere, where it is polled again: nobody who has meanwhile woken this one is forgotten.
    fn leave(&mut self, is_aside: bool) -> Poll<()> {
        let (lanes, account) = (Arc::clone(&self.lanes), self.account.take());
        Task { actor: self.actor, life: self.life.take(), lanes, account, is_watched: is_aside, is_aside }.go(is_aside);
        Poll::Ready(())
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        let began = Instant::now();
        // Of those that never rest, the time until now was that of others in line before them.
        if !task.is_watched
            && let Some(account) = &task.account
            && account.debt(began).is_zero()
        {
            task.lanes.close(task.actor);
            task.account = None;
            if task.is_aside {
                return task.leave(false);
            }
        }
        // On a busy machine a clock on the wall would charge it for others; but the other one is a system call.
        let began_on_thread = (task.is_watched || task.account.is_some()).then(thread_time);
        let Some(life) = &mut task.life else { return Poll::Ready(()) };
        let polled = life.as_mut().poll(cx);
        let now = Instant::now();
        task.is_watched = now - began >= STRETCH_MAX;
        if !task.is_watched {
            return polled;
        }
        // The first one is charged as the shortest that is long, and those after it are measured.
        let stretch = began_on_thread.map_or(STRETCH_MAX, |began| thread_time().saturating_sub(began));
        if stretch < STRETCH_MAX {
            return polled;
        }
        let account = task.account.get_or_insert_with(|| task.lanes.open(task.actor, now));
        let is_heavy = account.charge(stretch, now) > DEBT_MAX;
        match polled.is_pending() && is_heavy && !task.is_aside {
            true => task.leave(true),
            false => polled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use protocol::id::Id;

    use super::*;

    /// Computes in stretches of this length, so many, and says where it was after the last one and where it is once it owes nothing.
    async fn life(stretch: Duration, stretches: u32, tell: mpsc::Sender<[bool; 2]>) {
        for _ in 0..stretches {
            let began = thread_time();
            while thread_time() - began < stretch {}
            tokio::task::yield_now().await;
        }
        let then = is_aside();
        tokio::time::sleep(stretch * stretches * (DEBT_TIME_SHARE + 5)).await;
        tokio::task::yield_now().await;
        let _ = tell.send([then, is_aside()]);
    }

    fn is_aside() -> bool {
        std::thread::current().name() == Some("wasm-aside")
    }

    fn check(runtime: &Runtime, lanes: &Arc<Lanes>, actor: ActorId, stretch: Duration, stretches: u32, expected: [bool; 2]) {
        let (tell, told) = mpsc::channel();
        let _inside = runtime.enter();
        lanes.spawn(actor, life(stretch, stretches, tell));
        // A runtime of one thread runs nothing by itself.
        let seen = runtime.block_on(async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if let Ok(seen) = told.try_recv() {
                    return seen;
                }
            }
        });
        assert_eq!(seen, expected, "{stretches} stretches of {stretch:?}: aside after them, and later");
    }

    #[test]
    fn whoever_computes_for_long_goes_aside_and_comes_back() {
        let actor = |number| Id::new([number; 16], 1);
        let ms = Duration::from_millis;
        let several = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let lanes = Lanes::start(several.handle().clone()).expect("threads");
        check(&several, &lanes, actor(1), ms(3), 8, [true, false]);
        check(&several, &lanes, actor(2), STRETCH_MAX / 10, 400, [false, false]);
        check(&several, &lanes, actor(3), ms(2), 3, [false, false]);
        let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let lanes = Lanes::start(one.handle().clone()).expect("no threads");
        check(&one, &lanes, actor(1), ms(3), 8, [false, false]);
    }

    #[test]
    fn who_compiles_steps_back_and_nobody_else_does() {
        // SAFETY: a system call with two numbers, about this thread.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let threads = compilers().expect("threads");
        assert_eq!(threads.current_num_threads(), all_but_one());
        assert_eq!(threads.broadcast(|_| nice()), vec![ASIDE_NICE; all_but_one()]);
        assert_eq!((threads.install(nice), nice()), (ASIDE_NICE, before));
    }

    #[test]
    fn so_do_many_at_one_time() {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let lanes = Lanes::start(runtime.handle().clone()).expect("threads");
        let (tell, told) = mpsc::channel();
        // While one waits for the others, its debt shrinks.
        const MANY: u8 = 40;
        for number in 0..MANY {
            lanes.spawn(Id::new([number; 16], 1), life(Duration::from_millis(10), 3, tell.clone()));
        }
        let seen: Vec<[bool; 2]> =
            (0..MANY).map(|_| told.recv_timeout(Duration::from_secs(60)).expect("all of them end")).collect();
        assert_eq!(seen, vec![[true, false]; usize::from(MANY)]);
    }

    #[test]
    fn the_next_generation_goes_on_with_the_debt() {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let lanes = Lanes::start(runtime.handle().clone()).expect("threads");
        let actor = Id::new([1; 16], 1);
        let first = async || {
            let (tell, told) = tokio::sync::oneshot::channel();
            lanes.spawn(actor, async move { tell.send(is_aside()).unwrap_or_default() });
            told.await
        };
        assert_eq!(runtime.block_on(first()), Ok(false));
        let account = lanes.open(actor, Instant::now());
        account.charge(DEBT_MAX * 10, Instant::now());
        assert_eq!(runtime.block_on(first()), Ok(true));
        *lock(&account.0) = (Duration::ZERO, Instant::now());
        assert_eq!(runtime.block_on(first()), Ok(false));
        lanes.charge_fault(actor);
        assert_eq!(runtime.block_on(first()), Ok(true), "a fault is work too");
    }
}

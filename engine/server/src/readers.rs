//! The threads that read: the store and the files of components block, and nothing asynchronous may.
//!
//! Two doors. What the core asks for is bounded by the requests, calls and alarms that it is working on and must be answered,
//! or the core would wait for ever. Everybody else is refused while too much is waiting.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use engine_store::{State, StoreError};
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::lock::lock;

/// Reads of runners and of the API that may wait at one time.
pub const READS_WAITING_MAX: usize = 16_384;

type Job = Box<dyn FnOnce(&State) + Send>;

pub struct Readers {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    idle_threads: usize,
    stopped: bool,
}

impl Readers {
    pub fn start(state: State, threads: usize) -> io::Result<Readers> {
        let queue = Arc::new(Queue::default());
        let spawn = |number| {
            let (queue, state) = (queue.clone(), state.clone());
            thread::Builder::new().name(format!("reader-{number}")).spawn(move || {
                while let Some(job) = queue.next() {
                    job(&state);
                }
            })
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(Readers { queue, threads: Mutex::new(threads) })
    }

    /// Does no more jobs, and waits for those under way: then nobody reads any more.
    pub fn stop(&self) {
        lock(&self.queue.waiting).stopped = true;
        self.queue.filled.notify_all();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader thread ended by a panic");
            }
        }
    }

    /// For what the core asked for.
    pub fn read_for_core(&self, job: impl FnOnce(&State) + Send + 'static) {
        self.push(lock(&self.queue.waiting), Box::new(job));
    }

    /// False if too much is waiting; then the job is not done.
    pub fn try_read(&self, job: impl FnOnce(&State) + Send + 'static) -> bool {
        let waiting = lock(&self.queue.waiting);
        if waiting.jobs.len() >= READS_WAITING_MAX {
            return false;
        }
        self.push(waiting, Box::new(job));
        true
    }

    /// For the API: reads and waits for the answer.
    pub async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let accepted = self.try_read(move |state| {
            // Who asked may have left.
            let _ = answer.send(job(state));
        });
        if !accepted {
            return Err(ApiError::busy(format!("{READS_WAITING_MAX} reads are waiting for the disk; try again in a moment")));
        }
        match answered.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(ApiError::internal(what, &error)),
            Err(_) => Err(ApiError::internal(what, &"the read was given up")),
        }
    }

    /// Nothing waits, and nothing is being read.
    pub fn are_idle(&self) -> bool {
        let waiting = lock(&self.queue.waiting);
        waiting.jobs.is_empty() && waiting.idle_threads == lock(&self.threads).len()
    }

    fn push(&self, mut waiting: std::sync::MutexGuard<'_, Waiting>, job: Job) {
        waiting.jobs.push_back(job);
        let wake = waiting.idle_threads > 0;
        drop(waiting);
        // Waking is a system call: not made while every thread is busy anyway.
        if wake {
            self.queue.filled.notify_one();
        }
    }
}

impl Queue {
    /// None when it is over.
    fn next(&self) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        while !waiting.stopped {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            waiting.idle_threads += 1;
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle_threads -= 1;
        }
        None
    }
}

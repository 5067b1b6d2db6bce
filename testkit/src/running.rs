//! One life of the engine: its runtime, and when it is at rest.
//!
//! Everything asynchronous runs on the thread of the test, and only while a call of the kit is being made. So between two calls
//! nothing happens, but for what a thread of the engine has begun; and each call ends only when that has ended too.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_store::Memory;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rivet_engine::embedded::Embedded;
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Runtime};

use crate::clock::TurnedClock;
use crate::error::Error;

/// How long the actors may be at work on what is due at one moment, by the machine's clock.
const AT_REST_WITHIN: Duration = Duration::from_secs(60);
/// How often threads that are at work are looked at.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// How long those that do not end by themselves may take at the end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Of one answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub struct Running {
    // Dropped in this order.
    embedded: Option<Embedded>,
    runtime: Option<Runtime>,
    pub clock: Arc<TurnedClock>,
    parks: Arc<Parks>,
}

impl Running {
    pub fn start(store: Arc<Memory>, folder: &Path, now_ms: u64) -> Result<Running, Error> {
        let parks = Arc::new(Parks::default());
        let on_park = parks.clone();
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(move || on_park.happens()).build();
        let runtime = runtime.map_err(|error| Error::broken("a runtime cannot be made", &error))?;
        let clock = Arc::new(TurnedClock::new(now_ms));
        let embedded = runtime.block_on(Embedded::start(store, folder, clock.clone()));
        let embedded = embedded.map_err(|error| Error::broken("the engine cannot be started", &error))?;
        Ok(Running { embedded: Some(embedded), runtime: Some(runtime), clock, parks })
    }

    fn embedded(&self) -> &Embedded {
        self.embedded.as_ref().expect("it runs until it is dropped")
    }

    /// Runs everything until this is done.
    pub fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it runs until it is dropped").block_on(task)
    }

    /// Inside [`Running::run`].
    pub fn connect(&self) -> DuplexStream {
        self.embedded().connect()
    }

    /// A request over a connection of its own, and the whole answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let failed = |error: hyper::Error| Error::broken("the engine has not answered", &error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect())).await.map_err(failed)?;
        tokio::spawn(connection);
        let response = sender.send_request(request.map(Full::new)).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Error::broken("the answer was cut off", &error))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// Until there is an answer, or none can come: everything is at rest.
    pub async fn answered<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = self.rest() => Err(Error::WaitsForTime),
        }
    }

    /// Until nothing is under way that does not wait for time.
    ///
    /// # Panics
    ///
    /// If that takes longer than a minute: actors keep each other at work, or a guest waits for something outside.
    pub async fn rest(&self) {
        let began = Instant::now();
        loop {
            self.parks.next().await;
            // No task can go on now, so what threads have to say comes through the inbox, or to an actor that holds the clock.
            if !self.clock.is_held() && self.embedded().is_quiet() {
                return;
            }
            assert!(
                began.elapsed() < AT_REST_WITHIN,
                "the actors are still at work after {AT_REST_WITHIN:?} of the machine's time"
            );
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.embedded = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_WITHIN);
        }
    }
}

/// When the runtime has nothing to do.
#[derive(Default)]
struct Parks {
    count: AtomicU64,
    waiting: Mutex<Option<Waker>>,
}

impl Parks {
    fn happens(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Only for what [`Runtime::block_on`] runs: it is the first to go on, before any task.
    async fn next(&self) {
        let before = self.count.load(Ordering::Relaxed);
        poll_fn(|context| {
            if self.count.load(Ordering::Relaxed) != before {
                return Poll::Ready(());
            }
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

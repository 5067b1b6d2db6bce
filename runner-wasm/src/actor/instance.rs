//! The guest in memory, and its handlers as messages: begin, call, then commit or drop.
//!
//! An error from here ends the instance: what it holds in memory may be half changed. Whoever waits for an answer has then been
//! told why, behind the gate like every other output.

use std::sync::Arc;
use std::time::Duration;

use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Failure, FailureKind, LogLevel, StartReason, StopReason};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::{Actor, Mail, Request, trap};
use crate::bindings::{self, start, stop};
use crate::component::Prepared;
use crate::host::{self, Host};
use crate::http;
use crate::sandbox::room::Limiter;

pub struct Instance {
    pub actor: Arc<Actor>,
    pub store: Store<Host>,
    pub http: Option<bindings::http::WithHttp>,
    pub wasi_http: Option<Proxy>,
    start: Option<bindings::start::WithStart>,
    stop: Option<bindings::stop::WithStop>,
    alarm: Option<bindings::alarm::WithAlarm>,
    /// Keeps the component from being forgotten while it is in use.
    _prepared: Arc<Prepared>,
    _place: OwnedSemaphorePermit,
}

/// What comes after a message.
pub enum Turn {
    Next,
    Stopped,
}

impl Instance {
    pub async fn new(actor: &Arc<Actor>, prepared: Arc<Prepared>, place: OwnedSemaphorePermit) -> Result<Instance, Failure> {
        let shared = &actor.shared;
        let limiter = Limiter::new(Arc::clone(&shared.room), Arc::clone(&actor.refused), shared.limits.memory_per_actor_bytes);
        let mut store = host::store(&shared.engine, Arc::clone(actor), limiter, Arc::clone(&shared.grants));
        // A component may run code of its own while it is instantiated; it writes nothing then.
        actor.books().state.begin();
        let deadline = deadline(actor);
        let instance = guarded(actor, "initialization", deadline, prepared.pre.instantiate_async(&mut store)).await?;
        actor.books().state.drop_writes();
        let unbound = |error: wasmtime::Error| trap::failure(actor, "initialization", &error);
        Ok(Instance {
            start: prepared.start.as_ref().map(|found| found.load(&mut store, &instance)).transpose().map_err(unbound)?,
            stop: prepared.stop.as_ref().map(|found| found.load(&mut store, &instance)).transpose().map_err(unbound)?,
            alarm: prepared.alarm.as_ref().map(|found| found.load(&mut store, &instance)).transpose().map_err(unbound)?,
            http: prepared.http.as_ref().map(|found| found.load(&mut store, &instance)).transpose().map_err(unbound)?,
            wasi_http: prepared.wasi_http.as_ref().map(|found| found.load(&mut store, &instance)).transpose().map_err(unbound)?,
            actor: Arc::clone(actor),
            store,
            _prepared: prepared,
            _place: place,
        })
    }

    pub async fn take(&mut self, mail: Mail) -> Result<Turn, Failure> {
        match mail {
            Mail::Request(request) => self.request(request).await.map(|()| Turn::Next),
            Mail::Alarm { scheduled_ms, attempt } => self.alarm(scheduled_ms, attempt).await.map(|()| Turn::Next),
            Mail::Stop(reason) => self.stop(reason).await.map(|()| Turn::Stopped),
        }
    }

    pub async fn start(&mut self) -> Result<(), Failure> {
        use start::exports::rivet::actor::start_handler::StartReason as Reason;
        let Instance { actor, store, start: Some(start), .. } = self else { return Ok(()) };
        let reason = match actor.start.reason {
            StartReason::Created => Reason::Created,
            StartReason::Woken => Reason::Woken,
            StartReason::Restarted => Reason::Restarted,
            StartReason::Upgraded => Reason::Upgraded,
        };
        actor.books().state.begin();
        store.set_epoch_deadline(1);
        let deadline = deadline(actor);
        let called = start.rivet_actor_start_handler().call_start(store, reason);
        let refused = match guarded(actor, "start", deadline, called).await {
            Ok(Ok(())) => {
                actor.commit();
                return Ok(());
            }
            Ok(Err(text)) => Failure {
                kind: FailureKind::StartFailed,
                message: cut(format!("the actor refused to start: {text}"), FAILURE_TEXT_BYTES_MAX),
            },
            Err(failure) => failure,
        };
        actor.books().state.drop_writes();
        Err(refused)
    }

    async fn stop(&mut self, reason: StopReason) -> Result<(), Failure> {
        use stop::exports::rivet::actor::stop_handler::StopReason as Reason;
        let Instance { actor, store, stop: Some(stop), .. } = self else { return Ok(()) };
        let reason = match reason {
            StopReason::Sleep => Reason::Sleep,
            StopReason::Stop | StopReason::Destroy => Reason::Destroy,
            StopReason::GoingAway | StopReason::Lost => Reason::GoingAway,
        };
        actor.books().state.begin();
        store.set_epoch_deadline(1);
        let deadline = deadline(actor);
        let called = guarded(actor, "stop", deadline, stop.rivet_actor_stop_handler().call_stop(store, reason)).await;
        match called {
            Ok(()) => actor.commit(),
            Err(_) => actor.books().state.drop_writes(),
        }
        called
    }

    async fn alarm(&mut self, scheduled_ms: u64, attempt: u32) -> Result<(), Failure> {
        // It has been set to another moment, or cleared, since the engine sent this.
        if self.actor.books().state.alarm_ms() != Some(scheduled_ms) {
            return Ok(());
        }
        self.actor.books().state.begin_alarm();
        let Instance { actor, store, alarm: Some(alarm), .. } = self else {
            self.actor.log(LogLevel::Warn, "the alarm went off, and the component has no alarm-handler".to_string());
            self.actor.commit_alarm(scheduled_ms, false);
            return Ok(());
        };
        store.set_epoch_deadline(1);
        let deadline = deadline(actor);
        let called = alarm.rivet_actor_alarm_handler().call_fired(store, scheduled_ms, attempt);
        match guarded(actor, "alarm", deadline, called).await {
            Ok(Ok(())) => actor.commit_alarm(scheduled_ms, false),
            Ok(Err(text)) => {
                actor.log(LogLevel::Error, format!("the alarm handler refused, attempt {attempt}: {text}"));
                actor.books().state.drop_writes();
                actor.commit_alarm(scheduled_ms, true);
            }
            Err(failure) => {
                actor.books().state.drop_writes();
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Of a component with both HTTP handlers, ours is called: it says more about actors, and costs less.
    async fn request(&mut self, request: Box<Request>) -> Result<(), Failure> {
        if request.route.is_gone() {
            return Ok(());
        }
        if self.http.is_some() {
            return http::buffered::serve(self, request).await;
        }
        if self.wasi_http.is_some() {
            return http::streaming::serve(self, *request).await;
        }
        let component = self.actor.start.component.as_ref().map(|deployed| deployed.component.to_string()).unwrap_or_default();
        request.route.abort_with(Failure {
            kind: FailureKind::NotHandled,
            message: format!("the component {component} exports neither rivet:actor/http-handler nor wasi:http/incoming-handler"),
        });
        Ok(())
    }
}

/// Calls into the guest within its limits of time; whatever ends the call early is a failure that is classified and logged.
pub async fn guarded<R>(
    actor: &Actor,
    handler: &str,
    deadline: impl Future<Output = ()>,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> Result<R, Failure> {
    actor.meter.reset();
    actor.refused.reset();
    match actor.meter.run(call, deadline).await {
        Some(Ok(result)) => Ok(result),
        Some(Err(error)) => Err(trap::failure(actor, handler, &error)),
        None => {
            let message = format!("the actor's {handler} handler did not return within {} ms", actor.shared.limits.message_ms);
            actor.log(LogLevel::Error, message.clone());
            Err(Failure { kind: FailureKind::Trapped, message })
        }
    }
}

/// How long a message may take, waits included.
fn deadline(actor: &Actor) -> impl Future<Output = ()> + use<> {
    let limit = Duration::from_millis(actor.shared.limits.message_ms);
    async move { tokio::time::sleep(limit).await }
}

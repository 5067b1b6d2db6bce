//! The guest in memory, and its handlers as messages: begin, call, then commit or drop.
//!
//! An error from here ends the instance: what it holds in memory may be half changed. Whoever waits for an answer has then been
//! told why, behind the gate like every other output.

use std::sync::Arc;

use protocol::component::Handler;
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Failure, FailureKind, LogLevel, StartReason, StopReason};
use wasmtime::Store;

use super::calls::{deadline, guarded};
use super::{Actor, Mail, Request, trap};
use crate::bindings::exports::rivet::actor::{start_handler, stop_handler};
use crate::component::Prepared;
use crate::component::handlers::Bound;
use crate::host::{self, Host};
use crate::http;
use crate::http::clients::Surface;
use crate::sandbox::room::{Limiter, Place};

pub struct Instance {
    pub actor: Arc<Actor>,
    pub store: Store<Host>,
    pub handlers: Bound,
    /// Keeps the component from being forgotten while it is in use.
    pub prepared: Arc<Prepared>,
    _place: Place,
}

/// What comes after a message.
pub enum Turn {
    Next,
    Stopped,
}

impl Instance {
    pub async fn new(actor: &Arc<Actor>, prepared: Arc<Prepared>, place: Place) -> Result<Instance, Failure> {
        let shared = &actor.shared;
        let limiter = Limiter::new(Arc::clone(&shared.room), Arc::clone(&actor.share), actor.limits.memory_bytes);
        let mut store = host::store(prepared.pre.engine(), Arc::clone(actor), limiter, Arc::clone(&shared.grants));
        // A component may run code of its own while it is instantiated; it writes nothing then.
        actor.books().state.begin();
        let limit_ms = shared.limits.message_ms;
        let call = actor.stack.first(prepared.pre.instantiate_async(&mut store));
        let instance = guarded(actor, "initialization", limit_ms, deadline(limit_ms), call).await?;
        actor.drop_writes();
        let bound = prepared.handlers.bind(&mut store, &instance);
        let handlers = bound.map_err(|error| trap::failure(actor, "initialization", &error))?;
        Ok(Instance { actor: Arc::clone(actor), store, handlers, prepared, _place: place })
    }

    pub async fn take(&mut self, mail: Mail) -> Result<Turn, Failure> {
        let span = self.actor.follow(&mail);
        let taken = self.handle(mail).await;
        self.actor.leave(span, taken.as_ref().map(drop));
        taken
    }

    async fn handle(&mut self, mail: Mail) -> Result<Turn, Failure> {
        match mail {
            Mail::Request(request) => self.request(request).await.map(|()| Turn::Next),
            Mail::SocketOpen(open) => self.socket_opens(*open).await.map(|()| Turn::Next),
            Mail::SocketMessage(received) => self.socket_receives(*received).await.map(|()| Turn::Next),
            Mail::SocketEnded(ended) => self.socket_ends(ended).await.map(|()| Turn::Next),
            Mail::Alarm { scheduled_ms, attempt } => self.alarm(scheduled_ms, attempt).await.map(|()| Turn::Next),
            Mail::Stop(reason) => self.stop(reason).await.map(|()| Turn::Stopped),
        }
    }

    /// What another version of the component wrote becomes this one's. An error has left it as it was.
    pub async fn migrate(&mut self) -> Result<(), Failure> {
        let from_version = self.actor.start.component.as_ref().and_then(|deployed| deployed.migrate_from);
        let Some(from_version) = from_version.filter(|_| self.has(Handler::Migrate)) else { return Ok(()) };
        match self.call_migrate(from_version).await? {
            Ok(()) => self.actor.commit().await,
            Err(text) => {
                self.actor.drop_writes();
                let message = format!("the migrate handler refused what version {from_version} wrote: {text}");
                self.actor.log(LogLevel::Error, message.clone());
                Err(Failure { kind: FailureKind::StartFailed, message })
            }
        }
    }

    pub async fn start(&mut self) -> Result<(), Failure> {
        use start_handler::StartReason as Reason;
        if !self.has(Handler::Start) {
            return Ok(());
        }
        let reason = match self.actor.start.reason {
            StartReason::Created => Reason::Created,
            StartReason::Woken => Reason::Woken,
            StartReason::Restarted => Reason::Restarted,
            StartReason::Upgraded => Reason::Upgraded,
        };
        match self.call_start(reason).await? {
            Ok(()) => self.actor.commit().await,
            Err(text) => {
                self.actor.drop_writes();
                let message = cut(format!("the actor refused to start: {text}"), FAILURE_TEXT_BYTES_MAX);
                Err(Failure { kind: FailureKind::StartFailed, message })
            }
        }
    }

    async fn stop(&mut self, reason: StopReason) -> Result<(), Failure> {
        use stop_handler::StopReason as Reason;
        if !self.has(Handler::Stop) {
            return Ok(());
        }
        let reason = match reason {
            StopReason::Sleep => Reason::Sleep,
            StopReason::Stop | StopReason::Destroy => Reason::Destroy,
            StopReason::GoingAway | StopReason::Lost => Reason::GoingAway,
        };
        self.call_stop(reason).await?;
        self.actor.commit().await
    }

    /// Of a component with both HTTP handlers, ours is called: it says more about actors, and costs less.
    async fn request(&mut self, mut request: Box<Request>) -> Result<(), Failure> {
        if request.route.is_gone() {
            return Ok(());
        }
        if self.prepared.takes_clients {
            let surface = http::clients::surface(&request.head.method, &request.head.path);
            if let Surface::Raw(path) = surface {
                request.head.path = path;
            } else if surface != Surface::Other {
                return http::clients::serve(self, request, surface).await;
            }
        }
        if self.has(Handler::Http) {
            return http::buffered::serve(self, request).await;
        }
        if self.has(Handler::WasiHttp) {
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

//! The guest's handlers, each as a message: its transaction begins, and the guest is called within its limits.
//!
//! Whoever calls one then commits ([`Actor::commit`]) or drops ([`Actor::drop_writes`]) what it wrote, and says what there is to
//! say behind the gate ([`Actor::say`]). An error is the end of the guest: what it wrote has been dropped, and the instance must not
//! be called again. So whether there is such a handler is asked before ([`Instance::has`]).

use std::time::Duration;

use protocol::component::Handler;
use protocol::message::{Failure, FailureKind, LogLevel};
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use super::{Actor, Instance, trap};
use crate::bindings::exports::rivet::actor::action_handler::{Call, Origin};
use crate::bindings::exports::rivet::actor::http_handler::{Request, Response};
use crate::bindings::exports::rivet::actor::queue_handler::Queued;
use crate::bindings::exports::rivet::actor::start_handler::StartReason;
use crate::bindings::exports::rivet::actor::stop_handler::StopReason;
use crate::bindings::exports::rivet::actor::websocket_handler::OpenRequest;
use crate::bindings::rivet::actor::types::{Failure as Refused, Message};

/// What a handler answered; an error has ended the guest.
pub type Called<R> = Result<R, Failure>;

/// Why a call of the guest came to nothing.
pub enum Halt {
    Failed(Failure),
    /// It had not returned when its time was over.
    Late(Failure),
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Failure {
        match halt {
            Halt::Failed(failure) | Halt::Late(failure) => failure,
        }
    }
}

impl Instance {
    pub fn has(&self, handler: Handler) -> bool {
        self.prepared.info.handlers.contains(&handler)
    }

    pub async fn call_migrate(&mut self, from_version: u32) -> Called<Result<(), String>> {
        self.message("migrate", self.handlers.migrate, (from_version,)).await.map(|(result,)| result)
    }

    pub async fn call_start(&mut self, reason: StartReason) -> Called<Result<(), String>> {
        self.message("start", self.handlers.start, (reason,)).await.map(|(result,)| result)
    }

    pub async fn call_stop(&mut self, reason: StopReason) -> Called<()> {
        self.message("stop", self.handlers.stop, (reason,)).await
    }

    /// The alarm is no longer set when the guest is called, unless its message is dropped.
    pub async fn call_alarm(&mut self, scheduled_ms: u64, attempt: u32) -> Called<Result<(), String>> {
        let Some(func) = self.handlers.alarm else { return Err(not_exported("alarm")) };
        self.actor.books().state.begin_alarm();
        let limit_ms = self.actor.shared.limits.message_ms;
        Ok(self.guarded("alarm", func, (scheduled_ms, attempt), limit_ms).await.map(|(result,)| result)?)
    }

    /// Somebody waits for what an action gives, and no longer than its limit; nobody waits for that of a schedule.
    pub async fn call_action(&mut self, name: String, args: String, origin: Origin) -> Result<Result<String, Refused>, Halt> {
        let Some(func) = self.handlers.action else { return Err(Halt::Failed(not_exported("action"))) };
        let limit_ms = match origin {
            Origin::Schedule(_) => self.actor.shared.limits.message_ms,
            Origin::Http | Origin::Connection(_) | Origin::Actor(_) => self.actor.limits.action_ms,
        };
        self.actor.books().state.begin();
        self.guarded("action", func, (Call { name, args, origin },), limit_ms).await.map(|(result,)| result)
    }

    pub async fn call_queue(&mut self, message: Queued) -> Called<Result<Option<String>, Refused>> {
        self.message("queue", self.handlers.queue, (message,)).await.map(|(result,)| result)
    }

    pub async fn call_connect(&mut self, id: String, params: Option<String>) -> Called<Result<Vec<u8>, Refused>> {
        self.message("connect", self.handlers.connect, (id, params)).await.map(|(result,)| result)
    }

    pub async fn call_disconnect(&mut self, id: String) -> Called<()> {
        self.message("disconnect", self.handlers.disconnect, (id,)).await
    }

    pub async fn call_socket_open(&mut self, id: String, request: OpenRequest) -> Called<Result<Vec<u8>, Refused>> {
        self.message("websocket open", self.handlers.socket_open, (id, request)).await.map(|(result,)| result)
    }

    pub async fn call_socket_receive(&mut self, id: String, message: Message) -> Called<()> {
        self.message("websocket receive", self.handlers.socket_receive, (id, message)).await
    }

    pub async fn call_socket_close(&mut self, id: String, code: Option<u16>, reason: Option<String>) -> Called<()> {
        self.message("websocket close", self.handlers.socket_close, (id, code, reason)).await
    }

    pub async fn call_http(&mut self, request: Request) -> Called<Response> {
        self.message("http", self.handlers.http, (request,)).await.map(|(response,)| response)
    }

    async fn message<P, R>(&mut self, name: &str, func: Option<TypedFunc<P, R>>, params: P) -> Called<R>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let Some(func) = func else { return Err(not_exported(name)) };
        self.actor.books().state.begin();
        let limit_ms = self.actor.shared.limits.message_ms;
        Ok(self.guarded(name, func, params, limit_ms).await?)
    }

    async fn guarded<P, R>(&mut self, name: &str, func: TypedFunc<P, R>, params: P, limit_ms: u64) -> Result<R, Halt>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.store.set_epoch_deadline(1);
        let called = guarded(&self.actor, name, limit_ms, deadline(limit_ms), func.call_async(&mut self.store, params)).await;
        if called.is_err() {
            self.actor.drop_writes();
        }
        called
    }
}

/// Its memory mappings were counted before it was made, so this is not expected.
fn no_stack(actor: &Actor, handler: &str, error: &std::io::Error) -> Failure {
    let message = format!(
        "the stack for the actor's {handler} handler could not be mapped: {error}; raise the kernel's vm.max_map_count, or see that \
         there is memory"
    );
    actor.log(LogLevel::Error, message.clone());
    Failure { kind: FailureKind::NoRoom, message }
}

/// Calls into the guest within its limits of time; whatever ends the call early is a failure that is classified and logged.
pub async fn guarded<R>(
    actor: &Actor,
    handler: &str,
    limit_ms: u64,
    deadline: impl Future<Output = ()>,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> Result<R, Halt> {
    actor.meter.reset();
    actor.share.begin();
    // Until the call is over, or dropped.
    let _entered = actor.stack.enter().map_err(|error| Halt::Failed(no_stack(actor, handler, &error)))?;
    let called = actor.meter.run(call, deadline).await;
    actor.shared.message_runs.count(actor.meter.ran());
    match called {
        Some(Ok(result)) => Ok(result),
        Some(Err(error)) => Err(Halt::Failed(trap::failure(actor, handler, &error))),
        None => {
            let message = format!("the actor's {handler} handler did not return within {limit_ms} ms");
            actor.log(LogLevel::Error, message.clone());
            Err(Halt::Late(Failure { kind: FailureKind::Trapped, message }))
        }
    }
}

/// How long a message may take, waits included.
pub async fn deadline(limit_ms: u64) {
    tokio::time::sleep(Duration::from_millis(limit_ms)).await;
}

fn not_exported(name: &str) -> Failure {
    let message = format!("the actor was to be called by its {name} handler, which its component does not export");
    Failure { kind: FailureKind::NotHandled, message }
}

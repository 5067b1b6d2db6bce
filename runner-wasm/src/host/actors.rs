//! `rivet:actor/actors`: other actors of the namespace. What is asked of them leaves when what this actor has committed is durable.

use protocol::limits::REQUEST_BODY_BYTES_MAX;
use protocol::message::{Ask, CallError, CallTarget};
use protocol::trace::{self, Followed, Kind};

use super::{Host, json};
use crate::bindings::rivet::actor::actors;
use crate::config::{CALL_MS, CALL_MS_MAX};
use crate::state::Refusal;

impl actors::Host for Host {
    async fn call(
        &mut self,
        to: actors::Target,
        action: String,
        args: String,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Result<String, actors::CallError>> {
        let checked = json::check_name("an action", &action)
            .and_then(|()| json::check_array("the list of arguments", &args, REQUEST_BODY_BYTES_MAX as usize));
        // The guest's number: it may be u32::MAX.
        let timeout_ms = timeout_ms.map_or(CALL_MS, u64::from).min(CALL_MS_MAX);
        Ok(self.ask_actor(to, checked, Ask::Action { name: action, args }, timeout_ms).await)
    }

    async fn push(&mut self, to: actors::Target, queue: String, body: String) -> wasmtime::Result<Result<(), actors::CallError>> {
        let checked = json::check_name("a queue", &queue)
            .and_then(|()| json::check("a message of a queue", &body, REQUEST_BODY_BYTES_MAX as usize));
        Ok(self.ask_actor(to, checked, Ask::Push { queue, body }, CALL_MS).await.map(drop))
    }
}

impl Host {
    async fn ask_actor(
        &mut self,
        to: actors::Target,
        checked: Result<(), Refusal>,
        ask: Ask,
        timeout_ms: u64,
    ) -> Result<String, actors::CallError> {
        let called = match checked {
            Ok(()) => {
                let mut span = trace::child("actors.call", Kind::Client);
                let call = self.actor.call(CallTarget::from(to), ask, timeout_ms);
                let called = trace::follow(Followed::inside(&span), call).await;
                if let Err(error) = &called {
                    span.fail(|| format!("{}.{}", error.group, error.code));
                }
                called
            }
            Err(refusal) => Err(CallError {
                group: "actor".to_string(),
                code: "invalid_call".to_string(),
                message: refusal.text().to_string(),
                metadata: None,
            }),
        };
        called.map_err(|CallError { group, code, message, metadata }| actors::CallError { group, code, message, metadata })
    }
}

impl From<actors::Target> for CallTarget {
    fn from(target: actors::Target) -> CallTarget {
        match target {
            actors::Target::Id(id) => CallTarget::Id(id),
            actors::Target::Get(actors::ActorKey { name, key }) => CallTarget::Get { name, key },
            actors::Target::GetOrCreate(actors::Creation { name, key, input }) => {
                CallTarget::GetOrCreate { name, key, input: input.map(Into::into) }
            }
        }
    }
}

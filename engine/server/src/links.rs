//! What runners say, and whom it concerns.
//!
//! Words about an actor's life go to the core. Responses go straight to the client that waits for them: the core only hears
//! that they are over. Reads go to the reader threads and the answers back over the runner's own link.

use std::sync::Arc;

use engine_core::Input;
use engine_core::refusal::Refusal;
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::link::FromRunnerLink;
use protocol::message::{Failure, FromRunner, KvAnswer, KvQuestion, KvSpace, ToRunner};

use crate::actor_calls::{self, Call};
use crate::engine::Engine;
use crate::readers::READS_WAITING_MAX;
use crate::requests::{Heard, ResponseStart};

/// The engine's end of one runner's link.
pub struct RunnerDoor {
    runner: RunnerId,
    engine: Arc<Engine>,
}

impl RunnerDoor {
    pub fn new(runner: RunnerId, engine: Arc<Engine>) -> RunnerDoor {
        RunnerDoor { runner, engine }
    }

    fn heard(&self, request: RequestId, heard: Heard) {
        match heard {
            Heard::Unknown | Heard::Continues => {}
            Heard::Ended => self.engine.inbox.push(Input::RequestEnded { request }),
            Heard::Broken => {
                tracing::warn!(runner = self.runner.0, request = request.0, "a runner sent a response that breaks the rules");
                let detail = "the response broke the rules, or outpaced its window";
                self.engine.runners.reject(self.runner, request, detail);
                self.engine.inbox.push(Input::RequestEnded { request });
            }
        }
    }

    fn aborted(&self, request: RequestId, failure: Failure) {
        if self.engine.requests.failed(self.runner, request, |actor| Refusal::Failed { actor, failure }.into()) {
            self.engine.inbox.push(Input::RequestEnded { request });
        }
    }

    fn kv(&self, actor: ActorId, generation: Generation, call: u64, space: KvSpace, question: KvQuestion) {
        let (engine, runner) = (self.engine.clone(), self.runner);
        let answer = move |engine: &Engine, result| {
            engine.runners.send(runner, ToRunner::Kv { actor, generation, call, result });
        };
        let accepted = self.engine.readers.try_read(move |state| {
            let result = match question {
                KvQuestion::Get { keys } => state.kv_get(space, actor, &keys).map(|values| Ok(KvAnswer::Get(values))),
                KvQuestion::List { range, reverse, limit, keys_only } => {
                    state.kv_list(space, actor, &range, reverse, limit, keys_only).map(|list| list.map(KvAnswer::List))
                }
            };
            let result = result.unwrap_or_else(|error| {
                tracing::error!(%actor, %error, "an actor's state cannot be read");
                Err("the engine could not read it; its log has the cause".to_string())
            });
            answer(&engine, result);
        });
        if !accepted {
            answer(&self.engine, Err(format!("{READS_WAITING_MAX} reads are waiting for the disk; try again in a moment")));
        }
    }
}

impl FromRunnerLink for RunnerDoor {
    /// Within a process nothing is copied on the way. Runners elsewhere do not ask this.
    fn whole_body_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn send(&self, message: FromRunner) {
        let requests = &self.engine.requests;
        match message {
            FromRunner::Names(_)
            | FromRunner::Event(..)
            | FromRunner::AckCommands(_)
            | FromRunner::Stopping
            | FromRunner::KvWrite { .. }
            | FromRunner::Database { .. }
            | FromRunner::Commit(_)
            | FromRunner::AskStorage { .. }
            | FromRunner::Prepared { .. }
            | FromRunner::RequestReturned { .. } => {
                self.engine.inbox.push(Input::FromRunner { runner: self.runner, message });
            }
            FromRunner::ResponseStart { request, status, headers, body, stream } => {
                self.heard(request, requests.response_start(self.runner, request, ResponseStart { status, headers, body, stream }));
            }
            FromRunner::ResponseChunk { request, body, finish } => {
                self.heard(request, requests.response_chunk(self.runner, request, body, finish));
            }
            FromRunner::ResponseAbort { request, failure } => self.aborted(request, failure),
            FromRunner::RequestWindow { request, consumed_bytes } => requests.request_window(self.runner, request, consumed_bytes),
            FromRunner::RequestBodyCancel { request } => requests.request_body_cancel(self.runner, request),
            FromRunner::SocketOpened { .. }
            | FromRunner::SocketMessage { .. }
            | FromRunner::SocketAck { .. }
            | FromRunner::SocketClose { .. } => {
                if let Some(input) = self.engine.sockets.hear(self.runner, message) {
                    self.engine.inbox.push(input);
                }
            }
            FromRunner::Kv { actor, generation, call, space, question } => self.kv(actor, generation, call, space, question),
            FromRunner::GetComponent { component } => {
                let (engine, runner) = (self.engine.clone(), self.runner);
                // Not refused when much is waiting: a deploy, or the start of actors, depends on it, and it is asked once each.
                self.engine.readers.read_for_core(move |_| {
                    let bytes = engine.components.read(component).map(Into::into).map_err(|error| error.to_string());
                    engine.runners.send(runner, ToRunner::Component { component, bytes });
                });
            }
            FromRunner::CallActor { actor, generation, call, target, ask, timeout_ms, trace } => {
                actor_calls::begin(&self.engine, self.runner, Call { actor, generation, call, target, ask, timeout_ms, trace });
            }
            FromRunner::Log { actor, lines } => self.engine.logs.write(actor, lines),
        }
    }
}

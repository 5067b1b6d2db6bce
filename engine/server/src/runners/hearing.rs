//! What a message from a connected runner leads to.
//!
//! The words about an actor's life, its state and its requests are handed to the runner's door, as those of the engine's own
//! runner are. What is answered here is what never gets that far: ids that are none, questions beyond the limits, responses that
//! no client could be sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use protocol::database::DatabaseError;
use protocol::id::{ActorId, RequestId};
use protocol::limits::{ACTOR_NAME_BYTES_MAX, KIB, MIB};
use protocol::link::FromRunnerLink;
use protocol::message::FromRunner;
use protocol::wire::actor::{ActorCheckpoint, ActorName, EventWrapper};
use protocol::wire::envoy::{ToEnvoy, ToRivet, decode_to_rivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::runner::{ToServer, decode_to_server};
use protocol::wire::tunnel::{MessageId, ToRivetTunnel};
use protocol::wire::{DecodeError, Dialect};

use crate::engine::Engine;
use crate::error::ApiError;
use crate::links::RunnerDoor;
use crate::lock::lock;
use crate::runners::calls::Call;
use crate::runners::ending::Ending;
use crate::runners::from_wire::{self, Asking};
use crate::runners::kv::{self, Wanted};
use crate::runners::reads::Reads;
use crate::runners::remote::{Connection, Outgoing, Remote, has_credit};
use crate::runners::streams::Turn;
use crate::runners::to_wire;

/// What one message of a response, or of a socket, may bring.
pub const PAYLOAD_BYTES_MAX: usize = 20 * MIB;
/// Names of actors that one runner may announce.
const NAMES_MAX: usize = 1_024;
/// JSON that a runner says about itself, or about an actor's name.
const METADATA_BYTES_MAX: usize = 64 * KIB;

pub struct Hearing {
    engine: Arc<Engine>,
    remote: Arc<Remote>,
    connection: Arc<Connection>,
    door: RunnerDoor,
    /// The name of the runner's namespace.
    namespace: String,
    reads: Arc<Reads>,
}

/// What the session itself has to know of a message.
pub struct Heard {
    /// As how many it counts.
    pub messages: u32,
    /// It was a pong to the ping of that moment.
    pub pong: Option<i64>,
}

impl Hearing {
    pub fn new(
        engine: Arc<Engine>,
        remote: Arc<Remote>,
        connection: Arc<Connection>,
        namespace: String,
        reads: Arc<Reads>,
    ) -> Hearing {
        let door = RunnerDoor::new(remote.runner, engine.clone());
        Hearing { engine, remote, connection, door, namespace, reads }
    }

    /// What cannot be read is ignored. An error ends the connection.
    pub fn hear(&self, bytes: Bytes) -> Result<Heard, Ending> {
        let mut heard = Heard { messages: 1, pong: None };
        let message = match decode(self.connection.dialect, bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(runner = self.remote.runner.0, %error, "a message of a runner cannot be read and is ignored");
                return Ok(heard);
            }
        };
        // Another connection may have taken this one's place.
        let Some(_speaking) = self.remote.speaking(&self.connection) else { return Ok(heard) };
        match message {
            ToRivet::Metadata { prepopulate_actor_names, metadata } => {
                self.names(prepopulate_actor_names.unwrap_or_default());
                if let Some(metadata) = metadata.filter(|metadata| is_object(metadata)) {
                    *lock(&self.connection.metadata) = Some(metadata);
                }
            }
            ToRivet::Events { events } => {
                heard.messages = count(events.len());
                self.events(events)?;
            }
            ToRivet::AckCommands { last_command_checkpoints } => {
                heard.messages = count(last_command_checkpoints.len());
                self.acks(&last_command_checkpoints);
            }
            ToRivet::Stopping => {
                let now_ms = self.engine.clock.now_ms();
                // Said twice, the first counts.
                let _ = self.connection.stopping_ms.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
                self.door.send(FromRunner::Stopping);
            }
            ToRivet::Pong { ts } => heard.pong = Some(ts),
            ToRivet::KvRequest { actor_id, request_id, data } => self.kv(&actor_id, request_id, data),
            ToRivet::Tunnel { message_id, message } => self.tunnel(message_id, message),
            about_a_database => {
                if let Some(asking) = from_wire::database(about_a_database) {
                    self.database(asking);
                }
            }
        }
        Ok(heard)
    }

    /// The names of actors that the runner has code for.
    pub fn names(&self, names: Vec<(String, ActorName)>) {
        if names.len() > NAMES_MAX {
            tracing::warn!(runner = self.remote.runner.0, "of the names that a runner announces only {NAMES_MAX} are taken");
        }
        let taken = names.into_iter().take(NAMES_MAX).filter(|(name, _)| (1..=ACTOR_NAME_BYTES_MAX).contains(&name.len()));
        let json = |ActorName { metadata }| if is_object(&metadata) { metadata } else { "{}".to_string() };
        let names: Vec<_> = taken.map(|(name, about)| (name, json(about))).collect();
        if !names.is_empty() {
            self.door.send(FromRunner::Names(names));
        }
    }

    fn events(&self, events: Vec<EventWrapper>) -> Result<(), Ending> {
        for EventWrapper { checkpoint, inner } in events {
            let checkpoint = from_wire::checkpoint(&checkpoint).map_err(|error| {
                tracing::warn!(runner = self.remote.runner.0, %error, "a runner's event has no actor");
                Ending::Internal
            })?;
            if let Some(checkpoint) = checkpoint {
                self.door.send(FromRunner::Event(checkpoint, from_wire::event(inner)));
            }
        }
        Ok(())
    }

    /// Those of actors that cannot be are acknowledgements of nothing.
    fn acks(&self, checkpoints: &[ActorCheckpoint]) {
        let known = checkpoints.iter().filter_map(|checkpoint| from_wire::checkpoint(checkpoint).ok().flatten());
        self.door.send(FromRunner::AckCommands(known.collect()));
    }

    fn kv(&self, actor_id: &str, request_id: u32, data: KvRequestData) {
        let call = Call { connection: self.connection.number, asked: kv::asked(&data), request_id }.number();
        let wanted = match actor_id.parse::<ActorId>() {
            Ok(actor) => kv::wanted(data).map(|wanted| (actor, wanted)),
            Err(error) => Err(kv::not_an_id(actor_id, error)),
        };
        match wanted {
            Ok((actor, Wanted::Read(question))) => self.reads.ask(actor, call, question),
            Ok((actor, Wanted::Write(changes))) => {
                self.reads.wrote(actor, call);
                self.door.send(FromRunner::KvWrite { actor, call, changes });
            }
            Err(message) => self.answer(ToEnvoy::KvResponse { request_id, data: KvResponseData::Error { message } }),
        }
    }

    fn database(&self, asking: Asking) {
        let Asking { actor_id, request_id, asked, question, namespace } = asking;
        let call = Call { connection: self.connection.number, asked, request_id };
        let refused = match actor_id.parse::<ActorId>() {
            Ok(_) if namespace.is_some_and(|namespace| namespace != self.namespace) => kv::NO_ACTOR.to_string(),
            Ok(actor) => return self.door.send(FromRunner::Database { actor, call: call.number(), question }),
            Err(error) => format!("invalid sqlite actor id: {error}"),
        };
        let error = DatabaseError { group: "core", code: "internal_error", message: refused };
        if let Some(answer) = to_wire::database_response(call, Err(error)) {
            self.answer(answer);
        }
    }

    fn tunnel(&self, id: MessageId, message: ToRivetTunnel) {
        let request = from_wire::request(id.stream);
        // Only those with credit count what they say about requests, and what they say about sockets nobody looks at.
        if has_credit(self.connection.dialect) && is_about_a_request(&message) {
            match self.remote.turn(request, id.index) {
                Turn::Next => {}
                Turn::Unknown => return,
                Turn::Gap => {
                    let detail = "gateway detected response stream message index gap";
                    return self.fail(request, ApiError::new("core", "internal_error", detail), detail);
                }
            }
        }
        if payload_bytes(&message) > PAYLOAD_BYTES_MAX {
            return self.too_large(request, &message);
        }
        match message {
            ToRivetTunnel::ResponseStart { status, headers, body, stream } => match from_wire::response_head(status, headers) {
                Ok((status, headers)) => {
                    let body = body.unwrap_or_default();
                    self.door.send(FromRunner::ResponseStart { request, status, headers, body, stream });
                    self.over_unless(stream, request);
                }
                Err(sentence) => {
                    self.fail(request, ApiError::new("actor", "invalid_response", sentence), "the response cannot be sent");
                }
            },
            ToRivetTunnel::ResponseChunk { body, finish } => {
                self.door.send(FromRunner::ResponseChunk { request, body, finish });
                self.over_unless(!finish, request);
            }
            ToRivetTunnel::ResponseAbort { reason } => {
                self.door.send(FromRunner::ResponseAbort { request, failure: from_wire::failure(reason) });
                self.remote.over(request);
            }
            ToRivetTunnel::RequestBodyWindowUpdate { consumed_bytes } => {
                self.door.send(FromRunner::RequestWindow { request, consumed_bytes });
            }
            ToRivetTunnel::RequestBodyCancel => self.door.send(FromRunner::RequestBodyCancel { request }),
            ToRivetTunnel::WebSocketOpen { can_hibernate } => {
                self.door.send(FromRunner::SocketOpened { request, can_hibernate });
            }
            ToRivetTunnel::WebSocketMessage { data, binary } => {
                self.door.send(FromRunner::SocketMessage { request, data, binary });
            }
            ToRivetTunnel::WebSocketMessageAck { index } => self.door.send(FromRunner::SocketAck { request, index }),
            ToRivetTunnel::WebSocketClose { code, reason, hibernate } => {
                self.door.send(FromRunner::SocketClose { request, code, reason, hibernate });
                self.over_unless(hibernate, request);
            }
        }
    }

    fn over_unless(&self, goes_on: bool, request: RequestId) {
        if !goes_on {
            self.remote.over(request);
        }
    }

    fn too_large(&self, request: RequestId, message: &ToRivetTunnel) {
        let sentence = format!("the actor sent more than {PAYLOAD_BYTES_MAX} bytes in one message");
        if is_about_a_request(message) {
            return self.fail(request, ApiError::new("guard", "invalid_response_body", sentence.clone()), &sentence);
        }
        let (code, reason) = (Some(MESSAGE_TOO_BIG), Some(sentence));
        self.door.send(FromRunner::SocketClose { request, code, reason, hibernate: false });
    }

    /// The client gets this error, and the runner is told that the request is over. Nothing happens if it was not its request.
    fn fail(&self, request: RequestId, error: ApiError, detail: &str) {
        if self.engine.requests.failed(self.remote.runner, request, |_| error) {
            self.engine.inbox.push(engine_core::Input::RequestEnded { request });
            self.remote.reject(request, detail);
        }
    }

    fn answer(&self, message: ToEnvoy) {
        match to_wire::encode(self.connection.dialect, message) {
            Ok(bytes) => self.connection.push(Outgoing::Encoded(bytes)),
            Err(error) => tracing::debug!(%error, "an answer is not sent to a runner"),
        }
    }
}

/// As how many messages one with so many parts counts: an empty one is one too.
fn count(parts: usize) -> u32 {
    u32::try_from(parts).unwrap_or(u32::MAX).max(1)
}

/// Of a WebSocket.
const MESSAGE_TOO_BIG: u16 = 1009;

fn decode(dialect: Dialect, bytes: Bytes) -> Result<ToRivet, String> {
    let text = |error: DecodeError| error.to_string();
    match dialect {
        Dialect::Envoy(version) => decode_to_rivet(version, bytes).map_err(text),
        Dialect::Runner(version) => match decode_to_server(version, bytes).map_err(text)? {
            ToServer::Message(message) => Ok(message),
            ToServer::Init(_) => Err("it has introduced itself already".to_string()),
        },
    }
}

fn is_about_a_request(message: &ToRivetTunnel) -> bool {
    match message {
        ToRivetTunnel::ResponseStart { .. }
        | ToRivetTunnel::ResponseChunk { .. }
        | ToRivetTunnel::ResponseAbort { .. }
        | ToRivetTunnel::RequestBodyWindowUpdate { .. }
        | ToRivetTunnel::RequestBodyCancel => true,
        ToRivetTunnel::WebSocketOpen { .. }
        | ToRivetTunnel::WebSocketMessage { .. }
        | ToRivetTunnel::WebSocketMessageAck { .. }
        | ToRivetTunnel::WebSocketClose { .. } => false,
    }
}

fn payload_bytes(message: &ToRivetTunnel) -> usize {
    match message {
        ToRivetTunnel::ResponseStart { body, .. } => body.as_ref().map_or(0, Bytes::len),
        ToRivetTunnel::ResponseChunk { body, .. } => body.len(),
        ToRivetTunnel::WebSocketMessage { data, .. } => data.len(),
        _ => 0,
    }
}

/// Whether this is a JSON object, and not too long to be kept.
pub fn is_object(json: &str) -> bool {
    json.len() <= METADATA_BYTES_MAX && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_for_nothing() {
        for (parts, expected) in [(0, 1), (1, 1), (700, 700), (usize::MAX, u32::MAX)] {
            assert_eq!(count(parts), expected);
        }
    }
}

//! What happens on a socket, each thing as a message of the actor.
//!
//! The guest hears of every socket's end once, in a message of its own, whoever ended it and however the actor lived meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use protocol::component::Handler;
use protocol::id::RequestId;
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Failure, FailureKind, FromRunner, KvRange, KvSpace, LogLevel, SocketOpen, StartReason};
use protocol::trace::Carried;

use super::record;
use super::table::{Connection, Ended, Kind, Meta, Said, Table};
use crate::actor::{Actor, Halt, Held, Instance};
use crate::bindings::exports::rivet::actor::action_handler::Origin;
use crate::bindings::exports::rivet::actor::websocket_handler::OpenRequest;
use crate::bindings::rivet::actor::types::{Failure as Refused, Header, Message};
use crate::client::connection::{self, FromClient, ToClient};
use crate::client::{ClientError, Encoding, handshake, json};
use crate::config::{
    CLOSE_REASON_BYTES_MAX, CONNECTION_RECORDS_PER_READ, CONNECTION_STATE_BYTES_MAX, OUTGOING_BYTES_MAX, SOCKET_INDEX_STEP,
};
use crate::state::{Refusal, State};

/// Closed because of an error; the reason says which.
const ERROR: u16 = 1011;

/// A message of a socket, as it came.
pub struct Received {
    pub request: RequestId,
    pub index: u16,
    pub data: Bytes,
    pub binary: bool,
    pub trace: Carried,
}

/// An action that a client waits for.
#[derive(Clone, Copy)]
struct Call {
    id: u64,
    encoding: Encoding,
}

/// The guest has ended while it handled a message.
struct Vain {
    failure: Failure,
    call: Option<Call>,
    /// What its client is told, if that is not what the failure says by itself.
    told: Option<ClientError>,
}

/// The guest has ended while it handled an action.
pub struct Unanswered {
    pub failure: Failure,
    /// What its caller is told, if that is not what the failure says by itself.
    pub told: Option<ClientError>,
}

impl Instance {
    /// What earlier generations knew of the sockets. Before anything of the guest runs.
    pub async fn restore_sockets(&mut self) -> Result<(), Failure> {
        let actor = &self.actor;
        // What has never run has no sockets; and what cannot open any has none.
        if !self.prepared.takes_clients || actor.start.reason == StartReason::Created {
            return Ok(());
        }
        let mut range = KvRange::prefix(Bytes::from_static(record::PREFIX));
        let mut entries = Vec::new();
        loop {
            let read = actor.list(KvSpace::Runner, range.clone(), false, CONNECTION_RECORDS_PER_READ, false).await;
            let read = read.map_err(|refusal| Failure {
                kind: FailureKind::StartFailed,
                message: format!("its connections could not be read: {}", refusal.text()),
            })?;
            let is_last = read.len() < CONNECTION_RECORDS_PER_READ;
            if let Some((last, _)) = read.last() {
                range.start = [last, &[0][..]].concat().into();
            }
            entries.extend(read);
            if is_last {
                break;
            }
        }
        let (connections, broken) = record::read(entries);
        for text in broken {
            actor.log(LogLevel::Error, text);
        }
        let open: BTreeSet<RequestId> = match &actor.shared.isolated {
            None => actor.start.hibernating.iter().copied().collect(),
            // As if they were connected: what is said to them goes nowhere.
            Some(_) => connections.iter().map(|(request, _)| *request).collect(),
        };
        actor.books().sockets.restore(connections, &open);
        Ok(())
    }

    pub async fn socket_opens(&mut self, open: SocketOpen) -> Result<(), Failure> {
        let request = open.request;
        match self.opens(open).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.refuse_socket(request, &error);
                Ok(())
            }
            Err(failure) => {
                self.refuse_socket(request, &of_failure(&failure));
                Err(failure)
            }
        }
    }

    async fn opens(&mut self, open: SocketOpen) -> Result<Result<(), ClientError>, Failure> {
        let actor = Arc::clone(&self.actor);
        let request = open.request;
        let (path, query) = match open.path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_string())),
            None => (&open.path[..], None),
        };
        let is_client = path == "/connect";
        if !self.prepared.takes_clients || !is_client && !self.has(Handler::Websocket) {
            return Ok(Err(ClientError::new("actor", "not_handled", String::new())));
        }
        if actor.books().sockets.len() >= actor.sockets_max() {
            return Ok(Err(ClientError::new("actor", "too_many_sockets", String::new())));
        }
        let kind = match is_client {
            true => match handshake::params(&open.headers) {
                Ok(params) => Kind::Client { encoding: handshake::socket_encoding(&open.headers), params, events: BTreeSet::new() },
                Err(broken) => return Ok(Err(ClientError::of(broken))),
            },
            false => Kind::Websocket,
        };
        let id = format!("{}-{}", actor.generation, request.0);
        let meta = Meta { id: id.clone(), kind: kind.clone(), connected_ms: actor.shared.clock.now_ms() };
        if let Err(refusal) = actor.on_sockets(|sockets, _| greet(sockets, request, meta, &actor.id.to_string())) {
            actor.drop_writes();
            return Ok(Err(of_refusal(refusal)));
        }
        let called = match kind {
            Kind::Client { params, .. } if self.has(Handler::Connection) => self.call_connect(id, params).await?,
            Kind::Client { .. } => {
                actor.begin();
                Ok(Vec::new())
            }
            Kind::Websocket => self.call_socket_open(id, open_request(path, query, &open)).await?,
        };
        let (kept, refused) = match called {
            Ok(state) => (actor.on_sockets(|sockets, entries| keep(sockets, entries, request, state)), None),
            // An answer, and it commits what was written; but there is no such socket.
            Err(refused) => (actor.on_sockets(|sockets, entries| sockets.refuse(entries, request)), Some(user_error(refused))),
        };
        if let Err(refusal) = kept {
            actor.log(LogLevel::Error, format!("a socket was not opened: {}", refusal.text()));
            actor.drop_writes();
            return Ok(Err(of_refusal(refusal)));
        }
        actor.commit().await?;
        Ok(refused.map_or(Ok(()), Err))
    }

    pub async fn socket_receives(&mut self, received: Received) -> Result<(), Failure> {
        let Received { request, index, .. } = received;
        let actor = Arc::clone(&self.actor);
        let (known, is_new) = {
            let books = actor.books();
            (books.sockets.connection(request).cloned(), books.sockets.is_new(request, index))
        };
        let Some(connection) = known else {
            // The engine has it open, and this actor does not know it: the commit that made its record was never confirmed.
            self.refuse_socket(request, &ClientError::new("actor", "connection_lost", String::new()));
            return Ok(());
        };
        if connection.is_over {
            return Ok(());
        }
        if is_new && let Err(Vain { failure, call, told }) = self.takes(&connection, received).await {
            self.taken_in_vain(request, index, told.unwrap_or_else(|| of_failure(&failure)), call).await;
            return Err(failure);
        }
        actor.say(Held::Sockets(vec![Said::Ack { request, index }]));
        if is_new && index.is_multiple_of(SOCKET_INDEX_STEP) {
            // What may be sent again must be far less than there are indices.
            actor.durable().await;
        }
        Ok(())
    }

    async fn takes(&mut self, connection: &Connection, received: Received) -> Result<(), Vain> {
        let Received { request, index, .. } = received;
        let actor = Arc::clone(&self.actor);
        actor.begin();
        let (verdict, call) = match &connection.meta.kind {
            Kind::Client { encoding, .. } => self.client_says(connection, *encoding, received).await?,
            Kind::Websocket => (self.socket_says(connection, received).await?, None),
        };
        let in_vain = |failure| Vain { failure, call, told: None };
        let counted = actor.on_sockets(|sockets, entries| {
            if let Err(error) = verdict {
                sockets.close(request, ERROR, reason(&error))?;
            }
            sockets.handle(entries, request, index, index.is_multiple_of(SOCKET_INDEX_STEP))
        });
        if let Err(refusal) = counted {
            actor.drop_writes();
            let message = format!("there is no room left for the end of its message: {}", refusal.text());
            return Err(in_vain(Failure { kind: FailureKind::HandlerError, message }));
        }
        actor.commit().await.map_err(in_vain)
    }

    /// Its handler has trapped: the message has written nothing and said nothing. Only that it was handled is kept, because it
    /// would trap again.
    async fn taken_in_vain(&mut self, request: RequestId, index: u16, error: ClientError, call: Option<Call>) {
        let actor = &self.actor;
        let told = call.and_then(|Call { id, encoding }| {
            let message = ToClient::Error { call: Some(id), error: &error, actor: &actor.speaker() };
            let data = connection::write(encoding, message).ok()?.into();
            Some(Said::Message { to: request, data, binary: encoding.is_binary() })
        });
        actor.begin();
        let counted = actor.on_sockets(|sockets, entries| {
            match told {
                Some(told) => sockets.say(told)?,
                // Nobody waits for an answer. But a message is lost, and the client must be able to know.
                None => sockets.close(request, ERROR, reason(&error))?,
            }
            sockets.handle(entries, request, index, true)
        });
        if counted.is_ok() && actor.commit().await.is_ok() {
            actor.say(Held::Sockets(vec![Said::Ack { request, index }]));
        }
    }

    /// What is to become of the socket: an error closes it.
    async fn socket_says(&mut self, connection: &Connection, received: Received) -> Result<Result<(), ClientError>, Vain> {
        let bytes_max = self.actor.message_bytes_max();
        if received.data.len() > bytes_max {
            return Ok(Err(ClientError::incoming_too_long(received.data.len(), bytes_max)));
        }
        if !self.has(Handler::Websocket) {
            // An earlier version of the component had it.
            return Ok(Err(ClientError::new("actor", "not_handled", String::new())));
        }
        let message = match received.binary {
            true => Message::Binary(received.data.into()),
            false => match String::from_utf8(received.data.into()) {
                Ok(text) => Message::Text(text),
                Err(_) => return Ok(Err(ClientError::new("message", "invalid_utf8", String::new()))),
            },
        };
        let called = self.call_socket_receive(connection.meta.id.clone(), message).await;
        called.map(Ok).map_err(|failure| Vain { failure, call: None, told: None })
    }

    async fn client_says(
        &mut self,
        connection: &Connection,
        encoding: Encoding,
        received: Received,
    ) -> Result<(Result<(), ClientError>, Option<Call>), Vain> {
        let bytes_max = self.actor.message_bytes_max();
        if received.data.len() > bytes_max {
            return Ok((Err(ClientError::incoming_too_long(received.data.len(), bytes_max)), None));
        }
        match connection::read(encoding, &received.data, 2 * bytes_max) {
            Err(broken) => Ok((Err(ClientError::of(broken)), None)),
            Ok(FromClient::Subscribe { event, subscribe }) => {
                let request = received.request;
                let subscribed = self.actor.on_sockets(|sockets, entries| sockets.subscribe(entries, request, event, subscribe));
                Ok((subscribed.map_err(of_refusal), None))
            }
            Ok(FromClient::Call { id, name, args }) => {
                let call = Call { id, encoding };
                let origin = Origin::Connection(connection.meta.id.clone());
                let outcome = self.act(name, args, origin).await;
                let outcome = outcome.map_err(|Unanswered { failure, told }| Vain { failure, call: Some(call), told })?;
                Ok((self.answer_call(received.request, call, outcome), Some(call)))
            }
        }
    }

    /// The client is gone, or the actor has closed it.
    pub async fn socket_ends(&mut self, ended: Ended) -> Result<(), Failure> {
        let Ended { request, code, reason } = ended;
        let actor = Arc::clone(&self.actor);
        let Some(connection) = actor.books().sockets.connection(request).cloned() else { return Ok(()) };
        actor.forget_socket(request);
        let id = connection.meta.id.clone();
        let called = match connection.is_client() {
            true if self.has(Handler::Connection) => self.call_disconnect(id).await,
            false if self.has(Handler::Websocket) => self.call_socket_close(id, code, reason).await,
            _ => Ok(()),
        };
        let removed = called.is_ok() && actor.on_sockets(|sockets, entries| sockets.remove(entries, request)).is_ok();
        if !removed {
            // Its handler trapped, or wrote as much as one message may. The socket is over all the same.
            actor.log(LogLevel::Error, "what the last message of a socket wrote was dropped".to_string());
            actor.drop_writes();
            actor.begin();
            let _ = actor.on_sockets(|sockets, entries| sockets.remove(entries, request));
        }
        let committed = actor.commit().await;
        called.and(committed)
    }

    /// Calls the action: its output as JSON text that was checked, or what its caller is refused with.
    pub async fn act(&mut self, name: String, args: String, origin: Origin) -> Result<Result<String, ClientError>, Unanswered> {
        if !self.has(Handler::Action) {
            return Ok(Err(ClientError::action_not_found(&name)));
        }
        let called = match self.call_action(name.clone(), args, origin).await {
            Ok(called) => called,
            Err(Halt::Failed(failure)) => return Err(Unanswered { failure, told: None }),
            Err(Halt::Late(failure)) => {
                let told = Some(ClientError::action_timed_out(&name, self.actor.limits.action_ms));
                return Err(Unanswered { failure, told });
            }
        };
        Ok(match called {
            Ok(output) => match json::check(&output) {
                Ok(()) if output.len() > OUTGOING_BYTES_MAX => {
                    Err(ClientError::outgoing_too_long(output.len(), OUTGOING_BYTES_MAX))
                }
                Ok(()) => Ok(output),
                Err(broken) => {
                    self.actor.log(LogLevel::Error, format!("the action {name} returned what is no JSON: {broken}"));
                    Err(invalid_output(&broken.to_string()))
                }
            },
            Err(refused) if refused.code == "action_not_found" => Err(ClientError::action_not_found(&name)),
            Err(refused) => Err(user_error(refused)),
        })
    }

    fn answer_call(&self, to: RequestId, call: Call, outcome: Result<String, ClientError>) -> Result<(), ClientError> {
        let Call { id, encoding } = call;
        let write = |outcome: &Result<String, ClientError>| {
            let answer = match outcome {
                Ok(output) => ToClient::Answer { call: id, output },
                Err(error) => ToClient::Error { call: Some(id), error, actor: &self.actor.speaker() },
            };
            connection::write(encoding, answer)
        };
        // What can be checked, but not be written, is nested too deep for CBOR by the message around it.
        let data = write(&outcome).or_else(|broken| write(&Err(invalid_output(&broken.to_string()))));
        let data = data.map_err(|broken| invalid_output(&broken.to_string()))?.into();
        let said = Said::Message { to, data, binary: encoding.is_binary() };
        self.actor.on_sockets(|sockets, _| sockets.say(said)).map_err(|_| {
            let message = "the message has said so much to sockets that there is no room for its answer".to_string();
            ClientError::new("message", "outgoing_too_long", message)
        })
    }

    fn refuse_socket(&self, request: RequestId, error: &ClientError) {
        self.actor.say(Held::Sockets(vec![Said::Close { request, code: ERROR, reason: reason(error) }]));
        self.actor.forget_socket(request);
    }
}

fn greet(sockets: &mut Table, request: RequestId, meta: Meta, actor: &str) -> Result<(), Refusal> {
    let greeting = match &meta.kind {
        Kind::Client { encoding, .. } => {
            let written = connection::write(*encoding, ToClient::Init { actor, connection: &meta.id });
            Some((written.map_err(|broken| Refusal::Other(broken.to_string()))?, encoding.is_binary()))
        }
        Kind::Websocket => None,
    };
    sockets.insert(request, meta)?;
    sockets.say(Said::Opened(request))?;
    greeting.map_or(Ok(()), |(data, binary)| sockets.say(Said::Message { to: request, data: data.into(), binary }))
}

fn keep(sockets: &mut Table, entries: &mut State, request: RequestId, state: Vec<u8>) -> Result<(), Refusal> {
    sockets.set_state(entries, request, state)?;
    sockets.store(entries, request)
}

fn invalid_output(what: &str) -> ClientError {
    ClientError::new("actor", "invalid_response", format!("the action's result cannot be sent: {what}"))
}

/// To the engine, behind the gate.
pub fn send(actor: &Actor, said: Said) {
    let message = |request, data, binary| actor.send(FromRunner::SocketMessage { request, data, binary });
    match said {
        Said::Opened(request) => actor.send(FromRunner::SocketOpened { request, can_hibernate: true }),
        Said::Message { to, data, binary } => message(to, data, binary),
        Said::Event { to, frames } => {
            for (request, encoding) in to {
                if let Some(frame) = frames.get(&(encoding as u8)) {
                    message(request, frame.clone(), encoding.is_binary());
                }
            }
        }
        Said::Ack { request, index } => actor.send(FromRunner::SocketAck { request, index }),
        Said::Close { request, code, reason } => {
            actor.send(FromRunner::SocketClose { request, code: Some(code), reason: Some(reason), hibernate: false })
        }
    }
}

/// `group.code`, as a client reads it.
fn reason(error: &ClientError) -> String {
    cut(format!("{}.{}", error.group, error.code), CLOSE_REASON_BYTES_MAX)
}

/// The guest's own refusal.
pub fn user_error(refused: Refused) -> ClientError {
    let Refused { code, message, metadata } = refused;
    // What is no JSON would break the whole answer.
    let metadata = metadata.filter(|metadata| metadata.len() <= CONNECTION_STATE_BYTES_MAX && json::check(metadata).is_ok());
    let code = cut(code, FAILURE_TEXT_BYTES_MAX);
    ClientError { metadata, ..ClientError::new("user", &code, message) }
}

/// The guest has ended: what the engine says to who asked over HTTP, with the same codes.
fn of_failure(failure: &Failure) -> ClientError {
    let code = match failure.kind {
        FailureKind::Cancelled => "cancelled",
        FailureKind::NotHandled => "not_handled",
        FailureKind::HandlerError => "invalid_response",
        FailureKind::Trapped => "trapped",
        FailureKind::CpuTimeExceeded => "cpu_time_exceeded",
        FailureKind::MemoryExceeded => "memory_exceeded",
        FailureKind::StackOverflow => "stack_overflow",
        FailureKind::StartFailed => "start_failed",
        FailureKind::RequestTooLarge => "request_too_large",
        FailureKind::NoRoom => "no_room",
        FailureKind::StorageFull => "storage_full",
        FailureKind::Stopped => "stopped",
        FailureKind::Internal => "internal_error",
    };
    ClientError::new("actor", code, failure.message.clone())
}

fn of_refusal(refusal: Refusal) -> ClientError {
    let text = refusal.text().to_string();
    match refusal {
        Refusal::TooLarge(_) => ClientError::new("message", "incoming_too_long", text),
        Refusal::QuotaExceeded(_) => ClientError::new("actor", "overloaded", text),
        Refusal::Invalid(_) | Refusal::Other(_) => ClientError::new("actor", "invalid_request", text),
    }
}

fn open_request(path: &str, query: Option<String>, open: &SocketOpen) -> OpenRequest {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
        name: name.as_str().to_string(),
        value: value.as_bytes().to_vec(),
    };
    OpenRequest { path: without_prefix(path, "/websocket").to_string(), query, headers: open.headers.iter().map(header).collect() }
}

/// Without the first segment if it is this one; begins with `/`.
pub fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

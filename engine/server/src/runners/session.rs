//! One connection of a runner, from its first message to its last.
//!
//! Two halves that wait for nothing of each other: one reads, and keeps the time; one sends what is queued. A peer that does not
//! read is found out by what queues up for it, one that does not answer by the pings that it owes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::record::RunnerRef;
use engine_core::refusal::Refusal;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use protocol::id::RequestId;
use protocol::message::{Serves, ToRunner};
use protocol::wire::envoy::{ProtocolMetadata, ToEnvoy, encode_to_envoy};
use protocol::wire::runner::{ClientInit, ToClient, encode_to_client};
use protocol::wire::tunnel::{AbortKind, MessageId};
use protocol::wire::{CannotSay, Dialect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::config::RunnerTimes;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::runners::connect::Hello;
use crate::runners::ending::Ending;
use crate::runners::hearing::{Hearing, PAYLOAD_BYTES_MAX, is_object};
use crate::runners::pings::{Clockwork, Pace};
use crate::runners::public_id;
use crate::runners::reads::Reads;
use crate::runners::remote::{Arrival, Connection, Outgoing, Remote};
use crate::runners::to_wire;
use crate::websocket;

/// Commands that wait one after the other are sent together, up to so many.
const COMMANDS_PER_FRAME_MAX: usize = 256;
/// Messages that a runner may send at once; after that one more each `MESSAGE_US`. What comes faster is read later.
const MESSAGES_BURST: u32 = 16_384;
const MESSAGE_US: u64 = 20;

/// How a connection came to its end.
pub(super) enum End {
    /// The other side closed it.
    Closed,
    /// It is not to be closed in order any more: reset, or not a WebSocket's bytes.
    Gone,
    Told(Ending),
    /// A message is longer than any may be; the rest of it is still coming.
    TooLong,
}

pub async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    engine: &Arc<Engine>,
    socket: WebSocketStream<T>,
    hello: Hello,
    ray: &HeaderValue,
    pace: &Pace,
) {
    let (name, pass) = (RunnerRef::of(&hello.profile), hello.pass.clone());
    let first = match introduction(&hello, &engine.runner_times) {
        Ok(first) => first,
        Err(error) => return tracing::error!(%error, "a runner cannot be told how the engine introduces itself"),
    };
    let arrival = || Arrival {
        dialect: hello.dialect,
        profile: hello.profile.clone(),
        metadata: hello.metadata.clone().filter(|metadata| is_object(metadata)),
        now_ms: engine.clock.now_ms(),
        first: first.clone(),
    };
    let (remote, connection, dropped) = engine.runners.attach(&engine.inbox, &name, arrival);
    tracing::info!(runner = remote.runner.0, key = name.key(), protocol = %hello.dialect, "a runner has connected");
    for request in dropped {
        give_up(engine, &remote, request);
    }

    let (sink, stream) = socket.split();
    let reads = Arc::new(Reads::new(engine.clone(), remote.clone()));
    let hearing = Hearing::new(engine.clone(), remote.clone(), connection.clone(), hello.namespace, reads.clone());
    hearing.names(hello.names);
    let mut reading = Reading { engine, remote: &remote, connection: &connection, hearing, stream, pace };
    let mut sending = Sending { engine, connection: &connection, sink, reads };
    let end = tokio::select! {
        end = reading.run() => end,
        () = sending.run() => End::Gone,
        over = pass.over(engine) => End::Told(Ending::Token(over)),
    };
    let (stream, sink) = (reading.stream, sending.sink);
    remote.detach(&engine.inbox, &connection);
    tracing::info!(runner = remote.runner.0, key = name.key(), "a runner's connection has ended");
    if let Ok(socket) = stream.reunite(sink) {
        bid_farewell(socket, end, ray).await;
    }
}

/// What is sent before everything else.
fn introduction(hello: &Hello, times: &RunnerTimes) -> Result<Bytes, CannotSay> {
    // The configuration bounds both to a day.
    let (lost_ms, stop_ms) = (times.lost_ms as i64, times.actor_stop_ms as i64);
    match hello.dialect {
        Dialect::Envoy(version) => {
            let metadata = ProtocolMetadata {
                envoy_lost_threshold: lost_ms,
                actor_stop_threshold: stop_ms,
                max_response_payload_size: PAYLOAD_BYTES_MAX as u64,
            };
            encode_to_envoy(version, &ToEnvoy::Init { metadata })
        }
        Dialect::Runner(version) => {
            let runner_id = match &hello.profile.serves {
                Serves::Pool { namespace, pool, .. } => public_id(*namespace, pool, &hello.profile.key).to_string(),
                Serves::Components => String::new(),
            };
            let init = ClientInit {
                runner_id,
                runner_lost_threshold: lost_ms,
                actor_stop_threshold: stop_ms,
                serverless_drain_grace_period: None,
            };
            encode_to_client(version, &ToClient::Init(init))
        }
    }
}

/// Of this request something could not be kept while the runner was away.
fn give_up(engine: &Engine, remote: &Remote, request: RequestId) {
    let error = |actor| ApiError::from(Refusal::RunnerLost { actor });
    if engine.requests.failed(remote.runner, request, error) {
        engine.inbox.push(Input::RequestEnded { request });
        remote.reject(request, "too much waited for the runner while it was away");
    }
}

pub(super) async fn bid_farewell<T: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<T>, end: End, ray: &HeaderValue) {
    match end {
        End::Gone => {}
        // The library has answered; this flushes it.
        End::Closed => websocket::finish(socket).await,
        End::Told(ending) => websocket::close(socket, ending.close(ray)).await,
        End::TooLong => websocket::close_unread(socket, Ending::Internal.close(ray)).await,
    }
}

/// The half that reads, and keeps the time.
struct Reading<'a, T> {
    engine: &'a Arc<Engine>,
    remote: &'a Remote,
    connection: &'a Connection,
    hearing: Hearing,
    stream: SplitStream<WebSocketStream<T>>,
    pace: &'a Pace,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Reading<'_, T> {
    async fn run(&mut self) -> End {
        let mut clockwork = Clockwork::new(self.engine, self.remote.runner, &self.connection.pings, self.pace);
        let mut allowance = Allowance::new();
        let mut timer = std::pin::pin!(sleep_until(clockwork.next()));
        loop {
            if let Err(ending) = self.pass_time(&mut clockwork) {
                return End::Told(ending);
            }
            timer.as_mut().reset(clockwork.next());
            let message = tokio::select! {
                biased;
                ending = self.connection.ended() => return End::Told(ending),
                () = &mut timer => continue,
                message = self.stream.next() => message,
            };
            let bytes = match message {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(_))) => return End::Closed,
                // Text means nothing here, and control frames are the library's business.
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(tungstenite::Error::Capacity(_))) => return End::TooLong,
                Some(Err(_)) | None => return End::Gone,
            };
            let heard = match self.hearing.hear(bytes) {
                Ok(heard) => heard,
                Err(ending) => return End::Told(ending),
            };
            if let Some(ts) = heard.pong {
                clockwork.ponged(u64::try_from(ts).ok());
            }
            allowance.spend(heard.messages).await;
        }
    }

    /// Sends the ping that is due.
    fn pass_time(&mut self, clockwork: &mut Clockwork) -> Result<(), Ending> {
        if let Some(now_ms) = clockwork.pass()?
            && let Ok(ping) = to_wire::encode(self.connection.dialect, ToEnvoy::Ping { ts: now_ms as i64 })
        {
            self.connection.push(Outgoing::Encoded(ping));
        }
        Ok(())
    }
}

/// How fast a runner may speak.
pub(super) struct Allowance {
    /// When all that it has said is paid for.
    paid_at: Instant,
}

impl Allowance {
    pub fn new() -> Allowance {
        Allowance { paid_at: Instant::now() }
    }

    /// Waits if too much was said.
    pub async fn spend(&mut self, messages: u32) {
        let price = Duration::from_micros(MESSAGE_US);
        let now = Instant::now();
        self.paid_at = self.paid_at.max(now) + price * messages.min(MESSAGES_BURST);
        if self.paid_at > now + price * MESSAGES_BURST {
            sleep_until(self.paid_at - price * MESSAGES_BURST).await;
        }
    }
}

/// The half that sends.
struct Sending<'a, T> {
    engine: &'a Engine,
    connection: &'a Connection,
    sink: SplitSink<WebSocketStream<T>, Message>,
    reads: Arc<Reads>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sending<'_, T> {
    /// Until the connection cannot be written to.
    async fn run(&mut self) {
        loop {
            while let Some(outgoing) = self.connection.pop_if(|_| true) {
                let Some(bytes) = self.frame(outgoing) else { continue };
                if self.sink.feed(Message::Binary(bytes)).await.is_err() {
                    return;
                }
            }
            if self.sink.flush().await.is_err() {
                return;
            }
            self.connection.filled().await;
        }
    }

    fn frame(&mut self, outgoing: Outgoing) -> Option<Bytes> {
        let now_ms = self.engine.clock.now_ms();
        let message = match outgoing {
            Outgoing::Encoded(bytes) => return Some(bytes),
            Outgoing::Reject(request, stamp, detail) => ToEnvoy::Tunnel {
                message_id: MessageId { stream: to_wire::stream(request), index: stamp.index },
                message: to_wire::abort(stamp, AbortKind::InternalError, Some(detail)),
            },
            Outgoing::Say(message, stamp) => {
                if let ToRunner::Kv { actor, call, .. } = &message {
                    self.reads.answered(*actor, *call);
                }
                to_wire::say(message, stamp, now_ms)?
            }
        };
        to_wire::encode(self.connection.dialect, self.more_commands(message, now_ms))
            .inspect_err(|error| tracing::debug!(%error, "a message is not sent to a runner"))
            .ok()
    }

    /// Adds the commands that wait behind this one, if it is one.
    fn more_commands(&self, mut message: ToEnvoy, now_ms: u64) -> ToEnvoy {
        let ToEnvoy::Commands { commands } = &mut message else { return message };
        let is_command = |outgoing: &Outgoing| matches!(outgoing, Outgoing::Say(ToRunner::Command(..), _));
        while commands.len() < COMMANDS_PER_FRAME_MAX
            && let Some(Outgoing::Say(next, stamp)) = self.connection.pop_if(is_command)
        {
            if let Some(ToEnvoy::Commands { commands: more }) = to_wire::say(next, stamp, now_ms) {
                commands.extend(more);
            }
        }
        message
    }
}

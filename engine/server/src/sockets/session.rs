//! The task of one client's socket: listens to the client and to the line, lets the state machine decide, and does what it says.
//!
//! One task does all of it, so what is said about one socket to a runner keeps its order. It waits for nobody: what cannot be
//! written at once waits in a queue, and a client that sends faster than a runner takes is not read meanwhile.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use engine_core::Input;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use protocol::id::RequestId;
use protocol::limits::MIB;
use protocol::message::{SocketOpen, ToRunner};
use protocol::trace::Span;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::engine::Engine;
use crate::requests::Place;
use crate::sockets::kept::Indexed;
use crate::sockets::line::{Line, Word, cost};
use crate::sockets::state::{Act, Event, Machine, Said, Word as ToCore};
use crate::sockets::traced::Traced;
use crate::websocket::{self, Close, WebSocket};

/// A client that says nothing is pinged so often: if it has vanished, the connection fails in the end.
const PING_MS: u64 = 60_000;
/// No client of a runner is read while so much waits to be sent to it.
const BACKLOG_BYTES_MAX: usize = 8 * MIB;
const BACKLOG_PAUSE_MS: u64 = 10;
/// How long a client may take for what was said before its close.
const LAST_WORDS_MS_MAX: u64 = 2_000;

/// What the actor will see of it.
pub struct Head {
    /// Path and query; begins with `/`.
    pub path: String,
    pub headers: HeaderMap,
}

pub struct Session {
    engine: Arc<Engine>,
    request: RequestId,
    line: Arc<Line>,
    /// Until the actor has it.
    head: Option<Head>,
    machine: Machine,
    traced: Traced,
    place: Option<Place>,
    outgoing: VecDeque<Message>,
    /// Something was written and not flushed.
    is_unflushed: bool,
    close: Option<Close>,
    /// What was counted for the machine.
    held_bytes: usize,
    began: Instant,
    timer: Pin<Box<Sleep>>,
    ping_at: Instant,
}

/// What happened; more than one thing may have.
#[derive(Default)]
struct Turn {
    word: Option<Word>,
    frame: Option<Option<Result<Message, Error>>>,
    time: bool,
    /// The client cannot be written to any more.
    broken: bool,
}

/// Whether the client is still there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    There,
    /// What it sends cannot be read any more.
    Unreadable,
    /// It has said goodbye, or is gone.
    Left,
}

impl Session {
    /// `opening`: the span until its actor has taken it.
    pub fn new(engine: &Arc<Engine>, head: Head, ray: HeaderValue, opening: Span) -> Session {
        let request = engine.requests.next_id();
        let began = Instant::now();
        Session {
            engine: engine.clone(),
            request,
            line: engine.sockets.open(request),
            traced: Traced::new(&engine.telemetry, &head.headers, opening, ray.clone()),
            head: Some(head),
            machine: Machine::new(ray),
            place: None,
            outgoing: VecDeque::new(),
            is_unflushed: false,
            close: None,
            held_bytes: 0,
            began,
            timer: Box::pin(sleep_until(began)),
            ping_at: began + Duration::from_millis(PING_MS),
        }
    }

    pub fn request(&self) -> RequestId {
        self.request
    }

    /// Until the socket is over and all who have to know have been told.
    pub async fn run(mut self, mut socket: WebSocket) {
        let mut client = Client::There;
        while client == Client::There && !self.machine.is_over() {
            client = self.turn(Some(&mut socket)).await;
        }
        if client == Client::Left {
            // The answer to the client's close, which the library has ready.
            let answered = tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS_MAX), SinkExt::close(&mut socket));
            let _ = answered.await;
            drop(socket);
            // The actor may have to be woken to hear of it.
            while !self.machine.is_over() {
                self.turn(None).await;
            }
        } else {
            self.engine.sockets.close(self.request);
            self.part(socket, client).await;
        }
    }

    async fn turn(&mut self, mut socket: Option<&mut WebSocket>) -> Client {
        // What is said may never end; others have a turn too.
        tokio::task::coop::consume_budget().await;
        let turn = poll_fn(|context| self.poll_turn(socket.as_deref_mut(), context)).await;
        self.take(turn)
    }

    fn poll_turn(&mut self, socket: Option<&mut WebSocket>, context: &mut Context<'_>) -> Poll<Turn> {
        let mut turn = Turn::default();
        if let Poll::Ready(word) = self.line.poll_word(context) {
            turn.word = Some(word);
        }
        if let Some(socket) = socket {
            if let Poll::Ready(Err(_)) = self.poll_write(socket, context) {
                turn.broken = true;
            }
            if self.reads()
                && let Poll::Ready(frame) = socket.poll_next_unpin(context)
            {
                turn.frame = Some(frame);
            }
        }
        self.set_timer();
        turn.time = self.timer.as_mut().poll(context).is_ready();
        if turn.word.is_some() || turn.frame.is_some() || turn.time || turn.broken { Poll::Ready(turn) } else { Poll::Pending }
    }

    /// Never ready while all is well.
    fn poll_write(&mut self, socket: &mut WebSocket, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outgoing.is_empty() {
            ready!(socket.poll_ready_unpin(context))?;
            if let Some(message) = self.outgoing.pop_front() {
                self.line.give_back(cost(&message));
                self.is_unflushed = true;
                socket.start_send_unpin(message)?;
            }
        }
        if self.is_unflushed {
            ready!(socket.poll_flush_unpin(context))?;
            self.is_unflushed = false;
        }
        Poll::Pending
    }

    fn take(&mut self, turn: Turn) -> Client {
        if let Some(word) = turn.word {
            self.word(word);
        }
        let mut client = Client::There;
        if let Some(frame) = turn.frame {
            client = self.frame(frame);
        }
        if turn.broken && client == Client::There {
            self.handle(Event::ClientLost);
            client = Client::Left;
        }
        if turn.time {
            self.handle(Event::Tick);
            if Instant::now() >= self.ping_at {
                self.ping_at = Instant::now() + Duration::from_millis(PING_MS);
                self.send(Message::Ping(Bytes::new()));
            }
        }
        client
    }

    fn word(&mut self, word: Word) {
        match word {
            Word::Dispatched(place) => {
                let runner = place.runner;
                self.place = Some(place);
                self.handle(Event::Dispatched(runner));
            }
            Word::HoldsBack => self.handle(Event::HoldsBack),
            Word::Hibernates => {
                self.traced.loses_actor();
                self.handle(Event::Hibernates);
                self.place = None;
            }
            Word::Refused(refusal) => {
                tracing::debug!(request = self.request.0, %refusal, "a socket was refused");
                self.handle(Event::Refused(refusal));
            }
            Word::Runner(runner, said) => {
                self.line.give_back(said.bytes());
                match &said {
                    _ if self.place.as_ref().is_none_or(|place| place.runner != runner) => {}
                    Said::Opened { can_hibernate } => self.traced.opens(*can_hibernate),
                    Said::Ack(index) => self.traced.acks(*index),
                    Said::Message(_) | Said::NoText | Said::Close { .. } => {}
                }
                self.handle(Event::Runner(runner, said));
            }
            Word::Ends(group, code) => self.handle(Event::Fails(group, code)),
        }
    }

    fn frame(&mut self, frame: Option<Result<Message, Error>>) -> Client {
        let (event, client) = match frame {
            Some(Ok(Message::Text(text))) => (Event::FromClient { data: text.into(), binary: false }, Client::There),
            Some(Ok(Message::Binary(data))) => (Event::FromClient { data, binary: true }, Client::There),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string())).unzip();
                (Event::ClientCloses { code, reason }, Client::Left)
            }
            // Answered by the library; the answer is written with what is written next.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                self.is_unflushed = true;
                return Client::There;
            }
            Some(Err(Error::Capacity(_))) => (Event::Fails("core", "internal_error"), Client::Unreadable),
            None | Some(Err(Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                (Event::ClientLost, Client::Left)
            }
            Some(Err(_)) => (Event::Fails("ws", "invalid_packet"), Client::Unreadable),
        };
        self.handle(event);
        client
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(self.now_ms(), event);
        self.perform();
        let held_bytes = self.machine.held_bytes();
        self.line.held().sub(self.held_bytes);
        let fits = self.line.held().add(held_bytes);
        let grew = held_bytes > self.held_bytes;
        self.held_bytes = held_bytes;
        if grew && !fits {
            self.handle(Event::Fails("guard", "service_unavailable"));
        }
    }

    fn perform(&mut self) {
        let request = self.request;
        while let Some(act) = self.machine.poll_act() {
            match act {
                Act::OpenActor => self.open_actor(),
                // Sockets that sleep are many and should be small.
                Act::ForgetHead => self.head = None,
                Act::ToActor(message) => {
                    let Some(place) = &self.place else { continue };
                    let trace = self.traced.message(&self.engine, place, &message);
                    let Indexed { index, data, binary } = message;
                    place.link.send(ToRunner::SocketMessage { request, index, data, binary, trace });
                }
                Act::CloseActor { index, code, reason } => self.to_runner(ToRunner::SocketClose { request, index, code, reason }),
                Act::ToClient(message) => self.send(message),
                Act::CloseClient(close) => {
                    tracing::debug!(request = request.0, code = close.code, reason = close.reason, "a client's socket is closed");
                    self.traced.closes(close.code);
                    self.close = Some(close);
                }
                Act::TellCore(word) => self.tell_core(word),
            }
        }
    }

    fn tell_core(&mut self, word: ToCore) {
        let request = self.request;
        self.engine.inbox.push(match word {
            ToCore::Wakes => Input::SocketWakes { request },
            ToCore::Ended => Input::RequestEnded { request },
            ToCore::Aborted => Input::RequestAborted { request },
        });
    }

    fn open_actor(&mut self) {
        let (Some(place), Some(head)) = (&self.place, &self.head) else { return };
        let mut headers = head.headers.clone();
        self.traced.headers(&self.engine, place, &mut headers);
        place.link.send(ToRunner::SocketOpen(SocketOpen {
            request: self.request,
            actor: place.actor,
            generation: place.generation,
            path: head.path.clone(),
            headers,
        }));
    }

    fn to_runner(&self, message: ToRunner) {
        if let Some(place) = &self.place {
            place.link.send(message);
        }
    }

    fn send(&mut self, message: Message) {
        self.line.take_again(cost(&message));
        self.outgoing.push_back(message);
    }

    fn reads(&self) -> bool {
        self.machine.reads() && !self.is_held_up()
    }

    fn is_held_up(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.link.backlog_bytes() > BACKLOG_BYTES_MAX)
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// For whatever is due first. Only ever brought forward: one that rings too early does no harm.
    fn set_timer(&mut self) {
        let due = self.machine.due_ms().map_or(self.ping_at, |due_ms| self.ping_at.min(self.began + Duration::from_millis(due_ms)));
        let due = if self.is_held_up() { due.min(Instant::now() + Duration::from_millis(BACKLOG_PAUSE_MS)) } else { due };
        if self.timer.is_elapsed() || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
    }

    /// What was said before the close goes first.
    async fn part(mut self, mut socket: WebSocket, client: Client) {
        let close = self.close.take();
        let last_words = async {
            for message in self.outgoing.drain(..) {
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        let said = tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS_MAX), last_words).await;
        if let (Ok(Ok(())), Some(close)) = (said, close) {
            match client {
                Client::Unreadable => websocket::close_unread(socket, close).await,
                Client::There | Client::Left => websocket::close(socket, close).await,
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.line.held().sub(self.held_bytes);
        self.engine.sockets.close(self.request);
        self.traced.ends(&self.engine, self.began.elapsed().as_secs());
    }
}

//! One connection of a runner of components: as those of other runners, two halves that wait for nothing of each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use protocol::component::ComponentHash;
use protocol::link::FromRunnerLink;
use protocol::message::FromRunner;
use protocol::wire::components::{PIECE_BYTES, Piece, ToComponents, Welcome, decode_from_components, encode_to_components};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::api::about::VERSION;
use crate::engine::Engine;
use crate::links::RunnerDoor;
use crate::runners::components::connect::Hello;
use crate::runners::components::link::ComponentLink;
use crate::runners::ending::Ending;
use crate::runners::pings::{Clockwork, Pace};
use crate::runners::session::{Allowance, End, bid_farewell};

pub async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    engine: &Arc<Engine>,
    socket: WebSocketStream<T>,
    hello: Hello,
    ray: &HeaderValue,
    pace: &Pace,
) {
    let welcome = ToComponents::Welcome(Welcome { version: VERSION.to_string(), ping_interval_ms: pace.ping, lost_ms: pace.lost });
    let first = match encode_to_components(hello.version, &welcome) {
        Ok(first) => Message::Binary(first),
        Err(error) => return tracing::error!(%error, "a runner cannot be told how the engine introduces itself"),
    };
    let (key, pass) = (hello.profile.key.clone(), hello.pass.clone());
    let link = engine.runners.attach_components(&engine.inbox, hello, engine.clock.now_ms(), first);
    tracing::info!(runner = link.runner.0, key, version = link.version.number(), "a runner of components has connected");

    let (sink, stream) = socket.split();
    let door = RunnerDoor::new(link.runner, engine.clone());
    let mut reading = Reading { engine, link: &link, door, stream, pace };
    let mut sending = Sending { engine, link: &link, sink, piecemeal: None };
    let end = tokio::select! {
        end = reading.run() => end,
        () = sending.run() => End::Gone,
        over = pass.over(engine) => End::Told(Ending::Token(over)),
    };
    let (stream, sink) = (reading.stream, sending.sink);
    engine.runners.detach_components(&engine.inbox, link.runner);
    tracing::info!(runner = link.runner.0, key, "the connection of a runner of components has ended, and with it what it ran");
    if let Ok(socket) = stream.reunite(sink) {
        bid_farewell(socket, end, ray).await;
    }
}

/// The half that reads, and keeps the time.
struct Reading<'a, T> {
    engine: &'a Arc<Engine>,
    link: &'a ComponentLink,
    door: RunnerDoor,
    stream: SplitStream<WebSocketStream<T>>,
    pace: &'a Pace,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Reading<'_, T> {
    async fn run(&mut self) -> End {
        let mut clockwork = Clockwork::new(self.engine, self.link.runner, &self.link.pings, self.pace);
        let mut allowance = Allowance::new();
        let mut timer = std::pin::pin!(sleep_until(clockwork.next()));
        loop {
            if let Err(ending) = self.pass_time(&mut clockwork) {
                return End::Told(ending);
            }
            timer.as_mut().reset(clockwork.next());
            let message = tokio::select! {
                biased;
                ending = self.link.ending.told() => return End::Told(ending),
                () = &mut timer => continue,
                message = self.stream.next() => message,
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => match decode_from_components(self.link.version, bytes) {
                    Ok(message) => self.hear(message),
                    Err(error) => {
                        tracing::warn!(runner = self.link.runner.0, %error, "a runner of components said what cannot be read");
                        return End::Told(Ending::Internal);
                    }
                },
                Some(Ok(Message::Pong(sent))) => clockwork.ponged(sent[..].try_into().ok().map(u64::from_le_bytes)),
                Some(Ok(Message::Close(_))) => return End::Closed,
                // Text means nothing here, and the library answers pings.
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Frame(_))) => {}
                Some(Err(tungstenite::Error::Capacity(_))) => return End::TooLong,
                Some(Err(_)) | None => return End::Gone,
            }
            allowance.spend(1).await;
        }
    }

    fn hear(&self, message: FromRunner) {
        match message {
            FromRunner::GetComponent { component } => self.link.want(component),
            FromRunner::Stopping => {
                self.link.stopping_ms.store(self.engine.clock.now_ms(), Ordering::Relaxed);
                self.door.send(FromRunner::Stopping);
            }
            message => self.door.send(message),
        }
    }

    /// Sends the ping that is due.
    fn pass_time(&mut self, clockwork: &mut Clockwork) -> Result<(), Ending> {
        if let Some(now_ms) = clockwork.pass()? {
            self.link.push(Message::Ping(now_ms.to_le_bytes().to_vec().into()));
        }
        Ok(())
    }
}

/// The half that sends.
struct Sending<'a, T> {
    engine: &'a Arc<Engine>,
    link: &'a ComponentLink,
    sink: SplitSink<WebSocketStream<T>, Message>,
    /// The component that is being sent, and how much of it was.
    piecemeal: Option<(ComponentHash, u64)>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sending<'_, T> {
    /// Until the connection cannot be written to.
    async fn run(&mut self) {
        loop {
            while let Some(frame) = self.link.outbox.pop() {
                if self.sink.feed(frame).await.is_err() {
                    return;
                }
            }
            if self.sink.flush().await.is_err() {
                return;
            }
            // One piece at a time: what is said meanwhile goes before the next.
            match self.piece().await {
                Some(piece) => self.link.push(piece),
                None => self.link.outbox.filled().await,
            }
        }
    }

    /// The next piece of the components that the runner waits for.
    async fn piece(&mut self) -> Option<Message> {
        let (component, at) = match self.piecemeal {
            Some(begun) => begun,
            None => (self.link.next_wanted()?, 0),
        };
        let (tell, told) = oneshot::channel();
        let components = self.engine.components.clone();
        // Not refused when much is waiting: a deploy, or the start of actors, depends on it.
        self.engine.readers.read_for_core(move |_| drop(tell.send(components.read_part(component, at, PIECE_BYTES))));
        // A reader that ends without an answer ends with the engine.
        let part = told.await.ok()?.map_err(|error| format!("the engine cannot read component {component}: {error}"));
        self.piecemeal = part
            .as_ref()
            .ok()
            .filter(|part| part.at + (part.bytes.len() as u64) < part.total)
            .map(|part| (component, part.at + part.bytes.len() as u64));
        let piece = ToComponents::Piece(Piece { component, part });
        encode_to_components(self.link.version, &piece).map(Message::Binary).ok()
    }
}

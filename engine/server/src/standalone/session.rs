//! What is said over one connection, from the engine's welcome to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use protocol::link::FromRunnerLink;
use protocol::message::FromRunner;
use protocol::wire::ComponentsVersion;
use protocol::wire::components::{Assembly, FRAME_BYTES_MAX, ToComponents, Welcome, decode_to_components, encode_from_components};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::outbox::Outbox;
use crate::standalone::dial::Socket;
use crate::standalone::{Config, Hosted, Said};
use crate::websocket::{self, Close};

const VERSION: ComponentsVersion = ComponentsVersion::NEWEST;
/// How long the engine may take to say whether it wants this runner.
const WELCOME_MS_MAX: u64 = 10_000;
/// How often a runner that stops looks whether anything is left.
const LOOK_MS: u64 = 50;
/// Nothing may be left so many times in a row: what was on its way when the engine heard of it has come by then.
const LOOKS: u32 = 4;

/// How a connection came to its end.
pub enum Ended {
    /// As it was told to.
    Stopped,
    /// The engine does not want it: a sentence.
    Refused(String),
    /// It is to be made again.
    Lost(String),
}

pub async fn run(
    config: &Config,
    mut socket: Socket,
    start: impl Fn(Arc<dyn FromRunnerLink>) -> Result<Hosted, String>,
    say: impl Fn(&Said<'_>),
    stop: &mut (impl Future<Output = ()> + Unpin),
    welcomed: impl FnOnce(),
) -> Ended {
    let welcome = match timeout(Duration::from_millis(WELCOME_MS_MAX), hear_welcome(&mut socket)).await {
        Ok(Ok(welcome)) => welcome,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Lost(format!("the engine said nothing within {WELCOME_MS_MAX} ms")),
    };
    let uplink = Arc::new(Uplink::default());
    let hosted = match start(uplink.clone()) {
        Ok(hosted) => hosted,
        Err(sentence) => return Ended::Refused(sentence),
    };
    welcomed();
    say(&Said::Connected { key: &config.key, engine: &config.engine, version: &welcome.version });
    let (mut sink, stream) = socket.split();
    let mut reading = Reading { hosted: &hosted, stream, assembly: Assembly::default(), lost_ms: welcome.lost_ms };
    let told = AtomicBool::new(false);
    let stopping = async {
        stop.await;
        told.store(true, Ordering::Relaxed);
        hand_over(config, &hosted, &uplink, &say).await;
    };
    let ended = tokio::select! {
        ended = reading.run() => ended,
        () = send(&uplink, &mut sink) => Ended::Lost("the connection cannot be written to".to_string()),
        () = uplink.broken.notified() => Ended::Lost("a message could not be sent; the log says which".to_string()),
        () = stopping => Ended::Stopped,
    };
    // From here on nobody hears it.
    uplink.outbox.close();
    if let (Ended::Stopped, Ok(socket)) = (&ended, reading.stream.reunite(sink)) {
        websocket::close(socket, Close::new(websocket::NORMAL, "stopped")).await;
    }
    // Whatever became of the connection: it does not come back.
    if told.load(Ordering::Relaxed) { Ended::Stopped } else { ended }
}

/// The engine's first frame, or why there is none.
async fn hear_welcome(socket: &mut Socket) -> Result<Welcome, Ended> {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => match decode_to_components(VERSION, bytes) {
                Ok(ToComponents::Welcome(welcome)) => Ok(welcome),
                Ok(_) => Err(Ended::Lost("the engine did not begin with a welcome".to_string())),
                Err(error) => Err(Ended::Lost(format!("what the engine says cannot be read: {error}"))),
            },
            Some(Ok(Message::Close(close))) => Err(closed(close)),
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Err(error)) => Err(Ended::Lost(error.to_string())),
            None => Err(Ended::Lost("the engine ended the connection".to_string())),
        };
    }
}

/// What a close of the engine means: whether it helps to come again.
fn closed(close: Option<CloseFrame>) -> Ended {
    let reason = close.map(|close| close.reason.to_string()).unwrap_or_default();
    let code = reason.split('#').next().unwrap_or_default();
    let sentence = match code {
        "api.forbidden" | "guard.missing_header" | "token.revoked" | "token.expired" => {
            "the engine does not take this runner's token; give it one of a runner of all namespaces, or the engine's auth.admin_token, \
             with RIVET_TOKEN or --token"
        }
        "ws.unsupported_protocol_version" => {
            "the engine does not speak this runner's version of the protocol; run the same release of rivet-engine on both sides"
        }
        "ws.invalid_request" => "the engine does not take this runner's key, whose log says why; choose another with --key",
        "guard.must_use_regional_host" => {
            "the engine does not take runners by this host; --endpoint must name one of its topology's valid_hosts"
        }
        "ws.eviction" => "another runner with the same key has connected; give each a --key, or a --cache-dir, of its own",
        "" => return Ended::Lost("the engine closed the connection".to_string()),
        code => return Ended::Lost(format!("the engine closed the connection: {code}")),
    };
    Ended::Refused(format!("{sentence} ({code})"))
}

/// Says that it stops, and waits until nothing is left, or the time is up.
async fn hand_over(config: &Config, hosted: &Hosted, uplink: &Uplink, say: impl Fn(&Said<'_>)) {
    let in_use = (hosted.in_use)();
    tracing::info!(in_use, grace_s = config.grace.as_secs(), "stopping; once more to stop at once");
    say(&Said::Stopping { in_use });
    uplink.send(FromRunner::Stopping);
    let until = Instant::now() + config.grace;
    let mut empty = 0;
    while empty < LOOKS && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        let left = (hosted.in_use)() > 0 || uplink.outbox.bytes() > 0;
        empty = if left { 0 } else { empty + 1 };
    }
    let in_use = (hosted.in_use)();
    if in_use > 0 {
        tracing::warn!(in_use, "stopped before everything was handed over; what was acknowledged is not lost");
    }
    say(&Said::Stopped { in_use });
}

/// The half that reads.
struct Reading<'a> {
    hosted: &'a Hosted,
    stream: SplitStream<Socket>,
    assembly: Assembly,
    /// Without a sign of life for so long the engine has given this runner up, or is gone itself.
    lost_ms: u64,
}

impl Reading<'_> {
    async fn run(&mut self) -> Ended {
        let silence = Duration::from_millis(self.lost_ms);
        let mut timer = std::pin::pin!(sleep_until(Instant::now() + silence));
        loop {
            let message = tokio::select! {
                biased;
                message = self.stream.next() => message,
                () = &mut timer => return Ended::Lost(format!("nothing was heard of the engine for {} ms", self.lost_ms)),
            };
            timer.as_mut().reset(Instant::now() + silence);
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Err(why) = self.hear(bytes) {
                        return Ended::Lost(why);
                    }
                }
                Some(Ok(Message::Close(close))) => return closed(close),
                // The library answers pings.
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Ended::Lost(error.to_string()),
                None => return Ended::Lost("the engine ended the connection".to_string()),
            }
        }
    }

    fn hear(&mut self, bytes: bytes::Bytes) -> Result<(), String> {
        let said = decode_to_components(VERSION, bytes);
        match said.map_err(|error| format!("what the engine says cannot be read: {error}"))? {
            ToComponents::Welcome(_) => return Err("the engine said welcome twice".to_string()),
            ToComponents::Say(message) => self.hosted.link.send(message),
            ToComponents::Piece(piece) => {
                if let Some(component) = self.assembly.add(piece).map_err(|error| error.to_string())? {
                    self.hosted.link.send(component);
                }
            }
        }
        Ok(())
    }
}

/// The half that sends: until the connection cannot be written to.
async fn send(uplink: &Uplink, sink: &mut SplitSink<Socket, Message>) {
    loop {
        while let Some(frame) = uplink.outbox.pop() {
            if sink.feed(frame).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
        uplink.outbox.filled().await;
    }
}

/// What the runner holds of the engine.
#[derive(Default)]
struct Uplink {
    outbox: Outbox,
    /// Something could not be said. What would wait for it waits for ever, so the connection ends.
    broken: Notify,
}

impl FromRunnerLink for Uplink {
    fn send(&self, message: FromRunner) {
        let said = match encode_from_components(VERSION, &message) {
            Ok(frame) if frame.len() <= FRAME_BYTES_MAX => match self.outbox.push(Message::Binary(frame)) {
                true => true,
                false => {
                    // None wait where the connection has ended.
                    let waiting_bytes = self.outbox.bytes();
                    if waiting_bytes > 0 {
                        tracing::warn!(waiting_bytes, "the engine does not read what it is sent");
                    }
                    false
                }
            },
            // The limits of the protocol keep messages below that, and the runner says nothing else: a bug of ours.
            Ok(frame) => {
                tracing::error!(bytes = frame.len(), "a message is longer than the {FRAME_BYTES_MAX} bytes of a frame");
                false
            }
            Err(error) => {
                tracing::error!(%error, "a message cannot be said to an engine elsewhere");
                false
            }
        };
        if !said {
            self.broken.notify_one();
        }
    }
}

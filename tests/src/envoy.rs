//! A runner that connects to the engine and does nothing by itself but answer pings: tests say what it says.

use bytes::Bytes;
use protocol::wire::EnvoyVersion;
use protocol::wire::actor::{
    ActorCheckpoint, ActorIntent, ActorState, Command, CommandWrapper, Event, EventWrapper, StopActorReason, StopCode,
};
use protocol::wire::envoy::{ToEnvoy, ToRivet, decode_to_envoy, encode_to_rivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::runner::{ServerInit, ToClient, ToServer, decode_to_client, encode_to_server};
use protocol::wire::tunnel::{MessageId, ToEnvoyTunnel, ToRivetTunnel};
use protocol::wire::{Dialect, RunnerVersion};
use tokio_tungstenite::tungstenite::Message;

use crate::engine::Engine;
use crate::socket::Socket;

pub struct Envoy {
    pub socket: Socket,
    dialect: Dialect,
    /// Answers pings.
    pub is_alive: bool,
    questions: u32,
}

impl Envoy {
    /// Of the newest version, in the namespace `default`.
    pub async fn connect(engine: &Engine, pool: &str, key: &str) -> Envoy {
        Envoy::connect_as(engine, pool, key, EnvoyVersion::NEWEST, 1).await
    }

    /// Up to the first message, which introduces the engine.
    pub async fn connect_as(engine: &Engine, pool: &str, key: &str, version: EnvoyVersion, code_version: u32) -> Envoy {
        let number = version.number();
        let target = format!(
            "/envoys/connect?protocol_version={number}&namespace=default&envoy_key={key}&version={code_version}&pool_name={pool}"
        );
        Envoy::connect_at(engine, &target, "rivet", version).await
    }

    /// At an address, and with protocols, that say everything.
    pub async fn connect_at(engine: &Engine, target: &str, protocols: &str, version: EnvoyVersion) -> Envoy {
        let socket = Socket::open(engine, target, protocols).await;
        let mut envoy = Envoy { socket, dialect: Dialect::Envoy(version), is_alive: true, questions: 0 };
        let init = envoy.hear().await;
        assert!(matches!(init, ToEnvoy::Init { .. }), "{init:?}");
        envoy
    }

    /// A runner of the protocol before envoys, and the id that the engine gave it.
    pub async fn connect_legacy(engine: &Engine, pool: &str, key: &str, version: RunnerVersion, slots: u32) -> (Envoy, String) {
        let number = version.number();
        let target = format!("/runners/connect?protocol_version={number}&namespace=default&runner_key={key}");
        Envoy::introduce(engine, &target, pool, version, slots).await
    }

    /// The same, at an address of which it says everything else.
    pub async fn introduce(engine: &Engine, target: &str, pool: &str, version: RunnerVersion, slots: u32) -> (Envoy, String) {
        let mut socket = Socket::open(engine, target, "rivet").await;
        let init =
            ServerInit { name: pool.to_string(), version: 1, total_slots: slots, prepopulate_actor_names: None, metadata: None };
        let bytes = encode_to_server(version, &ToServer::Init(init)).expect("every version has Init");
        socket.send(Message::Binary(bytes)).await.expect("the socket is open");
        let first = socket.next().await.expect("the engine answers").expect("a frame").into_data();
        let Ok(ToClient::Init(init)) = decode_to_client(version, first) else { panic!("Init expected") };
        let envoy = Envoy { socket, dialect: Dialect::Runner(version), is_alive: true, questions: 0 };
        (envoy, init.runner_id)
    }

    pub async fn say(&mut self, message: ToRivet) {
        assert!(self.try_say(message).await, "the socket is open");
    }

    /// False if the connection is over.
    pub async fn try_say(&mut self, message: ToRivet) -> bool {
        let bytes = match self.dialect {
            Dialect::Envoy(version) => encode_to_rivet(version, &message),
            Dialect::Runner(version) => encode_to_server(version, &ToServer::Message(message)),
        };
        let bytes = bytes.expect("this version has words for it");
        self.socket.send(Message::Binary(bytes)).await.is_ok()
    }

    /// The next message that is not a ping; none if the connection is over.
    pub async fn try_hear(&mut self) -> Option<ToEnvoy> {
        loop {
            let bytes = match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                other => panic!("a message expected, seen {other:?}"),
            };
            match self.read(bytes) {
                ToEnvoy::Ping { ts } if self.is_alive => drop(self.try_say(ToRivet::Pong { ts }).await),
                ToEnvoy::Ping { .. } => {}
                message => return Some(message),
            }
        }
    }

    /// The next message that is not a ping.
    pub async fn hear(&mut self) -> ToEnvoy {
        loop {
            match self.hear_any().await {
                ToEnvoy::Ping { ts } if self.is_alive => self.say(ToRivet::Pong { ts }).await,
                ToEnvoy::Ping { .. } => {}
                message => return message,
            }
        }
    }

    pub async fn hear_any(&mut self) -> ToEnvoy {
        let bytes = match self.socket.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            other => panic!("a message expected, seen {other:?}"),
        };
        self.read(bytes)
    }

    fn read(&self, bytes: Bytes) -> ToEnvoy {
        match self.dialect {
            Dialect::Envoy(version) => decode_to_envoy(version, bytes).expect("the engine says what can be read"),
            Dialect::Runner(version) => match decode_to_client(version, bytes).expect("the engine says what can be read") {
                ToClient::Message(message) => message,
                ToClient::Init(init) => panic!("a second {init:?}"),
            },
        }
    }

    /// The next message is one command: it, acknowledged.
    pub async fn command(&mut self) -> CommandWrapper {
        let message = self.hear().await;
        let ToEnvoy::Commands { commands } = message else { panic!("a command expected, seen {message:?}") };
        let [command] = &commands[..] else { panic!("one command expected, seen {commands:?}") };
        self.say(ToRivet::AckCommands { last_command_checkpoints: vec![command.checkpoint.clone()] }).await;
        command.clone()
    }

    /// The next command starts an actor: where it stands. Before it may come stops of generations that are given up.
    pub async fn start(&mut self) -> ActorCheckpoint {
        loop {
            match self.command().await {
                CommandWrapper { checkpoint, inner: Command::StartActor { .. } } => return checkpoint,
                CommandWrapper { inner: Command::StopActor { reason: StopActorReason::Lost }, .. } => {}
                other => panic!("a start expected, seen {other:?}"),
            }
        }
    }

    pub async fn event(&mut self, of: &ActorCheckpoint, index: i64, inner: Event) {
        let checkpoint = ActorCheckpoint { index, ..of.clone() };
        self.say(ToRivet::Events { events: vec![EventWrapper { checkpoint, inner }] }).await;
    }

    pub async fn running(&mut self, of: &ActorCheckpoint) {
        self.event(of, 0, Event::StateUpdate { state: ActorState::Running }).await;
    }

    pub async fn sleep(&mut self, of: &ActorCheckpoint, index: i64) {
        self.event(of, index, Event::Intent { intent: ActorIntent::Sleep }).await;
    }

    pub async fn stopped(&mut self, of: &ActorCheckpoint, index: i64, error: Option<&str>) {
        let code = if error.is_some() { StopCode::Error } else { StopCode::Ok };
        let state = ActorState::Stopped { code, message: error.map(str::to_string) };
        self.event(of, index, Event::StateUpdate { state }).await;
    }

    /// Asks, and waits for that answer and no other.
    pub async fn kv(&mut self, actor: &str, data: KvRequestData) -> KvResponseData {
        self.questions += 1;
        let asked = self.questions;
        self.say(ToRivet::KvRequest { actor_id: actor.to_string(), request_id: asked, data }).await;
        match self.hear().await {
            ToEnvoy::KvResponse { request_id, data } if request_id == asked => data,
            other => panic!("the answer to question {asked} expected, seen {other:?}"),
        }
    }

    /// The next message of a client's.
    pub async fn tunnel(&mut self) -> (MessageId, ToEnvoyTunnel) {
        match self.hear().await {
            ToEnvoy::Tunnel { message_id, message } => (message_id, message),
            other => panic!("a client's message expected, seen {other:?}"),
        }
    }

    pub async fn respond(&mut self, to: MessageId, message: ToRivetTunnel) {
        self.say(ToRivet::Tunnel { message_id: to, message }).await;
    }
}

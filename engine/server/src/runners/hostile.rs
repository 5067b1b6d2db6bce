//! What a runner may say that is no friend: after each of its messages the engine lives, answers others, and holds no more memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::input::{Create, Operation, RequestKind, Target};
use engine_core::record::{CrashPolicy, PoolKind, Rate, RunnerConfigRecord, RunnerRef};
use fastrand::Rng;
use http::{HeaderMap, Method, Request};
use protocol::id::{ActorId, Id, NamespaceId, RequestId};
use protocol::message::{Command, RunnerProfile, RunnerProtocol, Serves, ToRunner};
use protocol::wire::actor::{ActorCheckpoint, ActorIntent, ActorName, ActorState, Event, EventWrapper, StopCode};
use protocol::wire::envoy::{ToRivet, encode_to_rivet};
use protocol::wire::kv::{KvListQuery, KvRequestData};
use protocol::wire::sqlite::*;
use protocol::wire::tunnel::{AbortReason, MessageId, StreamId, ToRivetTunnel};
use protocol::wire::{Dialect, EnvoyVersion};
use tokio::sync::oneshot::Receiver;

use super::connect::{self, Refused};
use super::hearing::Hearing;
use super::reads::Reads;
use super::remote::{Arrival, Connection, Outgoing, Remote};
use super::to_wire;
use crate::engine::Engine;
use crate::hostile::Inputs;
use crate::requests::{Head, Reply};
use crate::testing;

const WITHIN: Duration = Duration::from_secs(20);
/// Between checks that others are served.
const MESSAGES_PER_CHECK: u64 = 64;
/// What may be held at the end that was not at the beginning: what is stored is in memory too.
const MEMORY_BYTES_MAX: usize = 1 << 30;
const EVIL: &str = "evil-pool";
const GOOD: &str = "good-pool";

/// A runner, as far as its connection goes: the bytes that it sends and what is queued for it.
struct Runner {
    engine: Arc<Engine>,
    remote: Arc<Remote>,
    connection: Arc<Connection>,
    hearing: Hearing,
    reads: Arc<Reads>,
    /// What it was told to start, the newest last.
    started: Vec<(ActorId, u32)>,
    requests: Vec<RequestId>,
}

impl Runner {
    fn join(engine: &Arc<Engine>, namespace: NamespaceId, pool: &str, version: EnvoyVersion) -> Runner {
        let protocol = RunnerProtocol::Envoy(version.number());
        let serves = Serves::Pool { namespace, pool: pool.to_string(), protocol, slots: None };
        let profile = RunnerProfile { key: format!("{pool}-key"), version: 1, serves };
        let arrival = || Arrival {
            dialect: Dialect::Envoy(version),
            profile: profile.clone(),
            metadata: None,
            now_ms: engine.clock.now_ms(),
            first: Bytes::new(),
        };
        let (remote, connection, _) = engine.runners.attach(&engine.inbox, &RunnerRef::of(&profile), arrival);
        let reads = Arc::new(Reads::new(engine.clone(), remote.clone()));
        let hearing = Hearing::new(engine.clone(), remote.clone(), connection.clone(), "default".to_string(), reads.clone());
        let (started, requests) = (Vec::new(), Vec::new());
        Runner { engine: engine.clone(), remote, connection, hearing, reads, started, requests }
    }

    /// False if the connection is to be closed.
    fn say(&self, version: EnvoyVersion, message: &ToRivet) -> bool {
        match encode_to_rivet(version, message) {
            Ok(bytes) => self.hearing.hear(bytes).is_ok(),
            Err(_) => true,
        }
    }

    /// Takes what is queued for it, as the half of a session that sends does.
    fn take(&mut self) {
        while let Some(outgoing) = self.connection.pop_if(|_| true) {
            let Outgoing::Say(message, stamp) = outgoing else { continue };
            match &message {
                ToRunner::Command(checkpoint, Command::Start(_)) => self.started.push((checkpoint.actor, checkpoint.generation)),
                ToRunner::Request(start) => self.requests.push(start.request),
                ToRunner::Kv { actor, call, .. } => self.reads.answered(*actor, *call),
                _ => {}
            }
            if let Some(message) = to_wire::say(message, stamp, 1) {
                // What its version has no words for is not sent.
                let _ = to_wire::encode(self.connection.dialect, message);
            }
        }
        let many = self.started.len().saturating_sub(16);
        self.started.drain(..many);
        let many = self.requests.len().saturating_sub(64);
        self.requests.drain(..many);
    }

    fn leave(&self) {
        self.remote.detach(&self.engine.inbox, &self.connection);
    }
}

async fn pool(engine: &Engine, namespace: NamespaceId, pool: &str) {
    let record = RunnerConfigRecord {
        namespace,
        pool: pool.to_string(),
        kind: PoolKind::Normal,
        drain_on_version_upgrade: false,
        actor_eviction_delay_s: 0,
        actor_eviction_period_s: 0,
        actor_eviction_rate: Rate::new(1.0),
        metadata: None,
        protocol_version: None,
    };
    let put = Operation::PutRunnerConfig { namespace: "default".to_string(), record: Box::new(record) };
    engine.call(put).await.expect("a pool");
}

async fn namespace(engine: &Engine) -> NamespaceId {
    let name = "default".to_string();
    let create = Operation::CreateNamespace { random: [3; 16], name: name.clone(), display_name: name };
    engine.call(create).await.expect("a namespace");
    engine.directory.namespace("default").expect("it was just made").id
}

fn create(random: &mut Rng, pool: &str, key: &str) -> Operation {
    let policy = random.choice([CrashPolicy::Restart, CrashPolicy::Sleep, CrashPolicy::Destroy]).expect("one of them");
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    let create = Create { random: bytes, pool: pool.to_string(), crash_policy: policy, input: None };
    Operation::GetOrCreateActor { namespace: "default".to_string(), name: "thing".to_string(), key: key.to_string(), create }
}

/// A request to an actor, on its way.
fn ask(engine: &Engine, actor: ActorId) -> Receiver<Reply> {
    let head = Head { method: Method::GET, path: "/".to_string(), headers: HeaderMap::new(), body: Bytes::new(), room: None };
    let (request, reply) = engine.requests.open(head, None).expect("there is room");
    engine.inbox.push(Input::Request { request, target: Target::Id(actor), kind: RequestKind::Http, skip_ready_wait: false });
    reply
}

/// Makes messages up, about what there is and what there is not.
struct Tongue<'a> {
    random: &'a mut Rng,
    started: &'a [(ActorId, u32)],
    requests: &'a [RequestId],
    good: ActorId,
}

impl Tongue<'_> {
    fn number(&mut self) -> u64 {
        let edges = [0, 1, 2, 3, 64, 255, 65_535, u32::MAX.into(), i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
        match self.random.u8(..3) {
            0 => self.random.u64(..),
            _ => edges[self.random.usize(..edges.len())],
        }
    }

    fn text(&mut self) -> String {
        let texts =
            ["", "a", "content-type", "a b", "x\r\ny: z", "\0", "ä", "transfer-encoding", "connection", "{}", "[1]", "{\"a\":1}"];
        match self.random.u8(..40) {
            0 => "x".repeat(70_000),
            _ => texts[self.random.usize(..texts.len())].to_string(),
        }
    }

    fn bytes(&mut self) -> Bytes {
        let length = match self.random.u8(..40) {
            0 => 200_000,
            1 => 4_096,
            _ => self.random.usize(..20),
        };
        Bytes::from(vec![self.random.u8(..3); length])
    }

    /// Mostly few.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = match self.random.u8(..60) {
            0 => 1_500,
            1 => 130,
            _ => self.random.usize(..4),
        };
        (0..count).map(|_| item(self)).collect()
    }

    fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.random.u8(..4) == 0 { None } else { Some(item(self)) }
    }

    fn actor(&mut self) -> (String, u32) {
        match self.random.u8(..12) {
            0 => (self.text(), 1),
            1 => (Id::new([self.random.u8(..); 16], 1).to_string(), 1),
            2 => (Id::new([9; 16], u16::MAX).to_string(), u32::MAX),
            3 => (self.good.to_string(), self.random.u32(..4)),
            _ => match self.random.choice(self.started) {
                Some((actor, generation)) => (actor.to_string(), *generation),
                None => (self.good.to_string(), 1),
            },
        }
    }

    fn checkpoint(&mut self) -> ActorCheckpoint {
        let (actor_id, generation) = match self.random.u8(..200) {
            0 => self.actor(),
            // One that is no id ends the connection, which would be too often.
            _ => loop {
                let actor = self.actor();
                if actor.0.parse::<ActorId>().is_ok() {
                    break actor;
                }
            },
        };
        let generation = if self.random.u8(..10) == 0 { self.number() as u32 } else { generation };
        let index = if self.random.u8(..3) == 0 { self.number() as i64 } else { self.random.i64(..50) };
        ActorCheckpoint { actor_id, generation, index }
    }

    fn event(&mut self) -> EventWrapper {
        let inner = match self.random.u8(..8) {
            0 => Event::Intent { intent: ActorIntent::Sleep },
            1 => Event::Intent { intent: ActorIntent::Stop },
            2 => Event::StateUpdate { state: ActorState::Stopped { code: StopCode::Ok, message: None } },
            3 => {
                let message = self.maybe(Self::text);
                Event::StateUpdate { state: ActorState::Stopped { code: StopCode::Error, message } }
            }
            4 => Event::SetAlarm { alarm_ts: self.maybe(|tongue| tongue.number() as i64) },
            _ => Event::StateUpdate { state: ActorState::Running },
        };
        EventWrapper { checkpoint: self.checkpoint(), inner }
    }

    fn kv(&mut self) -> KvRequestData {
        match self.random.u8(..6) {
            0 => KvRequestData::Get { keys: self.list(Self::bytes) },
            1 => {
                let query = match self.random.u8(..3) {
                    0 => KvListQuery::All,
                    1 => KvListQuery::Range { start: self.bytes(), end: self.bytes(), exclusive: self.random.bool() },
                    _ => KvListQuery::Prefix { key: self.bytes() },
                };
                let (reverse, limit) = (self.maybe(|tongue| tongue.random.bool()), self.maybe(Self::number));
                KvRequestData::List { query, reverse, limit }
            }
            2 => KvRequestData::Put { keys: self.list(Self::bytes), values: self.list(Self::bytes) },
            3 => KvRequestData::Delete { keys: self.list(Self::bytes) },
            4 => KvRequestData::DeleteRange { start: self.bytes(), end: self.bytes() },
            _ => KvRequestData::Drop,
        }
    }

    fn message_id(&mut self) -> MessageId {
        let stream = match self.random.choice(self.requests) {
            Some(request) if self.random.u8(..5) > 0 => to_wire::stream(*request),
            _ => StreamId { gateway_id: [self.random.u8(..); 4], request_id: [self.random.u8(..); 4] },
        };
        let index = if self.random.bool() { self.random.u16(..3) } else { self.random.u16(..) };
        MessageId { stream, index }
    }

    fn tunnel(&mut self) -> ToRivetTunnel {
        match self.random.u8(..9) {
            0 => {
                let status = if self.random.bool() { 200 } else { self.number() as u16 };
                let headers = self.list(|tongue| (tongue.text(), tongue.text()));
                ToRivetTunnel::ResponseStart { status, headers, body: self.maybe(Self::bytes), stream: self.random.bool() }
            }
            1 => ToRivetTunnel::ResponseChunk { body: self.bytes(), finish: self.random.bool() },
            2 => ToRivetTunnel::ResponseAbort { reason: AbortReason { kind: Default::default(), detail: self.maybe(Self::text) } },
            3 => ToRivetTunnel::RequestBodyWindowUpdate { consumed_bytes: self.number() },
            4 => ToRivetTunnel::RequestBodyCancel,
            5 => ToRivetTunnel::WebSocketOpen { can_hibernate: self.random.bool() },
            6 => ToRivetTunnel::WebSocketMessage { data: self.bytes(), binary: self.random.bool() },
            7 => ToRivetTunnel::WebSocketMessageAck { index: self.number() as u16 },
            _ => {
                let code = self.maybe(|tongue| tongue.number() as u16);
                ToRivetTunnel::WebSocketClose { code, reason: self.maybe(Self::text), hibernate: self.random.bool() }
            }
        }
    }

    fn page(&mut self) -> SqliteDirtyPage {
        let pgno = if self.random.u8(..4) == 0 { self.number() as u32 } else { self.random.u32(1..70) };
        let bytes = if self.random.u8(..8) == 0 { self.bytes() } else { Bytes::from(vec![7; 4_096]) };
        SqliteDirtyPage { pgno, bytes }
    }

    fn sql(&mut self) -> String {
        let statements = [
            "create table if not exists t (a, b)",
            "insert into t values (1, 'x')",
            "select * from t limit 9",
            "select",
            "pragma journal_mode = wal",
            "attach 'x' as y",
            "begin",
            "vacuum",
            "select ?1, ?900",
            "select zeroblob(100000)",
            "\0",
            "",
        ];
        statements[self.random.usize(..statements.len())].to_string()
    }

    fn value(&mut self) -> SqliteValue {
        match self.random.u8(..5) {
            0 => SqliteValue::Null,
            1 => SqliteValue::Integer { value: self.number() as i64 },
            2 => SqliteValue::Float { value: self.number().to_be_bytes() },
            3 => SqliteValue::Text { value: self.text() },
            _ => SqliteValue::Blob { value: self.bytes() },
        }
    }

    fn database(&mut self) -> ToRivet {
        let request_id = self.number() as u32;
        let (actor_id, generation) = self.actor();
        let expected_generation = self.maybe(|_| u64::from(generation));
        let expected_head_txid = if self.random.bool() { None } else { Some(self.number()) };
        let (namespace_id, generation) = ("default".to_string(), u64::from(generation));
        match self.random.u8(..8) {
            0 => {
                let pgnos = self.list(|tongue| tongue.number() as u32);
                ToRivet::SqliteGetPages {
                    request_id,
                    data: SqliteGetPages { actor_id, pgnos, expected_generation, expected_head_txid },
                }
            }
            1 => {
                let (dirty_pages, db_size_pages) = (self.list(Self::page), self.number() as u32);
                let now_ms = self.number() as i64;
                let data = SqliteCommit { actor_id, dirty_pages, db_size_pages, now_ms, expected_generation, expected_head_txid };
                ToRivet::SqliteCommit { request_id, data }
            }
            2 => ToRivet::SqliteStageBegin {
                request_id,
                data: SqliteStageBegin { actor_id, expected_generation, expected_head_txid },
            },
            3 => {
                let (txid, first_pgno) = (self.random.u64(..4), self.random.u32(..4) * 64);
                let dirty_pages = self.list(Self::page);
                let data = SqliteStageSegment { actor_id, expected_generation, txid, first_pgno, dirty_pages };
                ToRivet::SqliteStageSegment { request_id, data }
            }
            4 => {
                let (txid, new_db_size_pages) = (self.random.u64(..4), self.number() as u32);
                let segment_first_pgnos = self.list(|tongue| tongue.random.u32(..4) * 64);
                let data =
                    SqliteFinalize { actor_id, expected_generation, txid, new_db_size_pages, now_ms: 0, segment_first_pgnos };
                ToRivet::SqliteFinalize { request_id, data }
            }
            5 => ToRivet::SqliteExec { request_id, data: SqliteExec { namespace_id, actor_id, generation, sql: self.sql() } },
            6 => {
                let (sql, params) = (self.sql(), self.maybe(|tongue| tongue.list(Self::value)));
                ToRivet::SqliteExecute { request_id, data: SqliteExecute { namespace_id, actor_id, generation, sql, params } }
            }
            _ => {
                let statement = |tongue: &mut Self| SqliteStatement { sql: tongue.sql(), params: None };
                let statements = (0..3).map(|_| statement(self)).collect();
                let data = SqliteExecuteBatch { namespace_id, actor_id, generation, statements };
                ToRivet::SqliteExecuteBatch { request_id, data }
            }
        }
    }

    fn message(&mut self) -> ToRivet {
        match self.random.u8(..20) {
            0 => ToRivet::Metadata {
                prepopulate_actor_names: self
                    .maybe(|tongue| tongue.list(|tongue| (tongue.text(), ActorName { metadata: tongue.text() }))),
                metadata: self.maybe(Self::text),
            },
            1..7 => ToRivet::Events { events: self.list(Self::event) },
            7..9 => ToRivet::AckCommands { last_command_checkpoints: self.list(Self::checkpoint) },
            9 if self.random.u8(..30) == 0 => ToRivet::Stopping,
            10 => ToRivet::Pong { ts: self.number() as i64 },
            11..14 => {
                let (actor_id, _) = self.actor();
                ToRivet::KvRequest { actor_id, request_id: self.number() as u32, data: self.kv() }
            }
            14..17 => self.database(),
            _ => ToRivet::Tunnel { message_id: self.message_id(), message: self.tunnel() },
        }
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

/// The good runner's actor is asked, and answers.
async fn serve(engine: &Engine, good: &mut Runner, actor: ActorId) {
    let mut reply = ask(engine, actor);
    let answered = async {
        loop {
            tokio::select! {
                reply = &mut reply => return reply,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            good.take();
            // Whoever took its actor away must let it run again: it starts what it is told to.
            for (actor, generation) in good.started.drain(..) {
                let checkpoint = ActorCheckpoint { actor_id: actor.to_string(), generation, index: 0 };
                let inner = Event::StateUpdate { state: ActorState::Running };
                let running = ToRivet::Events { events: vec![EventWrapper { checkpoint, inner }] };
                assert!(good.hearing.hear(encode_to_rivet(EnvoyVersion::NEWEST, &running).expect("it has words")).is_ok());
            }
            for request in std::mem::take(&mut good.requests) {
                let message = ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: None, stream: false };
                let message_id = MessageId { stream: to_wire::stream(request), index: 0 };
                assert!(good.say(EnvoyVersion::NEWEST, &ToRivet::Tunnel { message_id, message }));
            }
        }
    };
    let reply = tokio::time::timeout(WITHIN, answered).await.expect("others are served");
    assert!(matches!(reply, Ok(Reply::Whole(status, ..)) if status == 200), "others are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_runner() {
    let started = testing::start();
    let engine = &started.engine;
    let namespace = namespace(engine).await;
    pool(engine, namespace, EVIL).await;
    pool(engine, namespace, GOOD).await;
    let mut good = Runner::join(engine, namespace, GOOD, EnvoyVersion::NEWEST);
    let versions: Vec<EnvoyVersion> = EnvoyVersion::all().collect();
    let mut inputs = Inputs::new("words of a runner", 5, &["a word"], &["a word"]);
    let mut random = inputs.random.fork();
    let engine_core::action::Answer::Actor { record, .. } = engine.call(create(&mut random, GOOD, "good")).await.expect("an actor")
    else {
        panic!("an actor expected")
    };
    serve(engine, &mut good, record.id).await;
    let (before, mut version, mut asked) = (resident_bytes(), EnvoyVersion::NEWEST, Vec::new());
    let mut evil = Runner::join(engine, namespace, EVIL, version);
    let mut number = 0u64;
    while inputs.next().is_some() {
        number += 1;
        if number % 16 == 1 {
            let key = random.u8(..40).to_string();
            // Some are being destroyed, and some cannot be: whatever is answered.
            let _ = engine.call(create(&mut random, EVIL, &key)).await;
            evil.take();
            if let Some((actor, _)) = random.choice(&evil.started) {
                asked.push(ask(engine, *actor));
            }
            let many = asked.len().saturating_sub(200);
            asked.drain(..many);
        }
        let mut tongue = Tongue { random: &mut random, started: &evil.started, requests: &evil.requests, good: record.id };
        let message = tongue.message();
        let goes_on = evil.say(version, &message);
        evil.take();
        if !goes_on || random.u16(..500) == 0 {
            evil.leave();
            version = versions[random.usize(..versions.len())];
            evil = Runner::join(engine, namespace, EVIL, version);
        }
        inputs.count(true);
        if number.is_multiple_of(MESSAGES_PER_CHECK) {
            serve(engine, &mut good, record.id).await;
        }
    }
    inputs.end();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes more are held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_runners() {
    let started = testing::start();
    let engine = &started.engine;
    let namespace = namespace(engine).await;
    pool(engine, namespace, "p").await;
    let valid = [
        "protocol_version=8&namespace=default&envoy_key=abc&version=1&pool_name=p",
        "protocol_version=3&namespace=d%65fault&envoy_key=a-_b&version=4294967295&pool_name=%70",
    ];
    let words =
        ["&", "=", "%", "%ff", "+", "-", "0", "8", "65536", "ä", "namespace", "envoy_key=", "version=", "pool_name=", "\0", "_"];
    Inputs::new("addresses of runners", 1, &valid, &words).each_text(|_, text| {
        let Ok(request) = Request::builder().uri(format!("/envoys/connect?{text}")).body(()) else { return false };
        match connect::envoy(engine, &request.into_parts().0) {
            Ok(hello) => {
                assert!((3..=128).contains(&hello.profile.key.len()) && hello.profile.key.is_ascii());
                assert_eq!(hello.namespace, "default");
                true
            }
            Err(Refused::Because(error)) => {
                assert!(error.is_known() && !error.message.is_empty(), "{error:?}");
                false
            }
            Err(Refused::Gone) => panic!("it has just come"),
        }
    });
}

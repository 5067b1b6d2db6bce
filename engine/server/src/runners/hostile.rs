//! What a runner may say that is no friend: after each of its messages the engine lives, answers others, and holds no more memory.
//!
//! [`tongue`] makes the messages up.

mod tongue;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::input::{Create, Operation, RequestKind, Target};
use engine_core::record::{CrashPolicy, PoolKind, Rate, RunnerConfigRecord, RunnerRef};
use fastrand::Rng;
use http::{HeaderMap, Method, Request};
use protocol::id::{ActorId, NamespaceId, RequestId};
use protocol::message::{Command, RunnerProfile, RunnerProtocol, Serves, ToRunner};
use protocol::wire::actor::{ActorCheckpoint, ActorState, Event, EventWrapper};
use protocol::wire::envoy::{ToRivet, encode_to_rivet};
use protocol::wire::tunnel::{MessageId, ToRivetTunnel};
use protocol::wire::{Dialect, EnvoyVersion};
use tokio::sync::oneshot::Receiver;

use self::tongue::Tongue;
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

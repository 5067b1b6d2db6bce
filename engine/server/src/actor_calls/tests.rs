//! Actors that call actors, with the driver and the core in between: one runner of components, one of a pool.
//!
//! A fake actor does what the name of the action says. One of a component handles one message at a time, as the real ones do.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use engine_core::Input;
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::{PoolKind, Rate, RunnerConfigRecord};
use protocol::component::{ComponentHash, ComponentInfo, Handler};
use protocol::id::RequestId;
use protocol::link::{FromRunnerLink, ToRunnerLink};
use protocol::message::{Checkpoint, Command, Event, FromRunner, Outcome, RequestStart, RunnerProfile, RunnerProtocol, Serves};
use protocol::trace::Carried;

use super::*;
use crate::links::RunnerDoor;
use crate::testing::{self, TestEngine};

const COMPONENTS: RunnerId = RunnerId(2);
const ENVOY: RunnerId = RunnerId(3);
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    test: TestEngine,
    runner: Arc<Fake>,
    envoy: Arc<Fake>,
}

/// A runner, and all the actors on it.
struct Fake {
    door: RunnerDoor,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By name and key.
    actors: HashMap<(String, String), Checkpoint>,
    starts: usize,
    calls: u64,
    answers: HashMap<u64, Result<String, CallError>>,
    /// Requests that are handled by calling another actor, by the call.
    passing_on: HashMap<u64, RequestId>,
    heads: Vec<RequestStart>,
    aborted: Vec<RequestId>,
}

impl ToRunnerLink for Fake {
    fn send(&self, message: ToRunner) {
        match message {
            ToRunner::Command(checkpoint, Command::Start(start)) => {
                let mut inner = lock(&self.inner);
                inner.starts += 1;
                inner.actors.insert((start.name, start.key.unwrap_or_default()), checkpoint);
                drop(inner);
                self.door.send(FromRunner::Event(Checkpoint { index: 0, ..checkpoint }, Event::Running));
            }
            ToRunner::Prepare { component } => {
                let info =
                    ComponentInfo { handlers: vec![Handler::Http], imports: vec![], bytes: 1, compiled_bytes: 1, compile_ms: 1 };
                self.door.send(FromRunner::Prepared { component, result: Ok(info) });
            }
            ToRunner::Request(start) => self.handle(start),
            ToRunner::RequestAbort { request } => lock(&self.inner).aborted.push(request),
            ToRunner::CallAnswer { call, result, .. } => {
                let mut inner = lock(&self.inner);
                let passed_on = inner.passing_on.remove(&call);
                inner.answers.insert(call, result.clone());
                drop(inner);
                if let Some(request) = passed_on {
                    self.answer(request, &result);
                }
            }
            ToRunner::ResponseWindow { .. } | ToRunner::Command(..) | ToRunner::AckEvents(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Fake {
    /// `/action/NAME`: `echo` answers with its arguments, `fail` as a RivetKit actor does, `hang` never, `stream` in pieces, `long` with
    /// too much; any other calls the action `echo` of the actor `counter` with that key.
    fn handle(&self, start: RequestStart) {
        let (request, actor, generation, path) = (start.request, start.actor, start.generation, start.path.clone());
        let body = String::from_utf8(start.body.to_vec()).expect("JSON is UTF-8");
        lock(&self.inner).heads.push(start);
        let whole = |status: u16, body: String| {
            let status = StatusCode::from_u16(status).expect("a status");
            let (headers, body) = (HeaderMap::new(), body.into());
            self.door.send(FromRunner::ResponseStart { request, status, headers, body, stream: false });
        };
        let args = || body.strip_prefix("{\"args\":").and_then(|rest| rest.strip_suffix('}')).expect("arguments").to_string();
        match path.rsplit_once('/').expect("a path") {
            ("/action", "echo") => whole(200, format!("{{\"output\":{}}}", args())),
            ("/action", "fail") => {
                whole(400, r#"{"group":"user","code":"full","message":"no room","metadata":{"seats":0}}"#.into())
            }
            ("/action", "hang") => {}
            ("/action", "long") => whole(200, format!("{{\"output\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX))),
            ("/action", "stream") => {
                let (status, headers) = (StatusCode::OK, HeaderMap::new());
                self.door.send(FromRunner::ResponseStart { request, status, headers, body: "{\"output\"".into(), stream: true });
                self.door.send(FromRunner::ResponseChunk { request, body: ":7}".into(), finish: true });
            }
            ("/queue", "mail") => whole(200, r#"{"status":"completed"}"#.into()),
            ("/action", key) => {
                let mut inner = lock(&self.inner);
                inner.calls += 1;
                let call = inner.calls;
                inner.passing_on.insert(call, request);
                drop(inner);
                let target = CallTarget::Get { name: "counter".into(), key: vec![key.to_string()] };
                // Round in a circle: `b` calls `c`, `c` calls `a`, `a` calls `b`.
                let next = match key {
                    "b" => "c",
                    "c" => "a",
                    _ => "b",
                };
                let ask = Ask::Action { name: next.into(), args: args() };
                self.door.send(FromRunner::CallActor {
                    actor,
                    generation,
                    call,
                    target,
                    ask,
                    timeout_ms: 60_000,
                    trace: Carried::default(),
                });
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, request: RequestId, result: &Result<String, CallError>) {
        let (status, body) = match result {
            Ok(output) => (StatusCode::OK, format!("{{\"output\":{output}}}")),
            Err(CallError { group, code, message, .. }) => {
                let body = serde_json::json!({ "group": group, "code": code, "message": message });
                (StatusCode::INTERNAL_SERVER_ERROR, body.to_string())
            }
        };
        self.door.send(FromRunner::ResponseStart { request, status, headers: HeaderMap::new(), body: body.into(), stream: false });
    }
}

impl World {
    async fn new() -> World {
        let test = testing::start();
        let engine = &test.engine;
        let (name, display_name) = ("default".to_owned(), "Default".to_owned());
        let made = engine.call(Operation::CreateNamespace { random: [9; 16], name, display_name }).await.expect("it is made");
        let Answer::Namespace(namespace) = made else { panic!("{made:?}") };
        let pool =
            Serves::Pool { namespace: namespace.id, pool: "default".into(), protocol: RunnerProtocol::Envoy(8), slots: None };
        let join = |id, serves| {
            let runner = Arc::new(Fake { door: RunnerDoor::new(id, engine.clone()), inner: Mutex::default() });
            engine.runners.join(id, runner.clone());
            let profile = RunnerProfile { key: format!("runner {}", id.0), version: 1, serves };
            engine.inbox.push(Input::RunnerJoined { runner: id, profile });
            runner
        };
        let (runner, envoy) = (join(COMPONENTS, Serves::Components), join(ENVOY, pool));
        let component = ComponentHash([1; 32]);
        let deploy = Operation::Deploy {
            namespace: "default".into(),
            name: "counter".into(),
            pool: "default".into(),
            component,
            settings: Default::default(),
            canary: None,
            looked_at: None,
        };
        engine.call(deploy).await.expect("it is deployed");
        let record = RunnerConfigRecord {
            namespace: namespace.id,
            pool: "default".into(),
            kind: PoolKind::Normal,
            drain_on_version_upgrade: false,
            actor_eviction_delay_s: 0,
            actor_eviction_period_s: 0,
            actor_eviction_rate: Rate::new(1.0),
            metadata: None,
            protocol_version: None,
        };
        let put = Operation::PutRunnerConfig { namespace: "default".into(), record: Box::new(record) };
        engine.call(put).await.expect("it is taken");
        World { runner, envoy, test }
    }

    /// A component's actor that runs.
    async fn actor(&self, key: &str) -> Checkpoint {
        let create = Create { random: random::bytes(), pool: "default".into(), crash_policy: CrashPolicy::Sleep, input: None };
        let (namespace, name, key) = ("default".to_owned(), "counter".to_owned(), key.to_owned());
        let operation = Operation::CreateActor { namespace, name: name.clone(), key: Some(key.clone()), create };
        self.test.engine.call(operation).await.expect("it is made");
        until(|| lock(&self.runner.inner).actors.get(&(name.clone(), key.clone())).copied()).await
    }

    fn begin(&self, from: Checkpoint, target: CallTarget, ask: Ask, timeout_ms: u64) -> u64 {
        let mut inner = lock(&self.runner.inner);
        inner.calls += 1;
        let call = inner.calls;
        drop(inner);
        let Checkpoint { actor, generation, .. } = from;
        self.runner.door.send(FromRunner::CallActor {
            actor,
            generation,
            call,
            target,
            ask,
            timeout_ms,
            trace: Carried::default(),
        });
        call
    }

    async fn answer(&self, call: u64) -> String {
        match until(|| lock(&self.runner.inner).answers.remove(&call)).await {
            Ok(output) => output,
            Err(CallError { group, code, message, metadata }) => {
                format!("{group}.{code}: {message} {}", metadata.unwrap_or_default()).trim_end().to_string()
            }
        }
    }

    async fn ask(&self, from: Checkpoint, target: CallTarget, ask: Ask) -> String {
        self.answer(self.begin(from, target, ask, 60_000)).await
    }
}

async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn action(name: &str) -> Ask {
    Ask::Action { name: name.into(), args: "[1.50]".into() }
}

fn get(name: &str, key: &str) -> CallTarget {
    CallTarget::Get { name: name.into(), key: vec![key.into()] }
}

fn get_or_create(name: &str, key: &str) -> CallTarget {
    CallTarget::GetOrCreate { name: name.into(), key: vec![key.into()], input: Some("in".into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_is_answered_with() {
    let world = World::new().await;
    let a = world.actor("a").await;
    let b = world.actor("b").await;
    let by_id = |id: &str| CallTarget::Id(id.to_string());
    let push = |body: &str| Ask::Push { queue: "mail".into(), body: body.into() };
    let not_found = "actor.not_found: there is no such actor; it was never created or has been destroyed";
    let too_long =
        "actor.invalid_response: the answer of the actor that was called cannot be used: it is longer than 4194304 bytes";
    let rows = [
        (get("counter", "b"), action("echo"), "[1.50]"),
        (by_id(&b.actor.to_string()), action("echo"), "[1.50]"),
        (get_or_create("counter", "c"), action("echo"), "[1.50]"),
        // On a runner of a pool: a RivetKit app.
        (get_or_create("app", "x/y"), action("echo"), "[1.50]"),
        (get("app", "x/y"), action("stream"), "7"),
        (get("counter", "b"), push("{}"), "null"),
        (
            get("counter", "b"),
            push("{"),
            "api.bad_request: the request cannot be understood: body is no JSON: EOF while parsing an object at line 1 column 1 {\"reason\":\"body is no JSON: EOF while parsing an object at line 1 column 1\"}",
        ),
        (get("counter", "b"), action("fail"), "user.full: no room {\"seats\":0}"),
        (get("app", "x/y"), action("long"), too_long),
        (get("counter", "nobody"), action("echo"), not_found),
        (get("nothing", "a"), action("echo"), not_found),
        (by_id(&protocol::id::Id::new([7; 16], 1).to_string()), action("echo"), not_found),
        (get_or_create("counter", ""), action("echo"), "[1.50]"),
        (
            get_or_create(&"n".repeat(300), "a"),
            action("echo"),
            "actor.name_too_large: the name has 300 bytes; at most 256 are allowed {\"max_size\":256}",
        ),
    ];
    for (target, ask, expected) in rows {
        let shown = format!("{target:?} {ask:?}");
        assert_eq!(world.ask(a, target, ask).await, expected, "{shown}");
    }
    assert!(world.ask(a, by_id("abc"), action("echo")).await.starts_with("api.bad_request: "));
    // Created once, and said by whom it is called.
    assert_eq!(lock(&world.envoy.inner).starts, 1);
    let heads = std::mem::take(&mut lock(&world.envoy.inner).heads);
    let sent = |name: &str| heads[0].headers.get(name).map(|value| value.to_str().expect("text").to_string());
    assert_eq!(sent("x-rivet-caller"), Some(a.actor.to_string()));
    assert_eq!(sent("x-rivet-encoding").as_deref(), Some("json"));
    assert_eq!((heads[0].path.as_str(), &heads[0].body[..]), ("/action/echo", &b"{\"args\":[1.50]}"[..]));
    until(|| lock(&world.test.engine.actor_calls.under_way).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_too_long_or_whose_caller_is_gone_is_given_up() {
    let world = World::new().await;
    let a = world.actor("a").await;
    world.actor("b").await;
    let call = world.begin(a, get("counter", "b"), action("hang"), 50);
    let late = "actor.call_timed_out: the call was not answered within 50 ms; whether it took effect is not known";
    assert_eq!(world.answer(call).await, late);
    let request = lock(&world.runner.inner).heads[0].request;
    until(|| lock(&world.runner.inner).aborted.contains(&request).then_some(())).await;

    let given_up = "guard.tunnel_request_aborted: the call was given up: the actor has stopped or called again, or the answer could not \
                    be understood";
    let (first, second) = (0, 1);
    let calls = [first, second].map(|_| world.begin(a, get("counter", "b"), action("hang"), u64::MAX));
    assert_eq!(world.answer(calls[first]).await, given_up);
    until(|| (lock(&world.runner.inner).heads.len() == 3).then_some(())).await;
    world.runner.door.send(FromRunner::Event(Checkpoint { index: 1, ..a }, Event::Stopped(Outcome::Error(None))));
    assert_eq!(world.answer(calls[second]).await, given_up);
    until(|| (lock(&world.runner.inner).aborted.len() == 3).then_some(())).await;
    let stray = world.ask(a, get("counter", "b"), action("echo")).await;
    assert!(stray.starts_with("actor.not_found"), "a generation that is over calls nobody: {stray}");
}

/// An actor waits for whom it calls and handles nothing else, so a circle would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_is_told_whom_it_is_made_of() {
    let world = World::new().await;
    let (a, b, c) = (world.actor("a").await, world.actor("b").await, world.actor("c").await);
    let circle = |actors: &[(&str, Checkpoint)]| {
        let shown: Vec<_> = actors.iter().map(|(key, at)| format!("counter/{key} ({})", at.actor)).collect();
        format!(
            "actor.call_cycle: these actors would wait for each other for ever: {}; answer first, and call from a schedule or the own queue",
            shown.join(" -> ")
        )
    };
    assert_eq!(world.ask(a, get("counter", "a"), action("echo")).await, circle(&[("a", a), ("a", a)]));
    // Who is called passes it on, to `b` from `a`, to `c` from `b`, to `a` from `c`.
    assert_eq!(world.ask(a, get("counter", "b"), action("a")).await, circle(&[("b", b), ("a", a), ("b", b)]));
    assert_eq!(world.ask(a, get("counter", "b"), action("c")).await, circle(&[("c", c), ("a", a), ("b", b), ("c", c)]));
    // At the same time: one of the two is refused, the other one answered.
    for _ in 0..20 {
        let calls =
            [world.begin(a, get("counter", "b"), action("hang"), 200), world.begin(b, get("counter", "a"), action("hang"), 200)];
        let mut codes = Vec::new();
        for call in calls {
            codes.push(world.answer(call).await.split(':').next().unwrap_or_default().to_string());
        }
        codes.sort();
        assert_eq!(codes, ["actor.call_cycle", "actor.call_timed_out"]);
    }
    assert_eq!(world.ask(b, get("counter", "a"), action("echo")).await, "[1.50]", "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_has_so_many_calls_under_way() {
    let world = World::new().await;
    let a = world.actor("a").await;
    let rooms: Vec<Room> =
        (0..CALLS_PER_RUNNER_MAX).map(|_| Room::take(&world.test.engine, COMPONENTS).expect("there is room")).collect();
    let busy = "guard.service_unavailable: 4096 calls of actors on this runner are under way; try again in a moment";
    assert_eq!(world.ask(a, get("counter", "a"), action("echo")).await, busy);
    drop(rooms);
    assert!(world.ask(a, get("counter", "a"), action("echo")).await.starts_with("actor.call_cycle"));
}

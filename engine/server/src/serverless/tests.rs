//! Calls to an app that is played here: everything from the core to the app's socket is what runs in earnest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use engine_core::Input;
use engine_core::action::Answer;
use engine_core::input::{Create, Operation};
use engine_core::record::{CrashPolicy, PoolError, PoolKind, Rate, RunnerConfigRecord, ServerlessConfig};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use protocol::id::{ActorId, NamespaceId, RunnerId};
use protocol::message::{
    Checkpoint, Command, Event, FromRunner, Outcome, RunnerProfile, RunnerProtocol, Serves, StopReason, ToRunner,
};
use protocol::wire::actor;
use protocol::wire::envoy::{ToEnvoy, decode_with_version};
use tokio::net::TcpListener;

use crate::lock::lock;
use crate::random;
use crate::serverless::{call, poll};
use crate::testing::{self, Heard, TestEngine};

const NAMESPACE: &str = "n";
const POOL: &str = "p";
const ENVOY: RunnerId = RunnerId(9);
const PATIENCE: Duration = Duration::from_secs(10);
const METADATA: &str = r#"{"runtime":"rivetkit","version":"2.3.19","envoyProtocolVersion":6,"envoy":{"version":1},
    "actorNames":{"counter":{"metadata":{"icon":"x"}}}}"#;

pub fn config(url: &str) -> ServerlessConfig {
    ServerlessConfig {
        url: url.to_string(),
        headers: vec![("x-own".to_string(), "1".to_string())],
        request_lifespan_s: 3_600,
        drain_grace_period_s: 1_800,
        max_concurrent_actors: 1_000,
        metadata_poll_interval_ms: None,
        slots_per_runner: 1,
        min_runners: 0,
        max_runners: 1_000,
        runners_margin: 0,
    }
}

/// How the app answers a start.
#[derive(Clone, Copy, Debug)]
enum Answers {
    Status(u16, &'static str),
    Type(&'static str),
    /// These events, and then the end.
    Events(&'static [u8]),
    /// These events, and then nothing.
    Holds(&'static [u8]),
    /// Not even a head.
    Silent,
    RedirectsTo(&'static str),
}

struct App {
    answers: Answers,
    metadata: Mutex<String>,
    asked: AtomicUsize,
    /// The starts that came, and how many of them are still open.
    starts: Mutex<Vec<(HeaderMap, Bytes)>>,
    open: AtomicUsize,
}

/// Counts while a request is open.
struct Open(Arc<App>);

impl Open {
    fn new(app: &Arc<App>) -> Open {
        app.open.fetch_add(1, Ordering::SeqCst);
        Open(app.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App {
    /// And where it listens.
    async fn serve(answers: Answers) -> (Arc<App>, String) {
        let app = Arc::new(App {
            answers,
            metadata: Mutex::new(METADATA.to_string()),
            asked: AtomicUsize::new(0),
            starts: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let router =
            Router::new().route("/rivet/metadata", get(metadata)).route("/rivet/start", post(start)).with_state(app.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (app, format!("http://{address}/rivet"))
    }

    fn starts(&self) -> usize {
        lock(&self.starts).len()
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn metadata(State(app): State<Arc<App>>, headers: HeaderMap) -> impl IntoResponse {
    app.asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers.get("x-own").map(|value| value.as_bytes()), Some(b"1".as_slice()));
    lock(&app.metadata).clone()
}

async fn start(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let open = Open::new(&app);
    lock(&app.starts).push((headers, body));
    let events = |text: &'static [u8], holds: Option<Open>| {
        let first = stream::once(async move { Ok::<_, std::io::Error>(Bytes::from_static(text)) });
        let rest = stream::once(async move {
            let _open = holds;
            std::future::pending::<Result<Bytes, std::io::Error>>().await
        });
        ([("content-type", "text/event-stream")], first, rest)
    };
    match app.answers {
        Answers::Status(status, body) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
        Answers::Type(content_type) => ([("content-type", content_type)], "").into_response(),
        Answers::Events(text) => {
            let (head, first, _) = events(text, None);
            (head, Body::from_stream(first)).into_response()
        }
        Answers::Holds(text) => {
            let (head, first, rest) = events(text, Some(open));
            (head, Body::from_stream(futures_util::StreamExt::chain(first, rest))).into_response()
        }
        Answers::Silent => {
            let _open = open;
            std::future::pending().await
        }
        Answers::RedirectsTo(location) => (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response(),
    }
}

/// An engine with one pool, whose URL is the app's.
struct World {
    test: TestEngine,
    app: Arc<App>,
    namespace: NamespaceId,
    envoy: Arc<Heard>,
}

async fn world(answers: Answers, change: impl FnOnce(&mut ServerlessConfig)) -> World {
    let test = testing::start();
    let (app, url) = App::serve(answers).await;
    let (name, display_name) = (NAMESPACE.to_string(), NAMESPACE.to_string());
    let made = test.engine.call(Operation::CreateNamespace { random: random::bytes(), name, display_name }).await;
    let Ok(Answer::Namespace(namespace)) = made else { panic!("a namespace is expected, not {made:?}") };
    let mut settings = config(&url);
    change(&mut settings);
    let world = World { test, app, namespace: namespace.id, envoy: Arc::default() };
    world.put(settings).await;
    world
}

impl World {
    async fn put(&self, config: ServerlessConfig) {
        let record = Box::new(RunnerConfigRecord {
            namespace: self.namespace,
            pool: POOL.to_string(),
            kind: PoolKind::Serverless(Box::new(config)),
            drain_on_version_upgrade: true,
            actor_eviction_delay_s: 0,
            actor_eviction_period_s: 0,
            actor_eviction_rate: Rate::new(1.0),
            metadata: None,
            protocol_version: None,
        });
        let put = Operation::PutRunnerConfig { namespace: NAMESPACE.to_string(), record };
        self.test.engine.call(put).await.expect("the pool can be configured");
    }

    async fn create(&self) -> ActorId {
        let create = Create { random: random::bytes(), pool: POOL.to_string(), crash_policy: CrashPolicy::Sleep, input: None };
        let (namespace, name) = (NAMESPACE.to_string(), "counter".to_string());
        match self.test.engine.call(Operation::CreateActor { namespace, name, key: None, create }).await {
            Ok(Answer::Actor { record, .. }) => record.id,
            other => panic!("an actor is expected, not {other:?}"),
        }
    }

    async fn pool_error(&self) -> Option<PoolError> {
        match self.test.engine.call(Operation::ListRunners { namespace: NAMESPACE.to_string() }).await {
            Ok(Answer::Runners { pool_errors, .. }) => pool_errors.into_iter().next().map(|(_, error)| error),
            other => panic!("the runners are expected, not {other:?}"),
        }
    }

    /// The app connects as a runner.
    fn join(&self) {
        self.test.engine.runners.join(ENVOY, self.envoy.clone());
        let serves =
            Serves::Pool { namespace: self.namespace, pool: POOL.to_string(), protocol: RunnerProtocol::Envoy(6), slots: None };
        let profile = RunnerProfile { key: "e".to_string(), version: 1, serves };
        self.test.engine.inbox.push(Input::RunnerJoined { runner: ENVOY, profile });
    }

    fn says(&self, actor: ActorId, generation: u32, index: u64, event: Event) {
        let message = FromRunner::Event(Checkpoint { actor, generation, index }, event);
        self.test.engine.inbox.push(Input::FromRunner { runner: ENVOY, message });
    }

    fn told_to_go(&self) -> bool {
        let going = |message: &ToRunner| matches!(message, ToRunner::Command(_, Command::Stop(StopReason::GoingAway)));
        self.envoy.take().iter().any(going)
    }

    fn calls(&self) -> usize {
        lock(&self.test.engine.serverless.calls).len()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for the pool's error.
async fn error_of(world: &World) -> PoolError {
    let began = Instant::now();
    loop {
        if let Some(error) = world.pool_error().await {
            return error;
        }
        assert!(began.elapsed() < PATIENCE, "no error of the pool came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_what_is_to_start_and_where_to_connect() {
    let world = world(Answers::Holds(b"event: ping\ndata:\n\n"), |_| {}).await;
    let actor = world.create().await;
    until("the app is called", || world.app.starts() == 1).await;
    let (headers, body) = lock(&world.app.starts).pop().expect("it was just looked at");
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_string();
    assert_eq!(header("x-rivet-endpoint"), "http://127.0.0.1:6420/");
    assert_eq!((header("x-rivet-pool-name"), header("x-rivet-namespace-name")), (POOL.to_string(), NAMESPACE.to_string()));
    assert_eq!((header("accept"), header("x-own"), header("x-rivet-token")), ("text/event-stream".into(), "1".into(), "-".into()));
    assert_eq!(header("user-agent"), concat!("RivetEngine/", env!("CARGO_PKG_VERSION")));
    let (version, message) = decode_with_version(body).expect("the body can be read");
    // The app was asked which protocol it speaks, because nobody knew yet.
    assert_eq!((version.number(), world.app.asked()), (6, 1));
    let ToEnvoy::Commands { commands } = message else { panic!("commands are expected, not {message:?}") };
    let [actor::CommandWrapper { checkpoint, inner: actor::Command::StartActor { start } }] = commands.as_slice() else {
        panic!("one start is expected, not {commands:?}")
    };
    assert_eq!((checkpoint.actor_id.clone(), checkpoint.generation, checkpoint.index), (actor.to_string(), 1, 0));
    assert_eq!(start.config.name, "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pool_shows_when_its_url_does_not_start_actors() {
    let connection = |part: &'static str| move |error: &PoolError| matches!(error, PoolError::ServerlessConnectionError { message } if message.contains(part));
    let http = |status: u16, text: &'static str| move |error: &PoolError| matches!(error, PoolError::ServerlessHttpError { status_code, body } if *status_code == status && body == text);
    let unreadable = |error: &PoolError| matches!(error, PoolError::ServerlessInvalidSsePayload { raw_payload: Some(_), .. });
    let early = |error: &PoolError| *error == PoolError::ServerlessStreamEndedEarly;
    type Check = Box<dyn Fn(&PoolError) -> bool>;
    let rows: [(Answers, Check); 7] = [
        (Answers::Status(503, "not now"), Box::new(http(503, "not now"))),
        (Answers::Status(307, ""), Box::new(http(307, ""))),
        (Answers::Type("text/html"), Box::new(connection("\"text/html\""))),
        (Answers::Events(b"event: ping\ndata:\n\n"), Box::new(early)),
        (Answers::Events(b"event: \xff\ndata: x\n\n"), Box::new(unreadable)),
        (Answers::RedirectsTo("http://169.254.169.254/latest"), Box::new(connection("allow_private_networks"))),
        (Answers::RedirectsTo("ftp://app/start"), Box::new(connection("scheme"))),
    ];
    for (answers, expected) in rows {
        let world = world(answers, |_| {}).await;
        world.create().await;
        let error = error_of(&world).await;
        assert!(expected(&error), "{answers:?}: {error:?}");
        until("the call is forgotten", || world.calls() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_cannot_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let closed = listener.local_addr().expect("it has an address");
    drop(listener);
    let rows = [
        (format!("http://{closed}"), "cannot be reached"),
        ("http://10.0.0.1".to_string(), "allow_private_networks"),
        ("http://user:word@127.0.0.1".to_string(), "user name"),
        ("no url".to_string(), "the URL or a header cannot be used"),
    ];
    for (url, part) in rows {
        let world = world(Answers::Silent, |config| config.url = url.clone()).await;
        world.create().await;
        match error_of(&world).await {
            PoolError::ServerlessConnectionError { message } => assert!(message.contains(part), "{url}: {message}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_sleeps_ends_its_call_within_the_grace_period() {
    // Also if the runner is faster than the head of the answer.
    for answers in [Answers::Holds(b"event: ping\ndata:\n\n"), Answers::Silent] {
        let world = world(answers, |config| config.drain_grace_period_s = 2).await;
        let actor = world.create().await;
        until("the app is called", || world.app.starts() == 1).await;
        world.join();
        world.says(actor, 1, 0, Event::Running);
        world.says(actor, 1, 1, Event::SleepIntent);
        let stopped = Instant::now();
        world.says(actor, 1, 2, Event::Stopped(Outcome::Ok));
        until("the core wants no more of the call", || world.calls() == 0).await;
        until("the call is closed", || world.app.open() == 0).await;
        assert!(stopped.elapsed() >= Duration::from_secs(2), "{answers:?}: the app may still have something to do");
        assert_eq!((world.app.starts(), world.pool_error().await), (1, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_of_its_lifespan_the_actor_moves_to_another_call() {
    let settings = |config: &mut ServerlessConfig| (config.request_lifespan_s, config.drain_grace_period_s) = (3, 2);
    let world = world(Answers::Holds(b""), settings).await;
    let actor = world.create().await;
    until("the app is called", || world.app.starts() == 1).await;
    world.join();
    world.says(actor, 1, 0, Event::Running);
    until("the actor is told to go", || world.told_to_go()).await;
    assert_eq!(world.app.starts(), 1, "only one at a time");
    world.says(actor, 1, 1, Event::Stopped(Outcome::Ok));
    until("it starts again", || world.app.starts() == 2).await;
    assert_eq!(world.app.open(), 2, "the old call has its grace period");
    until("the old call is closed", || world.app.open() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_says_it_stops_is_left_at_once() {
    let world = world(Answers::Holds(b"event: ping\ndata:\n\nevent: stopping\ndata:\n\n"), |_| {}).await;
    world.create().await;
    until("the call is closed", || world.app.starts() == 1 && world.app.open() == 0).await;
    assert_eq!((world.calls(), world.pool_error().await), (0, None), "that is no fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_engine_closes_so_do_its_calls() {
    for answers in [Answers::Holds(b"event: ping\n\n"), Answers::Silent] {
        let world = world(answers, |_| {}).await;
        world.create().await;
        until("the app is called", || world.app.open() == 1).await;
        world.test.engine.serverless.close();
        until("the call is closed", || world.app.open() == 0 && world.calls() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_wanted_any_more_ends_before_the_app_answers() {
    let world = world(Answers::Silent, |_| {}).await;
    let actor = world.create().await;
    until("the app is called", || world.app.open() == 1).await;
    call::end(&world.test.engine, actor, 1, false);
    until("the call is closed", || world.app.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_asked_as_long_as_it_is_configured() {
    let world = world(Answers::Silent, |config| config.metadata_poll_interval_ms = Some(1)).await;
    let engine = &world.test.engine;
    tokio::spawn(poll::run(engine.clone()));
    until("it is asked again and again", || world.app.asked() > 2).await;
    let version = || engine.directory.runner_config(world.namespace, POOL).and_then(|config| config.protocol_version);
    until("its protocol is known", || version() == Some(6)).await;

    *lock(&world.app.metadata) = METADATA.replace("\"envoyProtocolVersion\":6,", "");
    assert_eq!(error_of(&world).await, PoolError::Downgrade);

    let (other, url) = App::serve(Answers::Silent).await;
    world.put(ServerlessConfig { metadata_poll_interval_ms: Some(3_600_000), ..config(&url) }).await;
    until("the new URL is asked", || other.asked() == 1).await;
    let asked = world.app.asked();
    world
        .test
        .engine
        .call(Operation::DeleteRunnerConfig { namespace: NAMESPACE.to_string(), pool: POOL.to_string() })
        .await
        .expect("it can be deleted");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((world.app.asked(), other.asked()), (asked, 1));
}

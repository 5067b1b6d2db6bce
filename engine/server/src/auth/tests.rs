//! Tokens over their time, under a clock that the test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::routing::get;
use axum::{Router, middleware};
use engine_core::action::Answer;
use engine_core::input::{Boot, Operation};
use engine_core::record::{Role, TokenRecord};
use engine_core::{Core, Input};
use engine_store::{Durability, Memory, State, Writer};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use protocol::clock::{self, Until};
use tokio::sync::{Notify, oneshot, watch};

use crate::api;
use crate::api::extract::Token;
use crate::auth::Auth;
use crate::auth::admin::AdminToken;
use crate::auth::caller;
use crate::auth::identity::{Denied, Identity};
use crate::auth::pass::{Over, Pass};
use crate::auth::token::Minted;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::embedded;
use crate::engine::Engine;
use crate::metrics;
use crate::serverless::token::{Sent, Tokens};

struct Turned {
    now_ms: Arc<AtomicU64>,
    moved: watch::Sender<()>,
}

impl clock::Clock for Turned {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn until(&self, at_ms: u64) -> Until {
        let (mut moved, now_ms) = (self.moved.subscribe(), self.now_ms.clone());
        Box::pin(async move {
            // The clock lives as long as the engine.
            let _ = moved.wait_for(|()| now_ms.load(Ordering::SeqCst) >= at_ms).await;
        })
    }

    fn hold(&self) {}

    fn release(&self) {}
}

struct World {
    engine: Arc<Engine>,
    clock: Arc<Turned>,
    _end: oneshot::Sender<()>,
    _folder: tempfile::TempDir,
}

fn start() -> World {
    let clock = Arc::new(Turned { now_ms: Arc::new(AtomicU64::new(1_000_000)), moved: watch::Sender::default() });
    let (store, folder) = (Arc::new(Memory::new()), tempfile::tempdir().expect("a folder"));
    let state = State::new(store.clone());
    let engine = embedded::engine(state, Arc::default(), folder.path(), Clock::given(clock.clone())).expect("it opens");
    let auth = Auth::new(Some(AdminToken::new("admin".to_string())), false);
    let engine = Arc::new(Engine { auth, ..engine });
    engine.inbox.push(Input::Booted(Boot::default()));
    let (end, ended) = oneshot::channel();
    let core = Core::new(engine_core::Config::default());
    tokio::spawn(Driver::new(core, engine.clone(), Writer::start(store, Durability::Relaxed)).run(ended));
    World { engine, clock, _end: end, _folder: folder }
}

impl World {
    /// The id and the text.
    async fn mint(&self, expire_ms: Option<u64>) -> (String, String) {
        let minted = Minted::new(Role::Runner);
        let (id, hash) = (minted.id.clone(), minted.hash);
        let record = TokenRecord {
            id: id.clone(),
            hash,
            role: Role::Runner,
            namespace: None,
            name: String::new(),
            create_ms: 0,
            expire_ms,
            used_ms: None,
        };
        self.engine.call(Operation::MintToken { namespace: None, record: Box::new(record) }).await.expect("it is minted");
        (id, minted.into_text())
    }

    async fn revoke(&self, id: &str) {
        let revoke = Operation::RevokeToken { id: id.to_string(), within: None, namespace: None };
        self.engine.call(revoke).await.expect("it was there");
    }

    fn identify(&self, text: &str) -> Result<Identity, Denied> {
        self.engine.auth.identify(&self.engine, Some(text.as_bytes()))
    }

    fn pass(&self, text: &str) -> Pass {
        self.identify(text).expect("it is valid").into()
    }

    fn turn(&self, ms: u64) {
        self.clock.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.clock.moved.send_replace(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_until_the_millisecond_that_it_expires_in() {
    let world = start();
    let (_, text) = world.mint(Some(1_000_500)).await;
    for (turned_ms, expected) in [(0, None), (499, None), (1, Some(Denied::Expired)), (1_000_000, Some(Denied::Expired))] {
        world.turn(turned_ms);
        assert_eq!(world.identify(&text).err(), expected, "after {turned_ms} ms more");
    }
    // Only who has all of it learns that it has expired.
    assert_eq!(world.identify(&format!("{text}x")).err(), Some(Denied::Invalid));
    assert_eq!(world.identify(&text[..text.len() - 1]).err(), Some(Denied::Invalid));
    assert_eq!(world.engine.auth.identify(&world.engine, None).err(), Some(Denied::NoToken));
    assert_eq!(world.identify("admin"), Ok(Identity::Admin));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lives_as_long_as_its_token() {
    let world = start();
    let ((brief, brief_text), (lasting, lasting_text)) = (world.mint(Some(1_000_500)).await, world.mint(None).await);
    let over = |pass: Pass| {
        let engine = world.engine.clone();
        tokio::spawn(async move { pass.over(&engine).await })
    };
    let (expires, is_revoked) = (over(world.pass(&brief_text)), over(world.pass(&lasting_text)));
    let (of_admin, of_nobody) = (over(world.pass("admin")), over(Pass::default()));
    world.turn(10_000);
    assert_eq!(expires.await.expect("it does not panic"), Over::Expired);
    assert!(!is_revoked.is_finished());
    world.revoke(&brief).await;
    world.revoke(&lasting).await;
    assert_eq!(is_revoked.await.expect("it does not panic"), Over::Revoked);
    assert!(!of_admin.is_finished() && !of_nobody.is_finished(), "the configured token is not revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_has_begun_goes_no_further_than_its_token() {
    let world = start();
    let ((id, text), (other, _)) = (world.mint(None).await, world.mint(None).await);
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, waits) = (begun.clone(), go_on.clone());
    let act = |Shared(engine): Shared<Arc<Engine>>, token: Token| async move {
        token.check(&engine)?;
        // In another task, as deploys do it.
        let done = tokio::spawn(caller::carry(async move {
            told.notify_one();
            waits.notified().await;
            engine.call(Operation::Settle).await
        }));
        done.await.expect("it does not panic").map(drop)
    };
    let layer = middleware::from_fn_with_state(world.engine.clone(), caller::layer);
    let api = Router::new().route("/datacenters", get(act)).layer(layer).with_state(world.engine.clone());
    let api = TowerToHyperService::new(api);
    for (revoked, expected) in [(None, 200), (Some(&other), 200), (Some(&id), 403)] {
        let bearer = format!("Bearer {text}");
        let request = Request::get("/datacenters").header(AUTHORIZATION, bearer).body(Body::empty()).expect("a request");
        let meanwhile = async {
            begun.notified().await;
            if let Some(revoked) = revoked {
                world.revoke(revoked).await;
            }
            go_on.notify_one();
        };
        let (Ok(answer), ()) = tokio::join!(api.call(request), meanwhile);
        assert_eq!(answer.status().as_u16(), expected, "{revoked:?} is revoked meanwhile");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_does_not_ask_who_may_does_nothing_and_shows_nothing() {
    let world = start();
    let shows = || async { "everything" };
    let acts = |Shared(engine): Shared<Arc<Engine>>| async move { engine.call(Operation::Settle).await.map(drop) };
    let asks = |Shared(engine): Shared<Arc<Engine>>, token: Token| async move { token.check(&engine).map(drop) };
    let layer = middleware::from_fn_with_state(world.engine.clone(), caller::layer);
    let api = Router::new()
        .route("/namespaces", get(shows).post(acts))
        .route("/datacenters", get(asks))
        .route("/metadata", get(shows))
        .layer(layer)
        .with_state(world.engine.clone());
    let api = TowerToHyperService::new(api);
    for (method, path, expected) in
        [("GET", "/namespaces", 500), ("POST", "/namespaces", 500), ("GET", "/datacenters", 200), ("GET", "/metadata", 200)]
    {
        let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, "Bearer admin").body(Body::empty());
        let Ok(answer) = api.call(request.expect("a request")).await;
        assert_eq!(answer.status().as_u16(), expected, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pools_url_gets_a_token_that_runs_its_actors_and_no_more() {
    let world = start();
    let (name, display_name) = ("default".to_string(), "Default".to_string());
    let made = world.engine.call(Operation::CreateNamespace { random: [1; 16], name, display_name }).await.expect("it is new");
    let Answer::Namespace(namespace) = made else { panic!("a namespace expected, not {made:?}") };
    const LASTS_MS: u64 = 3_600_000;
    const DAY_MS: u64 = 24 * LASTS_MS;
    let tokens = Tokens::new(Sent::Runner);
    let sent = async |pool: &str, lasts_ms| {
        let sent = tokens.of(&world.engine, (namespace.id, "default"), pool, lasts_ms).await.expect("it is minted");
        sent.expect("one is sent").to_str().expect("text").to_string()
    };
    let first = sent("p", LASTS_MS).await;
    let Ok(Identity::Token(record)) = world.identify(&first) else { panic!("it is a token") };
    assert_eq!((record.role, record.namespace, &*record.name), (Role::Runner, Some(namespace.id), "the app of pool p"));
    assert_eq!(record.expire_ms, Some(1_000_000 + DAY_MS + LASTS_MS), "as long as a call that it was sent with may last");
    assert_eq!(sent("p", LASTS_MS).await, first);
    assert_ne!(sent("q", LASTS_MS).await, first, "each pool has its own");
    // For longer calls it would not do.
    let longer = sent("p", 2 * DAY_MS).await;
    assert_ne!(longer, first);
    world.turn(DAY_MS - 1);
    assert_eq!(sent("p", LASTS_MS).await, longer);
    world.turn(1);
    let next = sent("p", LASTS_MS).await;
    assert_ne!(next, longer, "another one each day");
    assert!(world.identify(&longer).is_ok(), "calls that it was sent with go on");
    world.revoke(&next[3..15]).await;
    assert_ne!(sent("p", LASTS_MS).await, next);

    let of =
        async |tokens: Tokens| tokens.of(&world.engine, (namespace.id, "default"), "p", LASTS_MS).await.expect("nothing fails");
    assert_eq!(of(Tokens::new(Sent::Nothing)).await, None);
    assert_eq!(of(Tokens::new(Sent::Admin(AdminToken::new("admin".to_string())))).await, Some(HeaderValue::from_static("admin")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_is_counted() {
    let world = start();
    let (_, text) = world.mint(Some(1_000_500)).await;
    world.turn(500);
    let api = TowerToHyperService::new(api::router(world.engine.clone()));
    for token in ["", "Bearer x", "Bearer y", &format!("Bearer {text}"), "Bearer admin"] {
        let mut request = Request::get("/namespaces").body(Body::empty()).expect("a request");
        if !token.is_empty() {
            request.headers_mut().insert(AUTHORIZATION, token.parse().expect("a header"));
        }
        let Ok(answer) = api.call(request).await;
        assert_eq!(answer.status().as_u16(), if token == "Bearer admin" { 200 } else { 403 }, "{token}");
    }
    let page = metrics::page(Some(&world.engine)).await.text();
    for (reason, count) in [("no_token", 1), ("invalid", 2), ("expired", 1), ("role", 0), ("namespace", 0)] {
        let row = format!("rivet_auth_denied_total{{reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&row), "{row} expected in:\n{page}");
    }
    let counts: Vec<u32> = world.engine.auth.attempts.take().iter().map(|attempt| attempt.count).collect();
    assert_eq!(counts, [1], "of each kind the first is written at once; there was one more that is invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_last_use_is_written_now_and_then() {
    let world = start();
    let (id, text) = world.mint(None).await;
    let upkeep = tokio::spawn(super::upkeep::run(world.engine.clone()));
    world.turn(5);
    assert!(world.identify(&text).is_ok());
    assert_eq!(world.engine.auth.used_ms(&id), Some(1_000_005));
    assert_eq!(world.engine.directory.token(&id).and_then(|token| token.used_ms), None, "not with each use");
    while world.engine.directory.token(&id).is_some_and(|token| token.used_ms.is_none()) {
        world.turn(60_000);
        tokio::task::yield_now().await;
    }
    assert_eq!(world.engine.directory.token(&id).and_then(|token| token.used_ms), Some(1_000_005));
    assert_eq!(world.engine.auth.used_ms(&id), None);
    upkeep.abort();
}

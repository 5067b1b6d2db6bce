//! Which spans come of what: everything that reaches an actor, or begins at one, as trees at a collector; with actors in the engine's
//! process, and on a runner elsewhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rivet_tests::address::{by_id, by_key};
use rivet_tests::collector::{Collector, Span};
use rivet_tests::{Call, Engine, Runner, Socket, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// All spans of what has happened are there: those of a batch wait for a second.
const SOON: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);
/// What a span in a tree is shown with, if it has it.
const SHOWN: [&str; 9] = [
    "http.route",
    "http.response.status_code",
    "rivet.operation",
    "rivet.start.reason",
    "rivet.alarm.kind",
    "rivet.alarm.attempt",
    "rivet.queue.attempt",
    "rivet.socket.close_code",
    "rivet.socket.messages_received",
];
/// Whose spans the engine makes; all others are of the process that runs the actor.
const OF_ENGINE: [&str; 5] = ["gateway.", "api.", "core.", "actor.wait", "actor.start"];

fn variables<'a>(collector: &'a str, service: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("RIVET_OTEL_ENABLED", "1"),
        ("RIVET_OTEL_GRPC_ENDPOINT", collector),
        ("RIVET_OTEL_SAMPLER_RATIO", "1"),
        ("RIVET_SERVICE_NAME", service),
    ];
    all.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
    all.extend(more);
    all
}

/// What somebody does.
enum Does {
    /// Sends these orders, with `OTHER` for an actor that is awake.
    Orders(&'static str),
    /// The same of an actor that sleeps.
    OrdersToSleeping(&'static str),
    /// Opens a socket, says these texts and leaves.
    Socket(&'static [&'static str]),
    /// The same as a RivetKit client that calls actions.
    Actions(&'static [&'static str]),
    Posts(&'static str, Value),
    Api(&'static str),
    Deploys,
}

struct Stage {
    engine: Engine,
    collector: Collector,
    runner: Option<Runner>,
    other: String,
}

impl Stage {
    async fn start(elsewhere: bool, more: &[(&str, &str)]) -> Stage {
        let (collector, url) = Collector::start().await;
        let flags: &[&str] = if elsewhere { &["--no-wasm-runner"] } else { &[] };
        let engine = Engine::start_in(&variables(&url, "engine", more), flags).await;
        let mut runner = elsewhere.then(|| Runner::new("traced", &[]));
        if let Some(runner) = &mut runner {
            runner.set(&variables(&url, "runner", more));
            runner.restart(engine.url()).await;
        }
        engine.deploy("every-feature", "every-feature").await;
        let (other, _) = engine.get_or_create("every-feature", "other", None).await;
        Stage { engine, collector, runner, other }
    }

    /// The other actor is awake, and that is past.
    async fn wake_other(&self) {
        self.engine.get(by_id(&self.other, "/request/")).await;
        self.collector.named("gateway.request", 1).await;
        self.collector.named("actor.request", 1).await;
    }

    async fn act(&self, key: &str, does: &Does) {
        let engine = &self.engine;
        let orders = async |text: &str| {
            let call = Call::post(by_key("every-feature", key, "/request/")).body(text.replace("OTHER", &self.other));
            engine.send(call).await.expect_ok(text);
        };
        match does {
            Does::Orders(text) => orders(text).await,
            Does::OrdersToSleeping(text) => {
                let (actor, _) = engine.get_or_create("every-feature", key, None).await;
                engine.sleep(&actor).await;
                orders(text).await;
            }
            Does::Socket(texts) => {
                let mut socket = Socket::open(engine, &by_key("every-feature", key, "/websocket/x"), "rivet").await;
                for text in *texts {
                    socket.send(Message::text(*text)).await.expect("it is open");
                }
                // A client that leaves before the actor has taken its socket has said nothing.
                self.collector.named("actor.message", texts.len()).await;
                socket.close().await;
            }
            Does::Actions(names) => {
                let path = by_key("every-feature", key, "/connect");
                let mut socket = Socket::open(engine, &path, "rivet, rivet_encoding.json").await;
                socket.next().await.expect("a greeting").expect("it is open");
                for (id, name) in names.iter().enumerate() {
                    let call = json!({ "body": { "tag": "ActionRequest", "val": { "id": id, "name": name, "args": [] } } });
                    socket.send(Message::text(call.to_string())).await.expect("it is open");
                    socket.next().await.expect("an answer").expect("it is open");
                }
                socket.close().await;
            }
            Does::Posts(path, body) => {
                engine.send(Call::post(by_key("every-feature", key, path)).json(body)).await.expect_ok(path);
            }
            Does::Api(path) => {
                engine.get(*path).await.expect_ok(path);
            }
            Does::Deploys => {
                engine.deploy("counter", key).await;
            }
        }
    }

    /// What is done leads to these trees. Starts and the API are looked at where they are expected.
    async fn check(&self, key: &str, does: &Does, expected: &str) -> Result<(), String> {
        let before: BTreeSet<String> = self.collector.spans().into_iter().map(|span| span.id).collect();
        self.act(key, does).await;
        let expected: Vec<&str> = expected.lines().map(|line| line.strip_prefix("             ").unwrap_or(line)).collect();
        let expected = expected.join("\n");
        let is_looked_at =
            |span: &Span| !["actor.start", "api.request"].contains(&span.name.as_str()) || expected.contains(&span.name);
        let look = || {
            let all = self.collector.spans();
            let new: Vec<Span> = all.iter().filter(|span| !before.contains(&span.id)).cloned().collect();
            trees(&new, &all, is_looked_at).join("\n")
        };
        let began = Instant::now();
        while look() != expected {
            if began.elapsed() > SOON {
                return Err(format!("{key}, seen:\n{}\nexpected:\n{expected}\n", look()));
            }
            tokio::time::sleep(LOOK).await;
        }
        for span in self.collector.spans() {
            let is_engines = OF_ENGINE.iter().any(|begin| span.name.starts_with(begin));
            let expected = if is_engines || self.runner.is_none() { "engine" } else { "runner" };
            assert_eq!(span.service, expected, "{span:?}");
        }
        Ok(())
    }
}

/// A line for each, those below it behind it: name, kind, and what is shown of it.
fn trees(spans: &[Span], all: &[Span], is_looked_at: impl Fn(&Span) -> bool) -> Vec<String> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.began_nanos);
    let mut lines = Vec::new();
    for root in spans.iter().filter(|span| span.parent.is_empty() && is_looked_at(span)) {
        lines.push(line(root, all));
        below(root, &spans, all, 1, &mut lines);
    }
    lines
}

fn below(parent: &Span, spans: &[Span], all: &[Span], depth: usize, lines: &mut Vec<String>) {
    for span in spans.iter().filter(|span| span.parent == parent.id) {
        assert_eq!(span.trace, parent.trace, "{span:?}");
        lines.push(format!("{:1$}{2}", "", 2 * depth, line(span, all)));
        below(span, spans, all, depth + 1, lines);
    }
}

fn line(span: &Span, all: &[Span]) -> String {
    let kind = match span.kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Internal => "internal",
        SpanKind::Consumer => "consumer",
        other => panic!("{other:?}"),
    };
    let mut words = vec![span.name.as_str(), kind];
    words.extend(SHOWN.iter().filter_map(|name| span.attributes.get(*name)).map(String::as_str));
    for link in &span.links {
        let linked = all.iter().find(|other| other.id == *link);
        words.extend(["->", linked.map_or("not there", |linked| &linked.name)]);
    }
    if let Some(error) = &span.error {
        words.extend(["failed:", error]);
    }
    words.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_an_actor_is_a_tree_of_spans_wherever_it_runs() {
    let request = "\
             gateway.request server 200
               actor.wait internal
               actor.request server
                 actor.commit internal";
    let rows: Vec<(&str, Does, String)> = vec![
        ("a-request", Does::Orders("put a 1"), request.to_string()),
        (
            "a-call",
            Does::Orders("put a 1\ncall OTHER act [\"get a\"]"),
            "\
             gateway.request server 200
               actor.wait internal
               actor.request server
                 actors.call client
                   actor.wait internal
                   actor.request server
                     kv.list internal
                     kv.get internal
                     actor.commit internal
                 actor.commit internal"
                .to_string(),
        ),
        (
            "a-call-that-fails",
            Does::Orders("call 000000000000000000000000000000 act []"),
            "\
             gateway.request server 200
               actor.wait internal
               actor.request server
                 actors.call client failed: api.bad_request"
                .to_string(),
        ),
        (
            "an-alarm",
            Does::Orders("alarm 1"),
            format!(
                "{request}
             actor.alarm consumer alarm 1
               kv.list internal
               actor.commit internal"
            ),
        ),
        (
            "a-schedule",
            Does::Orders("at 1 act [\"get a\"]"),
            format!(
                "{request}
             actor.alarm consumer schedule 1
               kv.list internal
               kv.get internal
               actor.commit internal"
            ),
        ),
        (
            "a-message-to-itself",
            Does::Orders("push q [\"get a\"]"),
            format!(
                "{request}
             actor.queue consumer 1 -> actor.request
               kv.list internal
               kv.get internal
               actor.commit internal"
            ),
        ),
        (
            "a-clients-message-for-the-queue",
            Does::Posts("/queue/q", json!({ "body": ["get a"] })),
            format!(
                "{request}
             actor.queue consumer 1 -> actor.request
               kv.list internal
               kv.get internal
               actor.commit internal"
            ),
        ),
        (
            "a-socket",
            Does::Socket(&["a", "b"]),
            "\
             gateway.socket server 101
               actor.socket_open server
                 kv.list internal
                 actor.commit internal
               gateway.socket_close internal 2
             gateway.message server -> gateway.socket
               actor.message consumer
                 kv.list internal
                 actor.commit internal
             gateway.message server -> gateway.socket
               actor.message consumer
                 kv.list internal
                 actor.commit internal"
                .to_string(),
        ),
        (
            "an-action-of-a-connection",
            Does::Actions(&["act"]),
            "\
             gateway.socket server 101
               actor.socket_open server
                 kv.list internal
                 actor.commit internal
               gateway.socket_close internal 1
             gateway.message server -> gateway.socket
               actor.message consumer
                 kv.list internal
                 actor.commit internal"
                .to_string(),
        ),
        (
            "what-wakes",
            Does::OrdersToSleeping("get a"),
            "\
             actor.start internal created
             gateway.request server 200
               actor.wait internal
               actor.request server
                 kv.get internal
             actor.start internal woken"
                .to_string(),
        ),
        (
            "the-api",
            Does::Api("/actors/names?namespace=default"),
            "\
             api.request server /actors/names 200"
                .to_string(),
        ),
        (
            "a-deploy",
            Does::Deploys,
            "\
             api.request server /deployments/{name} 200
               core.call internal deployment.deploy"
                .to_string(),
        ),
    ];
    for elsewhere in [false, true] {
        let stage = Stage::start(elsewhere, &[]).await;
        stage.wake_other().await;
        let mut wrong = Vec::new();
        for (key, does, expected) in &rows {
            wrong.extend(stage.check(key, does, expected).await.err());
        }
        assert!(wrong.is_empty(), "elsewhere: {elsewhere}\n{}", wrong.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_asks_for_too_much_is_counted_and_not_followed() {
    const READS: usize = 1_500;
    let stage = Stage::start(false, &[]).await;
    let orders = "get a\n".repeat(READS);
    let call = Call::post(by_key("every-feature", "much", "/request/")).body(orders.trim_end());
    stage.engine.send(call.header("traceparent", format!("00-{TRACE}-{CALLER}-01"))).await.expect_ok("many reads");
    let mut left_out = 0;
    // Whichever is over first says it.
    for name in ["gateway.request", "actor.request"] {
        let span = stage.collector.named_in(TRACE, name, 1).await.remove(0);
        left_out += span.attributes.get("rivet.spans_left_out").map_or(0, |count| count.parse::<usize>().expect("a number"));
    }
    let reads = stage.collector.named_in(TRACE, "kv.get", READS - left_out).await;
    assert_eq!((reads.len() + left_out, reads.len() < 1_000), (READS, true), "reads and left out; fewer than a trace may have");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_what_is_traced() {
    // Whether callers are believed, the ratio, what one says, and what follows: the spans of a request and those of a socket.
    let rows = [
        ("1", "0", Some("01"), (true, true)),
        ("1", "0", None, (false, false)),
        ("1", "1", Some("00"), (false, false)),
        ("0", "0", Some("01"), (false, false)),
        ("0", "1", Some("00"), (true, true)),
    ];
    for (accept, ratio, flags, (request, message)) in rows {
        let what = format!("accept {accept}, ratio {ratio}, {flags:?}");
        let more = [("RIVET_OTEL_ACCEPT_TRACEPARENT", accept), ("RIVET_OTEL_SAMPLER_RATIO", ratio)];
        let mut stage = Stage::start(false, &more).await;
        let before = stage.collector.spans().len();
        let header = flags.map(|flags| format!("00-{TRACE}-{CALLER}-{flags}"));
        let path = by_key("every-feature", "decided", "/request/");
        let call = header.iter().fold(Call::post(path).body("get a"), |call, header| call.header("traceparent", header.as_str()));
        stage.engine.send(call).await.expect_ok("a request");
        let headers: Vec<(&str, &str)> = header.iter().map(|header| ("traceparent", header.as_str())).collect();
        let path = by_key("every-feature", "decided", "/connect");
        let headers = [&headers[..], &[("sec-websocket-protocol", "rivet, rivet_encoding.json")]].concat();
        let mut socket = Socket::open_with(&stage.engine, &path, &headers).await.expect("a socket");
        socket.next().await.expect("a greeting").expect("it is open");
        let call = json!({ "body": { "tag": "ActionRequest", "val": { "id": 1, "name": "act", "args": [] } } });
        socket.send(Message::text(call.to_string())).await.expect("it is open");
        socket.next().await.expect("an answer").expect("it is open");
        socket.close().await;
        // What there is leaves at the latest now.
        assert_eq!(stage.engine.stop().await, Some(0));
        let spans = &stage.collector.spans()[before..];
        let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        assert_eq!((named("gateway.request").len(), named("gateway.message").len()), (request.into(), message.into()), "{what}");
        assert_eq!((named("actor.request").len(), named("actor.message").len()), (request.into(), message.into()), "{what}");
        let is_callers = accept == "1";
        for span in [named("gateway.request"), named("gateway.socket")].concat() {
            assert_eq!((span.trace == TRACE, span.parent == CALLER), (is_callers, is_callers), "{what}: {span:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_about_a_socket_name_its_request_wherever_its_actor_runs() {
    for elsewhere in [false, true] {
        let mut stage = Stage::start(elsewhere, &[("RUST_LOG", "info,rivet_engine=debug,rivet_runner_wasm=debug")]).await;
        let path = by_key("every-feature", "named", "/connect");
        let headers = [("sec-websocket-protocol", "rivet, rivet_encoding.json"), ("x-rivet-ray-id", "ray-of-a-socket")];
        let mut socket = Socket::open_with(&stage.engine, &path, &headers).await.expect("a socket");
        assert_eq!(socket.headers["x-rivet-ray-id"], "ray-of-a-socket");
        socket.next().await.expect("a greeting").expect("it is open");
        let call = json!({ "body": { "tag": "ActionRequest", "val": { "id": 1, "name": "act", "args": ["trap"] } } });
        socket.send(Message::text(call.to_string())).await.expect("it is open");
        socket.next().await.expect("an answer").expect("it is open");
        socket.close().await;
        let line = until("a line about the trap", async || {
            let log = match &mut stage.runner {
                Some(runner) => runner.process().log(),
                None => stage.engine.log(),
            };
            let line = log.lines().find(|line| line.contains("a message has ended its actor's guest")).map(str::to_string);
            line.ok_or(log)
        })
        .await;
        assert!(line.contains("ray-of-a-socket"), "{line}");
    }
}

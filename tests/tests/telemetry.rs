//! What operators follow: traces and metrics as a collector gets them, the page for Prometheus with the dashboard and the document that
//! are about it, and log lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use protocol::wire::RunnerVersion;
use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::{by_id, by_key};
use rivet_tests::collector::{Collector, Span};
use rivet_tests::engine::run_with;
use rivet_tests::{Call, Engine, Envoy, Runner, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What must be in no span: it is sent, stored, or a client's secret.
const SECRETS: [&str; 4] = ["s3cret-body", "s3cret-key", "s3cret-token", "s3cret-value"];
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn on<'a>(collector: &'a str, ratio: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("RIVET_OTEL_ENABLED", "1"),
        ("RIVET_OTEL_GRPC_ENDPOINT", collector),
        ("RIVET_OTEL_SAMPLER_RATIO", ratio),
        ("RIVET_SERVICE_NAME", "rivet-under-test"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
    ]
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it listens").port()
}

fn orders(text: impl Into<String>) -> Call {
    Call::post(by_key("every-feature", "s3cret-key", "/request/")).body(text.into())
}

/// The one span of this name whose parent has this id.
fn below<'a>(spans: &'a [Span], parent: &str, name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name && span.parent == parent).collect();
    let names = || spans.iter().map(|span| format!("{} {} < {}", span.name, span.id, span.parent)).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{name} below {parent} in {:#?}", names());
    found[0]
}

/// Answers one request with the head that it got.
async fn mirror() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8_192];
            let bytes = stream.read(&mut head).await.unwrap_or(0);
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
            // Whoever asked may be gone.
            let _ = stream.write_all(&[answer.as_bytes(), &head[..bytes]].concat()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_follows_a_request_from_the_gateway_to_its_commit() {
    let (collector, url) = Collector::start().await;
    let mut engine = Engine::start_in(&on(&url, "0"), &[]).await;
    engine.deploy("every-feature", "every-feature").await;
    let (other, _) = engine.get_or_create("every-feature", "other", None).await;
    // One's own decision is honoured whatever the ratio is.
    let body = format!("put a s3cret-value\nget b\nsql create table t (x)\ncall {other} act [\"did\"]\nget s3cret-body");
    let call = orders(body).header("traceparent", format!("00-{TRACE}-{CALLER}-01")).header("x-rivet-ray-id", "ray-of-the-test");
    let answer = engine.send(call.header("authorization", "Bearer s3cret-token")).await.expect_ok("orders");
    assert_eq!(answer.header("x-rivet-ray-id"), "ray-of-the-test");
    let not_sampled = orders("get a").header("traceparent", format!("00-{TRACE}-{CALLER}-00"));
    engine.send(not_sampled).await.expect_ok("orders");
    engine.send(orders("get a")).await.expect_ok("orders");
    collector.named("gateway.request", 1).await;
    collector.named("actor.commit", 1).await;
    // What there is leaves at the latest now.
    assert_eq!(engine.stop().await, Some(0));
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE && span.service == "rivet-under-test"), "{spans:#?}");
    let gateway = below(&spans, CALLER, "gateway.request");
    let told = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_else(|| panic!("{name} in {span:?}"));
    assert_eq!(told(gateway, "http.response.status_code"), "200");
    assert_eq!(told(gateway, "rivet.ray_id"), "ray-of-the-test");
    assert_eq!((told(gateway, "rivet.namespace"), told(gateway, "rivet.actor.name")), ("default".into(), "every-feature".into()));
    let wait = below(&spans, &gateway.id, "actor.wait");
    assert_eq!(told(wait, "rivet.actor.generation"), "1");
    let actor = below(&spans, &gateway.id, "actor.request");
    for (name, value) in [("rivet.actor.name", "every-feature"), ("rivet.namespace", "default"), ("rivet.actor.generation", "1")] {
        assert_eq!(told(actor, name), value, "{name}");
    }
    assert_eq!(told(actor, "rivet.actor.id"), told(wait, "rivet.actor.id"));
    // A call leaves when what was written before it is durable, so there are two reads before it and one after it.
    let reads = spans.iter().filter(|span| span.name == "kv.get" && span.parent == actor.id).count();
    assert_eq!(reads, 2, "{spans:#?}");
    below(&spans, &actor.id, "sql.execute");
    let commit = below(&spans, &actor.id, "actor.commit");
    assert!(commit.nanos > 0, "{commit:?}");
    let call = below(&spans, &actor.id, "actors.call");
    let called = below(&spans, &call.id, "actor.request");
    assert_eq!(told(called, "rivet.actor.id"), other);
    assert!(spans.iter().any(|span| span.name == "kv.list" && span.parent == called.id), "{spans:#?}");
    for secret in SECRETS {
        let said = format!("{spans:?}");
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leaves_with_an_actors_own_requests() {
    let (collector, url) = Collector::start().await;
    for (count, sends) in [(1, "1"), (2, "0")] {
        let engine = Engine::start_in(&[on(&url, "1"), vec![("RIVET_OTEL_SEND_TRACEPARENT", sends)]].concat(), &[]).await;
        let port = mirror().await;
        fetches(&collector, &engine, port, count, sends == "1").await;
    }
}

/// The spans of one more request to elsewhere, which `says` where it comes from.
async fn fetches(collector: &Collector, engine: &Engine, port: u16, count: usize, says: bool) {
    let settings = json!({ "outbound": [format!("127.0.0.1:{port}")] }).to_string();
    let deploy = Call::put("/deployments/standard?namespace=default").header("x-rivet-settings", settings);
    engine.send(deploy.body(rivet_tests::guest::bytes("standard"))).await.expect_ok("a deploy");
    let answer = engine.get(by_key("standard", "a", &format!("/fetch/127.0.0.1:{port}"))).await.expect_ok("a request").text();
    let fetched = collector.named("http.request", count).await.remove(count - 1);
    let is_said = answer.contains(&format!("traceparent: 00-{}-{}-01", fetched.trace, fetched.id));
    assert_eq!((is_said, answer.contains("traceparent")), (says, says), "{fetched:?} in {answer}");
    assert_eq!(fetched.attributes.get("http.response.status_code").map(String::as_str), Some("200"));
    assert_eq!(fetched.attributes.get("server.address").map(String::as_str), Some("127.0.0.1"));
    let actor = collector.named("actor.request", count).await.remove(count - 1);
    assert_eq!(fetched.parent, actor.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_elsewhere_goes_on_with_the_trace() {
    let (collector, url) = Collector::start().await;
    let engine = Engine::start_in(&on(&url, "1"), &["--no-wasm-runner"]).await;
    let mut runner = Runner::new("traced", &[]);
    runner.set(&on(&url, "1"));
    runner.restart(engine.url()).await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    let gateway = collector.named("gateway.request", 1).await.remove(0);
    let actor = collector.named("actor.request", 1).await.remove(0);
    let commit = collector.named("actor.commit", 1).await.remove(0);
    assert_eq!((actor.trace, actor.parent), (gateway.trace.clone(), gateway.id));
    assert_eq!((commit.trace, commit.parent), (gateway.trace, actor.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_connects_gets_the_header_as_it_came_unless_it_is_configured() {
    let (collector, url) = Collector::start().await;
    let brought = format!("00-{TRACE}-{CALLER}-01");
    for (count, propagates) in [(1, "false"), (2, "true")] {
        let engine = Engine::start_in(&[on(&url, "0"), vec![("RIVET__GUARD__TRACE_PROPAGATION", propagates)]].concat(), &[]).await;
        // A pool without any rules: a legacy runner makes it by connecting.
        let (maker, _) = Envoy::connect_legacy(&engine, "default", "maker", RunnerVersion::NEWEST, 0).await;
        maker.socket.close().await;
        let mut envoy = Envoy::connect(&engine, "default", "envoy-one").await;
        let (actor, _) = engine.get_or_create("web", "a", None).await;
        let at = envoy.start().await;
        envoy.running(&at).await;
        let call = Call::get(by_id(&actor, "/x")).header("traceparent", brought.as_str());
        let serve = async {
            let (id, message) = envoy.tunnel().await;
            let ToEnvoyTunnel::RequestStart { headers, .. } = message else { panic!("{message:?}") };
            let answer =
                ToRivetTunnel::ResponseStart { status: 200, headers: Default::default(), body: Some("".into()), stream: false };
            envoy.respond(id, answer).await;
            headers.into_iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value)
        };
        let (answer, came) = tokio::join!(engine.send(call), serve);
        answer.expect_ok("a request");
        let gateway = collector.named("gateway.request", count).await.pop().expect("as many");
        assert_eq!((gateway.trace.as_str(), gateway.parent.as_str()), (TRACE, CALLER));
        let expected = if propagates == "true" { format!("00-{TRACE}-{}-01", gateway.id) } else { brought.clone() };
        assert_eq!(came, Some(expected), "guard.trace_propagation {propagates}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_requests_is_traced_and_the_share_can_be_changed() {
    let (collector, url) = Collector::start().await;
    let engine = Engine::start_in(&on(&url, "0"), &[]).await;
    engine.deploy("counter", "counter").await;
    for _ in 0..20 {
        engine.increment("counter", "a").await;
    }
    let changed = engine.cli(&["tracing", "config", "--sampler-ratio", "1", "--json"]).await;
    assert_eq!((changed.code, changed.err.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<Value>(&changed.out).expect("JSON")["sampler_ratio"], 1.0, "{}", changed.out);
    for _ in 0..20 {
        engine.increment("counter", "a").await;
    }
    let spans = collector.named("gateway.request", 20).await;
    assert_eq!(spans.len(), 20, "and none of those before");
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!(traces.len(), 20, "each is a trace of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_slow_keeps_nobody_waiting() {
    let gone = format!("http://127.0.0.1:{}", free_port());
    let (slow, slow_url) = Collector::start_slow(Duration::from_secs(60)).await;
    for (what, url) in [("gone", &gone), ("slow", &slow_url)] {
        let mut engine = Engine::start_in(&on(url, "1"), &["--durability", "relaxed"]).await;
        engine.deploy("counter", "counter").await;
        let began = Instant::now();
        for _ in 0..300 {
            engine.increment("counter", "a").await;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: 300 calls took {:?}", began.elapsed());
        let log = until("it is said once", async || {
            let log = engine.log();
            log.contains("the collector does not take traces").then_some(log.clone()).ok_or(log)
        })
        .await;
        assert_eq!(log.matches("the collector does not take traces").count(), 1, "{what}: {log}");
        let began = Instant::now();
        assert_eq!(engine.stop().await, Some(0), "{what}");
        assert!(began.elapsed() < Duration::from_secs(15), "{what}: the end took {:?}", began.elapsed());
    }
    assert!(slow.spans().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_unless_it_is_asked_for() {
    let (collector, url) = Collector::start().await;
    let off = [("RIVET_OTEL_GRPC_ENDPOINT", url.as_str()), ("RIVET_OTEL_SAMPLER_RATIO", "1")];
    let mut engine = Engine::start_in(&off, &[]).await;
    engine.deploy("counter", "counter").await;
    let call = Call::post(by_key("counter", "a", "/increment")).header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    engine.send(call).await.expect_ok("an increment");
    let refused = engine.send(Call::put("/tracing/config").json(&json!({ "sampler_ratio": 1 }))).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "api.bad_request"), "{refused}");
    assert!(refused.message().contains("RIVET_OTEL_ENABLED"), "{refused}");
    assert_eq!(engine.stop().await, Some(0));
    assert!(collector.spans().is_empty() && collector.metrics().is_empty());
    let wrong = [("RIVET_OTEL_ENABLED", "1"), ("RIVET_OTEL_SAMPLER_RATIO", "2")];
    let done = run_with(&["start", "--port", "0", "--data-dir", "/nowhere"], &wrong).await;
    assert!(done.code == Some(1) && done.err.contains("RIVET_OTEL_SAMPLER_RATIO"), "{}", done.err);
}

/// A family of the page for Prometheus, and its samples.
struct Family {
    kind: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Strictly: every line is what the text format allows, in its order; whatever else is a failure.
fn parse(page: &str) -> BTreeMap<String, Family> {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    assert!(page.ends_with('\n'), "the last line has an end too");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped: Option<String> = None;
    let mut current: Option<String> = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("a help expected: {line}"));
            assert!(is_name(name) && help.ends_with('.') && !help.contains('\\'), "{line}");
            helped = Some(name.to_string());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("a type expected: {line}"));
            assert_eq!(helped.take().as_deref(), Some(name), "its help goes before it: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let before = families.insert(name.to_string(), Family { kind: kind.to_string(), samples: Vec::new() });
            assert!(before.is_none(), "{name} is there twice");
            current = Some(name.to_string());
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample expected: {line}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("a value expected: {line}"));
            let (name, labels) = match sample.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("a brace expected: {line}"))),
                None => (sample, ""),
            };
            let label = |text: &str| {
                let (name, value) = text.split_once("=\"").unwrap_or_else(|| panic!("a label expected: {line}"));
                assert!(is_name(name), "{line}");
                (name.to_string(), value.strip_suffix('"').unwrap_or_else(|| panic!("a quote expected: {line}")).to_string())
            };
            // No label of ours has a comma in its value.
            let labels: BTreeMap<_, _> = labels.split(',').filter(|text| !text.is_empty()).map(label).collect();
            let of = current.as_ref().unwrap_or_else(|| panic!("a family is named before its samples: {line}"));
            let family = families.get_mut(of).expect("it was just named");
            let suffix = name.strip_prefix(of.as_str()).unwrap_or_else(|| panic!("{line} is not of {of}"));
            let known: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(known.contains(&suffix), "{line}");
            family.samples.push((name.to_string(), labels, value));
        }
    }
    families
}

fn check_conventions(name: &str, family: &Family) {
    let samples = &family.samples;
    let is_counter = family.kind == "counter";
    assert_eq!(name.ends_with("_total"), is_counter, "{name}: a counter is a total, and nothing else is");
    for unit in ["_ms", "_us", "_milliseconds", "_kib", "_mib", "_kb", "_percent"] {
        assert!(!name.contains(unit), "{name}: seconds, bytes and ratios are the units");
    }
    let ours = name.starts_with("rivet_") || name.starts_with("process_");
    assert!(ours, "{name}: one prefix for all that is ours");
    let mut seen = BTreeSet::new();
    for (sample, labels, value) in samples {
        assert!(!is_counter || *value >= 0.0, "{sample} {value}");
        assert!(seen.insert(format!("{sample}{labels:?}")), "{sample} {labels:?} is there twice");
        for (label, value) in labels {
            // Of namespaces there is a bound.
            let may = label == "namespace" && name.starts_with("rivet_namespace_");
            let unbounded = ["actor", "actor_id", "key", "namespace", "ray_id"].contains(&label.as_str());
            assert!(may || !unbounded, "{sample}: {label}={value}");
        }
    }
    if family.kind == "histogram" {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (sample, labels, value) in samples.iter().filter(|(sample, ..)| sample.ends_with("_bucket")) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap_or_else(|| panic!("{sample} has a bound"));
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound is a number") };
            series.entry(format!("{labels:?}")).or_default().push((bound, *value));
        }
        for (labels, buckets) in series {
            assert!(buckets.is_sorted_by(|(a, below), (b, above)| a < b && below <= above), "{name}{labels} {buckets:?}");
            assert_eq!(buckets.last().map(|(bound, _)| *bound), Some(f64::INFINITY), "{name}{labels}");
        }
    }
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of metrics in a text, each without what a histogram adds to it.
fn names(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = text.split(|char| !is_part(char)).filter(|word| word.starts_with("rivet_") || word.starts_with("process_"));
    let family = |word: &str| {
        let shorter = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        shorter.filter(|shorter| known.contains(*shorter)).unwrap_or(word).to_string()
    };
    words.map(family).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_the_dashboard_the_document_and_the_collector_have_the_same_metrics() {
    let (collector, url) = Collector::start().await;
    let port = free_port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
    let [certificate, key] = [("c.pem", made.cert.pem()), ("k.pem", made.signing_key.serialize_pem())].map(|(name, pem)| {
        let path = folder.path().join(name);
        fs::write(&path, pem).expect("the folder can be written to");
        path.to_str().expect("a path that is text").to_string()
    });
    let https = free_port().to_string();
    let mut variables = on(&url, "1").to_vec();
    variables.push(("RIVET__GUARD__HTTPS__PORT", &https));
    variables.push(("RIVET__GUARD__HTTPS__TLS__API_CERT_PATH", &certificate));
    variables.push(("RIVET__GUARD__HTTPS__TLS__API_KEY_PATH", &key));
    let engine = Engine::start_in(&variables, &["--metrics-port", &port]).await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    engine.send(Call::new("BREW", "/actors")).await;
    let get = async || {
        let response = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        response.get(format!("http://127.0.0.1:{port}/metrics")).send().await.expect("an answer")
    };
    let response = get().await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let families = parse(&response.text().await.expect("text"));
    for (name, family) in &families {
        check_conventions(name, family);
        assert!(!family.samples.is_empty(), "{name} has no samples");
    }
    let value = |name: &str, of: &str| {
        let samples = &families[of].samples;
        samples.iter().filter(|(sample, ..)| sample == name).map(|(.., value)| value).sum::<f64>()
    };
    for name in ["rivet_actor_request_duration_seconds", "rivet_actor_wake_duration_seconds", "rivet_store_commit_duration_seconds"]
    {
        assert!(value(&format!("{name}_count"), name) >= 1.0 && value(&format!("{name}_sum"), name) > 0.0, "{name}");
    }
    for name in ["rivet_store_sync_duration_seconds", "rivet_wasm_mailbox_wait_seconds", "rivet_wasm_message_run_seconds"] {
        assert!(value(&format!("{name}_count"), name) >= 1.0, "{name}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let started = value("process_start_time_seconds", "process_start_time_seconds");
    assert!((now - 600.0..=now + 1.0).contains(&started), "started at {started}, it is {now}");
    assert!(value("process_cpu_seconds_total", "process_cpu_seconds_total") > 0.0);
    assert_eq!(value("rivet_ready", "rivet_ready"), 1.0);

    let known: BTreeSet<String> = families.keys().cloned().collect();
    let table: String =
        file("docs/TELEMETRY.md").lines().filter(|line| line.starts_with("| `")).map(|line| format!("{line}\n")).collect();
    let first_cells: String = table.lines().filter_map(|line| line.split('|').nth(1)).map(|cell| format!("{cell}\n")).collect();
    let documented = names(&first_cells, &known);
    assert_eq!(documented, known, "docs/TELEMETRY.md has a row for each, and for nothing else");
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/rivet-engine.json")).expect("the dashboard is JSON");
    let mut shown = BTreeSet::new();
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().expect("a dashboard has panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.extend(names(target["expr"].as_str().expect("a query"), &known));
            panels += 1;
        }
    }
    assert!(panels > 0 && shown.is_subset(&known), "not there: {:?}", shown.difference(&known));
    let not_shown: Vec<_> = known.difference(&shown).collect();
    assert!(not_shown.is_empty(), "in no panel of the dashboard: {not_shown:?}");

    // The same figures reach the collector.
    let sent = until("metrics arrive", async || {
        let metrics = collector.metrics();
        metrics.contains_key("process_cpu_seconds_total").then_some(metrics).ok_or("none".to_string())
    })
    .await;
    assert_eq!(sent.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (name, metric) in &sent {
        let (kind, unit) = (families[name].kind.as_str(), metric.unit.as_str());
        let expected = match metric.data.as_ref().expect("it has data") {
            Data::Gauge(_) => "gauge",
            Data::Sum(sum) if sum.is_monotonic && sum.aggregation_temporality == 2 => "counter",
            Data::Histogram(histogram) if histogram.aggregation_temporality == 2 => "histogram",
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(kind, expected, "{name}");
        assert_eq!(unit == "s", name.trim_end_matches("_total").ends_with("_seconds"), "{name}: {unit}");
        assert_eq!(unit == "By", name.trim_end_matches("_total").ends_with("_bytes"), "{name}: {unit}");
    }
    if let Some(Data::Histogram(histogram)) = &sent["rivet_actor_request_duration_seconds"].data {
        for point in &histogram.data_points {
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_elsewhere_tells_its_metrics_and_takes_levels() {
    let (collector, url) = Collector::start().await;
    let engine = Engine::start_alone(&["--no-wasm-runner"]).await;
    let port = free_port().to_string();
    let mut runner = Runner::new("told", &[]);
    let own = [("RIVET__RUNNER__METRICS__PORT", port.as_str()), ("RIVET_TOKEN", "s3cret-token")];
    runner.set(&[on(&url, "0"), own.to_vec()].concat());
    runner.restart(engine.url()).await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    let at = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
    let page = async || parse(&client.get(format!("{at}/metrics")).send().await.expect("an answer").text().await.expect("text"));
    let value = |families: &BTreeMap<String, Family>, of: &str| families[of].samples.last().expect("a sample").2;
    let families = page().await;
    for (name, family) in &families {
        check_conventions(name, family);
    }
    assert_eq!((value(&families, "rivet_ready"), value(&families, "rivet_wasm_actors")), (1.0, 1.0));
    assert!(value(&families, "rivet_wasm_message_run_seconds") >= 1.0 && families.contains_key("rivet_otel_spans_sent_total"));
    // The same reach the collector.
    let known: BTreeSet<String> = families.keys().cloned().collect();
    until("metrics arrive", async || {
        let sent: BTreeSet<String> = collector.metrics().keys().cloned().collect();
        (sent == known).then_some(()).ok_or(format!("{sent:?}"))
    })
    .await;

    for (token, code, words) in [(None, Some(1), "api.forbidden"), (Some("wrong"), Some(1), "api.forbidden")] {
        let token: Vec<_> = token.iter().map(|token| ("RIVET_TOKEN", *token)).collect();
        let done = run_with(&["tracing", "config", "--engine", &at, "-f", "trace"], &token).await;
        assert_eq!((done.code, done.err.contains(words)), (code, true), "{}", done.err);
    }
    let set = ["tracing", "config", "--engine", &at, "-f", "info,rivet_engine=debug", "-s", "1", "--json"];
    let done = run_with(&set, &[("RIVET_TOKEN", "s3cret-token")]).await;
    let config: Value = serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {} {}", done.out, done.err));
    assert_eq!(config, json!({ "filter": "info,rivet_engine=debug", "sampler_ratio": 1.0 }));
    assert!(runner.process().log().contains("the levels of log lines are changed"), "{}", runner.process().log());
    let wrong = client.put(format!("{at}/tracing/config")).bearer_auth("s3cret-token").json(&json!({ "sampler_ratio": 2 }));
    assert_eq!(wrong.send().await.expect("an answer").status(), 400);
    drop(engine);
    until("it is not connected", async || {
        let families = page().await;
        let seen = (value(&families, "rivet_ready"), value(&families, "rivet_wasm_actors"));
        (seen == (0.0, 0.0)).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_about_a_request_name_it_and_levels_can_be_changed() {
    for format in ["text", "json"] {
        let mut engine = Engine::start_in(&[("RUST_LOG", "warn")], &["--log-format", format]).await;
        let set = async |filter: &str| engine.cli(&["tracing", "config", "-f", filter]).await;
        let create = json!({ "name": "a", "display_name": "A" });
        let refused = || Call::get("/gateway/none/x?rvt-namespace=default&rvt-method=get").header("x-rivet-ray-id", "ray-1");
        engine.send(refused()).await;
        assert!(!engine.log().contains("ray-1"), "nothing is said at this level: {}", engine.log());
        for (filter, words) in [("loud=loud", "is no filter"), ("", "a filter has")] {
            let done = set(filter).await;
            assert!(done.code == Some(1) && done.err.contains(words), "{filter}: {}", done.err);
        }
        let done = set("info,rivet_engine=debug").await;
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(done.out.contains("info,rivet_engine=debug"), "{}", done.out);
        let call = Call::post("/namespaces").json(&create).header("x-rivet-ray-id", "ray-2");
        engine.send(call).await.expect_ok("a namespace");
        let call = Call::put("/deployments/counter?namespace=default").header("x-rivet-ray-id", "ray-3");
        let answer = engine.send(call.body(rivet_tests::guest::bytes("counter"))).await.expect_ok("a deploy");
        assert_eq!(answer.header("x-rivet-ray-id"), "ray-3");
        let log = engine.log();
        let line = log.lines().find(|line| line.contains("a deployment has changed")).unwrap_or_else(|| panic!("{log}"));
        match format {
            "text" => assert!(line.ends_with(" ray_id=ray-3"), "{line}"),
            _ => {
                let line: Value = serde_json::from_str(line).expect("each line is JSON");
                let fields = line.as_object().expect("an object");
                assert!(fields.values().all(|value| !value.is_object() && !value.is_array()), "flat: {line}");
                for (name, value) in [("level", "INFO"), ("ray_id", "ray-3"), ("namespace", "default"), ("name", "counter")] {
                    assert_eq!(line[name], value, "{line}");
                }
                assert!(line["timestamp"].is_string() && line["message"] == "a deployment has changed", "{line}");
            }
        }
        // It is forgotten when the engine ends.
        assert_eq!(engine.stop().await, Some(0));
        engine.restart().await;
        let now = engine.get("/tracing/config").await.expect_ok("what counts").json();
        assert_eq!(now["filter"], "warn", "{now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_about_a_traced_request_name_its_trace() {
    let (_collector, url) = Collector::start().await;
    let variables = [on(&url, "1"), vec![("RUST_LOG", "rivet_engine=debug")]].concat();
    let engine = Engine::start_in(&variables, &["--log-format", "json"]).await;
    engine.deploy("counter", "counter").await;
    let call = Call::get(by_key("counter", "a", "/")).header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    engine.send(call.header("x-rivet-ray-id", "ray-4")).await.expect_ok("a count");
    let line = until("a line names the trace", async || {
        let log = engine.log();
        log.lines().find(|line| line.contains("ray-4")).map(str::to_string).ok_or(log)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("each line is JSON");
    let told = (&line["message"], &line["ray_id"], &line["trace_id"], &line["status"]);
    assert_eq!(told, (&json!("a request is answered"), &json!("ray-4"), &json!(TRACE), &json!(200)), "{line}");
}

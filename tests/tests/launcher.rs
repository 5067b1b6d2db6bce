//! What a launcher relies on, and an operator: configuration from files, environment and flags, the ports beside the main one, and
//! an engine that goes on when whoever started it is gone.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rivet_tests::engine::run_with;
use rivet_tests::process::binary;
use rivet_tests::until;
use serde_json::Value;
use tempfile::TempDir;

/// Started as a launcher does it: everything in the environment, no input, and nobody who reads.
struct Launched {
    process: Child,
    http: reqwest::Client,
    ports: Ports,
    _folder: TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    guard: u16,
    peer: u16,
    metrics: u16,
}

/// Flags, variables, and parts of the sentence that they are answered with.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

/// Ports that were free a moment ago.
fn free_ports() -> Ports {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [guard, peer, metrics] = listeners.map(|listener| listener.local_addr().expect("it listens").port());
    Ports { guard, peer, metrics }
}

impl Launched {
    async fn start(more: &[(&str, &str)]) -> Launched {
        let (folder, ports) = (TempDir::new().expect("a folder"), free_ports());
        let config = folder.path().join("config.json");
        let url = format!("http://127.0.0.1:{}", ports.guard);
        let text = format!(
            r#"{{"topology":{{"datacenters":{{"default":{{"public_url":"{url}","peer_url":"{url}","is_leader":true}}}}}}}}"#
        );
        fs::write(&config, text).expect("a file");
        let mut command = Command::new(binary());
        command.arg("start").arg("--config").arg(&config);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIVET_")) {
            command.env_remove(name);
        }
        for (section, port) in [("GUARD", ports.guard), ("API_PEER", ports.peer), ("METRICS", ports.metrics)] {
            command.env(format!("RIVET__{section}__HOST"), "127.0.0.1").env(format!("RIVET__{section}__PORT"), port.to_string());
        }
        command.env("RIVET__FILE_SYSTEM__PATH", folder.path().join("db")).envs(more.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary can be run");
        // The other ends of both pipes are gone before it says anything.
        drop((process.stdout.take(), process.stderr.take()));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        let launched = Launched { process, http, ports, _folder: folder };
        until("the engine is healthy", async || launched.get(ports.guard, "/health").await.map(drop)).await;
        launched
    }

    /// Status and body.
    async fn get(&self, port: u16, path: &str) -> Result<(u16, String), String> {
        let response = self.http.get(format!("http://127.0.0.1:{port}{path}")).send().await.map_err(|error| error.to_string())?;
        Ok((response.status().as_u16(), response.text().await.map_err(|error| error.to_string())?))
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_launched_and_outlives_its_launcher() {
    let engine = Launched::start(&[("RIVET__RUNTIME__WORKER_CPU_MAX", "64000"), ("RUST_LOG", "debug")]).await;
    let ports = engine.ports;
    for port in [ports.guard, ports.peer] {
        let (status, body) = engine.get(port, "/health").await.expect("an answer");
        let health: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &health["runtime"]), (200, &"engine".into()), "{body}");
    }
    let (status, body) = engine.get(ports.peer, "/namespaces").await.expect("an answer");
    assert_eq!(status, 404, "{body}");
    assert!(body.contains(r#""group":"api","code":"not_found""#), "{body}");
    let (_, datacenters) = engine.get(ports.guard, "/datacenters").await.expect("an answer");
    assert!(datacenters.contains(&format!(r#""url":"http://127.0.0.1:{}/""#, ports.guard)), "{datacenters}");
    for path in ["/metrics", "/", "/anything"] {
        let (status, page) = engine.get(ports.metrics, path).await.expect("an answer");
        assert_eq!(status, 200, "{page}");
        let expected = [
            "# TYPE rivet_build_info gauge",
            "rivet_actors_in_memory 0\n",
            "rivet_runners_connected 1\n",
            "rivet_api_request_total{method=\"GET\",path=\"/datacenters\",status=\"200\"} 1\n",
            "rivet_wasm_slept_for_room_total 0\n",
            "rivet_store_commits_total ",
            "rivet_actor_request_total{status=\"2xx\"} 0\n",
        ];
        for line in expected {
            assert!(page.contains(line), "{line:?} expected in:\n{page}");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "a value expected: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_configured_stops_the_start() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path that is text").to_string()
    };
    let (number, list) = (file("number.json", r#"{"guard":5}"#), file("list.yaml", "outbound: [a]\n"));
    let text = file("text.json5", "{pegboard: {actor_stop_threshold: '30s'}}");
    let deep = file("deep.json5", &"[".repeat(500_000));
    let (unknown, broken) = (file("unknown.json", r#"{"guard":{"prt":1}}"#), file("broken.yaml", "guard: ["));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("it listens").port().to_string();
    let in_use = ("RIVET__METRICS__PORT", taken.as_str());
    let missing = folder.path().join("missing.json").to_str().expect("text").to_string();
    let rows: [Row; 12] = [
        (&["--config", &number], &[], &["guard", "number.json", "it is a section, not a key"]),
        (&["--config", &list], &[], &["outbound", "list.yaml", "it is a section, not a key"]),
        (&["--config", &text], &[], &["pegboard.actor_stop_threshold", "text.json5", "a whole number from 1"]),
        (&["--config", &deep], &[], &["deep.json5", "inside each other"]),
        (&["--config", &unknown], &[], &["guard.prt", "unknown.json", "did you mean guard.port?"]),
        (&["--config", &broken], &[], &["broken.yaml", "cannot be read"]),
        (&["--config", &missing], &[], &["missing.json", "cannot be read"]),
        (&[], &[("RIVET__GUARD__PORT", "many")], &["guard.port", "RIVET__GUARD__PORT", "0 to 65535"]),
        (&[], &[("RIVET__NO_SUCH", "1")], &["no_such", "there is no such key"]),
        (&[], &[("RIVET__POSTGRES__URL", "postgres://a:b@c/d")], &["postgres.url", "file_system.path"]),
        (&[], &[in_use], &["metrics.port", "0 for none", taken.as_str()]),
        (&["--durability", "relaxed"], &[("RIVET__GUARD__HOST", "no.such.host.invalid")], &["no.such.host.invalid"]),
    ];
    for (flags, variables, parts) in rows {
        let base = ["start", "--port", "0", "--data-dir", data.to_str().expect("a path that is text")];
        let what = format!("{flags:?} {variables:?}");
        // A flag wins over the variable of the same key, so the port is left to the environment where that names it.
        let base: &[&str] = if variables.iter().any(|(name, _)| *name == "RIVET__GUARD__PORT") { &["start"] } else { &base };
        let done = run_with(&[base, flags].concat(), variables).await;
        assert_eq!(done.code, Some(1), "{what}: {}{}", done.out, done.err);
        for part in parts {
            assert!(done.err.contains(part), "{what}: {part:?} expected, seen {}", done.err);
        }
        assert!(!done.err.contains("a:b@c"), "{what}: a password is not shown: {}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_is_shown_with_its_source() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("a.json5");
    fs::write(&file, "{guard: {port: 7000, host: '::1'}, auth: {admin_token: 's3cret'},}").expect("a file");
    let arguments = ["config", "show", "--config", file.to_str().expect("text"), "--host", "127.0.0.2", "--data-dir", "/d"];
    let done = run_with(&arguments, &[("RIVET__RUNTIME__WORKER_CPU_MAX", "1"), ("RIVET__GUARD__PORT", "7001")]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let row = |key: &str| {
        let line = done.out.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("{key} expected in:\n{}", done.out)).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("guard.host"), "guard.host 127.0.0.2 the command line, --host");
    assert_eq!(row("guard.port"), "guard.port 7001 the environment, RIVET__GUARD__PORT");
    assert!(row("auth.admin_token").contains("(secret)") && row("auth.admin_token").contains("a.json5"), "{}", done.out);
    assert!(row("runtime.worker_cpu_max").ends_with("without effect"), "{}", done.out);
    assert_eq!(row("durability"), "durability sync default");
    assert!(!done.out.contains("s3cret"), "{}", done.out);
}

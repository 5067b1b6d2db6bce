//! The examples of proxies in `deploy/`, run as they are but for their addresses and certificates.
//!
//! Takes the programs that `RIVET_NGINX` and `RIVET_CADDY` name, or those on the path, and says so where there is none;
//! `RIVET_PROXIES=required` makes that a failure.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rivet_tests::address::by_key;
use rivet_tests::engine::run_with;
use rivet_tests::until;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::tls::{authority, connect, pair};
use crate::{Stage, WITHIN, ask, free_port};

/// Killed when it is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The example with what is particular to this machine.
fn example(file: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from:?}");
        text.replace(from, to)
    })
}

fn program(variable: &str, name: &str) -> Option<String> {
    let named = env::var(variable).unwrap_or(name.to_string());
    let there = Command::new(&named).arg(if name == "nginx" { "-v" } else { "version" }).output().is_ok();
    if !there {
        assert_ne!(env::var("RIVET_PROXIES").as_deref(), Ok("required"), "there is no {named}");
        eprintln!("SKIPPED, nothing was tested: there is no {named}; name one with {variable}");
    }
    there.then_some(named)
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx() {
    let Some(program) = program("RIVET_NGINX", "nginx") else { return };
    check(|folder, engine, port| {
        let site = example(
            "nginx/rivet-engine.conf",
            &[
                ("127.0.0.1:6420", engine),
                ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
                ("server_name engine.example", "server_name localhost"),
                ("/etc/ssl/engine.example/fullchain.pem", &folder.join("p.pem").display().to_string()),
                ("/etc/ssl/engine.example/privkey.pem", &folder.join("p.key").display().to_string()),
            ],
        );
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
            .concat();
        let all = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n",
            folder.display()
        );
        fs::write(folder.join("nginx.conf"), all).expect("a file");
        let mut command = Command::new(&program);
        command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(folder.join("nginx.conf"));
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy() {
    let Some(program) = program("RIVET_CADDY", "caddy") else { return };
    check(|folder, engine, port| {
        let site = example(
            "caddy/Caddyfile",
            &[
                ("127.0.0.1:6420", engine),
                ("https://engine.example:443", &format!("https://localhost:{port}")),
                ("/etc/ssl/engine.example/fullchain.pem", &folder.join("p.pem").display().to_string()),
                ("/etc/ssl/engine.example/privkey.pem", &folder.join("p.key").display().to_string()),
            ],
        );
        fs::write(folder.join("Caddyfile"), site).expect("a file");
        let mut command = Command::new(&program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command
    })
    .await;
}

/// Everything that clients do goes through.
async fn check(proxy: impl Fn(&Path, &str, u16) -> Command) {
    // The proxy speaks for its clients, which are on this machine and are counted.
    let stage = Stage::start("  trusted_proxies: [127.0.0.1]\n  rate_limit: {requests: 40, period_ms: 60000}\n").await;
    stage.engine.deploy("hostile", "hostile").await;
    stage.engine.deploy("chat", "chat").await;
    let (folder, port, authority) = (TempDir::new().expect("a folder"), free_port(), authority());
    pair(&authority, &folder, "p", &["localhost"], 2_034);
    fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
    let mut command = proxy(folder.path(), stage.address(), port);
    let _proxy = Proxy(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a proxy starts"));
    let open = async || {
        until("the proxy answers", async || connect(&authority, port, "localhost", &[]).await.map_err(|error| error.to_string()))
            .await
    };
    let request = |method: &str, target: &str, more: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        )
    };

    let seen = ask(open().await, request("GET", "/health", "", "").as_bytes()).await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");

    // Who the client is: what it makes up stands before what the proxy wrote.
    let headers = request("GET", &by_key("hostile", "k", "/headers"), "x-forwarded-for: 203.0.113.9\r\n", "");
    let seen = ask(open().await, headers.as_bytes()).await;
    let told = seen.lines().find(|line| line.starts_with("x-forwarded-for: ")).unwrap_or_else(|| panic!("{seen}"));
    assert!(told.ends_with("127.0.0.1, 127.0.0.1"), "{told}");

    let long = "x".repeat(3_000_000);
    let seen = ask(open().await, request("POST", &by_key("hostile", "k", "/echo"), "", &long).as_bytes()).await;
    assert!(seen.starts_with("HTTP/1.1 200") && seen.len() > long.len(), "{} bytes came back", seen.len());

    let target = format!("ws://localhost:{port}{}", by_key("chat", "k", "/"));
    let (mut socket, _) = tokio_tungstenite::client_async(target, open().await).await.expect("a WebSocket");
    socket.send(Message::text("hello")).await.expect("it is open");
    let word = tokio::time::timeout(WITHIN, socket.next()).await.expect("an answer").expect("an answer").expect("a message");
    assert!(word.to_text().is_ok_and(|text| !text.is_empty()), "{word:?}");

    // An answer that does not end: its head comes at once.
    let (actor, _) = stage.engine.get_or_create("hostile", "k", None).await;
    let mut follow = open().await;
    let words = request("GET", &format!("/actors/{actor}/logs?namespace=default&limit=5&follow=true"), "", "");
    follow.write_all(words.as_bytes()).await.expect("it is open");
    let mut first = [0; 12];
    tokio::time::timeout(WITHIN, follow.read_exact(&mut first)).await.expect("the head comes").expect("it is open");
    assert_eq!(&first, b"HTTP/1.1 200");
    let more = tokio::time::timeout(Duration::from_millis(500), async { while follow.read_u8().await.is_ok() {} }).await;
    assert!(more.is_err(), "it goes on");

    let (engine, ca) = (format!("https://localhost:{port}"), folder.path().join("ca.pem").display().to_string());
    let done = run_with(&["deployments", "--engine", &engine, "--ca", &ca], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);

    // The limit is the client's, whom the proxy names.
    let mut last = String::new();
    for _ in 0..300 {
        last = ask(open().await, request("GET", "/namespaces", "", "").as_bytes()).await;
        if !last.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    assert!(last.starts_with("HTTP/1.1 429") && last.contains("rate_limit"), "{last}");
}

//! TLS from files: who is shown what, and what happens when the files change.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rivet_tests::engine::run_with;
use rivet_tests::{Engine, until};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{ask, free_port};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// An engine with two pairs of one authority, for `api.example` and localhost, and for `actors.example`.
pub struct Stage {
    pub engine: Engine,
    authority: Authority,
    folder: TempDir,
    port: u16,
    metrics: u16,
}

impl Stage {
    pub async fn start() -> Stage {
        let authority = authority();
        let folder = TempDir::new().expect("a folder");
        let (port, metrics) = (free_port(), free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "guard:\n  https:\n    port: {port}\n    tls:\n      api_cert_path: {}\n      api_key_path: {}\n      \
             actor_cert_path: {}\n      actor_key_path: {}\nmetrics: {{port: {metrics}}}\n",
            path("api.pem"),
            path("api.key"),
            path("actor.pem"),
            path("actor.key")
        );
        fs::write(path("edge.yaml"), text).expect("a file");
        fs::write(path("ca.pem"), authority.pem()).expect("a file");
        pair(&authority, &folder, "api", &["api.example", "localhost"], 2_034);
        pair(&authority, &folder, "actor", &["actors.example"], 2_035);
        let engine = Engine::start_with(&["--config", &path("edge.yaml")]).await;
        Stage { engine, authority, folder, port, metrics }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A conversation with who has this name.
    pub async fn connect(&self, name: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        connect(&self.authority, self.port, name, protocols).await
    }

    async fn shown(&self, name: &str) -> CertificateDer<'static> {
        let stream = self.connect(name, &[]).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
    }
}

pub fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A conversation with who has this name, if this authority says so.
pub async fn connect(authority: &Authority, port: u16, name: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_string()).expect("a name"), stream).await
}

/// Writes a pair for these names that ends in that year. Its certificate.
pub fn pair(authority: &Authority, folder: &TempDir, file: &str, names: &[&str], year: i32) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).expect("names");
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    // The key last: between the two the pair is one that does not fit.
    fs::write(folder.path().join(format!("{file}.pem")), certificate.pem()).expect("a file");
    fs::write(folder.path().join(format!("{file}.key")), key.serialize_pem()).expect("a file");
    certificate.der().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_without_tls_answers_with_it() {
    let stage = Stage::start().await;
    let seen = ask(stage.connect("api.example", &[]).await.expect("TLS"), HEALTH).await;
    assert!(seen.starts_with("HTTP/1.1 200 OK") && seen.contains("\"runtime\":\"engine\""), "{seen}");
    for (offered, expected) in [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)] {
        let stream = stage.connect("api.example", &offered).await.expect("TLS");
        let chosen = stream.get_ref().1.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned());
        assert_eq!(chosen.as_deref(), expected, "{offered:?}");
    }
    // A WebSocket, on which the engine says what is wrong with the address.
    let stream = stage.connect("localhost", &[]).await.expect("TLS");
    let request = format!("ws://localhost:{}/namespaces", stage.port);
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
    let message = futures_util::StreamExt::next(&mut socket).await.expect("a word").expect("a message");
    assert!(matches!(&message, Message::Close(Some(frame)) if frame.reason.as_str().starts_with("guard.")), "{message:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let stage = Stage::start().await;
    let (api, actor) = (stage.shown("api.example").await, stage.shown("actors.example").await);
    assert_ne!(api, actor);
    assert_eq!(stage.shown("localhost").await, api);
    // Nobody has this name: the first is shown, and the client refuses it.
    let error = stage.connect("other.example", &[]).await.map(drop).expect_err("another's name").to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let page =
        reqwest::get(format!("http://127.0.0.1:{}/metrics", stage.metrics)).await.expect("metrics").text().await.expect("text");
    for row in ["{certificate=\"api\"} 2019686400\n", "{certificate=\"actor\"} 2051222400\n"] {
        assert!(page.contains(&format!("rivet_tls_certificate_expiry_timestamp_seconds{row}")), "{row} expected in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_read_again_unless_they_cannot_be_used() {
    let stage = Stage::start().await;
    let before = stage.shown("api.example").await;
    let open = stage.connect("api.example", &[]).await.expect("TLS");
    let renewed = pair(&stage.authority, &stage.folder, "api", &["api.example"], 2_036);
    until("the new certificate is shown", async || {
        let shown = stage.shown("api.example").await;
        (shown == renewed).then_some(()).ok_or(format!("the old one: {}", shown == before))
    })
    .await;
    assert!(ask(open, HEALTH).await.starts_with("HTTP/1.1 200"), "a connection that was open goes on");
    for (file, text) in [("api.pem", "no PEM".to_string()), ("api.key", KeyPair::generate().expect("a key").serialize_pem())] {
        let good = fs::read(stage.path(file)).expect("a file");
        fs::write(stage.path(file), text).expect("a file");
        until("the engine says so", async || {
            let log = stage.engine.log();
            let said = log.lines().any(|line| line.contains("cannot be used") && line.contains(file));
            said.then_some(()).ok_or("nothing".to_string())
        })
        .await;
        assert_eq!(stage.shown("api.example").await, renewed, "{file}: the one before is kept");
        fs::write(stage.path(file), good).expect("a file");
        // Looked at again before the next one.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
}

/// As when a file was not readable, and its mode is set right.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_mended_without_a_trace_is_read_again() {
    let stage = Stage::start().await;
    let renewed = pair(&stage.authority, &stage.folder, "renewed", &["api.example"], 2_036);
    let good = fs::read_to_string(stage.path("renewed.pem")).expect("a file");
    fs::write(stage.path("api.pem"), good.replace("BEGIN", "XXXXX")).expect("a file");
    fs::copy(stage.path("renewed.key"), stage.path("api.key")).expect("a file");
    let written = fs::metadata(stage.path("api.pem")).and_then(|file| file.modified()).expect("a time");
    until("the engine says so", async || stage.engine.log().contains("cannot be used").then_some(()).ok_or("nothing".to_string()))
        .await;
    fs::write(stage.path("api.pem"), good).expect("a file");
    fs::File::options().write(true).open(stage.path("api.pem")).and_then(|file| file.set_modified(written)).expect("a time");
    until("the new certificate is shown", async || {
        (stage.shown("api.example").await == renewed).then_some(()).ok_or("the old one".to_string())
    })
    .await;
    assert_eq!(stage.engine.log().matches("cannot be used").count(), 1, "the same trouble is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_told() {
    let stage = Stage::start().await;
    let plain = TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens");
    let seen = ask(plain, HEALTH).await;
    assert!(seen.starts_with("HTTP/1.1 400") && seen.contains("use https://"), "{seen}");
    let port: u16 = stage.engine.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let other = Stage { port, ..stage };
    let error = other.connect("api.example", &[]).await.map(drop).expect_err("no TLS there").to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_ends() {
    let stage = Stage::start().await;
    let silent = TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens");
    assert_eq!(ask(silent, b"").await, "");
    let half = TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens");
    assert_eq!(ask(half, &[0x16, 3, 1, 1, 0]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_runners_speak_it_too() {
    let stage = Stage::start().await;
    let engine = format!("https://localhost:{}", stage.port);
    let ca = stage.path("ca.pem").display().to_string();
    let done = run_with(&["deployments", "--engine", &engine, "--ca", &ca], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let done = run_with(&["deployments"], &[("RIVET_ENDPOINT", &engine), ("RIVET_CA", &ca)]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let plain = stage.engine.url().replace("http://127.0.0.1", "https://localhost");
    let key = stage.path("api.key").display().to_string();
    let rows: [(&[&str], &str); 4] = [
        (&["--engine", &engine], "UnknownIssuer"),
        (&["--engine", &plain, "--ca", &ca], "guard.https.port"),
        (&["--engine", &engine, "--ca", "/no/such/file"], "name a file of certificates in PEM form"),
        (&["--engine", &engine, "--ca", &key], "there is no certificate in it"),
    ];
    for (flags, expected) in rows {
        let done = run_with(&[&["deployments"], flags].concat(), &[]).await;
        assert!(done.code == Some(1) && done.err.contains(expected), "{flags:?}: {expected:?} expected, seen {}", done.err);
    }
    let mut runner = rivet_tests::Runner::new("tls", &["--ca".to_string(), ca]);
    runner.restart(&engine).await;
}

//! A component that knows only standard interfaces: where its requests may go, and what `wasi:keyvalue` and `wasi:config` are here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use protocol::component::Settings;
use protocol::message::{Event, FailureKind};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::engine::{Answer, At, World, believing};

fn started<'a>(world: &'a World, generation: u32, settings: Settings) -> At<'a> {
    let actor = world.start("standard", generation, |start| {
        start.component.as_mut().expect("it has one").settings = Arc::new(settings);
    });
    actor.until(Event::Running);
    actor
}

fn check(actor: &At<'_>, rows: &[(&str, &str)]) {
    for (path, expected) in rows {
        assert_eq!(actor.text(&format!("GET {path}")), *expected, "{path}");
    }
}

/// Answers every request alike, and counts the connections.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            counted.fetch_add(1, SeqCst);
            let mut head = [0; 1024];
            let length = stream.read(&mut head).expect("a request");
            let host = String::from_utf8_lossy(&head[..length]).lines().any(|line| line.to_lowercase().starts_with("host: "));
            let body = if host { "hi" } else { "no host" };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).expect("somebody reads");
        }
    });
    (address, connections)
}

#[test]
fn requests_go_where_the_deployment_says() {
    let world = World::new();
    let (address, connections) = server();
    let port = address.port();
    let (literal, name) = (format!("/fetch/127.0.0.1:{port}"), format!("/fetch/localhost:{port}"));
    let prohibited = "ErrorCode::DestinationIpProhibited";
    let denied = "ErrorCode::HttpRequestDenied";
    let rows: [(&[&str], &str, &str); 9] = [
        (&[], &literal, prohibited),
        (&[], &name, denied),
        (&[], "/fetch/1.1.1.1", denied),
        (&["localhost"], &name, prohibited),
        (&["localhost"], &literal, prohibited),
        (&["127.0.0.1:1"], &literal, prohibited),
        (&["127.0.0.0/8"], &name, denied),
        (&["127.0.0.0/8"], &literal, "200 hi"),
        (&["localhost", "127.0.0.1", "::1"], &name, "200 hi"),
    ];
    for (generation, (outbound, path, expected)) in (1u32..).zip(rows) {
        let outbound = outbound.iter().map(|entry| entry.to_string()).collect();
        let actor = started(&world, generation, Settings { outbound, ..Settings::default() });
        assert_eq!(actor.text(&format!("GET {path}")), expected, "{generation} {path}");
    }
    assert_eq!(connections.load(SeqCst), 2);
    let lines = world.engine.seen().lines.join("\n");
    assert!(lines.contains("127.0.0.1, which is not a public address"), "{lines}");
}

/// Says hi over TLS, as who the authority says it is.
fn tls_server(authority: &Issuer<'static, KeyPair>, name: &str, is_expired: bool) -> SocketAddr {
    let mut params = CertificateParams::new(vec![name.to_string()]).expect("a name");
    if is_expired {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("it is signed");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut tls = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            // A client that does not believe it leaves.
            let _ = tls.read(&mut [0; 1024]).and_then(|_| tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"));
        }
    });
    address
}

#[test]
fn over_tls_only_who_is_believed_is_spoken_to() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("it signs itself").der().clone();
        (Issuer::new(params, key), certificate)
    };
    let ((ours, certificate), (unknown, _)) = (authority("ours"), authority("unknown"));
    let cache = Arc::new(tempfile::tempdir().expect("a folder for the cache"));
    let world = World::with(cache, |config| config.tls = believing(&[certificate]));
    let outbound = ["localhost", "127.0.0.1", "::1"].map(str::to_string).to_vec();
    let actor = started(&world, 1, Settings { outbound, ..Settings::default() });
    let not_believed = "ErrorCode::TlsCertificateError";
    let rows = [
        (tls_server(&ours, "localhost", false), "200 hi", ""),
        (tls_server(&ours, "elsewhere.example", false), not_believed, "not valid for name"),
        (tls_server(&unknown, "localhost", false), not_believed, "UnknownIssuer"),
        (tls_server(&ours, "localhost", true), not_believed, "expired"),
        (server().0, "ErrorCode::TlsProtocolError", "corrupt message"),
    ];
    for (address, expected, logged) in rows {
        let port = address.port();
        assert_eq!(actor.text(&format!("GET /fetch-tls/localhost:{port}")), expected, "{logged}");
        if !logged.is_empty() {
            let lines = world.engine.seen().lines.join("\n");
            let line = lines.lines().find(|line| line.contains(&format!("localhost:{port} failed, for its TLS")));
            assert!(line.is_some_and(|line| line.contains(logged)), "{logged:?} expected in {lines}");
        }
    }
}

#[test]
fn a_request_leaves_when_what_was_committed_is_durable() {
    let world = World::new();
    let (address, connections) = server();
    let actor = started(&world, 1, Settings { outbound: vec!["127.0.0.1".to_string()], ..Settings::default() });
    world.engine.hold();
    actor.send("GET /set/a/1");
    let fetching = actor.send(&format!("GET /fetch/127.0.0.1:{}", address.port()));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(connections.load(SeqCst), 0);
    world.engine.release();
    assert_eq!(world.engine.answer(fetching), Answer::Response(200, "200 hi".to_string()));
}

#[test]
fn standard_stores_are_the_actors_own() {
    let world = World::new();
    let mut settings = Settings::default();
    settings.config.insert("color".to_string(), "blue".to_string());
    settings.secrets.insert("token".to_string(), "t".to_string());
    let actor = started(&world, 1, settings);
    check(
        &actor,
        &[
            ("/open/other", "Err(Error::NoSuchStore)"),
            ("/set/a/1", "Ok(())"),
            ("/get/a", "1"),
            ("/exists/a", "Ok(true)"),
            ("/increment/a", "Ok(3)"),
            ("/decrement/a", "Ok(2)"),
            ("/decrement/new", "Ok(-1)"),
            ("/many/a/none", "2 none"),
            ("/cas/a/3", "2 swapped"),
            ("/cas/none-yet/1", "none swapped"),
            ("/get/none-yet", "1"),
            ("/delete/none-yet", "Ok(())"),
            ("/cas-keep/a", "Ok(())"),
            ("/cas-swap/4", "swapped"),
            ("/cas-keep/a", "Ok(())"),
            ("/set/a/5", "Ok(())"),
            ("/cas-swap/6", "too late: 5"),
            ("/cas-swap/6", "swapped"),
            ("/cas-keep/a", "Ok(())"),
            ("/delete/a", "Ok(())"),
            ("/cas-swap/7", "too late: none"),
            ("/cas-swap/7", "swapped"),
            ("/get/a", "7"),
            ("/delete/a", "Ok(())"),
            ("/exists/a", "Ok(false)"),
            ("/set/b/word", "Ok(())"),
            ("/drop/b/new", "Ok(())"),
            ("/pages", "0"),
            ("/fill/2001", "Ok(())"),
            ("/pages", "1000 1000 1"),
            ("/pages2", "1000 1000 1"),
            ("/config/color", "Ok(Some(\"blue\"))"),
            ("/config/none", "Ok(None)"),
            ("/config", "Ok([(\"color\", \"blue\"), (\"token\", \"t\")])"),
        ],
    );
    assert!(actor.text("GET /set/c/x").contains("Ok") && actor.text("GET /increment/c").contains("not a number"));
    assert_eq!(world.engine.seen().stored.len(), 2002);
    let flooded = actor.ask("GET /cas-many");
    assert!(matches!(&flooded, Answer::Abort(failure) if failure.kind == FailureKind::Trapped), "{flooded:?}");
}

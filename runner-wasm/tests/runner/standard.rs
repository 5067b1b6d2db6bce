//! A component that knows only standard interfaces: where its requests may go, and what `wasi:keyvalue` and `wasi:config` are here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use protocol::component::Settings;
use protocol::message::Event;

use crate::engine::{Answer, At, World};

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
}

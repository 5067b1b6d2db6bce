//! What is accepted as a component, and the cache of compiled ones.

use std::sync::Arc;

use protocol::component::{ComponentRefusalKind as Kind, Handler};
use protocol::message::Event;

use crate::engine::{World, guest};

#[test]
fn a_component_is_told_by_its_handlers() {
    let world = World::new();
    let rows: [(&str, &[Handler]); 5] = [
        ("counter", &[Handler::Http]),
        ("reminders", &[Handler::Start, Handler::Alarm, Handler::Http]),
        ("hostile", &[Handler::Start, Handler::Stop, Handler::Alarm, Handler::Http]),
        ("wasi-http", &[Handler::WasiHttp]),
        (
            "every-feature",
            &[
                Handler::Migrate,
                Handler::Start,
                Handler::Stop,
                Handler::Alarm,
                Handler::Action,
                Handler::Queue,
                Handler::Connection,
                Handler::Websocket,
                Handler::Http,
            ],
        ),
    ];
    for (name, handlers) in rows {
        let info = world.prepare(guest(name)).1.expect("it is accepted");
        assert_eq!(info.handlers, handlers, "{name}");
        assert_eq!(info.bytes, guest(name).len() as u64);
        assert!(info.compiled_bytes > 0 && info.compile_ms > 0);
    }
    let info = world.prepare(guest("counter")).1.expect("it is accepted");
    assert!(info.imports.iter().any(|import| import.starts_with("rivet:actor/kv")), "{:?}", info.imports);
}

#[test]
fn what_is_no_component_is_refused_in_words() {
    let world = World::new();
    let counter = guest("counter");
    let half = counter[..counter.len() / 2].to_vec();
    let mut damaged = counter.clone();
    for at in (100..damaged.len()).step_by(97) {
        damaged[at] ^= 0x55;
    }
    let noise: Vec<u8> = (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let rows = [
        (vec![], Kind::Malformed, "empty"),
        (noise, Kind::Malformed, "not WebAssembly"),
        (b"\0asm".to_vec(), Kind::Malformed, "not known"),
        (b"\0asm\x01\0\0\0".to_vec(), Kind::Malformed, "wasm-tools component new"),
        (b"\0asm\x0d\0\x01\0".to_vec(), Kind::NoHandler, "exports no handler"),
        (half, Kind::Malformed, "damaged"),
        (damaged, Kind::Malformed, "damaged"),
        (b"(component)".to_vec(), Kind::Malformed, "not WebAssembly"),
        (guest("unknown-import"), Kind::UnknownImport, "imports"),
        (guest("no-handler"), Kind::NoHandler, "exports no handler"),
        (guest("wrong-signature"), Kind::NoHandler, "signature"),
    ];
    for (bytes, kind, words) in rows {
        let length = bytes.len();
        let refusal = world.prepare(bytes).1.expect_err(words);
        assert_eq!(refusal.kind, kind, "{length} bytes: {refusal:?}");
        assert!(refusal.message.contains(words), "{length} bytes: {}", refusal.message);
        println!("{}", refusal.message);
    }
}

#[test]
fn what_was_compiled_is_not_compiled_again() {
    let cache = Arc::new(tempfile::tempdir().expect("a folder"));
    let first = World::with(cache.clone(), |_| {});
    let hash = first.guest("counter");
    first.shut_down();

    let second = World::with(cache.clone(), |_| {});
    let actor = second.start("counter", 1, |_| {});
    actor.until(Event::Running);
    assert_eq!(second.engine.seen().fetched, 0);
    assert_eq!(second.guest("counter"), hash);
    assert_eq!(
        second.prepare(guest("counter")).1.map(|info| (info.compile_ms, info.bytes)),
        Ok((0, guest("counter").len() as u64))
    );
    second.shut_down();
}

#[test]
fn a_damaged_cache_is_compiled_again() {
    let cache = Arc::new(tempfile::tempdir().expect("a folder"));
    World::with(cache.clone(), |_| {}).guest("counter");
    let file = || {
        let mut files = std::fs::read_dir(cache.path()).expect("the cache").map(|entry| entry.expect("a file").path());
        let file = files.next().expect("one compiled component");
        assert_eq!(files.next(), None);
        file
    };
    let whole = std::fs::read(file()).expect("the file");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damage in [whole[..whole.len() - 1].to_vec(), whole[..10].to_vec(), vec![], flipped] {
        std::fs::write(file(), damage).expect("the file");
        let world = World::with(cache.clone(), |_| {});
        let actor = world.start("counter", 1, |_| {});
        actor.until(Event::Running);
        assert_eq!(actor.text("POST /increment"), "1\n");
        assert_eq!(world.engine.seen().fetched, 1);
        assert_eq!(std::fs::read(file()).expect("the file").len(), whole.len());
    }
}

#[test]
fn a_component_that_is_nowhere_fails_the_start() {
    let world = World::new();
    let actor = world.start("counter", 1, |start| {
        start.component.as_mut().expect("it has one").component = protocol::component::ComponentHash([7; 32]);
    });
    let text = format!("{:?}", actor.stopped());
    assert!(text.contains("could not be read"), "{text}");
}

//! What hours of mixed use leave behind: memory, descriptors, threads, mappings and disk, again and again while everything goes on.
//!
//! Every user has a pace instead of going flat out, so that the figures are of a steady state. Whoever comes also goes: what grows
//! then, grows with time. At the end the engine is killed, and every counter must have what its callers were told.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client as upgrade};

use crate::client::{Connection, Latencies};
use crate::engine::{self, Engine, by_key_of};
use crate::{get, mib};

const MINUTES_DEFAULT: u64 = 60;
/// Rows of the table, after the first.
const SAMPLES: u32 = 12;
const COUNTERS: usize = 100;
const ROUGH: usize = 10;
/// Bytes that an actor is sent and gives back.
const UPLOAD: usize = 256 * 1024;
const SAID: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody does again and again, and how often a second.
struct User {
    what: &'static str,
    pace: f64,
    act: fn(&mut Visit<'_>),
}

const USERS: [User; 10] = [
    User { what: "read a counter", pace: 100.0, act: read },
    User { what: "increment a counter", pace: 50.0, act: increment },
    User { what: "put a counter to sleep, wake it", pace: 5.0, act: nap },
    User { what: "create a counter, use it, destroy it", pace: 5.0, act: come_and_go },
    User { what: "two sockets of a chat room on SQL, closed; destroy it", pace: 2.0, act: chat },
    User { what: "wait for an alarm; destroy the actor", pace: 2.0, act: remind },
    User { what: "log 100 lines", pace: 2.0, act: log },
    User { what: "panic", pace: 1.0, act: panic },
    User { what: "send 256 KiB and get them back", pace: 2.0, act: upload },
    User { what: "deploy the other of two versions", pace: 1.0 / 60.0, act: deploy },
];

/// One turn of one user.
struct Visit<'a> {
    engine: &'a Engine,
    connection: &'a mut Connection,
    number: usize,
    told: &'a [AtomicU64],
    latency: Option<Duration>,
}

#[derive(Default)]
struct Done {
    turns: AtomicUsize,
    latencies: Mutex<Latencies>,
}

pub fn table(minutes: Option<u64>) {
    let minutes = minutes.unwrap_or(MINUTES_DEFAULT);
    let mut engine = Engine::start();
    for guest in ["counter", "chat", "reminders", "hostile"] {
        engine.deploy(guest);
    }
    let told: Vec<AtomicU64> = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
    let done: [Done; USERS.len()] = Default::default();
    println!("## endurance\n\n{minutes} minutes of mixed use\n");
    println!(
        "| after min | resident MiB | not files MiB | descriptors | threads | mappings | disk MiB | read p99 us | increment p99 us |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let over = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        for (user, done) in USERS.iter().zip(&done) {
            let (engine, told, over) = (&engine, &told, &over);
            scope.spawn(move || stay(user, engine, told, done, over));
        }
        let began = Instant::now();
        for sample in 0..=SAMPLES {
            let at = Duration::from_secs(minutes * 60) * sample / SAMPLES;
            thread::sleep(at.saturating_sub(began.elapsed()));
            let p99 =
                |user: usize| std::mem::take(&mut *done[user].latencies.lock().expect("nobody panics with it")).percentile(99);
            row(&engine, &format!("{:.1}", at.as_secs_f64() / 60.0), &format!("{:.0} | {:.0}", p99(0), p99(1)));
        }
        *over.0.lock().expect("nobody panics with it") = true;
        over.1.notify_all();
    });
    thread::sleep(Duration::from_secs(60));
    row(&engine, "a minute after the last call", "|");
    println!("\n| who | turns |\n|---|---|");
    for (user, done) in USERS.iter().zip(&done) {
        println!("| {} | {} |", user.what, done.turns.load(Ordering::Relaxed));
    }
    engine.kill_and_restart();
    let mut connection = Connection::open(engine.address);
    let lost: u64 =
        told.iter().enumerate().map(|(number, told)| told.load(Ordering::Relaxed) - count(&mut connection, number)).sum();
    row(&engine, "after kill -9 and a restart", "|");
    println!("\nincrements that were answered and are lost: {lost}\n");
}

fn row(engine: &Engine, when: &str, latencies: &str) {
    let memory = engine.memory();
    println!(
        "| {when} | {:.1} | {:.1} | {} | {} | {} | {:.1} | {latencies} |",
        mib(memory.resident),
        mib(memory.anonymous),
        engine.entries("fd"),
        engine.entries("task"),
        engine.mappings(),
        mib(engine.on_disk())
    );
}

/// Takes turns at the user's pace; those that are late are not made up for.
fn stay(user: &User, engine: &Engine, told: &[AtomicU64], done: &Done, (over, changed): &(Mutex<bool>, Condvar)) {
    let mut connection = Connection::open(engine.address);
    let mut next = Instant::now();
    for number in 0.. {
        let mut visit = Visit { engine, connection: &mut connection, number, told, latency: None };
        (user.act)(&mut visit);
        if let Some(latency) = visit.latency {
            done.latencies.lock().expect("nobody panics with it").push(latency);
        }
        done.turns.fetch_add(1, Ordering::Relaxed);
        next = (next + Duration::from_secs_f64(1.0 / user.pace)).max(Instant::now());
        let over = over.lock().expect("nobody panics with it");
        let pause = next.saturating_duration_since(Instant::now());
        if *changed.wait_timeout_while(over, pause, |over| !*over).expect("nobody panics with it").0 {
            break;
        }
    }
}

fn read(visit: &mut Visit<'_>) {
    visit.latency = Some(visit.connection.time(&get(&of_counter(visit.number, "/"))));
}

fn increment(visit: &mut Visit<'_>) {
    let request = body("POST", &of_counter(visit.number, "/increment"), "");
    visit.latency = Some(visit.connection.time(&request));
    visit.told[visit.number % COUNTERS].fetch_add(1, Ordering::Relaxed);
}

fn nap(visit: &mut Visit<'_>) {
    visit.connection.time(&get(&of_counter(visit.number, "/")));
    let id = visit.id("counter", &format!("counter-{}", visit.number % COUNTERS));
    visit.connection.time(&body("POST", &format!("/actors/{id}/sleep?namespace=default"), "{}"));
    visit.connection.time(&get(&of_counter(visit.number, "/")));
}

fn come_and_go(visit: &mut Visit<'_>) {
    let id = visit.create("counter");
    visit.connection.time(&body("POST", &format!("/gateway/{id}/increment"), ""));
    visit.destroy(&id);
}

fn chat(visit: &mut Visit<'_>) {
    let id = visit.create("chat");
    let address = visit.engine.address;
    let mut ada = enter(address, &id, "ada");
    let mut bob = enter(address, &id, "bob");
    for said in 0..SAID {
        let (from, text) = (if said % 2 == 0 { &mut ada } else { &mut bob }, format!("message {said}"));
        from.send(Message::Text(text.as_str().into())).expect("it is open");
        until_heard(&mut ada, &text);
        until_heard(&mut bob, &text);
    }
    for mut socket in [ada, bob] {
        socket.close(None).expect("it is open");
        while socket.read().is_ok() {}
    }
    visit.destroy(&id);
}

/// Who enters is in the room when they hear themselves: a handshake is answered before the actor knows of it.
fn enter(address: SocketAddr, room: &str, name: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).expect("the engine listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut request = format!("ws://{address}/gateway/{room}/websocket/?name={name}").into_client_request().expect("a URL");
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("rivet"));
    let (mut socket, _) = upgrade(request, stream).unwrap_or_else(|error| panic!("a socket expected, seen {error}"));
    let greeting = format!("{name} is here");
    socket.send(Message::Text(greeting.as_str().into())).expect("it is open");
    until_heard(&mut socket, &greeting);
    socket
}

fn until_heard(socket: &mut WebSocket<TcpStream>, text: &str) {
    while !socket.read().expect("a message").to_text().is_ok_and(|heard| heard.contains(text)) {}
}

fn remind(visit: &mut Visit<'_>) {
    let id = visit.create("reminders");
    visit.connection.time(&body("POST", &format!("/gateway/{id}/reminders?in_ms=200"), "look"));
    let deadline = Instant::now() + PATIENCE;
    while !visit.connection.ask(&get(&format!("/gateway/{id}/reminders"))).contains("done ") {
        assert!(Instant::now() < deadline, "the alarm of {id} does not go off");
        thread::sleep(Duration::from_millis(50));
    }
    visit.destroy(&id);
}

fn log(visit: &mut Visit<'_>) {
    visit.connection.time(&get(&rough("rough", visit.number, "/log?n=100&bytes=100")));
}

fn panic(visit: &mut Visit<'_>) {
    let answer = visit.connection.ask(&get(&rough("doomed", visit.number, "/panic")));
    assert!(answer.starts_with("HTTP/1.1 5"), "{answer}");
}

fn upload(visit: &mut Visit<'_>) {
    visit.connection.time(&body("POST", &rough("rough", visit.number, "/echo"), &"x".repeat(UPLOAD)));
}

fn deploy(visit: &mut Visit<'_>) {
    let file = if visit.number.is_multiple_of(2) { "rate-limiter" } else { "cron-report" };
    visit.engine.deploy_as("turned", file);
}

impl Visit<'_> {
    fn create(&mut self, name: &str) -> String {
        engine::create_of(self.connection, name, None)
    }

    fn id(&mut self, name: &str, key: &str) -> String {
        let answer = self.connection.ask(&get(&format!("/actors?namespace=default&name={name}&key={key}")));
        let (_, rest) = answer.split_once("\"actor_id\":\"").unwrap_or_else(|| panic!("{answer}"));
        rest[..30].to_string()
    }

    fn destroy(&mut self, id: &str) {
        self.connection.time(format!("DELETE /actors/{id}?namespace=default HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes());
    }
}

fn count(connection: &mut Connection, number: usize) -> u64 {
    let answer = connection.ask(&get(&of_counter(number, "/")));
    let (_, count) = answer.rsplit_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    count.trim().parse().unwrap_or_else(|_| panic!("{answer}"))
}

fn of_counter(number: usize, path: &str) -> String {
    by_key_of("counter", &format!("counter-{}", number % COUNTERS), path)
}

/// Those that panic take what others ask them at that moment with them, and have keys of their own.
fn rough(key: &str, number: usize, path: &str) -> String {
    by_key_of("hostile", &format!("{key}-{}", number % ROUGH), path)
}

fn body(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

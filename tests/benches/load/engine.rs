//! The engine under load: the real binary in a process of its own, with a data directory that goes with it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Connection;

/// Sleep calls and creations are sent over a few connections at a time.
const HELPERS: usize = 32;
/// From the port of the engine to that of its metrics.
const METRICS_PORT_DISTANCE: u16 = 10;
/// About so many of the actors that sleep are woken.
const SAMPLE: usize = 1_000;

pub struct Engine {
    process: Child,
    pub address: SocketAddr,
    pub healthy_after: Duration,
    data: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    /// Without the files that are mapped: what the process itself has taken.
    pub anonymous: u64,
    /// Of memory, which the kernel counts.
    pub mappings: usize,
}

impl Engine {
    pub fn start() -> Engine {
        Engine::start_in(&[])
    }

    /// With these variables in its environment.
    pub fn start_in(variables: &[(&str, &str)]) -> Engine {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let data = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let (process, healthy_after) = spawn(&data, address, &variables);
        Engine { process, address, healthy_after, data, variables }
    }

    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }

    pub fn start_again(&mut self) {
        (self.process, self.healthy_after) = spawn(&self.data, self.address, &self.variables);
    }

    /// With its data directory, which nobody else uses meanwhile.
    pub fn while_stopped(&mut self, change: impl FnOnce(&Path)) {
        self.kill();
        change(self.data.path());
        self.start_again();
    }

    pub fn increment(&self, actor: &str) {
        let request = format!("POST /gateway/{actor}/increment HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
        Connection::open(self.address).time(request.as_bytes());
    }

    /// The version, as the API says it.
    pub fn deploy(&self, guest: &str) -> String {
        self.deploy_as(guest, guest)
    }

    pub fn deploy_as(&self, name: &str, guest: &str) -> String {
        let file = guests().join(format!("{guest}.wasm"));
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run scripts/guests first", file.display()));
        let mut request =
            format!("PUT /deployments/{name}?namespace=default&pool=default HTTP/1.1\r\nhost: bench\r\ncontent-type: application/wasm\r\ncontent-length: {}\r\n\r\n", bytes.len())
                .into_bytes();
        request.extend(bytes);
        let answer = Connection::open(self.address).ask(&request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// Of all actors of a name.
    pub fn ids(&self, name: &str) -> Vec<String> {
        let request = format!("GET /actors?namespace=default&name={name}&limit=1000 HTTP/1.1\r\nhost: bench\r\n\r\n");
        let answer = Connection::open(self.address).ask(request.as_bytes());
        answer.split("\"actor_id\":\"").skip(1).map(|rest| rest[..30].to_string()).collect()
    }

    /// Ids of so many new actors, all of them awake.
    pub fn actors(&self, count: usize) -> Vec<String> {
        let mut connection = Connection::open(self.address);
        (0..count)
            .map(|number| {
                let id = create(&mut connection, Some(&format!("actor-{count}-{number}")));
                connection.time(&format!("GET /gateway/{id}/ HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes());
                id
            })
            .collect()
    }

    /// Puts them to sleep, and waits until they are.
    pub fn sleep(&self, actors: &[String]) {
        let mut connection = Connection::open(self.address);
        for actor in actors {
            connection.time(&sleep_request(actor));
        }
        for actor in actors {
            wait_asleep(&mut connection, actor);
        }
    }

    /// Wakes so many new actors, over a few connections: the first must not have gone to sleep before the last is awake.
    pub fn create(&self, count: usize) {
        std::thread::scope(|scope| {
            for helper in 0..HELPERS {
                scope.spawn(move || {
                    let mut connection = Connection::open(self.address);
                    for number in (helper..count).step_by(HELPERS) {
                        let path = by_key(&format!("awake-{number}"), "/");
                        connection.time(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes());
                    }
                });
            }
        });
    }

    /// Wasm actors that are awake.
    pub fn awake(&self) -> usize {
        let metrics = SocketAddr::new(self.address.ip(), self.address.port() + METRICS_PORT_DISTANCE);
        let page = Connection::open(metrics).ask(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n");
        let line = page.lines().find_map(|line| line.strip_prefix("rivet_wasm_actors "));
        line.and_then(|number| number.trim().parse().ok()).expect("the engine says so")
    }

    /// So many new actors that have stored something and sleep; the ids of about `SAMPLE` of them.
    pub fn create_asleep(&self, count: usize) -> Vec<String> {
        let address = self.address;
        let threads: Vec<_> = (0..HELPERS)
            .map(|helper| {
                std::thread::spawn(move || {
                    let mut connection = Connection::open(address);
                    let mut sample = Vec::new();
                    let mut last = None;
                    for number in (helper..count).step_by(HELPERS) {
                        let id = create(&mut connection, None);
                        connection.time(
                            &format!("POST /gateway/{id}/increment HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n")
                                .into_bytes(),
                        );
                        connection.time(&sleep_request(&id));
                        if (number / HELPERS).is_multiple_of((count / SAMPLE).max(1)) {
                            sample.push(id.clone());
                        }
                        last = Some(id);
                    }
                    if let Some(id) = last {
                        wait_asleep(&mut connection, &id);
                    }
                    sample
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    }

    /// Bytes of the data directory.
    pub fn on_disk(&self) -> u64 {
        fn size(folder: &std::path::Path) -> u64 {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let each = entries.map(|entry| match entry.metadata() {
                Ok(found) if found.is_dir() => size(&entry.path()),
                // A file that was there a moment ago may have been merged into another.
                found => found.map_or(0, |found| found.len()),
            });
            each.sum()
        }
        size(self.data.path())
    }

    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the process runs");
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says so");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
        };
        let mappings = std::fs::read_to_string(format!("/proc/{}/maps", self.process.id())).expect("the process runs");
        Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:"), mappings: mappings.lines().count() }
    }

    /// How many descriptors (`fd`) or threads (`task`) it has.
    pub fn entries(&self, of: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{of}", self.process.id())).expect("the process runs").count()
    }

    pub fn mappings(&self) -> usize {
        std::fs::read_to_string(format!("/proc/{}/maps", self.process.id())).expect("the process runs").lines().count()
    }

    /// Processor time since the start.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("the process runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("its name is in brackets").split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn by_key(key: &str, path: &str) -> String {
    by_key_of("counter", key, path)
}

pub fn by_key_of(name: &str, key: &str, path: &str) -> String {
    let more = if path.contains('?') { '&' } else { '?' };
    format!("/gateway/{name}{path}{more}rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=default&rvt-key={key}")
}

fn create(connection: &mut Connection, key: Option<&str>) -> String {
    create_of(connection, "counter", key)
}

pub fn create_of(connection: &mut Connection, name: &str, key: Option<&str>) -> String {
    let key = key.map_or("null".to_string(), |key| format!("\"{key}\""));
    let body = format!(r#"{{"name":"{name}","key":{key},"runner_name_selector":"default","crash_policy":"sleep"}}"#);
    let answer = connection.ask(
        format!(
            "POST /actors?namespace=default HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let (_, rest) = answer.split_once("\"actor_id\":\"").unwrap_or_else(|| panic!("{answer}"));
    rest[..30].to_string()
}

fn sleep_request(actor: &str) -> Vec<u8> {
    format!("POST /actors/{actor}/sleep?namespace=default HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes()
}

fn wait_asleep(connection: &mut Connection, actor: &str) {
    let request = format!("GET /actors?namespace=default&actor_ids={actor} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !connection.ask(&request).contains("\"connectable_ts\":null") {
        assert!(Instant::now() < deadline, "actor {actor} does not fall asleep");
    }
}

fn spawn(data: &tempfile::TempDir, address: SocketAddr, variables: &[(String, String)]) -> (Child, Duration) {
    let binary = binary();
    let began = Instant::now();
    let process = Command::new(&binary)
        .args(["start", "--host", "127.0.0.1", "--port", &address.port().to_string()])
        .arg("--data-dir")
        .arg(data.path())
        .env("RUST_LOG", "error")
        // Nobody asks there, and a client of this machine may have that port for the moment.
        .env("RIVET__API_PEER__PORT", "0")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run cargo build --release first", binary.display()));
    let deadline = began + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the engine does not listen");
        std::thread::sleep(Duration::from_millis(1));
    }
    Connection::open(address).time(b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n");
    (process, began.elapsed())
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RIVET_ENGINE_BINARY") {
        return path.into();
    }
    // This program lies in target/release/deps.
    let own = std::env::current_exe().expect("a program knows where it is");
    own.ancestors().nth(2).expect("it lies in deps").join("rivet-engine")
}

fn guests() -> PathBuf {
    match std::env::var_os("RIVET_GUESTS_DIR") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests"),
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one")
}

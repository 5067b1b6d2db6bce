//! One running engine: the real binary on a free port, over a data directory of its own, killed when it is dropped.
//!
//! When a test fails, what the engine wrote is shown.
//!
//! With `RIVET_TEST_RUNNER=remote` each engine is started without its own runner for components and has a process beside it that
//! is one ([`crate::runner`]): the same tests then say what they say about actors of a runner on its own. Limits of the runner go to
//! both. A test that is about the engine's own runner says [`Engine::start_alone`].

use std::env;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::call::{Body, Call, zeros};
use crate::process::{Process, command};
use crate::runner::Runner;
use crate::until::{LONG, until};
use crate::{address, guest};

/// The slowest answer that is asked for is that of a guest which uses up its processor time on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How it takes any port that is free.
const ANY_PORT: &str = "0";

pub struct Engine {
    folder: TempDir,
    /// Flags of `start` beside those that every engine gets.
    flags: Vec<String>,
    /// Variables of its process, beside those of the test's that are not the engine's.
    pub variables: Vec<(String, String)>,
    /// How often it was started.
    starts: u32,
    process: Option<Process>,
    /// Beside it, if it has none of its own because all tests are run so.
    runner: Option<Runner>,
    url: String,
    http: reqwest::Client,
}

/// What a command of the binary wrote and how it ended.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Engine {
    pub async fn start() -> Engine {
        Engine::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Engine {
        if !is_remote() {
            return Engine::start_alone(flags).await;
        }
        let mut engine = Engine::new(&[flags, &["--no-wasm-runner"]].concat());
        let limits = flags.chunks(2).filter(|flag| flag[0].starts_with("--wasm")).flatten();
        engine.runner = Some(Runner::new("beside", &limits.map(|flag| flag.to_string()).collect::<Vec<_>>()));
        engine.restart().await;
        engine
    }

    /// Whatever form the tests are run in: it has the runner that the flags say.
    pub async fn start_alone(flags: &[&str]) -> Engine {
        let mut engine = Engine::new(flags);
        engine.restart().await;
        engine
    }

    /// It writes down everything that it can.
    pub async fn start_tracing(flags: &[&str]) -> Engine {
        Engine::start_in(&[("RUST_LOG", "trace")], flags).await
    }

    /// The same, with these variables in its environment.
    pub async fn start_in(variables: &[(&str, &str)], flags: &[&str]) -> Engine {
        let mut engine = Engine::in_environment(variables, flags);
        engine.restart().await;
        engine
    }

    /// One that does not run yet.
    pub fn in_environment(variables: &[(&str, &str)], flags: &[&str]) -> Engine {
        let mut engine = Engine::new(flags);
        engine.variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        engine
    }

    fn new(flags: &[&str]) -> Engine {
        // No proxy: what the environment names is for other hosts.
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().expect("a client without TLS");
        let folder = TempDir::new().expect("a folder for the data");
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        Engine { folder, flags, variables: Vec::new(), starts: 0, process: None, runner: None, url: String::new(), http }
    }

    /// Starts it on the same data, on another port.
    pub async fn restart(&mut self) {
        self.restart_on(ANY_PORT).await;
        if let Some(runner) = &mut self.runner {
            runner.restart(&self.url).await;
        }
    }

    /// Starts it on the same data and on the same port, where runners look for it.
    pub async fn restart_in_place(&mut self) {
        let port = self.url.rsplit(':').next().expect("it has run before").to_string();
        self.restart_on(&port).await;
    }

    async fn restart_on(&mut self, port: &str) {
        self.spawn(port);
        let line = self.process.as_mut().expect("it was just started").line(" is ready at ").await;
        let after = line.split_once(" is ready at ").expect("the line has these words").1;
        self.url = after.split_once(',').map_or(after, |(url, _)| url).to_string();
        let health =
            until("GET /health answers", || async { self.try_send(Call::get("/health")).await.map_err(|e| e.to_string()) });
        let health = health.await.expect_ok("GET /health").json();
        assert_eq!((&health["runtime"], &health["status"]), (&json!("engine"), &json!("ok")), "{health}");
    }

    /// Starts it and kills it while it may not be ready yet.
    pub async fn start_and_kill9(&mut self, after: Duration) {
        self.spawn(ANY_PORT);
        tokio::time::sleep(after).await;
        self.kill9();
    }

    fn spawn(&mut self, port: &str) {
        assert!(self.process.is_none(), "the engine still runs");
        self.starts += 1;
        let mut command = command();
        command.args(["start", "--port", port, "--data-dir"]).arg(self.data_dir()).args(&self.flags);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start("the engine", command, self.folder.path(), &self.starts.to_string()));
    }

    /// SIGKILL while others still talk to it; [`Engine::kill9`] then waits for its end.
    pub fn strike(&self) {
        self.signal(libc::SIGKILL);
    }

    /// `kill -9`: it can do nothing about it.
    pub fn kill9(&mut self) {
        self.process.take().expect("the engine runs").kill9();
    }

    /// SIGTERM, until it has ended. Its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.tell_to_stop();
        self.ended().await
    }

    /// SIGTERM; [`Engine::ended`] waits for its end.
    pub fn tell_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Waits until it has ended by itself. Its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let code = self.process.as_mut().expect("it runs until it is waited for").ended().await;
        self.process = None;
        code
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        self.process.as_ref().expect("the engine runs").log()
    }

    fn signal(&self, signal: i32) {
        self.process.as_ref().expect("the engine runs").signal(signal);
    }

    /// The most memory that its process has had at one time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.process.as_ref().expect("the engine runs").peak_memory()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the engine runs").id()
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// For what a [`Call`] cannot say.
    pub fn http(&self, method: Method, target: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{target}", self.url))
    }

    pub async fn send(&self, call: Call) -> Answer {
        let what = format!("{} {}", call.method, shortened(&call.target));
        self.try_send(call).await.unwrap_or_else(|error| panic!("{what}: an answer expected, seen: {error}"))
    }

    /// The error is that of the connection.
    pub async fn try_send(&self, call: Call) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let method = Method::from_bytes(call.method.as_bytes()).expect("a method");
        let body = match call.body {
            Body::Announced(bytes) => return announce(&self.url, &call.target, call.method, bytes).await,
            Body::Whole(bytes) => reqwest::Body::from(bytes),
            Body::Chunked(bytes) => zeros(bytes),
        };
        let request = call
            .headers
            .into_iter()
            .fold(self.http(method, &call.target).body(body), |request, (name, value)| request.header(name, value));
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await? })
    }

    pub async fn get(&self, target: impl Into<String>) -> Answer {
        self.send(Call::get(target)).await
    }

    pub async fn post(&self, target: impl Into<String>) -> Answer {
        self.send(Call::post(target)).await
    }

    /// Deploys a guest under a name. The number of its version.
    pub async fn deploy(&self, guest: &str, name: &str) -> u64 {
        self.deploy_bytes(guest::bytes(guest), name).await
    }

    pub async fn deploy_bytes(&self, component: Vec<u8>, name: &str) -> u64 {
        let deployed = self.send(Call::put(format!("/deployments/{name}?namespace=default")).body(component)).await;
        let deployed = deployed.expect_ok("a deploy").json();
        assert_eq!(deployed["live"], true, "{deployed}");
        deployed["version"].as_u64().unwrap_or_else(|| panic!("a version expected, seen {deployed}"))
    }

    /// The actor with this key, made if there is none: its id, and whether it was made.
    pub async fn get_or_create(&self, name: &str, key: &str, input: Option<&str>) -> (String, bool) {
        let body = json!({ "name": name, "key": key, "input": input, "runner_name_selector": "default", "crash_policy": "sleep" });
        let answer = self.send(Call::put("/actors?namespace=default").json(&body)).await.expect_ok("get or create").json();
        let actor = answer["actor"]["actor_id"].as_str().unwrap_or_else(|| panic!("an actor expected, seen {answer}"));
        (actor.to_string(), answer["created"] == true)
    }

    /// The actor as the API shows it.
    pub async fn actor(&self, actor: &str) -> Value {
        let listed = self.get(format!("/actors?namespace=default&actor_id={actor}")).await.expect_ok("an actor by its id").json();
        listed["actors"][0].clone()
    }

    pub async fn sleep(&self, actor: &str) {
        let call = Call::post(format!("/actors/{actor}/sleep?namespace=default")).json(&json!({}));
        self.send(call).await.expect_ok("putting an actor to sleep");
        until("the actor is asleep", || async {
            let seen = self.actor(actor).await;
            let asleep = !seen["sleep_ts"].is_null() && seen["connectable_ts"].is_null();
            asleep.then_some(()).ok_or(seen.to_string())
        })
        .await;
    }

    pub async fn increment(&self, name: &str, key: &str) -> u64 {
        self.post(address::by_key(name, key, "/increment")).await.number("an increment")
    }

    /// What the actor has logged, one line each.
    pub async fn actor_log(&self, actor: &str) -> Vec<String> {
        let lines = self.get(format!("/actors/{actor}/logs?namespace=default&limit=1000")).await.expect_ok("logs").text();
        let text = |line: &str| {
            serde_json::from_str::<Value>(line).expect("each line is JSON")["text"].as_str().unwrap_or_default().to_string()
        };
        lines.lines().map(text).collect()
    }

    /// Waits until the actor has logged something with these words: its lines come by themselves, not before its answers.
    pub async fn logged(&self, actor: &str, words: &str) {
        until("the line is in the actor's log", async || {
            let lines = self.actor_log(actor).await;
            lines.iter().any(|line| line.contains(words)).then_some(()).ok_or(format!("{lines:?}, and not {words:?}"))
        })
        .await;
    }

    /// Runs a command of the binary against this engine.
    pub async fn cli(&self, arguments: &[&str]) -> Done {
        run(&self.url, arguments).await
    }
}

/// Whether the tests are run with a runner that is a process of its own.
pub fn is_remote() -> bool {
    match env::var("RIVET_TEST_RUNNER") {
        Ok(form) if form == "remote" => true,
        Ok(form) => panic!("RIVET_TEST_RUNNER={form}: remote is the only other form"),
        Err(_) => false,
    }
}

/// Runs a command of the binary against an engine that may not be there.
pub async fn run(url: &str, arguments: &[&str]) -> Done {
    run_with(arguments, &[("RIVET_ENDPOINT", url)]).await
}

/// Runs a command of the binary with these variables, and none other that it reads.
pub async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Done {
    let mut command = tokio::process::Command::from(command());
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(LONG, command.output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{arguments:?} did not end within {LONG:?}")).expect("the binary can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A head that promises a body, and the answer to it alone.
async fn announce(url: &str, target: &str, method: &str, bytes: u64) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let host = url.strip_prefix("http://").expect("an engine's address");
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {bytes}\r\n\r\n").as_bytes()).await?;
    let mut seen = Vec::new();
    let read = tokio::time::timeout(LONG, async {
        loop {
            if let Some(answer) = whole_answer(&seen) {
                return Ok(answer);
            }
            if stream.read_buf(&mut seen).await? == 0 {
                return Err(format!("the connection ended after: {}", String::from_utf8_lossy(&seen)).into());
            }
        }
    });
    read.await.map_err(|_| format!("{bytes} bytes were announced, and no answer came within {LONG:?}"))?
}

/// An answer with a content-length, once all of it is there.
fn whole_answer(seen: &[u8]) -> Option<Answer> {
    let end = seen.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&seen[..end]).expect("a head is ASCII");
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status is a number");
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        headers.append(name, value.parse().expect("a header's value"));
    }
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().expect("a length is a number");
    let body = seen.get(end + 4..end + 4 + length)?;
    Some(Answer { status, headers, body: body.to_vec().into() })
}

fn shortened(target: &str) -> String {
    target.chars().take(200).collect()
}

//! One running engine: the real binary on a free port, over a data directory of its own, killed when it is dropped.
//!
//! When a test fails, what the engine wrote is shown.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::call::{Body, Call, zeros};
use crate::until::{LONG, until};
use crate::{address, guest};

/// The slowest answer that is asked for is that of a guest which uses up its processor time on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// As much of the engine's log as a failure shows.
const LOG_LINES_SHOWN: usize = 80;

pub struct Engine {
    folder: TempDir,
    /// Flags of `start` beside those that every engine gets.
    flags: Vec<String>,
    /// How often it was started.
    starts: u32,
    process: Option<Child>,
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
        // No proxy: what the environment names is for other hosts.
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().expect("a client without TLS");
        let folder = TempDir::new().expect("a folder for the data");
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        let mut engine = Engine { folder, flags, starts: 0, process: None, url: String::new(), http };
        engine.restart().await;
        engine
    }

    /// Starts it on the same data, on another port.
    pub async fn restart(&mut self) {
        self.spawn();
        self.url = self.wait_for_ready_line().await;
        let health =
            until("GET /health answers", || async { self.try_send(Call::get("/health")).await.map_err(|e| e.to_string()) });
        let health = health.await.expect_ok("GET /health").json();
        assert_eq!((&health["runtime"], &health["status"]), (&json!("engine"), &json!("ok")), "{health}");
    }

    /// Starts it and kills it while it may not be ready yet.
    pub async fn start_and_kill9(&mut self, after: Duration) {
        self.spawn();
        tokio::time::sleep(after).await;
        self.kill9();
    }

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "the engine still runs");
        self.starts += 1;
        let log = |name| File::create(name).expect("a file beside the data");
        let mut command = command();
        command.args(["start", "--port", "0", "--data-dir"]).arg(self.data_dir()).args(&self.flags);
        command.stdin(Stdio::null()).stdout(log(self.file("out"))).stderr(log(self.file("log")));
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display())));
    }

    async fn wait_for_ready_line(&mut self) -> String {
        let out = self.file("out");
        let process = Mutex::new(self.process.as_mut().expect("it was just started"));
        until("the engine says that it is ready", || async {
            let ended = process.lock().expect("nobody panics with it").try_wait().expect("it is our child");
            assert!(ended.is_none(), "the engine ended by itself: {ended:?}");
            let said = fs::read_to_string(&out).expect("the file was made before");
            let line = said.lines().next().filter(|_| said.ends_with('\n')).unwrap_or_default().to_string();
            let after = line.split_once(" is ready at ").ok_or(said)?.1;
            Ok(after.split_once(',').map_or(after, |(url, _)| url).to_string())
        })
        .await
    }

    /// SIGKILL while others still talk to it; [`Engine::kill9`] then waits for its end.
    pub fn strike(&self) {
        self.signal(libc::SIGKILL);
    }

    /// `kill -9`: it can do nothing about it.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("the engine runs");
        process.kill().expect("it is our child");
        process.wait().expect("it is our child");
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
        let process = Mutex::new(self.process.as_mut().expect("it runs until it is waited for"));
        let code = until("the engine ends", || async {
            let ended = process.lock().expect("nobody panics with it").try_wait().expect("it is our child");
            ended.map(|status| status.code()).ok_or("it still runs".to_string())
        });
        let code = code.await;
        self.process = None;
        code
    }

    fn signal(&self, signal: i32) {
        let process = self.process.as_ref().expect("the engine runs");
        let id = libc::pid_t::try_from(process.id()).expect("process ids are small");
        // SAFETY: it goes to a child that was not waited for yet, so the id is still its.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "signal {signal} could not be sent");
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

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{}.{name}", self.starts))
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

fn command() -> Command {
    let mut command = Command::new(binary());
    // Only what the test says counts.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIVET_")) {
        command.env_remove(name);
    }
    command
}

pub fn binary() -> PathBuf {
    env::var_os("RIVET_ENGINE_BINARY").map(PathBuf::from).unwrap_or_else(|| {
        // The test lies in `deps`, beside which is the binary of the same build.
        let test = env::current_exe().expect("a test is a file");
        test.parent().and_then(Path::parent).expect("it lies in a folder of the target directory").join("rivet-engine")
    })
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

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.file("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- the last {} lines of the engine's log, start {}:\n{}\n---", shown.len(), self.starts, shown.join("\n"));
        }
    }
}

//! Runs actors in a test's own process, under a time that the test turns.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rivet_testkit::{TestKit, json};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kit = TestKit::start()?;
//! kit.deploy("counter", std::fs::read("counter.wasm")?)?;
//! let actor = kit.get_or_create("counter", &["a"])?;
//! assert_eq!(actor.action("increment", json!([5]))?, json!(5));
//!
//! actor.action("incrementLater", json!([3_600_000]))?;
//! kit.advance(Duration::from_secs(3_599));
//! assert_eq!(actor.action("get", json!([]))?, json!(5));
//! kit.advance(Duration::from_secs(1));
//! assert_eq!(actor.action("get", json!([]))?, json!(6));
//! # Ok(())
//! # }
//! ```
//!
//! It is the engine itself, as the binary runs it, with its runner for components: only the store is in memory, no port is opened,
//! and the one thing on disk is a temporary folder for components and their compiled code. The component may be written in any
//! language.
//!
//! Time stands still but for [`TestKit::advance`], which goes from each moment that something is due at to the next, and waits at
//! each until everything is at rest. So alarms, schedules, retries and falling asleep happen in the order of their moments, however
//! far time is advanced at once. Every other call ends when everything is at rest too. The engine, the log and the clocks of WASI
//! show this time. By the machine's clock go only what guards against hanging (processor time, the 300 s that a message may take,
//! how long a call waits) and what a guest waits for by itself: WASI's timers, and requests to elsewhere.
//!
//! In reading order:
//! - this: the kit.
//! - `actor`: one actor. `socket`: a WebSocket to it.
//! - `error`: what can be wrong.
//! - `running`: one life of the engine, and when it is at rest. `clock`: the time.

mod actor;
mod clock;
mod error;
mod running;
mod socket;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine_store::Memory;
use http::{Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::clock::Clock;
use protocol::key;
pub use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::actor::{Actor, LogLine};
pub use self::error::{Error, Refused};
use self::running::Running;
pub use self::socket::{Said, Socket};

/// When every kit begins: 2026-01-01T00:00Z, a Thursday.
pub const BEGIN_MS: u64 = 1_767_225_600_000;
/// All that has no meaning of its own in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An engine with a namespace, `default`, and a runner for components.
pub struct TestKit {
    running: RefCell<Option<Running>>,
    store: Arc<Memory>,
    folder: TempDir,
}

impl TestKit {
    /// Not inside an asynchronous runtime: it has one of its own.
    pub fn start() -> Result<TestKit, Error> {
        let folder = tempfile::tempdir().map_err(|error| Error::broken("a temporary folder cannot be made", &error))?;
        let store = Arc::new(Memory::new());
        let running = Running::start(store.clone(), folder.path(), BEGIN_MS)?;
        Ok(TestKit { running: RefCell::new(Some(running)), store, folder })
    }

    /// Deploys a component under this name, without settings or with those of the version before. The version's number.
    pub fn deploy(&self, name: &str, component: impl Into<Bytes>) -> Result<u64, Error> {
        self.deploy_with(name, component, json!({}))
    }

    /// With `config`, `secrets`, `outbound` and `limits`, as in the header `x-rivet-settings`.
    pub fn deploy_with(&self, name: &str, component: impl Into<Bytes>, settings: Value) -> Result<u64, Error> {
        let target = format!("/deployments/{}?namespace=default", encoded(name));
        let deployed = self.ask(Method::PUT, &target, &[("x-rivet-settings", &settings.to_string())], component)?;
        deployed["version"].as_u64().ok_or_else(|| Error::broken("a version was expected", &deployed))
    }

    /// The actor of this name with this key, which is created if there is none.
    pub fn get_or_create(&self, name: &str, key: &[&str]) -> Result<Actor<'_>, Error> {
        self.get_or_create_with(name, key, None)
    }

    /// With an input, if it is created.
    pub fn get_or_create_with(&self, name: &str, key: &[&str], input: Option<&[u8]>) -> Result<Actor<'_>, Error> {
        let parts: Vec<String> = key.iter().map(|part| part.to_string()).collect();
        let body = json!({
            "name": name,
            "key": key::join(&parts),
            "input": input.map(|input| STANDARD.encode(input)),
            "runner_name_selector": "default",
            "crash_policy": "sleep",
        });
        let answer = self.ask(Method::PUT, "/actors?namespace=default", &[], body.to_string())?;
        let id = answer["actor"]["actor_id"].as_str().ok_or_else(|| Error::broken("an actor was expected", &answer))?;
        Ok(Actor::new(self, id.to_string()))
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub fn now_ms(&self) -> u64 {
        self.run(async |running| running.clock.now_ms())
    }

    /// Lets time pass, from each moment that something is due at to the next.
    ///
    /// # Panics
    ///
    /// If the actors are not at rest after a minute of the machine's time at one moment.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.run(async |running| {
            let clock = &running.clock;
            let end_ms = clock.now_ms().saturating_add(by_ms);
            running.rest().await;
            while let Some(due_ms) = clock.next_ms().filter(|due_ms| *due_ms <= end_ms) {
                clock.turn_to(due_ms);
                running.rest().await;
            }
            clock.turn_to(end_ms);
        });
    }

    /// Ends the engine as `kill -9` would, with all actors in memory, and starts it again on what was durable. What actors had
    /// logged is gone.
    pub fn restart(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let mut running = self.running.borrow_mut();
        // The one before first: there is one store.
        *running = None;
        *running = Some(Running::start(self.store.clone(), self.folder.path(), now_ms)?);
        drop(running);
        self.run(async |running| running.rest().await);
        Ok(())
    }

    fn run<T>(&self, task: impl AsyncFnOnce(&Running) -> T) -> T {
        let running = self.running.borrow();
        let running = running.as_ref().expect("the engine runs: it could be started again");
        running.run(task(running))
    }

    fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Value, Error> {
        let text = self.ask_text(method, target, headers, body)?;
        serde_json::from_slice(&text).map_err(|error| Error::broken("the answer is no JSON", &error))
    }

    /// Of the engine's API.
    fn ask_text(&self, method: Method, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Bytes, Error> {
        let request = Request::builder().method(method).uri(target).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(body.into()).map_err(|error| Error::broken("this cannot be asked", &error))?;
        let response = self.run(async |running| {
            let response = running.send(request).await;
            running.rest().await;
            response
        })?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(refused(status, serde_json::from_slice(response.body()).unwrap_or_default())),
        }
    }
}

fn refused(status: StatusCode, mut body: Value) -> Error {
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_string();
    let (group, code, message) = (text("group"), text("code"), text("message"));
    Error::Refused(Refused { status: status.as_u16(), group, code, message, metadata: body["metadata"].take() })
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

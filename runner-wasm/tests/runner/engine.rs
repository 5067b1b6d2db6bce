//! An engine for tests: applies commits to a map, answers reads from it, and can hold its confirmations back.
//!
//! It answers inside of `send`, before the runner's call returns, as the real one may.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal};
use protocol::database::DatabaseQuestion;
use protocol::id::{ActorId, Generation, Id, RequestId};
use protocol::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES};
use protocol::link::{FromRunnerLink, ToRunnerLink};
use protocol::message::*;
use rivet_runner_wasm::{Config, Runner};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use crate::database::Database;

const PATIENCE: Duration = Duration::from_secs(60);

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Response(u16, String),
    Abort(Failure),
    /// The response had begun.
    Cut(u16, String, Failure),
    Returned,
}

#[derive(Default)]
pub struct Seen {
    pub stored: BTreeMap<Bytes, Bytes>,
    /// What the runner keeps for the actor.
    pub own: BTreeMap<Bytes, Bytes>,
    /// The actor's database, from its first statement on.
    pub database: Database,
    /// Calls to other actors, and whether all commits were durable when they came.
    pub calls: Vec<(CallTarget, Ask, bool)>,
    /// What was said about sockets, in order.
    pub said: Vec<FromRunner>,
    pub alarm_ms: Option<u64>,
    pub commits: Vec<Commit>,
    pub events: Vec<(ActorId, Generation, u64, Event)>,
    pub lines: Vec<String>,
    pub reads: usize,
    pub fetched: usize,
    pub windows: HashMap<RequestId, u64>,
    answers: HashMap<RequestId, Answer>,
    streams: HashMap<RequestId, (u16, Vec<u8>)>,
    prepared: HashMap<ComponentHash, Result<ComponentInfo, ComponentRefusal>>,
    hold: bool,
    held: Vec<(ActorId, Generation, u64)>,
    components: HashMap<ComponentHash, Bytes>,
    /// Credit is given for what streams, unless a test wants to see it run out.
    pub starve: bool,
    /// Bodies may come with their heads however long they are. They are kept here.
    pub takes_whole: bool,
    pub bodies: Vec<Bytes>,
    /// A commit with an entry that is longer is refused, if it is asked for.
    pub entry_bytes_max: Option<usize>,
    pub asked: usize,
}

#[derive(Default)]
pub struct Engine {
    seen: Mutex<Seen>,
    runner: OnceLock<Weak<Runner>>,
    requests: Mutex<u64>,
}

impl FromRunnerLink for Engine {
    fn whole_body_bytes_max(&self) -> usize {
        if self.seen().takes_whole { usize::MAX } else { BODY_CHUNK_BYTES_MAX }
    }

    fn send(&self, message: FromRunner) {
        if let Some(answer) = self.take(message) {
            self.say(answer);
        }
    }
}

impl Engine {
    fn take(&self, message: FromRunner) -> Option<ToRunner> {
        let mut seen = self.seen();
        match message {
            FromRunner::Event(at, event) => seen.events.push((at.actor, at.generation, at.index, event)),
            FromRunner::ResponseStart { request, status, body, stream: false, .. } => {
                seen.end(request, Answer::Response(status.as_u16(), text(&body)));
                if seen.takes_whole {
                    seen.bodies.push(body);
                }
            }
            FromRunner::ResponseStart { request, status, body, .. } => {
                seen.streams.insert(request, (status.as_u16(), body.to_vec()));
            }
            FromRunner::ResponseChunk { request, body, finish } => return seen.chunk(request, &body, finish),
            FromRunner::ResponseAbort { request, failure } => {
                let answer = match seen.streams.remove(&request) {
                    Some((status, body)) => Answer::Cut(status, text(&body), failure),
                    None => Answer::Abort(failure),
                };
                seen.end(request, answer);
            }
            FromRunner::RequestReturned { request } => seen.end(request, Answer::Returned),
            FromRunner::RequestWindow { request, consumed_bytes } => {
                seen.windows.insert(request, consumed_bytes);
            }
            FromRunner::Kv { actor, generation, call, space, question } => {
                seen.reads += usize::from(space == KvSpace::Actor);
                return Some(ToRunner::Kv { actor, generation, call, result: Ok(seen.read(space, question)) });
            }
            FromRunner::Database { actor, call, question: DatabaseQuestion::Message { step, .. } } => {
                return Some(ToRunner::Database { actor, call, result: seen.database.step(call, step) });
            }
            FromRunner::CallActor { actor, generation, call, target, ask, .. } => {
                let result = answer_of(&target, &ask);
                let all_durable = seen.held.is_empty();
                seen.calls.push((target, ask, all_durable));
                return Some(ToRunner::CallAnswer { actor, generation, call, result });
            }
            FromRunner::AskStorage { actor, generation, call, changes, .. } => {
                seen.asked += 1;
                let bytes = |change: &KvChange| match change {
                    KvChange::Put { key, value } => key.len() + value.len(),
                    KvChange::Delete { .. } | KvChange::DeleteRange { .. } => 0,
                };
                let longest = changes.iter().map(bytes).max().unwrap_or_default();
                let result = match seen.entry_bytes_max.is_some_and(|max| longest > max) {
                    true => Err(format!("{longest} bytes are too many")),
                    false => Ok(KvAnswer::Written),
                };
                return Some(ToRunner::Kv { actor, generation, call, result });
            }
            FromRunner::Commit(commit) => {
                let (actor, generation, number) = (commit.actor, commit.generation, commit.commit);
                assert_eq!(
                    number,
                    seen.commits.iter().filter(|other| other.actor == actor && other.generation == generation).count() as u64 + 1
                );
                seen.apply(&commit);
                seen.commits.push(commit);
                match seen.hold {
                    true => seen.held.push((actor, generation, number)),
                    false => return Some(ToRunner::Committed { actor, generation, commit: number }),
                }
            }
            FromRunner::GetComponent { component } => {
                seen.fetched += 1;
                let bytes = seen.components.get(&component).cloned().ok_or("no such component".to_string());
                return Some(ToRunner::Component { component, bytes });
            }
            FromRunner::Prepared { component, result } => {
                seen.prepared.insert(component, result);
            }
            FromRunner::Names(_)
            | FromRunner::AckCommands(_)
            | FromRunner::Stopping
            | FromRunner::RequestBodyCancel { .. }
            | FromRunner::KvWrite { .. }
            | FromRunner::Database { .. } => panic!("components say no such thing: {message:?}"),
            FromRunner::SocketOpened { .. }
            | FromRunner::SocketMessage { .. }
            | FromRunner::SocketAck { .. }
            | FromRunner::SocketClose { .. } => seen.said.push(message),
            FromRunner::Log { lines, .. } => seen.lines.extend(lines.into_iter().map(|line| line.text)),
        }
        None
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panics while it looks")
    }

    pub fn say(&self, message: ToRunner) {
        if let Some(runner) = self.runner.get().and_then(Weak::upgrade) {
            runner.send(message);
        }
    }

    /// From now on commits are not confirmed until `release`.
    pub fn hold(&self) {
        self.seen().hold = true;
    }

    pub fn release(&self) {
        let held = {
            let mut seen = self.seen();
            seen.hold = false;
            std::mem::take(&mut seen.held)
        };
        for (actor, generation, commit) in held {
            self.say(ToRunner::Committed { actor, generation, commit });
        }
    }

    /// What `look` finds, as soon as it finds something.
    pub fn wait<R>(&self, what: &str, look: impl Fn(&Seen) -> Option<R>) -> R {
        let began = Instant::now();
        loop {
            {
                let seen = self.seen();
                if let Some(found) = look(&seen) {
                    return found;
                }
                assert!(began.elapsed() < PATIENCE, "{what} did not come; events: {:?}; log: {:#?}", seen.events, seen.lines);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn answer(&self, request: RequestId) -> Answer {
        self.wait("an answer", |seen| seen.answers.get(&request).cloned())
    }

    pub fn is_answered(&self, request: RequestId) -> bool {
        self.seen().answers.contains_key(&request)
    }

    pub fn stream(&self, request: RequestId, bytes: usize) -> String {
        self.wait("a part of a stream", |seen| {
            seen.streams.get(&request).filter(|(_, body)| body.len() >= bytes).map(|(_, body)| text(body))
        })
    }

    pub fn next_request(&self) -> RequestId {
        let mut requests = self.requests.lock().expect("nobody panics here");
        *requests += 1;
        RequestId(*requests)
    }
}

impl Seen {
    fn end(&mut self, request: RequestId, answer: Answer) {
        let earlier = self.answers.insert(request, answer);
        assert_eq!(earlier, None, "a request ends once");
    }

    fn chunk(&mut self, request: RequestId, body: &[u8], finish: bool) -> Option<ToRunner> {
        let (status, sofar) = self.streams.get_mut(&request).expect("a chunk comes after its head");
        sofar.extend_from_slice(body);
        let (status, consumed_bytes) = (*status, sofar.len() as u64);
        if finish {
            let body = self.streams.remove(&request).map(|(_, body)| text(&body)).unwrap_or_default();
            self.end(request, Answer::Response(status, body));
            return None;
        }
        (!self.starve && consumed_bytes % (BODY_WINDOW_BYTES / 4) < 4096)
            .then_some(ToRunner::ResponseWindow { request, consumed_bytes })
    }

    fn apply(&mut self, commit: &Commit) {
        for (stored, changes) in [(&mut self.stored, &commit.changes), (&mut self.own, &commit.own)] {
            for change in changes {
                match change {
                    KvChange::Put { key, value } => drop(stored.insert(key.clone(), value.clone())),
                    KvChange::Delete { key } => drop(stored.remove(key)),
                    KvChange::DeleteRange { range } => stored.retain(|key, _| !range.contains(key)),
                }
            }
        }
        self.database.committed(commit.database.as_ref());
        match (commit.alarm, commit.fired_ms) {
            (AlarmChange::Set(at), _) => self.alarm_ms = Some(at),
            (AlarmChange::Clear, _) => self.alarm_ms = None,
            (AlarmChange::Keep, Some(_)) if !commit.alarm_failed => self.alarm_ms = None,
            (AlarmChange::Keep, _) => {}
        }
    }

    fn read(&self, space: KvSpace, question: KvQuestion) -> KvAnswer {
        let stored = match space {
            KvSpace::Actor => &self.stored,
            KvSpace::Runner => &self.own,
        };
        match question {
            KvQuestion::Get { keys } => KvAnswer::Get(keys.iter().map(|key| Some(entry(key, stored.get(key)?.clone()))).collect()),
            KvQuestion::List { range, reverse, limit, keys_only } => {
                let mut pairs: Vec<_> = stored.iter().filter(|(key, _)| range.contains(key)).collect();
                if reverse {
                    pairs.reverse();
                }
                let value = |value: &Bytes| if keys_only { Bytes::new() } else { value.clone() };
                KvAnswer::List(pairs.into_iter().take(limit).map(|(key, text)| entry(key, value(text))).collect())
            }
        }
    }
}

/// An actor that says what it is asked, and none else.
fn answer_of(target: &CallTarget, ask: &Ask) -> Result<String, CallError> {
    match (target, ask) {
        (CallTarget::Id(id), Ask::Action { args, .. }) if id == "echo" => Ok(args.clone()),
        _ => Err(CallError {
            group: "actor".to_string(),
            code: "not_found".to_string(),
            message: "there is no such actor".to_string(),
            metadata: None,
        }),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A runner with its engine, on a runtime of its own.
pub struct World {
    pub engine: Arc<Engine>,
    pub runner: Arc<Runner>,
    /// Kept until the runner is gone.
    _cache: Arc<tempfile::TempDir>,
    runtime: tokio::runtime::Runtime,
}

/// Believes who these authorities have signed for.
pub fn believing(authorities: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions of TLS");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

impl World {
    pub fn new() -> World {
        World::with(Arc::new(tempfile::tempdir().expect("a folder for the cache")), |_| {})
    }

    pub fn with(cache: Arc<tempfile::TempDir>, change: impl FnOnce(&mut Config)) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let engine = Arc::new(Engine::default());
        let dir = cap_std::fs::Dir::open_ambient_dir(cache.path(), cap_std::ambient_authority()).expect("the cache's folder");
        let mut config = Config::new(dir, believing(&[]));
        change(&mut config);
        let runner = {
            let _inside = runtime.enter();
            Runner::new(config, engine.clone()).expect("this machine runs the sandbox")
        };
        assert!(engine.runner.set(Arc::downgrade(&runner)).is_ok());
        World { engine, runner, _cache: cache, runtime }
    }

    pub fn prepare(&self, bytes: impl Into<Bytes>) -> (ComponentHash, Result<ComponentInfo, ComponentRefusal>) {
        let bytes = bytes.into();
        let component = ComponentHash(Sha256::digest(&bytes).into());
        self.engine.seen().components.insert(component, bytes);
        self.engine.say(ToRunner::Prepare { component });
        let result = self.engine.wait("a component", |seen| seen.prepared.get(&component).cloned());
        (component, result)
    }

    pub fn guest(&self, name: &str) -> ComponentHash {
        let (component, result) = self.prepare(guest(name));
        result.expect("the guest is accepted");
        component
    }

    /// An actor of this guest that is running.
    pub fn actor(&self, name: &str) -> At<'_> {
        let at = self.start(name, 1, |_| {});
        at.until(Event::Running);
        at
    }

    pub fn start(&self, name: &str, generation: Generation, change: impl FnOnce(&mut Start)) -> At<'_> {
        self.start_id(Id::new([7; 16], 1), name, generation, change)
    }

    pub fn start_id(&self, actor: ActorId, name: &str, generation: Generation, change: impl FnOnce(&mut Start)) -> At<'_> {
        let mut start = Start {
            name: name.to_string(),
            key: Some("a/b".to_string()),
            create_ms: 17,
            input: None,
            reason: StartReason::Created,
            component: Some(Deployed {
                component: self.guest(name),
                version: 1,
                migrate_from: None,
                namespace: "default".to_string(),
                settings: Arc::default(),
            }),
            alarm_ms: None,
            hibernating: vec![],
        };
        change(&mut start);
        let at = At { world: self, actor, generation };
        self.engine.say(ToRunner::Command(at.checkpoint(), Command::Start(Box::new(start))));
        at
    }

    pub fn shut_down(self) {
        drop(self.runner);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// One generation of one actor.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub world: &'a World,
    pub actor: ActorId,
    pub generation: Generation,
}

impl At<'_> {
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { actor: self.actor, generation: self.generation, index: 1 }
    }

    /// Sends a request, `METHOD /path?query`, and does not wait.
    pub fn send(&self, line: &str) -> RequestId {
        self.send_body(line, b"", false)
    }

    pub fn send_body(&self, line: &str, body: &[u8], stream: bool) -> RequestId {
        let (method, path) = line.split_once(' ').expect("METHOD /path");
        let request = self.world.engine.next_request();
        self.world.engine.say(ToRunner::Request(RequestStart {
            request,
            actor: self.actor,
            generation: self.generation,
            method: Method::from_bytes(method.as_bytes()).expect("a method"),
            path: path.to_string(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
            stream,
        }));
        request
    }

    pub fn ask(&self, line: &str) -> Answer {
        self.world.engine.answer(self.send(line))
    }

    /// The body of a response with status 200.
    pub fn text(&self, line: &str) -> String {
        match self.ask(line) {
            Answer::Response(200, body) => body,
            other => panic!("{line}: {other:?}"),
        }
    }

    pub fn failure(&self, line: &str) -> Failure {
        match self.ask(line) {
            Answer::Abort(failure) => failure,
            other => panic!("{line}: {other:?}"),
        }
    }

    pub fn stop(&self, reason: StopReason) {
        self.world.engine.say(ToRunner::Command(self.checkpoint(), Command::Stop(reason)));
    }

    pub fn alarm(&self, scheduled_ms: u64, attempt: u32) {
        let (actor, generation) = (self.actor, self.generation);
        self.world.engine.say(ToRunner::Alarm { actor, generation, scheduled_ms, attempt });
    }

    pub fn events(&self) -> Vec<Event> {
        let seen = self.world.engine.seen();
        let mine = seen.events.iter().filter(|(actor, generation, ..)| (*actor, *generation) == (self.actor, self.generation));
        let mine: Vec<_> = mine.map(|(_, _, index, event)| (*index, event.clone())).collect();
        assert!(mine.iter().enumerate().all(|(at, (index, _))| at as u64 == *index), "events are numbered from 0: {mine:?}");
        mine.into_iter().map(|(_, event)| event).collect()
    }

    pub fn until(&self, event: Event) {
        let is_mine = |(actor, generation, _, other): &(ActorId, Generation, u64, Event)| {
            (*actor, *generation) == (self.actor, self.generation) && *other == event
        };
        self.world.engine.wait(&format!("{event:?}"), |seen| seen.events.iter().any(is_mine).then_some(()));
    }

    pub fn stopped(&self) -> Outcome {
        self.world.engine.wait("Stopped", |seen| {
            seen.events.iter().find_map(|(actor, generation, _, event)| match event {
                Event::Stopped(outcome) if (*actor, *generation) == (self.actor, self.generation) => Some(outcome.clone()),
                _ => None,
            })
        })
    }
}

pub fn guest(name: &str) -> Vec<u8> {
    let built = std::env::var_os("RIVET_GUESTS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests")), PathBuf::from);
    let path = built.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: run scripts/guests first", path.display()))
}

fn entry(key: &Bytes, value: Bytes) -> KvEntry {
    KvEntry { key: key.clone(), value, update_ms: 0 }
}

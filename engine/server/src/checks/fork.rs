//! One fork: an engine with one actor in it, woken, asked, put to sleep, and looked at.
//!
//! Whatever happens to it happens to it alone. A store that fails, or that is full, ends the fork and not the process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use engine_core::input::Operation;
use engine_core::record::{ActorRecord, Alarm, Change, CrashPolicy, DeploymentRecord, NamespaceRecord};
use engine_store::actor_logs::{Between, LogSource};
use engine_store::recordings::RecordedRequest;
use engine_store::{Batch, Fork, Persist, Snapshot, State, Store};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::id::ActorId;
use protocol::limits::{KIB, MIB, cut};
use protocol::message::{self, StartReason};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::link::{Door, Heard, Noted, Stage, Starts};
use super::report::{Answer, Answered, Changes, CheckedActor, LogEntry, Logs, Outcome, Recorded};
use super::{Turn, changes, replay, unavailable};
use crate::clock::Clock;
use crate::compose::{self, Code, EngineError, Used};
use crate::directory::{Directory, News};
use crate::edge::visit::Visit;
use crate::embedded;
use crate::engine::{Engine, OWN_RUNNER};
use crate::error::ApiError;
use crate::http::Server;
use crate::links::RunnerDoor;

/// From its start to its sleep; a start alone may take half of it.
pub const FORK_MS_MAX: u64 = 60_000;
/// What a fork may write, as it lies in memory.
pub const FORK_BYTES_MAX: usize = 64 * MIB;
/// An answer is read so far and for so long, to compare all of it with another one.
const ANSWER_BYTES_MAX: usize = 16 * MIB;
const ANSWER_MS_MAX: u64 = 5_000;
/// Of an answer and of a line of the log so much is told.
const BODY_BYTES_SHOWN: usize = KIB;
const LINE_BYTES_SHOWN: usize = 2 * KIB;
/// The newest lines of its log that are told.
const LINES_SHOWN: usize = 20;
/// What may be on its way to and from the fork.
const PIPE_BYTES: usize = 64 * KIB;
/// The alarm is set, and does not ring while a version is tried.
const NEVER_MS: u64 = u64::MAX / 2;

/// What a fork is asked once it runs.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The arguments are JSON text, an array.
    Action {
        name: String,
        args: String,
    },
    /// A path as the actor sees it.
    Request {
        method: Method,
        path: String,
        body: String,
    },
    Recorded(Arc<RecordedRequest>),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Action { name, args } => write!(f, "{name} {args}"),
            Ask::Request { method, path, .. } => write!(f, "{method} {path}"),
            Ask::Recorded(recorded) => write!(f, "{} {}", recorded.method, recorded.path),
        }
    }
}

/// Of which actor, as of which moment.
pub struct Trial<'a> {
    pub below: Arc<dyn Snapshot>,
    pub code: &'a Arc<Code>,
    pub namespace: &'a NamespaceRecord,
    pub actor: ActorRecord,
    pub asks: &'a [Ask],
    pub turn: &'a Turn,
}

/// What became of a fork.
struct Lived {
    outcome: Outcome,
    /// Why, if it did not go well.
    message: Option<String>,
    answers: Vec<Answered>,
    noted: Noted,
    logs: Logs,
    cpu_us: u64,
    memory_bytes: usize,
    store: Arc<Fork>,
    /// What was written at the start, and then for each that was asked; none: that was too much.
    steps: Option<Vec<Batch>>,
}

/// Dropped, it ends as if it had been killed.
pub struct ForkEngine {
    engine: Arc<Engine>,
    heard: Arc<Heard>,
    used: Box<dyn Fn() -> Used + Send + Sync>,
    /// The driver ends with it.
    _end: oneshot::Sender<()>,
}

/// What the first of these deployments would do to the actor; and what it is asked is asked of the second too, which is today's.
pub async fn run(
    on: &Arc<Engine>,
    trial: &Trial<'_>,
    candidate: &DeploymentRecord,
    today: Option<&DeploymentRecord>,
) -> Result<CheckedActor, ApiError> {
    let began = Instant::now();
    let (actor, alarm) = (trial.actor.id, trial.actor.alarm);
    let lived = live(on, trial, candidate).await?;
    let mut checked = CheckedActor::new(&trial.actor, lived.outcome, lived.message, lived.noted);
    (checked.calls, checked.logs) = (lived.answers, lived.logs);
    (checked.cpu_ms, checked.memory_bytes) = (lived.cpu_us as f64 / 1_000.0, lived.memory_bytes);
    checked.changes = match lived.outcome {
        Outcome::WroteTooMuch => {
            Changes { unknown: vec!["what it changed: it wrote more than could be kept".to_string()], ..Changes::default() }
        }
        _ => {
            let (below, store, turn) = (trial.below.clone(), lived.store, trial.turn.clone());
            let compared = tokio::task::spawn_blocking(move || {
                let _until_it_ends = turn;
                changes::of(below, &store, actor, alarm)
            });
            let compared = compared.await;
            let compared =
                compared.map_err(|error| error.to_string()).and_then(|compared| compared.map_err(|error| error.to_string()));
            compared.map_err(|cause| ApiError::internal("what a fork has changed could not be read", &cause))?
        }
    };
    add_effects(trial, &mut checked.calls, lived.steps).await?;
    if let Some(today) = today.filter(|_| !checked.calls.is_empty()) {
        let Lived { mut answers, steps, .. } = live(on, trial, today).await?;
        add_effects(trial, &mut answers, steps).await?;
        checked.calls.iter_mut().zip(answers).for_each(|(call, today)| replay::compare(call, today));
    }
    checked.elapsed_ms = began.elapsed().as_millis() as u64;
    Ok(checked)
}

/// What each call did to the state.
async fn add_effects(trial: &Trial<'_>, calls: &mut [Answered], steps: Option<Vec<Batch>>) -> Result<(), ApiError> {
    let Some(steps) = steps.filter(|_| !calls.is_empty()) else { return Ok(()) };
    let (below, actor, turn, asked) = (trial.below.clone(), trial.actor.id, trial.turn.clone(), calls.len());
    let found = tokio::task::spawn_blocking(move || {
        let _until_it_ends = turn;
        replay::effects(below, actor, &steps, asked).map_err(|error| error.to_string())
    });
    let found = found.await.unwrap_or_else(|error| Err(error.to_string()));
    let found = found.map_err(|cause| ApiError::internal("what a fork has done could not be read", &cause))?;
    calls.iter_mut().zip(found).for_each(|(call, changes)| call.changes = changes);
    Ok(())
}

/// A fork of the actor on the live version of this deployment, from its start to its sleep.
async fn live(on: &Arc<Engine>, trial: &Trial<'_>, deployment: &DeploymentRecord) -> Result<Lived, ApiError> {
    let actor = trial.actor.id;
    let store = Arc::new(Fork::of_actor(trial.below.clone(), actor, FORK_BYTES_MAX));
    store.keep_journal();
    let begin = [
        Change::PutNamespace(trial.namespace.clone()),
        Change::PutDeployment(Box::new(deployment.clone())),
        Change::PutActor(Box::new(asleep_and_wanted(&trial.actor, on.clock.now_ms()))),
    ];
    store
        .commit(&State::batch(&begin), Persist::Written)
        .map_err(|error| ApiError::internal("a fork could not be made", &error))?;
    let reason = if trial.actor.connectable_ms.is_some() { StartReason::Upgraded } else { StartReason::Woken };
    let alone = ForkEngine::start(on, trial.code, store.clone(), reason).await?;

    let (mut answers, mut memory_bytes) = (Vec::new(), 0);
    let (outcome, message) = tokio::select! {
        biased;
        ended = alone.live(trial, &store, &mut answers, &mut memory_bytes) => ended,
        // Nobody would be answered any more.
        why = alone.failed() => (Outcome::Crashed, Some(why)),
        () = tokio::time::sleep(Duration::from_millis(FORK_MS_MAX)) => {
            (Outcome::TookTooLong, Some(format!("it was given up after {FORK_MS_MAX} ms")))
        }
    };
    let (outcome, message) = match store.poisoned() {
        Some(_) => (Outcome::WroteTooMuch, Some(format!("it wrote more than the {FORK_BYTES_MAX} bytes that a fork may"))),
        None => (outcome, message),
    };
    let (noted, logs, cpu_us) = (alone.heard.noted(), logs(&alone.engine, actor), (alone.used)().cpu_us);
    let steps = store.take_journal();
    Ok(Lived { outcome, message, answers, noted, logs, cpu_us, memory_bytes, store, steps })
}

/// The actor as a fork begins with it: nowhere, and to be started. It is tried whether it is pinned or held back, and if it crashes it
/// stays where it is.
fn asleep_and_wanted(record: &ActorRecord, now_ms: u64) -> ActorRecord {
    ActorRecord {
        crash_policy: CrashPolicy::Sleep,
        connectable_ms: None,
        sleep_ms: Some(now_ms),
        pending_ms: Some(now_ms),
        reschedule_ms: None,
        error: None,
        runner: None,
        by_url: false,
        alarm: record.alarm.map(|alarm| Alarm { fire_ms: NEVER_MS, ..alarm }),
        crashes: 0,
        stop: None,
        pin: None,
        held_back: None,
        ..record.clone()
    }
}

fn logs(engine: &Engine, actor: ActorId) -> Logs {
    let (mut count, mut shown, mut between) = (0, VecDeque::new(), Between::ALL);
    // In memory, where nothing fails.
    while let Ok(lines) = engine.logs.read(actor, between)
        && let Some(last) = lines.last()
    {
        between.after = last.number;
        for line in lines.iter().filter(|line| line.source == LogSource::Actor) {
            count += 1;
            shown.push_back(LogEntry {
                ts: line.time_ms,
                level: format!("{:?}", line.level).to_lowercase(),
                text: cut(line.text.clone(), LINE_BYTES_SHOWN),
            });
            if shown.len() > LINES_SHOWN {
                shown.pop_front();
            }
        }
    }
    Logs { count, lines: shown.into() }
}

impl ForkEngine {
    /// On what is in the store. Components are those of the other engine, and what was compiled of them.
    pub async fn start(
        on: &Arc<Engine>,
        code: &Arc<Code>,
        store: Arc<dyn Store>,
        reason: StartReason,
    ) -> Result<ForkEngine, ApiError> {
        const WHAT: &str = "a fork could not be started";
        let (on, code) = (on.clone(), code.clone());
        // Reads what there is, and sets a sandbox up.
        let started = tokio::task::spawn_blocking(move || {
            let heard = Arc::new(Heard::default());
            let state = State::new(store.clone());
            let boot = state.boot().map_err(EngineError::Store)?;
            let directory = Arc::new(Directory::default());
            directory.enter(News::found(&boot));
            let mut engine = embedded::engine_with(state, directory, on.components.clone(), on.outbound.clone(), Clock::default())?;
            let failed = heard.clone();
            engine.store_failed = Box::new(move |error| failed.fail(error.to_string()));
            let engine = Arc::new(engine);
            let end = embedded::drive(&engine, boot, store);
            let door = Door { door: RunnerDoor::new(OWN_RUNNER, engine.clone()), engine: engine.clone(), heard: heard.clone() };
            let outgoing = heard.clone();
            let used = compose::join_isolated_runner(
                &engine,
                on.checks.as_ref().ok_or_else(unavailable).map_err(EngineError::Namespace)?,
                Arc::new(door),
                |runner| Arc::new(Starts { runner, reason }),
                Arc::new(move |to| outgoing.outgoing(to)),
                code,
            )?;
            Ok::<_, EngineError>(ForkEngine { engine, heard, used, _end: end })
        });
        let started = started.await.map_err(|error| ApiError::internal(WHAT, &error))?;
        started.map_err(|error| ApiError::internal(WHAT, &error))
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How it ended, and why if it did not go well.
    async fn live(
        &self,
        trial: &Trial<'_>,
        store: &Fork,
        answers: &mut Vec<Answered>,
        memory_bytes: &mut usize,
    ) -> (Outcome, Option<String>) {
        let actor = trial.actor.id;
        match self.stage(|stage| *stage != Stage::Starting).await {
            Stage::Stopped(message::Outcome::NotMigrated(why)) => return (Outcome::NotMigrated, Some(why)),
            Stage::Stopped(message::Outcome::Error(why)) => return (Outcome::NotStarted, why),
            Stage::Stopped(message::Outcome::NoRoom(why)) | Stage::Failed(why) => return (Outcome::NotStarted, Some(why)),
            Stage::Starting | Stage::Running | Stage::Stopped(message::Outcome::Ok) => {}
        }
        *memory_bytes = (self.used)().memory_bytes;
        let began = Instant::now();
        for ask in trial.asks {
            store.mark();
            answers.push(self.ask(actor, ask, began).await);
            *memory_bytes = (self.used)().memory_bytes.max(*memory_bytes);
        }
        store.mark();
        let namespace = trial.namespace.name.clone();
        // One that has ended meanwhile cannot be put to sleep, and need not be.
        let _ = self.engine.call(Operation::SleepActor { namespace, actor }).await;
        let last = self.stage(|stage| matches!(stage, Stage::Stopped(_) | Stage::Failed(_))).await;
        match (self.heard.crashed(), last) {
            (Some(why), _) | (None, Stage::Failed(why)) => (Outcome::Crashed, Some(why)),
            (None, Stage::Starting | Stage::Running | Stage::Stopped(_)) => (Outcome::Ok, None),
        }
    }

    async fn stage(&self, wanted: impl FnMut(&Stage) -> bool) -> Stage {
        let mut stages: watch::Receiver<Stage> = self.heard.stage.subscribe();
        let stage = stages.wait_for(wanted).await;
        stage.expect("the other end is this fork's").clone()
    }

    async fn failed(&self) -> String {
        match self.stage(|stage| matches!(stage, Stage::Failed(_))).await {
            Stage::Failed(why) => why,
            other => unreachable!("{other:?} was not waited for"),
        }
    }

    /// What was recorded only if there is time left since the first.
    async fn ask(&self, actor: ActorId, ask: &Ask, first: Instant) -> Answered {
        let began = Instant::now();
        let mut recorded = None;
        if let Ask::Recorded(of) = ask {
            let late = first.elapsed() >= Duration::from_millis(replay::REPLAY_MS_MAX);
            let late = late.then(|| format!("the {} ms for recorded requests were over", replay::REPLAY_MS_MAX));
            recorded = Some(Recorded { skipped: replay::not_kept(of).or(late), ..replay::recorded(of) });
        }
        let is_skipped = recorded.as_ref().is_some_and(|recorded| recorded.skipped.is_some());
        let answer = match is_skipped {
            true => Answer { status: None, body: String::new(), digest: None },
            false => self.answer(actor, ask).await.unwrap_or_else(|body| Answer { status: None, body, digest: None }),
        };
        if let (Ask::Recorded(of), Some(recorded)) = (ask, &mut recorded) {
            recorded.same = replay::is_same(of, &answer);
        }
        let answer = Answer { body: cut(answer.body, BODY_BYTES_SHOWN), ..answer };
        let (call, elapsed_ms) = (ask.to_string(), began.elapsed().as_millis() as u64);
        Answered { call, answer, elapsed_ms, changes: None, today: None, today_changes: None, differs: Vec::new(), recorded }
    }

    /// As a client's request over a connection of its own; of the API there is nothing here.
    async fn answer(&self, actor: ActorId, ask: &Ask) -> Result<Answer, String> {
        let (client, stream) = tokio::io::duplex(PIPE_BYTES);
        let server = Server::new(self.engine.clone(), Router::new());
        // They end with the answer, or when nobody waits for it any more.
        let mut ends = JoinSet::new();
        ends.spawn(async move {
            if let Err(error) = server.connection(stream, Visit::default()).await {
                tracing::debug!(%error, "a connection to a fork ended badly");
            }
        });
        let failed = |error: hyper::Error| format!("there was no answer: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.map_err(failed)?;
        ends.spawn(async move {
            // Why it ended is told to whoever waits for the answer.
            let _ = connection.await;
        });
        let request = request(actor, ask).map_err(|error| format!("this cannot be asked: {error}"))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = Some(response.status().as_u16());
        let mut body = response.into_body();
        let (mut text, mut bytes, mut sha) = (Vec::new(), 0, Sha256::new());
        let whole = async {
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(failed)?.into_data().unwrap_or_default();
                text.extend_from_slice(&data[..data.len().min((BODY_BYTES_SHOWN + 1).saturating_sub(text.len()))]);
                bytes += data.len();
                if bytes > ANSWER_BYTES_MAX {
                    return Ok::<bool, String>(false);
                }
                sha.update(&data);
            }
            Ok(true)
        };
        // One that goes on and on is looked at as far as it came.
        let is_whole = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), whole).await.unwrap_or(Ok(false))?;
        let digest = is_whole.then(|| sha.finalize().into());
        Ok(Answer { status, body: String::from_utf8_lossy(&text).into_owned(), digest })
    }
}

fn request(actor: ActorId, ask: &Ask) -> http::Result<Request<Full<Bytes>>> {
    match ask {
        Ask::Action { name, args } => {
            let target = format!("/gateway/{actor}/action/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
            let args: serde_json::Value = serde_json::from_str(args).unwrap_or_default();
            let request = Request::post(target).header("content-type", "application/json").header("x-rivet-encoding", "json");
            request.body(Full::new(json!({ "args": args }).to_string().into()))
        }
        Ask::Request { method, path, body } => {
            let request = Request::builder().method(method).uri(format!("/gateway/{actor}{path}"));
            request.body(Full::new(body.clone().into()))
        }
        Ask::Recorded(recorded) => replay::request(actor, recorded),
    }
}

impl Drop for ForkEngine {
    fn drop(&mut self) {
        let engine = self.engine.clone();
        // Waits for threads, which must not be done here. Without a runtime the process is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || embedded::end(&engine));
        }
    }
}

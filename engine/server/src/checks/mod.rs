//! Tries a version before it is deployed: on forks of actors that there are, touching none of them.
//!
//! A fork is an engine of its own with one actor in it: the same core, driver and runner as anywhere, on a store that begins as what
//! the actor had at one moment and keeps what is written to itself ([`engine_store::fork`]). So what happens there is what would happen,
//! and nothing of it can reach an actor, another actor's lease or the disk. Nothing leaves a fork either: no request, no call to another
//! actor. The forks come one after the other, so that a check costs the memory of one, and when whoever asked for it leaves, the one
//! that runs is dropped like an engine that is killed.
//!
//! What is shared with the engine are the components on the disk and what was compiled of them: the deploy after it finds that done.
//!
//! In reading order: this, a check from its beginning to its end; [`sample`]: on whom; [`fork`]: one of them, from its start to its sleep; [`link`]: what is
//! heard and held back on the way between its engine and its runner; [`replay`]: what was recorded, made again; [`changes`], [`tables`]: what is different afterwards; [`report`]:
//! what is said about it.

mod changes;
mod fork;
mod link;
mod replay;
pub mod report;
mod sample;
mod tables;

pub use self::fork::Ask;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::{ActorRecord, DeploymentRecord, NamespaceRecord, VersionRecord};
use engine_core::refusal::Refusal;
use engine_core::settings::SettingsPatch;
use engine_store::{Memory, Rocks};
use protocol::component::{ComponentHash, ComponentInfo, Settings};
use protocol::id::ActorId;
use protocol::message::StartReason;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::fork::{ForkEngine, Trial};
use self::report::Checked;
use self::sample::Sample;
use crate::api::unexpected;
use crate::api::views::Granted;
use crate::compose::Code;
use crate::config::{Config, WasmConfig};
use crate::engine::Engine;
use crate::error::ApiError;

/// Actors that are tried unless said otherwise: half of them the oldest, half the newest.
pub const ACTORS_DEFAULT: usize = 20;
/// Actors of one check.
pub const ACTORS_MAX: usize = 100;
/// For all of them. Meanwhile the store keeps what is written over; those that are left are not tried.
const CHECK_MS_MAX: u64 = 600_000;
/// Whoever reads nothing for so long keeps others from making a check, and is not waited for.
const UNREAD_MS_MAX: u64 = 30_000;
/// How often a client that watches is told that it still takes time.
const PROGRESS_MS: u64 = 1_000;

/// Where checks are made: one at a time.
pub struct Checks {
    /// Not held: the engine closes it when it stops.
    pub store: Weak<Rocks>,
    pub data_dir: PathBuf,
    pub wasm: WasmConfig,
    /// What a runner has for requests to elsewhere; here none leaves.
    pub tls: Arc<ClientConfig>,
    turn: Arc<Semaphore>,
}

/// What is to be tried, and on whom.
pub struct Wanted {
    pub namespace: NamespaceRecord,
    pub name: String,
    pub component: ComponentHash,
    pub settings: SettingsPatch,
    /// These, if there are any; else so many.
    pub actors: Vec<ActorId>,
    pub count: usize,
    pub asks: Vec<Ask>,
    /// So many of the last requests that were recorded of each are made again, before these.
    pub recorded: usize,
    /// Held by what cannot be interrupted too.
    pub turn: Turn,
}

/// The right to make a check, until the last holder drops it.
pub type Turn = Arc<OwnedSemaphorePermit>;

impl Checks {
    pub fn new(store: &Arc<Rocks>, config: &Config, tls: Arc<ClientConfig>) -> Checks {
        let (data_dir, wasm) = (config.data_dir.clone(), config.wasm.clone());
        Checks { store: Arc::downgrade(store), data_dir, wasm, tls, turn: Arc::new(Semaphore::new(1)) }
    }

    pub fn turn(&self) -> Result<Turn, ApiError> {
        let taken = self.turn.clone().try_acquire_owned();
        taken.map(Arc::new).map_err(|_| ApiError::busy("another check is under way; try again when it is over"))
    }
}

/// Tells `lines` how it goes. Dropped, it ends.
pub async fn run(engine: &Arc<Engine>, wanted: Wanted, lines: Option<mpsc::Sender<Value>>) -> Result<Checked, ApiError> {
    let began = Instant::now();
    let checks = engine.checks.as_ref().ok_or_else(unavailable)?;
    let code = Code::new().map_err(|cause| ApiError::internal("a sandbox could not be set up", &cause))?;
    let code = Arc::new(code);
    let info = looked_at(engine, &code, &wanted, lines.as_ref()).await?;
    let before = engine.directory.deployment(wanted.namespace.id, &wanted.name);
    let deployment = candidate(&wanted, before.as_ref(), &info, engine.clock.now_ms())?;
    let version = deployment.live_version();
    let (number, granted) = (version.number, Granted::of(&version.settings));
    if let Some(lines) = &lines {
        let (handlers, imports) = (&info.handlers, &info.imports);
        let line = json!({ "phase": "checked", "handlers": handlers, "imports": imports, "settings": granted, "version": number });
        // Who does not read does not hold this up, but for the results.
        let _ = lines.try_send(line);
    }
    // Of an actor that has answered somebody it is on disk then what it was started with.
    engine.call(Operation::Settle).await?;
    let Sample { below, actors } = sample::take(checks, &wanted).await?;
    let mut checked = Checked::new(&wanted, &info, number, before.as_ref().map(|before| before.live), granted);
    for actor in actors {
        if began.elapsed() >= Duration::from_millis(CHECK_MS_MAX) {
            checked.summary.not_tried += 1;
            continue;
        }
        let today = before.as_ref().and_then(|before| todays(before, &actor));
        let asks = asks(engine, &wanted, actor.id).await?;
        let (below, namespace) = (below.clone(), &wanted.namespace);
        let trial = Trial { below, code: &code, namespace, actor, asks: &asks, turn: &wanted.turn };
        let tried = fork::run(engine, &trial, &deployment, today.as_ref()).await?;
        if let Some(lines) = &lines {
            let mut line = serde_json::to_value(&tried).unwrap_or_default();
            line["phase"] = json!("tried");
            let told = lines.send_timeout(line, Duration::from_millis(UNREAD_MS_MAX)).await;
            told.map_err(|_| {
                ApiError::busy(format!("nobody has read what was told for {UNREAD_MS_MAX} ms; the check was given up"))
            })?;
        }
        checked.add(tried);
    }
    Ok(checked)
}

/// What was recorded of this actor, and then what all are asked.
async fn asks(engine: &Arc<Engine>, wanted: &Wanted, actor: ActorId) -> Result<Vec<Ask>, ApiError> {
    let (recorder, count) = (engine.recorder.clone(), wanted.recorded);
    let found = tokio::task::spawn_blocking(move || recorder.read(actor, count).map_err(|error| error.to_string()));
    let found = found.await.unwrap_or_else(|error| Err(error.to_string()));
    let found = found.map_err(|cause| ApiError::internal("recorded requests could not be read", &cause))?;
    let recorded = found.into_iter().map(|recorded| Ask::Recorded(Arc::new(recorded)));
    Ok(recorded.chain(wanted.asks.iter().cloned()).collect())
}

pub fn unavailable() -> ApiError {
    let message = "no version can be tried here: this engine runs no components in its own process (wasm.enabled, --no-wasm-runner); \
                   ask one that does";
    ApiError::new("deployment", "check_unavailable", message)
}

/// Compiled, unless it is already, and looked at: on an engine without actors.
async fn looked_at(
    engine: &Arc<Engine>,
    code: &Arc<Code>,
    wanted: &Wanted,
    lines: Option<&mpsc::Sender<Value>>,
) -> Result<Box<ComponentInfo>, ApiError> {
    let start = Instant::now();
    let alone = ForkEngine::start(engine, code, Arc::new(Memory::new()), StartReason::Created).await?;
    let (component, turn) = (wanted.component, wanted.turn.clone());
    // A compiler cannot be interrupted: who leaves does not make room for the next.
    let mut look = tokio::spawn(async move {
        let looked = alone.engine().call(Operation::LookAtComponent { component }).await;
        drop((alone, turn));
        looked
    });
    let mut progress = tokio::time::interval(Duration::from_millis(PROGRESS_MS));
    progress.tick().await;
    let answer = loop {
        tokio::select! {
            answer = &mut look => break answer,
            _ = progress.tick() => {
                if let Some(lines) = lines {
                    let elapsed_ms = start.elapsed().as_millis() as u64;
                    let _ = lines.try_send(json!({ "phase": "compiling", "elapsed_ms": elapsed_ms }));
                }
            }
        }
    };
    match answer.map_err(|error| ApiError::internal("the look at the component ended before its time", &error))?? {
        Answer::Component(info) => Ok(info),
        other => Err(unexpected(&other)),
    }
}

/// The deployment as it would be, without the versions that the candidate would replace: who cannot be migrated must not go on with
/// the one that wrote its state. Those with the same code stay, because that is how the core knows that there is nothing to migrate.
fn candidate(
    wanted: &Wanted,
    before: Option<&DeploymentRecord>,
    info: &ComponentInfo,
    now_ms: u64,
) -> Result<DeploymentRecord, ApiError> {
    let live = before.map(DeploymentRecord::live_version);
    let settings: Arc<Settings> = live.map(|live| live.settings.clone()).unwrap_or_default();
    let settings = wanted.settings.apply(&settings).map_err(|reason| Refusal::SettingsInvalid { reason })?;
    let known = before.map_or(&[][..], |before| &before.versions);
    let mut versions = of_component(known, wanted.component);
    let number = match live {
        // What is live already would make no new version.
        Some(live) if live.component == wanted.component && *live.settings == settings => live.number,
        _ => {
            let number = known.last().map_or(1, |last| last.number + 1);
            let (component, settings) = (wanted.component, Arc::new(settings));
            let info = info.clone();
            versions.push(VersionRecord { number, component, info, deploy_ms: now_ms, settings, attempt: 0, kept: false });
            number
        }
    };
    Ok(DeploymentRecord {
        namespace: wanted.namespace.id,
        name: wanted.name.clone(),
        pool: before.map_or_else(|| "default".to_string(), |before| before.pool.clone()),
        live: number,
        versions,
        canary: None,
    })
}

fn of_component(versions: &[VersionRecord], component: ComponentHash) -> Vec<VersionRecord> {
    versions.iter().filter(|version| version.component == component).cloned().collect()
}

/// The deployment as if all ran what this actor runs today, if that is known: the version that it was pinned to, or held back at, or
/// that others of its share run.
fn todays(deployment: &DeploymentRecord, actor: &ActorRecord) -> Option<DeploymentRecord> {
    let pinned = actor.pin.filter(|pin| deployment.version(*pin).is_some());
    let wanted = pinned.unwrap_or_else(|| deployment.version_of(actor.id));
    let held = actor.held_back.as_ref().filter(|held| held.version == wanted && deployment.holds_back(held));
    let version = deployment.version(if held.is_some() { actor.state_version? } else { wanted })?;
    let versions = of_component(&deployment.versions, version.component);
    Some(DeploymentRecord { live: version.number, versions, canary: None, ..deployment.clone() })
}

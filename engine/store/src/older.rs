//! Records as they were laid out once, and what they say today.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::record::{
    ActorError, ActorRecord, Alarm, Canary, CrashPolicy, DeploymentRecord, NamespaceRecord, Quotas, RunnerRef, Stop, VersionRecord,
};
use protocol::component::{ActorLimits, ComponentHash, ComponentInfo, Settings};
use protocol::id::{ActorId, Generation, NamespaceId};
use serde::Deserialize;

/// Until runners of pools there were only those of components.
#[derive(Deserialize)]
pub struct ActorRecordV1 {
    id: ActorId,
    namespace: NamespaceId,
    name: String,
    key: Option<String>,
    pool: String,
    crash_policy: CrashPolicy,
    has_input: bool,
    create_ms: u64,
    start_ms: Option<u64>,
    connectable_ms: Option<u64>,
    sleep_ms: Option<u64>,
    pending_ms: Option<u64>,
    reschedule_ms: Option<u64>,
    destroy_ms: Option<u64>,
    error: Option<ActorError>,
    generation: Generation,
    runner: Option<String>,
    alarm: Option<Alarm>,
    crashes: u32,
}

impl From<ActorRecordV1> for ActorRecord {
    fn from(old: ActorRecordV1) -> ActorRecord {
        let newer = ActorRecordV2 {
            id: old.id,
            namespace: old.namespace,
            name: old.name,
            key: old.key,
            pool: old.pool,
            crash_policy: old.crash_policy,
            has_input: old.has_input,
            create_ms: old.create_ms,
            start_ms: old.start_ms,
            connectable_ms: old.connectable_ms,
            sleep_ms: old.sleep_ms,
            pending_ms: old.pending_ms,
            reschedule_ms: old.reschedule_ms,
            destroy_ms: old.destroy_ms,
            error: old.error,
            generation: old.generation,
            runner: old.runner.map(|key| RunnerRef::Components { key }),
            alarm: old.alarm,
            crashes: old.crashes,
            stop: None,
            acked_command: 0,
            events_taken: 0,
            by_url: false,
        };
        newer.into()
    }
}

/// Until it was noted which version of a component wrote an actor's state.
#[derive(Deserialize)]
pub struct ActorRecordV2 {
    id: ActorId,
    namespace: NamespaceId,
    name: String,
    key: Option<String>,
    pool: String,
    crash_policy: CrashPolicy,
    has_input: bool,
    create_ms: u64,
    start_ms: Option<u64>,
    connectable_ms: Option<u64>,
    sleep_ms: Option<u64>,
    pending_ms: Option<u64>,
    reschedule_ms: Option<u64>,
    destroy_ms: Option<u64>,
    error: Option<ActorError>,
    generation: Generation,
    runner: Option<RunnerRef>,
    alarm: Option<Alarm>,
    crashes: u32,
    stop: Option<Stop>,
    acked_command: u64,
    events_taken: u64,
    by_url: bool,
}

impl From<ActorRecordV2> for ActorRecord {
    fn from(old: ActorRecordV2) -> ActorRecord {
        ActorRecord {
            id: old.id,
            namespace: old.namespace,
            name: old.name,
            key: old.key,
            pool: old.pool,
            crash_policy: old.crash_policy,
            has_input: old.has_input,
            create_ms: old.create_ms,
            start_ms: old.start_ms,
            connectable_ms: old.connectable_ms,
            sleep_ms: old.sleep_ms,
            pending_ms: old.pending_ms,
            reschedule_ms: old.reschedule_ms,
            destroy_ms: old.destroy_ms,
            error: old.error,
            generation: old.generation,
            runner: old.runner,
            alarm: old.alarm,
            crashes: old.crashes,
            stop: old.stop,
            acked_command: old.acked_command,
            events_taken: old.events_taken,
            by_url: old.by_url,
            // Not known. Components could not migrate anything then.
            state_version: None,
            pin: None,
            held_back: None,
        }
    }
}

/// Until versions had settings, and there were canaries.
#[derive(Deserialize)]
pub struct DeploymentRecordV1 {
    namespace: NamespaceId,
    name: String,
    pool: String,
    live: u32,
    versions: Vec<VersionRecordV1>,
}

#[derive(Deserialize)]
struct VersionRecordV1 {
    number: u32,
    component: ComponentHash,
    info: ComponentInfo,
    deploy_ms: u64,
}

impl From<DeploymentRecordV1> for DeploymentRecord {
    fn from(old: DeploymentRecordV1) -> DeploymentRecord {
        let settings = Arc::new(Settings::default());
        let version = |old: VersionRecordV1| VersionRecord {
            number: old.number,
            component: old.component,
            info: old.info,
            deploy_ms: old.deploy_ms,
            settings: settings.clone(),
            attempt: 0,
            kept: false,
        };
        let versions = old.versions.into_iter().map(version).collect();
        DeploymentRecord { namespace: old.namespace, name: old.name, pool: old.pool, live: old.live, versions, canary: None }
    }
}

/// Until limits knew of how long an action may take, of storage and of awake actors.
pub type DeploymentRecordV2 = DeploymentRecordOf<SettingsV1>;
/// Until versions said how many requests are recorded.
pub type DeploymentRecordV3 = DeploymentRecordOf<SettingsV2>;

/// With settings of before.
#[derive(Deserialize)]
pub struct DeploymentRecordOf<S> {
    namespace: NamespaceId,
    name: String,
    pool: String,
    live: u32,
    versions: Vec<VersionRecordOf<S>>,
    canary: Option<Canary>,
}

#[derive(Deserialize)]
struct VersionRecordOf<S> {
    number: u32,
    component: ComponentHash,
    info: ComponentInfo,
    deploy_ms: u64,
    settings: S,
    attempt: u32,
    kept: bool,
}

impl<S: Into<Settings>> From<DeploymentRecordOf<S>> for DeploymentRecord {
    fn from(old: DeploymentRecordOf<S>) -> DeploymentRecord {
        let version = |old: VersionRecordOf<S>| VersionRecord {
            number: old.number,
            component: old.component,
            info: old.info,
            deploy_ms: old.deploy_ms,
            settings: Arc::new(old.settings.into()),
            attempt: old.attempt,
            kept: old.kept,
        };
        DeploymentRecord {
            namespace: old.namespace,
            name: old.name,
            pool: old.pool,
            live: old.live,
            versions: old.versions.into_iter().map(version).collect(),
            canary: old.canary,
        }
    }
}

#[derive(Deserialize)]
pub struct SettingsV1 {
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    outbound: Vec<String>,
    limits: ActorLimitsV1,
}

#[derive(Deserialize)]
struct ActorLimitsV1 {
    cpu_ms: Option<u32>,
    memory_bytes: Option<u64>,
    message_bytes: Option<u64>,
    mailbox: Option<u32>,
    sockets: Option<u32>,
}

impl From<SettingsV1> for Settings {
    fn from(old: SettingsV1) -> Settings {
        let ActorLimitsV1 { cpu_ms, memory_bytes, message_bytes, mailbox, sockets } = old.limits;
        let limits = ActorLimits { cpu_ms, memory_bytes, message_bytes, mailbox, sockets, ..ActorLimits::default() };
        Settings { config: old.config, secrets: old.secrets, outbound: old.outbound, limits, record_requests: None }
    }
}

#[derive(Deserialize)]
pub struct SettingsV2 {
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    outbound: Vec<String>,
    limits: ActorLimits,
}

impl From<SettingsV2> for Settings {
    fn from(old: SettingsV2) -> Settings {
        let SettingsV2 { config, secrets, outbound, limits } = old;
        Settings { config, secrets, outbound, limits, record_requests: None }
    }
}

/// Until namespaces had quotas, and could be deleted.
#[derive(Deserialize)]
pub struct NamespaceRecordV1 {
    id: NamespaceId,
    name: String,
    display_name: String,
    create_ms: u64,
}

impl From<NamespaceRecordV1> for NamespaceRecord {
    fn from(old: NamespaceRecordV1) -> NamespaceRecord {
        let NamespaceRecordV1 { id, name, display_name, create_ms } = old;
        NamespaceRecord { id, name, display_name, create_ms, quotas: Quotas::default(), delete_ms: None }
    }
}

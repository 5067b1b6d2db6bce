//! Records as the API shows them. Field names and their order are the original's, where it has them.

use std::collections::BTreeMap;

use engine_core::record::{ActorError, ActorRecord, CrashPolicy, DeploymentRecord, HeldBack, NamespaceRecord, VersionRecord};
use protocol::component::{ActorLimits, Handler, Settings};
use protocol::id::ActorId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schemas;
use crate::engine::DATACENTER;

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub struct Pagination {
    #[schema(required = true)]
    pub cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Namespace {
    namespace_id: String,
    name: String,
    display_name: String,
    create_ts: u64,
}

impl From<NamespaceRecord> for Namespace {
    fn from(record: NamespaceRecord) -> Namespace {
        Namespace {
            namespace_id: record.id.to_string(),
            name: record.name,
            display_name: record.display_name,
            create_ts: record.create_ms,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Actor {
    actor_id: String,
    name: String,
    #[schema(required = true)]
    key: Option<String>,
    namespace_id: String,
    datacenter: &'static str,
    runner_name_selector: String,
    #[schema(value_type = schemas::CrashPolicy)]
    crash_policy: CrashPolicy,
    create_ts: u64,
    #[schema(required = true)]
    start_ts: Option<u64>,
    #[schema(required = true)]
    pending_allocation_ts: Option<u64>,
    #[schema(required = true)]
    connectable_ts: Option<u64>,
    #[schema(required = true)]
    sleep_ts: Option<u64>,
    #[schema(required = true)]
    reschedule_ts: Option<u64>,
    #[schema(required = true)]
    destroy_ts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::ActorError>)]
    error: Option<ActorError>,
}

impl From<ActorRecord> for Actor {
    fn from(record: ActorRecord) -> Actor {
        Actor {
            actor_id: record.id.to_string(),
            name: record.name,
            key: record.key,
            namespace_id: record.namespace.to_string(),
            datacenter: DATACENTER,
            runner_name_selector: record.pool,
            crash_policy: record.crash_policy,
            create_ts: record.create_ms,
            start_ts: record.start_ms,
            pending_allocation_ts: record.pending_ms,
            connectable_ts: record.connectable_ms,
            sleep_ts: record.sleep_ms,
            reschedule_ts: record.reschedule_ms,
            destroy_ts: record.destroy_ms,
            error: record.error,
        }
    }
}

/// Which version of its deployment an actor runs, and why.
#[derive(Serialize, ToSchema)]
pub struct ActorVersion {
    /// The one that last wrote its state; null before it has run.
    #[schema(required = true)]
    version: Option<u32>,
    #[schema(required = true)]
    pinned: Option<u32>,
    /// It could not be migrated to this one.
    #[schema(required = true)]
    held_back: Option<HeldBackFrom>,
}

#[derive(Serialize, ToSchema)]
struct HeldBackFrom {
    version: u32,
    message: String,
}

impl ActorVersion {
    /// Notes that a retry has made void are not shown.
    pub fn of(record: ActorRecord, deployment: Option<&DeploymentRecord>) -> ActorVersion {
        let held = record.held_back.filter(|held| deployment.is_some_and(|deployment| deployment.holds_back(held)));
        let held_back = held.map(|held| HeldBackFrom { version: held.version, message: held.message });
        ActorVersion { version: record.state_version, pinned: record.pin, held_back }
    }
}

/// One version of a deployment: what a deploy is answered with.
#[derive(Serialize, ToSchema)]
pub struct Deployed {
    namespace: String,
    name: String,
    pool: String,
    #[serde(flatten)]
    version: Version,
}

/// A deployment with all versions that are kept.
#[derive(Serialize, ToSchema)]
pub struct Deployment {
    namespace: String,
    name: String,
    pool: String,
    versions: Vec<Version>,
}

/// One deployment, and how its actors are getting on with it.
#[derive(Serialize, ToSchema)]
pub struct DeploymentState {
    #[serde(flatten)]
    deployment: Deployment,
    /// Actors that are on their way to the version that they are to run.
    moving: usize,
    held_back: HeldBackActors,
}

/// Actors whose state could not be migrated to the live version, or to the canary.
#[derive(Serialize, ToSchema)]
struct HeldBackActors {
    /// Of the first 10,000.
    count: usize,
    /// The first 20.
    actors: Vec<HeldBackActor>,
}

#[derive(Serialize, ToSchema)]
struct HeldBackActor {
    actor_id: String,
    version: u32,
    message: String,
}

#[derive(Serialize, ToSchema)]
struct Version {
    version: u32,
    live: bool,
    /// The share of the actors that run it, if it is a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<String>,
    /// The SHA-256 of its bytes.
    component: String,
    bytes: u64,
    compiled_bytes: u64,
    compile_ms: u64,
    #[schema(value_type = Vec<String>)]
    handlers: Vec<Handler>,
    imports: Vec<String>,
    deploy_ts: u64,
    settings: Granted,
}

/// What a version gives its actors beside code. Of secrets only the names: their values are told to actors alone.
#[derive(Serialize, ToSchema)]
pub struct Granted {
    config: BTreeMap<String, String>,
    secrets: Vec<String>,
    outbound: Vec<String>,
    limits: Limits,
    /// How many requests of each actor are recorded; null: as many as the engine does by itself.
    record_requests: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailbox: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    awake: Option<u32>,
}

impl Granted {
    pub fn of(settings: &Settings) -> Granted {
        let ActorLimits { cpu_ms, memory_bytes, message_bytes, mailbox, sockets, action_ms, storage_bytes, awake } =
            settings.limits;
        Granted {
            config: settings.config.clone(),
            secrets: settings.secrets.keys().cloned().collect(),
            outbound: settings.outbound.clone(),
            limits: Limits { cpu_ms, memory_bytes, message_bytes, mailbox, sockets, action_ms, storage_bytes, awake },
            record_requests: settings.record_requests,
        }
    }
}

impl Version {
    fn of(version: &VersionRecord, record: &DeploymentRecord) -> Version {
        Version {
            version: version.number,
            live: version.number == record.live,
            canary: record.canary.filter(|canary| canary.version == version.number).map(|canary| canary.share.to_string()),
            component: version.component.to_string(),
            bytes: version.info.bytes,
            compiled_bytes: version.info.compiled_bytes,
            compile_ms: version.info.compile_ms,
            handlers: version.info.handlers.clone(),
            imports: version.info.imports.clone(),
            deploy_ts: version.deploy_ms,
            settings: Granted::of(&version.settings),
        }
    }
}

impl Deployed {
    pub fn of(namespace: String, record: &DeploymentRecord, version: u32) -> Deployed {
        let version = Version::of(record.version(version).unwrap_or(record.live_version()), record);
        Deployed { namespace, name: record.name.clone(), pool: record.pool.clone(), version }
    }
}

impl Deployment {
    pub fn of(namespace: String, record: &DeploymentRecord) -> Deployment {
        let versions = record.versions.iter().map(|version| Version::of(version, record)).collect();
        Deployment { namespace, name: record.name.clone(), pool: record.pool.clone(), versions }
    }
}

impl DeploymentState {
    pub fn of(deployment: Deployment, moving: usize, held_back: usize, first: Vec<(ActorId, HeldBack)>) -> DeploymentState {
        let one = |(actor, held): (ActorId, HeldBack)| HeldBackActor {
            actor_id: actor.to_string(),
            version: held.version,
            message: held.message,
        };
        let held_back = HeldBackActors { count: held_back, actors: first.into_iter().map(one).collect() };
        DeploymentState { deployment, moving, held_back }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::record::PoolError;
    use protocol::id::Id;

    use super::*;

    #[test]
    fn an_actor_as_json() {
        let record = ActorRecord {
            namespace: Id::new([2; 16], 1),
            name: "counter".to_string(),
            pool: "default".to_string(),
            create_ms: 5,
            start_ms: Some(6),
            sleep_ms: Some(7),
            generation: 1,
            ..ActorRecord::unknown(Id::new([1; 16], 1))
        };
        let text = |record: ActorRecord| serde_json::to_string(&Actor::from(record)).expect("a record is JSON");
        let (id, namespace) = (record.id, record.namespace);
        assert_eq!(
            text(record.clone()),
            format!(
                "{{\"actor_id\":\"{id}\",\"name\":\"counter\",\"key\":null,\"namespace_id\":\"{namespace}\",\"datacenter\":\"default\",\
                 \"runner_name_selector\":\"default\",\"crash_policy\":\"sleep\",\"create_ts\":5,\"start_ts\":6,\
                 \"pending_allocation_ts\":null,\"connectable_ts\":null,\"sleep_ts\":7,\"reschedule_ts\":null,\"destroy_ts\":null}}"
            )
        );
        let errors = [
            (ActorError::NoEnvoys, r#""no_envoys""#),
            (ActorError::Crashed { message: None }, r#"{"crashed":{"message":null}}"#),
            (ActorError::EnvoyNoResponse { envoy_key: None }, r#"{"envoy_no_response":{"envoy_key":null}}"#),
            (ActorError::EnvoyConnectionLost { envoy_key: "k".to_string() }, r#"{"envoy_connection_lost":{"envoy_key":"k"}}"#),
            (ActorError::NoCapacity, r#""no_capacity""#),
            (ActorError::ConcurrentActorLimitReached, r#""concurrent_actor_limit_reached""#),
            (ActorError::RunnerNoResponse { runner_id: "r".to_string() }, r#"{"runner_no_response":{"runner_id":"r"}}"#),
            (ActorError::RunnerConnectionLost { runner_id: "r".to_string() }, r#"{"runner_connection_lost":{"runner_id":"r"}}"#),
            (ActorError::RunnerPoolError(PoolError::Downgrade), r#"{"runner_pool_error":"downgrade"}"#),
            (
                ActorError::RunnerPoolError(PoolError::ServerlessHttpError { status_code: 500, body: "b".to_string() }),
                r#"{"runner_pool_error":{"serverless_http_error":{"status_code":500,"body":"b"}}}"#,
            ),
        ];
        for (error, expected) in errors {
            let shown = text(ActorRecord { error: Some(error), ..record.clone() });
            assert!(shown.ends_with(&format!("\"error\":{expected}}}")), "{shown}");
        }
    }
}

//! Records as the API shows them. Field names and their order are the original's, where it has them.

use engine_core::record::{ActorError, ActorRecord, CrashPolicy, DeploymentRecord, NamespaceRecord, VersionRecord};
use protocol::component::Handler;
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

/// The live version of a deployment: what a deploy is answered with.
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

#[derive(Serialize, ToSchema)]
struct Version {
    version: u32,
    live: bool,
    /// The SHA-256 of its bytes.
    component: String,
    bytes: u64,
    compiled_bytes: u64,
    compile_ms: u64,
    #[schema(value_type = Vec<String>)]
    handlers: Vec<Handler>,
    imports: Vec<String>,
    deploy_ts: u64,
}

impl Version {
    fn of(version: &VersionRecord, live: u32) -> Version {
        Version {
            version: version.number,
            live: version.number == live,
            component: version.component.to_string(),
            bytes: version.info.bytes,
            compiled_bytes: version.info.compiled_bytes,
            compile_ms: version.info.compile_ms,
            handlers: version.info.handlers.clone(),
            imports: version.info.imports.clone(),
            deploy_ts: version.deploy_ms,
        }
    }
}

impl Deployed {
    pub fn of(namespace: String, record: &DeploymentRecord) -> Deployed {
        let version = Version::of(record.live_version(), record.live);
        Deployed { namespace, name: record.name.clone(), pool: record.pool.clone(), version }
    }
}

impl Deployment {
    pub fn of(namespace: String, record: &DeploymentRecord) -> Deployment {
        let versions = record.versions.iter().map(|version| Version::of(version, record.live)).collect();
        Deployment { namespace, name: record.name.clone(), pool: record.pool.clone(), versions }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::record::{CrashPolicy, PoolError};
    use protocol::id::Id;

    use super::*;

    #[test]
    fn an_actor_as_json() {
        let record = ActorRecord {
            id: Id::new([1; 16], 1),
            namespace: Id::new([2; 16], 1),
            name: "counter".to_string(),
            key: None,
            pool: "default".to_string(),
            crash_policy: CrashPolicy::Sleep,
            has_input: false,
            create_ms: 5,
            start_ms: Some(6),
            connectable_ms: None,
            sleep_ms: Some(7),
            pending_ms: None,
            reschedule_ms: None,
            destroy_ms: None,
            error: None,
            generation: 1,
            runner: None,
            alarm: None,
            crashes: 0,
            stop: None,
            acked_command: 0,
            events_taken: 0,
            by_url: false,
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

//! Why the core refuses something: a closed list.
//!
//! Each has a group and a code for programs and a sentence for people. HTTP statuses are the server's business.

use std::fmt;

use protocol::component::ComponentRefusal;
use protocol::id::ActorId;
use protocol::limits::{ACTOR_INPUT_BYTES_MAX, ACTOR_KEY_BYTES_MAX, ACTOR_NAME_BYTES_MAX, REQUESTS_PER_ACTOR_MAX};
use protocol::message::{Failure, FailureKind};

use crate::quotas::QuotaName;
use crate::tokens::TOKENS_MAX;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    NamespaceNotFound {
        namespace: String,
    },
    NamespaceTaken {
        name: String,
    },
    /// It is being deleted, with everything in it.
    NamespaceDeleting {
        namespace: String,
    },
    /// It cannot be deleted.
    NamespaceKept {
        namespace: String,
    },
    NamespaceInvalid {
        reason: &'static str,
    },
    QuotasInvalid {
        reason: String,
    },
    QuotaExceeded {
        namespace: String,
        quota: QuotaName,
        limit: u64,
        used: u64,
        more: u64,
    },
    /// Too many requests of clients for its actors.
    RequestRate {
        namespace: String,
        limit: u64,
        retry_ms: u64,
    },
    /// As many actors are awake as may be, and none of them goes to sleep.
    AwakeLimit {
        actor: ActorId,
        whose: String,
        waited_ms: u64,
    },
    ActorNotFound,
    ActorDestroyedWhileWaiting {
        actor: ActorId,
    },
    EmptyKey,
    KeyTooLarge {
        key: String,
    },
    NameTooLarge {
        bytes: usize,
    },
    InputTooLarge {
        bytes: usize,
    },
    DuplicateKey {
        key: String,
        existing: ActorId,
    },
    /// Nothing is deployed under the name and no runner is configured for the pool.
    NoRunnerConfig {
        namespace: String,
        pool: String,
    },
    /// The actor was asked for and was not running in time.
    ActorReadyTimeout {
        actor: ActorId,
        waited_ms: u64,
    },
    /// The actor could not be started; the text is the runner's.
    StartFailed {
        actor: ActorId,
        message: String,
    },
    /// The runner ended the request.
    Failed {
        actor: ActorId,
        failure: Failure,
    },
    /// The runner was lost after it had been given the request.
    RunnerLost {
        actor: ActorId,
    },
    Overloaded {
        actor: ActorId,
    },
    /// An actor has called one that waits for it, over others perhaps: all of them, in the order in which they wait.
    CallCycle {
        circle: String,
    },
    /// The URL of its pool could not start it, several times.
    WakeRetriesExceeded {
        actor: ActorId,
        retries: u32,
    },
    DeploymentNotFound {
        name: String,
    },
    VersionNotFound {
        name: String,
        version: u32,
    },
    /// No version is a canary.
    NoCanary {
        name: String,
    },
    CanaryRefused {
        reason: String,
    },
    SettingsInvalid {
        reason: String,
    },
    /// No runner here can run components.
    NoComponentRunner,
    Component(ComponentRefusal),
    TokenNotFound,
    TokenInvalid {
        reason: String,
    },
    TooManyTokens,
    /// Whoever asks may see another namespace only.
    NotYours,
    ShuttingDown,
}

impl Refusal {
    /// Group and code.
    pub fn code(&self) -> (&'static str, &'static str) {
        match self {
            Refusal::NamespaceNotFound { .. } => ("namespace", "not_found"),
            Refusal::NamespaceTaken { .. } => ("namespace", "name_not_unique"),
            Refusal::NamespaceDeleting { .. } => ("namespace", "deleting"),
            Refusal::NamespaceKept { .. } => ("namespace", "not_deletable"),
            Refusal::NamespaceInvalid { .. } => ("namespace", "failed_to_create"),
            Refusal::QuotasInvalid { .. } => ("namespace", "quotas_invalid"),
            Refusal::QuotaExceeded { .. } => ("namespace", "quota_exceeded"),
            Refusal::RequestRate { .. } => ("namespace", "request_rate_exceeded"),
            Refusal::AwakeLimit { .. } => ("actor", "awake_limit"),
            Refusal::ActorNotFound => ("actor", "not_found"),
            Refusal::ActorDestroyedWhileWaiting { .. } => ("actor", "destroyed_while_waiting_for_ready"),
            Refusal::EmptyKey => ("actor", "empty_key"),
            Refusal::KeyTooLarge { .. } => ("actor", "key_too_large"),
            Refusal::NameTooLarge { .. } => ("actor", "name_too_large"),
            Refusal::InputTooLarge { .. } => ("actor", "input_too_large"),
            Refusal::DuplicateKey { .. } => ("actor", "duplicate_key"),
            Refusal::NoRunnerConfig { .. } => ("actor", "no_runner_config_configured"),
            Refusal::ActorReadyTimeout { .. } => ("guard", "actor_ready_timeout"),
            Refusal::StartFailed { .. } => ("actor", "start_failed"),
            Refusal::Failed { failure, .. } => match failure.kind {
                FailureKind::Cancelled => ("guard", "tunnel_request_aborted"),
                FailureKind::NotHandled => ("actor", "not_handled"),
                FailureKind::HandlerError => ("actor", "invalid_response"),
                FailureKind::Trapped => ("actor", "trapped"),
                FailureKind::CpuTimeExceeded => ("actor", "cpu_time_exceeded"),
                FailureKind::MemoryExceeded => ("actor", "memory_exceeded"),
                FailureKind::StackOverflow => ("actor", "stack_overflow"),
                FailureKind::StartFailed => ("actor", "start_failed"),
                FailureKind::RequestTooLarge => ("actor", "request_too_large"),
                FailureKind::NoRoom => ("actor", "no_room"),
                FailureKind::StorageFull => ("actor", "storage_full"),
                FailureKind::Stopped => ("guard", "actor_stopped_while_waiting"),
                FailureKind::Internal => ("core", "internal_error"),
            },
            Refusal::RunnerLost { .. } => ("guard", "tunnel_response_closed"),
            Refusal::Overloaded { .. } => ("actor", "overloaded"),
            Refusal::CallCycle { .. } => ("actor", "call_cycle"),
            Refusal::WakeRetriesExceeded { .. } => ("guard", "actor_wake_retries_exceeded"),
            Refusal::DeploymentNotFound { .. } => ("deployment", "not_found"),
            Refusal::VersionNotFound { .. } => ("deployment", "version_not_found"),
            Refusal::NoCanary { .. } => ("deployment", "no_canary"),
            Refusal::CanaryRefused { .. } => ("deployment", "canary_refused"),
            Refusal::SettingsInvalid { .. } => ("deployment", "settings_invalid"),
            Refusal::NoComponentRunner => ("deployment", "no_component_runner"),
            Refusal::Component(refusal) => {
                use protocol::component::ComponentRefusalKind::*;
                match refusal.kind {
                    Malformed => ("component", "malformed"),
                    UnknownImport => ("component", "unknown_import"),
                    NoHandler => ("component", "no_handler"),
                    TooLarge => ("component", "too_large"),
                    Internal => ("core", "internal_error"),
                }
            }
            Refusal::TokenNotFound => ("token", "not_found"),
            Refusal::TokenInvalid { .. } => ("token", "invalid"),
            Refusal::TooManyTokens => ("token", "too_many"),
            Refusal::NotYours => ("api", "forbidden"),
            Refusal::ShuttingDown => ("guard", "service_unavailable"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NamespaceNotFound { namespace } => {
                write!(f, "there is no namespace {namespace:?}; create it with POST /namespaces or use \"default\"")
            }
            Refusal::NamespaceTaken { name } => write!(f, "there is already a namespace {name:?}; choose another name"),
            Refusal::NamespaceDeleting { namespace } => write!(
                f,
                "namespace {namespace:?} is being deleted with everything in it; GET /namespaces/{namespace}/quotas shows how far that is"
            ),
            Refusal::NamespaceKept { namespace } => write!(
                f,
                "the namespace {namespace:?} is there from the start and stays; destroy its actors, or use another namespace"
            ),
            Refusal::NamespaceInvalid { reason } => write!(
                f,
                "{reason}: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks"
            ),
            Refusal::QuotaExceeded { namespace, quota, limit, used, more } => write!(
                f,
                "namespace {namespace:?} has used {used} of its quota {quota} of {limit}, and {more} more would be above it; \
                 remove something, or raise it: rivet-engine namespaces quotas {namespace}"
            ),
            Refusal::RequestRate { namespace, limit, retry_ms } => write!(
                f,
                "namespace {namespace:?} has used up its quota requests_per_second of {limit}; the next request may come in {retry_ms} ms"
            ),
            Refusal::AwakeLimit { actor, whose, waited_ms } => {
                write!(f, "{whose}, and none of them went to sleep for actor {actor} in {waited_ms} ms; try again later")
            }
            Refusal::ActorNotFound => f.write_str("there is no such actor; it was never created or has been destroyed"),
            Refusal::ActorDestroyedWhileWaiting { actor } => {
                write!(f, "actor {actor} was destroyed while the request waited for it")
            }
            Refusal::EmptyKey => f.write_str("the key is empty; leave it out for an actor without a key"),
            Refusal::KeyTooLarge { key } => write!(f, "the key has {} bytes; at most {ACTOR_KEY_BYTES_MAX} are allowed", key.len()),
            Refusal::NameTooLarge { bytes } => write!(f, "the name has {bytes} bytes; at most {ACTOR_NAME_BYTES_MAX} are allowed"),
            Refusal::InputTooLarge { bytes } => {
                write!(f, "the input has {bytes} bytes; at most {ACTOR_INPUT_BYTES_MAX} are allowed, send more in a request")
            }
            Refusal::DuplicateKey { key, existing } => {
                write!(f, "actor {existing} already has the key {key:?} under this name; use it, or PUT /actors to get or create")
            }
            Refusal::NoRunnerConfig { namespace, pool } => write!(
                f,
                "nothing in namespace {namespace:?} can run this actor (pool {pool:?}); deploy a component under its name"
            ),
            Refusal::ActorReadyTimeout { actor, waited_ms } => {
                write!(f, "actor {actor} was not running within {waited_ms} ms; GET /actors?actor_ids={actor} shows why")
            }
            Refusal::StartFailed { actor, message } => write!(f, "actor {actor} could not be started: {message}"),
            Refusal::Failed { failure, .. } => f.write_str(&failure.message),
            Refusal::RunnerLost { actor } => {
                write!(f, "the runner of actor {actor} was lost while it handled the request; whether it took effect is not known")
            }
            Refusal::Overloaded { actor } => {
                write!(f, "actor {actor} already has {REQUESTS_PER_ACTOR_MAX} requests waiting; try again later")
            }
            Refusal::CallCycle { circle } => {
                write!(
                    f,
                    "these actors would wait for each other for ever: {circle}; answer first, and call from a schedule or the own queue"
                )
            }
            Refusal::WakeRetriesExceeded { actor, retries } => {
                write!(f, "actor {actor} could not be started in {retries} tries; GET /actors?actor_ids={actor} shows why")
            }
            Refusal::DeploymentNotFound { name } => write!(f, "nothing is deployed under the name {name:?}"),
            Refusal::VersionNotFound { name, version } => {
                write!(f, "{name:?} has no version {version}; GET /deployments lists the versions that are kept")
            }
            Refusal::NoComponentRunner => f.write_str(
                "no runner that runs components is connected; start one with `rivet-engine runner`, or the engine with its own",
            ),
            Refusal::NoCanary { name } => write!(f, "no version of {name:?} is a canary; deploy one with canary=5%"),
            Refusal::CanaryRefused { reason }
            | Refusal::SettingsInvalid { reason }
            | Refusal::QuotasInvalid { reason }
            | Refusal::TokenInvalid { reason } => f.write_str(reason),
            Refusal::Component(refusal) => f.write_str(&refusal.message),
            Refusal::TokenNotFound => f.write_str("there is no such token; GET /tokens lists those that there are"),
            Refusal::TooManyTokens => {
                write!(f, "there are {TOKENS_MAX} tokens, and no more there may be; revoke those that nobody uses")
            }
            Refusal::NotYours => f.write_str("the token is of another namespace"),
            Refusal::ShuttingDown => f.write_str("the engine is shutting down; try again"),
        }
    }
}

impl std::error::Error for Refusal {}

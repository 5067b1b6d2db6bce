//! The line at the end of each generation of an actor: why it ended, in words.

use engine_core::action::NotedEnd;
use engine_core::record::ActorError;
use protocol::id::Generation;
use protocol::message::LogLevel;

pub fn line(generation: Generation, end: &NotedEnd) -> (LogLevel, String) {
    let (level, why) = match end {
        NotedEnd::Slept => (LogLevel::Info, "it sleeps".to_string()),
        NotedEnd::Moved => (LogLevel::Info, "it moves, to another version or to another runner".to_string()),
        NotedEnd::Destroyed => (LogLevel::Info, "it is destroyed".to_string()),
        NotedEnd::Crashed(Some(message)) => (LogLevel::Error, format!("it crashed: {message}")),
        NotedEnd::Crashed(None) => (LogLevel::Error, "it crashed, and its runner does not say why".to_string()),
        NotedEnd::NoRoom(message) => (LogLevel::Warn, format!("it did not start, for want of room: {message}")),
        NotedEnd::NotMigrated(message) => {
            (LogLevel::Warn, format!("its state was not migrated, and it goes on with the version that wrote it: {message}"))
        }
        NotedEnd::Lost(error) => (LogLevel::Error, format!("it is lost: {}", lost(error))),
    };
    (level, format!("generation {generation} ended: {why}"))
}

fn lost(error: &ActorError) -> String {
    match error {
        ActorError::NoEnvoys => "there is no runner for it".to_string(),
        ActorError::Crashed { message } => message.clone().unwrap_or_else(|| "it crashed".to_string()),
        ActorError::EnvoyNoResponse { envoy_key: Some(runner) } | ActorError::RunnerNoResponse { runner_id: runner } => {
            format!("its runner {runner} did not answer in time")
        }
        ActorError::EnvoyNoResponse { envoy_key: None } => "its runner did not answer in time".to_string(),
        ActorError::EnvoyConnectionLost { envoy_key: runner } | ActorError::RunnerConnectionLost { runner_id: runner } => {
            format!("the connection to its runner {runner} broke")
        }
        ActorError::NoCapacity => "its runner has no room".to_string(),
        ActorError::RunnerPoolError(error) => {
            let error = serde_json::to_string(error).unwrap_or_default();
            format!("its pool's URL could not start it: {error}")
        }
        ActorError::ConcurrentActorLimitReached => "its pool has as many actors as it may".to_string(),
    }
}

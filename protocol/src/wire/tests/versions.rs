//! Every message in every version: what is heard is what was said, except for what the version has no words for.

use super::{Message, decode, dialects, encode, examples};
use crate::wire::actor::*;
use crate::wire::envoy::*;
use crate::wire::kv::KvRequestData;
use crate::wire::sqlite::SqliteError;
use crate::wire::tunnel::*;
use crate::wire::version::Dialect::{self, Envoy, Runner};
use crate::wire::{EnvoyVersion, RunnerVersion, envoy};

#[test]
fn every_message_in_every_version() {
    let mut said = 0;
    for dialect in dialects() {
        for (name, message) in examples::all() {
            let Some(encoded) = encode(dialect, &message) else { continue };
            match (encoded, heard(dialect, message.clone())) {
                (Ok(bytes), Some(heard)) => {
                    assert_eq!(decode(dialect, message.to(), bytes.clone()), Ok(heard.clone()), "{name} in {dialect}");
                    assert_eq!(encode(dialect, &heard), Some(Ok(bytes)), "{name} in {dialect}");
                    said += 1;
                }
                (Err(error), None) => assert_eq!(error.language, dialect.into(), "{name}"),
                (result, heard) => panic!("{name} in {dialect}: {result:?}, and should be heard as {heard:?}"),
            }
        }
    }
    println!("{said} messages could be said");
    assert!(said > 500, "{said}");
}

#[test]
fn a_message_that_names_its_version() {
    for version in EnvoyVersion::all() {
        for (name, message) in examples::all() {
            let Message::ToEnvoy(message) = message else { continue };
            let Ok(plain) = encode_to_envoy(version, &message) else {
                assert!(encode_with_version(version, &message).is_err(), "{name}");
                continue;
            };
            let bytes = encode_with_version(version, &message).expect("without its version it can be said");
            assert_eq!(bytes[..2], version.number().to_le_bytes());
            assert_eq!(bytes[2..], plain);
            assert_eq!(decode_with_version(bytes), Ok((version, decode_to_envoy(version, plain).expect("it was just written"))));
        }
    }
    let rows: [(&'static [u8], &str); 4] = [
        (&[], "byte 0: 2 bytes should follow, 0 do"),
        (&[8], "byte 0: 2 bytes should follow, 1 do"),
        (&[2, 0, 5], "byte 0: envoy protocol 2 is not spoken here"),
        (&[8, 0, 5], "byte 3: 8 bytes should follow, 0 do"),
    ];
    for (bytes, error) in rows {
        assert_eq!(decode_with_version(bytes.into()).expect_err(error).to_string(), error);
    }
}

#[test]
fn what_a_version_cannot_say_is_named() {
    let version = |number| EnvoyVersion::new(number).expect("a version that is spoken here");
    let message = ToRivet::SqliteStageBegin {
        request_id: 1,
        data: crate::wire::sqlite::SqliteStageBegin { actor_id: "a".into(), expected_generation: None, expected_head_txid: None },
    };
    let error = envoy::encode_to_rivet(version(6), &message).expect_err("commits in stages came with 7");
    assert_eq!(error.to_string(), "envoy protocol 6 has no ToRivet::SqliteStageBegin");
    assert!(envoy::encode_to_rivet(version(7), &message).is_ok());
}

#[test]
fn versions_that_are_not_spoken() {
    let envoys: Vec<u16> = (0..100).filter(|number| EnvoyVersion::new(*number).is_some()).collect();
    let runners: Vec<u16> = (0..100).filter(|number| RunnerVersion::new(*number).is_some()).collect();
    assert_eq!((envoys, runners), (vec![3, 4, 5, 6, 7, 8], vec![4, 5, 6, 7]));
}

/// What the other side makes of a message, written down apart from the codec; None if it cannot be told.
fn heard(dialect: Dialect, message: Message) -> Option<Message> {
    Some(match message {
        Message::ToRivet(message) => Message::ToRivet(heard_by_engine(dialect, message)?),
        Message::ToEnvoy(message) => Message::ToEnvoy(heard_by_runner(dialect, message)?),
        Message::ClientInit(mut init) => {
            if older(dialect, 0, 6) {
                (init.actor_stop_threshold, init.serverless_drain_grace_period) = (0, None);
            }
            Message::ClientInit(init)
        }
        Message::ServerInit(init) => Message::ServerInit(init),
    })
}

fn heard_by_engine(dialect: Dialect, mut message: ToRivet) -> Option<ToRivet> {
    let runner = matches!(dialect, Runner(_));
    let unknown = match &mut message {
        ToRivet::Metadata { .. } => runner,
        ToRivet::AckCommands { last_command_checkpoints } => {
            forget_generations(dialect, last_command_checkpoints);
            false
        }
        ToRivet::KvRequest { data: KvRequestData::DeleteRange { .. }, .. } => older(dialect, 0, 7),
        ToRivet::Tunnel { message, .. } => match message {
            ToRivetTunnel::RequestBodyWindowUpdate { .. } | ToRivetTunnel::RequestBodyCancel => older(dialect, 8, 99),
            ToRivetTunnel::ResponseAbort { reason } if older(dialect, 8, 99) => {
                *reason = AbortReason { kind: AbortKind::Unknown, detail: None };
                false
            }
            _ => false,
        },
        ToRivet::SqliteGetPages { .. } | ToRivet::SqliteCommit { .. } => runner,
        ToRivet::SqliteExec { .. } | ToRivet::SqliteExecute { .. } => older(dialect, 4, 99),
        ToRivet::SqliteExecuteBatch { .. } => older(dialect, 6, 99),
        ToRivet::SqliteStageBegin { .. } | ToRivet::SqliteStageSegment { .. } | ToRivet::SqliteFinalize { .. } => {
            older(dialect, 7, 99)
        }
        ToRivet::Events { .. } | ToRivet::Stopping | ToRivet::Pong { .. } | ToRivet::KvRequest { .. } => false,
    };
    (!unknown).then_some(message)
}

fn heard_by_runner(dialect: Dialect, mut message: ToEnvoy) -> Option<ToEnvoy> {
    let runner = matches!(dialect, Runner(_));
    let unknown = match &mut message {
        ToEnvoy::Init { .. } => runner,
        ToEnvoy::AckEvents { last_event_checkpoints } => {
            forget_generations(dialect, last_event_checkpoints);
            false
        }
        ToEnvoy::Commands { commands } => {
            for command in commands.iter_mut().filter(|_| runner) {
                match &mut command.inner {
                    Command::StartActor { start } => start.preloaded_kv = None,
                    Command::StopActor { reason } => *reason = StopActorReason::StopIntent,
                }
            }
            false
        }
        ToEnvoy::Tunnel { message, .. } if older(dialect, 8, 99) => forget_generation(message),
        ToEnvoy::SqliteGetPages { result, .. } => {
            forget_head(dialect, result, |ok| ok.head_txid = None);
            runner
        }
        ToEnvoy::SqliteCommit { result, .. } => {
            forget_head(dialect, result, |ok| ok.head_txid = None);
            runner
        }
        ToEnvoy::SqliteExec { result, .. } => {
            forget_head(dialect, result, |_| {});
            older(dialect, 4, 99)
        }
        ToEnvoy::SqliteExecute { result, .. } => {
            forget_head(dialect, result, |_| {});
            older(dialect, 4, 99)
        }
        ToEnvoy::SqliteExecuteBatch { .. } => older(dialect, 6, 99),
        ToEnvoy::SqliteStageBegin { .. } | ToEnvoy::SqliteStageSegment { .. } | ToEnvoy::SqliteFinalize { .. } => {
            older(dialect, 7, 99)
        }
        ToEnvoy::Tunnel { .. } | ToEnvoy::KvResponse { .. } | ToEnvoy::Ping { .. } => false,
    };
    (!unknown).then_some(message)
}

/// True if there is no such message without exact generations.
fn forget_generation(message: &mut ToEnvoyTunnel) -> bool {
    match message {
        ToEnvoyTunnel::RequestStart { actor_generation, response_stream, .. } => {
            (*actor_generation, *response_stream) = (None, false);
        }
        ToEnvoyTunnel::RequestAbort { actor_id, actor_generation, reason } => {
            (*actor_id, *actor_generation) = (None, None);
            *reason = AbortReason { kind: AbortKind::Unknown, detail: None };
        }
        ToEnvoyTunnel::WebSocketOpen { actor_generation, .. } => *actor_generation = None,
        ToEnvoyTunnel::RequestBodyCancel | ToEnvoyTunnel::ResponseBodyWindowUpdate { .. } => return true,
        ToEnvoyTunnel::RequestChunk { .. } | ToEnvoyTunnel::WebSocketMessage { .. } | ToEnvoyTunnel::WebSocketClose { .. } => {}
    }
    false
}

fn forget_generations(dialect: Dialect, checkpoints: &mut [ActorCheckpoint]) {
    if older(dialect, 0, 5) {
        checkpoints.iter_mut().for_each(|checkpoint| checkpoint.generation = 0);
    }
}

fn forget_head<T>(dialect: Dialect, result: &mut Result<T, SqliteError>, forget: impl FnOnce(&mut T)) {
    if older(dialect, 5, 99) {
        match result {
            Ok(ok) => forget(ok),
            Err(error) => (error.group, error.code) = ("core".into(), "internal_error".into()),
        }
    }
}

fn older(dialect: Dialect, envoy: u16, runner: u16) -> bool {
    match dialect {
        Envoy(version) => version.number() < envoy,
        Runner(version) => version.number() < runner,
    }
}

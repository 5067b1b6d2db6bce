//! Whether what is said is what is heard: against bytes of the original, in every version, and with bytes of nobody.
//!
//! In reading order:
//! - [`examples`]: every message there is, with a name.
//! - [`golden`]: bytes that were recorded from the original.
//! - [`versions`]: every message in every version.
//! - [`interop`]: the bytes that the original's own codecs write.
//! - [`hostile`]: bytes that are no message, and many random ones.

mod examples;
mod golden;
mod hostile;
mod interop;
mod versions;

use bytes::Bytes;

use super::version::{CannotSay, Dialect, EnvoyVersion, RunnerVersion};
use super::{DecodeError, envoy, runner};

/// A message in either direction, of either protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Message {
    ToRivet(envoy::ToRivet),
    ToEnvoy(envoy::ToEnvoy),
    ServerInit(runner::ServerInit),
    ClientInit(runner::ClientInit),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Engine,
    Runner,
}

impl From<envoy::ToRivet> for Message {
    fn from(message: envoy::ToRivet) -> Message {
        Message::ToRivet(message)
    }
}

impl From<envoy::ToEnvoy> for Message {
    fn from(message: envoy::ToEnvoy) -> Message {
        Message::ToEnvoy(message)
    }
}

impl Message {
    fn to(&self) -> To {
        match self {
            Message::ToRivet(_) | Message::ServerInit(_) => To::Engine,
            Message::ToEnvoy(_) | Message::ClientInit(_) => To::Runner,
        }
    }
}

fn dialects() -> impl Iterator<Item = Dialect> {
    EnvoyVersion::all().map(Dialect::Envoy).chain(RunnerVersion::all().map(Dialect::Runner))
}

/// None where the question has no place: a runner's introduction in an envoy's protocol.
fn encode(dialect: Dialect, message: &Message) -> Option<Result<Bytes, CannotSay>> {
    Some(match (dialect, message.clone()) {
        (Dialect::Envoy(version), Message::ToRivet(message)) => envoy::encode_to_rivet(version, &message),
        (Dialect::Envoy(version), Message::ToEnvoy(message)) => envoy::encode_to_envoy(version, &message),
        (Dialect::Envoy(_), Message::ServerInit(_) | Message::ClientInit(_)) => return None,
        (Dialect::Runner(version), Message::ToRivet(message)) => {
            runner::encode_to_server(version, &runner::ToServer::Message(message))
        }
        (Dialect::Runner(version), Message::ToEnvoy(message)) => {
            runner::encode_to_client(version, &runner::ToClient::Message(message))
        }
        (Dialect::Runner(version), Message::ServerInit(init)) => runner::encode_to_server(version, &runner::ToServer::Init(init)),
        (Dialect::Runner(version), Message::ClientInit(init)) => runner::encode_to_client(version, &runner::ToClient::Init(init)),
    })
}

fn decode(dialect: Dialect, to: To, bytes: Bytes) -> Result<Message, DecodeError> {
    Ok(match (dialect, to) {
        (Dialect::Envoy(version), To::Engine) => Message::ToRivet(envoy::decode_to_rivet(version, bytes)?),
        (Dialect::Envoy(version), To::Runner) => Message::ToEnvoy(envoy::decode_to_envoy(version, bytes)?),
        (Dialect::Runner(version), To::Engine) => match runner::decode_to_server(version, bytes)? {
            runner::ToServer::Init(init) => Message::ServerInit(init),
            runner::ToServer::Message(message) => Message::ToRivet(message),
        },
        (Dialect::Runner(version), To::Runner) => match runner::decode_to_client(version, bytes)? {
            runner::ToClient::Init(init) => Message::ClientInit(init),
            runner::ToClient::Message(message) => Message::ToEnvoy(message),
        },
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits are ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hexadecimal digits")).collect()
}

//! Bytes from strangers: no panic, no more memory than the message is worth, and one encoding of every value.
//!
//! Random bytes, and valid messages with something changed. What can be read must be written back as the very same bytes.
//! `RIVET_WIRE_INPUTS` is how many are tried, `RIVET_WIRE_SEED` which ones.

use std::env;

use bytes::{Bytes, BytesMut};

use super::{Message, To, decode, dialects, encode, examples, unhex};
use crate::limits::WIRE_ITEMS_MAX;
use crate::wire::bare::{Reader, Wire};
use crate::wire::envoy::{ToEnvoy, ToRivet, decode_to_envoy, decode_to_rivet};
use crate::wire::runner::{ToClient, ToServer};
use crate::wire::sqlite::SqliteValue;
use crate::wire::tunnel::ToRivetTunnel;
use crate::wire::{Dialect, EnvoyVersion};

/// The smallest item on the wire is a `Null`, one byte; twice, because a list grows by doubling.
const MEMORY_PER_BYTE: usize = 2 * size_of::<SqliteValue>();
/// The first item of a list is reserved however little is left.
const MEMORY_OF_ONE_ITEM: usize = 256;

#[test]
fn what_is_no_message_is_refused_with_its_place() {
    let many = "ffffffffffffffff0f";
    let rows = [
        ("", "byte 0: 1 bytes should follow, 0 do"),
        ("0f", "byte 0: ToRivet has no member 15 in envoy protocol 8"),
        ("ffffffffffffffffff01", "byte 0: ToRivet has no member 18446744073709551615 in envoy protocol 8"),
        ("ffffffffffffffffff02", "byte 0: a varint is longer than its value needs, or than 64 bits"),
        ("ffffffffffffffffffff01", "byte 0: a varint is longer than its value needs, or than 64 bits"),
        ("8300", "byte 0: a varint is longer than its value needs, or than 64 bits"),
        ("0300", "byte 1: the message is complete, and 1 bytes follow"),
        ("04 00000000000000", "byte 1: 8 bytes should follow, 7 do"),
        ("00 02", "byte 1: a flag is 0 or 1, this is 2"),
        ("00 00 01 02c328", "byte 3: a text is not UTF-8"),
        ("00 00 01 0461", "byte 4: 4 bytes should follow, 1 do"),
        (&format!("00 00 01 {many}"), "byte 12: 1152921504606846975 bytes should follow, 0 do"),
        (&format!("01 {many}"), "byte 1: a list of 1152921504606846975 items cannot be in the 0 bytes that follow"),
        ("01 05 00000000", "byte 1: a list of 5 items cannot be in the 4 bytes that follow"),
        ("00 01 02 0161 00 0161 00 00", "byte 2: a map has the same key twice"),
        ("05 0161 01000000 09", "byte 7: KvRequestData has no member 9 in envoy protocol 8"),
        ("01 01 0161 01000000 0000000000000000 01 01 02", "byte 18: StopCode has no member 2 in envoy protocol 8"),
    ];
    for (bytes, error) in rows {
        let result = decode_to_rivet(EnvoyVersion::NEWEST, unhex(bytes));
        assert_eq!(result.map_err(|error| error.to_string()), Err(error.to_owned()), "{bytes}");
    }
}

#[test]
fn an_event_of_runner_protocol_4_names_one_actor() {
    let dialect = dialects().find(|dialect| dialect.to_string() == "runner protocol 4").expect("it is spoken here");
    let event = |actor: &str| unhex(&format!("01 01 0161 0000000000000000 00 {actor} 01000000 00"));
    assert!(decode(dialect, To::Engine, event("0161")).is_ok());
    let error = decode(dialect, To::Engine, event("0162")).expect_err("it is another");
    assert_eq!(error.to_string(), "byte 13: an event names another actor than its checkpoint does");
}

#[test]
fn a_count_reserves_no_more_than_the_message_is_worth() {
    // As many commands as bytes follow: could be, if a command were one byte.
    let message = unhex(&format!("01 e807 {}", "ff".repeat(1000)));
    assert!(!check(Dialect::Envoy(EnvoyVersion::NEWEST), To::Runner, message));
}

#[test]
fn a_message_has_a_limit_of_items() {
    // Rows without columns: one byte each, and 24 in memory.
    let message = |rows: usize| {
        let mut bytes = BytesMut::from(&unhex("0b 01000000 00 00")[..]);
        let mut rest = rows as u64;
        while rest >= 0x80 {
            bytes.extend_from_slice(&[rest as u8 | 0x80]);
            rest >>= 7;
        }
        bytes.extend_from_slice(&[rest as u8]);
        bytes.resize(bytes.len() + rows, 0);
        decode_to_envoy(EnvoyVersion::NEWEST, bytes.freeze())
    };
    assert!(message(WIRE_ITEMS_MAX).is_ok());
    let error = message(WIRE_ITEMS_MAX + 1).expect_err("one more than the limit");
    assert_eq!(error.to_string(), "byte 7: the lists of a message have at most 1048576 items together, these have more");
}

#[test]
fn a_body_is_a_slice_of_its_frame() {
    let frame = unhex("06 6d2d02ec 87b6ac67 0000 01 05 6368756e6b 01");
    let message = decode_to_rivet(EnvoyVersion::NEWEST, frame.clone()).expect("a chunk of a response");
    let ToRivet::Tunnel { message: ToRivetTunnel::ResponseChunk { body, .. }, .. } = message else {
        panic!("{message:?}");
    };
    assert_eq!(body, "chunk");
    assert_eq!(body.as_ptr(), frame[13..].as_ptr());
}

#[test]
fn random_bytes() {
    let number = |name, default| match env::var(name) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    };
    let (inputs, seed) = (number("RIVET_WIRE_INPUTS", 200_000), number("RIVET_WIRE_SEED", 1));
    println!("{inputs} inputs, RIVET_WIRE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let valid = valid_messages();
    let mut understood = 0u64;
    for _ in 0..inputs {
        let (dialect, to, bytes) = &valid[random.usize(..valid.len())];
        let input = match random.u8(..10) {
            0 => (0..random.usize(..200)).map(|_| random.u8(..)).collect(),
            _ => mutated(&mut random, bytes, &valid),
        };
        // Sometimes as what it was not: the other direction, or another version.
        let (dialect, to) = match random.u8(..8) {
            0 => (*dialect, if *to == To::Engine { To::Runner } else { To::Engine }),
            1 => (valid[random.usize(..valid.len())].0, *to),
            _ => (*dialect, *to),
        };
        understood += u64::from(check(dialect, to, Bytes::from(input)));
    }
    println!("{understood} of them were messages");
    assert!(understood > inputs / 20, "{understood} of {inputs}: what is tried is too far from a message");
}

/// Whether it was a message.
fn check(dialect: Dialect, to: To, input: Bytes) -> bool {
    let allocated = match (dialect, to) {
        (Dialect::Envoy(_), To::Engine) => allocated::<ToRivet>(dialect, &input),
        (Dialect::Envoy(_), To::Runner) => allocated::<ToEnvoy>(dialect, &input),
        (Dialect::Runner(_), To::Engine) => allocated::<ToServer>(dialect, &input),
        (Dialect::Runner(_), To::Runner) => allocated::<ToClient>(dialect, &input),
    };
    assert!(allocated <= MEMORY_PER_BYTE * input.len() + MEMORY_OF_ONE_ITEM, "{allocated} bytes for {input:?} in {dialect}");
    let Ok(message) = decode(dialect, to, input.clone()) else { return false };
    let same_side = matches!(&message, Message::ToRivet(_) | Message::ServerInit(_)) == (to == To::Engine);
    assert!(same_side, "{message:?}");
    assert_eq!(encode(dialect, &message), Some(Ok(input)), "{message:?} in {dialect}");
    true
}

fn allocated<T: Wire>(dialect: Dialect, input: &Bytes) -> usize {
    let mut reader = Reader::new(dialect, input.clone());
    let _ = T::read(&mut reader);
    reader.allocated
}

fn valid_messages() -> Vec<(Dialect, To, Bytes)> {
    let examples = examples::all();
    let all = dialects().flat_map(|dialect| examples.iter().map(move |(_, message)| (dialect, message)));
    all.filter_map(|(dialect, message)| Some((dialect, message.to(), encode(dialect, message)?.ok()?))).collect()
}

fn mutated(random: &mut fastrand::Rng, bytes: &[u8], valid: &[(Dialect, To, Bytes)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len().max(1)).min(bytes.len());
        match random.u8(..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            // Small numbers are tags, flags and lengths.
            4 if at < bytes.len() => bytes[at] = random.u8(..4),
            // A varint of any size, where a count may be.
            5 => {
                let long = [[0xff; 9].as_slice(), &[random.u8(..3)]].concat();
                let _ = bytes.splice(at..at, long[random.usize(..long.len())..].iter().copied());
            }
            _ => {
                let other = &valid[random.usize(..valid.len())].2;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(..other.len())..]);
            }
        }
    }
    bytes
}

//! Bytes from strangers: no panic, no more memory than the message is worth, and one encoding of every value.
//!
//! The same as for Rivet's protocols, and with the same variables: `RIVET_WIRE_INPUTS` and `RIVET_WIRE_SEED`.

use std::env;

use super::generate::Generate;
use super::*;
use crate::message::KvEntry;
use crate::wire::bare::{Reader, Wire};
use crate::wire::tests::unhex;

/// The largest thing in memory that is one byte on the wire is a key that was not found; twice, because a list grows by doubling.
const MEMORY_PER_BYTE: usize = 2 * size_of::<Option<KvEntry>>();
/// The first item of a list is reserved however little is left.
const MEMORY_OF_ONE_ITEM: usize = 512;

#[test]
fn what_is_no_message_is_refused_with_its_place() {
    let request = "0000000000000000";
    let rows = [
        (String::new(), "byte 0: 1 bytes should follow, 0 do"),
        ("14".to_string(), "byte 0: FromRunner has no member 20 in components protocol 3"),
        ("0100".to_string(), "byte 1: the message is complete, and 1 bytes follow"),
        (format!("00 02{}", "00".repeat(18)), "byte 1: this is not an id"),
        (format!("02 {request} 6300 00 00 00"), "byte 9: this is not a status"),
        (format!("02 {request} c800 01 0141 01 00 00 00"), "byte 11: this is not a header's name in lower case"),
        (format!("02 {request} c800 01 0161 00 00 00"), "byte 11: this is not a header with a value"),
        (format!("02 {request} c800 01 0161 01 010a 00 00"), "byte 11: this is not a header's value"),
        (format!("02 {request} c800 02 0161 01 00 0161 01 00 00 00"), "byte 11: a map has the same key twice"),
        (format!("10 {}", "00".repeat(31)), "byte 1: 32 bytes should follow, 31 do"),
    ];
    for (bytes, error) in rows {
        let result = decode_from_components(VERSION, unhex(&bytes));
        assert_eq!(result.map(drop).map_err(|error| error.to_string()), Err(error.to_owned()), "{bytes}");
    }
}

#[test]
fn the_keys_of_a_map_ascend() {
    use std::collections::BTreeMap;
    let map = |bytes: &str| bare::decode::<BTreeMap<String, String>>(VERSION, unhex(bytes)).map_err(|error| error.to_string());
    assert_eq!(map("02 0161 00 0162 00").map(|map| map.len()), Ok(2));
    assert_eq!(map("02 0162 00 0161 00"), Err("byte 0: this is not a map whose keys ascend".to_string()));
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
    let mut understood = 0u64;
    for _ in 0..inputs {
        let to_engine = random.bool();
        let one = valid(&mut random, to_engine);
        let input = match random.u8(..10) {
            0 => (0..random.usize(..200)).map(|_| random.u8(..)).collect(),
            _ => {
                let other = valid(&mut random, to_engine);
                mutated(&mut random, one, &other)
            }
        };
        // Sometimes as what it was not.
        let to_engine = if random.u8(..8) == 0 { !to_engine } else { to_engine };
        let input = Bytes::from(input);
        understood += u64::from(match to_engine {
            true => check(&input, decode_from_components, encode_from_components),
            false => check(&input, decode_to_components, encode_to_components),
        });
    }
    println!("{understood} of them were messages");
    assert!(understood > inputs / 20, "{understood} of {inputs}: what is tried is too far from a message");
}

fn valid(random: &mut fastrand::Rng, to_engine: bool) -> Bytes {
    let bytes = match to_engine {
        true => encode_from_components(VERSION, &FromRunner::generate(random)),
        false => encode_to_components(VERSION, &ToComponents::generate(random)),
    };
    bytes.expect("whatever is generated can be said")
}

/// Whether it was a message.
fn check<T: Wire + std::fmt::Debug>(
    input: &Bytes,
    decode: impl Fn(ComponentsVersion, Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(ComponentsVersion, &T) -> Result<Bytes, CannotSay>,
) -> bool {
    let mut reader = Reader::new(VERSION, input.clone());
    let _ = T::read(&mut reader);
    let allocated = reader.allocated;
    assert!(allocated <= MEMORY_PER_BYTE * input.len() + MEMORY_OF_ONE_ITEM, "{allocated} bytes for {input:?}");
    let Ok(message) = decode(VERSION, input.clone()) else { return false };
    assert_eq!(encode(VERSION, &message).as_ref(), Ok(input), "{message:?}");
    true
}

fn mutated(random: &mut fastrand::Rng, bytes: Bytes, other: &[u8]) -> Vec<u8> {
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
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(..other.len())..]);
            }
        }
    }
    bytes
}

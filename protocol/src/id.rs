//! Ids: 19 bytes, written as 30 lower-case base-36 digits.
//!
//! The layout is Rivet's: a version byte (1), 16 random bytes, and the datacenter's label as two big-endian bytes. As text it is
//! the little-endian integer of those bytes, least significant digit first. What we add: the last of the random bytes says
//! which partition an actor belongs to, so an id alone finds the actor's place on disk.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::PARTITIONS;

const VERSION: u8 = 1;
const TEXT_LEN: usize = 30;
/// Where the random part says which partition; see [`Id::partition`].
const PARTITION_BYTE: usize = 16;

/// A number below [`PARTITIONS`]: which slice of the store something belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Partition(u8);

impl Partition {
    pub fn new(number: u8) -> Option<Partition> {
        (number < PARTITIONS).then_some(Partition(number))
    }

    /// Where a keyed actor lives: the same for the same name and key for ever, so that get-or-create needs one partition only.
    pub fn of_key(namespace: Id, name: &str, key: &str) -> Partition {
        // FNV-1a, then a mix of the high bits into the low ones. It is on disk: never change it.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        take(&namespace.0);
        take(&(name.len() as u64).to_le_bytes());
        take(name.as_bytes());
        take(key.as_bytes());
        hash ^= hash >> 32;
        Partition((hash % u64::from(PARTITIONS)) as u8)
    }

    pub fn all() -> impl Iterator<Item = Partition> {
        (0..PARTITIONS).map(Partition)
    }

    pub fn number(self) -> u8 {
        self.0
    }
}

/// The id of an actor or a namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id([u8; 19]);

/// Ids of actors and of namespaces share one format; these names say which is meant.
pub type ActorId = Id;
pub type NamespaceId = Id;

impl Id {
    /// From random bytes; the version and variant bits of a UUIDv4 are set here.
    pub fn new(random: [u8; 16], datacenter_label: u16) -> Id {
        let mut bytes = [0; 19];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(&random);
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[9] = bytes[9] & 0x3f | 0x80;
        bytes[17..].copy_from_slice(&datacenter_label.to_be_bytes());
        Id(bytes)
    }

    /// The same id, moved into a partition.
    pub fn in_partition(mut self, partition: Partition) -> Id {
        self.0[PARTITION_BYTE] = self.0[PARTITION_BYTE] / PARTITIONS * PARTITIONS + partition.0;
        self
    }

    pub fn partition(self) -> Partition {
        Partition(self.0[PARTITION_BYTE] % PARTITIONS)
    }

    pub fn datacenter_label(self) -> u16 {
        u16::from_be_bytes([self.0[17], self.0[18]])
    }

    pub fn as_bytes(&self) -> &[u8; 19] {
        &self.0
    }

    pub fn from_bytes(bytes: [u8; 19]) -> Result<Id, InvalidId> {
        match bytes[0] {
            VERSION => Ok(Id(bytes)),
            other => Err(InvalidId::Version(other)),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limbs = [0u32; 5];
        for (at, byte) in self.0.iter().enumerate() {
            limbs[at / 4] |= u32::from(*byte) << (at % 4 * 8);
        }
        let mut text = [0u8; TEXT_LEN];
        for digit in &mut text {
            let mut rest = 0u64;
            for limb in limbs.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 36) as u32;
                rest = value % 36;
            }
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[rest as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("base-36 digits are ASCII"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Id, InvalidId> {
        if text.len() != TEXT_LEN {
            return Err(InvalidId::Length(text.len()));
        }
        let mut limbs = [0u32; 5];
        for digit in text.bytes().rev() {
            let mut carry = match digit {
                b'0'..=b'9' => u64::from(digit - b'0'),
                b'a'..=b'z' => u64::from(digit - b'a') + 10,
                _ => return Err(InvalidId::Digit),
            };
            for limb in &mut limbs {
                let value = u64::from(*limb) * 36 + carry;
                *limb = value as u32;
                carry = value >> 32;
            }
            if carry != 0 {
                return Err(InvalidId::TooLarge);
            }
        }
        if limbs[4] >> 24 != 0 {
            return Err(InvalidId::TooLarge);
        }
        let mut bytes = [0u8; 19];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (limbs[at / 4] >> (at % 4 * 8)) as u8;
        }
        Id::from_bytes(bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidId {
    Length(usize),
    Digit,
    TooLarge,
    Version(u8),
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidId::Length(len) => write!(f, "an id has {TEXT_LEN} characters, this has {len}"),
            InvalidId::Digit => f.write_str("an id has only the characters 0-9 and a-z"),
            InvalidId::TooLarge => f.write_str("the id is larger than 19 bytes can say"),
            InvalidId::Version(version) => write!(f, "ids of version {version} are not known here, only version {VERSION}"),
        }
    }
}

impl std::error::Error for InvalidId {}

/// One request that a client made through the gateway; unique while the engine process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// One runner's connection; unique while the engine process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunnerId(pub u64);

/// Which start of an actor. 0 before the first one.
pub type Generation = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_id() {
        for seed in 0..=255u8 {
            let id = Id::new([seed; 16], u16::from(seed) * 257);
            let text = id.to_string();
            assert_eq!(text.len(), TEXT_LEN);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(id.datacenter_label(), u16::from(seed) * 257);
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        let long = "0".repeat(31);
        let max = "z".repeat(30);
        let rows = [
            ("", InvalidId::Length(0)),
            ("abc", InvalidId::Length(3)),
            (&long, InvalidId::Length(31)),
            (&max, InvalidId::TooLarge),
            ("00000000000000000000000000000A", InvalidId::Digit),
            ("000000000000000000000000000000", InvalidId::Version(0)),
            ("200000000000000000000000000000", InvalidId::Version(2)),
            ("ö0000000000000000000000000000", InvalidId::Digit),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Id>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_id_knows_its_partition() {
        for partition in Partition::all() {
            for seed in [0, 1, 63, 64, 200, 255] {
                assert_eq!(Id::new([seed; 16], 1).in_partition(partition).partition(), partition);
            }
        }
    }

    #[test]
    fn keys_spread_over_the_partitions_and_stay_there() {
        let namespace = Id::new([7; 16], 1);
        // On disk for ever: if this number changes, existing actors cannot be found.
        assert_eq!(Partition::of_key(namespace, "counter", "a").number(), 38);
        let mut seen = [0u32; PARTITIONS as usize];
        for number in 0..6400 {
            seen[usize::from(Partition::of_key(namespace, "counter", &number.to_string()).number())] += 1;
        }
        assert!(seen.iter().all(|count| (50..200).contains(count)), "{seen:?}");
    }
}

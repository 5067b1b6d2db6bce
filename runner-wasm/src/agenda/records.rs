//! What the runner keeps for an actor in its own key space: the one table of keys, and the values.
//!
//! | key | value |
//! |---|---|
//! | `0x01 'a'` | the guest's alarm, while it is not the only thing on the agenda |
//! | `0x01 'q'` | when the queue is to be looked at, while there is something in it |
//! | `0x01 's'` id | a schedule |
//! | `0x02` | the ends of the queue |
//! | `0x03` number, 8 bytes, big-endian | a message of the queue |
//! | `c/` … | connections; see `sockets::record` |
//!
//! A value begins with a byte that says which version of its layout follows.

use bytes::Bytes;
use protocol::message::KvRange;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Alarm, Retry, Schedule};

pub const ALARM: &[u8] = b"\x01a";
pub const QUEUE: &[u8] = b"\x01q";
const SCHEDULES: &[u8] = b"\x01s";
pub const QUEUE_ENDS: &[u8] = b"\x02";
const QUEUE_MESSAGE: u8 = 3;

const LAYOUT: u8 = 1;

/// All of the agenda.
pub fn agenda() -> KvRange {
    KvRange::prefix(Bytes::from_static(b"\x01"))
}

pub fn schedule(id: &str) -> Vec<u8> {
    [SCHEDULES, id.as_bytes()].concat()
}

pub fn queue_message(number: u64) -> Vec<u8> {
    [&[QUEUE_MESSAGE][..], &number.to_be_bytes()].concat()
}

/// An entry of the agenda.
pub enum Entry {
    Alarm(Alarm),
    Queue(Retry),
    Schedule(String, Schedule),
}

/// None for what this version cannot read.
pub fn entry(key: &[u8], value: &[u8]) -> Option<Entry> {
    if key == ALARM {
        return decode(value).map(Entry::Alarm);
    }
    if key == QUEUE {
        return decode(value).map(Entry::Queue);
    }
    let id = std::str::from_utf8(key.strip_prefix(SCHEDULES)?).ok()?;
    Some(Entry::Schedule(id.to_string(), decode(value)?))
}

/// The numbers of a queue's messages: from `first` up to but not including `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueEnds {
    pub first: u64,
    pub next: u64,
    /// Of their names and bodies.
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueMessage {
    pub name: String,
    pub body: String,
    pub queued_ms: u64,
}

impl QueueMessage {
    pub fn bytes(&self) -> u64 {
        (self.name.len() + self.body.len()) as u64
    }
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, and of types that have no way to fail.
    postcard::to_extend(value, vec![LAYOUT]).expect("numbers and texts can be encoded")
}

pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (layout, rest) = value.split_first()?;
    (*layout == LAYOUT).then(|| postcard::from_bytes(rest).ok()).flatten()
}

//! How each value is laid out: a version byte first, then the rest.
//!
//! A record is [postcard] of the struct in `engine_core::record`: fields in order, no names. So a field that is added to such a
//! struct changes the layout, and the fixtures in `tests/layout.rs` fail. Then: the struct as it was moves to `older.rs` under a name
//! with its version, `of_version` reads that version into the new struct, the version is raised, and a fixture of it is added.
//! Fixtures that exist are never changed: a data directory out there is made of them.
//! Bytes that are no record are an error here, never a panic; a version above ours says so by itself.

use bytes::Bytes;
use engine_core::record::{
    ActorRecord, AuditRecord, DatabaseHead, DeploymentRecord, HeldBack, NamespaceRecord, NamespaceUsage, RunnerConfigRecord,
    StoredBytes, TokenRecord,
};
use protocol::database::PAGE_BYTES;
use protocol::id::ActorId;
use protocol::limits::PARTITIONS;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::format;
use crate::keys;
use crate::older::{ActorRecordV1, ActorRecordV2, DeploymentRecordV1, DeploymentRecordV2, DeploymentRecordV3, NamespaceRecordV1};

/// Of the directory as a whole: the table of keys, and the versions of all records. Whatever an engine of before could not read
/// raises it, so that such an engine says so when it starts, and not in the middle: see `format.rs`.
///
/// 2: says which engine wrote last; counts what actors and namespaces store; namespaces have quotas, and limits are more.
/// 3: versions say how many requests of each actor are recorded.
pub const FORMAT_VERSION: u8 = 3;

/// Of the values that are not structs.
const VALUE_VERSION: u8 = 1;

/// What an entry of an actor's KV has before the user's value: version and time of update.
pub const KV_VALUE_OVERHEAD_BYTES: usize = 9;

/// A struct that is persisted.
pub trait Record: Serialize + DeserializeOwned {
    const VERSION: u8;
    /// For the text of an error.
    const WHAT: &'static str;

    /// What a record of an earlier version says.
    fn of_version(version: u8, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        let _ = (version, bytes);
        None
    }
}

impl Record for ActorRecord {
    const VERSION: u8 = 3;
    const WHAT: &'static str = "the record of an actor";

    fn of_version(version: u8, bytes: &[u8]) -> Option<postcard::Result<(ActorRecord, &[u8])>> {
        match version {
            1 => Some(take_older::<ActorRecordV1, _>(bytes)),
            2 => Some(take_older::<ActorRecordV2, _>(bytes)),
            _ => None,
        }
    }
}

impl Record for NamespaceRecord {
    const VERSION: u8 = 2;
    const WHAT: &'static str = "the record of a namespace";

    fn of_version(version: u8, bytes: &[u8]) -> Option<postcard::Result<(NamespaceRecord, &[u8])>> {
        (version == 1).then(|| take_older::<NamespaceRecordV1, _>(bytes))
    }
}

impl Record for RunnerConfigRecord {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the configuration of a pool's runners";
}

impl Record for DatabaseHead {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the head of an actor's database";
}

impl Record for DeploymentRecord {
    const VERSION: u8 = 4;
    const WHAT: &'static str = "the record of a deployment";

    fn of_version(version: u8, bytes: &[u8]) -> Option<postcard::Result<(DeploymentRecord, &[u8])>> {
        match version {
            1 => Some(take_older::<DeploymentRecordV1, _>(bytes)),
            2 => Some(take_older::<DeploymentRecordV2, _>(bytes)),
            3 => Some(take_older::<DeploymentRecordV3, _>(bytes)),
            _ => None,
        }
    }
}

impl Record for TokenRecord {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the record of a token";
}

impl Record for AuditRecord {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "an entry of the audit log";
}

impl Record for HeldBack {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the note that an actor is held back";
}

impl Record for StoredBytes {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what an actor has stored";
}

impl Record for NamespaceUsage {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what a namespace has stored";
}

fn take_older<Old: DeserializeOwned + Into<New>, New>(bytes: &[u8]) -> postcard::Result<(New, &[u8])> {
    postcard::take_from_bytes(bytes).map(|(record, rest): (Old, _)| (record.into(), rest))
}

pub fn encode<R: Record>(record: &R) -> Bytes {
    let bytes = postcard::to_extend(record, vec![R::VERSION]).expect("writing plain fields to memory cannot fail");
    bytes.into()
}

pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    let older = bytes.split_first().and_then(|(version, rest)| R::of_version(*version, rest));
    let read = match older {
        Some(read) => read,
        None => postcard::take_from_bytes(after_version(bytes, R::VERSION, R::WHAT)?),
    };
    match read {
        Ok((record, [])) => Ok(record),
        Ok((_, more)) => Err(damaged(R::WHAT, &format!("{} bytes too many", more.len()))),
        Err(error) => Err(damaged(R::WHAT, &error.to_string())),
    }
}

pub fn format(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number, PARTITIONS])
}

/// The number of the format, if it is one that we know; else the error names the engine that knows it.
pub fn parse_format(bytes: &[u8], engine: Option<&str>) -> Result<u8, StoreError> {
    const WHAT: &str = "the format of the data directory";
    match bytes {
        [] => Err(damaged(WHAT, "it is empty")),
        [0, ..] => Err(damaged(WHAT, "there never was a version 0")),
        // What lies behind the number is that format's business.
        [number, ..] if *number > FORMAT_VERSION => Err(StoreError::NewerFormat {
            what: engine.map_or_else(
                || "the data directory".to_owned(),
                |engine| format!("the data directory, written by engine {engine},"),
            ),
            found: u32::from(*number),
            known: u32::from(FORMAT_VERSION),
        }),
        [number, PARTITIONS] => Ok(*number),
        [_, other] => Err(damaged(WHAT, &format!("it has {other} partitions, and there are always {PARTITIONS}"))),
        [_, rest @ ..] => Err(damaged(WHAT, &format!("{} bytes where there is 1", rest.len()))),
    }
}

pub fn engine_version(engine: &str) -> Bytes {
    format::engine_bytes(VALUE_VERSION, engine)
}

pub fn parse_engine_version(value: &[u8]) -> Result<String, StoreError> {
    const WHAT: &str = "the note which engine wrote last";
    let rest = after_version(value, VALUE_VERSION, WHAT)?;
    format::engine_text(rest).ok_or_else(|| damaged(WHAT, "it is no version"))
}

/// The value of a key that says all there is to say.
pub fn marker() -> Bytes {
    Bytes::from_static(&[VALUE_VERSION])
}

pub fn input(input: &[u8]) -> Bytes {
    [&[VALUE_VERSION], input].concat().into()
}

pub fn parse_input(value: &Bytes) -> Result<Bytes, StoreError> {
    after_version(value, VALUE_VERSION, "an actor's input").map(|rest| value.slice_ref(rest))
}

pub fn reservation(actor: ActorId) -> Bytes {
    [&[VALUE_VERSION], &actor.as_bytes()[..]].concat().into()
}

pub fn parse_reservation(value: &[u8]) -> Result<ActorId, StoreError> {
    const WHAT: &str = "the reservation of a key";
    let rest = after_version(value, VALUE_VERSION, WHAT)?;
    keys::read_id(rest).ok_or_else(|| damaged(WHAT, "it names no actor"))
}

pub fn page(bytes: &[u8]) -> Bytes {
    [&[VALUE_VERSION], bytes].concat().into()
}

pub fn parse_page(value: &Bytes) -> Result<Bytes, StoreError> {
    const WHAT: &str = "a page of an actor's database";
    match after_version(value, VALUE_VERSION, WHAT)? {
        page if page.len() == PAGE_BYTES => Ok(value.slice_ref(page)),
        other => Err(damaged(WHAT, &format!("it has {} bytes and not {PAGE_BYTES}", other.len()))),
    }
}

pub fn actor_name_metadata(json: &str) -> Bytes {
    [&[VALUE_VERSION], json.as_bytes()].concat().into()
}

pub fn parse_actor_name_metadata(value: &[u8]) -> Result<String, StoreError> {
    const WHAT: &str = "the metadata of an actor name";
    let rest = after_version(value, VALUE_VERSION, WHAT)?;
    String::from_utf8(rest.to_vec()).map_err(|error| damaged(WHAT, &error.to_string()))
}

pub fn kv(update_ms: u64, value: &[u8]) -> Bytes {
    [&[VALUE_VERSION], &update_ms.to_be_bytes()[..], value].concat().into()
}

/// The user's value and when it was written.
pub fn parse_kv(value: &Bytes) -> Result<(Bytes, u64), StoreError> {
    const WHAT: &str = "an entry of an actor's KV";
    let rest = after_version(value, VALUE_VERSION, WHAT)?;
    let (update_ms, rest) = rest.split_first_chunk().ok_or_else(|| damaged(WHAT, "it ends too early"))?;
    Ok((value.slice_ref(rest), u64::from_be_bytes(*update_ms)))
}

/// An actor's place in the list of its name; with its key, so that looking for one need not read records.
pub fn listing(key: Option<&str>) -> Bytes {
    match key {
        None => Bytes::from_static(&[VALUE_VERSION, 0]),
        Some(key) => [&[VALUE_VERSION, 1], key.as_bytes()].concat().into(),
    }
}

pub fn parse_listing(value: &[u8]) -> Result<Option<&str>, StoreError> {
    const WHAT: &str = "an actor in the list of its name";
    match after_version(value, VALUE_VERSION, WHAT)? {
        [0] => Ok(None),
        [1, key @ ..] => std::str::from_utf8(key).map(Some).map_err(|error| damaged(WHAT, &error.to_string())),
        _ => Err(damaged(WHAT, "it is neither with nor without a key")),
    }
}

fn after_version<'a>(bytes: &'a [u8], known: u8, what: &str) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((version, rest)) if *version == known => Ok(rest),
        Some((version, _)) if *version > known => {
            Err(StoreError::NewerFormat { what: what.to_owned(), found: u32::from(*version), known: u32::from(known) })
        }
        Some((version, _)) => Err(damaged(what, &format!("there never was a version {version}"))),
        None => Err(damaged(what, "it is empty")),
    }
}

fn damaged(what: &str, how: &str) -> StoreError {
    StoreError::corrupt(format!("{what}: {how}"))
}

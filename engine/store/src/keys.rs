//! The one table of keys.
//!
//! | key | layout | value |
//! |---|---|---|
//! | format | `meta/format` | format of the directory, number of partitions |
//! | engine that wrote last | `meta/writer` | version, text |
//! | namespace | `n` namespace | [`NamespaceRecord`] |
//! | deployment | `d` namespace, name | [`DeploymentRecord`] |
//! | runner config | `r` namespace, pool | [`RunnerConfigRecord`] |
//! | token | `s` id | [`TokenRecord`] |
//! | entry of the audit log | `e` number | [`AuditRecord`] |
//! | actor name | `a` namespace, name | version |
//! | metadata of an actor name | `m` namespace, name | version, JSON text |
//! | actor | `p` partition `a` actor | [`ActorRecord`] |
//! | input | `p` partition `i` actor | version, bytes |
//! | reservation of a key | `p` partition `k` namespace, length of name, name, key | version, actor |
//! | alarm | `p` partition `t` fire_ms, actor | version |
//! | awake | `p` partition `w` actor | version |
//! | entry of an actor's KV | `p` partition `v` actor, user key | version, update_ms, bytes |
//! | what the runner of a component keeps for its actor | `p` partition `u` actor, key | as above |
//! | head of an actor's database | `p` partition `h` actor | [`DatabaseHead`] |
//! | page of an actor's database | `p` partition `g` actor, number | version, bytes |
//! | actor that is held back at an older version | `p` partition `b` namespace, length of name, name, actor | [`HeldBack`] |
//! | what an actor has stored | `p` partition `s` actor | [`StoredBytes`] |
//! | what a namespace has in this partition | `p` partition `q` namespace | [`NamespaceUsage`] |
//! | actor that is being imported: what is staged under its id is nobody's yet | `p` partition `j` actor | version |
//! | both of these are counted | `meta/counted` | version |
//! | living actor, by name | `p` partition `l` namespace, length of name, name, descending create_ms, actor | version, key |
//! | destroyed actor, by name | `p` partition `o` as above | version, key |
//!
//! One letter is one byte, and so is the partition. Ids are 19 bytes, times and numbers of entries 8 bytes big-endian, lengths and page numbers 4 bytes big-endian;
//! descending means with all bits turned, so that the newest comes first. A name or a key at the end has no length: it is
//! the rest, which keeps names alphabetical. Everything about an actor lies under its partition's prefix, so that a partition
//! can have one writer. All of it is on disk: a layout that is here never changes, a new one gets a new letter.
//!
//! [`RunnerConfigRecord`]: engine_core::record::RunnerConfigRecord
//! [`TokenRecord`]: engine_core::record::TokenRecord
//! [`AuditRecord`]: engine_core::record::AuditRecord
//! [`DatabaseHead`]: engine_core::record::DatabaseHead
//! [`HeldBack`]: engine_core::record::HeldBack
//! [`StoredBytes`]: engine_core::record::StoredBytes
//! [`NamespaceUsage`]: engine_core::record::NamespaceUsage
//! [`NamespaceRecord`]: engine_core::record::NamespaceRecord
//! [`DeploymentRecord`]: engine_core::record::DeploymentRecord
//! [`ActorRecord`]: engine_core::record::ActorRecord

use engine_core::input::KeyRef;
use engine_core::record::Listed;
use protocol::id::{ActorId, Id, NamespaceId, Partition};
use protocol::message::{KvRange, KvSpace};

use crate::error::{StoreError, hex};

pub const FORMAT: &[u8] = b"meta/format";
pub const WRITER: &[u8] = b"meta/writer";
const META: &[u8] = b"meta/";
pub const COUNTED: &[u8] = b"meta/counted";

const NAMESPACE: u8 = b'n';
const DEPLOYMENT: u8 = b'd';
const ACTOR_NAME: u8 = b'a';
const ACTOR_NAME_METADATA: u8 = b'm';
const RUNNER_CONFIG: u8 = b'r';
const TOKEN: u8 = b's';
const AUDIT: u8 = b'e';
const PARTITION: u8 = b'p';

/// The third byte of a key in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Actor = b'a',
    Input = b'i',
    Reservation = b'k',
    Alarm = b't',
    Awake = b'w',
    Kv = b'v',
    RunnerKv = b'u',
    DatabaseHead = b'h',
    Page = b'g',
    HeldBack = b'b',
    Stored = b's',
    Usage = b'q',
    Importing = b'j',
    LivingByName = b'l',
    DestroyedByName = b'o',
}

/// What a key is the key of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// About the directory itself.
    Meta,
    Namespace,
    Deployment,
    RunnerConfig,
    ActorName,
    ActorNameMetadata,
    Token,
    Audit,
    /// In a partition.
    Of(Kind),
    Unknown,
}

const KINDS: [Kind; 15] = [
    Kind::Actor,
    Kind::Input,
    Kind::Reservation,
    Kind::Alarm,
    Kind::Awake,
    Kind::Kv,
    Kind::RunnerKv,
    Kind::DatabaseHead,
    Kind::Page,
    Kind::HeldBack,
    Kind::Stored,
    Kind::Usage,
    Kind::Importing,
    Kind::LivingByName,
    Kind::DestroyedByName,
];

pub fn place(key: &[u8]) -> Place {
    match key {
        // Before the metadata of names, which begins with the same letter and an id.
        key if key.starts_with(META) => Place::Meta,
        [NAMESPACE, ..] => Place::Namespace,
        [DEPLOYMENT, ..] => Place::Deployment,
        [RUNNER_CONFIG, ..] => Place::RunnerConfig,
        [ACTOR_NAME, ..] => Place::ActorName,
        [ACTOR_NAME_METADATA, ..] => Place::ActorNameMetadata,
        [TOKEN, ..] => Place::Token,
        [AUDIT, ..] => Place::Audit,
        [PARTITION, _, letter, ..] => {
            KINDS.iter().find(|kind| **kind as u8 == *letter).map_or(Place::Unknown, |kind| Place::Of(*kind))
        }
        _ => Place::Unknown,
    }
}

/// Of a key that begins with its actor's id, as those of its state do.
pub fn actor_of(key: &[u8]) -> Result<ActorId, StoreError> {
    id_at(key, PARTITION_PREFIX_BYTES).ok_or_else(|| damaged("what belongs to an actor", key))
}

pub(crate) const ID_BYTES: usize = 19;
const MS_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// `p`, partition, kind.
pub const PARTITION_PREFIX_BYTES: usize = 3;
/// What the key of an entry of an actor's KV has before the user's key.
pub const KV_PREFIX_BYTES: usize = PARTITION_PREFIX_BYTES + ID_BYTES;

/// From the first up to but not including the second.
pub type KeyRange = (Vec<u8>, Vec<u8>);

pub fn namespace(id: NamespaceId) -> Vec<u8> {
    global(NAMESPACE, &[id.as_bytes()])
}

pub fn namespaces() -> KeyRange {
    under(vec![NAMESPACE])
}

pub fn deployment(namespace: NamespaceId, name: &str) -> Vec<u8> {
    global(DEPLOYMENT, &[namespace.as_bytes(), name.as_bytes()])
}

pub fn deployments() -> KeyRange {
    under(vec![DEPLOYMENT])
}

pub fn runner_config(namespace: NamespaceId, pool: &str) -> Vec<u8> {
    global(RUNNER_CONFIG, &[namespace.as_bytes(), pool.as_bytes()])
}

pub fn runner_configs() -> KeyRange {
    under(vec![RUNNER_CONFIG])
}

pub fn token(id: &str) -> Vec<u8> {
    global(TOKEN, &[id.as_bytes()])
}

pub fn tokens() -> KeyRange {
    under(vec![TOKEN])
}

pub fn audit(number: u64) -> Vec<u8> {
    global(AUDIT, &[&number.to_be_bytes()])
}

/// All entries, or those below a number.
pub fn audit_below(number: Option<u64>) -> KeyRange {
    let (first, end) = under(vec![AUDIT]);
    (first, number.map_or(end, audit))
}

pub fn parse_audit(key: &[u8]) -> Result<u64, StoreError> {
    let number = key.get(1..).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or_else(|| damaged("an entry of the audit log", key))
}

pub fn actor_name_metadata(namespace: NamespaceId, name: &str) -> Vec<u8> {
    global(ACTOR_NAME_METADATA, &[namespace.as_bytes(), name.as_bytes()])
}

pub fn actor_name(namespace: NamespaceId, name: &str) -> Vec<u8> {
    global(ACTOR_NAME, &[namespace.as_bytes(), name.as_bytes()])
}

/// The names of a namespace, alphabetical, after this one.
pub fn actor_names(namespace: NamespaceId, after: Option<&str>) -> KeyRange {
    let (first, end) = under(global(ACTOR_NAME, &[namespace.as_bytes()]));
    match after {
        // The smallest key above a key is that key with a zero byte behind.
        Some(name) => (global(ACTOR_NAME, &[namespace.as_bytes(), name.as_bytes(), &[0]]), end),
        None => (first, end),
    }
}

pub fn parse_actor_name(key: &[u8]) -> Result<String, StoreError> {
    let name = key.get(1 + ID_BYTES..).and_then(|name| std::str::from_utf8(name).ok());
    name.map(str::to_owned).ok_or_else(|| damaged("an actor name", key))
}

/// What a namespace has beside its actors and its record.
pub fn of_namespace(namespace: NamespaceId) -> [KeyRange; 4] {
    [DEPLOYMENT, RUNNER_CONFIG, ACTOR_NAME, ACTOR_NAME_METADATA].map(|tag| under(global(tag, &[namespace.as_bytes()])))
}

pub fn actor(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::Actor, actor, &[])
}

pub fn input(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::Input, actor, &[])
}

pub fn awake(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::Awake, actor, &[])
}

pub fn stored(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::Stored, actor, &[])
}

pub fn importing(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::Importing, actor, &[])
}

/// What is staged for an actor that is being imported, beside the note that it is.
pub fn staged(actor: ActorId) -> [KeyRange; 3] {
    [kv_all(KvSpace::Actor, actor), kv_all(KvSpace::Runner, actor), pages_after(actor, 0)]
}

pub fn usage(partition: Partition, namespace: NamespaceId) -> Vec<u8> {
    in_partition(partition, Kind::Usage, &[namespace.as_bytes()])
}

pub fn parse_awake(key: &[u8]) -> Result<ActorId, StoreError> {
    parse_actor_alone(key).ok_or_else(|| damaged("an awake actor", key))
}

pub fn parse_importing(key: &[u8]) -> Result<ActorId, StoreError> {
    parse_actor_alone(key).ok_or_else(|| damaged("an actor that is being imported", key))
}

pub fn reservation(key: &KeyRef) -> Vec<u8> {
    let partition = Partition::of_key(key.namespace, &key.name, &key.key);
    in_partition(partition, Kind::Reservation, &[&name_bytes(key.namespace, &key.name), key.key.as_bytes()])
}

pub fn alarm(fire_ms: u64, actor: ActorId) -> Vec<u8> {
    in_partition(actor.partition(), Kind::Alarm, &[&fire_ms.to_be_bytes(), actor.as_bytes()])
}

pub fn parse_alarm(key: &[u8]) -> Result<(u64, ActorId), StoreError> {
    parse_ms_and_actor(key, PARTITION_PREFIX_BYTES).ok_or_else(|| damaged("an alarm", key))
}

/// The alarms of a partition in order of (moment, actor), from this one on.
pub fn alarms(partition: Partition, from: Option<(u64, ActorId)>) -> KeyRange {
    let (start, end) = under(in_partition(partition, Kind::Alarm, &[]));
    match from {
        Some((fire_ms, actor)) => (in_partition(partition, Kind::Alarm, &[&fire_ms.to_be_bytes(), actor.as_bytes()]), end),
        None => (start, end),
    }
}

pub fn kv(space: KvSpace, actor: ActorId, user_key: &[u8]) -> Vec<u8> {
    of_actor(kind_of(space), actor, user_key)
}

pub fn kv_all(space: KvSpace, actor: ActorId) -> KeyRange {
    under(of_actor(kind_of(space), actor, &[]))
}

fn kind_of(space: KvSpace) -> Kind {
    match space {
        KvSpace::Actor => Kind::Kv,
        KvSpace::Runner => Kind::RunnerKv,
    }
}

pub fn database_head(actor: ActorId) -> Vec<u8> {
    of_actor(Kind::DatabaseHead, actor, &[])
}

pub fn page(actor: ActorId, number: u32) -> Vec<u8> {
    of_actor(Kind::Page, actor, &number.to_be_bytes())
}

pub fn parse_page(key: &[u8]) -> Result<u32, StoreError> {
    let number = key.get(PARTITION_PREFIX_BYTES + ID_BYTES..).and_then(|rest| rest.try_into().ok());
    number.map(u32::from_be_bytes).ok_or_else(|| damaged("a page of an actor's database", key))
}

/// The pages of an actor's database beyond this one.
pub fn pages_after(actor: ActorId, number: u32) -> KeyRange {
    let (_, end) = under(of_actor(Kind::Page, actor, &[]));
    match number.checked_add(1) {
        Some(next) => (page(actor, next), end),
        None => (end.clone(), end),
    }
}

pub fn kv_range(space: KvSpace, actor: ActorId, range: &KvRange) -> KeyRange {
    let end = range.end.as_ref().map_or_else(|| kv_all(space, actor).1, |end| kv(space, actor, end));
    (kv(space, actor, &range.start), end)
}

/// An actor's place in the list of its name.
pub fn by_name(kind: Kind, namespace: NamespaceId, name: &str, create_ms: u64, actor: ActorId) -> Vec<u8> {
    let rest: [&[u8]; 3] = [&name_bytes(namespace, name), &(!create_ms).to_be_bytes(), actor.as_bytes()];
    in_partition(actor.partition(), kind, &rest)
}

/// A partition's actors of this name, newest first; those created before a moment, if one is given.
pub fn list_by_name(kind: Kind, partition: Partition, namespace: NamespaceId, name: &str, before_ms: Option<u64>) -> KeyRange {
    let (first, end) = under(in_partition(partition, kind, &[&name_bytes(namespace, name)]));
    match before_ms {
        // Before the beginning of time there is nothing.
        Some(0) => (end.clone(), end),
        Some(before_ms) => ([first, (!(before_ms - 1)).to_be_bytes().to_vec()].concat(), end),
        None => (first, end),
    }
}

/// A partition's actors of a namespace, of all names.
pub fn listed(kind: Kind, partition: Partition, namespace: NamespaceId) -> KeyRange {
    under(in_partition(partition, kind, &[namespace.as_bytes()]))
}

pub fn parse_listed(key: &[u8]) -> Result<Listed, StoreError> {
    let (create_ms, actor) = parse_by_name(key)?;
    let name = key.get(PARTITION_PREFIX_BYTES + ID_BYTES + LENGTH_BYTES..key.len().saturating_sub(MS_BYTES + ID_BYTES));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| damaged("an actor in the list of its name", key))?.to_owned();
    Ok(Listed { actor, name, create_ms })
}

pub fn parse_by_name(key: &[u8]) -> Result<(u64, ActorId), StoreError> {
    // Read from the end: what is before it has a length of its own.
    let at = key.len().checked_sub(MS_BYTES + ID_BYTES);
    let found = at.and_then(|at| parse_ms_and_actor(key, at));
    found.map(|(descending, actor)| (!descending, actor)).ok_or_else(|| damaged("an actor in the list of its name", key))
}

pub fn held_back(namespace: NamespaceId, name: &str, actor: ActorId) -> Vec<u8> {
    in_partition(actor.partition(), Kind::HeldBack, &[&name_bytes(namespace, name), actor.as_bytes()])
}

/// A partition's actors of this name that are held back.
pub fn list_held_back(partition: Partition, namespace: NamespaceId, name: &str) -> KeyRange {
    under(in_partition(partition, Kind::HeldBack, &[&name_bytes(namespace, name)]))
}

pub fn parse_held_back(key: &[u8]) -> Result<ActorId, StoreError> {
    let found = key.len().checked_sub(ID_BYTES).and_then(|at| id_at(key, at));
    found.ok_or_else(|| damaged("an actor that is held back", key))
}

/// All keys of one kind in one partition.
pub fn all_of(kind: Kind, partition: Partition) -> KeyRange {
    under(in_partition(partition, kind, &[]))
}

pub fn read_id(bytes: &[u8]) -> Option<Id> {
    Id::from_bytes(bytes.try_into().ok()?).ok()
}

fn parse_actor_alone(key: &[u8]) -> Option<ActorId> {
    let rest = key.get(PARTITION_PREFIX_BYTES..).filter(|rest| rest.len() == ID_BYTES)?;
    id_at(rest, 0)
}

fn parse_ms_and_actor(key: &[u8], at: usize) -> Option<(u64, ActorId)> {
    let rest = key.get(at..)?;
    if rest.len() != MS_BYTES + ID_BYTES {
        return None;
    }
    let ms = rest.get(..MS_BYTES)?.try_into().ok()?;
    Some((u64::from_be_bytes(ms), id_at(rest, MS_BYTES)?))
}

fn id_at(bytes: &[u8], at: usize) -> Option<Id> {
    read_id(bytes.get(at..at + ID_BYTES)?)
}

fn damaged(kind: &str, key: &[u8]) -> StoreError {
    StoreError::corrupt(format!("the key of {kind} is {}", hex(key)))
}

fn of_actor(kind: Kind, actor: ActorId, rest: &[u8]) -> Vec<u8> {
    in_partition(actor.partition(), kind, &[actor.as_bytes(), rest])
}

/// With its length in front, one name is never the beginning of another.
fn name_bytes(namespace: NamespaceId, name: &str) -> Vec<u8> {
    // Four bytes, although names are short: a length that wraps would make two different names one key.
    [&namespace.as_bytes()[..], &(name.len() as u32).to_be_bytes(), name.as_bytes()].concat()
}

fn global(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn in_partition(partition: Partition, kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(PARTITION_PREFIX_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(&[PARTITION, partition.number(), kind as u8]);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// All keys that begin with this prefix. The first byte is one of the letters above, so there is always a key after them.
fn under(prefix: Vec<u8>) -> KeyRange {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    (prefix, end)
}

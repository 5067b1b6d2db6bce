//! What connected runners ask of actors' keys and values: the limits of the protocol, and reads.
//!
//! Any runner of a namespace may ask about any actor of it, running or asleep. Writes go through the core; reads do not, so a
//! read waits here for this connection's writes of the same actor that have not been answered yet, or it would miss them. The
//! texts of errors are the original's: its clients show them to people.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use engine_core::record::{ActorRecord, RunnerRef};
use engine_store::State;
use protocol::id::{ActorId, InvalidId, NamespaceId};
use protocol::limits::{KV_KEY_BYTES_MAX, KV_LIST_ENTRIES_MAX, KV_VALUE_BYTES_MAX, KV_WRITE_BYTES_MAX};
use protocol::message::{KvAnswer, KvChange, KvQuestion, KvRange, KvSpace};
use protocol::wire::kv::{KvListQuery, KvRequestData};

use crate::runners::calls::Asked;

/// Keys of one get, put or delete.
const KEYS_MAX: usize = 128;
/// What an entry counts beyond its bytes.
const KEY_OVERHEAD_BYTES: usize = 2;
/// Reads of one connection that wait for its writes.
const READS_WAITING_MAX: usize = 4_096;

pub const NO_ACTOR: &str = "actor does not exist";
const NOT_ITS_ACTOR: &str = "actor does not belong to runner";
const PUT_REFUSED: &str = "transaction failed";

/// What is wanted, once it is known to be within the limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    Read(KvQuestion),
    Write(Vec<KvChange>),
}

pub fn asked(data: &KvRequestData) -> Asked {
    match data {
        KvRequestData::Get { .. } => Asked::KvGet,
        KvRequestData::List { .. } => Asked::KvList,
        KvRequestData::Put { .. } => Asked::KvPut,
        KvRequestData::Delete { .. } | KvRequestData::DeleteRange { .. } => Asked::KvDelete,
        KvRequestData::Drop => Asked::KvDrop,
    }
}

/// The error is for the runner.
pub fn wanted(data: KvRequestData) -> Result<Wanted, String> {
    match data {
        KvRequestData::Get { mut keys } => {
            check_keys(&keys)?;
            keys.dedup();
            Ok(Wanted::Read(KvQuestion::Get { keys }))
        }
        KvRequestData::List { query, reverse, limit } => {
            let range = list_range(query)?;
            // The runner's number: it may be u64::MAX.
            let limit = limit.map_or(KV_LIST_ENTRIES_MAX, |limit| limit.min(KV_LIST_ENTRIES_MAX as u64) as usize);
            Ok(Wanted::Read(KvQuestion::List { range, reverse: reverse.unwrap_or(false), limit, keys_only: false }))
        }
        KvRequestData::Put { keys, values } => put(keys, values).map(Wanted::Write).ok_or_else(|| PUT_REFUSED.to_string()),
        KvRequestData::Delete { keys } => {
            check_keys(&keys)?;
            Ok(Wanted::Write(keys.into_iter().map(|key| KvChange::Delete { key }).collect()))
        }
        KvRequestData::DeleteRange { start, end } => {
            check_key("start key", &start)?;
            check_key("end key", &end)?;
            if start >= end {
                return Ok(Wanted::Write(Vec::new()));
            }
            Ok(Wanted::Write(vec![KvChange::DeleteRange { range: KvRange { start, end: Some(end) } }]))
        }
        KvRequestData::Drop => Ok(Wanted::Write(vec![KvChange::DeleteRange { range: KvRange::all() }])),
    }
}

fn check_keys(keys: &[Bytes]) -> Result<(), String> {
    if keys.len() > KEYS_MAX {
        return Err(format!("a maximum of {KEYS_MAX} keys is allowed"));
    }
    keys.iter().try_for_each(|key| check_key("key", key))
}

fn check_key(what: &str, key: &[u8]) -> Result<(), String> {
    match key.len() > KV_KEY_BYTES_MAX {
        true => Err(format!("{what} is too long (max {} bytes)", KV_KEY_BYTES_MAX + KEY_OVERHEAD_BYTES)),
        false => Ok(()),
    }
}

fn put(keys: Vec<Bytes>, values: Vec<Bytes>) -> Option<Vec<KvChange>> {
    let bytes: usize = keys.iter().map(|key| key.len() + KEY_OVERHEAD_BYTES).chain(values.iter().map(Bytes::len)).sum();
    let fits = keys.len() == values.len()
        && keys.len() <= KEYS_MAX
        && keys.iter().all(|key| key.len() <= KV_KEY_BYTES_MAX)
        && values.iter().all(|value| value.len() <= KV_VALUE_BYTES_MAX)
        && bytes <= KV_WRITE_BYTES_MAX;
    fits.then(|| keys.into_iter().zip(values).map(|(key, value)| KvChange::Put { key, value }).collect())
}

fn list_range(query: KvListQuery) -> Result<KvRange, String> {
    match query {
        KvListQuery::All => Ok(KvRange::all()),
        KvListQuery::Prefix { key } => {
            check_key("prefix key", &key)?;
            Ok(KvRange::prefix(key))
        }
        KvListQuery::Range { start, end, exclusive } => {
            check_key("start key", &start)?;
            check_key("end key", &end)?;
            let end = if exclusive { end } else { after(&end) };
            // An end before its start is an empty range, and to the store it is none at all.
            let end = end.max(start.clone());
            Ok(KvRange { start, end: Some(end) })
        }
    }
}

/// The first key after this one.
fn after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.put_slice(key);
    after.put_u8(0);
    after.freeze()
}

/// As the original says it.
pub fn not_an_id(text: &str, error: InvalidId) -> String {
    match error {
        InvalidId::Length(len) if len < 4 => "invalid input length: expected at least 4 characters".to_string(),
        InvalidId::Length(len) => format!("invalid input length: expected 30 characters, got {len}"),
        other => format!("invalid actor id {:?}: {other}", protocol::limits::cut(text.to_string(), 64)),
    }
}

/// For a reader thread.
pub fn read(state: &State, actor: ActorId, asker: &RunnerRef, question: KvQuestion) -> Result<KvAnswer, String> {
    let failed = |error| {
        tracing::error!(%actor, %error, "an actor's state cannot be read");
        "the engine could not read it; its log has the cause".to_string()
    };
    let found = state.actor_record(actor).map_err(failed)?;
    may_ask(found.as_ref(), asker)?;
    match question {
        KvQuestion::Get { keys } => state.kv_get(KvSpace::Actor, actor, &keys).map(KvAnswer::Get).map_err(failed),
        // The store refuses such a range.
        KvQuestion::List { range, .. } if range.end.as_ref() == Some(&range.start) => Ok(KvAnswer::List(Vec::new())),
        KvQuestion::List { limit: 0, .. } => Ok(KvAnswer::List(Vec::new())),
        KvQuestion::List { range, reverse, limit, keys_only } => {
            state.kv_list(KvSpace::Actor, actor, &range, reverse, limit, keys_only).map_err(failed)?.map(KvAnswer::List)
        }
    }
}

fn may_ask(actor: Option<&ActorRecord>, asker: &RunnerRef) -> Result<(), String> {
    let living = actor.filter(|actor| actor.destroy_ms.is_none() && namespace_of(asker) == Some(actor.namespace));
    match (living, asker) {
        (None, _) => Err(NO_ACTOR.to_string()),
        (Some(actor), RunnerRef::Legacy { .. }) if actor.runner.as_ref() != Some(asker) => Err(NOT_ITS_ACTOR.to_string()),
        (Some(_), _) => Ok(()),
    }
}

pub fn namespace_of(runner: &RunnerRef) -> Option<NamespaceId> {
    match runner {
        RunnerRef::Components { .. } => None,
        RunnerRef::Envoy { namespace, .. } | RunnerRef::Legacy { namespace, .. } => Some(*namespace),
    }
}

/// A read and the call that it answers.
pub type Read = (u64, KvQuestion);

/// The writes of one connection that have not been answered, and the reads that wait for them.
#[derive(Default)]
pub struct Order {
    /// By actor; those that have unanswered writes.
    of: HashMap<ActorId, Pending>,
    /// How many writes there have been.
    writes: u64,
    waiting: usize,
}

#[derive(Default)]
struct Pending {
    /// Those that have not been answered: which one in all, and its call. Errors may overtake.
    writes: Vec<(u64, u64)>,
    /// With the write that each waits for, and all before it.
    reads: Vec<(u64, Read)>,
}

/// What becomes of a read.
#[derive(PartialEq, Eq, Debug)]
pub enum Place {
    Now(Read),
    /// Until the writes before it are answered.
    Waits,
    /// Too many wait.
    Refused(u64),
}

impl Order {
    pub fn wrote(&mut self, actor: ActorId, call: u64) {
        self.writes += 1;
        self.of.entry(actor).or_default().writes.push((self.writes, call));
    }

    pub fn place(&mut self, actor: ActorId, read: Read) -> Place {
        let Some(pending) = self.of.get_mut(&actor) else { return Place::Now(read) };
        if self.waiting >= READS_WAITING_MAX {
            return Place::Refused(read.0);
        }
        self.waiting += 1;
        let after = pending.writes.last().map_or(0, |(number, _)| *number);
        pending.reads.push((after, read));
        Place::Waits
    }

    /// A write is answered: the reads that may go now.
    pub fn answered(&mut self, actor: ActorId, call: u64) -> Vec<Read> {
        let Some(pending) = self.of.get_mut(&actor) else { return Vec::new() };
        if let Some(at) = pending.writes.iter().position(|(_, of)| *of == call) {
            pending.writes.remove(at);
        }
        let oldest = pending.writes.first().map_or(u64::MAX, |(number, _)| *number);
        let (go, wait): (Vec<_>, Vec<_>) = std::mem::take(&mut pending.reads).into_iter().partition(|(after, _)| *after < oldest);
        pending.reads = wait;
        if pending.writes.is_empty() {
            self.of.remove(&actor);
        }
        self.waiting -= go.len();
        go.into_iter().map(|(_, read)| read).collect()
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    fn bytes(len: usize) -> Bytes {
        vec![b'k'; len].into()
    }

    fn refusal(data: KvRequestData) -> String {
        wanted(data).err().unwrap_or_default()
    }

    #[test]
    fn limits_have_the_texts_that_clients_show() {
        let get = |keys: Vec<Bytes>| KvRequestData::Get { keys };
        let put = |keys: Vec<Bytes>, values: Vec<Bytes>| KvRequestData::Put { keys, values };
        let list = |query| KvRequestData::List { query, reverse: None, limit: None };
        let range = |start, end| KvListQuery::Range { start: bytes(start), end: bytes(end), exclusive: false };
        let rows = [
            (get(vec![bytes(2046); 128]), ""),
            (get(vec![bytes(1); 129]), "a maximum of 128 keys is allowed"),
            (get(vec![bytes(2047)]), "key is too long (max 2048 bytes)"),
            (get(Vec::new()), ""),
            (KvRequestData::Delete { keys: vec![bytes(1); 129] }, "a maximum of 128 keys is allowed"),
            (KvRequestData::Delete { keys: vec![bytes(2047)] }, "key is too long (max 2048 bytes)"),
            (list(KvListQuery::Prefix { key: bytes(2046) }), ""),
            (list(KvListQuery::Prefix { key: bytes(2047) }), "prefix key is too long (max 2048 bytes)"),
            (list(range(2047, 1)), "start key is too long (max 2048 bytes)"),
            (list(range(1, 2047)), "end key is too long (max 2048 bytes)"),
            (put(vec![bytes(0)], vec![bytes(0)]), ""),
            (put(vec![bytes(1); 128], vec![bytes(1); 128]), ""),
            (put(vec![bytes(1); 129], vec![bytes(1); 129]), PUT_REFUSED),
            (put(vec![bytes(1)], vec![]), PUT_REFUSED),
            (put(vec![bytes(2047)], vec![bytes(1)]), PUT_REFUSED),
            (put(vec![bytes(1)], vec![bytes(131_072)]), ""),
            (put(vec![bytes(1)], vec![bytes(131_073)]), PUT_REFUSED),
            // 7 x (1 + 2 + 131,072) + 81,899 are 999,424.
            (put(vec![bytes(1); 8], [vec![bytes(131_072); 7], vec![bytes(81_896)]].concat()), ""),
            (put(vec![bytes(1); 8], [vec![bytes(131_072); 7], vec![bytes(81_897)]].concat()), PUT_REFUSED),
        ];
        for (row, (data, expected)) in rows.into_iter().enumerate() {
            assert_eq!(refusal(data), expected, "row {row}");
        }
    }

    #[test]
    fn what_is_asked_for() {
        let key = Bytes::from_static;
        let list = |query, limit| wanted(KvRequestData::List { query, reverse: Some(true), limit });
        let read = |range, limit| Ok(Wanted::Read(KvQuestion::List { range, reverse: true, limit, keys_only: false }));
        let range = |start, end, exclusive| KvListQuery::Range { start: key(start), end: key(end), exclusive };
        let to = |start, end| KvRange { start: key(start), end: Some(key(end)) };
        assert_eq!(list(KvListQuery::All, Some(0)), read(KvRange::all(), 0));
        assert_eq!(list(KvListQuery::All, Some(u64::MAX)), read(KvRange::all(), KV_LIST_ENTRIES_MAX));
        assert_eq!(list(range(b"a", b"c", true), None), read(to(b"a", b"c"), KV_LIST_ENTRIES_MAX));
        assert_eq!(list(range(b"a", b"c", false), None), read(to(b"a", b"c\0"), KV_LIST_ENTRIES_MAX));
        assert_eq!(list(range(b"c", b"a", false), None), read(to(b"c", b"c"), KV_LIST_ENTRIES_MAX));
        let get = wanted(KvRequestData::Get { keys: vec![key(b"a"), key(b"a"), key(b"b"), key(b"a")] });
        assert_eq!(get, Ok(Wanted::Read(KvQuestion::Get { keys: vec![key(b"a"), key(b"b"), key(b"a")] })));
        assert_eq!(wanted(KvRequestData::DeleteRange { start: key(b"b"), end: key(b"b") }), Ok(Wanted::Write(Vec::new())));
    }

    #[test]
    fn a_read_waits_for_the_writes_before_it() {
        let (mut order, actor, other) = (Order::default(), Id::new([1; 16], 1), Id::new([2; 16], 1));
        let read = |call| (call, KvQuestion::Get { keys: Vec::new() });
        let calls = |reads: Vec<Read>| reads.into_iter().map(|(call, _)| call).collect::<Vec<_>>();
        assert_eq!(order.place(actor, read(1)), Place::Now(read(1)));
        order.wrote(actor, 2);
        assert_eq!(order.place(other, read(3)), Place::Now(read(3)));
        assert_eq!(order.place(actor, read(4)), Place::Waits);
        order.wrote(actor, 5);
        order.wrote(actor, 6);
        assert_eq!(order.place(actor, read(7)), Place::Waits);
        assert_eq!(calls(order.answered(actor, 6)), [0; 0], "an error overtakes");
        assert_eq!(calls(order.answered(actor, 2)), [4]);
        assert_eq!(calls(order.answered(actor, 5)), [7]);
        assert_eq!(order.place(actor, read(8)), Place::Now(read(8)));
        assert_eq!(order.waiting, 0);
    }
}

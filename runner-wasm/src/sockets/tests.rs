//! The table of an actor's sockets by itself: what fails is undone, what was handled is known, what is stored is read.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::id::RequestId;
use protocol::message::KvChange;

use super::record;
use super::table::{Kind, Meta, Said, Table};
use crate::client::Encoding;
use crate::config::{CONNECTION_STATE_BYTES_MAX, CONNECTIONS_BYTES_MAX, SAID_MAX};
use crate::state::{Refusal, State};

const A: RequestId = RequestId(1);
const B: RequestId = RequestId(2);

fn meta(id: &str) -> Meta {
    let kind = Kind::Client { encoding: Encoding::Cbor, params: Some("{}".to_string()), events: BTreeSet::new() };
    Meta { id: id.to_string(), kind, connected_ms: 7 }
}

fn with_one() -> (Table, State, Vec<(Bytes, Bytes)>) {
    let (mut table, mut state) = (Table::default(), State::new(1, None));
    table.insert(A, meta("1-1")).expect("there is room");
    table.set_state(&mut state, A, b"kept".to_vec()).expect("there is room");
    table.store(&mut state, A).expect("there is room");
    let stored = commit(&mut table, &mut state);
    (table, state, stored)
}

fn commit(table: &mut Table, state: &mut State) -> Vec<(Bytes, Bytes)> {
    table.commit();
    let own = state.commit(None, false).map(|sealed| sealed.own).unwrap_or_default();
    let puts = own.into_iter().filter_map(|change| match change {
        KvChange::Put { key, value } => Some((key, value)),
        KvChange::Delete { .. } | KvChange::DeleteRange { .. } => None,
    });
    puts.collect()
}

#[test]
fn a_message_that_fails_changes_nothing() {
    let (mut table, mut state, _) = with_one();
    let before = table.connection(A).cloned();
    table.set_state(&mut state, A, b"other".to_vec()).expect("there is room");
    table.subscribe(&mut state, A, "news".to_string(), true).expect("there is room");
    table.handle(&mut state, A, 1, true).expect("there is room");
    table.insert(B, meta("1-2")).expect("there is room");
    table.close(A, 1000, String::new()).expect("there is room");
    table.remove(&mut state, A).expect("there is room");
    assert!(table.connection(A).is_none() && table.find("1-2").is_some());
    table.roll_back();
    assert_eq!(table.connection(A), before.as_ref());
    assert!(table.find("1-1").is_some() && table.connection(B).is_none() && table.find("1-2").is_none());
    assert_eq!((table.commit(), table.next_ended()), (Vec::new(), None));
}

#[test]
fn what_is_stored_comes_back() {
    let (mut table, mut state, mut stored) = with_one();
    table.subscribe(&mut state, A, "news".to_string(), true).expect("there is room");
    table.handle(&mut state, A, 65_535, false).expect("there is room");
    // Later entries replace earlier ones.
    stored.extend(commit(&mut table, &mut state));
    stored.push((Bytes::from_static(b"c/x"), Bytes::new()));
    stored.push((record::meta_key(B).into(), Bytes::from_static(b"\x01{")));
    let (read, broken) = record::read(stored);
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert_eq!(read, [(A, table.connection(A).cloned().expect("it is there"))]);
    // Of one whose socket is gone the guest hears.
    let mut next = Table::default();
    next.restore(read.clone(), &BTreeSet::new());
    assert_eq!((next.open().count(), next.next_ended().map(|ended| ended.request)), (0, Some(A)));
    let mut next = Table::default();
    next.restore(read, &BTreeSet::from([A]));
    assert_eq!((next.open().count(), next.next_ended()), (1, None));
}

#[test]
fn a_message_is_new_or_was_handled() {
    // The last one handled, and what comes.
    let rows = [
        (0, 1, true),
        (0, 0, false),
        (5, 5, false),
        (5, 3, false),
        (5, 6, true),
        (5, 8_197, true),
        (65_535, 0, true),
        (65_535, 65_535, false),
        (0, 65_535, false),
        (3, 65_530, false),
        (60_000, 2_000, true),
    ];
    for (handled, index, is_new) in rows {
        let (mut table, mut state, _) = with_one();
        table.handle(&mut state, A, handled, false).expect("there is room");
        assert_eq!(table.is_new(A, index), is_new, "{index} after {handled}");
    }
}

#[test]
fn there_is_room_for_so_much() {
    let (mut table, mut state, _) = with_one();
    let too_large = table.set_state(&mut state, A, vec![0; CONNECTION_STATE_BYTES_MAX + 1]);
    assert!(matches!(too_large, Err(Refusal::TooLarge(_))), "{too_large:?}");
    let long = "x".repeat(CONNECTION_STATE_BYTES_MAX);
    let too_large = table.subscribe(&mut state, A, long, true);
    assert!(matches!(too_large, Err(Refusal::TooLarge(_))), "{too_large:?}");
    let fitting = (CONNECTIONS_BYTES_MAX / CONNECTION_STATE_BYTES_MAX) as u64;
    let quota = (2..=fitting + 1).find_map(|request| {
        table.insert(RequestId(request), meta(&format!("1-{request}"))).expect("it is small");
        let refused = table.set_state(&mut state, RequestId(request), vec![0; CONNECTION_STATE_BYTES_MAX]).err();
        commit(&mut table, &mut state);
        refused
    });
    assert!(matches!(quota, Some(Refusal::QuotaExceeded(_))), "{quota:?}");
    assert!(table.len() as u64 > fitting - 8, "{} of {fitting} have had room", table.len());
    for _ in 0..SAID_MAX {
        table.say(Said::Opened(A)).expect("there is room");
    }
    assert!(matches!(table.say(Said::Opened(A)), Err(Refusal::TooLarge(_))));
    assert_eq!(table.commit().len(), SAID_MAX);
    table.say(Said::Opened(A)).expect("the next message has room again");
}

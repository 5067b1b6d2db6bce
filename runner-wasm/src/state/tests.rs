//! The state of an actor against a model of it: a plain map, and the rule of what is durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::limits::{KV_LIST_ENTRIES_MAX, KV_VALUE_BYTES_MAX, KV_WRITE_BYTES_MAX, KV_WRITE_CHANGES_MAX};
use protocol::message::{AlarmChange, KvChange, KvEntry, KvQuestion, KvRange, KvSpace};

use super::gate::Gate;
use super::*;

type Map = BTreeMap<Bytes, Bytes>;

/// A small generator: the seed is printed on failure and replays it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Few keys, so that they meet; of different lengths, so that order matters.
    fn key(&mut self) -> Vec<u8> {
        (0..self.roll(3)).map(|_| [0, 1, 0xff][self.roll(3) as usize]).collect()
    }

    fn range(&mut self) -> KvRange {
        match self.roll(4) {
            0 => KvRange::all(),
            1 => KvRange::prefix(self.key().into()),
            2 => KvRange { start: self.key().into(), end: None },
            _ => KvRange { start: self.key().into(), end: Some(self.key().into()) },
        }
    }
}

/// The engine: what is stored, and commits that wait to be.
#[derive(Default)]
struct Engine {
    stored: Map,
    waiting: Vec<Sealed>,
}

impl Engine {
    fn confirm_next(&mut self, state: &mut State) {
        if self.waiting.is_empty() {
            return;
        }
        let sealed = self.waiting.remove(0);
        apply(&mut self.stored, &sealed.changes);
        state.confirmed(sealed.commit);
    }

    fn list(&self, question: KvQuestion) -> Vec<(Bytes, Bytes)> {
        let KvQuestion::List { range, reverse, limit, keys_only } = question else { panic!("{question:?}") };
        assert!(limit <= KV_LIST_ENTRIES_MAX);
        list(&self.stored, &range, reverse, limit, keys_only)
    }
}

fn apply(map: &mut Map, changes: &[KvChange]) {
    for change in changes {
        match change {
            KvChange::Put { key, value } => drop(map.insert(key.clone(), value.clone())),
            KvChange::Delete { key } => drop(map.remove(key)),
            KvChange::DeleteRange { range } => map.retain(|key, _| !range.contains(key)),
        }
    }
}

fn list(map: &Map, range: &KvRange, reverse: bool, limit: usize, keys_only: bool) -> Vec<(Bytes, Bytes)> {
    let mut pairs: Vec<_> = map.iter().filter(|(key, _)| range.contains(key)).collect();
    if reverse {
        pairs.reverse();
    }
    let value = |value: &Bytes| if keys_only { Bytes::new() } else { value.clone() };
    pairs.into_iter().take(limit).map(|(key, text)| (key.clone(), value(text))).collect()
}

#[test]
fn reads_see_a_plain_map_whatever_is_durable() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (mut engine, mut state, mut model) = (Engine::default(), State::new(1, None), Map::new());
        for message in 0..30u64 {
            let before = model.clone();
            state.begin();
            for _ in 0..dice.roll(8) {
                step(&mut dice, &mut engine, &mut state, &mut model, message, seed);
            }
            if dice.roll(4) == 0 {
                state.drop_writes();
                model = before;
            } else if let Some(sealed) = state.commit(None, false) {
                engine.waiting.push(sealed);
            }
        }
        while !engine.waiting.is_empty() {
            engine.confirm_next(&mut state);
        }
        assert_eq!(engine.stored, model, "seed {seed}");
        assert_eq!((state.guest.pending.bytes(), state.guest.pending.changes()), (0, 0), "seed {seed}");
    }
}

fn step(dice: &mut Dice, engine: &mut Engine, state: &mut State, model: &mut Map, message: u64, seed: u64) {
    match dice.roll(6) {
        0 | 1 => {
            let (key, value) = (dice.key(), format!("{message}.{}", dice.roll(100)).into_bytes());
            assert_eq!(state.put(key.clone(), value.clone()), Ok(()));
            model.insert(key.into(), value.into());
        }
        2 => {
            let key = dice.key();
            assert_eq!(state.delete(key.clone()), Ok(()));
            model.remove(&key[..]);
        }
        3 => {
            let key = dice.key();
            let known = match state.known(KvSpace::Actor, &key) {
                Known::Unknown => {
                    let stored = engine.stored.get(&key[..]).cloned();
                    state.learn(KvSpace::Actor, Bytes::from(key.clone()), stored.clone());
                    stored
                }
                Known::Value(value) => Some(value),
                Known::Absent => None,
            };
            assert_eq!(known, model.get(&key[..]).cloned(), "seed {seed} message {message} key {key:?}");
        }
        4 => engine.confirm_next(state),
        _ => {
            let (range, reverse, limit, keys_only) = (dice.range(), dice.roll(2) == 0, dice.roll(6) as usize, dice.roll(4) == 0);
            let mut listing = state.list(KvSpace::Actor, range.clone(), reverse, limit, keys_only);
            while let Some(question) = listing.question() {
                let entry = |(key, value)| KvEntry { key, value, update_ms: 0 };
                listing.answer(engine.list(question).into_iter().map(entry).collect()).expect("a small list");
                // The engine confirms whenever it likes.
                if dice.roll(3) == 0 {
                    engine.confirm_next(state);
                }
            }
            let listed = listing.finish().expect("a small list");
            assert_eq!(listed, list(model, &range, reverse, limit, keys_only), "seed {seed} message {message} {range:?}");
        }
    }
}

#[test]
fn limits_are_refused_and_named() {
    let mut state = State::new(1, None);
    let too_large = |refused: Result<(), Refusal>, number: usize| match refused {
        Err(Refusal::TooLarge(text)) => assert!(text.contains(&number.to_string()), "{text}"),
        other => panic!("{other:?}"),
    };
    too_large(state.put(vec![0; KV_KEY_BYTES_MAX + 1], vec![]), KV_KEY_BYTES_MAX);
    too_large(state.delete(vec![0; KV_KEY_BYTES_MAX + 1]), KV_KEY_BYTES_MAX);
    too_large(state.put(vec![0], vec![0; KV_VALUE_BYTES_MAX + 1]), KV_VALUE_BYTES_MAX);
    for key in 0..7 {
        assert_eq!(state.put(vec![key], vec![0; KV_VALUE_BYTES_MAX]), Ok(()));
        // Writing a key again does not count twice.
        assert_eq!(state.put(vec![key], vec![1; KV_VALUE_BYTES_MAX]), Ok(()));
    }
    too_large(state.put(vec![7], vec![0; KV_VALUE_BYTES_MAX]), KV_WRITE_BYTES_MAX);
    state.drop_writes();
    for key in 0..KV_WRITE_CHANGES_MAX as u32 {
        assert_eq!(state.put(key.to_be_bytes().to_vec(), vec![]), Ok(()));
    }
    too_large(state.delete(vec![1]), KV_WRITE_CHANGES_MAX);
    assert_eq!(state.commit(None, false).map(|sealed| sealed.changes.len()), Some(KV_WRITE_CHANGES_MAX));
}

#[test]
fn after_the_response_has_begun_nothing_is_written() {
    let mut state = State::new(1, Some(5));
    state.begin();
    assert_eq!(state.put(vec![1], vec![1]), Ok(()));
    state.seal();
    let sealed = state.commit(None, false).expect("it wrote");
    assert_eq!((sealed.commit, sealed.changes.len(), sealed.alarm), (1, 1, AlarmChange::Keep));
    assert!(matches!(state.put(vec![1], vec![1]), Err(Refusal::Other(_))));
    assert!(matches!(state.delete(vec![1]), Err(Refusal::Other(_))));
    assert!(matches!(state.set_alarm(None), Err(Refusal::Other(_))));
    assert_eq!((state.alarm_ms(), state.commit(None, false)), (Some(5), None));
    state.begin();
    assert_eq!(state.put(vec![1], vec![1]), Ok(()));
}

#[test]
fn the_alarm_is_part_of_the_message() {
    let mut state = State::new(1, Some(5));
    state.begin();
    assert_eq!(state.set_alarm(Some(9)), Ok(()));
    assert_eq!(state.alarm_ms(), Some(9));
    state.drop_writes();
    assert_eq!((state.alarm_ms(), state.commit(None, false)), (Some(5), None));

    state.begin_alarm();
    assert_eq!(state.alarm_ms(), None);
    assert_eq!(state.commit(Some(AlarmEnd::Done), false).map(|sealed| sealed.alarm), Some(AlarmChange::Keep));
    state.begin();
    assert_eq!(state.set_alarm(Some(7)), Ok(()));
    assert_eq!(state.commit(None, false).map(|sealed| (sealed.commit, sealed.alarm)), Some((2, AlarmChange::Set(7))));
    state.begin_alarm();
    state.drop_writes();
    assert_eq!(state.alarm_ms(), Some(7));
}

#[test]
fn a_gate_opens_in_order() {
    let mut gate = Gate::default();
    assert_eq!(gate.pass("read before any write"), Some("read before any write"));
    gate.sent(1);
    assert_eq!(gate.pass("first"), None);
    assert_eq!(gate.pass("read after first"), None);
    gate.sent(2);
    assert_eq!(gate.pass("second"), None);
    assert_eq!(gate.in_flight(), 2);
    assert_eq!(gate.open(1), ["first", "read after first"]);
    gate.released(1);
    // A confirmation of what was never sent opens no more than there is.
    assert_eq!(gate.open(9), ["second"]);
    assert_eq!(gate.pass("read after second"), Some("read after second"));
    // Settled only when they have really left.
    assert!(!gate.is_settled());
    gate.released(9);
    assert!(gate.is_settled());
    gate.sent(3);
    assert_eq!(gate.pass("third"), None);
    assert_eq!(gate.open(2), [] as [&str; 0]);
    assert_eq!(gate.take_held(), ["third"]);
}

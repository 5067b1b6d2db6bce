//! Tokens and the audit log on every backend: what a boot finds, and how the log is read.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine_core::record::{AuditRecord, Change, Role, TokenRecord};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Memory, Persist, Rocks, State, Store};

fn entry(number: u64) -> AuditRecord {
    let act = if number.is_multiple_of(10) { "rare" } else { "usual" };
    AuditRecord {
        number,
        at_ms: 1_000 + number,
        who: "admin".to_string(),
        remote: String::new(),
        request_id: String::new(),
        act: act.to_string(),
        namespace: None,
        target: String::new(),
        details: Vec::new(),
        outcome: "ok".to_string(),
        count: 1,
    }
}

fn put(number: u64, forget: Option<u64>) -> Change {
    Change::PutAudit { record: Box::new(entry(number)), forget }
}

fn token(id: &str, used_ms: Option<u64>) -> TokenRecord {
    let (id, name) = (id.to_string(), String::new());
    TokenRecord { id, hash: [1; 32], role: Role::Client, namespace: None, name, create_ms: 1, expire_ms: None, used_ms }
}

/// With every backend, empty.
fn check(what: impl Fn(&str, &State, &dyn Fn(&[Change]))) {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let rocks: Arc<dyn Store> = Arc::new(Rocks::open(directory.path(), &Tuning::default()).expect("a new store opens"));
    for (backend, store) in [("memory", Arc::new(Memory::new()) as Arc<dyn Store>), ("rocks", rocks)] {
        let state = State::new(store.clone());
        let commit = |changes: &[Change]| store.commit(&State::batch(changes), Persist::Written).expect("a commit");
        what(backend, &state, &commit);
    }
}

#[test]
fn a_boot_finds_the_tokens_and_where_the_log_is() {
    check(|backend, state, commit| {
        assert_eq!(state.boot().expect("a read").audit, None, "{backend}");
        commit(&[Change::PutToken(Box::new(token("a", None))), Change::PutToken(Box::new(token("b", None))), put(1, None)]);
        commit(&[Change::PutToken(Box::new(token("a", Some(5)))), Change::DeleteToken { id: "b".to_string() }, put(2, None)]);
        commit(&[put(3, Some(1))]);
        let boot = state.boot().expect("a read");
        assert_eq!((boot.tokens, boot.audit), (vec![token("a", Some(5))], Some((2, 3))), "{backend}");
        commit(&[put(300, None), Change::ForgetAudit { below: 256 }]);
        assert_eq!(state.boot().expect("a read").audit, Some((300, 300)), "{backend}");
    });
}

#[test]
fn the_log_is_read_backwards_in_parts() {
    check(|backend, state, commit| {
        commit(&(1..=3_000).map(|number| put(number, None)).collect::<Vec<_>>());
        commit(&[Change::ForgetAudit { below: 201 }]);
        let read = |below, limit, read_max, from_ms: u64, act: &'static str| {
            let wanted = move |record: &AuditRecord| match record.at_ms < from_ms {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(record.act.starts_with(act)),
            };
            let (found, next) = state.audit(below, limit, read_max, wanted).expect("a read");
            let numbers: Vec<u64> = found.iter().map(|record| record.number).collect();
            (numbers.first().copied(), numbers.last().copied(), numbers.len(), next)
        };
        let rows = [
            (None, 3, 9_999, 0, "", (Some(3_000), Some(2_998), 3, Some(2_998))),
            (Some(2_998), 2, 9_999, 0, "", (Some(2_997), Some(2_996), 2, Some(2_996))),
            (None, 9_999, 9_999, 0, "", (Some(3_000), Some(201), 2_800, None)),
            (None, 9_999, 9_999, 0, "rare", (Some(3_000), Some(210), 280, None)),
            (None, 9_999, 1_500, 0, "", (Some(3_000), Some(1_501), 1_500, Some(1_501))),
            (None, 9_999, 100, 0, "none", (None, None, 0, Some(2_901))),
            (None, 9_999, 9_999, 1_000 + 2_999, "", (Some(3_000), Some(2_999), 2, None)),
            (Some(201), 5, 9_999, 0, "", (None, None, 0, None)),
            (Some(0), 5, 9_999, 0, "", (None, None, 0, None)),
        ];
        for (below, limit, read_max, from_ms, act, expected) in rows {
            assert_eq!(read(below, limit, read_max, from_ms, act), expected, "{backend}: {below:?} {limit} {read_max} {act}");
        }
    });
}

//! Actors' databases, as runners that connect ask for them.

use bytes::Bytes;
use protocol::wire::envoy::{ToEnvoy, ToRivet};
use protocol::wire::sqlite::{
    SqliteCommit, SqliteDirtyPage, SqliteExec, SqliteExecute, SqliteFinalize, SqliteGetPages, SqliteStageBegin, SqliteStageSegment,
    SqliteValue,
};
use rivet_tests::{Engine, Envoy};

use crate::{make_pool, running};

fn get(actor: &str, pages: &[u32], generation: Option<u64>, head: Option<u64>) -> ToRivet {
    let data = SqliteGetPages {
        actor_id: actor.to_string(),
        pgnos: pages.to_vec(),
        expected_generation: generation,
        expected_head_txid: head,
    };
    ToRivet::SqliteGetPages { request_id: 7, data }
}

fn page(pgno: u32, byte: u8) -> SqliteDirtyPage {
    SqliteDirtyPage { pgno, bytes: Bytes::from(vec![byte; 4096]) }
}

fn commit(actor: &str, dirty_pages: Vec<SqliteDirtyPage>, size: u32, generation: Option<u64>, head: Option<u64>) -> ToRivet {
    let data = SqliteCommit {
        actor_id: actor.to_string(),
        dirty_pages,
        db_size_pages: size,
        now_ms: 0,
        expected_generation: generation,
        expected_head_txid: head,
    };
    ToRivet::SqliteCommit { request_id: 7, data }
}

fn exec(actor: &str, namespace: &str, generation: u64, sql: &str) -> ToRivet {
    let data = SqliteExec { namespace_id: namespace.to_string(), actor_id: actor.to_string(), generation, sql: sql.to_string() };
    ToRivet::SqliteExec { request_id: 7, data }
}

/// The answer, in one line.
async fn ask(envoy: &mut Envoy, question: ToRivet) -> String {
    envoy.say(question).await;
    let (request_id, result) = match envoy.hear().await {
        ToEnvoy::SqliteGetPages { request_id, result } => (
            request_id,
            result.map(|found| {
                let pages = found.pages.iter().map(|page| {
                    let first = page.bytes.as_ref().map(|bytes| bytes.first().copied().unwrap_or_default());
                    format!("{}={first:?} ", page.pgno)
                });
                format!("{}head {:?}", pages.collect::<String>(), found.head_txid)
            }),
        ),
        ToEnvoy::SqliteCommit { request_id, result } => (request_id, result.map(|done| format!("committed {:?}", done.head_txid))),
        ToEnvoy::SqliteFinalize { request_id, result } => (request_id, result.map(|done| format!("final {:?}", done.head_txid))),
        ToEnvoy::SqliteStageBegin { request_id, result } => (request_id, result.map(|done| format!("staging {}", done.txid))),
        ToEnvoy::SqliteStageSegment { request_id, result } => (request_id, result.map(|_| "staged".to_string())),
        ToEnvoy::SqliteExec { request_id, result } => (request_id, result.map(|done| format!("{:?}", done.rows))),
        ToEnvoy::SqliteExecute { request_id, result } => {
            (request_id, result.map(|done| format!("{:?} {} {:?}", done.rows, done.changes, done.last_insert_row_id)))
        }
        other => panic!("an answer expected, seen {other:?}"),
    };
    assert_eq!(request_id, 7);
    result.unwrap_or_else(|error| format!("{}.{}: {}", error.group, error.code, error.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let actor = &*actor;
    let nobody = format!("1{}", "0".repeat(29));
    let gone = "core.internal_error: actor does not exist";
    let fresh = "depot.database_not_found: transaction failed: sqlite database was not found in this bucket branch";
    let moved =
        "depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 0, current head txid 1";
    let rows = [
        (get(actor, &[1, 2], None, None), "sqlite.invalid_request: sqlite get_pages missing expectedGeneration"),
        (get(actor, &[1, 2], Some(1), None), fresh),
        (get(actor, &[1], Some(2), None), gone),
        (get(&nobody, &[1], Some(1), None), gone),
        (commit(actor, vec![page(1, 7), page(3, 9)], 3, Some(1), Some(0)), "committed Some(1)"),
        (get(actor, &[3, 1, 2, 4], Some(1), None), "3=Some(9) 1=Some(7) 2=Some(0) 4=None head Some(1)"),
        (commit(actor, Vec::new(), 1, Some(1), Some(0)), moved),
        (commit(actor, Vec::new(), 1, Some(1), Some(1)), "committed Some(2)"),
        (get(actor, &[], Some(1), Some(2)), "head Some(2)"),
        (get(actor, &[0], Some(1), None), "core.internal_error: get_pages does not accept page 0"),
    ];
    for (row, (question, expected)) in rows.into_iter().enumerate() {
        assert_eq!(ask(&mut envoy, question).await, expected, "row {row}");
    }
    let seen = ask(&mut envoy, get("abc", &[1], Some(1), None)).await;
    assert!(seen.starts_with("core.internal_error: invalid sqlite actor id: "), "{seen}");

    let id = || actor.to_string();
    let begin = SqliteStageBegin { actor_id: id(), expected_generation: Some(1), expected_head_txid: Some(2) };
    let segment = SqliteStageSegment {
        actor_id: id(),
        expected_generation: Some(1),
        txid: 3,
        first_pgno: 64,
        dirty_pages: vec![page(64, 5)],
    };
    let finalize = SqliteFinalize {
        actor_id: id(),
        expected_generation: Some(1),
        txid: 3,
        new_db_size_pages: 64,
        now_ms: 0,
        segment_first_pgnos: vec![64],
    };
    let rows = [
        (ToRivet::SqliteStageBegin { request_id: 7, data: begin }, "staging 3"),
        (ToRivet::SqliteStageSegment { request_id: 7, data: segment }, "staged"),
        (get(actor, &[64], Some(1), None), "64=None head Some(2)"),
        (ToRivet::SqliteFinalize { request_id: 7, data: finalize }, "final Some(3)"),
        (get(actor, &[64], Some(1), None), "64=Some(5) head Some(3)"),
    ];
    for (row, (question, expected)) in rows.into_iter().enumerate() {
        assert_eq!(ask(&mut envoy, question).await, expected, "staged, row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let gone = "core.internal_error: actor does not exist";
    let table = "create table t (a, b real); insert into t values (1, 1.5)";
    assert_eq!(ask(&mut envoy, exec(&actor, "default", 1, table)).await, "[]");
    assert_eq!(ask(&mut envoy, exec(&actor, "else", 1, "select 1")).await, gone, "the namespace's name is the runner's");
    assert_eq!(ask(&mut envoy, exec(&actor, "default", 2, "select 1")).await, gone);
    let values = vec![SqliteValue::Text { value: "x".to_string() }, SqliteValue::Float { value: 2.5f64.to_be_bytes() }];
    let insert = SqliteExecute {
        namespace_id: "default".to_string(),
        actor_id: actor.clone(),
        generation: 1,
        sql: "insert into t values (?, ?)".to_string(),
        params: Some(values),
    };
    assert_eq!(ask(&mut envoy, ToRivet::SqliteExecute { request_id: 7, data: insert }).await, "[] 1 Some(2)");
    envoy.say(exec(&actor, "default", 1, "select a, b from t order by b desc")).await;
    let ToEnvoy::SqliteExec { result: Ok(rows), .. } = envoy.hear().await else { panic!("rows expected") };
    let float = |value: f64| SqliteValue::Float { value: value.to_be_bytes() };
    let expected =
        vec![vec![SqliteValue::Text { value: "x".to_string() }, float(2.5)], vec![SqliteValue::Integer { value: 1 }, float(1.5)]];
    assert_eq!((rows.columns, rows.rows), (vec!["a".to_string(), "b".to_string()], expected));
}

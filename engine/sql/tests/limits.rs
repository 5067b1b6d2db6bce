//! Every limit is reached and said, and afterwards the database works as before.

mod common;

use std::sync::{Arc, Mutex};

use common::{Image, NOW_MS, Shared, clock, filled, open_with, plain, shown, store};
use rivet_engine_sql::{BIND_BYTES_MAX, Database, Limits, SqlError, Statement, Value};

const KIB: usize = 1024;

/// Of a filled database with these limits, this SQL is stopped with this code, changes nothing, and leaves it usable.
fn check(name: &str, limits: Limits, sql: &str, code: &str) {
    let mut image = filled(50);
    let mut database = open_with(&image, limits).unwrap_or_else(|error| panic!("{name}: {error}"));
    for round in 0..3 {
        let error = database.exec(sql).expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(!database.in_transaction(), "{name}");
        assert!(!store(&mut database, &mut image), "{name}: round {round}");
        let rows = database.exec("SELECT count(*), max(name) FROM t").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shown(&rows.rows), "50|name 9", "{name}: round {round}");
    }
    database.exec("INSERT INTO t (name) VALUES ('after')").unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(store(&mut database, &mut image), "{name}");
    let (_directory, plain) = plain(&image);
    let count: i64 = plain.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("plain SQLite reads it");
    assert_eq!(count, 51, "{name}");
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

#[test]
fn limits_of_a_call() {
    let short = || Limits { steps_max: 1_000_000, ..Limits::default() };
    check("endless", short(), &format!("{ENDLESS} SELECT count(*) FROM n"), "too_many_steps");
    check("an endless write", short(), &format!("{ENDLESS} INSERT INTO t (name) SELECT 'm' || i FROM n"), "too_many_steps");
    check("many short statements", short(), &"SELECT 1;".repeat(2000), "too_many_steps");
    check("a join of everything", short(), "SELECT count(*) FROM t a, t b, t c, t d, t e", "too_many_steps");
    let views = (1..40).map(|n| format!("CREATE TEMP VIEW v{n} AS SELECT * FROM v{0} UNION ALL SELECT * FROM v{0};", n - 1));
    let views: String = views.collect();
    let views = format!("BEGIN; CREATE TEMP VIEW v0 AS SELECT 1; {views} SELECT * FROM v39");
    let mut database = open_with(&Image::default(), short()).expect("it opens");
    let error = database.exec(&views).expect_err("views of views take too long to compile");
    assert!(["too_many_steps", "heap_exhausted", "statement_failed"].contains(&error.code()), "{error}");

    let result = || Limits { result_bytes_max: 4 * KIB, ..Limits::default() };
    check("many rows", result(), &format!("{ENDLESS} SELECT i FROM n"), "result_too_large");
    check("a long row", result(), "SELECT zeroblob(5000)", "result_too_large");
    check("a row of an insert", result(), "INSERT INTO t (name) SELECT name || 'b' FROM t RETURNING *", "result_too_large");

    let sql = || Limits { sql_bytes_max: 4 * KIB, ..Limits::default() };
    check("a long text", sql(), &" ".repeat(4 * KIB + 1), "sql_too_large");
    let value = || Limits { value_bytes_max: 64 * KIB, ..Limits::default() };
    check("a large value", value(), "SELECT zeroblob(70000)", "value_too_large");
    check("a value that grows", value(), "SELECT group_concat(hex(zeroblob(2000))) FROM t", "value_too_large");
    check("a deep expression", short(), &format!("SELECT {}1{}", "(1+".repeat(400), ")".repeat(400)), "statement_failed");
    check("a long pattern", short(), &format!("SELECT 'a' LIKE '{}'", "%a".repeat(600)), "statement_failed");
}

#[test]
fn limits_of_memory_and_size() {
    let heap = || Limits { heap_bytes_max: 2048 * KIB, ..Limits::default() };
    let columns = vec!["zeroblob(900000) || 'a'"; 30].join(",");
    check("many large values at once", heap(), &format!("SELECT {columns}"), "heap_exhausted");
    check(
        "a large value in a write",
        heap(),
        &format!("INSERT INTO t (name) SELECT length({})", columns.replace(',', ") + length(")),
        "heap_exhausted",
    );

    let held = || Limits { held_bytes_max: 256 * KIB, cache_bytes_max: 64 * KIB, ..Limits::default() };
    let many = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)";
    check(
        "a large transaction",
        held(),
        &format!("{many} INSERT INTO t (name) SELECT zeroblob(2000) || i FROM n"),
        "held_exhausted",
    );
    check(
        "a temporary table",
        held(),
        &format!("CREATE TEMP TABLE x AS {} SELECT zeroblob(10000), i FROM n", many.replace("500", "5000")),
        "held_exhausted",
    );
    check(
        "a sort",
        held(),
        &format!("SELECT max(b) FROM ({many} SELECT randomblob(2000) AS b FROM n ORDER BY b LIMIT 1000 OFFSET 5)"),
        "held_exhausted",
    );

    let small = || Limits { database_pages_max: 20, ..Limits::default() };
    check("a full database", small(), &format!("{many} INSERT INTO t (name) SELECT zeroblob(2000) || i FROM n"), "database_full");
}

#[test]
fn a_larger_database_than_allowed_can_be_read_and_made_smaller() {
    let mut image = filled(2000);
    assert!(image.size_pages > 20);
    let mut database = open_with(&image, Limits { database_pages_max: 20, ..Limits::default() }).expect("it opens");
    assert_eq!(shown(&database.exec("SELECT count(*) FROM t").expect("it is read").rows), "2000");
    database.exec("DELETE FROM t WHERE id > 10").expect("rows are deleted");
    database.exec("VACUUM").expect("it fits");
    store(&mut database, &mut image);
    assert!(image.size_pages < 20);
}

#[test]
fn time_is_the_callers() {
    let now: Shared<i64> = Arc::new(Mutex::new(NOW_MS));
    let ticking = Arc::clone(&now);
    // Each look at the clock takes a second.
    let clock = Box::new(move || {
        let mut now = ticking.lock().expect("no panic");
        *now += 1000;
        *now
    });
    let limits = Limits { time_ms_max: 60_000, ..Limits::default() };
    let mut database = Database::open(Box::new(Image::default()), clock, limits).expect("it opens");
    let error = database.exec(&format!("BEGIN; {ENDLESS} SELECT count(*) FROM n")).expect_err("it never ends");
    assert_eq!(error, SqlError::TookTooLong { ms_max: 60_000 });
    assert!(database.in_transaction(), "a statement that only reads does not end the transaction");
    database.exec("ROLLBACK").expect("a new call has new time");
}

#[test]
fn bound_values() {
    let mut database = open_with(&Image::default(), Limits::default()).expect("it opens");
    let largest = [Value::Blob(vec![1; BIND_BYTES_MAX].into()), Value::Text("x".repeat(BIND_BYTES_MAX))];
    let length = database.execute("SELECT length(?), length(?)", &largest).expect("the largest can be bound");
    assert_eq!(shown(&length.rows), "131072|131072");
    for value in [Value::Blob(vec![1; BIND_BYTES_MAX + 1].into()), Value::Text("x".repeat(BIND_BYTES_MAX + 1))] {
        let error = database.execute("SELECT ?, ?", &[Value::Null, value]).expect_err("too large");
        assert_eq!(error, SqlError::ParameterTooLarge { number: 2, bytes: BIND_BYTES_MAX + 1, bytes_max: BIND_BYTES_MAX });
    }
}

#[test]
fn a_batch_is_limited_as_a_whole_and_rolled_back() {
    let limits = Limits { result_bytes_max: 4 * KIB, steps_max: 100_000, ..Limits::default() };
    let mut image = filled(50);
    let mut database = open_with(&image, limits).expect("it opens");
    let statement = |sql: &str| Statement { sql: sql.to_owned(), params: Vec::new() };
    let rows = vec![
        statement("INSERT INTO t (name) VALUES (zeroblob(5000))"),
        statement("SELECT zeroblob(2500)"),
        statement("SELECT zeroblob(2500)"),
    ];
    let steps = vec![
        statement("INSERT INTO t (name) VALUES ('x')"),
        statement(&format!("{ENDLESS} INSERT INTO t (name) SELECT 'm' || i FROM n")),
    ];
    for (statements, code) in [(rows, "result_too_large"), (steps, "too_many_steps")] {
        assert_eq!(database.execute_batch(&statements).expect_err("too much").code(), code);
        assert!(!database.in_transaction());
        assert!(!store(&mut database, &mut image));
    }
    assert_eq!(shown(&database.exec("SELECT count(*) FROM t").expect("it is read").rows), "50");
}

#[test]
fn changes_that_are_never_settled_come_to_an_end() {
    let limits = Limits { held_bytes_max: 200 * KIB, ..Limits::default() };
    let mut image = Image::default();
    let mut database = Database::open(Box::new(image.clone()), clock(), limits).expect("it opens");
    database.exec("CREATE TABLE t (a)").expect("it fits");
    let insert = "INSERT INTO t VALUES (zeroblob(20000))";
    let failed = (0..100).find_map(|_| {
        store(&mut database, &mut image);
        database.exec(insert).err()
    });
    assert_eq!(failed, Some(SqlError::HeldExhausted { bytes_max: 200 * KIB }));
    database.settle(Box::new(image.clone()));
    for _ in 0..100 {
        database.exec(insert).expect("there is room again");
        store(&mut database, &mut image);
        database.settle(Box::new(image.clone()));
    }
    plain(&image);
}

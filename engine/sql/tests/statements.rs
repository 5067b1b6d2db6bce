//! What statements give: rows of SQL, and the result as text.

mod common;

use std::fmt::Write as _;

use common::{Image, open, plain, shown, store};
use rivet_engine_sql::{Database, Execution, SqlError, Statement, Value};

/// One call.
enum Do {
    Exec(&'static str),
    Execute(&'static str, Vec<Value>),
    Batch(&'static [&'static str]),
    Begin,
    Commit,
    RollBack,
    /// Open the database anew from what was committed.
    Reopen,
}
use Do::{Batch, Begin, Commit, Exec, Execute, Reopen, RollBack};

fn told(execution: &Execution) -> String {
    let mut text = format!("{} [{}]", execution.columns.join(","), shown(&execution.rows)).trim_start().to_owned();
    let _ = write!(text, " changes {}", execution.changes);
    if let Some(id) = execution.last_insert_row_id {
        let _ = write!(text, " id {id}");
    }
    text
}

fn refused(error: &SqlError) -> String {
    format!("{}: {error}", error.code())
}

fn run(database: &mut Database, call: &Do) -> String {
    let mut text = match call {
        Exec(sql) => database.exec(sql).map(|rows| format!("{} [{}]", rows.columns.join(","), shown(&rows.rows))),
        Execute(sql, params) => database.execute(sql, params).map(|execution| told(&execution)),
        Batch(statements) => {
            let statements: Vec<Statement> =
                statements.iter().map(|sql| Statement { sql: (*sql).to_owned(), params: Vec::new() }).collect();
            database.execute_batch(&statements).map(|all| all.iter().map(told).collect::<Vec<_>>().join(" / "))
        }
        Begin => database.begin().map(|()| "begun".to_owned()),
        Commit => database.commit().map(|()| "committed".to_owned()),
        RollBack => database.roll_back().map(|()| "rolled back".to_owned()),
        Reopen => Ok("reopened".to_owned()),
    }
    .unwrap_or_else(|error| refused(&error));
    if database.in_transaction() {
        text.push_str(" (open)");
    }
    text
}

/// Each call, what it gives, and whether it left something to store.
fn check(name: &str, calls: &[(Do, &str, bool)]) {
    let mut image = Image::default();
    let mut database = open(&image);
    for (number, (call, expected, stores)) in calls.iter().enumerate() {
        if matches!(call, Reopen) {
            database = open(&image);
        }
        assert_eq!(run(&mut database, call).trim(), *expected, "{name}: call {number}");
        assert_eq!(store(&mut database, &mut image), *stores, "{name}: call {number}: stored");
    }
    if image.size_pages > 0 {
        plain(&image);
    }
}

#[test]
fn one_statement_and_several() {
    check(
        "exec gives the rows of the last",
        &[
            (Exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'); SELECT * FROM t"), "a,b [1|x; 2|y]", true),
            (Exec("SELECT 1; INSERT INTO t VALUES (3, 'z') ; -- the end"), "[]", true),
            (Exec("INSERT INTO t VALUES (4, null); SELECT nonsense"), "statement_failed: no such column: nonsense", true),
            (Exec("SELECT count(*) AS n FROM t"), "n [4]", false),
            (Exec(""), "[]", false),
            (Exec(" ; ; "), "[]", false),
            (Exec("SELECT 1 WHERE 0"), "1 []", false),
        ],
    );
    let parameters = vec![Value::Integer(7), Value::Float(1.5), Value::Text("ä".into()), Value::Blob(vec![0, 255].into())];
    check(
        "execute",
        &[
            (Execute("CREATE TABLE t (a, b, c, d, e)", vec![]), "[] changes 0", true),
            (Execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", parameters), "[] changes 1 id 1", true),
            (Execute("SELECT * FROM t; ", vec![]), "a,b,c,d,e [7|1.5|ä|00ff|null] changes 1 id 1", false),
            (Execute("UPDATE t SET a = a WHERE 0", vec![]), "[] changes 0 id 1", false),
            (Execute("SELECT ?2", vec![Value::Null, Value::Text(String::new())]), "?2 [] changes 0 id 1", false),
            (Execute("", vec![]), "[] changes 0 id 1", false),
            (Execute("SELECT 1 AS n -- one", vec![]), "n [1] changes 0 id 1", false),
            (Execute("SELECT 1; SELECT 2", vec![]), "multiple_statements: sqlite execute only supports a single statement", false),
            (
                Execute("DELETE FROM t; nonsense", vec![]),
                "multiple_statements: sqlite execute only supports a single statement",
                false,
            ),
            (
                Execute("SELECT ?", vec![Value::Null, Value::Null]),
                "too_many_parameters: 2 parameters were given and the statement takes 1; leave the others out",
                false,
            ),
            (Execute("SELECT 'a\0b'", vec![]), "zero_byte: the SQL has a zero byte at 9; bind such a value as a parameter", false),
            (
                Execute("SELECT typeof(?), typeof(?)", vec![Value::Blob(vec![].into())]),
                "typeof(?),typeof(?) [blob|null] changes 0 id 1",
                false,
            ),
            (Execute("SELECT CAST(x'61ff' AS TEXT) AS t", vec![]), "t [a\u{fffd}] changes 0 id 1", false),
            (Execute("INSERT INTO t (a) VALUES (8) RETURNING a, rowid", vec![]), "a,rowid [8|2] changes 1 id 2", true),
            (Reopen, "reopened", false),
            (Execute("SELECT count(*) FROM t", vec![]), "count(*) [2] changes 0", false),
        ],
    );
}

#[test]
fn transactions_across_calls() {
    check(
        "a transaction is stored when it commits",
        &[
            (Exec("CREATE TABLE t (a)"), "[]", true),
            (Execute("BEGIN", vec![]), "[] changes 0 (open)", false),
            (Execute("INSERT INTO t VALUES (1)", vec![]), "[] changes 1 id 1 (open)", false),
            (Exec("SELECT * FROM t"), "a [1] (open)", false),
            (Execute("COMMIT", vec![]), "[] changes 1 id 1", true),
            (Exec("BEGIN; INSERT INTO t VALUES (2)"), "[] (open)", false),
            (Exec("ROLLBACK; SELECT * FROM t"), "a [1]", false),
            (Exec("INSERT INTO t VALUES (3); BEGIN; INSERT INTO t VALUES (4)"), "[] (open)", true),
            (Reopen, "reopened", false),
            (Exec("SELECT * FROM t"), "a [1; 3]", false),
            (Exec("SAVEPOINT s; INSERT INTO t VALUES (5); SAVEPOINT r; DELETE FROM t; ROLLBACK TO r"), "[] (open)", false),
            (Exec("RELEASE s; SELECT * FROM t"), "a [1; 3; 5]", true),
            (Exec("BEGIN; COMMIT"), "[]", false),
            (Exec("BEGIN IMMEDIATE; COMMIT"), "[]", false),
            (Exec("COMMIT"), "statement_failed: cannot commit - no transaction is active", false),
        ],
    );
}

#[test]
fn batches_are_all_or_nothing() {
    check(
        "batches",
        &[
            (
                Batch(&["CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1)", "SELECT * FROM t"]),
                "[] changes 0 / [] changes 1 id 1 / a [1] changes 1 id 1",
                true,
            ),
            (
                Batch(&["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (1)"]),
                "constraint_failed: UNIQUE constraint failed: t.a",
                false,
            ),
            (
                Batch(&["INSERT INTO t VALUES (2)", "INSERT OR ROLLBACK INTO t VALUES (1)"]),
                "constraint_failed: UNIQUE constraint failed: t.a",
                false,
            ),
            (
                Batch(&["INSERT INTO t VALUES (2)", "COMMIT"]),
                "denied: COMMIT within a batch, which is one transaction, is not available here; the engine decides how the database is kept",
                false,
            ),
            (
                Batch(&["INSERT INTO t VALUES (2)", "SELECT 1; SELECT 2"]),
                "multiple_statements: sqlite execute only supports a single statement",
                false,
            ),
            (
                Batch(&["SAVEPOINT s", "INSERT INTO t VALUES (3)", "RELEASE s"]),
                "[] changes 1 id 2 / [] changes 1 id 2 / [] changes 1 id 2",
                true,
            ),
            (Batch(&[]), "", false),
            (Exec("SELECT * FROM t"), "a [1; 3]", false),
            (Exec("BEGIN; INSERT INTO t VALUES (4)"), "[] (open)", false),
            (Batch(&["SELECT 1"]), "statement_failed: cannot start a transaction within a transaction (open)", false),
            (Exec("COMMIT; SELECT * FROM t"), "a [1; 3; 4]", true),
            (Exec("CREATE TABLE c (p REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)"), "[]", true),
            (Batch(&["INSERT INTO c VALUES (99)"]), "constraint_failed: FOREIGN KEY constraint failed", false),
            (Exec("SELECT * FROM c"), "p []", false),
        ],
    );
}

#[test]
fn constraints_and_what_the_engine_sets() {
    check(
        "constraints",
        &[
            (
                Exec(
                    "CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n > 0)); CREATE TABLE c (p REFERENCES p (id))",
                ),
                "[]",
                true,
            ),
            (Exec("INSERT INTO c VALUES (1)"), "constraint_failed: FOREIGN KEY constraint failed", false),
            (Exec("INSERT INTO p VALUES (1, 0)"), "constraint_failed: CHECK constraint failed: n > 0", false),
            (Exec("INSERT INTO p VALUES (1, null)"), "constraint_failed: NOT NULL constraint failed: p.n", false),
            (Exec("PRAGMA foreign_keys"), "foreign_keys [1]", false),
            (Exec("PRAGMA journal_mode"), "journal_mode [delete]", false),
            (Exec("PRAGMA locking_mode"), "locking_mode [exclusive]", false),
            (Exec("PRAGMA auto_vacuum"), "auto_vacuum [0]", false),
            (Exec("PRAGMA page_size"), "page_size [4096]", false),
            (
                Exec("SELECT datetime('now'), CURRENT_TIMESTAMP"),
                "datetime('now'),CURRENT_TIMESTAMP [2024-01-02 03:04:05|2024-01-02 03:04:05]",
                false,
            ),
            (Exec("PRAGMA user_version = 7; PRAGMA user_version"), "user_version [7]", true),
            (Exec("SELECT name FROM pragma_table_info('p')"), "name [id; n]", false),
        ],
    );
}

#[test]
fn a_database_shrinks() {
    check(
        "dropped tables leave free pages, VACUUM gives them back",
        &[
            (
                Exec(
                    "CREATE TABLE big (b); INSERT INTO big WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT zeroblob(4000) FROM n",
                ),
                "[]",
                true,
            ),
            (Exec("DROP TABLE big; CREATE TABLE t (a); INSERT INTO t VALUES (1); PRAGMA page_count"), "page_count [302]", true),
            (Exec("VACUUM"), "[]", true),
            (Exec("PRAGMA page_count"), "page_count [2]", false),
            (Reopen, "reopened", false),
            (Exec("PRAGMA page_count; SELECT * FROM t"), "a [1]", false),
            (Exec("BEGIN; VACUUM"), "statement_failed: cannot VACUUM from within a transaction (open)", false),
        ],
    );
}

#[test]
fn extensions_that_are_compiled_in() {
    check(
        "full text, trees, JSON",
        &[
            (Exec("CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('the quick fox'), ('a dog')"), "[]", true),
            (Exec("SELECT body FROM f WHERE f MATCH 'fox'"), "body [the quick fox]", false),
            (Exec("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 2)"), "[]", true),
            (Exec("SELECT id FROM r WHERE x1 > 1"), "id [1]", false),
            (Exec("SELECT json_extract('{\"a\":[1,2]}', '$.a[1]') AS j"), "j [2]", false),
            (Exec("CREATE TEMP TABLE tmp (a); INSERT INTO tmp VALUES (5); SELECT * FROM tmp"), "a [5]", false),
            (Reopen, "reopened", false),
            (Exec("SELECT body FROM f WHERE f MATCH 'dog'"), "body [a dog]", false),
        ],
    );
}

#[test]
fn a_transaction_that_goes_on_from_call_to_call() {
    let denied = |what: &str| {
        let text = format!(
            "denied: {what} within a message, which is one transaction, is not available here; the engine decides how the database is kept (open)"
        );
        &*text.leak()
    };
    let (begin, commit, rollback) = (denied("BEGIN"), denied("COMMIT"), denied("ROLLBACK"));
    check(
        "committed",
        &[
            (Begin, "begun (open)", false),
            (
                Exec("CREATE TABLE t (a PRIMARY KEY); CREATE TABLE u (a REFERENCES t DEFERRABLE INITIALLY DEFERRED)"),
                "[] (open)",
                false,
            ),
            (Execute("INSERT INTO t VALUES (1), (2)", vec![]), "[] changes 2 id 2 (open)", false),
            (Execute("SELECT sum(a) FROM t", vec![]), "sum(a) [3] changes 0 id 2 (open)", false),
            (Exec("BEGIN"), begin, false),
            (Exec("SELECT 1; COMMIT"), commit, false),
            (Exec("END"), commit, false),
            (Execute("ROLLBACK", vec![]), rollback, false),
            (Batch(&["SELECT 1"]), begin, false),
            (Exec("SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s"), "[] (open)", false),
            (Exec("INSERT INTO t VALUES (1)"), "constraint_failed: UNIQUE constraint failed: t.a (open)", false),
            (Commit, "committed", true),
            (Reopen, "reopened", false),
            (Exec("SELECT a FROM t"), "a [1; 2]", false),
            (Exec("BEGIN; SELECT 1"), "1 [1] (open)", false),
            (Exec("COMMIT"), "[]", false),
        ],
    );
    check(
        "not committed",
        &[
            (Exec("CREATE TABLE t (a PRIMARY KEY); CREATE TABLE u (a REFERENCES t DEFERRABLE INITIALLY DEFERRED)"), "[]", true),
            (Begin, "begun (open)", false),
            (Exec("INSERT INTO t VALUES (1)"), "[] (open)", false),
            (RollBack, "rolled back", false),
            (RollBack, "rolled back", false),
            (Begin, "begun (open)", false),
            (Commit, "committed", false),
            (Begin, "begun (open)", false),
            (Exec("INSERT INTO t VALUES (1); INSERT INTO u VALUES (9)"), "[] (open)", false),
            (Commit, "constraint_failed: FOREIGN KEY constraint failed", false),
            (Begin, "begun (open)", false),
            (Begin, "statement_failed: cannot start a transaction within a transaction (open)", false),
            (Exec("INSERT INTO t VALUES (1)"), "[] (open)", false),
            (Exec("INSERT OR ROLLBACK INTO t VALUES (1)"), "constraint_failed: UNIQUE constraint failed: t.a", false),
            (RollBack, "rolled back", false),
            (Exec("SELECT count(*) FROM t"), "count(*) [0]", false),
        ],
    );
}

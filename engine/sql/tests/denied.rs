//! What statements may not do, and that no file is ever touched.
//!
//! Changes the working directory of its process: no test here may depend on it.

mod common;

use std::fs;

use common::{Image, filled, open_with, plain, shown, store};
use rivet_engine_sql::{Database, Limits, SqlError};

/// Each statement, and the beginning of what is said about it.
const DENIED: &[(&str, &str)] = &[
    ("ATTACH 'other.db' AS other", "ATTACH (or VACUUM INTO) is not available here"),
    ("ATTACH '' AS other", "ATTACH (or VACUUM INTO) is not available here"),
    ("ATTACH ':memory:' AS other", "ATTACH (or VACUUM INTO) is not available here"),
    ("ATTACH 'file:/etc/passwd?vfs=unix' AS other", "ATTACH (or VACUUM INTO) is not available here"),
    ("ATTACH (SELECT 'o' || 'ther') AS other", "ATTACH (or VACUUM INTO) is not available here"),
    ("DETACH main", "DETACH is not available here"),
    ("VACUUM INTO 'copy.db'", "ATTACH (or VACUUM INTO) is not available here"),
    ("VACUUM INTO 'file:copy.db?vfs=unix'", "ATTACH (or VACUUM INTO) is not available here"),
    ("SELECT load_extension('x.so')", "the function load_extension is not available here"),
    ("SELECT fts3_tokenizer('simple')", "the function fts3_tokenizer is not available here"),
    ("PRAGMA writable_schema = 1", "PRAGMA writable_schema is not available here"),
    ("PRAGMA main.writable_schema = 1", "PRAGMA writable_schema is not available here"),
    ("PRAGMA Journal_Mode = wal", "setting PRAGMA journal_mode is not available here"),
    ("PRAGMA journal_mode(off)", "setting PRAGMA journal_mode is not available here"),
    ("PRAGMA locking_mode = normal", "setting PRAGMA locking_mode is not available here"),
    ("PRAGMA page_size = 512", "setting PRAGMA page_size is not available here"),
    ("PRAGMA auto_vacuum = 1", "setting PRAGMA auto_vacuum is not available here"),
    ("PRAGMA max_page_count = 99999999", "setting PRAGMA max_page_count is not available here"),
    ("PRAGMA cache_size = 1000000", "setting PRAGMA cache_size is not available here"),
    ("PRAGMA temp_store = memory", "setting PRAGMA temp_store is not available here"),
    ("PRAGMA temp_store_directory = '.'", "PRAGMA temp_store_directory is not available here"),
    ("PRAGMA data_store_directory = '.'", "PRAGMA data_store_directory is not available here"),
    ("PRAGMA mmap_size = 1000000", "PRAGMA mmap_size is not available here"),
    ("PRAGMA threads = 4", "PRAGMA threads is not available here"),
    ("PRAGMA hard_heap_limit = 1", "PRAGMA hard_heap_limit is not available here"),
    ("PRAGMA soft_heap_limit = 1", "PRAGMA soft_heap_limit is not available here"),
    ("PRAGMA encoding = 'UTF-16'", "setting PRAGMA encoding is not available here"),
    ("PRAGMA schema_version = 1", "setting PRAGMA schema_version is not available here"),
    ("PRAGMA trusted_schema = 1", "setting PRAGMA trusted_schema is not available here"),
    ("PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint is not available here"),
    ("PRAGMA incremental_vacuum", "PRAGMA incremental_vacuum is not available here"),
    ("PRAGMA something_new", "PRAGMA something_new is not available here"),
    ("SELECT * FROM pragma_writable_schema", "PRAGMA writable_schema is not available here"),
    ("EXPLAIN PRAGMA journal_mode = wal", "setting PRAGMA journal_mode is not available here"),
];

/// These SQLite itself refuses, or does not know.
const REFUSED: &[(&str, &str)] = &[
    ("INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'x')", "table sqlite_master may not be modified"),
    ("SELECT readfile('/etc/passwd')", "no such function: readfile"),
    ("SELECT writefile('x', 'y')", "no such function: writefile"),
    ("SELECT edit('x')", "no such function: edit"),
    ("CREATE VIRTUAL TABLE c USING csv(filename='/etc/passwd')", "no such module: csv"),
    ("SELECT * FROM sqlite_dbpage", "no such table: sqlite_dbpage"),
];

/// Spills, sorts, has temporary tables and a journal; all of it in memory.
const BUSY: &str = "
    CREATE TEMP TABLE x AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, randomblob(500) AS b FROM n;
    CREATE INDEX temp.by_b ON x (b);
    BEGIN;
    INSERT INTO t (name, body) SELECT 'n ' || i, b FROM x ORDER BY b DESC;
    SAVEPOINT s;
    DELETE FROM t WHERE id % 3 = 0;
    ROLLBACK TO s;
    UPDATE t SET body = randomblob(900);
    COMMIT;
    SELECT count(DISTINCT body) FROM t;
    VACUUM";

#[test]
fn nothing_leaves_the_database() {
    let empty = tempfile::tempdir().expect("the temporary directory can be written");
    std::env::set_current_dir(empty.path()).expect("it is there");
    let mut image = filled(20);
    let limits = Limits { cache_bytes_max: 64 * 1024, ..Limits::default() };
    let mut database = open_with(&image, limits).expect("it opens");
    for (sql, said) in DENIED {
        let denied = |error: SqlError| {
            assert_eq!(error.code(), "denied", "{sql}: {error}");
            assert!(error.to_string().starts_with(said), "{sql}: {error}");
        };
        denied(database.exec(sql).expect_err(sql));
        denied(database.execute(sql, &[]).expect_err(sql));
        denied(database.exec(&format!("SELECT 1; {sql}; SELECT 2")).expect_err(sql));
        // A trigger may hold functions, and nothing else of these.
        if said.starts_with("the function") {
            let trigger = format!("CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN {sql}; END; INSERT INTO t (name) VALUES ('x')");
            denied(database.exec(&trigger).expect_err(sql));
            database.exec("DROP TRIGGER IF EXISTS r").expect("it can be dropped");
        }
    }
    for (sql, said) in REFUSED {
        assert_eq!(database.exec(sql).expect_err(sql).to_string(), *said);
    }
    assert!(!store(&mut database, &mut image), "nothing of this was written");
    database.exec(BUSY).expect("it fits");
    assert!(store(&mut database, &mut image));
    assert_eq!(settings(&mut database), "delete; exclusive; 4096; 0");
    drop(database);
    let left: Vec<_> = fs::read_dir(empty.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
    plain(&image);
    assert!(fs::read_dir(empty.path()).expect("it is there").next().is_none());
}

fn settings(database: &mut Database) -> String {
    let pragmas = ["journal_mode", "locking_mode", "page_size", "auto_vacuum"];
    let values = pragmas.map(|name| shown(&database.exec(&format!("PRAGMA {name}")).expect("it can be read").rows));
    values.join("; ")
}

#[test]
fn two_databases_of_one_thread_are_two() {
    let mut databases: Vec<(Database, Image)> =
        (0..3).map(|_| (open_with(&Image::default(), Limits::default()).expect("it opens"), Image::default())).collect();
    for round in 0..20 {
        for (number, (database, image)) in databases.iter_mut().enumerate() {
            let sql = format!("CREATE TABLE IF NOT EXISTS t (a); BEGIN; INSERT INTO t VALUES ({number} + {round})");
            database.exec(&sql).expect("it is written");
            store(database, image);
        }
        for (database, image) in &mut databases {
            database.exec("COMMIT").expect("it is committed");
            store(database, image);
        }
    }
    for (number, (_, image)) in databases.iter().enumerate() {
        let (_directory, plain) = plain(image);
        let sum: i64 = plain.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).expect("plain SQLite reads it");
        assert_eq!(sum, 20 * number as i64 + 190);
    }
}

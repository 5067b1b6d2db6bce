//! The same random statements here and in plain SQLite: the same answers, whatever is reopened when.
//!
//! `RIVET_SQL_SEED=17` replays one seed; `RIVET_SQL_SEEDS=10000` looks for trouble.

mod common;

use std::ops::Range;

use common::{Image, open_with, plain, plain_in_memory, shown, store};
use rivet_engine_sql::{Database, Limits, Value};
use rusqlite::types::ValueRef;

const STATEMENTS: usize = 120;
const LIMITS: &[&str] = &["heap_exhausted", "held_exhausted", "too_many_steps", "database_full", "result_too_large"];

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match (number("RIVET_SQL_SEED"), number("RIVET_SQL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, many) => 0..many.unwrap_or(60),
    }
}

#[test]
fn random_statements_give_what_plain_sqlite_gives() {
    for seed in seeds() {
        println!("seed {seed}");
        Run::new(seed, false).run();
    }
}

/// A statement that a limit stops has changed nothing, or has ended its transaction as a whole.
#[test]
fn limits_in_the_middle_of_anything() {
    for seed in seeds() {
        println!("seed {seed}");
        Run::new(seed, true).run();
    }
}

struct Run {
    random: fastrand::Rng,
    limits: Limits,
    ours: Database,
    image: Image,
    plain: rusqlite::Connection,
    /// Changes that were handed over and are not stored yet.
    pending: usize,
}

impl Run {
    fn new(seed: u64, tight: bool) -> Run {
        let mut random = fastrand::Rng::with_seed(seed);
        // A small cache makes SQLite write before it commits.
        let cache_bytes_max = if random.bool() { 16 * 1024 } else { 1024 * 1024 };
        let mut limits = Limits { cache_bytes_max, ..Limits::default() };
        if tight {
            limits.heap_bytes_max = random.usize(130_000..600_000);
            limits.held_bytes_max = random.usize(50_000..800_000);
            limits.steps_max = random.u64(2000..100_000);
            limits.database_pages_max = random.u32(30..300);
            limits.result_bytes_max = random.usize(500..10_000);
        }
        let image = Image::default();
        let ours = open_with(&image, limits.clone()).expect("an empty database opens");
        Run { random, limits, ours, image, plain: plain_in_memory(), pending: 0 }
    }

    fn run(mut self) {
        for _ in 0..STATEMENTS {
            let sql = self.statement();
            let ours = self.ours.execute(&sql, &[]).map(|done| shown(&done.rows));
            if ours.as_ref().is_err_and(|error| LIMITS.contains(&error.code())) {
                if !self.ours.in_transaction() && !self.plain.is_autocommit() {
                    self.plain.execute_batch("ROLLBACK").expect("it rolls back");
                }
            } else {
                assert_eq!(ours.map_err(|error| error.to_string()), query(&self.plain, &sql), "{sql}");
            }
            assert_eq!(self.ours.in_transaction(), !self.plain.is_autocommit(), "{sql}");
            self.store();
            if self.random.u8(..) < 16 {
                self.reopen();
            }
        }
        self.reopen();
        let (_directory, stored) = plain(&self.image);
        for sql in ["SELECT * FROM t ORDER BY 1", "SELECT * FROM u ORDER BY 1, 2", "SELECT name, sql FROM sqlite_schema ORDER BY 1"]
        {
            assert_eq!(query(&stored, sql), query(&self.plain, sql), "{sql}");
        }
    }

    /// As the caller would: what is handed over is stored, and sometimes SQLite is told so.
    fn store(&mut self) {
        if store(&mut self.ours, &mut self.image) {
            self.pending += 1;
        }
        if self.pending > 0 && self.random.u8(..) < 100 {
            self.ours.settle(Box::new(self.image.clone()));
            self.pending = 0;
        }
    }

    /// A transaction that is open is lost, here and there.
    fn reopen(&mut self) {
        if self.ours.in_transaction() {
            self.plain.execute_batch("ROLLBACK").expect("it rolls back");
        }
        self.ours = open_with(&self.image, self.limits.clone()).expect("what was stored opens");
        self.pending = 0;
    }

    fn statement(&mut self) -> String {
        let random = &mut self.random;
        let id = random.u32(1..200);
        let long = "x".repeat(random.usize(0..6000));
        match random.u8(0..30) {
            0 => "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT, body TEXT)".to_owned(),
            1 => "CREATE TABLE IF NOT EXISTS u (a UNIQUE, b REFERENCES t (id) ON DELETE CASCADE)".to_owned(),
            2 => "CREATE INDEX IF NOT EXISTS by_name ON t (name, body)".to_owned(),
            3 => "DROP INDEX IF EXISTS by_name".to_owned(),
            4 => if random.u8(..) < 60 { "DROP TABLE IF EXISTS u" } else { "DROP TABLE IF EXISTS v" }.to_owned(),
            5 => "CREATE TABLE IF NOT EXISTS v AS SELECT * FROM t".to_owned(),
            6..=10 => format!("INSERT INTO t (name, body) VALUES ('n{id}', '{long}')"),
            11 => format!("INSERT INTO t (id, name) VALUES ({id}, 'fixed')"),
            12..=13 => format!("INSERT OR REPLACE INTO u VALUES ({id}, (SELECT max(id) FROM t WHERE id < {id}))"),
            14 => format!("INSERT INTO u VALUES ({id}, {id})"),
            15 => format!("UPDATE t SET name = name || 'y', body = '{long}' WHERE id % 7 = {}", id % 7),
            16 => format!("DELETE FROM t WHERE id < {id} RETURNING id"),
            17..=18 => format!("SELECT id, name, length(body) FROM t WHERE id >= {id} ORDER BY name DESC, id LIMIT 5"),
            19 => "SELECT count(*), sum(length(body)), max(id) FROM t".to_owned(),
            20 => "SELECT t.id, u.a FROM t JOIN u ON u.b = t.id ORDER BY 1, 2".to_owned(),
            21..=22 => "BEGIN".to_owned(),
            23 => "COMMIT".to_owned(),
            24 => "ROLLBACK".to_owned(),
            25 => "SAVEPOINT s".to_owned(),
            26 => if random.bool() { "ROLLBACK TO s" } else { "RELEASE s" }.to_owned(),
            27 => "VACUUM".to_owned(),
            28 => "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
                   INSERT INTO t (name, body) SELECT 'bulk ' || i, printf('%.*c', 3000, 'z') FROM n"
                .to_owned(),
            _ => "PRAGMA integrity_check".to_owned(),
        }
    }
}

fn query(plain: &rusqlite::Connection, sql: &str) -> Result<String, String> {
    let message = |error: rusqlite::Error| match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        other => other.to_string(),
    };
    let mut statement = plain.prepare(sql).map_err(message)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(message)? {
        let value = |column| match row.get_ref(column).expect("there is such a column") {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => Value::Integer(value),
            ValueRef::Real(value) => Value::Float(value),
            ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(blob) => Value::Blob(bytes::Bytes::copy_from_slice(blob)),
        };
        found.push((0..columns).map(value).collect());
    }
    Ok(shown(&found))
}

//! What a call costs, on pages in memory: time of one thread, without anything that a store would add.
//!
//! ```sh
//! cargo bench -p rivet-engine-sql
//! ```

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use rivet_engine_sql::{Changes, Clock, Database, Limits, Pages, PagesError, Statement, Value};

/// Pages that all handles share, so that settling copies nothing.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(BTreeMap<u32, Bytes>, u32)>>);

impl Shared {
    fn apply(&self, changes: Changes) {
        let mut inner = self.0.lock().expect("no panic");
        inner.0.extend(changes.pages);
        inner.1 = changes.size_pages;
    }

    fn open(&self) -> Database {
        let clock: Clock = Box::new(|| 0);
        Database::open(Box::new(self.clone()), clock, Limits::default()).expect("it opens")
    }
}

impl Pages for Shared {
    fn size_pages(&self) -> u32 {
        self.0.lock().expect("no panic").1
    }

    fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
        Ok(self.0.lock().expect("no panic").0.get(&pgno).cloned())
    }
}

fn main() {
    // Asked for a list of tests, by a runner that takes every target for one.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let pages = Shared::default();
    let mut database = pages.open();
    database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, body BLOB); CREATE INDEX by_name ON t (name)").expect("sql");
    let mut number = 0;
    let mut params = || {
        number += 1;
        [Value::Text(format!("name {}", number * 7919 % 100_000)), Value::Blob(vec![7; 100].into())]
    };
    let insert = "INSERT INTO t (name, body) VALUES (?, ?)";
    let mut written = 0;
    time("execute: insert one row, take and settle its pages", 20_000, || {
        database.execute(insert, &params()).expect("sql");
        let changes = database.take_changes().expect("a row was inserted");
        written += changes.pages.len();
        pages.apply(changes);
        database.settle(Box::new(pages.clone()));
    });
    println!("  {:.1} pages each", written as f64 / 20_000.0);
    let batch: Vec<Statement> = (0..100).map(|_| Statement { sql: insert.to_owned(), params: params().to_vec() }).collect();
    time("execute_batch: insert 100 rows", 200, || {
        database.execute_batch(&batch).expect("sql");
        pages.apply(database.take_changes().expect("rows were inserted"));
        database.settle(Box::new(pages.clone()));
    });
    let key = [Value::Integer(77)];
    time("execute: read one row by its key", 50_000, || {
        black_box(database.execute("SELECT * FROM t WHERE id = ?", &key).expect("sql"));
    });
    time("exec: count 40,000 rows", 100, || {
        black_box(database.exec("SELECT count(*) FROM t WHERE body IS NOT NULL").expect("sql"));
    });
    drop(database);
    time("open and close", 5_000, || drop(black_box(pages.open())));
    time("open, read one row, close", 5_000, || {
        black_box(pages.open().execute("SELECT * FROM t WHERE id = ?", &key).expect("sql"));
    });
    println!("longest single steps, which no limit interrupts, for values of at most 1 MiB:");
    let mut database = pages.open();
    for (name, sql) in [
        ("instr", "SELECT instr(zeroblob(1000000), CAST(zeroblob(500000) AS BLOB) || x'01')"),
        (
            "instr of text",
            "SELECT instr(replace(hex(zeroblob(500000)), '00', 'aa'), replace(hex(zeroblob(250000)), '00', 'aa') || 'b')",
        ),
        ("replace", "SELECT replace(hex(zeroblob(500000)), substr(hex(zeroblob(250000)), 1, 499999) || '1', 'x')"),
        ("like", "SELECT hex(zeroblob(500000)) LIKE '%' || substr(hex(zeroblob(500)), 1, 900) || '1%'"),
    ] {
        let began = Instant::now();
        let result = database.exec(sql).map(|rows| rows.rows);
        println!("  {name}: {} ms, {}", began.elapsed().as_millis(), result.is_ok());
    }
}

fn time(name: &str, times: u32, mut work: impl FnMut()) {
    let began = Instant::now();
    for _ in 0..times {
        work();
    }
    println!("{name}: {:.1} us", began.elapsed().as_secs_f64() * 1e6 / f64::from(times));
}

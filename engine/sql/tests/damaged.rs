//! Pages that no SQLite ever wrote, and pages that cannot be read: an error or a result, never a crash.
//!
//! `RIVET_SQL_SEEDS=100000` looks for trouble.

mod common;

use bytes::Bytes;
use common::{Image, clock, filled, open, open_with, shown, store};
use rivet_engine_sql::{Database, Limits, PAGE_BYTES, Pages, PagesError, SqlError};

/// Touch the schema, tables, indexes, free pages, overflow pages, and virtual tables.
const STATEMENTS: &[&str] = &[
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM t",
    "SELECT name FROM t WHERE body > x'00' ORDER BY name",
    "SELECT * FROM f WHERE f MATCH 'quick'",
    "SELECT id FROM r WHERE x1 > 1",
    "INSERT INTO f VALUES ('more of it')",
    "INSERT INTO t (name, body) VALUES ('new', zeroblob(9000))",
    "UPDATE t SET name = name || 'x' WHERE id % 3 = 0",
    "DELETE FROM t WHERE id % 2 = 0",
    "CREATE TABLE other AS SELECT * FROM t",
    "DROP TABLE t",
    "PRAGMA integrity_check",
    "VACUUM",
];

fn limits() -> Limits {
    Limits { steps_max: 200_000, held_bytes_max: 4 * 1024 * 1024, heap_bytes_max: 16 * 1024 * 1024, ..Limits::default() }
}

/// Runs everything; what fails must be one of the errors of a database, not of our own making.
fn survive(image: &Image) -> usize {
    let mut database = match open_with(image, limits()) {
        Ok(database) => database,
        Err(error) => {
            assert!(["corrupt", "unsupported", "statement_failed"].contains(&error.code()), "{}: {error}", error.code());
            return 0;
        }
    };
    let mut done = 0;
    let mut image = image.clone();
    for sql in STATEMENTS {
        match database.exec(sql) {
            Ok(_) => done += 1,
            Err(error) => assert!(!["denied", "pages_unreadable", "setup_failed"].contains(&error.code()), "{sql}: {error}"),
        }
        store(&mut database, &mut image);
    }
    done
}

fn seeds(default: u64) -> u64 {
    std::env::var("RIVET_SQL_SEEDS").ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn sample() -> Image {
    let mut image = filled(60);
    let mut database = open(&image);
    let sql = "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('the quick fox'), ('a dog');
               CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 2), (2, 5, 9);
               CREATE VIEW v AS SELECT name FROM t; CREATE TRIGGER tr AFTER DELETE ON t BEGIN SELECT 1; END;
               INSERT INTO t (name, body) VALUES ('long', zeroblob(20000)); CREATE TABLE gone (a);
               INSERT INTO gone SELECT body FROM t; DROP TABLE gone";
    database.exec(sql).expect("it is written");
    store(&mut database, &mut image);
    image
}

#[test]
fn random_pages_are_no_database() {
    for seed in 0..seeds(100) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut file = vec![0; random.usize(1..6) * PAGE_BYTES];
        random.fill(&mut file);
        // Most are refused for their first bytes alone; the others get further.
        if random.bool() {
            file[..100].copy_from_slice(&sample().file()[..100]);
        }
        survive(&Image::from_file(&file));
    }
    survive(&Image::from_file(&vec![0; 3 * PAGE_BYTES]));
    survive(&Image { size_pages: 5, ..Image::default() });
}

#[test]
fn damaged_databases_are_survived() {
    let sample = sample();
    assert_eq!(survive(&sample), STATEMENTS.len(), "undamaged, everything works");
    let file = sample.file();
    let mut damaged = 0;
    for seed in 0..seeds(300) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut file = file.clone();
        for _ in 0..random.usize(1..20) {
            let page = random.usize(0..file.len() / PAGE_BYTES) * PAGE_BYTES;
            match random.u8(0..6) {
                // The header of a page, where its structure is.
                0 | 1 => file[page + random.usize(0..120)] = random.u8(..),
                2 => file[page + random.usize(0..PAGE_BYTES)] ^= 1 << random.u8(0..8),
                3 => {
                    let from = random.usize(0..file.len() / PAGE_BYTES) * PAGE_BYTES;
                    file.copy_within(from..from + PAGE_BYTES, page);
                }
                4 => file[page..page + PAGE_BYTES].fill(random.u8(..)),
                // A text of the schema that is no UTF-8 any more.
                _ => file[random.usize(1000..PAGE_BYTES)] = random.u8(128..),
            }
        }
        if random.u8(0..8) == 0 {
            file.truncate(random.usize(1..file.len() / PAGE_BYTES) * PAGE_BYTES);
        }
        damaged += usize::from(survive(&Image::from_file(&file)) < STATEMENTS.len());
    }
    assert!(damaged > 50, "most damage is found");
}

#[test]
fn names_that_are_no_utf8_are_shown() {
    let mut image = Image::default();
    let mut database = open(&image);
    database.exec("CREATE TABLE t (abcd, e); INSERT INTO t VALUES (1, 2)").expect("it is written");
    store(&mut database, &mut image);
    let mut file = image.file();
    let at = file.windows(4).position(|bytes| bytes == b"abcd").expect("the schema says so");
    file[at + 1] = 0xff;
    let mut database = open(&Image::from_file(&file));
    let rows = database.exec("SELECT * FROM t").expect("it is read");
    assert_eq!((rows.columns.join(","), shown(&rows.rows)), ("a\u{fffd}cd,e".to_owned(), "1|2".to_owned()));
}

#[test]
fn formats_that_do_not_fit_are_said() {
    let file = filled(5).file();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        open_with(&Image::from_file(&file), Limits::default()).err().map(|error| error.to_string())
    };
    assert_eq!(with(0, b""), None);
    let remedy = "rewrite it with 4096-byte pages and journal_mode=delete";
    assert_eq!(with(16, &[2, 0]), Some(format!("the database has pages of 512 bytes; {remedy}")));
    assert_eq!(with(16, &[0, 1]), Some(format!("the database has pages of 65536 bytes; {remedy}")));
    assert_eq!(with(18, &[2, 2]), Some(format!("the database is in WAL mode; {remedy}")));
}

/// Some page fails, one is short, and one makes the caller's code panic.
struct Broken {
    image: Image,
    answer: fn(u32) -> Option<Result<Option<Bytes>, PagesError>>,
}

impl Pages for Broken {
    fn size_pages(&self) -> u32 {
        self.image.size_pages
    }

    fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
        (self.answer)(pgno).unwrap_or_else(|| self.image.read(pgno))
    }
}

#[test]
fn pages_that_cannot_be_read() {
    let image = filled(500);
    let open = |answer| Database::open(Box::new(Broken { image: image.clone(), answer }), clock(), Limits::default());
    let failing = |pgno| (pgno == 5).then(|| Err(PagesError("the disk is gone".to_owned())));
    let mut database = open(failing).expect("the first page can be read");
    for _ in 0..2 {
        let error = database.exec("SELECT sum(length(body)) FROM t NOT INDEXED; SELECT * FROM t").expect_err("one cannot");
        assert_eq!(error, SqlError::Pages(PagesError("the disk is gone".to_owned())));
    }
    let mut database = open(|pgno| (pgno == 5).then(|| Ok(Some(Bytes::from_static(b"short"))))).expect("it opens");
    let error = database.exec("SELECT * FROM t").expect_err("one is short");
    assert_eq!(error.to_string(), "a page of the database could not be read: page 5 has 5 bytes, expected 4096; check the store");
    let error = open(|pgno| (pgno == 1).then(|| Err(PagesError("no".to_owned())))).err().expect("it does not open");
    assert_eq!(error.code(), "pages_unreadable");
    let mut database = open(|pgno| if pgno == 5 { panic!("a bug of the caller") } else { None }).expect("it opens");
    let error = database.exec("SELECT * FROM t").expect_err("one panics");
    assert_eq!(error.code(), "statement_failed", "{error}");
}

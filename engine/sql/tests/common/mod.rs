//! What the tests share: a map of pages in place of a store, a clock that stands still, and plain SQLite to compare with.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rivet_engine_sql::{Changes, Clock, Database, Limits, PAGE_BYTES, Pages, PagesError, SqlError, Value};

/// 2024-01-02 03:04:05 UTC.
pub const NOW_MS: i64 = 1_704_164_645_000;

pub fn clock() -> Clock {
    Box::new(|| NOW_MS)
}

/// What a store would keep.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Image {
    pub pages: BTreeMap<u32, Bytes>,
    pub size_pages: u32,
}

impl Image {
    pub fn apply(&mut self, changes: &Changes) {
        for (pgno, page) in &changes.pages {
            assert_eq!(page.len(), PAGE_BYTES);
            assert!((1..=changes.size_pages).contains(pgno), "page {pgno} of {}", changes.size_pages);
            self.pages.insert(*pgno, page.clone());
        }
        self.size_pages = changes.size_pages;
        self.pages.retain(|pgno, _| *pgno <= changes.size_pages);
    }

    /// As a file.
    pub fn file(&self) -> Vec<u8> {
        let mut file = vec![0; self.size_pages as usize * PAGE_BYTES];
        for (pgno, page) in &self.pages {
            let at = (*pgno as usize - 1) * PAGE_BYTES;
            file[at..at + PAGE_BYTES].copy_from_slice(page);
        }
        file
    }

    pub fn from_file(file: &[u8]) -> Image {
        let pages = (1..).zip(file.chunks(PAGE_BYTES)).map(|(pgno, page)| (pgno, Bytes::copy_from_slice(page)));
        let pages: BTreeMap<u32, Bytes> = pages.collect();
        Image { size_pages: pages.len() as u32, pages }
    }
}

impl Pages for Image {
    fn size_pages(&self) -> u32 {
        self.size_pages
    }

    fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
        assert!((1..=self.size_pages).contains(&pgno), "page {pgno} is not one of {}", self.size_pages);
        Ok(self.pages.get(&pgno).cloned())
    }
}

pub fn open(image: &Image) -> Database {
    open_with(image, Limits::default()).expect("the database opens")
}

pub fn open_with(image: &Image, limits: Limits) -> Result<Database, SqlError> {
    Database::open(Box::new(image.clone()), clock(), limits)
}

/// Takes what was committed into the image.
pub fn store(database: &mut Database, image: &mut Image) -> bool {
    let changes = database.take_changes();
    if let Some(changes) = &changes {
        image.apply(changes);
    }
    changes.is_some()
}

/// Plain SQLite on a file of these pages; what it says about its integrity was asked already.
pub fn plain(image: &Image) -> (tempfile::TempDir, rusqlite::Connection) {
    // The allocator can be replaced only before SQLite is used in any other way.
    drop(open(&Image::default()));
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let path = directory.path().join("plain.db");
    std::fs::write(&path, image.file()).expect("the temporary directory can be written");
    let plain = rusqlite::Connection::open(path).expect("plain SQLite opens it");
    let integrity: String = plain.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(integrity, "ok");
    (directory, plain)
}

pub fn plain_in_memory() -> rusqlite::Connection {
    drop(open(&Image::default()));
    rusqlite::Connection::open_in_memory().expect("memory opens")
}

/// Rows as text: `a|1; b|2`.
pub fn shown(rows: &[Vec<Value>]) -> String {
    rows.iter().map(|row| row.iter().map(show).collect::<Vec<_>>().join("|")).collect::<Vec<_>>().join("; ")
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => text.clone(),
        Value::Blob(blob) => blob.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A database with a table of `rows` rows of some 100 bytes each.
pub fn filled(rows: u32) -> Image {
    let mut image = Image::default();
    let mut database = open(&image);
    let sql = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB);
         CREATE INDEX by_body ON t (body);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t SELECT i, 'name ' || i, zeroblob(80) FROM n;"
    );
    database.exec(&sql).expect("the table can be filled");
    store(&mut database, &mut image);
    image
}

/// For counters that a closure keeps.
pub type Shared<T> = Arc<Mutex<T>>;

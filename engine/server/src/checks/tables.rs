//! How two states of an actor's database differ: what is defined in it, and the rows of each table.
//!
//! Both are opened and read by SQLite, side by side in the order of the rows' ids. Rows of tables without such ids are compared as a
//! whole: one that was changed counts as removed and added. Bounded by rows and time; what was not read is said. Blocking.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use engine_sql::{Database, SqlError, Value};
use engine_store::State;
use protocol::id::ActorId;
use sha2::{Digest, Sha256};

use super::report::{Counted, Table};
use crate::database::{head_of, open_to_read};

/// Tables, indexes, views and triggers that are looked at.
const DEFINITIONS_MAX: usize = 1_000;
/// Rows of one table, of each of the two.
const ROWS_MAX: usize = 100_000;
/// Of a table without ids: it is read by offsets, which takes longer with each page.
const ROWS_WITHOUT_ID_MAX: usize = 10_000;
/// For all of a database.
const COMPARE_MS_MAX: u64 = 20_000;
/// Rows that are read at one time, fewer if they are large.
const PAGE_ROWS: usize = 256;
/// What SQLite calls a row's id.
const IDS: [&str; 3] = ["rowid", "_rowid_", "oid"];

type Definitions = BTreeMap<(String, String), String>;
type Row = Vec<Value>;

/// What differs; and what could not be compared, and why.
pub fn compare(before: &State, after: &State, actor: ActorId) -> Result<(Vec<Table>, Vec<String>), String> {
    let head = |state: &State| head_of(state, actor).map_err(|error| error.message);
    if head(before)?.txid == head(after)?.txid {
        return Ok(Default::default());
    }
    let began = Instant::now();
    let open = |state: &State| open_to_read(state, actor).map_err(|error| error.message);
    let (mut before, mut after) = (open(before)?, open(after)?);
    let (was, is) = (definitions(before.as_mut())?, definitions(after.as_mut())?);
    let (mut tables, mut unknown) = (Vec::new(), Vec::new());
    for place in was.keys().chain(is.keys().filter(|place| !was.contains_key(*place))) {
        let definition = match (was.get(place), is.get(place)) {
            (None, _) => Some("created"),
            (_, None) => Some("dropped"),
            (Some(was), Some(is)) => (was != is).then_some("altered"),
        };
        let (kind, name) = place;
        let (mut rows, mut digest) = (None, 0);
        if kind == "table" {
            let read = |database: &mut Option<Database>, known: &Definitions| -> Result<Option<Rows>, String> {
                let Some(database) = database.as_mut().filter(|_| known.contains_key(place)) else { return Ok(None) };
                Rows::open(database, name).map(Some)
            };
            let compared = match began.elapsed() < Duration::from_millis(COMPARE_MS_MAX) {
                false => Err(format!("there was no time left of {COMPARE_MS_MAX} ms")),
                true => read(&mut before, &was).and_then(|was| {
                    let is = read(&mut after, &is)?;
                    differences(before.as_mut().zip(was), after.as_mut().zip(is), began)
                }),
            };
            match compared {
                Ok((counted, of_rows)) => {
                    rows = Some(counted).filter(|counted| *counted != Counted::default());
                    digest = of_rows;
                }
                Err(why) => unknown.push(format!("rows of {name}: {why}")),
            }
        }
        if definition.is_some() || rows.is_some() {
            tables.push(Table { kind: kind.clone(), name: name.clone(), definition, rows, digest });
        }
    }
    Ok((tables, unknown))
}

fn definitions(database: Option<&mut Database>) -> Result<Definitions, String> {
    let Some(database) = database else { return Ok(Definitions::new()) };
    let sql = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1, 2 LIMIT ?";
    let limit = Value::Integer(DEFINITIONS_MAX as i64 + 1);
    let found = database.execute(sql, &[limit]).map_err(|error| error.to_string())?;
    if found.rows.len() > DEFINITIONS_MAX {
        return Err(format!("it has more than {DEFINITIONS_MAX} tables, indexes, views and triggers, which are not compared"));
    }
    let text = |value: &Value| if let Value::Text(text) = value { text.clone() } else { String::new() };
    let one = |row: &Row| Some(((text(row.first()?), text(row.get(1)?)), text(row.get(2)?)));
    Ok(found.rows.iter().filter_map(one).collect())
}

/// A table as it is read: from the first row to the last.
struct Rows {
    columns: Vec<String>,
    table: String,
    /// What the rows' ids are called here; none: they have none.
    id: Option<&'static str>,
    /// Behind this id, or this many rows.
    at: i64,
    began: bool,
    read: usize,
    page_rows: usize,
    page: std::vec::IntoIter<Row>,
    ended: bool,
}

impl Rows {
    fn open(database: &mut Database, name: &str) -> Result<Rows, String> {
        let table = format!("\"{}\"", name.replace('"', "\"\""));
        let mut ask = |sql: String| database.execute(&sql, &[]);
        let columns = ask(format!("SELECT * FROM {table} LIMIT 0")).map_err(|error| error.to_string())?.columns;
        let hidden = |id: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(id));
        // Tables without ids refuse it.
        let id = IDS.into_iter().find(|id| !hidden(id)).filter(|id| ask(format!("SELECT {id} FROM {table} LIMIT 0")).is_ok());
        let page = Vec::new().into_iter();
        Ok(Rows { columns, table, id, at: 0, began: false, read: 0, page_rows: PAGE_ROWS, page, ended: false })
    }

    fn next(&mut self, database: &mut Database) -> Result<Option<Row>, String> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        if self.ended {
            return Ok(None);
        }
        let rows = loop {
            match self.read_page(database) {
                Ok(rows) => break rows,
                Err(SqlError::ResultTooLarge { .. }) if self.page_rows > 1 => self.page_rows /= 4,
                Err(error) => return Err(error.to_string()),
            }
        };
        self.ended = rows.len() < self.page_rows;
        self.read += rows.len();
        match (self.id, rows.last().and_then(|row| row.first())) {
            (Some(_), Some(Value::Integer(id))) => self.at = *id,
            (Some(_), Some(_)) => return Err("its rows' ids are no numbers".to_string()),
            (Some(_), None) => {}
            (None, _) => self.at += rows.len() as i64,
        }
        self.began = true;
        self.page = rows.into_iter();
        Ok(self.page.next())
    }

    fn read_page(&self, database: &mut Database) -> Result<Vec<Row>, SqlError> {
        let (table, limit) = (&self.table, Value::Integer(self.page_rows as i64));
        let found = match self.id {
            Some(id) if self.began => {
                let sql = format!("SELECT {id}, * FROM {table} WHERE {id} > ? ORDER BY {id} LIMIT ?");
                database.execute(&sql, &[Value::Integer(self.at), limit])
            }
            Some(id) => database.execute(&format!("SELECT {id}, * FROM {table} ORDER BY {id} LIMIT ?"), &[limit]),
            None => database.execute(&format!("SELECT * FROM {table} LIMIT ? OFFSET ?"), &[limit, Value::Integer(self.at)]),
        };
        found.map(|found| found.rows)
    }
}

type Side<'a> = Option<(&'a mut Database, Rows)>;

/// With a digest of the rows that differ: the same for the same ones.
fn differences(before: Side<'_>, after: Side<'_>, began: Instant) -> Result<(Counted, u64), String> {
    let by_id = [&before, &after].into_iter().flatten().all(|(_, rows)| rows.id.is_some());
    match by_id {
        true => by_ids(before, after, began),
        false => as_a_whole(before, after, began),
    }
}

/// Whether enough was read.
fn is_enough(read: usize, rows_max: usize, began: Instant) -> bool {
    read > rows_max || read.is_multiple_of(PAGE_ROWS) && began.elapsed() >= Duration::from_millis(COMPARE_MS_MAX)
}

fn by_ids(mut before: Side<'_>, mut after: Side<'_>, began: Instant) -> Result<(Counted, u64), String> {
    let columns = |side: &Side<'_>| side.as_ref().map(|(_, rows)| rows.columns.clone()).unwrap_or_default();
    let (was, is) = (columns(&before), columns(&after));
    let next = |side: &mut Side<'_>| side.as_mut().map_or(Ok(None), |(database, rows)| rows.next(database));
    let id = |row: &Row| if let Some(Value::Integer(id)) = row.first() { *id } else { 0 };
    let (mut counted, mut digest) = (Counted::default(), DefaultHasher::new());
    let (mut old, mut new) = (next(&mut before)?, next(&mut after)?);
    for read in 1.. {
        let order = match (&old, &new) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => id(old).cmp(&id(new)),
        };
        let mut differs = true;
        if order.is_lt() {
            counted.removed += 1;
        } else if order.is_gt() {
            counted.added += 1;
        } else if old.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| !are_alike(&was, old, &is, new)) {
            counted.changed += 1;
        } else {
            differs = false;
        }
        if differs {
            let row = if order.is_lt() { old.as_ref().map(|row| &row[..1]) } else { new.as_deref() };
            format!("{order:?} {row:?}").hash(&mut digest);
        }
        if order.is_le() {
            old = next(&mut before)?;
        }
        if order.is_ge() {
            new = next(&mut after)?;
        }
        if is_enough(read, ROWS_MAX, began) {
            counted.more = true;
            break;
        }
    }
    Ok((counted, digest.finish()))
}

/// A column that one of them does not have is NULL there.
fn are_alike(was: &[String], old: &Row, is: &[String], new: &Row) -> bool {
    // The id comes first.
    let value = |columns: &[String], row: &Row, name: &String| {
        let at = columns.iter().position(|column| column == name)?;
        row.get(at + 1).cloned()
    };
    was == is && old == new
        || was
            .iter()
            .chain(is)
            .all(|name| value(was, old, name).unwrap_or(Value::Null) == value(is, new, name).unwrap_or(Value::Null))
}

fn as_a_whole(before: Side<'_>, after: Side<'_>, began: Instant) -> Result<(Counted, u64), String> {
    let (mut counted, mut digest) = (Counted::default(), 0u64);
    // How often each row is there, and was.
    let mut rows: HashMap<[u8; 32], i64> = HashMap::new();
    for (side, step) in [(before, -1), (after, 1)] {
        let Some((database, mut table)) = side else { continue };
        // With its id, where there is one on one side only, it would never be alike.
        let skip = usize::from(table.id.is_some());
        let mut read = 0;
        while let Some(row) = table.next(database)? {
            let of_row = Sha256::digest(format!("{:?}", row.get(skip..)));
            *rows.entry(of_row.into()).or_default() += step;
            read += 1;
            if is_enough(read, ROWS_WITHOUT_ID_MAX, began) {
                return Err(format!("more than {ROWS_WITHOUT_ID_MAX} rows without ids, which are not compared"));
            }
        }
    }
    for (row, count) in rows {
        if count != 0 {
            // In any order.
            digest =
                digest.wrapping_add(u64::from_le_bytes(*row.first_chunk().expect("it has 32 bytes")).wrapping_mul(count as u64));
        }
        match count {
            0.. => counted.added += count.unsigned_abs() as usize,
            _ => counted.removed += count.unsigned_abs() as usize,
        }
    }
    Ok((counted, digest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use engine_core::record::{Change, DatabaseHead};
    use engine_sql::{Limits, Pages, PagesError};
    use engine_store::{Memory, Persist, Store, group};
    use protocol::id::Id;

    use super::*;

    struct Empty;

    impl Pages for Empty {
        fn size_pages(&self) -> u32 {
            0
        }

        fn read(&self, _: u32) -> Result<Option<Bytes>, PagesError> {
            Ok(None)
        }
    }

    fn actor() -> ActorId {
        Id::new([1; 16], 1)
    }

    /// A state whose database these statements have made.
    fn state(txid: u64, sql: &str) -> State {
        let store = Arc::new(Memory::new());
        let mut database = Database::open(Box::new(Empty), Box::new(|| 0), Limits::default()).expect("an empty database");
        database.exec(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        if let Some(changes) = database.take_changes() {
            let head = DatabaseHead { txid, size_pages: changes.size_pages };
            let change = Change::Database { actor: actor(), head, pages: changes.pages, shrunk: false };
            store.commit(&group::alone(&*store, State::batch(&[change])).expect("a read"), Persist::Written).expect("a batch");
        }
        State::new(store)
    }

    /// What is told of a database that was made so, and then like this as well.
    #[track_caller]
    fn check(was: &str, then: &str, expected: &str) {
        let (tables, unknown) = compare(&state(1, was), &state(2, &format!("{was};{then}")), actor()).expect("it can be read");
        let one = |table: &Table| {
            let rows = table.rows.map(|rows| format!(" +{} ~{} -{}", rows.added, rows.changed, rows.removed)).unwrap_or_default();
            format!("{} {} {}{rows}", table.kind, table.name, table.definition.unwrap_or("-"))
        };
        let told: Vec<String> = tables.iter().map(one).chain(unknown).collect();
        assert_eq!(told.join("; "), expected, "{was}; then {then}");
    }

    #[test]
    fn what_is_told() {
        let numbers = |count: usize| {
            format!(
                "CREATE TABLE t (a INTEGER PRIMARY KEY, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO t SELECT i, i FROM n"
            )
        };
        check("", "CREATE TABLE t (a)", "table t created");
        check("CREATE TABLE t (a)", "", "");
        check("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "table t - +1 ~0 -0");
        check(&numbers(5), "INSERT INTO t VALUES (-1, 0), (9, 0); DELETE FROM t WHERE a = 3", "table t - +2 ~0 -1");
        // The pages of rows that are read, and one more.
        for count in [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 2 * PAGE_ROWS] {
            check(&numbers(count), "UPDATE t SET b = 0 WHERE a % 2 = 0", &format!("table t - +0 ~{} -0", count / 2));
            check(&numbers(count), "DELETE FROM t", &format!("table t - +0 ~0 -{count}"));
        }
        check("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)", "ALTER TABLE t ADD COLUMN b", "table t altered");
        check(
            "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)",
            "ALTER TABLE t ADD COLUMN b DEFAULT 0; ALTER TABLE t DROP COLUMN a",
            "table t altered +0 ~2 -0",
        );
        check("CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t", "DROP VIEW v; CREATE VIEW v AS SELECT 1", "view v altered");
        check(
            "CREATE TABLE t (a)",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END; CREATE INDEX i ON t (a)",
            "index i created; trigger g created",
        );
        check(
            "CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO t VALUES ('k', 1), ('l', 1)",
            "UPDATE t SET b = 2 WHERE a = 'k'",
            "table t - +1 ~0 -1",
        );
        // Names that must be quoted, and columns that hide the row's id: one of its names, and all.
        check("CREATE TABLE \"a\"\"b c\" (x)", "INSERT INTO \"a\"\"b c\" VALUES (1)", "table a\"b c - +1 ~0 -0");
        check("CREATE TABLE t (rowid, b); INSERT INTO t VALUES ('x', 1)", "UPDATE t SET b = 2", "table t - +0 ~1 -0");
        check("CREATE TABLE t (ROWID, _rowid_, oid); INSERT INTO t VALUES (1, 1, 1)", "UPDATE t SET oid = 2", "table t - +1 ~0 -1");
        // Rows of which not many fit into one answer.
        check(
            "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO t SELECT zeroblob(900000) FROM n",
            "DELETE FROM t WHERE rowid > 35",
            "table t - +0 ~0 -5",
        );
        let nested = "CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001) INSERT INTO t SELECT i FROM n";
        check(nested, "DELETE FROM t WHERE a = '1'", "rows of t: more than 10000 rows without ids, which are not compared");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let store = Arc::new(Memory::new());
        let change = Change::Database {
            actor: actor(),
            head: DatabaseHead { txid: 2, size_pages: 1 },
            pages: vec![(1, vec![7; 4096].into())],
            shrunk: false,
        };
        store.commit(&group::alone(&*store, State::batch(&[change])).expect("a read"), Persist::Written).expect("a batch");
        let compared = compare(&state(1, "CREATE TABLE t (a)"), &State::new(store), actor());
        assert!(compared.is_err_and(|why| why.contains("not a database")), "its pages are no database");
    }
}

//! One actor as a file: everything that is stored about it, to be taken to another key, namespace or engine.
//!
//! Lines of JSON; bytes are base64. The first says what it is and whose, then one for each entry and each page, and the last has the
//! SHA-256 of all lines before it, so that a file that was cut is never taken for a whole one. `docs/BACKUPS.md` describes it. Bytes come
//! from outside: every one of them is checked before anything is made of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine_core::input::{Create, Import};
use engine_core::record::{CrashPolicy, DatabaseHead};
use engine_store::state::Exported;
use protocol::database::PAGE_BYTES;
use protocol::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX, MIB};
use protocol::message::KvEntry;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::random;

/// Keys and values of one actor that are exported and imported: written in one commit, and held in memory meanwhile.
pub const STATE_BYTES_MAX: usize = 64 * MIB;
/// The same as a file: base64, and a little around each.
pub const FILE_BYTES_MAX: usize = 3 * STATE_BYTES_MAX;
const FORMAT: &str = "rivet-actor";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u32,
    /// That wrote the file.
    engine: String,
    export_ms: u64,
    /// Where it was; it gets another id.
    actor_id: String,
    name: String,
    key: Option<String>,
    pool: String,
    crash_policy: CrashPolicy,
    create_ms: u64,
    /// When it first ran.
    start_ms: Option<u64>,
    alarm_ms: Option<u64>,
    input: Option<String>,
    database: Option<Database>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    txid: u64,
    size_pages: u32,
}

/// Every line but the first.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// Key, value, when it was written.
    Kv(String, String, u64),
    /// The same of what its runner keeps for it.
    RunnerKv(String, String, u64),
    Page(u32, String),
    End {
        sha256: String,
    },
}

/// What a file says.
pub struct Imported {
    pub name: String,
    pub key: Option<String>,
    pub import: Import,
}

pub fn encode(exported: Exported, now_ms: u64) -> Vec<u8> {
    let Exported { record, input, kv, own, head, pages } = exported;
    let head = Head {
        format: FORMAT.to_string(),
        version: VERSION,
        engine: env!("CARGO_PKG_VERSION").to_string(),
        export_ms: now_ms,
        actor_id: record.id.to_string(),
        name: record.name,
        key: record.key,
        pool: record.pool,
        crash_policy: record.crash_policy,
        create_ms: record.create_ms,
        start_ms: record.start_ms,
        alarm_ms: record.alarm.map(|alarm| alarm.scheduled_ms),
        input: input.map(|input| STANDARD.encode(input)),
        database: head.map(|head| Database { txid: head.txid, size_pages: head.size_pages }),
    };
    let mut file = Vec::new();
    put(&mut file, &head);
    for entry in kv {
        put(&mut file, &Line::Kv(STANDARD.encode(entry.key), STANDARD.encode(entry.value), entry.update_ms));
    }
    for entry in own {
        put(&mut file, &Line::RunnerKv(STANDARD.encode(entry.key), STANDARD.encode(entry.value), entry.update_ms));
    }
    for (number, page) in pages {
        put(&mut file, &Line::Page(number, STANDARD.encode(page)));
    }
    let sha256 = engine_backup::files::hex(&Sha256::digest(&file));
    put(&mut file, &Line::End { sha256 });
    file
}

fn put(file: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *file, line).expect("texts and numbers can be written as JSON");
    file.push(b'\n');
}

/// The error is a sentence: what is wrong with the file, and in which line.
pub fn decode(file: &[u8]) -> Result<Imported, String> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let mut lines = file.split_inclusive(|byte| *byte == b'\n').enumerate();
    let first = lines.next().map(|(_, line)| line).unwrap_or_default();
    let kind: Kind =
        serde_json::from_slice(first).map_err(|error| format!("line 1 is not the head of an exported actor: {error}"))?;
    match kind {
        Kind { format, .. } if format != FORMAT => return Err(format!("it is {format:?}, and {FORMAT:?} is expected")),
        Kind { version, .. } if version > VERSION => {
            return Err(format!("it has version {version}, and this engine knows versions up to {VERSION}; use a newer engine"));
        }
        _ => {}
    }
    let head: Head = serde_json::from_slice(first).map_err(|error| format!("line 1: {error}"))?;
    let (mut entries, mut pages) = (Vec::new(), Vec::new());
    let (mut at, mut state, mut ended) = (first.len(), 0, false);
    for (number, line) in lines {
        let wrong = |what: String| format!("line {}: {what}", number + 1);
        if ended {
            return Err(wrong("there is nothing behind the end".to_string()));
        }
        match serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))? {
            Line::Kv(key, value, update_ms) => entries.push((false, entry(&key, &value, update_ms, &mut state).map_err(wrong)?)),
            Line::RunnerKv(key, value, update_ms) => {
                entries.push((true, entry(&key, &value, update_ms, &mut state).map_err(wrong)?))
            }
            Line::Page(page, bytes) => {
                let bytes = base64(&bytes).map_err(wrong)?;
                if bytes.len() != PAGE_BYTES || page == 0 {
                    return Err(wrong(format!("page {page} has {} bytes; pages begin with 1 and have {PAGE_BYTES}", bytes.len())));
                }
                state += bytes.len();
                pages.push((page, bytes));
            }
            Line::End { sha256 } => {
                ended = true;
                if sha256 != engine_backup::files::hex(&Sha256::digest(&file[..at])) {
                    return Err(wrong("the checksum is another one: the file was changed or damaged".to_string()));
                }
            }
        }
        if state > STATE_BYTES_MAX {
            return Err(wrong(format!("an actor that is imported has at most {STATE_BYTES_MAX} bytes of state")));
        }
        at += line.len();
    }
    if !ended {
        return Err("its end is missing: it was cut short".to_string());
    }
    let database = match head.database {
        Some(Database { txid, size_pages }) => Some((DatabaseHead { txid, size_pages }, pages)),
        None if pages.is_empty() => None,
        None => return Err("it has pages of a database, and no database".to_string()),
    };
    let create = Create {
        random: random::bytes(),
        pool: head.pool,
        crash_policy: head.crash_policy,
        input: head.input.map(|input| base64(&input)).transpose()?,
    };
    let import = Import { create, create_ms: head.create_ms, start_ms: head.start_ms, alarm_ms: head.alarm_ms, entries, database };
    Ok(Imported { name: head.name, key: head.key, import })
}

fn entry(key: &str, value: &str, update_ms: u64, state: &mut usize) -> Result<KvEntry, String> {
    let (key, value) = (base64(key)?, base64(value)?);
    if key.len() > KV_KEY_BYTES_MAX || value.len() > KV_VALUE_BYTES_MAX {
        return Err(format!(
            "an entry of {} and {} bytes; keys have at most {KV_KEY_BYTES_MAX}, values {KV_VALUE_BYTES_MAX}",
            key.len(),
            value.len()
        ));
    }
    *state += key.len() + value.len();
    Ok(KvEntry { key, value, update_ms })
}

fn base64(text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("no base64: {error}"))
}

/// The database of an exported actor as the file that SQLite reads. None if it has none.
pub fn sqlite(file: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some((head, pages)) = decode(file)?.import.database else { return Ok(None) };
    let size = (head.size_pages as usize).saturating_mul(PAGE_BYTES);
    if size > STATE_BYTES_MAX {
        return Err(format!("its database says that it has {} pages, which is more than were exported", head.size_pages));
    }
    let mut database = vec![0; size];
    for (number, page) in pages {
        let at = (number as usize - 1) * PAGE_BYTES;
        if let Some(place) = database.get_mut(at..at + PAGE_BYTES) {
            place.copy_from_slice(&page);
        }
    }
    Ok(Some(database))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one entry of each kind.
    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let head = Head {
            format: FORMAT.to_string(),
            version: VERSION,
            engine: "0.1.0".to_string(),
            export_ms: 5,
            actor_id: "x".to_string(),
            name: "a".to_string(),
            key: Some("k".to_string()),
            pool: "default".to_string(),
            crash_policy: CrashPolicy::Restart,
            create_ms: 3,
            start_ms: Some(4),
            alarm_ms: Some(7),
            input: Some(STANDARD.encode("in")),
            database: Some(Database { txid: 2, size_pages: 2 }),
        };
        put(&mut file, &head);
        put(&mut file, &Line::Kv(STANDARD.encode("key"), STANDARD.encode("value"), 4));
        put(&mut file, &Line::RunnerKv(STANDARD.encode([0]), STANDARD.encode([]), 4));
        put(&mut file, &Line::Page(2, STANDARD.encode([8; PAGE_BYTES])));
        end(file)
    }

    fn end(mut file: Vec<u8>) -> Vec<u8> {
        let sha256 = engine_backup::files::hex(&Sha256::digest(&file));
        put(&mut file, &Line::End { sha256 });
        file
    }

    #[test]
    fn a_file_is_read_as_a_whole_or_not_at_all() {
        let file = file();
        let Imported { name, key, import } = decode(&file).expect("it is whole");
        assert_eq!((name.as_str(), key.as_deref(), import.create_ms, import.alarm_ms), ("a", Some("k"), 3, Some(7)));
        let entries: Vec<(bool, &[u8], &[u8])> =
            import.entries.iter().map(|(own, one)| (*own, &one.key[..], &one.value[..])).collect();
        assert_eq!(entries, [(false, &b"key"[..], &b"value"[..]), (true, &[0][..], &[][..])]);
        let database = sqlite(&file).expect("it is whole").expect("it has one");
        assert_eq!((database.len(), database[0], database[PAGE_BYTES]), (2 * PAGE_BYTES, 0, 8));
        for length in 0..file.len() - 1 {
            assert!(decode(&file[..length]).is_err(), "cut at {length}");
        }
        for at in (0..file.len()).step_by(7) {
            let mut other = file.clone();
            other[at] ^= 0x04;
            assert!(decode(&other).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let head = file().split_inclusive(|byte| *byte == b'\n').next().expect("a head").to_vec();
        let with = |line: &str| end([&head[..], line.as_bytes(), b"\n"].concat());
        let long = STANDARD.encode(vec![0; KV_VALUE_BYTES_MAX + 1]);
        let rows = [
            (b"".to_vec(), "line 1 is not the head"),
            (b"{\"format\":\"x\",\"version\":1}\n".to_vec(), "and \"rivet-actor\" is expected"),
            (b"{\"format\":\"rivet-actor\",\"version\":2}\n".to_vec(), "use a newer engine"),
            (with("{\"page\":[0,\"\"]}"), "page 0 has 0 bytes"),
            (with("{\"page\":[1,\"AA==\"]}"), "page 1 has 1 bytes"),
            (with("{\"kv\":[\"%\",\"\",1]}"), "line 2: no base64"),
            (with(&format!("{{\"kv\":[\"\",\"{long}\",1]}}")), "an entry of 0 and"),
            (with("{\"other\":1}"), "line 2: unknown variant"),
            (end(with("{\"kv\":[\"\",\"\",1]}")), "there is nothing behind the end"),
            (head.clone(), "it was cut short"),
        ];
        for (file, words) in rows {
            let error = decode(&file).err().expect("it cannot be");
            assert!(error.contains(words), "{words:?} expected, seen {error}");
        }
    }
}

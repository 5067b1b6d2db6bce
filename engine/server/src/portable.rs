//! One actor as a file: everything that is stored about it, to be taken to another key, namespace or engine.
//!
//! Lines of JSON; bytes are base64. The first says what it is and whose, then one for each entry and each page, and the last has the
//! SHA-256 of all lines before it, so that a file that was cut is never taken for a whole one. `docs/BACKUPS.md` describes it. It may be
//! longer than memory, so it is written and read in pieces. Bytes come from outside: every one of them is checked before anything is
//! made of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine_core::input::{Create, Import};
use engine_core::record::{CrashPolicy, DatabaseHead};
use engine_store::export::{Exported, Part};
use protocol::database::{PAGE_BYTES, Page};
use protocol::limits::{ACTOR_INPUT_BYTES_MAX, DATABASE_PAGES_MAX, KIB, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX, MIB};
use protocol::message::{KvEntry, KvSpace};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Keys and values of one actor that are imported; its database has a limit of its own.
pub const ENTRIES_BYTES_MAX: u64 = 64 * 1024 * MIB as u64;
/// A line: the longest is the head, with the input, or an entry.
const LINE_BYTES_MAX: usize = 8 * MIB;
const _: () = assert!(LINE_BYTES_MAX > 2 * ACTOR_INPUT_BYTES_MAX + 64 * KIB, "any head must fit");
const _: () = assert!(LINE_BYTES_MAX > 2 * (KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX) + KIB, "any entry must fit");
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

#[derive(Clone, Copy, Serialize, Deserialize)]
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

/// Makes the lines of a file.
pub struct Encoder {
    hash: Sha256,
    lines: Vec<u8>,
}

impl Encoder {
    pub fn new(exported: Exported, now_ms: u64) -> Encoder {
        let Exported { record, input, database } = exported;
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
            database: database.map(|head| Database { txid: head.txid, size_pages: head.size_pages }),
        };
        let mut encoder = Encoder { hash: Sha256::new(), lines: Vec::new() };
        encoder.put(&head);
        encoder
    }

    pub fn part(&mut self, part: Part) {
        self.put(&match part {
            Part::Entry(KvSpace::Actor, KvEntry { key, value, update_ms }) => {
                Line::Kv(STANDARD.encode(key), STANDARD.encode(value), update_ms)
            }
            Part::Entry(KvSpace::Runner, KvEntry { key, value, update_ms }) => {
                Line::RunnerKv(STANDARD.encode(key), STANDARD.encode(value), update_ms)
            }
            Part::Page((number, page)) => Line::Page(number, STANDARD.encode(page)),
        });
    }

    /// The last line.
    pub fn end(&mut self) {
        let sha256 = engine_backup::files::hex(&self.hash.clone().finalize());
        self.put(&Line::End { sha256 });
    }

    pub fn waiting_bytes(&self) -> usize {
        self.lines.len()
    }

    /// The lines since it was last asked for.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.lines).into()
    }

    fn put(&mut self, line: &impl Serialize) {
        let from = self.lines.len();
        serde_json::to_writer(&mut self.lines, line).expect("texts and numbers can be written as JSON");
        self.lines.push(b'\n');
        self.hash.update(&self.lines[from..]);
    }
}

/// Reads a file piece by piece. Errors are sentences: what is wrong with it, and in which line.
#[derive(Default)]
pub struct Decoder {
    hash: Sha256,
    head: Option<Head>,
    /// Of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Lines so far.
    lines: u64,
    /// The last key of each kind: none comes twice, or what is counted would not be what is stored.
    last_keys: [Option<Bytes>; 2],
    last_page: u32,
    entries_bytes: [u64; 2],
    parts: Parts,
    ended: bool,
}

/// What has been read.
#[derive(Default)]
pub struct Parts {
    pub entries: Vec<(KvSpace, KvEntry)>,
    pub pages: Vec<Page>,
}

/// What a whole file says of its actor.
pub struct Imported {
    pub name: String,
    pub key: Option<String>,
}

impl Decoder {
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), String> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.len() + part.len() > LINE_BYTES_MAX {
                return Err(self.wrong(format!("it has more than {LINE_BYTES_MAX} bytes")));
            }
            if part.ends_with(b"\n") && self.begun.is_empty() {
                self.line(part)?;
            } else {
                self.begun.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.begun);
                    self.line(&line)?;
                }
            }
        }
        Ok(())
    }

    /// Once its first line has been read: the name and the key that it had.
    pub fn whose(&self) -> Option<Imported> {
        let head = self.head.as_ref()?;
        Some(Imported { name: head.name.clone(), key: head.key.clone() })
    }

    /// How many pages its database has; none if it has none, or nothing is known of it yet.
    pub fn database_pages(&self) -> Option<u32> {
        Some(self.head.as_ref()?.database?.size_pages)
    }

    /// What was read since it was last asked for.
    pub fn take(&mut self) -> Parts {
        std::mem::take(&mut self.parts)
    }

    /// There is nothing more: whether that was all of it, and what is to be made of it. `random` becomes part of the id.
    pub fn finish(mut self, random: [u8; 16]) -> Result<Import, String> {
        let rest = std::mem::take(&mut self.begun);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        let Some(head) = self.head.take().filter(|_| self.ended) else {
            return Err("its end is missing: it was cut short".to_string());
        };
        let create = Create {
            random,
            pool: head.pool,
            crash_policy: head.crash_policy,
            input: head.input.map(|input| base64(&input)).transpose()?,
        };
        let [kv_bytes, runner_kv_bytes] = self.entries_bytes;
        let database = head.database.map(|Database { txid, size_pages }| DatabaseHead { txid, size_pages });
        let Head { create_ms, start_ms, alarm_ms, .. } = head;
        Ok(Import { create, create_ms, start_ms, alarm_ms, kv_bytes, runner_kv_bytes, database })
    }

    fn wrong(&self, what: String) -> String {
        format!("line {}: {what}", self.lines + 1)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if self.head.is_none() {
            self.head = Some(head(line)?);
        } else {
            if self.ended {
                return Err(self.wrong("there is nothing behind the end".to_string()));
            }
            let read = serde_json::from_slice(line).map_err(|error| error.to_string()).and_then(|line| self.take_in(line));
            read.map_err(|what| self.wrong(what))?;
        }
        // The end speaks of what is before it; nothing comes behind it.
        self.hash.update(line);
        self.lines += 1;
        Ok(())
    }

    fn take_in(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Kv(key, value, update_ms) => self.entry(KvSpace::Actor, entry(&key, &value, update_ms)?),
            Line::RunnerKv(key, value, update_ms) => self.entry(KvSpace::Runner, entry(&key, &value, update_ms)?),
            Line::Page(number, bytes) => {
                let bytes = base64(&bytes)?;
                // One beyond the end would be there again when the database grows.
                let last = self.database_pages().ok_or("it has pages of a database, and no database")?;
                if bytes.len() != PAGE_BYTES || number == 0 || number > last {
                    let bytes = bytes.len();
                    return Err(format!("page {number} has {bytes} bytes; there are pages 1 to {last}, of {PAGE_BYTES}"));
                }
                if number <= self.last_page {
                    return Err(format!("page {number} comes after page {}; they come in order, each once", self.last_page));
                }
                self.last_page = number;
                self.parts.pages.push((number, bytes));
                Ok(())
            }
            Line::End { sha256 } => {
                self.ended = true;
                match sha256 == engine_backup::files::hex(&self.hash.clone().finalize()) {
                    true => Ok(()),
                    false => Err("the checksum is another one: the file was changed or damaged".to_string()),
                }
            }
        }
    }

    fn entry(&mut self, space: KvSpace, entry: KvEntry) -> Result<(), String> {
        let kind = usize::from(space == KvSpace::Runner);
        if self.last_keys[kind].as_ref().is_some_and(|last| *last >= entry.key) {
            return Err("its key is not above the one before; entries come in the order of their keys, each once".to_string());
        }
        self.entries_bytes[kind] += (entry.key.len() + entry.value.len()) as u64;
        if self.entries_bytes.iter().sum::<u64>() > ENTRIES_BYTES_MAX {
            return Err(format!("an actor that is imported has at most {ENTRIES_BYTES_MAX} bytes of keys and values"));
        }
        self.last_keys[kind] = Some(entry.key.clone());
        self.parts.entries.push((space, entry));
        Ok(())
    }
}

fn head(line: &[u8]) -> Result<Head, String> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let kind: Kind =
        serde_json::from_slice(line).map_err(|error| format!("line 1 is not the head of an exported actor: {error}"))?;
    match kind {
        Kind { format, .. } if format != FORMAT => return Err(format!("it is {format:?}, and {FORMAT:?} is expected")),
        Kind { version, .. } if version > VERSION => {
            return Err(format!("it has version {version}, and this engine knows versions up to {VERSION}; use a newer engine"));
        }
        _ => {}
    }
    let head: Head = serde_json::from_slice(line).map_err(|error| format!("line 1: {error}"))?;
    match head.database {
        Some(Database { size_pages, .. }) if size_pages > DATABASE_PAGES_MAX => {
            Err(format!("line 1: its database has {size_pages} pages, and {DATABASE_PAGES_MAX} are possible"))
        }
        // The next write has the number behind it.
        Some(Database { txid: u64::MAX, .. }) => Err("line 1: its database has no number left for another write".to_owned()),
        _ => Ok(head),
    }
}

fn entry(key: &str, value: &str, update_ms: u64) -> Result<KvEntry, String> {
    let (key, value) = (base64(key)?, base64(value)?);
    if key.len() > KV_KEY_BYTES_MAX || value.len() > KV_VALUE_BYTES_MAX {
        return Err(format!(
            "an entry of {} and {} bytes; keys have at most {KV_KEY_BYTES_MAX}, values {KV_VALUE_BYTES_MAX}",
            key.len(),
            value.len()
        ));
    }
    Ok(KvEntry { key, value, update_ms })
}

fn base64(text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("no base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 16] = [7; 16];

    /// Lines, and an end that speaks of them.
    fn with_end(lines: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder { hash: Sha256::new_with_prefix(lines), lines: lines.to_vec() };
        encoder.end();
        encoder.take().into()
    }

    /// A file with one entry of each kind.
    fn file() -> Vec<u8> {
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
        let mut encoder = Encoder { hash: Sha256::new(), lines: Vec::new() };
        encoder.put(&head);
        for part in parts() {
            encoder.part(part);
        }
        encoder.end();
        encoder.take().into()
    }

    fn parts() -> [Part; 3] {
        let entry = |key: &'static [u8], value: &'static [u8]| KvEntry { key: key.into(), value: value.into(), update_ms: 4 };
        [
            Part::Entry(KvSpace::Actor, entry(b"key", b"value")),
            Part::Entry(KvSpace::Runner, entry(&[0], &[])),
            Part::Page((2, vec![8; PAGE_BYTES].into())),
        ]
    }

    /// Fed in pieces of this many bytes.
    fn decode(file: &[u8], piece: usize) -> Result<(Import, Vec<Part>), String> {
        let (mut decoder, mut parts) = (Decoder::default(), Vec::new());
        for piece in file.chunks(piece) {
            decoder.feed(piece)?;
            let Parts { entries, pages } = decoder.take();
            parts.extend(entries.into_iter().map(|(space, entry)| Part::Entry(space, entry)));
            parts.extend(pages.into_iter().map(Part::Page));
        }
        Ok((decoder.finish(RANDOM)?, parts))
    }

    #[test]
    fn a_file_is_read_as_a_whole_or_not_at_all() {
        let file = file();
        for piece in [1, 7, 1_000, file.len()] {
            let (import, read) = decode(&file, piece).expect("it is whole");
            assert_eq!((import.create_ms, import.start_ms, import.alarm_ms), (3, Some(4), Some(7)));
            assert_eq!((import.kv_bytes, import.runner_kv_bytes), (8, 1));
            assert_eq!(import.database, Some(DatabaseHead { txid: 2, size_pages: 2 }));
            assert_eq!((import.create.random, import.create.input.as_deref()), (RANDOM, Some(&b"in"[..])));
            assert_eq!(read, parts());
        }
        // All but the last byte, the end of the last line, are needed.
        for length in 0..file.len() - 1 {
            assert!(decode(&file[..length], 4_096).is_err(), "cut at {length}");
        }
        for at in (0..file.len()).step_by(7) {
            let mut other = file.clone();
            other[at] ^= 0x04;
            assert!(decode(&other, 4_096).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn it_says_early_whose_it_is() {
        let (file, mut decoder) = (file(), Decoder::default());
        assert!(decoder.whose().is_none());
        decoder.feed(&file[..400]).expect("a head, and more");
        let Imported { name, key } = decoder.whose().expect("the head is there");
        assert_eq!((name.as_str(), key.as_deref(), decoder.database_pages()), ("a", Some("k"), Some(2)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let head = file().split_inclusive(|byte| *byte == b'\n').next().expect("a head").to_vec();
        let with = |lines: &str| with_end(&[&head[..], lines.as_bytes(), b"\n"].concat());
        let long = STANDARD.encode(vec![0; KV_VALUE_BYTES_MAX + 1]);
        let page = |number: u32| format!("{{\"page\":[{number},\"{}\"]}}", STANDARD.encode([8; PAGE_BYTES]));
        let huge = String::from_utf8_lossy(&head).replace("\"size_pages\":2", "\"size_pages\":4294967295").into_bytes();
        let rows = [
            (b"".to_vec(), "it was cut short"),
            (b"{}\n".to_vec(), "line 1 is not the head"),
            (b"{\"format\":\"x\",\"version\":1}\n".to_vec(), "and \"rivet-actor\" is expected"),
            (b"{\"format\":\"rivet-actor\",\"version\":2}\n".to_vec(), "use a newer engine"),
            (huge, "line 1: its database has 4294967295 pages"),
            (with("{\"page\":[0,\"\"]}"), "page 0 has 0 bytes"),
            (with("{\"page\":[1,\"AA==\"]}"), "page 1 has 1 bytes"),
            (with(&page(3)), "there are pages 1 to 2"),
            (with(&format!("{}\n{}", page(2), page(2))), "line 3: page 2 comes after page 2"),
            (with("{\"kv\":[\"%\",\"\",1]}"), "line 2: no base64"),
            (with("{\"kv\":[\"YQ==\",\"\",1]}\n{\"kv\":[\"YQ==\",\"\",1]}"), "line 3: its key is not above the one before"),
            (with(&format!("{{\"kv\":[\"\",\"{long}\",1]}}")), "an entry of 0 and"),
            (with("{\"other\":1}"), "line 2: unknown variant"),
            (with(&" ".repeat(LINE_BYTES_MAX)), "line 2: it has more than"),
            (with_end(&with("{\"kv\":[\"\",\"\",1]}")), "there is nothing behind the end"),
            (head.clone(), "it was cut short"),
        ];
        for (file, words) in rows {
            let error = decode(&file, 65_536).expect_err("it cannot be");
            assert!(error.contains(words), "{words:?} expected, seen {error}");
        }
    }
}

//! Which format a data directory has, who wrote it last, and how an older one becomes ours.
//!
//! The format is the table of keys and the layouts of all records together: whatever an older engine could not read raises it
//! ([`crate::records::FORMAT_VERSION`]). An engine opens every format up to its own. An older one is brought up to it step by step;
//! each step is one synced commit that also says the new number, so that a step that was interrupted was not begun. A newer format
//! is never opened: what cannot be read cannot be kept. Among engines of one format each reads what the other wrote; still, going back
//! to an older engine is refused unless the operator says so, because it is more often a mistake than a decision.

use std::path::Path;

use bytes::Bytes;

use crate::error::StoreError;
use crate::keys;
use crate::records;
use crate::store::{Batch, Persist, Scan, Store};

/// Of this engine: all crates of it have the same.
pub const ENGINE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a step adds to the commit that raises the format by one. What it reads is of the older format.
type Step = fn(&dyn Store, &mut Batch) -> Result<(), StoreError>;

/// By the format that they begin with, from 1 on.
const STEPS: &[Step] = &[name_the_engine, nothing];
const _: () = assert!(STEPS.len() + 1 == records::FORMAT_VERSION as usize, "every format but the newest has a step to the next");

/// From 2 on a directory says which engine wrote it last; that is written for every format, after the steps.
fn name_the_engine(_: &dyn Store, _: &mut Batch) -> Result<(), StoreError> {
    Ok(())
}

/// To 3: a record of an older version is read as it is, and written anew when it changes.
fn nothing(_: &dyn Store, _: &mut Batch) -> Result<(), StoreError> {
    Ok(())
}

/// What a directory says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    pub number: u8,
    /// None: older than the note.
    pub engine: Option<String>,
}

/// None: there is nothing in it yet.
pub fn read(store: &dyn Store) -> Result<Option<Format>, StoreError> {
    let Some(found) = store.get(keys::FORMAT)? else { return Ok(None) };
    let engine = store.get(keys::WRITER)?.map(|value| records::parse_engine_version(&value)).transpose()?;
    Ok(Some(Format { number: records::parse_format(&found, engine.as_deref())?, engine }))
}

/// For one who only looks: it must be a format that we know, and need not be the newest.
pub fn check(store: &dyn Store, path: &Path) -> Result<(), StoreError> {
    match read(store)? {
        Some(_) => Ok(()),
        None => refuse_what_is_not_ours(store, path),
    }
}

/// Makes it the directory of this engine: new, brought up to our format, or as it is.
pub(crate) fn open(store: &dyn Store, path: &Path, allow_older_engine: bool) -> Result<(), StoreError> {
    let Some(found) = read(store)? else {
        refuse_what_is_not_ours(store, path)?;
        let mut batch = Batch::new();
        batch.put(keys::FORMAT, records::format(records::FORMAT_VERSION));
        batch.put(keys::WRITER, records::engine_version(ENGINE_VERSION));
        return store.commit(&batch, Persist::Synced);
    };
    if let Some(engine) = found.engine.as_deref().filter(|engine| is_newer(engine, ENGINE_VERSION) && !allow_older_engine) {
        return Err(StoreError::NewerEngine { path: path.to_owned(), wrote: engine.to_owned() });
    }
    for number in found.number..records::FORMAT_VERSION {
        let mut batch = Batch::new();
        STEPS[usize::from(number) - 1](store, &mut batch)?;
        batch.put(keys::FORMAT, records::format(number + 1));
        store.commit(&batch, Persist::Synced)?;
        tracing::info!(path = %path.display(), from = number, to = number + 1, "the data directory has a newer format now");
    }
    if found.engine.as_deref() != Some(ENGINE_VERSION) {
        let mut batch = Batch::new();
        batch.put(keys::WRITER, records::engine_version(ENGINE_VERSION));
        store.commit(&batch, Persist::Synced)?;
    }
    Ok(())
}

/// Without our first key it is ours if the process died between making the database and writing that: then nothing is in it yet.
fn refuse_what_is_not_ours(store: &dyn Store, path: &Path) -> Result<(), StoreError> {
    let any = Scan { start: &[], end: None, reverse: false, keys_only: true, limit: 1, bytes_max: usize::MAX };
    match store.scan(any)?.is_empty() {
        true => Ok(()),
        false => {
            Err(StoreError::NotADataDirectory { path: path.to_owned(), reason: "a RocksDB database of something else".to_owned() })
        }
    }
}

/// By the three numbers. What is no version says nothing.
fn is_newer(found: &str, own: &str) -> bool {
    let numbers = |text: &str| -> Option<[u64; 3]> {
        let text = text.split(['-', '+']).next()?;
        let numbers: Vec<u64> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    numbers(found).zip(numbers(own)).is_some_and(|(found, own)| found > own)
}

/// What an engine wrote about itself, as the bytes of a record.
pub(crate) fn engine_text(bytes: &[u8]) -> Option<String> {
    const VERSION_BYTES_MAX: usize = 64;
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_plain && !text.is_empty() && text.len() <= VERSION_BYTES_MAX).then(|| text.to_owned())
}

/// The value as the store keeps it.
pub(crate) fn engine_bytes(version: u8, engine: &str) -> Bytes {
    [&[version], engine.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let rows = [
            ("0.2.0", "0.1.9", true),
            ("0.10.0", "0.9.0", true),
            ("1.0.0-rc.1", "0.9.0", true),
            ("0.1.0", "0.1.0", false),
            ("0.1.0-rc.1", "0.1.0", false),
            ("0.1.0", "0.2.0", false),
            ("next", "0.1.0", false),
            ("1.2", "0.1.0", false),
        ];
        for (found, own, expected) in rows {
            assert_eq!(is_newer(found, own), expected, "{found} {own}");
        }
    }
}

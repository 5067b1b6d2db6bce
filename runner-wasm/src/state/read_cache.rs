//! A few values that are known to be stored, so that an actor that reads what it always reads does not ask the engine.
//!
//! Never wrong, because the actor is the only writer of its state within its generation and every write of its passes here when
//! confirmed. What was put in first goes first; an actor reads few keys often or many once, and neither needs more cleverness.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::write_set::{Written, size};
use crate::config::READ_CACHE_BYTES;

/// What the tables hold per entry besides key and value.
const ENTRY_BYTES: usize = 128;

#[derive(Default)]
pub struct ReadCache {
    values: HashMap<Bytes, Written>,
    /// Every key of `values` once, in the order in which they came.
    order: VecDeque<Bytes>,
    bytes: usize,
}

impl ReadCache {
    pub fn get(&self, key: &[u8]) -> Option<&Written> {
        self.values.get(key)
    }

    pub fn put(&mut self, key: Bytes, value: Written) {
        let bytes = size(&key, &value) + ENTRY_BYTES;
        if bytes > READ_CACHE_BYTES / 2 {
            return self.remove(&key);
        }
        self.bytes += bytes;
        match self.values.insert(key.clone(), value) {
            Some(before) => self.bytes -= size(&key, &before) + ENTRY_BYTES,
            None => self.order.push_back(key),
        }
        while self.bytes > READ_CACHE_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.forget(&oldest);
        }
    }

    fn remove(&mut self, key: &Bytes) {
        if self.forget(key) {
            self.order.retain(|kept| kept != key);
        }
    }

    fn forget(&mut self, key: &Bytes) -> bool {
        let value = self.values.remove(key);
        self.bytes -= value.as_ref().map_or(0, |value| size(key, value) + ENTRY_BYTES);
        value.is_some()
    }
}

//! Everything that is stored about one actor, part by part: it may be more than memory holds.
//!
//! The parts are read one after the other, so all of them are of one moment only in a store that does not change: a snapshot.

use std::ops::ControlFlow;

use bytes::Bytes;
use engine_core::record::{ActorRecord, DatabaseHead};
use protocol::database::Page;
use protocol::id::ActorId;
use protocol::message::{KvEntry, KvSpace};

use crate::error::StoreError;
use crate::keys::{self, KeyRange};
use crate::records;
use crate::state::{State, decode_actor};
use crate::store::{Pair, Scan};

/// Read at one time.
const PAGE_PAIRS: usize = 1_024;
const PAGE_BYTES: usize = 1024 * 1024;

/// What there is one of.
#[derive(Clone, PartialEq, Debug)]
pub struct Exported {
    pub record: ActorRecord,
    pub input: Option<Bytes>,
    pub database: Option<DatabaseHead>,
}

/// One of many.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    Entry(KvSpace, KvEntry),
    Page(Page),
}

impl State {
    /// None if there is no such actor, or it was destroyed.
    pub fn exported(&self, actor: ActorId) -> Result<Option<Exported>, StoreError> {
        let (record, input, head) = (keys::actor(actor), keys::input(actor), keys::database_head(actor));
        let found = self.store.get_many(&[&record, &input, &head])?;
        let [Some(record), input, head] = &found[..] else { return Ok(None) };
        let record = decode_actor(actor, record)?;
        if record.destroy_ms.is_some() {
            return Ok(None);
        }
        let input = input.as_ref().map(records::parse_input).transpose()?;
        let database = head.as_ref().map(|head| records::decode(head)).transpose()?;
        Ok(Some(Exported { record, input, database }))
    }

    /// Its own entries, then those of its runner, then the pages of its database, each in the order of their keys, until `take` breaks off.
    pub fn export(&self, actor: ActorId, mut take: impl FnMut(Part) -> ControlFlow<()>) -> Result<(), StoreError> {
        for space in [KvSpace::Actor, KvSpace::Runner] {
            let entry = |pair: &Pair| {
                let (value, update_ms) = records::parse_kv(&pair.value)?;
                let key = pair.key.slice(keys::KV_PREFIX_BYTES.min(pair.key.len())..);
                Ok(Part::Entry(space, KvEntry { key, value, update_ms }))
            };
            if self.parts(keys::kv_all(space, actor), entry, &mut take)?.is_break() {
                return Ok(());
            }
        }
        let page = |pair: &Pair| Ok(Part::Page((keys::parse_page(&pair.key)?, records::parse_page(&pair.value)?)));
        self.parts(keys::pages_after(actor, 0), page, &mut take).map(drop)
    }

    fn parts(
        &self,
        (mut start, end): KeyRange,
        part: impl Fn(&Pair) -> Result<Part, StoreError>,
        take: &mut impl FnMut(Part) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        loop {
            let page = self.store.scan(Scan { bytes_max: PAGE_BYTES, ..Scan::range(&start, &end, PAGE_PAIRS) })?;
            let Some(last) = page.last() else { return Ok(ControlFlow::Continue(())) };
            start = [&last.key[..], &[0]].concat();
            for pair in &page {
                if take(part(pair)?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

//! Reads the same kind of key in all partitions as one list.
//!
//! Partitions keep actors apart on disk; an alarm clock and a list want them in one order. Each partition is read in pages,
//! and the smallest next key is given out, compared without the prefix that names the partition. It holds one page of each
//! partition at a time, never a whole list. Pages are read at different moments: what is committed meanwhile may be in it or not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;

use crate::error::StoreError;
use crate::keys::{KeyRange, PARTITION_PREFIX_BYTES};
use crate::store::{Pair, Scan, Store};

/// The first page of each is small, because most are not read further; the next ones grow up to this.
const PAGE_PAIRS_MAX: usize = 64;

pub struct Merge<'a> {
    store: &'a dyn Store,
    sources: Vec<Source>,
    /// The next key of each source that has one.
    next: BinaryHeap<Reverse<Head>>,
}

struct Source {
    start: Vec<u8>,
    end: Vec<u8>,
    page_pairs: usize,
    page: std::vec::IntoIter<Pair>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    /// The key without its partition: this decides.
    order: Bytes,
    source: usize,
    key: Bytes,
    value: Bytes,
}

impl<'a> Merge<'a> {
    /// `wanted` is how many the caller expects to take in all.
    pub fn new(store: &'a dyn Store, ranges: Vec<KeyRange>, wanted: usize) -> Result<Merge<'a>, StoreError> {
        // Twice the even share: few sources are asked a second time.
        let page_pairs = (wanted / ranges.len().max(1) * 2).clamp(2, PAGE_PAIRS_MAX);
        let source = |(start, end)| Source { start, end, page_pairs, page: Vec::new().into_iter() };
        let mut merge = Merge { store, sources: ranges.into_iter().map(source).collect(), next: BinaryHeap::new() };
        for source in 0..merge.sources.len() {
            merge.advance(source)?;
        }
        Ok(merge)
    }

    pub fn take_next(&mut self) -> Result<Option<Pair>, StoreError> {
        let Some(Reverse(head)) = self.next.pop() else { return Ok(None) };
        self.advance(head.source)?;
        Ok(Some(Pair { key: head.key, value: head.value }))
    }

    fn advance(&mut self, number: usize) -> Result<(), StoreError> {
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        let Some(Pair { key, value }) = source.next(self.store)? else { return Ok(()) };
        let order = key.slice(PARTITION_PREFIX_BYTES.min(key.len())..);
        self.next.push(Reverse(Head { order, source: number, key, value }));
        Ok(())
    }
}

impl Source {
    fn next(&mut self, store: &dyn Store) -> Result<Option<Pair>, StoreError> {
        if self.page.len() == 0 && self.start < self.end {
            let page = store.scan(Scan::range(&self.start, &self.end, self.page_pairs))?;
            self.start = match page.last() {
                // A page that is not full was the last one.
                Some(last) if page.len() == self.page_pairs => [&last.key[..], &[0]].concat(),
                _ => self.end.clone(),
            };
            self.page_pairs = (self.page_pairs * 2).min(PAGE_PAIRS_MAX);
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}

//! The database file as SQLite sees it: what it is writing, above what it has committed, above the caller's pages.
//!
//! ```text
//!   open        being written; seen by SQLite alone                    commit: into `committed`; otherwise thrown away
//!   committed   committed by SQLite, not yet handed to the caller      take: into `taken`
//!   taken       handed to the caller, who may not have stored it yet   settle: into the source
//!   source      the caller's pages
//! ```
//!
//! SQLite writes pages before it commits, and writes the old ones again when it rolls back. So a transaction that ended without a
//! commit leaves nothing in `open` that is not below it as well. Counts its own bytes; bounds nothing.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::PAGE_BYTES;
use crate::pages::{Changes, Pages, PagesError};

const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

pub(crate) struct Layers {
    source: Box<dyn Pages>,
    /// Pages of the source beyond this were cut off since, and read as zeros.
    source_pages: u32,
    taken: BTreeMap<u32, Bytes>,
    /// The smallest size since the last take: what the next source has beyond it does not count.
    floor_since_take: u32,
    /// Size as of the last take.
    taken_pages: u32,
    committed: BTreeMap<u32, Bytes>,
    committed_pages: u32,
    open: BTreeMap<u32, Bytes>,
    open_pages: u32,
    /// The smallest size since the last commit: below `open` nothing beyond it counts.
    open_floor: u32,
}

impl Layers {
    pub fn new(source: Box<dyn Pages>) -> Layers {
        let size = source.size_pages();
        Layers {
            source,
            source_pages: size,
            taken: BTreeMap::new(),
            floor_since_take: u32::MAX,
            taken_pages: size,
            committed: BTreeMap::new(),
            committed_pages: size,
            open: BTreeMap::new(),
            open_pages: size,
            open_floor: u32::MAX,
        }
    }

    pub fn size_pages(&self) -> u32 {
        self.open_pages
    }

    pub fn held_bytes(&self) -> usize {
        (self.open.len() + self.committed.len() + self.taken.len()) * PAGE_BYTES
    }

    /// None: zeros.
    pub fn page(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
        if let Some(page) = self.open.get(&pgno) {
            return Ok(Some(page.clone()));
        }
        if pgno > self.open_floor {
            return Ok(None);
        }
        if let Some(page) = self.committed.get(&pgno).or_else(|| self.taken.get(&pgno)) {
            return Ok(Some(page.clone()));
        }
        if pgno > self.source_pages {
            return Ok(None);
        }
        let page = self.source.read(pgno)?;
        match &page {
            Some(bytes) if bytes.len() != PAGE_BYTES => {
                Err(PagesError(format!("page {pgno} has {} bytes, expected {PAGE_BYTES}", bytes.len())))
            }
            _ => Ok(page),
        }
    }

    /// Whether writing this page takes more memory.
    pub fn is_new(&self, pgno: u32) -> bool {
        !self.open.contains_key(&pgno)
    }

    pub fn write(&mut self, pgno: u32, page: Bytes) {
        self.open.insert(pgno, page);
        self.open_pages = self.open_pages.max(pgno);
    }

    pub fn resize(&mut self, size_pages: u32) {
        cut(&mut self.open, size_pages);
        self.open_floor = self.open_floor.min(size_pages);
        self.open_pages = size_pages;
    }

    /// SQLite has committed.
    pub fn commit(&mut self) {
        let floor = std::mem::replace(&mut self.open_floor, u32::MAX);
        cut(&mut self.committed, floor);
        cut(&mut self.taken, floor);
        self.source_pages = self.source_pages.min(floor);
        self.floor_since_take = self.floor_since_take.min(floor);
        self.committed.append(&mut self.open);
        self.committed_pages = self.open_pages;
    }

    /// No transaction is open any more: what was not committed is what SQLite has undone.
    pub fn forget_open(&mut self) {
        self.open.clear();
        self.open_pages = self.committed_pages;
        self.open_floor = u32::MAX;
    }

    pub fn take(&mut self) -> Option<Changes> {
        // What was cut off and not written since: the caller still has the old pages, if the database grew over them again.
        for pgno in (self.floor_since_take..self.committed_pages).map(|before| before + 1) {
            self.committed.entry(pgno).or_insert(Bytes::from_static(&ZEROS));
        }
        if self.committed.is_empty() && self.committed_pages == self.taken_pages {
            return None;
        }
        let pages = self.committed.iter().map(|(pgno, page)| (*pgno, page.clone())).collect();
        self.taken.append(&mut self.committed);
        self.taken_pages = self.committed_pages;
        self.floor_since_take = u32::MAX;
        Some(Changes { pages, size_pages: self.committed_pages })
    }

    /// All that was taken can be read in `source`.
    pub fn settle(&mut self, source: Box<dyn Pages>) {
        self.source_pages = source.size_pages().min(self.floor_since_take);
        self.source = source;
        self.taken.clear();
    }
}

/// Without the pages beyond `size_pages`.
fn cut(pages: &mut BTreeMap<u32, Bytes>, size_pages: u32) {
    if let Some(beyond) = size_pages.checked_add(1) {
        pages.split_off(&beyond);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page `n` of it is filled with the byte at `n - 1`.
    type Image = Vec<u8>;

    struct Source(Image);

    impl Pages for Source {
        fn size_pages(&self) -> u32 {
            self.0.len() as u32
        }

        fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError> {
            Ok(Some(page(self.0[pgno as usize - 1])))
        }
    }

    fn page(fill: u8) -> Bytes {
        vec![fill; PAGE_BYTES].into()
    }

    fn seen(layers: &Layers) -> Image {
        let fill = |pgno| layers.page(pgno).expect("the source never fails").map_or(0, |page| page[PAGE_BYTES - 1]);
        (1..=layers.size_pages()).map(fill).collect()
    }

    /// As any store would: what is beyond the old size, and not written, is zeros.
    fn apply(stored: &mut Image, changes: &Changes) {
        stored.resize(changes.size_pages as usize, 0);
        for (pgno, page) in &changes.pages {
            stored[*pgno as usize - 1] = page[0];
        }
    }

    /// Writes with gaps and cuts at random, more than SQLite does, next to a list of bytes that does the same.
    #[test]
    fn a_file_that_can_be_rolled_back_and_is_stored_in_steps() {
        for seed in 0..3000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut stored: Image = (0..random.u8(0..10)).map(|_| random.u8(1..)).collect();
            let mut layers = Layers::new(Box::new(Source(stored.clone())));
            let (mut committed, mut open) = (stored.clone(), stored.clone());
            for _ in 0..60 {
                match random.u8(0..12) {
                    0..=4 => {
                        let (pgno, fill) = (random.usize(1..open.len() + 4), random.u8(1..));
                        open.resize(open.len().max(pgno), 0);
                        open[pgno - 1] = fill;
                        layers.write(pgno as u32, page(fill));
                    }
                    5 => {
                        open.truncate(random.usize(0..=open.len()));
                        layers.resize(open.len() as u32);
                    }
                    6..=7 => {
                        committed = open.clone();
                        layers.commit();
                    }
                    8 => {
                        open = committed.clone();
                        layers.forget_open();
                    }
                    9..=10 => {
                        if let Some(changes) = layers.take() {
                            apply(&mut stored, &changes);
                        }
                        assert_eq!(stored, committed, "seed {seed}");
                        assert_eq!(layers.take(), None, "seed {seed}");
                    }
                    _ => layers.settle(Box::new(Source(stored.clone()))),
                }
                assert_eq!(seen(&layers), open, "seed {seed}");
            }
        }
    }
}

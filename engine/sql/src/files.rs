//! Every file that SQLite has open for one database, all in memory: the database, its journal, and temporary ones.
//!
//! Behaves as a file system would, so that SQLite's rollback, spilling and sorting work as they always do, and counts every byte
//! against one limit. Nothing here may reach a real file system.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::layers::Layers;
use crate::limits::PAGE_BYTES;
use crate::pages::PagesError;

/// One open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Database,
    Journal,
    Temporary(u64),
}

#[derive(PartialEq, Debug)]
pub(crate) enum FileError {
    /// Beyond `held_bytes_max`.
    Full,
    Pages(PagesError),
    /// Not something that SQLite does with a database of 4096-byte pages.
    Misaligned,
}

pub(crate) struct Files {
    pub layers: Layers,
    journal: Option<MemoryFile>,
    temporary: BTreeMap<u64, MemoryFile>,
    next_temporary: u64,
    held_bytes_max: usize,
}

impl Files {
    pub fn new(layers: Layers, held_bytes_max: usize) -> Files {
        Files { layers, journal: None, temporary: BTreeMap::new(), next_temporary: 0, held_bytes_max }
    }

    pub fn open_journal(&mut self) -> Which {
        self.journal.get_or_insert_default();
        Which::Journal
    }

    pub fn open_temporary(&mut self) -> Which {
        let number = self.next_temporary;
        self.next_temporary += 1;
        self.temporary.insert(number, MemoryFile::default());
        Which::Temporary(number)
    }

    pub fn close(&mut self, which: Which) {
        if let Which::Temporary(number) = which {
            self.temporary.remove(&number);
        }
    }

    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    pub fn delete_journal(&mut self) {
        self.journal = None;
    }

    pub fn size(&self, which: Which) -> u64 {
        match which {
            Which::Database => u64::from(self.layers.size_pages()) * PAGE_BYTES as u64,
            _ => self.memory(which).map_or(0, |file| file.len),
        }
    }

    /// How much of `into` the file has; the rest is filled with zeros.
    pub fn read(&self, which: Which, offset: u64, into: &mut [u8]) -> Result<usize, FileError> {
        into.fill(0);
        let there = self.size(which).saturating_sub(offset).min(into.len() as u64) as usize;
        let into = &mut into[..there];
        match which {
            Which::Database => self.read_database(offset, into)?,
            _ => {
                if let Some(file) = self.memory(which) {
                    file.read(offset, into);
                }
            }
        }
        Ok(there)
    }

    fn read_database(&self, mut offset: u64, mut into: &mut [u8]) -> Result<(), FileError> {
        while !into.is_empty() {
            let within = (offset % PAGE_BYTES as u64) as usize;
            let length = into.len().min(PAGE_BYTES - within);
            let (now, later) = into.split_at_mut(length);
            if let Some(page) = self.layers.page(pgno_at(offset)?).map_err(FileError::Pages)? {
                now.copy_from_slice(&page[within..within + length]);
            }
            into = later;
            offset += length as u64;
        }
        Ok(())
    }

    pub fn write(&mut self, which: Which, offset: u64, from: &[u8]) -> Result<(), FileError> {
        let more = match which {
            Which::Database => {
                if !offset.is_multiple_of(PAGE_BYTES as u64) || from.len() != PAGE_BYTES {
                    return Err(FileError::Misaligned);
                }
                if self.layers.is_new(pgno_at(offset)?) { PAGE_BYTES } else { 0 }
            }
            _ => self.memory(which).map_or(0, |file| file.growth(offset, from.len())),
        };
        if more > 0 && self.held_bytes().saturating_add(more) > self.held_bytes_max {
            return Err(FileError::Full);
        }
        match which {
            Which::Database => self.layers.write(pgno_at(offset)?, Bytes::copy_from_slice(from)),
            _ => {
                if let Some(file) = self.memory_mut(which) {
                    file.write(offset, from);
                }
            }
        }
        Ok(())
    }

    pub fn truncate(&mut self, which: Which, size: u64) -> Result<(), FileError> {
        match which {
            Which::Database => {
                if !size.is_multiple_of(PAGE_BYTES as u64) {
                    return Err(FileError::Misaligned);
                }
                let pages = u32::try_from(size / PAGE_BYTES as u64).map_err(|_| FileError::Misaligned)?;
                self.layers.resize(pages);
            }
            _ => {
                if let Some(file) = self.memory_mut(which) {
                    file.truncate(size);
                }
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        let memory = self.journal.iter().chain(self.temporary.values()).map(MemoryFile::held_bytes).sum::<usize>();
        self.layers.held_bytes() + memory
    }

    fn memory(&self, which: Which) -> Option<&MemoryFile> {
        match which {
            Which::Database => None,
            Which::Journal => self.journal.as_ref(),
            Which::Temporary(number) => self.temporary.get(&number),
        }
    }

    fn memory_mut(&mut self, which: Which) -> Option<&mut MemoryFile> {
        match which {
            Which::Database => None,
            Which::Journal => self.journal.as_mut(),
            Which::Temporary(number) => self.temporary.get_mut(&number),
        }
    }
}

/// The page that has the byte at `offset`.
fn pgno_at(offset: u64) -> Result<u32, FileError> {
    u32::try_from(offset / PAGE_BYTES as u64 + 1).map_err(|_| FileError::Misaligned)
}

/// In blocks, so that growing copies nothing.
#[derive(Default)]
struct MemoryFile {
    blocks: Vec<Box<[u8; PAGE_BYTES]>>,
    len: u64,
}

impl MemoryFile {
    fn held_bytes(&self) -> usize {
        self.blocks.len() * PAGE_BYTES
    }

    /// Bytes that a write there would take more.
    fn growth(&self, offset: u64, len: usize) -> usize {
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(len);
        end.div_ceil(PAGE_BYTES).saturating_sub(self.blocks.len()).saturating_mul(PAGE_BYTES)
    }

    /// All of `into` lies within the file.
    fn read(&self, offset: u64, into: &mut [u8]) {
        let mut at = offset as usize;
        let mut done = 0;
        while done < into.len() {
            let (block, within) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let length = (into.len() - done).min(PAGE_BYTES - within);
            into[done..done + length].copy_from_slice(&self.blocks[block][within..within + length]);
            at += length;
            done += length;
        }
    }

    /// The growth was allowed.
    fn write(&mut self, offset: u64, from: &[u8]) {
        let mut at = offset as usize;
        let end = at + from.len();
        while self.blocks.len() < end.div_ceil(PAGE_BYTES) {
            self.blocks.push(Box::new([0; PAGE_BYTES]));
        }
        let mut done = 0;
        while done < from.len() {
            let (block, within) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let length = (from.len() - done).min(PAGE_BYTES - within);
            self.blocks[block][within..within + length].copy_from_slice(&from[done..done + length]);
            at += length;
            done += length;
        }
        self.len = self.len.max(end as u64);
    }

    /// Never longer than it was.
    fn truncate(&mut self, size: u64) {
        if size >= self.len {
            return;
        }
        self.blocks.truncate((size as usize).div_ceil(PAGE_BYTES));
        // What is written beyond the end later begins with zeros.
        let within = (size % PAGE_BYTES as u64) as usize;
        if within > 0
            && let Some(last) = self.blocks.last_mut()
        {
            last[within..].fill(0);
        }
        self.len = size;
    }
}

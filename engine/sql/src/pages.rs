//! Where a database's pages come from, and what of them changed.

use std::fmt;

use bytes::Bytes;

/// The committed pages of one database, all as of one moment. Calls block.
pub trait Pages: Send {
    fn size_pages(&self) -> u32;

    /// Page `pgno`, from 1 up to the size. None: never written, reads as zeros.
    fn read(&self, pgno: u32) -> Result<Option<Bytes>, PagesError>;
}

/// Why a page could not be read, as a sentence for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PagesError(pub String);

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PagesError {}

/// What SQLite has committed: to be stored all at once, or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// Each page once, in order, 4096 bytes, not beyond `size_pages`.
    pub pages: Vec<(u32, Bytes)>,
    /// Pages beyond it are gone, and read as zeros should the database grow again.
    pub size_pages: u32,
}

/// Milliseconds since the Unix epoch: what SQL knows as the time, and what the limit of time is measured by.
pub type Clock = Box<dyn Fn() -> i64 + Send>;

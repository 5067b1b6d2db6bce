//! Whole copies of a data directory: made while the engine runs, kept side by side, verified, restored.
//!
//! What may be relied on:
//!
//! 1. A backup is one moment: everything that was acknowledged before it was asked for is in it, and nothing by half.
//! 2. A backup that was cut short is none: its manifest is written last, in one step, when everything else is on the disk.
//! 3. Files are named after the SHA-256 of what is in them, and are never written over. Two backups share what they have in
//!    common, and damage to one file is found by its name.
//! 4. Nothing of a data directory is ever written over: what is restored is built beside its place, opened, and then renamed.
//!
//! It knows files, checksums and how a store is opened; not actors, and not who asked.
//!
//! In reading order:
//! - [`manifest`]: what a backup says of itself. [`repository`]: the folder that backups lie in.
//! - [`stage`]: the moment: links to all files as they are. [`create`]: copies them into the repository.
//! - [`verify`]: compares every checksum and opens it. [`restore`]: makes a data directory of it.
//! - [`files`]: copies, syncs, hashes. [`aside`]: so that those who serve notice little. [`error`]: what can go wrong.

pub mod aside;
pub mod create;
pub mod error;
pub mod files;
pub mod manifest;
pub mod repository;
pub mod restore;
pub mod stage;
pub mod verify;

pub use create::{Report, create};
pub use error::BackupError;
pub use manifest::Manifest;
pub use repository::Repository;
pub use restore::restore;
pub use stage::Stage;
pub use verify::verify;

/// What is being done, for whoever waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many bytes of so many have been copied, or need not be.
    Copied { bytes: u64, of: u64 },
    /// So many bytes of so many have the right checksum.
    Hashed { bytes: u64, of: u64 },
    /// So many keys have been read.
    Read { keys: u64 },
}

/// Told of each step; false: give it up.
pub type Tell<'a> = &'a mut dyn FnMut(Step) -> bool;

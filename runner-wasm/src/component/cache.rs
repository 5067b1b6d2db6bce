//! Compiled components on disk, so that neither a wake nor a restart of the engine compiles.
//!
//! Loading such a file is running its code, so it must be exactly what this engine wrote: the name is a hash of the component,
//! of the engine's version and settings and of the processor's features; the content begins with a checksum of the rest. A file
//! that is cut, damaged or foreign is treated as missing. The folder must be writable to the engine's own user only.

use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use bytes::Bytes;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use protocol::component::ComponentHash;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::config::CACHE_BYTES_MAX;

/// Version of the file's own layout: magic, checksum of all that follows, the component's size, the code.
const MAGIC: &[u8; 8] = b"rivet-c1";
const CHECKSUM_END: usize = MAGIC.len() + 32;
const HEADER: usize = CHECKSUM_END + 8;
const SUFFIX: &str = ".compiled";

pub struct Cache {
    dir: Dir,
    temporary: AtomicU64,
}

/// Names an engine: its version and settings, and the processor's features.
#[derive(Clone, Copy)]
pub struct EngineKey([u8; 32]);

impl EngineKey {
    pub fn of(engine: &Engine) -> EngineKey {
        let mut hasher = Collect(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        EngineKey(hasher.0.finalize().into())
    }
}

pub struct Cached {
    pub component_bytes: u64,
    pub code: Bytes,
}

impl Cache {
    pub fn new(dir: Dir) -> Cache {
        let cache = Cache { dir, temporary: AtomicU64::new(0) };
        cache.tidy();
        cache
    }

    pub fn load(&self, component: ComponentHash, engine: EngineKey) -> Option<Cached> {
        let content = self.dir.read(name(component, engine)).ok()?;
        if content.len() < HEADER
            || !content.starts_with(MAGIC)
            || Sha256::digest(&content[CHECKSUM_END..])[..] != content[MAGIC.len()..CHECKSUM_END]
        {
            tracing::warn!(%component, "a cached component is damaged and will be compiled again");
            return None;
        }
        let component_bytes = u64::from_le_bytes(content[CHECKSUM_END..HEADER].try_into().ok()?);
        Some(Cached { component_bytes, code: Bytes::from(content).slice(HEADER..) })
    }

    /// A reader, or this engine after a crash, finds the old content, the new one or none; never a part.
    pub fn store(&self, component: ComponentHash, engine: EngineKey, component_bytes: u64, code: &[u8]) -> io::Result<()> {
        let temporary = format!("{}-{}.tmp", std::process::id(), self.temporary.fetch_add(1, Relaxed));
        let written = self
            .write(&temporary, component_bytes, code)
            .and_then(|()| self.dir.rename(&temporary, &self.dir, name(component, engine)));
        if written.is_err() {
            let _ = self.dir.remove_file(&temporary);
        }
        written?;
        self.dir.open(".")?.sync_all()?;
        self.tidy();
        Ok(())
    }

    fn write(&self, name: &str, component_bytes: u64, code: &[u8]) -> io::Result<()> {
        let size = component_bytes.to_le_bytes();
        let checksum = Sha256::new().chain_update(size).chain_update(code).finalize();
        let mut file = self.dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        for part in [MAGIC, &checksum[..], &size, code] {
            file.write_all(part)?;
        }
        file.sync_all()
    }

    /// Removes what an interrupted write left, and the oldest files if all together are too large. Whatever fails is left for
    /// the next time.
    fn tidy(&self) {
        let Ok(entries) = self.dir.entries() else { return };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Ok(metadata) = entry.metadata() else { continue };
            let written = metadata.modified().map_or(SystemTime::UNIX_EPOCH, |time| time.into_std());
            match name.to_str() {
                Some(name) if name.ends_with(SUFFIX) => files.push((written, metadata.len(), name.to_string())),
                // Another process may be writing it at this moment.
                Some(name) if name.ends_with(".tmp") && written.elapsed().is_ok_and(|age| age.as_secs() > 3600) => {
                    let _ = self.dir.remove_file(name);
                }
                _ => {}
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, name) in files {
            if total <= CACHE_BYTES_MAX {
                return;
            }
            if self.dir.remove_file(&name).is_ok() {
                total -= bytes;
            }
        }
    }
}

fn name(component: ComponentHash, engine: EngineKey) -> String {
    let name = Sha256::new().chain_update(component.0).chain_update(engine.0).finalize();
    format!("{}{SUFFIX}", ComponentHash(name.into()))
}

/// Everything that is hashed, through SHA-256: 64 bits would not be enough of a name for code.
struct Collect(Sha256);

impl Hasher for Collect {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // The caller takes the whole digest instead.
        0
    }
}

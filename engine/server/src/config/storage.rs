//! What is configured about the disk: what is to stay free on it, where backups go, whose data is opened.

use std::path::PathBuf;

use protocol::limits::MIB;

use crate::config::said::All;
use crate::config::{ConfigError, data_dir};

/// Enough to write out and compact what RocksDB holds in memory, and for an operator to look around.
const RESERVE_MIB_DEFAULT: u64 = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageConfig {
    /// Below so much free space nothing that grows is taken; 0: until the disk refuses a write.
    pub reserve_bytes: u64,
    /// Whether a directory that a newer engine wrote is opened, if its format is known.
    pub allow_older_engine: bool,
    /// Where backups go. None: the engine makes none.
    pub backup_dir: Option<PathBuf>,
    /// How fast they are copied. None: as fast as the disks are.
    pub backup_bytes_per_second: Option<u64>,
}

impl StorageConfig {
    pub fn new(said: &All) -> Result<StorageConfig, ConfigError> {
        let backup_dir = said.text("backup.dir").filter(|path| !path.is_empty()).map(PathBuf::from);
        // Where there is no data directory to speak of, that is said elsewhere.
        let inside = |dir: &&PathBuf| data_dir(said).is_ok_and(|data_dir| dir.starts_with(data_dir));
        if let Some(dir) = backup_dir.as_ref().filter(inside) {
            return Err(ConfigError(format!(
                "backup.dir: {} is inside of the data directory; what befalls that would befall the backups: choose another disk",
                dir.display()
            )));
        }
        let mib = |key: &str| said.whole::<u64>(key).map(|mib| mib.saturating_mul(MIB as u64));
        Ok(StorageConfig {
            reserve_bytes: mib("storage.reserve_mib").unwrap_or(RESERVE_MIB_DEFAULT * MIB as u64),
            allow_older_engine: said.flag("runtime.allow_version_rollback").unwrap_or(false),
            backup_dir,
            backup_bytes_per_second: mib("backup.mib_per_second").filter(|rate| *rate > 0),
        })
    }
}

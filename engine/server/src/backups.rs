//! Backups of the engine that runs: one at a time, into the folder that is configured and no other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

use engine_backup::manifest::Manifest;
use engine_backup::repository::Listed;
use engine_backup::{BackupError, Report, Repository, Stage, Step};
use engine_store::Rocks;

use crate::components::Components;
use crate::config::storage::StorageConfig;
use crate::error::ApiError;
use crate::lock::lock;
use crate::random;

/// What a backup is made of.
struct Source {
    store: Arc<Rocks>,
    data_dir: PathBuf,
}

#[derive(Default)]
pub struct Backups {
    dir: Option<PathBuf>,
    bytes_per_second: Option<u64>,
    /// None once the engine stops, and where there is no data directory.
    source: Mutex<Option<Source>>,
    running: Mutex<()>,
    stopping: AtomicBool,
}

impl Backups {
    pub fn new(config: &StorageConfig, store: Arc<Rocks>, data_dir: PathBuf) -> Backups {
        Backups {
            dir: config.backup_dir.clone(),
            bytes_per_second: config.backup_bytes_per_second,
            source: Mutex::new(Some(Source { store, data_dir })),
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Blocking, for as long as copying takes. `tell` false: it is given up.
    pub fn make(&self, components: &Arc<Components>, now_ms: u64, tell: &mut dyn FnMut(Step) -> bool) -> Result<Report, ApiError> {
        let dir = self.dir()?;
        let _alone = match self.running.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let message = "a backup is being made already; wait for it, GET /backups shows it when it is done";
                return Err(ApiError::new("backup", "running", message));
            }
        };
        let repository = Repository::create(dir).map_err(failed)?;
        let stage = {
            let source = lock(&self.source);
            let Some(Source { store, data_dir }) = &*source else {
                return Err(ApiError::busy("the engine is being stopped; make the backup when it runs again"));
            };
            let _kept = components.keep_all();
            Stage::make(store, data_dir).map_err(failed)?
        };
        let mut tell = |step| !self.stopping.load(Ordering::Relaxed) && tell(step);
        engine_backup::create(&stage, &repository, &new_id(now_ms), now_ms, self.bytes_per_second, &mut tell).map_err(failed)
    }

    /// Blocking.
    pub fn list(&self) -> Result<Vec<Listed>, ApiError> {
        let dir = self.dir()?;
        match dir.exists() {
            true => Repository::open(dir).and_then(|repository| repository.list()).map_err(failed),
            false => Ok(Vec::new()),
        }
    }

    /// None begins any more, and one that is being made is given up. Blocking, for a moment.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        lock(&self.source).take();
    }

    fn dir(&self) -> Result<&PathBuf, ApiError> {
        self.dir.as_ref().ok_or_else(|| {
            let message =
                "no folder for backups is configured; name one with backup.dir (RIVET__BACKUP__DIR) and start the engine again";
            ApiError::new("backup", "not_configured", message)
        })
    }
}

/// Later ones come later in the order of letters.
pub fn new_id(now_ms: u64) -> String {
    format!("{now_ms:013}-{}", engine_backup::files::hex(&random::bytes::<3>()))
}

fn failed(error: BackupError) -> ApiError {
    tracing::error!(%error, "a backup failed");
    ApiError::new("backup", "failed", error.to_string())
}

/// A line for the log.
pub fn log(manifest: &Manifest, millis: u128) {
    let Manifest { id, bytes, new_bytes, .. } = manifest;
    tracing::info!(id, bytes, new_bytes, millis, "a backup was made");
}

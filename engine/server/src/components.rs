//! The bytes of components, each in a file named after their SHA-256.
//!
//! A component is complete and on disk before anything points at it: it is written beside its place, synced, renamed, and the
//! folder synced. Files that nothing points at are removed when the last deploy that brought them is over, when a deploy has made
//! the versions that had them too old, and at start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use protocol::component::ComponentHash;
use protocol::wire::components::Part;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::directory::Directory;
use crate::lock::lock;
use crate::random;

const PART: &str = "part";

pub struct Components {
    folder: PathBuf,
    directory: Arc<Directory>,
    /// How many deploys are under way that brought a component.
    deploying: Mutex<HashMap<ComponentHash, usize>>,
    /// How many want none to be removed.
    keeping: AtomicUsize,
}

impl Components {
    /// The directory must know all deployments: what none of them uses is removed.
    pub fn open(folder: PathBuf, directory: Arc<Directory>) -> io::Result<Components> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().and_then(|extension| extension.to_str()) == Some(PART) {
                fs::remove_file(&path)?;
            }
        }
        let components = Components { folder, directory, deploying: Mutex::default(), keeping: AtomicUsize::new(0) };
        components.remove_unused()?;
        Ok(components)
    }

    /// Removes what no version uses any more. Blocking.
    pub fn remove_unused(&self) -> io::Result<()> {
        // Held throughout, so that none that is arriving is taken for one that is left.
        let deploying = lock(&self.deploying);
        if self.keeping.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let component: Option<ComponentHash> =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let is_component = path.extension().and_then(|extension| extension.to_str()) == Some("wasm");
            // What is not ours stays.
            let Some(component) = component.filter(|_| is_component) else { continue };
            if !deploying.contains_key(&component) && !self.directory.uses(component) {
                tracing::info!(file = %path.display(), "removing a component that no version uses");
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Until what is returned is dropped none is removed. Blocking, while one is.
    pub fn keep_all(self: &Arc<Components>) -> Kept {
        // Under the lock: nobody is in the middle of removing.
        let _deploying = lock(&self.deploying);
        self.keeping.fetch_add(1, Ordering::SeqCst);
        Kept(self.clone())
    }

    /// Blocking.
    pub fn read(&self, component: ComponentHash) -> io::Result<Vec<u8>> {
        fs::read(self.path(component))
    }

    /// Some of its bytes, and how many there are. Blocking.
    pub fn read_part(&self, component: ComponentHash, at: u64, bytes_max: usize) -> io::Result<Part> {
        let file = File::open(self.path(component))?;
        let total = file.metadata()?.len();
        let left = total.saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(left).map_or(bytes_max, |left| left.min(bytes_max))];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Part { at, total, bytes: bytes.into() })
    }

    /// A place for bytes that arrive.
    pub async fn receive(self: &Arc<Components>) -> io::Result<Incoming> {
        let number = u64::from_le_bytes(random::bytes());
        let path = self.folder.join(format!("{number:016x}.{PART}"));
        let file = tokio::fs::File::create_new(&path).await?;
        Ok(Incoming { components: self.clone(), part: Unfinished(path), file, hash: Sha256::new(), bytes: 0 })
    }

    fn path(&self, component: ComponentHash) -> PathBuf {
        self.folder.join(format!("{component}.wasm"))
    }
}

/// See [`Components::keep_all`].
pub struct Kept(Arc<Components>);

impl Drop for Kept {
    fn drop(&mut self) {
        // What nobody needs and stayed for this is removed after the next deploy, or at the next start.
        self.0.keeping.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A component whose bytes are arriving.
pub struct Incoming {
    components: Arc<Components>,
    part: Unfinished,
    file: tokio::fs::File,
    hash: Sha256,
    pub bytes: u64,
}

impl Incoming {
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        self.file.write_all(chunk).await
    }

    /// Makes it durable under its name. It stays at least as long as what is returned.
    pub async fn finish(mut self) -> io::Result<Arrived> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let component = ComponentHash(self.hash.finalize().into());
        // Counted before it is in place, so that another deploy of the same bytes that ends now leaves them alone.
        *lock(&self.components.deploying).entry(component).or_default() += 1;
        let arrived = Arrived { components: self.components.clone(), component, bytes: self.bytes };
        let (from, to) = (self.part.0.clone(), self.components.path(component));
        let renamed = tokio::task::spawn_blocking(move || {
            fs::rename(&from, &to)?;
            sync_folder_of(&to)
        });
        renamed.await.map_err(io::Error::other)??;
        Ok(arrived)
    }
}

/// Opening a folder and syncing it makes the names in it durable.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Removes what was not finished.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed by then, or of no use: what cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// A component that is on disk, held there while it is being deployed.
pub struct Arrived {
    components: Arc<Components>,
    pub component: ComponentHash,
    pub bytes: u64,
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let mut deploying = lock(&self.components.deploying);
        let Some(count) = deploying.get_mut(&self.component) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        deploying.remove(&self.component);
        if self.components.keeping.load(Ordering::SeqCst) == 0 && !self.components.directory.uses(self.component) {
            // It was refused. What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(self.components.path(self.component));
        }
    }
}

//! TLS for the commands: a socket that only this user can reach, behind which each connection is one in TLS to the engine.
//!
//! So the commands' client speaks plain HTTP, and TLS is the same as everywhere here: rustls with ring, the system's certificates,
//! Mozilla's, and those that were named.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::lock::lock;
use crate::random;

const CONNECT_MS_MAX: u64 = 10_000;

pub struct Tunnel {
    folder: PathBuf,
    path: PathBuf,
    /// Why the last connection could not be made.
    failed: Arc<Mutex<Option<String>>>,
}

impl Tunnel {
    /// Inside a runtime, with which it ends.
    pub fn open(engine: &Url, tls: Arc<ClientConfig>) -> Result<Tunnel, String> {
        let tls = TlsConnector::from(tls);
        // Of an IPv6 address, without the brackets that a URL needs.
        let host = engine.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| format!("{host:?} cannot be the name on a certificate: {error}"))?;
        let port = engine.port_or_known_default().unwrap_or(443);
        let folder = std::env::temp_dir().join(format!("rivet-engine-{:016x}", u64::from_le_bytes(random::bytes())));
        let unusable = |error: io::Error| format!("{} cannot be made ({error}); name another folder with TMPDIR", folder.display());
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(unusable)?;
        let path = folder.join("tunnel");
        let failed = Arc::new(Mutex::new(None));
        let tunnel = Tunnel { folder: folder.clone(), path, failed: failed.clone() };
        let listener = UnixListener::bind(&tunnel.path).map_err(unusable)?;
        tokio::spawn(async move {
            // As many as the one client opens.
            while let Ok((near, _)) = listener.accept().await {
                let (tls, host, name, failed) = (tls.clone(), host.clone(), name.clone(), failed.clone());
                tokio::spawn(async move {
                    let within = Duration::from_millis(CONNECT_MS_MAX);
                    let carried = carry(near, tls, &host, port, name, within).await;
                    *lock(&failed) = carried.err();
                });
            }
        });
        Ok(tunnel)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn failed(&self) -> Option<String> {
        lock(&self.failed).clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // What is left of it is empty, and in a folder for such things.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Until one of both sides is done. An error if there never was a connection.
async fn carry(
    mut near: UnixStream,
    tls: TlsConnector,
    host: &str,
    port: u16,
    name: ServerName<'static>,
    within: Duration,
) -> Result<(), String> {
    let connect = async {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        tls.connect(name, stream).await
    };
    let connected = tokio::time::timeout(within, connect).await;
    let connected = connected.map_err(|_| format!("nothing answers within {} ms", within.as_millis()))?;
    let mut far = connected.map_err(|error: io::Error| error.to_string())?;
    // However it ends, the client sees its own end of it.
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    Ok(())
}

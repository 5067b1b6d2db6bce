//! Whom the engine believes when it calls others over TLS: pools by URL, guests' requests, and of a runner the engine.
//!
//! The system's certificate authorities, Mozilla's, and those of a file that the operator names. Read once, when the process
//! starts. Nothing here makes a connection, and nothing can switch the checks off.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::limits::MIB;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// All authorities that browsers know are a fifth of this.
const FILE_BYTES_MAX: u64 = MIB as u64;

/// Why there is nobody to trust: one sentence.
#[derive(Debug)]
pub enum TrustError {
    File { path: PathBuf, cause: String },
    Tls(rustls::Error),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustError::File { path, cause } => {
                write!(
                    f,
                    "the certificate authorities in {}: {cause}; name a file of certificates in PEM form, or none",
                    path.display()
                )
            }
            TrustError::Tls(cause) => write!(f, "TLS to others cannot be set up: {cause}"),
        }
    }
}

/// For connections to whoever these have signed for, and to nobody else.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let (_, unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if unusable > 0 {
        tracing::debug!(unusable, "some of the system's certificates cannot be used");
    }
    if let Some(path) = ca_file {
        add(&mut roots, path).map_err(|cause| TrustError::File { path: path.to_owned(), cause })?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(TrustError::Tls)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// All of the file, or none: whoever named it counts on each.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        count += 1;
        let certificate = certificate.map_err(|error| format!("its certificate {count} cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| format!("its certificate {count} cannot be used: {error}"))?;
    }
    match count {
        0 => Err("there is no certificate in it".to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

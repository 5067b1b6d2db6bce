//! TLS to clients: certificates from files, read again when the files change.
//!
//! A pair that cannot be used never takes the place of one that can: it is told in the log, and the one before is shown until the
//! files are right. TLS 1.2 and 1.3 with rustls; what is spoken above is said with ALPN.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use protocol::limits::MIB;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, client};
use tokio_rustls::TlsAcceptor;

use crate::config::edge::Pair;
use crate::lock::lock;

/// How often the files are looked at.
const LOOK_MS: u64 = 2_000;
/// How long a client may take for the handshake.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// No certificate with all those above it is longer.
const FILE_BYTES_MAX: u64 = MIB as u64;
/// How long before its end a certificate is warned about, and how often.
const WARN_DAYS: u64 = 14;
const WARN_EVERY_MS: u64 = 12 * 60 * 60_000;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What is shown to clients now.
pub struct Loaded {
    shown: Vec<Shown>,
}

struct Shown {
    name: &'static str,
    key: Arc<CertifiedKey>,
    /// Seconds since 1970; None if the certificate says it in a way that is not understood.
    ends_s: Option<u64>,
}

/// Reads all pairs; each must be whole, and its key that of its certificate.
pub fn load(pairs: &[Pair]) -> Result<Loaded, String> {
    let shown = pairs.iter().map(|pair| {
        let chain = CertificateDer::pem_slice_iter(&read(&pair.certificate)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| format!("{} is not PEM: {error}", pair.certificate.display()))?;
        let Some(own) = chain.first() else {
            return Err(format!(
                "{} holds no certificate; PEM is expected: -----BEGIN CERTIFICATE-----",
                pair.certificate.display()
            ));
        };
        let ends_s = expiry::of(own);
        let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?);
        let key = key.map_err(|error| format!("{} holds no private key in PEM: {error}", pair.key.display()))?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{} is not the key of {}; name two that belong together", pair.key.display(), pair.certificate.display())
            }
            error => format!("{} and {} cannot be used: {error}", pair.certificate.display(), pair.key.display()),
        })?;
        Ok(Shown { name: pair.name, key: Arc::new(certified), ends_s })
    });
    Ok(Loaded { shown: shown.collect::<Result<_, _>>()? })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("{} is longer than {FILE_BYTES_MAX} bytes, and is no certificate or key", path.display()));
    }
    fs::read(path).map_err(unreadable)
}

impl Loaded {
    /// Of each pair: its name, and when its certificate ends in seconds since 1970.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.shown.iter().filter_map(|shown| Some((shown.name, shown.ends_s?)))
    }

    /// Certificates that have ended, or will soon.
    pub fn warnings(&self, now_ms: u64) -> Vec<String> {
        let now_s = now_ms / 1_000;
        let of = |(name, ends_s): (&str, u64)| match ends_s.checked_sub(now_s) {
            None => Some(format!("the {name} certificate has ended: clients refuse it; renew it")),
            Some(left_s) if left_s < WARN_DAYS * DAY_SECONDS => {
                Some(format!("the {name} certificate ends in {} days; renew it", left_s / DAY_SECONDS))
            }
            Some(_) => None,
        };
        self.ends().filter_map(of).collect()
    }

    /// The one with that name, or else the first.
    fn for_name(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fits = |shown: &&Shown| {
            let parsed = shown.key.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
            parsed.zip(name.as_ref()).is_some_and(|(own, name)| client::verify_server_name(&own, name).is_ok())
        };
        let shown = self.shown.iter().find(fits).or(self.shown.first());
        shown.map(|shown| shown.key.clone())
    }
}

/// The way from files to handshakes.
pub struct Certificates {
    pairs: Vec<Pair>,
    loaded: Mutex<Arc<Loaded>>,
    /// Of the files before they were first read.
    first: Fingerprint,
}

/// What changes with the files, also when only their mode does, or a link is pointed elsewhere.
type Fingerprint = Vec<Option<(SystemTime, u64, (i64, i64))>>;

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("pairs", &self.pairs).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now().for_name(hello.server_name())
    }
}

impl Certificates {
    pub fn open(pairs: Vec<Pair>) -> Result<Certificates, String> {
        let first = fingerprint(&pairs);
        let loaded = Mutex::new(Arc::new(load(&pairs)?));
        Ok(Certificates { pairs, loaded, first })
    }

    pub fn now(&self) -> Arc<Loaded> {
        lock(&self.loaded).clone()
    }

    pub fn acceptor(self: &Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = config.with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Until the task is dropped: reads the files again when they have changed, and warns of certificates that end.
    pub async fn watch(&self, now_ms: impl Fn() -> u64) {
        let mut seen = self.first.clone();
        let mut failed = None;
        let mut warn_at_ms = now_ms();
        loop {
            if now_ms() >= warn_at_ms {
                warn_at_ms = now_ms() + WARN_EVERY_MS;
                for sentence in self.now().warnings(now_ms()) {
                    tracing::warn!("{sentence}");
                }
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            let found = fingerprint(&self.pairs);
            // What could not be used is tried again: it may have been read while it was written.
            if found == seen && failed.is_none() {
                continue;
            }
            seen = found;
            match load(&self.pairs) {
                Ok(loaded) => {
                    *lock(&self.loaded) = Arc::new(loaded);
                    failed = None;
                    warn_at_ms = now_ms();
                    tracing::info!("the certificates have changed; new connections get the new ones");
                }
                Err(error) => {
                    if failed.as_ref() != Some(&error) {
                        tracing::error!(%error, "the certificates have changed and cannot be used; the ones before are kept");
                    }
                    failed = Some(error);
                }
            }
        }
    }
}

fn fingerprint(pairs: &[Pair]) -> Fingerprint {
    let files = pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    files.map(|path| fs::metadata(path).ok().and_then(|file| Some((file.modified().ok()?, file.len(), changed(&file))))).collect()
}

/// When the file or what is said of it has changed: seconds and nanoseconds since 1970.
#[cfg(unix)]
fn changed(file: &fs::Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (file.ctime(), file.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &fs::Metadata) -> (i64, i64) {
    (0, 0)
}

/// When a certificate ends: the one thing of X.509 that is not rustls's to know.
mod expiry {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;

    /// Seconds since 1970, of a certificate in DER (RFC 5280, 4.1).
    pub fn of(der: &[u8]) -> Option<u64> {
        let (_, certificate, _) = element(der)?;
        let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
        if rest.first() == Some(&VERSION) {
            (_, _, rest) = element(rest)?;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            (_, _, rest) = element(rest)?;
        }
        let (SEQUENCE, validity, _) = element(rest)? else { return None };
        let (_, _, after_begin) = element(validity)?;
        let (kind, text, _) = element(after_begin)?;
        seconds(kind, std::str::from_utf8(text).ok()?)
    }

    /// Tag, content, and what comes behind.
    fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
        let (tag, rest) = der.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((*tag, content, rest))
    }

    fn seconds(kind: u8, text: &str) -> Option<u64> {
        let text = text.strip_suffix('Z')?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, rest) = match kind {
            UTC_TIME if digits && text.len() == 12 => {
                let year: u64 = text[..2].parse().ok()?;
                (if year < 50 { 2_000 + year } else { 1_900 + year }, &text[2..])
            }
            GENERALIZED_TIME if digits && text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
            _ => return None,
        };
        let part = |at: usize| rest[at..at + 2].parse::<u64>().ok();
        let (month, day) = (part(0)?, part(2)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let seconds = days_since_1970(year, month, day)? * 86_400;
        Some(seconds + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
    }

    /// Of the Gregorian calendar, counted from a March, after which a leap day is the last of its year.
    fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
        let year = if month <= 2 { year.checked_sub(1)? } else { year };
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        (year * 365 + year / 4 - year / 100 + year / 400 + of_year).checked_sub(719_468)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn moments() {
            let rows = [
                (UTC_TIME, "700101000000Z", Some(0)),
                (UTC_TIME, "240229120000Z", Some(1_709_208_000)),
                (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
                (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
                (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
                (UTC_TIME, "691231235959Z", None),
                (UTC_TIME, "2402291200Z", None),
                (UTC_TIME, "24o229120000Z", None),
                (UTC_TIME, "241329120000Z", None),
                (UTC_TIME, "ä40229120000Z", None),
                (UTC_TIME, "", None),
                (SEQUENCE, "240229120000Z", None),
            ];
            for (kind, text, expected) in rows {
                assert_eq!(seconds(kind, text), expected, "{text}");
            }
        }

        #[test]
        fn what_is_no_certificate_has_no_end() {
            let rows: [&[u8]; 7] = [
                &[],
                &[0x30],
                &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
                &[0x30, 2, 0x30, 0],
                &[0x30, 0x80],
                &[0x30, 5, 0x30, 3, 2, 1, 1],
                b"x",
            ];
            for der in rows {
                assert_eq!(of(der), None, "{der:?}");
            }
        }
    }
}

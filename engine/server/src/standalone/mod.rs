//! The runner for components on its own: another process, or another host, than the engine's.
//!
//! The same runner as inside the engine, behind the same two links; only that a connection lies between them. It knows the runner by
//! its links: which one it is, is said where things are composed.
//!
//! **A connection is all that a runner has.** When it breaks the engine starts the actors elsewhere, and whatever they still do here
//! must not be heard: not by this engine, and not by one that was started anew and gives the same numbers to other requests. So each
//! connection gets a runner of its own, which ends with it. Nothing acknowledged is lost by that: what an actor has said waits until
//! the engine has confirmed what it wrote.
//!
//! In reading order:
//! - this file: connects, again and again.
//! - [`dial`]: one connection from the address to the handshake.
//! - [`session`]: what is said over it.

mod dial;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use protocol::link::{FromRunnerLink, ToRunnerLink};
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::random;
use crate::serverless::client::tls_config;
use crate::standalone::dial::{Dialer, Target};
use crate::standalone::session::Ended;

const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 10_000;

pub struct Config {
    /// Without a token in it.
    pub engine: Url,
    pub token: Option<String>,
    /// Whose certificates are trusted beside the system's and Mozilla's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The runner's name for itself.
    pub key: String,
    /// How long its actors may take to move when it is told to stop.
    pub grace: Duration,
}

/// A runner that has been started for one connection. It ends when this is dropped.
pub struct Hosted {
    pub link: Arc<dyn ToRunnerLink>,
    /// How many actors and requests it has.
    pub in_use: Box<dyn Fn() -> usize + Send + Sync>,
}

/// What happens, for whoever watches.
pub enum Said<'a> {
    Connected { key: &'a str, engine: &'a Url, version: &'a str },
    Lost { why: &'a str, again_in: Duration },
    Stopping { in_use: usize },
    Stopped { in_use: usize },
}

/// Until it is told to stop, or the engine does not want it. The error is one sentence.
pub async fn run(
    config: &Config,
    code_version: u32,
    start: impl Fn(Arc<dyn FromRunnerLink>) -> Result<Hosted, String>,
    say: impl Fn(&Said<'_>),
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let tls = tls_config(config.authorities.clone()).map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let tls = TlsConnector::from(Arc::new(tls));
    let dialer =
        Dialer::new(Target { engine: &config.engine, token: config.token.as_deref(), key: &config.key, code_version }, tls)?;
    let mut stop = std::pin::pin!(stop);
    let mut pauses = Pauses::default();
    loop {
        let dialed = tokio::select! {
            () = &mut stop => return Ok(()),
            dialed = dialer.dial() => dialed,
        };
        let why = match dialed {
            Err(why) => why,
            Ok(socket) => {
                let ended = session::run(config, socket, &start, &say, &mut stop, || pauses = Pauses::default()).await;
                match ended {
                    Ended::Stopped => return Ok(()),
                    Ended::Refused(sentence) => return Err(sentence),
                    Ended::Lost(why) => why,
                }
            }
        };
        let again_in = pauses.next(u64::from_le_bytes(random::bytes()));
        tracing::warn!(engine = %config.engine, why, again_in_ms = again_in.as_millis() as u64, "no connection to the engine");
        say(&Said::Lost { why: &why, again_in });
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = tokio::time::sleep(again_in) => {}
        }
    }
}

/// How long to wait before each attempt: twice as long as before, and never quite so long, so that not all runners come at once.
struct Pauses {
    next_ms: u64,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { next_ms: PAUSE_MS_MIN }
    }
}

impl Pauses {
    fn next(&mut self, random: u64) -> Duration {
        let pause_ms = self.next_ms;
        self.next_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
        Duration::from_millis(pause_ms - random % (pause_ms / 2))
    }
}

//! `rivet-engine start`: runs the engine until it is told to stop.
//!
//! The first SIGTERM or SIGINT stops it in order: no new connections, requests under way finish, the store is closed. The
//! second ends it at once.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Outcome, print};
use crate::compose;
use crate::config::args::StartArgs;
use crate::config::{self, Config, LogFormat, show};
use crate::files;

pub fn run(args: StartArgs, files: &[PathBuf]) -> Outcome {
    let said = config::all(args, files).map_err(|error| error.to_string())?;
    let config = Config::new(&said).map_err(|error| error.to_string())?;
    write_logs(config.log_format);
    for row in show::rows(&said).iter().filter(|row| row[2] != show::DEFAULT) {
        tracing::info!(key = row[0], value = row[1], source = row[2], "configured");
    }
    if let Err(error) = files::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is; it bounds how many clients can be connected");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the threads of the engine could not be started: {error}"))?;
    let outcome = runtime.block_on(async {
        let no_signals = |error: io::Error| format!("signals cannot be listened to: {error}");
        let signals = Signals {
            terminate: signal(SignalKind::terminate()).map_err(no_signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(no_signals)?,
        };
        compose::run(config, say_ready, stop(signals)).await.map_err(|error| error.to_string())
    });
    // What still runs belongs to actors: all that they were told is durable, and nobody listens to them any more.
    runtime.shutdown_background();
    outcome
}

fn say_ready(config: &Config, address: SocketAddr) {
    print_ready(&format!(
        "rivet-engine {} is ready at http://{address}, data in {}, durability {}",
        env!("CARGO_PKG_VERSION"),
        config.data_dir.display(),
        config.durability
    ));
}

/// Unlike the results of other commands: the engine goes on when nobody reads this.
fn print_ready(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn stop(mut signals: Signals) {
    signals.next().await;
    tracing::info!("stopping; once more to stop at once");
    tokio::spawn(async move {
        signals.next().await;
        print::note("stopped at once");
        process::exit(1);
    });
}

fn write_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(|| Quiet);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Standard error, where nobody may be listening any more: whoever started the engine may be gone, and it must go on.
struct Quiet;

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

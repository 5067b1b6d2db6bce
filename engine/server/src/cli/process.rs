//! What `start` and `runner` have in common as processes: their logs, their threads, and how they are stopped.

use std::io::{self, Write};
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Outcome, print};
use crate::config::LogFormat;
use crate::files;

/// Runs it on threads of its own. It is given what is over when it is to stop: at the first signal. The second ends the process.
pub fn run_process<F: Future<Output = Outcome>>(program: impl FnOnce(StopFuture) -> F) -> Outcome {
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
        program(Box::pin(stop(signals))).await
    });
    // What still runs belongs to actors: all that they were told is durable, and nobody listens to them any more.
    runtime.shutdown_background();
    outcome
}

pub type StopFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Unlike the results of other commands: the engine goes on when nobody reads this.
pub fn print_ready(text: &str) {
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

pub fn write_logs(format: LogFormat) {
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

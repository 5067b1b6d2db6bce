//! What `start` and `runner` have in common as processes: their threads, and how they are stopped.

use std::io::{self, Write};
use std::process;
use std::time::Duration;

use crate::cli::{Outcome, print};
use crate::files;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs it on threads of its own. It is given what is over when it is to stop: at the first signal. The second ends the process, and
/// so does the time that everything may take after the first.
pub fn run_process<F: Future<Output = Outcome>>(force: Option<Duration>, program: impl FnOnce(StopFuture) -> F) -> Outcome {
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
        program(Box::pin(stop(signals, force))).await
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

async fn stop(mut signals: Signals, force: Option<Duration>) {
    signals.next().await;
    tracing::info!("stopping; once more to stop at once");
    tokio::spawn(async move {
        let time = async {
            match force {
                Some(force) => tokio::time::sleep(force).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.next() => print::note("stopped at once"),
            () = time => print::note("stopped at once: runtime.force_shutdown_duration is over"),
        }
        process::exit(1);
    });
}

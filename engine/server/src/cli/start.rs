//! `rivet-engine start`: runs the engine until it is told to stop.
//!
//! The first SIGTERM or SIGINT stops it in order: no new connections, requests under way finish, the store is closed. The
//! second ends it at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::Outcome;
use crate::cli::process::{print_ready, run_process};
use crate::compose;
use crate::config::args::StartArgs;
use crate::config::{self, Config, show};
use crate::telemetry::lines::write_logs;

pub fn run(args: StartArgs, files: &[PathBuf]) -> Outcome {
    let said = config::all(args, files).map_err(|error| error.to_string())?;
    let config = Config::new(&said).map_err(|error| error.to_string())?;
    write_logs(config.log_format);
    for row in show::rows(&said).iter().filter(|row| row[2] != show::DEFAULT) {
        tracing::info!(key = row[0], value = row[1], source = row[2], "configured");
    }
    run_process(Some(config.shutdown.force), |stop| async {
        compose::run(config, say_ready, stop).await.map_err(|error| error.to_string())
    })
}

fn say_ready(config: &Config, address: SocketAddr) {
    print_ready(&format!(
        "rivet-engine {} is ready at http://{address}, data in {}, durability {}",
        env!("CARGO_PKG_VERSION"),
        config.data_dir.display(),
        config.durability
    ));
}

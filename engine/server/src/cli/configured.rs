//! `rivet-engine config`: what an engine that is started like this would be.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::{Outcome, print};
use crate::config::args::StartArgs;
use crate::config::{self, Config, show};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show every key that counts, its value, and who said so. Takes the flags of `start`; secrets are not shown
    Show(StartArgs),
}

pub fn run(command: ConfigCommand, files: &[PathBuf]) -> Outcome {
    let ConfigCommand::Show(args) = command;
    let said = config::all(args, files).map_err(|error| error.to_string())?;
    // What could not start is not shown as if it could.
    Config::new(&said).map_err(|error| error.to_string())?;
    print::table(&["KEY", "VALUE", "SOURCE"], &show::rows(&said));
    Ok(())
}

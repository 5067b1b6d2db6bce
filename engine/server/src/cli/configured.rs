//! `rivet-engine config`: what an engine that is started like this would be.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::{Files, Outcome, print};
use crate::config::args::StartArgs;
use crate::config::{self, Config, check, schema, show};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show every key that counts, its value, and who said so. Takes the flags of `start`; secrets are not shown
    Show {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        args: Box<StartArgs>,
    },
    /// Say what would keep the engine from starting, or is hardly meant, without starting it: also files, folders, addresses and
    /// certificates. Takes the flags of `start`
    Check {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        args: Box<StartArgs>,
    },
    /// Print the JSON Schema of a configuration, for editors
    Schema,
}

pub fn run(command: ConfigCommand, mut config: Vec<PathBuf>) -> Outcome {
    let mut read = |args: StartArgs, files: Files| {
        config.extend(files.config);
        let said = config::all(args, &config).map_err(|error| error.to_string())?;
        let config = Config::new(&said).map_err(|error| error.to_string())?;
        Ok::<_, String>((said, config))
    };
    match command {
        ConfigCommand::Show { files, args } => {
            // What could not start is not shown as if it could.
            let (said, config) = read(*args, files)?;
            print::table(&["KEY", "VALUE", "SOURCE"], &show::rows(&said));
            print::line(&format!("\nmemory: {}", config.memory));
            Ok(())
        }
        ConfigCommand::Check { files, args } => {
            let (said, config) = read(*args, files)?;
            let found = check::check(&config);
            for sentence in &found.notes {
                print::note(&format!("note: {sentence}"));
            }
            if !found.problems.is_empty() {
                return Err(found.problems.join("\n"));
            }
            let (keys, data_dir) = (said.entries().count(), config.data_dir.display());
            print::line(&format!("an engine could start: {keys} keys are set, data in {data_dir}"));
            Ok(())
        }
        ConfigCommand::Schema => {
            print::line(&format!("{:#}", schema::schema()));
            Ok(())
        }
    }
}

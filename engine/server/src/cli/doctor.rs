//! `rivet-engine doctor`: looks at a data directory and the machine, and explains. Exit code 1 if something is broken.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::{Outcome, print};
use crate::config::args::StartArgs;
use crate::config::{self, Config};
use crate::doctor::{self, Finding, Level, Wanted};

#[derive(Args)]
pub struct DoctorArgs {
    /// The data directory [default: file_system.path of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Answer with JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DoctorArgs, files: &[PathBuf]) -> Outcome {
    let said = config::all(StartArgs::default(), files).map_err(|error| error.to_string())?;
    let config = Config::new(&said).map_err(|error| error.to_string())?;
    let data_dir = args.data_dir.clone().unwrap_or(config.data_dir);
    let wanted = Wanted { reserve_bytes: config.storage.reserve_bytes, memory_bytes: config.memory.limit };
    let findings = doctor::look(&data_dir, &wanted, &mut |keys| print::progress(&format!("reading, {keys} keys")));
    print::progress("");
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warn));
    match args.json {
        true => print::line(&json!({ "findings": findings, "errors": errors, "warnings": warnings }).to_string()),
        false => findings.iter().for_each(show),
    }
    match errors {
        0 => Ok(()),
        _ => Err(format!("{errors} things are broken in {}; each line above says what to do", data_dir.display())),
    }
}

fn show(finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let next = finding.next.as_ref().map(|next| format!(". To do: {next}")).unwrap_or_default();
    print::line(&format!("{level:<5}  {:<11}  {}{next}", finding.check, finding.text));
}

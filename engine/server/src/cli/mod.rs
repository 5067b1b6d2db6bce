//! The command line: `start` runs the engine, the other commands talk to one that runs.
//!
//! Results go to standard output, as tables for people or with `--json` as the API gives them; everything else goes to standard
//! error. Exit codes: 0 done, 1 it failed and one sentence says why, 2 the command was typed wrong.
//!
//! In reading order:
//! - [`start`]: runs the engine until it is told to stop. [`configured`]: says how it would.
//! - [`runner`]: runs actors for an engine elsewhere. [`process`]: what both are as processes.
//! - [`deploy`], [`check`], [`deployments`], [`actors`], [`namespaces`], [`logs`], [`health`]: what can be done. [`settings`]: what a
//!   deployment gives its actors. [`tokens`]: who may do that. [`audit`]: who did what.
//! - [`tracing`]: which log lines an engine writes. [`backup`]: copies of the data directory. [`portable`]: one actor as a file.
//!   [`doctor`]: what is wrong with a data directory.
//! - [`new`]: writes a project; talks to nobody. [`dev`]: builds and deploys it whenever it changes.
//! - [`client`]: the way to the engine; [`tunnel`]: over TLS. [`print`]: tables, moments, lines.

mod actors;
mod audit;
mod backup;
mod check;
mod client;
mod configured;
mod deploy;
mod deployments;
mod dev;
mod doctor;
mod health;
mod logs;
mod namespaces;
mod new;
mod portable;
mod print;
mod process;
mod runner;
mod settings;
mod start;
mod tokens;
mod tracing;
mod tunnel;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use rustls::ClientConfig;

use crate::cli::client::Client;
use crate::config::args::StartArgs;
use crate::trust;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nGit SHA: ",
    env!("BUILD_GIT_SHA"),
    "\nBuild Timestamp: ",
    env!("BUILD_TIMESTAMP"),
    "\nRustc Version: ",
    env!("BUILD_RUSTC_VERSION"),
    "\nRustc Host: ",
    env!("BUILD_HOST"),
    "\nCargo Target: ",
    env!("BUILD_TARGET"),
    "\nCargo Profile: ",
    env!("BUILD_PROFILE")
);

#[derive(Parser)]
#[command(name = "rivet-engine", display_name = "Rivet", version = VERSION, about = "Runs stateful actors", max_term_width = 100)]
struct Cli {
    /// A file of configuration, or a folder of such files: json, json5, jsonc, yaml, yml. May be repeated; later ones win
    /// [default: /etc/rivet]
    #[arg(long, value_name = "FILE|DIR")]
    config: Vec<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// The same behind the command. Not for all of them: a deployment has a configuration of its own.
#[derive(Args)]
struct Files {
    /// As before the command
    #[arg(long, value_name = "FILE|DIR")]
    config: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine until SIGTERM or SIGINT
    Start {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        args: Box<StartArgs>,
    },
    /// Run Wasm actors for an engine elsewhere until SIGTERM or SIGINT
    Runner {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        args: Box<runner::RunnerArgs>,
    },
    /// What is configured
    Config {
        #[command(flatten)]
        files: Files,
        #[command(subcommand)]
        command: configured::ConfigCommand,
    },
    /// Copies of the whole data directory: make, list, verify, restore and remove them
    Backup {
        #[command(flatten)]
        files: Files,
        #[command(subcommand)]
        command: backup::BackupCommand,
    },
    /// Look at a data directory and the machine under it, and explain what is wrong
    Doctor {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        args: doctor::DoctorArgs,
    },
    /// Write a project that builds into an actor
    New(new::NewArgs),
    /// Build and deploy a project, again whenever it changes, on an engine of its own if none runs
    Dev(dev::DevArgs),
    /// Deploy a WebAssembly component: actors of its name run it from now on
    Deploy(deploy::DeployArgs),
    /// List what is deployed, with all versions
    Deployments(TargetArgs),
    /// Show one deployment: what it was granted, who is on the way to another version, who is held back
    Status(deployments::NameArgs),
    /// Change the settings of a deployment: a new version of the same component
    Configure(deployments::ConfigureArgs),
    /// Make an earlier version of a deployment live again, for all of its actors
    Rollback(deployments::RollbackArgs),
    /// Set the share of the actors that run a deployment's canary
    Canary(deployments::CanaryArgs),
    /// Make the canary of a deployment live
    Promote(deployments::ChangeArgs),
    /// Have actors that could not be migrated try again
    Retry(deployments::ChangeArgs),
    /// Have an actor run one version, whatever is live
    Pin(deployments::PinArgs),
    /// Have a pinned actor run what the others run
    Unpin(deployments::UnpinArgs),
    /// List, look at or destroy actors
    #[command(subcommand)]
    Actors(actors::ActorsCommand),
    /// List or make namespaces, say what one may have
    #[command(subcommand)]
    Namespaces(namespaces::NamespacesCommand),
    /// Show what an actor has logged of late
    Logs(logs::LogsArgs),
    /// Which log lines the engine writes and which requests it traces
    #[command(subcommand)]
    Tracing(tracing::TracingCommand),
    /// Mint, list or revoke tokens
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Show who did what, newest first
    Audit(audit::AuditArgs),
    /// Say whether an engine answers: for health checks
    Health(health::HealthArgs),
}

const ENGINE_DEFAULT: &str = "http://127.0.0.1:6420";

/// Which engine, which namespace, and how to answer.
#[derive(Args, Clone)]
pub struct TargetArgs {
    /// Where the engine is: http[s]://[NAMESPACE[:TOKEN]@]HOST[:PORT] [env: RIVET_ENDPOINT] [default: http://127.0.0.1:6420]
    #[arg(long, value_name = "URL")]
    engine: Option<String>,

    /// The namespace [env: RIVET_NAMESPACE] [default: default]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// A token, if the engine wants one. A flag is visible to others on this machine: better in the environment
    /// [env: RIVET_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Certificates, PEM, of who is trusted for https:// beside the system's and Mozilla's [env: RIVET_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Answer with the API's JSON
    #[arg(long)]
    json: bool,
}

impl TargetArgs {
    fn client(&self) -> Result<Client, String> {
        // The older name goes first, as with clients of the original.
        let engine = self.engine.clone().or_else(|| variable("RIVET_ENGINE")).or_else(|| variable("RIVET_ENDPOINT"));
        let namespace = self.namespace.clone().or_else(|| variable("RIVET_NAMESPACE"));
        let token = self.token.clone().or_else(|| variable("RIVET_TOKEN"));
        Client::new(engine.as_deref().unwrap_or(ENGINE_DEFAULT), namespace, token, trusted(self.ca.clone(), None)?)
    }
}

/// Who is believed over TLS: beside the usual authorities those of the named file, or of the one in the environment, or else of the
/// one that is configured.
fn trusted(ca: Option<PathBuf>, configured: Option<PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let named = ca.or_else(|| variable("RIVET_CA").map(PathBuf::from)).or(configured);
    trust::client_config(named.as_deref()).map_err(|error| error.to_string())
}

/// An empty variable is one that was not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The error is one sentence for people.
type Outcome = Result<(), String>;

pub fn main() -> ExitCode {
    let Cli { mut config, command } = Cli::parse();
    let outcome = match command {
        Command::Start { files, args } => {
            config.extend(files.config);
            start::run(*args, &config)
        }
        Command::Runner { files, args } => {
            config.extend(files.config);
            runner::run(*args, &config)
        }
        Command::Config { files, command } => {
            config.extend(files.config);
            configured::run(command, config)
        }
        Command::Backup { files, command } => {
            config.extend(files.config);
            backup::run(command, &config)
        }
        Command::Doctor { files, args } => {
            config.extend(files.config);
            doctor::run(&args, &config)
        }
        Command::New(args) => new::run(args),
        Command::Dev(args) => talk(dev::run(args)),
        Command::Deploy(args) => talk(deploy::run(args)),
        Command::Deployments(args) => talk(deployments::list(args)),
        Command::Status(args) => talk(deployments::status(args)),
        Command::Configure(args) => talk(deployments::configure(args)),
        Command::Rollback(args) => talk(deployments::roll_back(args)),
        Command::Canary(args) => talk(deployments::canary(args)),
        Command::Promote(args) => talk(deployments::promote(args)),
        Command::Retry(args) => talk(deployments::retry(args)),
        Command::Pin(args) => talk(deployments::pin(args)),
        Command::Unpin(args) => talk(deployments::unpin(args)),
        Command::Actors(command) => talk(actors::run(command)),
        Command::Namespaces(command) => talk(namespaces::run(command)),
        Command::Logs(args) => talk(logs::run(args)),
        Command::Tracing(command) => talk(tracing::run(command)),
        Command::Tokens(command) => talk(tokens::run(command)),
        Command::Audit(args) => talk(audit::run(args)),
        Command::Health(args) => talk(health::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            print::note(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

/// A conversation with an engine needs no more than one thread.
fn talk(conversation: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime could be set up: {error}"))?.block_on(conversation)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_typed_wrong_is_refused() {
        let rows: [&[&str]; 18] = [
            &[],
            &["canary", "counter"],
            &["pin", "x"],
            &["configure", "counter", "--allow-host", "a", "--allow-no-host"],
            &["start", "--port", "70000"],
            &["start", "--durability", "fast"],
            &["runner", "--grace", "soon"],
            &["deploy"],
            &["new", "counter"],
            &["new", "counter", "--lang", "cobol"],
            &["dev", ".", "--listen", "here"],
            &["rollback", "counter"],
            &["actors"],
            &["tokens", "create"],
            &["tokens", "create", "--role", "king"],
            &["tokens", "create", "--role", "client", "--expires", "soon"],
            &["tokens", "create", "--role", "client", "--all-namespaces", "--namespace", "a"],
            &["frobnicate"],
        ];
        for arguments in rows {
            let typed = std::iter::once(&"rivet-engine").chain(arguments);
            assert!(Cli::try_parse_from(typed).is_err_and(|error| error.exit_code() == 2), "{arguments:?}");
        }
    }
}

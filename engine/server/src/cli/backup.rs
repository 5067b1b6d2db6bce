//! `rivet-engine backup`: make one, list, verify, restore and remove them.
//!
//! Making one is the engine's work while it runs, and this process's when it does not. All else is done here, on the folder that
//! they lie in, and needs no engine: what is restored may be all that is left.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use engine_backup::{Manifest, Repository, Stage, Step, stage};
use engine_store::Rocks;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::backups::new_id;
use crate::cli::{Outcome, TargetArgs, print, talk};
use crate::config::args::StartArgs;
use crate::config::storage::StorageConfig;
use crate::config::{self, data_dir};

#[derive(Subcommand)]
pub enum BackupCommand {
    /// Have the running engine make a backup; with --offline, make one of a data directory that no engine uses
    Create(CreateArgs),
    /// List the backups there are, oldest first
    List(FolderArgs),
    /// Compare every checksum of a backup, open it, and read everything in it
    Verify(OneArgs),
    /// Make a new data directory of a backup
    Restore(RestoreArgs),
    /// Remove one backup, and the files that no other has
    Remove(OneArgs),
    /// Remove all backups but the newest
    Prune(PruneArgs),
}

/// Where backups lie.
#[derive(Args)]
pub struct FolderArgs {
    /// The folder of backups [default: backup.dir of the configuration]
    #[arg(long, value_name = "DIR")]
    backups: Option<PathBuf>,

    /// Answer with JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct CreateArgs {
    /// No engine runs: copy the data directory from here
    #[arg(long)]
    offline: bool,

    /// With --offline: the data directory [default: file_system.path of the configuration]
    #[arg(long, value_name = "DIR", requires = "offline")]
    data_dir: Option<PathBuf>,

    /// With --offline: the folder of backups [default: backup.dir of the configuration]
    #[arg(long, value_name = "DIR", requires = "offline")]
    backups: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct OneArgs {
    /// The backup's id; `latest` is the newest
    #[arg(value_name = "BACKUP")]
    id: String,

    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Args)]
pub struct RestoreArgs {
    /// The backup's id; `latest` is the newest
    #[arg(value_name = "BACKUP")]
    id: String,

    /// The data directory to make: absent, or empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Args)]
pub struct PruneArgs {
    /// How many of the newest stay
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,

    #[command(flatten)]
    folder: FolderArgs,
}

pub fn run(command: BackupCommand, files: &[PathBuf]) -> Outcome {
    // An engine may run beside it.
    engine_backup::aside::step_back();
    match command {
        BackupCommand::Create(args) if args.offline => create_offline(&args, files),
        BackupCommand::Create(args) => talk(create(args)),
        BackupCommand::List(folder) => list(&folder, files),
        BackupCommand::Verify(OneArgs { id, folder }) => {
            let manifest = engine_backup::verify(&open(&folder, files)?, &id, &mut progress).map_err(told)?;
            say(&folder, &manifest, "is whole: every checksum is right, it opens, and all that is in it can be read")
        }
        BackupCommand::Restore(RestoreArgs { id, data_dir, folder }) => {
            let manifest = engine_backup::restore(&open(&folder, files)?, &id, &data_dir, &mut progress).map_err(told)?;
            say(&folder, &manifest, &format!("is restored to {}", data_dir.display()))
        }
        BackupCommand::Remove(OneArgs { id, folder }) => {
            let repository = open(&folder, files)?;
            let id = repository.find(&id).map_or(id, |manifest| manifest.id);
            let freed = repository.remove(&id).map_err(told)?;
            removed(&folder, &[id], freed)
        }
        BackupCommand::Prune(PruneArgs { keep, folder }) => {
            let (ids, freed) = open(&folder, files)?.prune(keep as usize).map_err(told)?;
            removed(&folder, &ids, freed)
        }
    }
}

fn told(error: impl std::fmt::Display) -> String {
    print::progress("");
    error.to_string()
}

fn progress(step: Step) -> bool {
    match step {
        Step::Copied { bytes, of } => print::progress(&format!("copying, {} of {}", print::size(bytes), print::size(of))),
        Step::Hashed { bytes, of } => print::progress(&format!("comparing, {} of {}", print::size(bytes), print::size(of))),
        Step::Read { keys } => print::progress(&format!("reading, {keys} keys")),
    }
    true
}

fn folder(named: &Option<PathBuf>, files: &[PathBuf]) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return Ok(named.clone());
    }
    let said = config::all(StartArgs::default(), files).map_err(|error| error.to_string())?;
    let configured = StorageConfig::new(&said).map_err(|error| error.to_string())?.backup_dir;
    configured.ok_or_else(|| "which backups? Name their folder with --backups, or configure backup.dir".to_string())
}

fn open(args: &FolderArgs, files: &[PathBuf]) -> Result<Repository, String> {
    Repository::open(&folder(&args.backups, files)?).map_err(told)
}

async fn create(args: CreateArgs) -> Outcome {
    let client = args.target.client()?;
    let request = client.request_of_engine(Method::POST, &["backups"], &[]).header(ACCEPT, "application/x-ndjson");
    let response = client.send(request).await?;
    let mut last = Value::Null;
    client
        .lines(response, |line| {
            if let (Some(bytes), Some(of), Some("copying")) = (line["bytes"].as_u64(), line["of"].as_u64(), line["phase"].as_str())
            {
                progress(Step::Copied { bytes, of });
            }
            last = line;
            Ok(())
        })
        .await?;
    print::progress("");
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_string();
    match last["phase"].as_str() {
        Some("made") if args.target.json => print::line(&last.to_string()),
        Some("made") => print::line(&format!(
            "backup {} is made: {}, of which {} are new; {} actors in {} namespaces",
            text(&last, "id"),
            print::size(last["bytes"].as_u64().unwrap_or(0)),
            print::size(last["new_bytes"].as_u64().unwrap_or(0)),
            last["actors"],
            last["namespaces"]
        )),
        Some("failed") => {
            let error = &last["error"];
            return Err(format!("{} ({}.{})", text(error, "message"), text(error, "group"), text(error, "code")));
        }
        _ => return Err("the engine ended the backup without saying how it went; `rivet-engine backup list` shows it".to_string()),
    }
    Ok(())
}

fn create_offline(args: &CreateArgs, files: &[PathBuf]) -> Outcome {
    let said = config::all(StartArgs::default(), files).map_err(|error| error.to_string())?;
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => data_dir(&said).map_err(|error| error.to_string())?,
    };
    let place = data_dir.join("store");
    if !place.is_dir() {
        return Err(format!("{} is not a data directory: it has no folder `store`", data_dir.display()));
    }
    // Opening it is what shows that nobody else has it.
    let store = Rocks::open_as_it_is(&place).map_err(told)?;
    let repository = Repository::create(&folder(&args.backups, files)?).map_err(told)?;
    stage::clear(&data_dir).map_err(told)?;
    let staged = Stage::make(&store, &data_dir).map_err(told)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let report = engine_backup::create(&staged, &repository, &new_id(now_ms), now_ms, None, &mut progress).map_err(told)?;
    drop(staged);
    store.close().map_err(told)?;
    let folder = FolderArgs { backups: None, json: args.target.json };
    say(&folder, &report.manifest, &format!("is made: {} are new", print::size(report.manifest.new_bytes)))
}

fn view(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.id,
        "create_ts": manifest.create_ms,
        "engine": manifest.engine,
        "data_format": manifest.data_format,
        "bytes": manifest.bytes,
        "new_bytes": manifest.new_bytes,
        "files": manifest.files.len(),
        "counts": manifest.counts,
    })
}

fn say(args: &FolderArgs, manifest: &Manifest, what: &str) -> Outcome {
    print::progress("");
    match args.json {
        true => print::line(&view(manifest).to_string()),
        false => {
            let (moment, size) = (print::moment(manifest.create_ms), print::size(manifest.bytes));
            print::line(&format!("backup {} of {moment} ({size}, {} actors) {what}", manifest.id, manifest.counts.actors));
        }
    }
    Ok(())
}

fn removed(args: &FolderArgs, ids: &[String], freed: u64) -> Outcome {
    match args.json {
        true => print::line(&json!({ "removed": ids, "freed_bytes": freed }).to_string()),
        false => print::line(&format!("removed {} backups, {} are free: {}", ids.len(), print::size(freed), ids.join(", "))),
    }
    Ok(())
}

fn list(args: &FolderArgs, files: &[PathBuf]) -> Outcome {
    let listed = open(args, files)?.list().map_err(told)?;
    if args.json {
        let row = |(id, manifest): &engine_backup::repository::Listed| match manifest {
            Ok(manifest) => view(manifest),
            Err(damage) => json!({ "id": id, "damage": damage.to_string() }),
        };
        print::line(&json!({ "backups": listed.iter().map(row).collect::<Vec<_>>() }).to_string());
        return Ok(());
    }
    if listed.is_empty() {
        print::note("there are no backups");
        return Ok(());
    }
    let row = |(id, manifest): &engine_backup::repository::Listed| match manifest {
        Ok(manifest) => vec![
            id.clone(),
            print::moment(manifest.create_ms),
            print::size(manifest.bytes),
            print::size(manifest.new_bytes),
            manifest.counts.actors.to_string(),
            manifest.engine.clone(),
        ],
        Err(damage) => vec![id.clone(), damage.to_string()],
    };
    print::table(&["BACKUP", "OF", "SIZE", "NEW", "ACTORS", "ENGINE"], &listed.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

//! `rivet-engine actors`: list them, look at one, destroy one.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::portable::{self, ExportArgs, ImportArgs};
use crate::cli::{Outcome, TargetArgs, print};

#[derive(Subcommand)]
pub enum ActorsCommand {
    /// List actors, newest first
    List(ListArgs),
    /// Show one actor
    Get(OneArgs),
    /// Destroy one actor, with everything it has stored
    Destroy(OneArgs),
    /// Write everything that is stored about one actor to a file
    Export(ExportArgs),
    /// Make a new actor of an exported one, asleep
    Import(ImportArgs),
}

#[derive(Args)]
pub struct ListArgs {
    /// Only actors of this name [default: of every name]
    #[arg(long)]
    name: Option<String>,

    /// Only the actor with this key; needs --name
    #[arg(long, requires = "name")]
    key: Option<String>,

    /// Also those that were destroyed
    #[arg(long)]
    include_destroyed: bool,

    /// How many of each name at most
    #[arg(long, default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct OneArgs {
    /// The actor's id
    #[arg(value_name = "ACTOR")]
    actor: String,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(command: ActorsCommand) -> Outcome {
    match command {
        ActorsCommand::List(args) => list(args).await,
        ActorsCommand::Get(args) => get(args).await,
        ActorsCommand::Destroy(args) => destroy(args).await,
        ActorsCommand::Export(args) => portable::export(args).await,
        ActorsCommand::Import(args) => portable::import(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let client = args.target.client()?;
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => names(&client).await?,
    };
    let limit = args.limit.to_string();
    let mut actors = Vec::new();
    for name in &names {
        let mut query = vec![("name", name.as_str()), ("limit", limit.as_str())];
        query.extend(args.key.as_deref().map(|key| ("key", key)));
        if args.include_destroyed {
            query.push(("include_destroyed", "true"));
        }
        let answer = client.json(client.request(Method::GET, &["actors"], &query)).await?;
        actors.extend(answer["actors"].as_array().into_iter().flatten().cloned());
    }
    if args.target.json {
        print::line(&json!({ "actors": actors }).to_string());
        return Ok(());
    }
    if actors.is_empty() {
        print::note("there are no such actors");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = actors.iter().map(row).collect();
    print::table(&["ACTOR", "NAME", "KEY", "STATUS", "CREATED"], &rows);
    Ok(())
}

/// All names there are, page by page.
async fn names(client: &Client) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let mut query = vec![("limit", "1000")];
        query.extend(names.last().map(|last| ("cursor", last.as_str())));
        let answer = client.json(client.request(Method::GET, &["actors", "names"], &query)).await?;
        let page: Vec<String> = answer["names"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        if page.is_empty() {
            return Ok(names);
        }
        names.extend(page);
    }
}

fn row(actor: &Value) -> Vec<String> {
    let text = |name: &str| actor[name].as_str().unwrap_or_default().to_string();
    let created = print::moment(actor["create_ts"].as_u64().unwrap_or(0));
    vec![text("actor_id"), text("name"), text("key"), status(actor).to_string(), created]
}

/// What its timestamps mean, in one word.
fn status(actor: &Value) -> &'static str {
    let is = |name: &str| !actor[name].is_null();
    match () {
        () if is("destroy_ts") => "destroyed",
        () if is("connectable_ts") => "running",
        () if is("reschedule_ts") => "restarting",
        () if is("error") => "crashed",
        () if is("pending_allocation_ts") => "pending",
        () if is("sleep_ts") => "sleeping",
        () => "starting",
    }
}

async fn get(args: OneArgs) -> Outcome {
    let client = args.target.client()?;
    let answer = client.json(client.request(Method::GET, &["actors"], &[("actor_id", &args.actor)])).await?;
    let Some(actor) = answer["actors"].get(0) else {
        return Err(format!("there is no actor {} in namespace {}", args.actor, client.namespace));
    };
    if args.target.json {
        print::line(&actor.to_string());
        return Ok(());
    }
    // Of one that was destroyed nothing is stored.
    let stored = match actor["destroy_ts"].is_null() {
        true => client.json(client.request(Method::GET, &["actors", &args.actor, "storage"], &[])).await?,
        false => Value::Null,
    };
    let mut rows = vec![vec!["status".to_string(), status(actor).to_string()]];
    for (name, value) in actor.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(number) if name.ends_with("_ts") => print::moment(number.as_u64().unwrap_or(0)),
            other => other.to_string(),
        };
        rows.push(vec![name.clone(), shown]);
    }
    if let Some(bytes) = stored["total_bytes"].as_u64() {
        rows.push(vec!["stored_bytes".to_string(), bytes.to_string()]);
    }
    print::table(&["FIELD", "VALUE"], &rows);
    Ok(())
}

async fn destroy(args: OneArgs) -> Outcome {
    let client = args.target.client()?;
    let answer = client.json(client.request(Method::DELETE, &["actors", &args.actor], &[])).await?;
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("actor {} is destroyed", args.actor)),
    }
    Ok(())
}

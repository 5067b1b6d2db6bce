//! `rivet-engine deployments` and what becomes of versions: `status`, `configure`, `rollback`, `canary`, `promote`, `retry`; `pin`
//! and `unpin` of an actor.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::settings::{self, SettingsArgs};
use crate::cli::{Outcome, TargetArgs, print};

/// How often it is asked whether all actors have moved.
const MOVING_MS: u64 = 200;

pub async fn list(args: TargetArgs) -> Outcome {
    let client = args.client()?;
    let answer = client.json(client.request(Method::GET, &["deployments"], &[])).await?;
    if args.json {
        print::line(&answer.to_string());
        return Ok(());
    }
    let mut rows = Vec::new();
    for deployment in answer["deployments"].as_array().into_iter().flatten() {
        rows.extend(versions(deployment));
    }
    if rows.is_empty() {
        print::note(&format!("nothing is deployed in namespace {}; `rivet-engine deploy FILE.wasm` does it", client.namespace));
        return Ok(());
    }
    table(&rows);
    Ok(())
}

fn table(rows: &[Vec<String>]) {
    print::table(&["NAME", "POOL", "VERSION", "LIVE", "DEPLOYED", "SIZE", "COMPONENT"], rows);
}

fn versions(deployment: &Value) -> impl Iterator<Item = Vec<String>> {
    deployment["versions"].as_array().into_iter().flatten().map(|version| row(deployment, version))
}

fn row(deployment: &Value, version: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let live = match version["canary"].as_str() {
        Some(share) => format!("canary {share}"),
        None if version["live"] == true => "live".to_string(),
        None => String::new(),
    };
    vec![
        text(&deployment["name"]),
        text(&deployment["pool"]),
        version["version"].to_string(),
        live,
        print::moment(version["deploy_ts"].as_u64().unwrap_or(0)),
        print::size(version["bytes"].as_u64().unwrap_or(0)),
        text(&version["component"]).chars().take(12).collect(),
    ]
}

#[derive(Args)]
pub struct NameArgs {
    /// The name it was deployed under
    name: String,

    #[command(flatten)]
    target: TargetArgs,
}

/// Whether to wait for the actors.
#[derive(Args)]
pub struct WaitArgs {
    /// Do not wait until all actors that run have moved to their version
    #[arg(long)]
    no_wait: bool,
}

pub async fn status(args: NameArgs) -> Outcome {
    let client = args.target.client()?;
    let state = state(&client, &args.name).await?;
    if args.target.json {
        print::line(&state.to_string());
        return Ok(());
    }
    table(&versions(&state).collect::<Vec<_>>());
    for version in state["versions"].as_array().into_iter().flatten() {
        if version["live"] == true || version["canary"].is_string() {
            print::line(&format!("version {}", version["version"]));
            settings::show(version);
        }
    }
    if state["moving"] != 0 {
        print::line(&format!("moving: {} left", state["moving"]));
    }
    held_back(&state, print::line);
    Ok(())
}

async fn state(client: &Client, name: &str) -> Result<Value, String> {
    client.json(client.request(Method::GET, &["deployments", name], &[])).await
}

fn held_back(state: &Value, say: fn(&str)) {
    let held_back = &state["held_back"];
    if held_back["count"] == 0 {
        return;
    }
    say(&format!(
        "{} actors could not be migrated and are held back at the version that wrote their state; `rivet-engine retry {}` tries again",
        held_back["count"],
        state["name"].as_str().unwrap_or_default()
    ));
    for actor in held_back["actors"].as_array().into_iter().flatten() {
        let text = |name: &str| actor[name].as_str().unwrap_or_default();
        say(&format!("  {} to version {}: {}", text("actor_id"), actor["version"], text("message")));
    }
}

impl WaitArgs {
    /// Until all that run have moved; says how many are left.
    pub async fn moved(&self, client: &Client, name: &str) -> Outcome {
        if self.no_wait {
            return Ok(());
        }
        loop {
            let state = state(client, name).await?;
            match state["moving"].as_u64() {
                None | Some(0) => {
                    print::progress("");
                    held_back(&state, print::note);
                    return Ok(());
                }
                Some(left) => print::progress(&format!("moving: {left} left")),
            }
            tokio::time::sleep(Duration::from_millis(MOVING_MS)).await;
        }
    }
}

#[derive(Args)]
pub struct ConfigureArgs {
    /// The name it was deployed under
    name: String,

    /// Only for this share of the actors
    #[arg(long, value_name = "SHARE")]
    canary: Option<String>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn configure(args: ConfigureArgs) -> Outcome {
    let (client, settings) = (args.target.client()?, args.settings.json()?);
    let query: Vec<(&str, &str)> = args.canary.as_deref().map(|share| ("canary", share)).into_iter().collect();
    let request = client.request(Method::PATCH, &["deployments", &args.name], &query).json(&settings);
    told(&client, &args.target, &args.wait, &args.name, client.json(request).await?).await
}

#[derive(Args)]
pub struct RollbackArgs {
    /// The name it was deployed under
    name: String,

    /// The version to make live; `rivet-engine deployments` lists them
    #[arg(long, value_name = "VERSION")]
    to: u32,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn roll_back(args: RollbackArgs) -> Outcome {
    let client = args.target.client()?;
    let request = client.request(Method::POST, &["deployments", &args.name, "activate"], &[]);
    let answer = client.json(request.json(&json!({ "version": args.to }))).await?;
    told(&client, &args.target, &args.wait, &args.name, answer).await
}

#[derive(Args)]
pub struct CanaryArgs {
    /// The name it was deployed under
    name: String,

    /// The share of the actors that run the canary: 25%
    share: String,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn canary(args: CanaryArgs) -> Outcome {
    let client = args.target.client()?;
    let request = client.request(Method::PUT, &["deployments", &args.name, "canary"], &[]);
    let answer = client.json(request.json(&json!({ "share": args.share }))).await?;
    told(&client, &args.target, &args.wait, &args.name, answer).await
}

#[derive(Args)]
pub struct ChangeArgs {
    /// The name it was deployed under
    name: String,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn promote(args: ChangeArgs) -> Outcome {
    change(args, "promote").await
}

pub async fn retry(args: ChangeArgs) -> Outcome {
    change(args, "retry").await
}

async fn change(args: ChangeArgs, what: &str) -> Outcome {
    let client = args.target.client()?;
    let request = client.request(Method::POST, &["deployments", &args.name, what], &[]);
    let answer = client.json(request.json(&json!({}))).await?;
    told(&client, &args.target, &args.wait, &args.name, answer).await
}

/// What is so now, and then how the actors get there.
async fn told(client: &Client, target: &TargetArgs, wait: &WaitArgs, name: &str, answer: Value) -> Outcome {
    match target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("{name} version {} is {}", answer["version"], standing(&answer))),
    }
    wait.moved(client, name).await
}

/// Whether a version is live, or for whom.
pub fn standing(version: &Value) -> String {
    match version["canary"].as_str() {
        Some(share) => format!("a canary for {share} of the actors"),
        None if version["live"] == true => "live".to_string(),
        None => "there".to_string(),
    }
}

#[derive(Args)]
pub struct PinArgs {
    /// The actor's id
    actor: String,

    /// The version that it is to run, whatever is live
    version: u32,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn pin(args: PinArgs) -> Outcome {
    let client = args.target.client()?;
    let request = client.request(Method::PUT, &["actors", &args.actor, "version"], &[]);
    let answer = client.json(request.json(&json!({ "version": args.version }))).await?;
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("actor {} is pinned to version {}", args.actor, args.version)),
    }
    Ok(())
}

#[derive(Args)]
pub struct UnpinArgs {
    /// The actor's id
    actor: String,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn unpin(args: UnpinArgs) -> Outcome {
    let client = args.target.client()?;
    let answer = client.json(client.request(Method::DELETE, &["actors", &args.actor, "version"], &[])).await?;
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("actor {} runs what the others run", args.actor)),
    }
    Ok(())
}

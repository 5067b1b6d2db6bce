//! `rivet-engine deployments` and `rollback`: what is deployed, and which version is live.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Outcome, TargetArgs, print};

pub async fn list(args: TargetArgs) -> Outcome {
    let client = args.client()?;
    let answer = client.json(client.request(Method::GET, &["deployments"], &[])).await?;
    if args.json {
        print::line(&answer.to_string());
        return Ok(());
    }
    let mut rows = Vec::new();
    for deployment in answer["deployments"].as_array().into_iter().flatten() {
        for version in deployment["versions"].as_array().into_iter().flatten() {
            rows.push(row(deployment, version));
        }
    }
    if rows.is_empty() {
        print::note(&format!("nothing is deployed in namespace {}; `rivet-engine deploy FILE.wasm` does it", client.namespace));
        return Ok(());
    }
    print::table(&["NAME", "POOL", "VERSION", "LIVE", "DEPLOYED", "SIZE", "COMPONENT"], &rows);
    Ok(())
}

fn row(deployment: &Value, version: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let live = if version["live"] == true { "live" } else { "" };
    vec![
        text(&deployment["name"]),
        text(&deployment["pool"]),
        version["version"].to_string(),
        live.to_string(),
        print::moment(version["deploy_ts"].as_u64().unwrap_or(0)),
        print::size(version["bytes"].as_u64().unwrap_or(0)),
        text(&version["component"]).chars().take(12).collect(),
    ]
}

#[derive(Args)]
pub struct RollbackArgs {
    /// The name it was deployed under
    name: String,

    /// The version to make live; `rivet-engine deployments` lists them
    #[arg(long, value_name = "VERSION")]
    to: u32,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn roll_back(args: RollbackArgs) -> Outcome {
    let client = args.target.client()?;
    let request = client.request(Method::POST, &["deployments", &args.name, "activate"], &[]);
    let answer = client.json(request.json(&json!({ "version": args.to }))).await?;
    if args.target.json {
        print::line(&answer.to_string());
    } else {
        print::line(&format!("{} version {} is live", args.name, answer["version"]));
    }
    Ok(())
}

//! `rivet-engine namespaces`: list them, make one, say what one may have, delete one.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::{Outcome, TargetArgs, print};
use crate::config::memory::parse_bytes;

#[derive(Subcommand)]
pub enum NamespacesCommand {
    /// List namespaces
    List(TargetArgs),
    /// Make a namespace
    Create(CreateArgs),
    /// Show what a namespace may have and what it has, after changing what is named
    Quotas(QuotasArgs),
    /// Delete a namespace with everything in it, and wait until it is gone
    Delete(DeleteArgs),
}

#[derive(Args)]
pub struct CreateArgs {
    /// Its name: 1 to 64 of a-z, 0-9 and single inner hyphens
    #[arg(value_name = "NAME")]
    name: String,

    /// Its name for people [default: the name]
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct QuotasArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// A quota: actors, awake-actors, storage (10GiB), requests-per-second, deployments, components (1GiB); `none` for no quota. May be
    /// repeated; what is not named stays as it is
    #[arg(long, value_name = "QUOTA=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct DeleteArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// Do not wait: it goes on by itself
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    target: TargetArgs,
}

/// How often the engine is asked how far it is.
const LOOK_MS: u64 = 500;

/// As they are typed, and as the API names them.
const QUOTAS: [(&str, &str); 6] = [
    ("actors", "actors"),
    ("awake-actors", "awake_actors"),
    ("storage", "storage_bytes"),
    ("requests-per-second", "requests_per_second"),
    ("deployments", "deployments"),
    ("components", "component_bytes"),
];

pub async fn run(command: NamespacesCommand) -> Outcome {
    match command {
        NamespacesCommand::List(target) => list(target).await,
        NamespacesCommand::Create(args) => create(args).await,
        NamespacesCommand::Quotas(args) => quotas(args).await,
        NamespacesCommand::Delete(args) => delete(args).await,
    }
}

async fn list(target: TargetArgs) -> Outcome {
    let client = target.client()?;
    let (mut namespaces, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let query: Vec<(&str, &str)> = cursor.as_deref().map(|cursor| ("cursor", cursor)).into_iter().collect();
        let answer = client.json(client.request_of_engine(Method::GET, &["namespaces"], &query)).await?;
        let page = answer["namespaces"].as_array().cloned().unwrap_or_default();
        cursor = answer["pagination"]["cursor"].as_str().map(str::to_string);
        if page.is_empty() {
            break;
        }
        namespaces.extend(page);
    }
    if target.json {
        print::line(&json!({ "namespaces": namespaces }).to_string());
        return Ok(());
    }
    let text = |namespace: &Value, field: &str| namespace[field].as_str().unwrap_or_default().to_string();
    let row = |namespace: &Value| {
        let created = print::moment(namespace["create_ts"].as_u64().unwrap_or(0));
        vec![text(namespace, "name"), text(namespace, "display_name"), text(namespace, "namespace_id"), created]
    };
    let rows: Vec<Vec<String>> = namespaces.iter().map(row).collect();
    print::table(&["NAME", "DISPLAY NAME", "ID", "CREATED"], &rows);
    Ok(())
}

async fn create(args: CreateArgs) -> Outcome {
    let client = args.target.client()?;
    let body = json!({ "name": args.name, "display_name": args.display_name.as_ref().unwrap_or(&args.name) });
    let answer = client.json(client.request_of_engine(Method::POST, &["namespaces"], &[]).json(&body)).await?;
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("namespace {} is made", args.name)),
    }
    Ok(())
}

async fn quotas(args: QuotasArgs) -> Outcome {
    let change = read(&args.set)?;
    let client = args.target.client()?;
    let path = ["namespaces", &args.name, "quotas"];
    let request = match change.is_empty() {
        true => client.request_of_engine(Method::GET, &path, &[]),
        false => client.request_of_engine(Method::PUT, &path, &[]).json(&change),
    };
    let answer = client.json(request).await?;
    if args.target.json {
        print::line(&answer.to_string());
        return Ok(());
    }
    let number = |value: &Value| value.as_u64().map_or("-".to_string(), |number| number.to_string());
    let rows: Vec<Vec<String>> = QUOTAS
        .iter()
        .map(|(typed, field)| {
            let quota = &answer["quotas"][*field];
            vec![typed.to_string(), number(&quota["used"]), number(&quota["limit"])]
        })
        .collect();
    print::table(&["QUOTA", "USED", "LIMIT"], &rows);
    Ok(())
}

async fn delete(args: DeleteArgs) -> Outcome {
    let client = args.target.client()?;
    let mut answer = client.json(client.request_of_engine(Method::DELETE, &["namespaces", &args.name], &[])).await?;
    if !args.no_wait {
        wait(&client, &args.name, &mut answer).await?;
    }
    match (args.target.json, args.no_wait) {
        (true, _) => print::line(&answer.to_string()),
        (false, true) => print::line(&format!("namespace {} is being deleted", args.name)),
        (false, false) => print::line(&format!("namespace {} is deleted", args.name)),
    }
    Ok(())
}

/// Until there is no such namespace any more, or another one. `answer` is what the engine has said last of it.
async fn wait(client: &Client, name: &str, answer: &mut Value) -> Outcome {
    let mut told = String::new();
    loop {
        let deletion = &answer["deletion"];
        let stage = deletion["stage"].as_str().unwrap_or_default();
        let line = format!("{stage}: {} actors left, {} records removed", deletion["actors_left"], deletion["records_removed"]);
        if line != told {
            print::note(&line);
            told = line;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        match client.json(client.request_of_engine(Method::GET, &["namespaces", name, "quotas"], &[])).await {
            Ok(next) if next["namespace_id"] == answer["namespace_id"] => *answer = next,
            Ok(_) => return Ok(()),
            Err(why) if why.contains("namespace.not_found") => return Ok(()),
            Err(why) => return Err(why),
        }
    }
}

fn read(set: &[String]) -> Result<Map<String, Value>, String> {
    let mut change = Map::new();
    for text in set {
        let wrong = || {
            let known = QUOTAS.map(|(typed, _)| typed).join(", ");
            format!("--set {text:?} is no quota; actors=1000 or storage=10GiB are, or none for no quota; known are {known}")
        };
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (_, field) = QUOTAS.iter().find(|(typed, _)| *typed == name).ok_or_else(wrong)?;
        let value = match value {
            "none" => Value::Null,
            _ if field.ends_with("_bytes") => json!(parse_bytes(value).ok_or_else(wrong)?),
            _ => json!(value.parse::<u64>().map_err(|_| wrong())?),
        };
        change.insert(field.to_string(), value);
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_as_they_are_typed() {
        let rows: [(&[&str], Result<Value, &str>); 7] = [
            (&[], Ok(json!({}))),
            (&["actors=10", "storage=2KiB"], Ok(json!({ "actors": 10, "storage_bytes": 2048 }))),
            (&["requests-per-second=none"], Ok(json!({ "requests_per_second": null }))),
            (&["actors"], Err("\"actors\" is no quota")),
            (&["actors=many"], Err("is no quota")),
            (&["storage=1GB"], Err("is no quota")),
            (&["sockets=1"], Err("known are actors, awake-actors")),
        ];
        for (typed, expected) in rows {
            let typed: Vec<String> = typed.iter().map(|text| text.to_string()).collect();
            match (read(&typed).map(Value::Object), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{typed:?}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{typed:?}: {why}"),
                (read, _) => panic!("{typed:?} is {read:?}"),
            }
        }
    }
}

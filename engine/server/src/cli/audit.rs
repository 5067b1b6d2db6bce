//! `rivet-engine audit`: who did what.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::tokens::parse_time_ms;
use crate::cli::{Outcome, TargetArgs, print};

/// Of one answer of the API.
const PAGE_MAX: usize = 1_000;

#[derive(Args)]
pub struct AuditArgs {
    /// Only these acts: deployment.deploy, or deployment for all about deployments
    #[arg(long)]
    act: Option<String>,

    /// Only what was done in this time: 90s, 15m, 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    since: Option<u64>,

    /// How many entries at most
    #[arg(long, default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(args: AuditArgs) -> Outcome {
    let client = args.target.client()?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let from = now_ms.saturating_sub(args.since.unwrap_or(now_ms)).to_string();
    let act = args.act.unwrap_or_default();
    let mut entries: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    while entries.len() < args.limit {
        let limit = (args.limit - entries.len()).min(PAGE_MAX).to_string();
        let query = [("limit", limit.as_str()), ("act", &act), ("from_ts", &from), ("cursor", &cursor)];
        let answer = client.json(client.request_of_all(Method::GET, &["audit"], &query)).await?;
        entries.extend(answer["entries"].as_array().into_iter().flatten().cloned());
        match answer["pagination"]["cursor"].as_str() {
            Some(next) => cursor = next.to_string(),
            None => break,
        }
    }
    if args.target.json {
        print::line(&json!({ "entries": entries }).to_string());
        return Ok(());
    }
    if entries.is_empty() {
        print::note("nothing of the kind was done");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    print::table(&["TIME", "WHO", "FROM", "ACT", "NAMESPACE", "TARGET", "OUTCOME", "DETAILS"], &rows);
    Ok(())
}

fn row(entry: &Value) -> Vec<String> {
    // Names that somebody chose may hold anything; a terminal must not take it for commands.
    let text = |value: &Value| value.as_str().unwrap_or("-").replace(char::is_control, "\u{fffd}");
    let details = entry["details"].as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", text(value)));
    let details: Vec<String> = details.collect();
    let outcome = match entry["count"].as_u64() {
        Some(count) if count > 1 => format!("{} x{count}", text(&entry["outcome"])),
        _ => text(&entry["outcome"]),
    };
    vec![
        print::moment(entry["ts"].as_u64().unwrap_or(0)),
        text(&entry["who"]),
        text(&entry["remote"]),
        text(&entry["act"]),
        text(&entry["namespace"]),
        text(&entry["target"]),
        outcome,
        details.join(" "),
    ]
}

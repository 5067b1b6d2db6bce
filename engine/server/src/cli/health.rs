//! `rivet-engine health`: does an engine answer? For the health checks of containers, whose images hold nothing but this binary.
//!
//! Asks for `/health`, which needs no token, and gives up soon: a check that hangs says nothing.

use std::time::Duration;

use clap::Args;
use reqwest::Method;

use crate::cli::{Outcome, TargetArgs, print};

/// Less than any health check's own patience, so that the sentence is ours.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

#[derive(Args)]
pub struct HealthArgs {
    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(args: HealthArgs) -> Outcome {
    let client = args.target.client()?;
    let answer = client.json(client.request(Method::GET, &["health"], &[]).timeout(ANSWER_WITHIN)).await?;
    let status = answer["status"].as_str().unwrap_or_default();
    if status != "ok" {
        return Err(format!("the engine's status is {status:?} and not \"ok\""));
    }
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("ok, version {}", answer["version"].as_str().unwrap_or("unknown"))),
    }
    Ok(())
}

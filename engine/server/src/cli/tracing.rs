//! `rivet-engine tracing config`: which log lines an engine writes and which requests it traces, as long as it runs.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::cli::{Outcome, TargetArgs, print};
use crate::config::telemetry::parse_ratio;

#[derive(Subcommand)]
pub enum TracingCommand {
    /// Show both, or change them until the engine ends
    Config(ConfigArgs),
}

#[derive(Args)]
pub struct ConfigArgs {
    /// Which log lines are written, as RUST_LOG has it: warn, or info,rivet_engine=debug
    #[arg(short, long, value_name = "FILTER")]
    filter: Option<String>,

    /// The share of the requests that are traced, from 0 to 1
    #[arg(short, long, value_name = "RATIO", value_parser = parse_ratio)]
    sampler_ratio: Option<f64>,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(command: TracingCommand) -> Outcome {
    let TracingCommand::Config(ConfigArgs { filter, sampler_ratio, target }) = command;
    let client = target.client()?;
    let mut change = Map::new();
    change.extend(filter.map(|filter| ("filter".to_string(), Value::from(filter))));
    change.extend(sampler_ratio.map(|ratio| ("sampler_ratio".to_string(), Value::from(ratio))));
    let path = ["tracing", "config"];
    let request = match change.is_empty() {
        true => client.request(Method::GET, &path, &[]),
        false => client.request(Method::PUT, &path, &[]).json(&change),
    };
    let config = client.json(request).await?;
    if target.json {
        print::line(&config.to_string());
        return Ok(());
    }
    let ratio = config["sampler_ratio"].as_f64().map_or("nothing is traced".to_string(), |ratio| ratio.to_string());
    print::line(&format!("filter         {}", config["filter"].as_str().unwrap_or("no log lines are written")));
    print::line(&format!("sampler ratio  {ratio}"));
    Ok(())
}

//! `rivet-engine logs`: what an actor has logged, and with `-f` what it logs from now on, also past a restart of the engine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::{Outcome, TargetArgs, print};

/// How long to wait for an engine that has gone away.
const RETRY: Duration = Duration::from_secs(1);
/// What an answer may begin with: all that was logged while the engine was not reached.
const LIMIT_MAX: &str = "10000";

#[derive(Args)]
pub struct LogsArgs {
    /// The actor's id
    #[arg(value_name = "ACTOR")]
    actor: String,

    /// Go on until interrupted, while the actor sleeps and when the engine starts again
    #[arg(short, long)]
    follow: bool,

    /// How many of the newest lines to begin with
    #[arg(long, default_value_t = 100)]
    limit: usize,

    /// No lines that are older: 30s, 10m, 2h, 7d
    #[arg(long, value_name = "AGO", value_parser = parse_ago)]
    since: Option<Duration>,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(args: LogsArgs) -> Outcome {
    let client = args.target.client()?;
    // No clock of a machine that logs anything stands before 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_ms = args.since.map_or(0, |ago| now.saturating_sub(ago).as_millis()).to_string();
    let mut last = None;
    let response = ask(&client, &args, &[("limit", &args.limit.to_string()), ("since", &since_ms)]).await?;
    let mut broken = show(&client, &args, client.accepted(response).await?, &mut last).await;
    if !args.follow {
        return broken;
    }
    loop {
        print::note(&match broken {
            Ok(()) => "the engine has ended; waiting for it to start again".to_string(),
            Err(why) => format!("{why}; trying again"),
        });
        let after = last.unwrap_or(0).to_string();
        let response = loop {
            tokio::time::sleep(RETRY).await;
            if let Ok(response) = ask(&client, &args, &[("limit", LIMIT_MAX), ("since", &since_ms), ("after", &after)]).await {
                break response;
            }
        };
        broken = show(&client, &args, client.accepted(response).await?, &mut last).await;
    }
}

async fn ask(client: &Client, args: &LogsArgs, query: &[(&str, &str)]) -> Result<Response, String> {
    let follow = if args.follow { "true" } else { "false" };
    let query = [query, &[("follow", follow)]].concat();
    client.reach(client.request(Method::GET, &["actors", &args.actor, "logs"], &query)).await
}

/// Until the answer ends; `last` is the id of the last line that was shown.
async fn show(client: &Client, args: &LogsArgs, response: Response, last: &mut Option<u64>) -> Result<(), String> {
    let take = |line: Value| {
        *last = line["id"].as_u64().or(*last);
        match args.target.json {
            true => print::line(&line.to_string()),
            false => print::line(&shown(&line)),
        }
        Ok(())
    };
    client.lines(response, take).await
}

fn parse_ago(text: &str) -> Result<Duration, String> {
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    match number.and_then(|number| number.checked_mul(unit_s)) {
        Some(seconds) if unit_s > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("a number and a unit are expected: 30s, 10m, 2h, 7d".to_string()),
    }
}

fn shown(line: &Value) -> String {
    let moment = print::moment(line["ts"].as_u64().unwrap_or(0));
    // What an actor logs may hold anything; a terminal must not take it for commands.
    let text: String =
        line["text"].as_str().unwrap_or_default().chars().map(|char| if is_harmless(char) { char } else { '\u{fffd}' }).collect();
    format!("{moment} {:<5} {text}", line["level"].as_str().unwrap_or_default())
}

fn is_harmless(char: char) -> bool {
    !char.is_control() || matches!(char, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_long_ago_is_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("10m", 600), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(parse_ago(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "10", "-1m", "1.5h", "1w", "1 h", "18446744073709551615d", "7д"] {
            assert!(parse_ago(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_cannot_command_the_terminal() {
        let line = json!({ "ts": 0, "level": "info", "text": "a\tb\u{1b}[2Jc" });
        assert_eq!(shown(&line), "1970-01-01 00:00:00Z info  a\tb\u{fffd}[2Jc");
    }
}

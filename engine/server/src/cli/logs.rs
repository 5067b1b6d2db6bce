//! `rivet-engine logs`: what an actor has logged of late, and with `-f` what it logs from now on.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::cli::{Outcome, TargetArgs, print};

#[derive(Args)]
pub struct LogsArgs {
    /// The actor's id
    #[arg(value_name = "ACTOR")]
    actor: String,

    /// Go on until interrupted
    #[arg(short, long)]
    follow: bool,

    /// How many of the newest lines to begin with
    #[arg(long, default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(args: LogsArgs) -> Outcome {
    let client = args.target.client()?;
    let limit = args.limit.to_string();
    let follow = if args.follow { "true" } else { "false" };
    let request = client.request(Method::GET, &["actors", &args.actor, "logs"], &[("limit", &limit), ("follow", follow)]);
    let response = client.send(request).await?;
    client
        .lines(response, |line| {
            match args.target.json {
                true => print::line(&line.to_string()),
                false => print::line(&shown(&line)),
            }
            Ok(())
        })
        .await
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
    fn a_line_cannot_command_the_terminal() {
        let line = json!({ "ts": 0, "level": "info", "text": "a\tb\u{1b}[2Jc" });
        assert_eq!(shown(&line), "1970-01-01 00:00:00Z info  a\tb\u{fffd}[2Jc");
    }
}

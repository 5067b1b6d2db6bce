//! `rivet-engine tokens`: mint one, list them, revoke one.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Outcome, TargetArgs, print};

#[derive(Subcommand)]
pub enum TokensCommand {
    /// Mint a token for the namespace. It is printed, and not shown again
    Create(CreateArgs),
    /// List tokens, of all namespaces unless one is named
    List(TargetArgs),
    /// Revoke a token: nobody can use it any more
    Revoke(RevokeArgs),
}

#[derive(Args)]
pub struct CreateArgs {
    /// What it is for: admin (everything in the namespace), deploy, runner, client (calls actors)
    #[arg(long, value_parser = ["admin", "deploy", "runner", "client"])]
    role: String,

    /// For a runner of all namespaces, such as `rivet-engine runner`
    #[arg(long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// When it expires: 90s, 15m, 12h, 30d from now [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    expires: Option<u64>,

    /// Whose it is, or what for
    #[arg(long, default_value = "")]
    name: String,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct RevokeArgs {
    /// Its id, which is the middle part of the token
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(command: TokensCommand) -> Outcome {
    match command {
        TokensCommand::Create(args) => create(args).await,
        TokensCommand::List(args) => list(args).await,
        TokensCommand::Revoke(args) => revoke(args).await,
    }
}

/// A time as people write it: a whole number and a unit.
pub fn parse_time_ms(text: &str) -> Result<u64, String> {
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 60 * 60_000,
        Some('d') => 24 * 60 * 60_000,
        _ => 0,
    };
    let number = text.strip_suffix(|_: char| unit_ms > 0).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let ms = number.and_then(|number| number.parse::<u64>().ok()).and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms > 0).ok_or_else(|| "a number from 1 on and s, m, h or d is expected, such as 30d".to_string())
}

async fn create(args: CreateArgs) -> Outcome {
    let client = args.target.client()?;
    let body = json!({ "role": args.role, "name": args.name, "expires_in_ms": args.expires });
    let request = match args.all_namespaces {
        true => client.request_of_engine(Method::POST, &["tokens"], &[]),
        false => client.request(Method::POST, &["tokens"], &[]),
    };
    let answer = client.json(request.json(&body)).await?;
    if args.target.json {
        print::line(&answer.to_string());
        return Ok(());
    }
    let token = &answer["token"];
    let id = token["id"].as_str().unwrap_or_default();
    let of = token["namespace"].as_str().map_or_else(|| "all namespaces".to_string(), |name| format!("namespace {name}"));
    let until =
        token["expire_ts"].as_u64().map_or_else(|| "never expires".to_string(), |ms| format!("expires {}", print::moment(ms)));
    // The token alone, so that a script can take it.
    print::line(answer["secret"].as_str().unwrap_or_default());
    print::note(&format!("token {id} for {of}, role {}, {until}; it is not shown again", args.role));
    Ok(())
}

async fn list(args: TargetArgs) -> Outcome {
    let client = args.client()?;
    let mut tokens: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let query = [("limit", "1000"), ("cursor", cursor.as_str())];
        let answer = client.json(client.request_of_all(Method::GET, &["tokens"], &query)).await?;
        tokens.extend(answer["tokens"].as_array().into_iter().flatten().cloned());
        match answer["pagination"]["cursor"].as_str() {
            Some(next) => cursor = next.to_string(),
            None => break,
        }
    }
    if args.json {
        print::line(&json!({ "tokens": tokens }).to_string());
        return Ok(());
    }
    if tokens.is_empty() {
        print::note("there are no tokens");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    print::table(&["TOKEN", "ROLE", "NAMESPACE", "CREATED", "EXPIRES", "USED", "NAME"], &rows);
    Ok(())
}

fn row(token: &Value) -> Vec<String> {
    let text = |name: &str, none: &str| token[name].as_str().unwrap_or(none).to_string();
    let moment = |name: &str| token[name].as_u64().map_or_else(|| "never".to_string(), print::moment);
    let times = [moment("create_ts"), moment("expire_ts"), moment("used_ts")];
    [vec![text("id", ""), text("role", ""), text("namespace", "(all)")], times.to_vec(), vec![text("name", "")]].concat()
}

async fn revoke(args: RevokeArgs) -> Outcome {
    let client = args.target.client()?;
    let answer = client.json(client.request_of_all(Method::DELETE, &["tokens", &args.id], &[])).await?;
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("token {} is revoked", args.id)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let rows = [("90s", 90_000), ("15m", 900_000), ("12h", 43_200_000), ("30d", 2_592_000_000)];
        for (text, ms) in rows {
            assert_eq!(parse_time_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "30", "d", "0d", "-1d", "+1d", "1.5h", "1w", "1 d", "99999999999999999999d", "999999999999999999d", "ä"] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
    }
}

//! `rivet-engine deploy`: sends a component to the engine and says how it goes.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt;
use protocol::limits::{ACTOR_NAME_BYTES_MAX, COMPONENT_BYTES_MAX};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Body, Method};
use serde_json::Value;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::api::settings::SETTINGS_HEADER;
use crate::cli::check::{self, CheckArgs};
use crate::cli::deployments::{WaitArgs, standing};
use crate::cli::settings::{self, SettingsArgs};
use crate::cli::{Outcome, TargetArgs, print};

/// How often the progress of an upload is written.
const PROGRESS_MS: u64 = 200;

#[derive(Args)]
pub struct DeployArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,

    /// The name of its actors [default: the file's name without .wasm]
    #[arg(long)]
    name: Option<String>,

    /// The pool it belongs to
    #[arg(long, default_value = "default")]
    pool: String,

    /// Only for this share of the actors, as 5%; the live version stays that of the others
    #[arg(long, value_name = "SHARE")]
    canary: Option<String>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    pub check: CheckArgs,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn run(args: DeployArgs) -> Outcome {
    let path = args.file.display();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => match args.file.file_stem().and_then(|stem| stem.to_str()) {
            Some(stem) => stem.to_string(),
            None => return Err(format!("{path} has no name that could be its actors'; give one with --name")),
        },
    };
    if name.is_empty() || name.len() > ACTOR_NAME_BYTES_MAX {
        return Err(format!("the name has {} bytes; 1 to {ACTOR_NAME_BYTES_MAX} are allowed", name.len()));
    }
    let cannot_read = |error: io::Error| format!("{path} cannot be read: {error}");
    let file = File::open(&args.file).await.map_err(cannot_read)?;
    let metadata = file.metadata().await.map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(format!("{path} is not a file"));
    }
    let bytes = metadata.len();
    if bytes > COMPONENT_BYTES_MAX {
        return Err(format!("{path} has {bytes} bytes; at most {COMPONENT_BYTES_MAX} are allowed, strip its debug information"));
    }

    let (client, settings) = (args.target.client()?, args.settings.json()?);
    if args.check.is_wanted() {
        let (component, json) = (upload(file, bytes), args.target.json);
        return check::run(&client, &args.check, check::Sent { name: &name, settings: &settings, component, json }).await;
    }
    let mut query = vec![("pool", args.pool.as_str())];
    query.extend(args.canary.as_deref().map(|share| ("canary", share)));
    let request = client.request(Method::PUT, &["deployments", &name], &query).header(SETTINGS_HEADER, one_line(&settings));
    let request = request.header(CONTENT_TYPE, "application/wasm").header(ACCEPT, "application/x-ndjson").body(upload(file, bytes));
    let response = client.send(request).await?;
    let mut last = Value::Null;
    client
        .lines(response, |line| {
            match line["phase"].as_str() {
                Some("compiling") => {
                    print::progress(&format!("compiling, {} s", line["elapsed_ms"].as_u64().unwrap_or(0) / 1_000));
                }
                // Before it goes live.
                Some("checked") if !args.target.json => {
                    print::progress("");
                    print::line(&format!("{name} in namespace {}:", client.namespace));
                    settings::show(&line);
                }
                _ => {}
            }
            last = line;
            Ok(())
        })
        .await?;
    print::progress("");
    match last["phase"].as_str() {
        Some("live" | "canary") => show(&last, args.target.json),
        Some("failed") => return Err(failure(&last["error"])),
        _ => {
            return Err(
                "the engine ended the deploy without saying how it went; `rivet-engine deployments` shows what is live".to_string()
            );
        }
    }
    args.wait.moved(&client, &name).await
}

/// A header's value: other characters than those of ASCII as JSON's escapes.
pub fn one_line(settings: &Value) -> String {
    let mut line = String::new();
    for char in settings.to_string().chars() {
        match char.is_ascii_graphic() || char == ' ' {
            true => line.push(char),
            false => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    line
}

/// The file as a body that says how far it is.
pub fn upload(file: File, bytes: u64) -> Body {
    let mut sent = 0;
    let mut told = Instant::now();
    Body::wrap_stream(ReaderStream::with_capacity(file, 64 * 1024).inspect(move |chunk| {
        sent += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if told.elapsed() >= Duration::from_millis(PROGRESS_MS) {
            told = Instant::now();
            print::progress(&format!("sending, {} of {}", print::size(sent), print::size(bytes)));
        }
    }))
}

fn show(deployed: &Value, json: bool) {
    if json {
        return print::line(&deployed.to_string());
    }
    let text = |name: &str| deployed[name].as_str().unwrap_or_default().to_string();
    print::line(&format!(
        "{} version {} is {} in namespace {} ({}, compiled in {} ms)",
        text("name"),
        deployed["version"],
        standing(deployed),
        text("namespace"),
        print::size(deployed["bytes"].as_u64().unwrap_or(0)),
        deployed["compile_ms"]
    ));
    print::line(&format!("  component {}", text("component")));
}

fn failure(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    format!("{} ({}.{}); the version before is still live, if there is one", text("message"), text("group"), text("code"))
}

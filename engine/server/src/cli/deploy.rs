//! `rivet-engine deploy`: sends a component to the engine and says how it goes.

use std::io::{self, IsTerminal, Write};
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

    let client = args.target.client()?;
    let request = client.request(Method::PUT, &["deployments", &name], &[("pool", &args.pool)]);
    let request = request.header(CONTENT_TYPE, "application/wasm").header(ACCEPT, "application/x-ndjson").body(upload(file, bytes));
    let response = client.send(request).await?;
    let mut last = Value::Null;
    client
        .lines(response, |line| {
            if line["phase"] == "compiling" {
                progress(&format!("compiling, {} s", line["elapsed_ms"].as_u64().unwrap_or(0) / 1_000));
            }
            last = line;
            Ok(())
        })
        .await?;
    progress("");
    match last["phase"].as_str() {
        Some("live") => show(&last, args.target.json),
        Some("failed") => return Err(failure(&last["error"])),
        _ => {
            return Err(
                "the engine ended the deploy without saying how it went; `rivet-engine deployments` shows what is live".to_string()
            );
        }
    }
    Ok(())
}

/// The file as a body that says how far it is.
fn upload(file: File, bytes: u64) -> Body {
    let mut sent = 0;
    let mut told = Instant::now();
    Body::wrap_stream(ReaderStream::with_capacity(file, 64 * 1024).inspect(move |chunk| {
        sent += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if told.elapsed() >= Duration::from_millis(PROGRESS_MS) {
            told = Instant::now();
            progress(&format!("sending, {} of {}", print::size(sent), print::size(bytes)));
        }
    }))
}

/// One line on a terminal, written over again and again; nothing elsewhere.
fn progress(text: &str) {
    let mut terminal = io::stderr().lock();
    if terminal.is_terminal() {
        // Only for looking at: if it cannot be written, nobody looks.
        let _ = write!(terminal, "\r\x1b[K{text}");
        let _ = terminal.flush();
    }
}

fn show(deployed: &Value, json: bool) {
    if json {
        return print::line(&deployed.to_string());
    }
    let text = |name: &str| deployed[name].as_str().unwrap_or_default().to_string();
    print::line(&format!(
        "{} version {} is live in namespace {} ({}, compiled in {} ms)",
        text("name"),
        deployed["version"],
        text("namespace"),
        print::size(deployed["bytes"].as_u64().unwrap_or(0)),
        deployed["compile_ms"]
    ));
    print::line(&format!("  component {}", text("component")));
    let handlers: Vec<&str> = deployed["handlers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    print::line(&format!("  handles   {}", handlers.join(", ")));
}

fn failure(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    format!("{} ({}.{}); the version before is still live, if there is one", text("message"), text("group"), text("code"))
}

//! Settings of a deployment as flags: `--config K=V --secret K=@FILE --allow-host HOST --limit cpu-ms=100`.

use std::fs;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::print;
use crate::config::memory::parse_bytes;

/// A secret that is longer than all settings may be is none.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Args)]
pub struct SettingsArgs {
    /// A configuration value. May be repeated; what is not named stays as it is in the live version
    #[arg(long, value_name = "NAME=VALUE")]
    config: Vec<String>,

    /// A secret: the value, or a file that holds it. A value is visible to others on this machine: better in a file
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE")]
    secret: Vec<String>,

    /// Take away a configuration value or a secret
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,

    /// Where outgoing requests may go: host, host:port, *.host, an address or a range of addresses. All of them, each time
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,

    /// Outgoing requests may go nowhere any more
    #[arg(long, conflicts_with = "allow_host")]
    allow_no_host: bool,

    /// A limit of each actor: cpu-ms, action-ms, memory, message (64KiB, 32MiB), mailbox, sockets, storage (1GiB); of all of them
    /// together: awake; `none` for the runner's own
    #[arg(long, value_name = "NAME=VALUE")]
    limit: Vec<String>,

    /// Record the last N requests of each actor, with their bodies, for `deploy --check`: 0 to 100; `default` for the engine's own
    #[arg(long, value_name = "N")]
    record_requests: Option<String>,
}

impl SettingsArgs {
    /// As the API takes them. The error is one sentence, without a secret's value.
    pub fn json(&self) -> Result<Value, String> {
        let mut settings = Map::new();
        let mut put = |of: &str, name: &str, value: Value| settings.entry(of).or_insert_with(|| json!({}))[name] = value;
        for text in &self.config {
            let (name, value) =
                text.split_once('=').ok_or_else(|| format!("--config {text:?} has no value; NAME=VALUE is expected"))?;
            put("config", name, json!(value));
        }
        for text in &self.secret {
            let (name, value) = text.split_once('=').ok_or("a --secret has no value; NAME=VALUE or NAME=@FILE is expected")?;
            let value = match value.strip_prefix('@') {
                Some(file) => read(file)?,
                None => value.to_string(),
            };
            put("secrets", name, json!(value));
        }
        for name in &self.unset {
            put("config", name, Value::Null);
            put("secrets", name, Value::Null);
        }
        for text in &self.limit {
            let wrong = || {
                format!(
                    "--limit {text:?} is none; cpu-ms=100, action-ms=5000, memory=64MiB, message=1MiB, mailbox=100, sockets=10, storage=1GiB, awake=500 are examples"
                )
            };
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let field = match name {
                "cpu-ms" => "cpu_ms",
                "action-ms" => "action_ms",
                "memory" => "memory_bytes",
                "message" => "message_bytes",
                "storage" => "storage_bytes",
                "mailbox" | "sockets" | "awake" => name,
                _ => return Err(wrong()),
            };
            let value = match value {
                "none" => Value::Null,
                _ if field.ends_with("_bytes") => json!(parse_bytes(value).ok_or_else(wrong)?),
                _ => json!(value.parse::<u64>().map_err(|_| wrong())?),
            };
            put("limits", field, value);
        }
        if let Some(text) = &self.record_requests {
            let count = match text.as_str() {
                "default" => Value::Null,
                _ => json!(text.parse::<u64>().map_err(|_| {
                    format!("--record-requests {text:?} is none; a number of requests, or `default`, is expected")
                })?),
            };
            settings.insert("record_requests".to_string(), count);
        }
        if !self.allow_host.is_empty() || self.allow_no_host {
            settings.insert("outbound".to_string(), json!(self.allow_host));
        }
        Ok(Value::Object(settings))
    }
}

/// The text of a file, without the newline that editors leave at its end.
fn read(file: &str) -> Result<String, String> {
    let wrong = |why: String| format!("the secret in {file} cannot be read: {why}");
    let bytes = fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > SECRET_FILE_BYTES_MAX {
        return Err(wrong(format!("it has {bytes} bytes, and at most {SECRET_FILE_BYTES_MAX} are allowed")));
    }
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_string())
}

/// What a version handles, imports and was granted, a line each. Of secrets the names.
pub fn show(version: &Value) {
    let texts = |value: &Value| {
        let texts: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if texts.is_empty() { "nothing".to_string() } else { texts.join(", ") }
    };
    let fields = |value: &Value| {
        let one = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().map_or(value.to_string(), str::to_string));
        value.as_object().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
    };
    let settings = &version["settings"];
    print::line(&format!("  handles   {}", texts(&version["handlers"])));
    print::line(&format!("  imports   {}", texts(&version["imports"])));
    print::line(&format!("  requests  may go to {}", texts(&settings["outbound"])));
    for (what, value) in [
        ("config    ", fields(&settings["config"])),
        (
            "secrets   ",
            settings["secrets"].as_array().filter(|all| !all.is_empty()).map(|_| texts(&settings["secrets"])).unwrap_or_default(),
        ),
        ("limits    ", fields(&settings["limits"])),
        ("records   ", settings["record_requests"].as_u64().map(recorded).unwrap_or_default()),
    ] {
        if !value.is_empty() {
            print::line(&format!("  {what}{value}"));
        }
    }
}

fn recorded(count: u64) -> String {
    match count {
        0 => "no requests".to_string(),
        _ => format!("the last {count} requests of each actor"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    #[test]
    fn flags_become_json() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        fs::write(&file, "hush=1\n").expect("a file");
        let from_file = format!("S=@{}", file.display());
        let missing = format!("S=@{}", folder.path().join("none").display());
        let rows: [(&[&str], Result<Value, &str>); 17] = [
            (&[], Ok(json!({}))),
            (&["--config", "A=1=2", "--config", "B="], Ok(json!({ "config": { "A": "1=2", "B": "" } }))),
            (&["--secret", &from_file, "--secret", "T=x"], Ok(json!({ "secrets": { "S": "hush=1", "T": "x" } }))),
            (&["--unset", "A"], Ok(json!({ "config": { "A": null }, "secrets": { "A": null } }))),
            (&["--allow-host", "a", "--allow-host", "b:1"], Ok(json!({ "outbound": ["a", "b:1"] }))),
            (&["--allow-no-host"], Ok(json!({ "outbound": [] }))),
            (
                &[
                    "--limit",
                    "cpu-ms=5",
                    "--limit",
                    "action-ms=9",
                    "--limit",
                    "memory=64MiB",
                    "--limit",
                    "message=7",
                    "--limit",
                    "mailbox=none",
                ],
                Ok(
                    json!({ "limits": { "cpu_ms": 5, "action_ms": 9, "memory_bytes": 67_108_864, "message_bytes": 7, "mailbox": null } }),
                ),
            ),
            (&["--record-requests", "20"], Ok(json!({ "record_requests": 20 }))),
            (&["--record-requests", "default"], Ok(json!({ "record_requests": null }))),
            (&["--record-requests", "all"], Err("--record-requests \"all\" is none")),
            (&["--config", "A"], Err("--config \"A\" has no value")),
            (&["--secret", "hush"], Err("a --secret has no value")),
            (&["--secret", &missing], Err("cannot be read")),
            (&["--limit", "cpu=5"], Err("--limit \"cpu=5\" is none")),
            (&["--limit", "memory=64MB"], Err("is none")),
            (&["--limit", "memory=99999999999GiB"], Err("is none")),
            (&["--limit", "sockets=-1"], Err("is none")),
        ];
        for (flags, expected) in rows {
            let typed =
                Typed::try_parse_from(std::iter::once(&"x").chain(flags)).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
            match (typed.settings.json(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{flags:?}"),
                (Err(why), Err(part)) => assert!(why.contains(part) && !why.contains("hush"), "{flags:?}: {why}"),
                (found, expected) => panic!("{flags:?}: {expected:?} expected, seen {found:?}"),
            }
        }
    }
}

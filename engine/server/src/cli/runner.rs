//! `rivet-engine runner`: runs Wasm actors for an engine elsewhere.
//!
//! The first SIGTERM or SIGINT hands its actors over to other runners; the second ends it at once.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::client::Endpoint;
use crate::cli::process::{print_ready, run_process};
use crate::cli::{ENGINE_DEFAULT, Outcome, trusted, variable};
use crate::compose;
use crate::config::args::{StartArgs, WasmArgs};
use crate::config::{self, RunnerConfig};
use crate::random;
use crate::standalone::{Config, Said};
use crate::telemetry::lines::write_logs;

/// How long the actors may take to move.
const GRACE_SECONDS: u64 = 30;
/// Its name for itself, from one start to the next.
const KEY_FILE: &str = "runner-key";
const LOCK_FILE: &str = "lock";
/// A host's name may have more.
const HOST_BYTES_MAX: usize = 64;

#[derive(Args)]
pub struct RunnerArgs {
    /// Where the engine is: http[s]://[NAMESPACE[:TOKEN]@]HOST[:PORT]. A namespace is allowed and changes nothing: the runner takes
    /// actors of all [env: RIVET_ENDPOINT] [default: http://127.0.0.1:6420]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// A runner's token for all namespaces, or the engine's admin token, if it has one. A flag is visible to others on this machine: better in the environment
    /// [env: RIVET_TOKEN] [default: auth.admin_token of the configuration]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Certificates, PEM, of who is trusted for https:// beside the system's and Mozilla's [env: RIVET_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// The runner's name, which no other of this engine may have [default: the host's, with something random; kept in the cache]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Folder for compiled components; made if it is absent, and for one runner at a time
    /// [default: ~/.cache/rivet-engine/runner]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// How long its actors may take to move to other runners when it is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE_SECONDS)]
    grace: u64,

    /// Port that answers with the runner's metrics for Prometheus, and to `rivet-engine tracing config`; 0: off [default: off]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    #[command(flatten)]
    wasm: WasmArgs,

    /// How log lines are written, on standard error: text or json. RUST_LOG filters them [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

pub fn run(args: RunnerArgs, files: &[PathBuf]) -> Outcome {
    let RunnerArgs { endpoint, token, ca, key, cache_dir, grace, metrics_port, wasm, log_format } = args;
    let said = config::all(StartArgs::of_runner(wasm, log_format, metrics_port), files).map_err(|error| error.to_string())?;
    let RunnerConfig { wasm, token: configured, log_format, ca_file, telemetry, metrics } =
        RunnerConfig::new(&said).map_err(|error| error.to_string())?;
    let endpoint = endpoint.or_else(|| variable("RIVET_ENDPOINT")).unwrap_or_else(|| ENGINE_DEFAULT.to_string());
    let Endpoint { base, token, .. } = Endpoint::new(&endpoint, None, token.or_else(|| variable("RIVET_TOKEN")))?;
    write_logs(log_format);
    let no_home = "there is no home directory to keep compiled components in; name a folder with --cache-dir";
    let cache_dir = cache_dir.or_else(|| default_cache_dir(|name| env::var_os(name).map(PathBuf::from))).ok_or(no_home)?;
    let unusable = |error: io::Error| {
        format!("the folder {} cannot be made or written to ({error}); choose another with --cache-dir", cache_dir.display())
    };
    fs::create_dir_all(&cache_dir).map_err(unusable)?;
    // Held until the process ends.
    let _lock = lock(&cache_dir)?;
    let key = key.map_or_else(|| kept_key(&cache_dir).map_err(unusable), Ok)?;
    let tls = trusted(ca, ca_file)?;
    let config = Config { engine: base, token: token.or(configured), key, grace: Duration::from_secs(grace), tls };
    run_process(None, |stop| compose::run_runner(config, wasm, telemetry, metrics, cache_dir, say, stop))
}

/// For people and for scripts that wait for it.
fn say(said: &Said<'_>) {
    match said {
        Said::Connected { key, engine, version } => print_ready(&format!(
            "rivet-engine {} runs actors as {key} for the engine {version} at {engine}",
            env!("CARGO_PKG_VERSION")
        )),
        Said::Lost { why, again_in } => print_ready(&format!(
            "no connection to the engine ({why}); its actors here are given up, trying again in {:.1} s",
            again_in.as_secs_f32()
        )),
        Said::Stopping { in_use } => print_ready(&format!("stopping: {in_use} actors and requests are handed over")),
        Said::Stopped { in_use: 0 } => print_ready("stopped: nothing is left here"),
        Said::Stopped { in_use } => print_ready(&format!("stopped: {in_use} actors and requests were left and are lost")),
    }
}

/// Two runners with one key would push each other out for ever.
fn lock(cache_dir: &Path) -> Result<File, String> {
    let path = cache_dir.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file =
        file.map_err(|error| format!("{} cannot be written to ({error}); choose another with --cache-dir", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the folder {} is used by another runner; give this one a folder of its own with --cache-dir",
            cache_dir.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("{} cannot be locked ({error})", path.display())),
    }
}

fn kept_key(cache_dir: &Path) -> io::Result<String> {
    let path = cache_dir.join(KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(key) if !key.trim().is_empty() => return Ok(key.trim().to_string()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let key = new_key(&host, u32::from_le_bytes(random::bytes()));
    fs::write(&path, format!("{key}\n"))?;
    Ok(key)
}

fn new_key(host: &str, random: u32) -> String {
    let mut host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(HOST_BYTES_MAX).collect();
    if host.is_empty() {
        host = "runner".to_string();
    }
    format!("{host}-{random:08x}")
}

fn default_cache_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative XDG_CACHE_HOME is to be ignored, says its specification.
    let cache = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(variable("HOME").filter(|path| !path.as_os_str().is_empty())?.join(".cache")))?;
    Some(cache.join("rivet-engine/runner"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_and_a_folder_is_for_one_runner() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = kept_key(folder.path()).expect("it can be written");
        assert_eq!(kept_key(folder.path()).expect("it can be read"), key);
        let held = lock(folder.path()).expect("nobody has it");
        let error = lock(folder.path()).expect_err("it is held");
        assert!(error.contains("is used by another runner"), "{error}");
        drop(held);
        lock(folder.path()).expect("it is free again");
    }

    #[test]
    fn keys_say_where_they_are_from() {
        let rows = [("web-1.example\n", "web-1example-0000002a"), ("\n", "runner-0000002a"), ("ä", "runner-0000002a")];
        for (host, key) in rows {
            assert_eq!(new_key(host, 42), key);
        }
    }
}

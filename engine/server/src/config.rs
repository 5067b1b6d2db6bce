//! What the engine is to be, checked once.
//!
//! [`StartArgs`] is what was typed; [`Config`] is what is meant. Nothing behind this file reads arguments or the environment.

use std::env;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine_store::Durability;
use protocol::limits::MIB;

const HOST_DEFAULT: &str = "127.0.0.1";
const PORT_DEFAULT: u16 = 6420;
/// What `batch` alone means.
const BATCH_MS_DEFAULT: u64 = 100;
/// A longer time would not be a bound that anybody could rely on.
const BATCH_MS_MAX: u64 = 60_000;

#[derive(Args, Debug)]
pub struct StartArgs {
    /// Folder that holds everything durable; made if it is absent [default: ~/.local/share/rivet-engine/db]
    #[arg(long, value_name = "DIR", env = "RIVET__FILE_SYSTEM__PATH")]
    data_dir: Option<PathBuf>,

    /// Address to listen on. There is no authentication yet: whoever reaches the port can do everything
    #[arg(long, value_name = "HOST", env = "RIVET__GUARD__HOST", default_value = HOST_DEFAULT)]
    host: String,

    /// Port to listen on
    #[arg(long, value_name = "PORT", env = "RIVET__GUARD__PORT", default_value_t = PORT_DEFAULT)]
    port: u16,

    /// What an acknowledged write has survived: `sync` the loss of power; `batch` or `batch:MS` the end of the engine, and the
    /// loss of power so many milliseconds later (100 if not said); `relaxed` the end of the engine
    #[arg(long, value_name = "MODE", default_value = "sync", value_parser = parse_durability)]
    durability: Durability,

    #[command(flatten)]
    wasm: WasmArgs,

    /// How log lines are written, on standard error. RUST_LOG filters them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// The limits of the engine's own runner.
#[derive(Args, Debug, Default)]
struct WasmArgs {
    /// Wasm actors that may be awake at one time [default: as many as the kernel's vm.max_map_count allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    wasm_actors_max: Option<u32>,

    /// Memory that one Wasm actor may have, in MiB [default: 128]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=4096))]
    wasm_actor_memory: Option<u32>,

    /// Memory that all Wasm actors together may have, in MiB [default: 2048]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    wasm_memory: Option<u32>,

    /// Shows a folder of this machine to every Wasm actor, under a path of theirs; nothing else of the file system is visible to
    /// them. May be repeated
    #[arg(long, value_name = "PATH=DIR[:ro]", value_parser = parse_grant)]
    wasm_dir: Vec<DirGrant>,
}

/// What the engine's own runner may take, where that was said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WasmConfig {
    pub actors_max: Option<usize>,
    pub actor_memory_bytes: Option<usize>,
    pub memory_bytes: Option<usize>,
    pub dirs: Vec<DirGrant>,
}

/// A folder that every Wasm actor sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirGrant {
    pub guest_path: String,
    pub host_path: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    /// A name or an address.
    pub host: String,
    /// 0: any that is free.
    pub port: u16,
    pub durability: Durability,
    pub wasm: WasmConfig,
    pub log_format: LogFormat,
}

#[derive(PartialEq, Eq, Debug)]
pub enum ConfigError {
    NoDataDir,
    EmptyHost,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NoDataDir => f.write_str(
                "there is no home directory to keep data in: neither XDG_DATA_HOME nor HOME is set; name one with --data-dir",
            ),
            ConfigError::EmptyHost => {
                f.write_str("the host is empty; name an address such as 127.0.0.1, or 0.0.0.0 for all of them")
            }
        }
    }
}

impl Config {
    pub fn new(args: StartArgs) -> Result<Config, ConfigError> {
        let data_dir = match args.data_dir.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path,
            None => default_data_dir(|name| env::var_os(name).map(PathBuf::from)).ok_or(ConfigError::NoDataDir)?,
        };
        // An IPv6 address may come in the brackets that a URL needs.
        let host = args.host.trim_start_matches('[').trim_end_matches(']').to_string();
        if host.is_empty() {
            return Err(ConfigError::EmptyHost);
        }
        let wasm = WasmConfig::new(args.wasm);
        Ok(Config { data_dir, host, port: args.port, durability: args.durability, wasm, log_format: args.log_format })
    }
}

impl WasmConfig {
    fn new(args: WasmArgs) -> WasmConfig {
        let bytes = |mib: u32| mib as usize * MIB;
        WasmConfig {
            actors_max: args.wasm_actors_max.map(|actors| actors as usize),
            actor_memory_bytes: args.wasm_actor_memory.map(bytes),
            memory_bytes: args.wasm_memory.map(bytes),
            dirs: args.wasm_dir,
        }
    }
}

fn parse_grant(text: &str) -> Result<DirGrant, String> {
    let (guest_path, rest) = text.split_once('=').ok_or("PATH=DIR or PATH=DIR:ro is expected")?;
    let (host_path, read_only) = match rest.strip_suffix(":ro") {
        Some(host_path) => (host_path, true),
        None => (rest, false),
    };
    if guest_path.is_empty() || host_path.is_empty() {
        return Err("both paths must be named: PATH=DIR or PATH=DIR:ro".to_string());
    }
    Ok(DirGrant { guest_path: guest_path.to_string(), host_path: host_path.into(), read_only })
}

fn default_data_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative XDG_DATA_HOME is to be ignored, says its specification.
    let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(variable("HOME").filter(|path| !path.as_os_str().is_empty())?.join(".local/share")))?;
    Some(data.join("rivet-engine/db"))
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    let expected = "sync, batch, batch:MS or relaxed is expected";
    match text.split_once(':') {
        None => match text {
            "sync" => Ok(Durability::Sync),
            "batch" => Ok(Durability::Batch { ms: BATCH_MS_DEFAULT }),
            "relaxed" => Ok(Durability::Relaxed),
            _ => Err(expected.to_string()),
        },
        Some(("batch", ms)) => match ms.parse() {
            Ok(ms) if (1..=BATCH_MS_MAX).contains(&ms) => Ok(Durability::Batch { ms }),
            _ => Err(format!("1 to {BATCH_MS_MAX} milliseconds are possible")),
        },
        Some(_) => Err(expected.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_modes() {
        let rows = [
            ("sync", Some(Durability::Sync)),
            ("batch", Some(Durability::Batch { ms: 100 })),
            ("batch:5", Some(Durability::Batch { ms: 5 })),
            ("relaxed", Some(Durability::Relaxed)),
            ("batch:0", None),
            ("batch:60001", None),
            ("batch:", None),
            ("batch:-1", None),
            ("sync:5", None),
            ("Sync", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_durability(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn where_data_lies_unless_said_otherwise() {
        let rows = [
            (Some("/data"), Some("/home/a"), Some("/data/rivet-engine/db")),
            (None, Some("/home/a"), Some("/home/a/.local/share/rivet-engine/db")),
            (Some("relative"), Some("/home/a"), Some("/home/a/.local/share/rivet-engine/db")),
            (None, Some(""), None),
            (None, None, None),
        ];
        for (xdg, home, expected) in rows {
            let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(PathBuf::from);
            assert_eq!(default_data_dir(variable), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn arguments_become_a_configuration() {
        let args = |host: &str| StartArgs {
            data_dir: Some("/d".into()),
            host: host.to_string(),
            port: 1,
            durability: Durability::Relaxed,
            wasm: WasmArgs { wasm_memory: Some(3), ..WasmArgs::default() },
            log_format: LogFormat::Json,
        };
        assert_eq!(Config::new(args("[::1]")).map(|config| config.host), Ok("::1".to_string()));
        assert_eq!(Config::new(args("[]")), Err(ConfigError::EmptyHost));
        assert_eq!(Config::new(args("localhost")).map(|config| config.data_dir), Ok(PathBuf::from("/d")));
        assert_eq!(Config::new(args("localhost")).map(|config| config.wasm.memory_bytes), Ok(Some(3 * MIB)));
    }

    #[test]
    fn folders_for_actors() {
        let rows = [
            ("/data=/srv/data", Some(("/data", "/srv/data", false))),
            ("data=./x:ro", Some(("data", "./x", true))),
            ("/a=/b=c", Some(("/a", "/b=c", false))),
            ("/data", None),
            ("=/srv", None),
            ("/data=", None),
            ("/data=:ro", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|(guest_path, host_path, read_only)| DirGrant {
                guest_path: guest_path.to_string(),
                host_path: host_path.into(),
                read_only,
            });
            assert_eq!(parse_grant(text).ok(), expected, "{text}");
        }
    }
}

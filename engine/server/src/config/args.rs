//! What can be typed after `start`: each flag is one key of the configuration, and wins over all other sources.

use clap::Args;

use crate::config::sources::Sources;

#[derive(Args, Debug, Default)]
pub struct StartArgs {
    /// Folder that holds everything durable; made if it is absent [default: ~/.local/share/rivet-engine/db]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Address to listen on [default: 127.0.0.1; with an admin token all addresses]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Port to listen on; 0 takes any that is free, and then only this one [default: 6420]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Port that only answers GET /health; 0: off [default: the port + 1]
    #[arg(long, value_name = "PORT")]
    api_peer_port: Option<u16>,

    /// Port that answers with metrics for Prometheus; 0: off [default: the port + 10]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    /// That of a runner on its own.
    #[arg(skip)]
    runner_metrics_port: Option<u16>,

    /// What an acknowledged write has survived: `sync` the loss of power; `batch` or `batch:MS` the end of the engine, and the
    /// loss of power so many milliseconds later (100 if not said); `relaxed` the end of the engine [default: sync]
    #[arg(long, value_name = "MODE", value_parser = durability)]
    durability: Option<String>,

    /// Memory that the process may have, such as 512MiB or 4GiB [default: auto: half of the machine's, or three quarters of what its
    /// control group allows]
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<String>,

    /// Runs no Wasm actors in this process: those of `rivet-engine runner` do
    #[arg(long)]
    no_wasm_runner: bool,

    #[command(flatten)]
    wasm: WasmArgs,

    /// How log lines are written, on standard error: text or json. RUST_LOG filters them [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

/// The limits of a runner for components: the engine's own, or one on its own.
#[derive(Args, Debug, Default)]
pub struct WasmArgs {
    /// Wasm actors that may be awake at one time [default: as many as the kernel's vm.max_map_count allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    wasm_actors_max: Option<u32>,

    /// Memory that one Wasm actor may have, in MiB [default: 128]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=4096))]
    wasm_actor_memory: Option<u32>,

    /// Memory that all Wasm actors together may have, in MiB [default: a part of the memory limit; of a runner on its own 2048]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    wasm_memory: Option<u32>,

    /// Shows a folder of this machine to every Wasm actor, under a path of theirs; nothing else of the file system is visible to
    /// them. May be repeated
    #[arg(long, value_name = "PATH=DIR[:ro]", value_parser = grant)]
    wasm_dir: Vec<String>,
}

impl StartArgs {
    /// Of a runner on its own, which is configured by the same keys.
    pub fn of_runner(wasm: WasmArgs, log_format: Option<String>, metrics_port: Option<u16>) -> StartArgs {
        StartArgs { wasm, log_format, runner_metrics_port: metrics_port, ..StartArgs::default() }
    }

    pub fn tell(self, sources: &mut Sources) {
        let folder = self.data_dir.filter(|path| !path.is_empty());
        sources.flag("file_system.path", "--data-dir", folder);
        sources.flag("guard.host", "--host", self.host);
        sources.flag("guard.port", "--port", self.port);
        sources.flag("api_peer.port", "--api-peer-port", self.api_peer_port);
        sources.flag("metrics.port", "--metrics-port", self.metrics_port);
        sources.flag("runner.metrics.port", "--metrics-port", self.runner_metrics_port);
        sources.flag("durability", "--durability", self.durability);
        sources.flag("memory_limit", "--memory-limit", self.memory_limit);
        sources.flag("logs.format", "--log-format", self.log_format);
        sources.flag("wasm.enabled", "--no-wasm-runner", self.no_wasm_runner.then_some(false));
        sources.flag("wasm.actors_max", "--wasm-actors-max", self.wasm.wasm_actors_max);
        sources.flag("wasm.actor_memory_mib", "--wasm-actor-memory", self.wasm.wasm_actor_memory);
        sources.flag("wasm.memory_mib", "--wasm-memory", self.wasm.wasm_memory);
        let dirs = Some(self.wasm.wasm_dir).filter(|dirs| !dirs.is_empty());
        sources.flag("wasm.dirs", "--wasm-dir", dirs);
    }
}

/// What cannot be meant is told at once, as a mistake in typing.
fn durability(text: &str) -> Result<String, String> {
    super::parse_durability(text).map(|_| text.to_string())
}

fn memory_limit(text: &str) -> Result<String, String> {
    super::memory::parse_limit(text).map(|_| text.to_string())
}

fn grant(text: &str) -> Result<String, String> {
    super::parse_grant(text).map(|_| text.to_string())
}

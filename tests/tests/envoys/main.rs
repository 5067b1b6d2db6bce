//! Runners that connect: who may, how a connection lives and ends, and what actors on them do.
//!
//! - [`connecting`]: every refusal, and the ways in.
//! - [`connections`]: their first words, takeover, silence, the end of the engine.

mod connecting;
mod connections;

use protocol::wire::RunnerVersion;
use rivet_tests::{Engine, Envoy};

/// A pool without any rules: a legacy runner makes it by connecting.
async fn make_pool(engine: &Engine, pool: &str) {
    let (runner, _) = Envoy::connect_legacy(engine, pool, "maker", RunnerVersion::NEWEST, 0).await;
    runner.socket.close().await;
}

//! Clients of actors that live on runners which connect: what passes through the gateway, and how.
//!
//! - [`sockets`]: WebSockets, also while their actor sleeps. [`requests`]: plain requests.

mod requests;
mod sockets;

use protocol::wire::RunnerVersion;
use protocol::wire::actor::ActorCheckpoint;
use protocol::wire::kv::KvRequestData;
use protocol::wire::tunnel::MessageId;
use rivet_tests::{Engine, Envoy};

const POOL: &str = "default";

/// An engine with one runner, and an actor that runs there.
struct Stage {
    engine: Engine,
    envoy: Envoy,
    actor: String,
    at: ActorCheckpoint,
    /// Of the next event of this generation.
    events: i64,
}

impl Stage {
    async fn with(connect: impl AsyncFn(&Engine) -> Envoy) -> Stage {
        let engine = Engine::start().await;
        // A pool without any rules: a legacy runner makes it by connecting.
        let (maker, _) = Envoy::connect_legacy(&engine, POOL, "maker", RunnerVersion::NEWEST, 0).await;
        maker.socket.close().await;
        let mut envoy = connect(&engine).await;
        let (actor, _) = engine.get_or_create("web", "a", None).await;
        let at = envoy.start().await;
        envoy.running(&at).await;
        Stage { engine, envoy, actor, at, events: 1 }
    }

    async fn new() -> Stage {
        Stage::with(async |engine| Envoy::connect(engine, POOL, "envoy-one").await).await
    }

    /// Tells the actor to sleep, and lets it.
    async fn sleep(&mut self) {
        self.envoy.sleep(&self.at, self.events).await;
        self.envoy.command().await;
        self.envoy.stopped(&self.at, self.events + 1, None).await;
        self.events += 2;
    }

    /// The same, and the engine has heard of it: what is sent to the actor from now on does not go to the generation that stopped.
    async fn sleep_soundly(&mut self) {
        self.sleep().await;
        // An answer comes after all that was said before, and the core answers the call after it has heard that.
        self.envoy.kv(&self.actor, KvRequestData::Get { keys: Vec::new() }).await;
        self.engine.get_or_create("web", "a", None).await;
    }

    /// It was woken: it runs again.
    async fn wake(&mut self, at: ActorCheckpoint) {
        self.at = at;
        self.events = 1;
        self.envoy.running(&self.at).await;
    }
}

/// The next message of the same request.
fn after(id: MessageId, index: u16) -> MessageId {
    MessageId { index, ..id }
}

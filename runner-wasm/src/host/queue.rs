//! `rivet:actor/queue`: the actor's own durable queue; see `actor::queue` for how it is kept and served.

use super::Host;
use crate::bindings::rivet::actor::{queue, types};

impl queue::Host for Host {
    async fn push(&mut self, name: String, body: String) -> wasmtime::Result<Result<u64, types::Error>> {
        Ok(self.actor.push(name, body).await.map_err(types::Error::from))
    }

    async fn size(&mut self) -> wasmtime::Result<Result<u64, types::Error>> {
        Ok(self.actor.queue_size().await.map_err(types::Error::from))
    }
}

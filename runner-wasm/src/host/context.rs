//! `rivet:actor/context`: who this actor is, and what becomes of it after the running handler.

use super::Host;
use crate::bindings::rivet::actor::context;

impl context::Host for Host {
    fn info(&mut self) -> wasmtime::Result<context::ActorInfo> {
        let actor = &self.actor;
        let deployed = actor.start.component.as_ref();
        Ok(context::ActorInfo {
            id: actor.id.to_string(),
            namespace: deployed.map(|deployed| deployed.namespace.clone()).unwrap_or_default(),
            name: actor.start.name.clone(),
            key: actor.start.key.as_deref().map(protocol::key::split),
            generation: actor.generation,
            version: deployed.map_or(0, |deployed| deployed.version),
            created_at: actor.start.create_ms,
        })
    }

    fn input(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.actor.start.input.as_ref().map(|input| input.to_vec()))
    }

    fn sleep(&mut self) -> wasmtime::Result<()> {
        self.actor.wish_to_sleep();
        Ok(())
    }

    fn destroy(&mut self) -> wasmtime::Result<()> {
        self.actor.wish_to_be_destroyed();
        Ok(())
    }

    fn keep_awake(&mut self, for_ms: u64) -> wasmtime::Result<()> {
        self.actor.keep_awake(for_ms);
        Ok(())
    }
}

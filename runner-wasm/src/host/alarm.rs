//! `rivet:actor/alarm`: the one moment at which the actor wants to be woken. Part of the message's transaction.

use super::Host;
use crate::bindings::rivet::actor::{alarm, types};

impl alarm::Host for Host {
    fn set(&mut self, at: u64) -> wasmtime::Result<Result<(), types::Error>> {
        // The guest's number: any moment is fine, one in the past fires at once.
        Ok(self.actor.books().state.set_alarm(Some(at)).map_err(types::Error::from))
    }

    fn get(&mut self) -> wasmtime::Result<Option<u64>> {
        Ok(self.actor.books().state.alarm_ms())
    }

    fn clear(&mut self) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.actor.books().state.set_alarm(None).map_err(types::Error::from))
    }
}

//! `rivet:actor/schedule`: actions that are called by themselves, once or again and again. Part of the message's transaction.

use super::{Host, json};
use crate::bindings::rivet::actor::{schedule, types};
use crate::config::SCHEDULES_BYTES_MAX;
use crate::state::Refusal;

impl schedule::Host for Host {
    fn at(&mut self, at: u64, action: String, args: String) -> wasmtime::Result<Result<String, types::Error>> {
        // The guest's number: any moment is fine, one in the past is due at once.
        let once = |host: &mut Host| {
            check(&action, &args)?;
            host.actor.books().state.change_agenda()?.once(at, action, args)
        };
        Ok(once(self).map_err(types::Error::from))
    }

    fn cron(
        &mut self,
        name: String,
        expression: String,
        action: String,
        args: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let cron = |host: &mut Host| {
            check(&action, &args)?;
            let now_ms = host.actor.shared.clock.now_ms();
            host.actor.books().state.change_agenda()?.cron(name, expression, action, args, now_ms)
        };
        Ok(cron(self).map_err(types::Error::from))
    }

    fn cancel(&mut self, id: String) -> wasmtime::Result<Result<bool, types::Error>> {
        let cancelled = self.actor.books().state.change_agenda().map(|agenda| agenda.cancel(&id));
        Ok(cancelled.map_err(types::Error::from))
    }

    fn list(&mut self) -> wasmtime::Result<Result<Vec<schedule::Entry>, types::Error>> {
        let books = self.actor.books();
        let entries = books.state.agenda().schedules().map(|(id, schedule)| schedule::Entry {
            id: id.clone(),
            action: schedule.action.clone(),
            args: schedule.args.clone(),
            next_at: schedule.at_ms,
            cron: schedule.cron.clone(),
        });
        Ok(Ok(entries.collect()))
    }
}

fn check(action: &str, args: &str) -> Result<(), Refusal> {
    json::check_name("an action", action)?;
    json::check_array("the list of arguments", args, SCHEDULES_BYTES_MAX)
}

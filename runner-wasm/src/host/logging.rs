//! `rivet:actor/logging`: lines for the actor's own log. Not part of the transaction: they tell what a failed message did.

use protocol::message::LogLevel;

use super::Host;
use crate::bindings::rivet::actor::logging;

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => LogLevel::Trace,
            logging::Level::Debug => LogLevel::Debug,
            logging::Level::Info => LogLevel::Info,
            logging::Level::Warn => LogLevel::Warn,
            logging::Level::Error => LogLevel::Error,
        };
        self.actor.log(level, message);
        Ok(())
    }
}

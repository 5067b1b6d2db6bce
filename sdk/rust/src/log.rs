//! Lines for the actor's own log, which `rivet-engine logs ACTOR` shows. Kept even if the call's writes are dropped.

pub use crate::bindings::rivet::actor::logging::Level;
use crate::bindings::rivet::actor::logging::log;

pub fn trace(message: &str) {
    log(Level::Trace, message);
}

pub fn debug(message: &str) {
    log(Level::Debug, message);
}

pub fn info(message: &str) {
    log(Level::Info, message);
}

pub fn warn(message: &str) {
    log(Level::Warn, message);
}

pub fn error(message: &str) {
    log(Level::Error, message);
}

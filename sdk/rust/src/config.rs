//! What the deployment gives its actors: settings, and secrets, which the engine shows nobody else.

use crate::bindings::rivet::actor::config;

pub fn get(name: &str) -> Option<String> {
    config::get(name)
}

pub fn names() -> Vec<String> {
    config::names()
}

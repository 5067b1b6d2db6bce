//! `rivet:actor/config`: what the deployment gives its actors. Settings and secrets are one to the guest; a secret wins.

use protocol::component::Settings;

use super::Host;
use crate::bindings::rivet::actor::config;

impl config::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.actor.settings().and_then(|settings| find(settings, &name)).cloned())
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.actor.settings().map(|settings| names(settings).cloned().collect()).unwrap_or_default())
    }
}

fn find<'a>(settings: &'a Settings, name: &str) -> Option<&'a String> {
    settings.secrets.get(name).or_else(|| settings.config.get(name))
}

/// Each name once.
fn names(settings: &Settings) -> impl Iterator<Item = &String> {
    let only_config = settings.config.keys().filter(|name| !settings.secrets.contains_key(*name));
    only_config.chain(settings.secrets.keys())
}

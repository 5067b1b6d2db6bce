//! `rivet:actor/config`, and the standard `wasi:config/store`: what the deployment gives its actors. Settings and secrets are one to
//! the guest; a secret wins.

use protocol::component::Settings;

use wasmtime::Result;
use wasmtime::component::{ComponentType, Linker, Lower};

use super::Host;
use crate::bindings::rivet::actor::config;

impl config::Host for Host {
    fn get(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.actor.settings().and_then(|settings| find(settings, &name)).cloned())
    }

    fn names(&mut self) -> Result<Vec<String>> {
        Ok(self.actor.settings().map(|settings| names(settings).cloned().collect()).unwrap_or_default())
    }
}

/// The drafts of `wasi:config` that components import; they do not differ in what is here.
const DRAFTS: [&str; 2] = ["0.2.0-draft", "0.2.0-rc.1"];

/// The standard's. Nothing here fails.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    #[expect(dead_code, reason = "a type is compared by its structure")]
    Upstream(String),
    #[component(name = "io")]
    #[expect(dead_code, reason = "a type is compared by its structure")]
    Io(String),
}

pub fn add_standard_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    for draft in DRAFTS {
        let mut store = linker.instance(&format!("wasi:config/store@{draft}"))?;
        store.func_wrap("get", |mut host, (name,): (String,)| {
            let value = config::Host::get(host.data_mut(), name)?;
            Ok((Ok::<_, Error>(value),))
        })?;
        store.func_wrap("get-all", |host, ()| {
            let settings = host.data().actor.settings();
            let pair = |settings, name: &String| (name.clone(), find(settings, name).cloned().unwrap_or_default());
            let all = settings.map(|settings| names(settings).map(|name| pair(settings, name)).collect::<Vec<_>>());
            Ok((Ok::<_, Error>(all.unwrap_or_default()),))
        })?;
    }
    Ok(())
}

fn find<'a>(settings: &'a Settings, name: &str) -> Option<&'a String> {
    settings.secrets.get(name).or_else(|| settings.config.get(name))
}

/// Each name once.
fn names(settings: &Settings) -> impl Iterator<Item = &String> {
    let only_config = settings.config.keys().filter(|name| !settings.secrets.contains_key(*name));
    only_config.chain(settings.secrets.keys())
}

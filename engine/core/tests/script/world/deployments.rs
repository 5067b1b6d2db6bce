//! What scripts say of deployments: `deploy v2 canary=5% config.A=1 secrets.S=x limits.cpu_ms=5`, `promote`, `pin a 2`.

use protocol::message::Deployed;
use rivet_engine_core::input::Operation;
use rivet_engine_core::record::{DeploymentRecord, Share};
use rivet_engine_core::settings::{LimitName, SettingsPatch};

use super::{World, component_name, component_named};

impl World {
    pub fn deploy(&mut self, component: &str, how: &[&str]) {
        let (settings, canary) = read(how);
        self.call(Operation::Deploy {
            namespace: "default".into(),
            name: "counter".into(),
            pool: "default".into(),
            component: component_named(component),
            settings,
            canary,
            looked_at: None,
        });
    }

    pub fn deployment_step(&mut self, words: &[&str]) -> bool {
        let (namespace, name) = (String::from("default"), String::from("counter"));
        let number = |text: &str| text.parse().expect("a number");
        let operation = match *words {
            ["look", component] => Operation::LookAtComponent { component: component_named(component) },
            ["configure", ref how @ ..] => {
                let (settings, canary) = read(how);
                Operation::Configure { namespace, name, settings, canary }
            }
            ["share", share] => Operation::ShareCanary { namespace, name, share: share.parse().expect("a share") },
            ["promote"] => Operation::Promote { namespace, name },
            ["retry"] => Operation::RetryHeldBack { namespace, name },
            ["moving"] => Operation::CountMoves { namespace, name },
            ["pin", key, version] => Operation::PinActor { namespace, actor: self.actor(key), version: Some(number(version)) },
            ["unpin", key] => Operation::PinActor { namespace, actor: self.actor(key), version: None },
            _ => return false,
        };
        self.call(operation);
        true
    }
}

fn read(how: &[&str]) -> (SettingsPatch, Option<Share>) {
    let (mut settings, mut canary) = (SettingsPatch::default(), None);
    for word in how {
        let (what, value) = word.split_once('=').expect("what=value");
        match what.split_once('.') {
            None => canary = Some(value.parse().expect("a share")),
            Some(("config", name)) => drop(settings.config.insert(name.into(), Some(value.into()))),
            Some(("secrets", name)) => drop(settings.secrets.insert(name.into(), Some(value.into()))),
            Some(("limits", name)) => {
                let limit = LimitName::ALL.into_iter().find(|limit| limit.to_string() == name).expect("a limit");
                settings.limits.insert(limit, Some(value.parse().expect("a number")));
            }
            _ => panic!("a deploy does not know {word:?}"),
        }
    }
    (settings, canary)
}

/// The component, settings if it has any, and what it is to be migrated from.
pub fn say_deployed(deployed: &Deployed) -> String {
    let settings = &deployed.settings;
    let values = settings.config.iter().chain(&settings.secrets).map(|(name, value)| format!(" {name}={value}"));
    let limits = settings.limits.cpu_ms.map(|cpu_ms| format!(" cpu {cpu_ms}"));
    let from = deployed.migrate_from.map(|from| format!(" from version {from}"));
    [component_name(deployed.component).to_string()].into_iter().chain(values).chain(limits).chain(from).collect()
}

pub fn say_deployment(record: &DeploymentRecord, version: u32) -> String {
    let of = format!("{} version {version} of {}", record.name, record.versions.len());
    match record.canary {
        Some(canary) if canary.version == version => format!("{of} is a canary with {}, {} is live", canary.share, record.live),
        _ => format!("{of} is {}", if record.live == version { "live" } else { "there" }),
    }
}

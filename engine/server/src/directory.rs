//! What namespaces and deployments there are, for answers that need not ask the core.
//!
//! A copy of what is durable: filled at boot, and brought up to date by each commit before the core hears that it is durable.
//! So a client that has been told of its new namespace finds it here. Decides nothing.

use std::collections::BTreeMap;
use std::sync::RwLock;

use engine_core::record::{Change, DeploymentRecord, NamespaceRecord};
use protocol::component::ComponentHash;
use protocol::id::NamespaceId;

use crate::lock::{read, write};

#[derive(Default)]
pub struct Directory {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    namespaces: BTreeMap<String, NamespaceRecord>,
    deployments: BTreeMap<(NamespaceId, String), DeploymentRecord>,
}

/// The part of a commit that belongs in the directory.
#[derive(Default)]
pub struct News {
    namespaces: Vec<NamespaceRecord>,
    deployments: Vec<DeploymentRecord>,
}

impl News {
    /// Nearly every commit has none, and then this allocates nothing.
    pub fn of(changes: &[Change]) -> News {
        let mut news = News::default();
        for change in changes {
            match change {
                Change::PutNamespace(namespace) => news.namespaces.push(namespace.clone()),
                Change::PutDeployment(deployment) => news.deployments.push((**deployment).clone()),
                _ => {}
            }
        }
        news
    }

    pub fn found(namespaces: &[NamespaceRecord], deployments: &[DeploymentRecord]) -> News {
        News { namespaces: namespaces.to_vec(), deployments: deployments.to_vec() }
    }
}

impl Directory {
    pub fn enter(&self, news: News) {
        if news.namespaces.is_empty() && news.deployments.is_empty() {
            return;
        }
        let mut entries = write(&self.entries);
        for namespace in news.namespaces {
            entries.namespaces.insert(namespace.name.clone(), namespace);
        }
        for deployment in news.deployments {
            entries.deployments.insert((deployment.namespace, deployment.name.clone()), deployment);
        }
    }

    pub fn namespace(&self, name: &str) -> Option<NamespaceRecord> {
        read(&self.entries).namespaces.get(name).cloned()
    }

    /// In the order of their ids.
    pub fn namespaces(&self) -> Vec<NamespaceRecord> {
        let mut namespaces: Vec<_> = read(&self.entries).namespaces.values().cloned().collect();
        namespaces.sort_by_key(|namespace| namespace.id);
        namespaces
    }

    /// In the order of their names.
    pub fn deployments(&self, namespace: NamespaceId) -> Vec<DeploymentRecord> {
        let entries = read(&self.entries);
        let from = (namespace, String::new());
        entries
            .deployments
            .range(from..)
            .take_while(|((of, _), _)| *of == namespace)
            .map(|(_, deployment)| deployment.clone())
            .collect()
    }

    /// Whether any version of any deployment is this component.
    pub fn uses(&self, component: ComponentHash) -> bool {
        let entries = read(&self.entries);
        entries.deployments.values().any(|deployment| deployment.versions.iter().any(|version| version.component == component))
    }
}

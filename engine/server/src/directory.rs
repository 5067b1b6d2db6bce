//! What namespaces, deployments, runner configs and tokens there are, for answers that need not ask the core.
//!
//! A copy of what is durable: filled at boot, and brought up to date by each commit before the core hears that it is durable.
//! So a client that has been told of its new namespace finds it here. Decides nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, RwLock};

use engine_core::input::Boot;
use engine_core::record::{Change, DeploymentRecord, NamespaceRecord, PoolKind, RunnerConfigRecord, TokenRecord};
use protocol::component::ComponentHash;
use protocol::id::{Id, NamespaceId};
use tokio::sync::{Notify, watch};

use crate::lock::{read, write};

#[derive(Default)]
pub struct Directory {
    entries: RwLock<Entries>,
    pools_changed: Notify,
}

#[derive(Default)]
struct Entries {
    namespaces: BTreeMap<String, NamespaceRecord>,
    deployments: BTreeMap<(NamespaceId, String), DeploymentRecord>,
    /// Each time that one is put it is another one, also if it says the same.
    runner_configs: BTreeMap<(NamespaceId, String), Arc<RunnerConfigRecord>>,
    /// By id.
    tokens: BTreeMap<String, Known>,
}

struct Known {
    record: Arc<TokenRecord>,
    /// Says nothing; whoever waits for it hears when it is gone, which is when the token is.
    lives: watch::Sender<()>,
}

/// The part of a commit that belongs in the directory.
#[derive(Default)]
pub struct News {
    namespaces: Vec<NamespaceRecord>,
    deployments: Vec<DeploymentRecord>,
    /// By namespace and pool; none: deleted.
    runner_configs: Vec<((NamespaceId, String), Option<RunnerConfigRecord>)>,
    /// Namespaces that are gone, with all of these.
    gone: Vec<NamespaceId>,
    /// By id; none: revoked.
    tokens: Vec<(String, Option<TokenRecord>)>,
}

impl News {
    /// Nearly every commit has none, and then this allocates nothing.
    pub fn of(changes: &[Change]) -> News {
        let mut news = News::default();
        for change in changes {
            match change {
                Change::PutNamespace(namespace) => news.namespaces.push(namespace.clone()),
                Change::PutDeployment(deployment) => news.deployments.push((**deployment).clone()),
                Change::PutRunnerConfig(config) => news.put_runner_config(config),
                Change::PutToken(token) => news.tokens.push((token.id.clone(), Some((**token).clone()))),
                Change::DeleteToken { id } => news.tokens.push((id.clone(), None)),
                Change::DeleteRunnerConfig { namespace, pool } => news.runner_configs.push(((*namespace, pool.clone()), None)),
                Change::DeleteNamespace { namespace } => news.gone.push(*namespace),
                _ => {}
            }
        }
        news
    }

    pub fn found(boot: &Boot) -> News {
        let mut news = News {
            namespaces: boot.namespaces.clone(),
            deployments: boot.deployments.clone(),
            tokens: boot.tokens.iter().map(|token| (token.id.clone(), Some(token.clone()))).collect(),
            ..News::default()
        };
        for config in &boot.runner_configs {
            news.put_runner_config(config);
        }
        news
    }

    fn put_runner_config(&mut self, config: &RunnerConfigRecord) {
        self.runner_configs.push(((config.namespace, config.pool.clone()), Some(config.clone())));
    }

    /// Some are gone with their namespace.
    pub fn takes_deployments(&self) -> bool {
        !self.gone.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.deployments.is_empty()
            && self.runner_configs.is_empty()
            && self.tokens.is_empty()
            && self.gone.is_empty()
    }
}

impl Directory {
    pub fn enter(&self, news: News) {
        if news.is_empty() {
            return;
        }
        let mut entries = write(&self.entries);
        for namespace in news.namespaces {
            entries.namespaces.insert(namespace.name.clone(), namespace);
        }
        for deployment in news.deployments {
            entries.deployments.insert((deployment.namespace, deployment.name.clone()), deployment);
        }
        let pools_changed = !news.runner_configs.is_empty();
        for (place, config) in news.runner_configs {
            match config {
                Some(config) => entries.runner_configs.insert(place, Arc::new(config)),
                None => entries.runner_configs.remove(&place),
            };
        }
        for namespace in news.gone {
            entries.namespaces.retain(|_, record| record.id != namespace);
            entries.deployments.retain(|(of, _), _| *of != namespace);
            entries.runner_configs.retain(|(of, _), _| *of != namespace);
        }
        for (id, token) in news.tokens {
            let Some(token) = token.map(Arc::new) else {
                entries.tokens.remove(&id);
                continue;
            };
            match entries.tokens.entry(id) {
                Entry::Occupied(mut known) => known.get_mut().record = token,
                Entry::Vacant(free) => {
                    free.insert(Known { record: token, lives: watch::Sender::default() });
                }
            }
        }
        drop(entries);
        if pools_changed {
            self.pools_changed.notify_one();
        }
    }

    /// Waits until a runner config has been put or deleted since the last time. For one who waits.
    pub async fn pools_changed(&self) {
        self.pools_changed.notified().await;
    }

    pub fn token(&self, id: &str) -> Option<Arc<TokenRecord>> {
        read(&self.entries).tokens.get(id).map(|known| known.record.clone())
    }

    /// Changes once, when the token is revoked; none if it is already.
    pub fn token_lives(&self, id: &str) -> Option<watch::Receiver<()>> {
        read(&self.entries).tokens.get(id).map(|known| known.lives.subscribe())
    }

    /// In the order of their ids.
    pub fn tokens(&self) -> Vec<Arc<TokenRecord>> {
        read(&self.entries).tokens.values().map(|known| known.record.clone()).collect()
    }

    pub fn namespace(&self, name: &str) -> Option<NamespaceRecord> {
        read(&self.entries).namespaces.get(name).cloned()
    }

    pub fn namespace_name(&self, id: NamespaceId) -> Option<String> {
        let entries = read(&self.entries);
        entries.namespaces.values().find(|namespace| namespace.id == id).map(|namespace| namespace.name.clone())
    }

    /// Of a namespace's name or id its name; whatever else it is stays, to be looked for or refused by that.
    pub fn name_of(&self, namespace: &str) -> String {
        let id = namespace.parse::<Id>().ok();
        id.and_then(|id| self.namespace_name(id)).unwrap_or_else(|| namespace.to_string())
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

    pub fn deployment(&self, namespace: NamespaceId, name: &str) -> Option<DeploymentRecord> {
        read(&self.entries).deployments.get(&(namespace, name.to_string())).cloned()
    }

    pub fn runner_config(&self, namespace: NamespaceId, pool: &str) -> Option<RunnerConfigRecord> {
        read(&self.entries).runner_configs.get(&(namespace, pool.to_string())).map(|config| (**config).clone())
    }

    /// In the order of their pools.
    pub fn runner_configs(&self, namespace: NamespaceId) -> Vec<RunnerConfigRecord> {
        let entries = read(&self.entries);
        let of_namespace = entries.runner_configs.range((namespace, String::new())..).take_while(|((of, _), _)| *of == namespace);
        of_namespace.map(|(_, config)| (**config).clone()).collect()
    }

    /// Of all namespaces: the pools whose URL is called.
    pub fn serverless_pools(&self) -> BTreeMap<(NamespaceId, String), Arc<RunnerConfigRecord>> {
        let entries = read(&self.entries);
        let serverless = entries.runner_configs.iter().filter(|(_, config)| matches!(config.kind, PoolKind::Serverless(_)));
        serverless.map(|(place, config)| (place.clone(), config.clone())).collect()
    }

    /// Whether any version of any deployment is this component.
    pub fn uses(&self, component: ComponentHash) -> bool {
        let entries = read(&self.entries);
        entries.deployments.values().any(|deployment| deployment.versions.iter().any(|version| version.component == component))
    }
}

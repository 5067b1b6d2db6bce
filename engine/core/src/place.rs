//! Where an actor can run, and the components that are deployed.
//!
//! A component that is deployed under an actor's name takes the actors of that name. It goes to a runner that has said it is ready
//! for it (`Prepared`), so that waking an actor never waits for a compiler. Actors of other names go to a runner of their pool.

use std::cmp::Reverse;
use std::sync::Arc;

use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind, Settings};
use protocol::id::{ActorId, NamespaceId, RunnerId};
use protocol::message::{Deployed, StopReason, ToRunner};

use crate::action::{Action, Answer};
use crate::core::{Core, Then};
use crate::input::CallId;
use crate::life::Life;
use crate::record::{ActorError, ActorRecord, After, Change, DeploymentRecord, PoolKind, RunnerRef, VersionRecord};
use crate::refusal::Refusal;
use crate::runners::Runner;

/// A deploy that waits until a runner is ready for its component.
pub(crate) struct Deploying {
    pub call: CallId,
    pub namespace: NamespaceId,
    pub name: String,
    pub pool: String,
    pub component: ComponentHash,
    /// An earlier version is made live again, instead of a new one.
    pub version: Option<u32>,
}

pub(crate) enum Place {
    Runner {
        on: RunnerId,
        runner: RunnerRef,
    },
    /// The pool's URL is called, and a runner connects.
    Url,
    /// No runner now; one may come.
    Nowhere(ActorError),
    /// The runner there is cannot run it.
    Refused {
        message: String,
    },
}

impl Core {
    pub(crate) fn place_for(&self, record: &ActorRecord) -> Place {
        match self.live_component(record.namespace, &record.name) {
            Some(component) => self.place_component(component),
            None => self.place_in_pool(record.namespace, &record.pool),
        }
    }

    /// The newest runner that is ready for it, and of these the one with the fewest actors.
    fn place_component(&self, component: ComponentHash) -> Place {
        let mut refused = None;
        let mut chosen: Option<(RunnerId, &Runner)> = None;
        let rank = |runner: &Runner| (runner.profile.version, Reverse(runner.actors.len()));
        for (id, runner) in self.component_runners().filter(|(_, runner)| runner.takes_actors()) {
            if runner.prepared.contains(&component) {
                chosen = chosen.filter(|(_, best)| rank(best) >= rank(runner)).or(Some((id, runner)));
            } else if let Some(refusal) = runner.refused.get(&component) {
                refused = Some(refusal.message.clone());
            }
        }
        match (chosen, refused) {
            (Some((on, runner)), _) => Place::Runner { on, runner: RunnerRef::of(&runner.profile) },
            (None, Some(message)) => Place::Refused { message },
            (None, None) => Place::Nowhere(ActorError::NoEnvoys),
        }
    }

    /// The newest code that is there, and of its runners the one with the fewest actors.
    fn place_in_pool(&self, namespace: NamespaceId, pool: &str) -> Place {
        let Some(config) = self.pool(namespace, pool).map(|pool| &pool.config) else {
            return Place::Nowhere(ActorError::NoEnvoys);
        };
        if let PoolKind::Serverless(serverless) = &config.kind {
            let running = self.running_by_url.get(&(namespace, pool.to_string())).copied().unwrap_or(0);
            return match u64::from(running) < serverless.max_concurrent_actors {
                true => Place::Url,
                false => Place::Nowhere(ActorError::ConcurrentActorLimitReached),
            };
        }
        let of_pool = || self.runners.iter().filter(|(_, runner)| runner.serves_pool(namespace, pool) && runner.takes_actors());
        let Some(newest) = of_pool().map(|(_, runner)| runner.profile.version).max() else {
            return Place::Nowhere(ActorError::NoEnvoys);
        };
        let with_room = of_pool().filter(|(_, runner)| runner.profile.version == newest && runner.has_room());
        match with_room.min_by_key(|(_, runner)| runner.actors.len()) {
            Some((on, runner)) => Place::Runner { on: *on, runner: RunnerRef::of(&runner.profile) },
            None => Place::Nowhere(ActorError::NoCapacity),
        }
    }

    /// Whether actors of this name can run here at all, now or when a runner connects.
    pub(crate) fn is_placeable(&self, namespace: NamespaceId, name: &str, pool: &str) -> bool {
        self.live_component(namespace, name).is_some() || self.pool(namespace, pool).is_some()
    }

    pub(crate) fn live_component(&self, namespace: NamespaceId, name: &str) -> Option<ComponentHash> {
        Some(self.deployment(namespace, name)?.live_version().component)
    }

    /// What an actor of this name is to run now, if it is a component.
    pub(crate) fn deployed_for(&self, record: &ActorRecord) -> Option<Deployed> {
        let live = self.deployment(record.namespace, &record.name)?.live_version();
        let namespace = self
            .namespaces
            .values()
            .find(|namespace| namespace.id == record.namespace)
            .map(|namespace| namespace.name.clone())
            .unwrap_or_default();
        let settings = Arc::new(Settings::default());
        Some(Deployed { component: live.component, version: live.number, migrate_from: None, namespace, settings })
    }

    pub(crate) fn deployment(&self, namespace: NamespaceId, name: &str) -> Option<&DeploymentRecord> {
        self.deployments.get(&namespace)?.get(name)
    }

    /// Asks the runners to make the component ready; the deploy goes on in [`Core::prepared`].
    pub(crate) fn deploy(&mut self, deploying: Deploying) {
        let component = deploying.component;
        let runners: Vec<RunnerId> = self.component_runners().map(|(id, _)| id).collect();
        if runners.is_empty() {
            return self.reply(deploying.call, Err(Refusal::NoComponentRunner));
        }
        self.deploying.push(deploying);
        for runner in runners {
            self.act(Action::ToRunner { runner, message: ToRunner::Prepare { component } });
        }
    }

    pub(crate) fn prepared(&mut self, id: RunnerId, component: ComponentHash, result: Result<ComponentInfo, ComponentRefusal>) {
        let Some(runner) = self.runners.get_mut(&id).filter(|runner| runner.profile.runs_components()) else { return };
        match &result {
            Ok(_) => {
                runner.refused.remove(&component);
                runner.prepared.insert(component);
            }
            // Only what can still become live is worth remembering.
            Err(refusal) if refusal.kind == ComponentRefusalKind::Internal => {}
            Err(refusal) => {
                runner.refused.insert(component, refusal.clone());
            }
        }
        let (ready, waiting) =
            std::mem::take(&mut self.deploying).into_iter().partition(|deploying| deploying.component == component);
        self.deploying = waiting;
        for deploying in ready {
            match &result {
                Ok(info) => self.make_live(deploying, info),
                Err(refusal) => self.reply(deploying.call, Err(Refusal::Component(refusal.clone()))),
            }
        }
        self.place_unplaced();
    }

    fn make_live(&mut self, deploying: Deploying, info: &ComponentInfo) {
        let Deploying { call, namespace, name, pool, component, version } = deploying;
        let place = (namespace, name.clone());
        // Another deploy of this name may be on its way to the disk: this one comes after it.
        let newest = self.publishing.get(&place).or_else(|| self.deployment(namespace, &name));
        let mut record = match newest {
            Some(record) => record.clone(),
            None => DeploymentRecord { namespace, name: name.clone(), pool: pool.clone(), live: 0, versions: Vec::new() },
        };
        if let Some(number) = version {
            record.live = number;
        } else if !record.versions.is_empty() && record.live_version().component == component && record.pool == pool {
            // Deploying what is live already changes nothing, so that it can be repeated.
            return self.reply(call, Ok(Answer::Deployment(Box::new(record))));
        } else {
            let number = record.versions.last().map_or(1, |last| last.number + 1);
            record.versions.push(VersionRecord { number, component, info: info.clone(), deploy_ms: self.now_ms });
            record.pool = pool;
            record.live = number;
        }
        self.publishing.insert(place, record.clone());
        let deployment = Box::new(record);
        self.commit(vec![Change::PutDeployment(deployment.clone())], Then::Deployed { call, deployment });
    }

    /// The new version is on disk, so it may be shown and used.
    pub(crate) fn deployed(&mut self, call: CallId, record: DeploymentRecord) {
        let (namespace, name) = (record.namespace, record.name.clone());
        let place = (namespace, name.clone());
        if self.publishing.get(&place) == Some(&record) {
            self.publishing.remove(&place);
        }
        self.deployments.entry(namespace).or_default().insert(name.clone(), record.clone());
        let on_old: Vec<ActorId> = self
            .actors
            .iter()
            .filter(|(_, actor)| actor.record.namespace == namespace && actor.record.name == name)
            .filter(|(_, actor)| matches!(actor.life, Life::Starting { .. } | Life::Running { .. }))
            .map(|(id, _)| *id)
            .collect();
        for actor in on_old {
            self.stop(actor, StopReason::GoingAway, After::Start);
        }
        self.reply(call, Ok(Answer::Deployment(Box::new(record))));
        self.place_unplaced();
    }
}

//! Runners and components: where an actor can run.
//!
//! A component that is deployed under an actor's name takes the actors of that name. It goes to a runner that has said it is ready
//! for it (`Prepared`), so that waking an actor never waits for a compiler.

use std::collections::{BTreeMap, BTreeSet};

use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind};
use protocol::id::{ActorId, NamespaceId, RunnerId};
use protocol::message::{RunnerProfile, StopReason, ToRunner};

use crate::action::{Action, Answer};
use crate::core::{Core, Then};
use crate::input::CallId;
use crate::life::Life;
use crate::record::{After, Change, DeploymentRecord, RunnerRef, VersionRecord};
use crate::refusal::Refusal;

pub(crate) struct Runner {
    pub profile: RunnerProfile,
    /// How many actors are on it.
    pub actors: u32,
    prepared: BTreeSet<ComponentHash>,
    refused: BTreeMap<ComponentHash, ComponentRefusal>,
}

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
    /// No runner now; one may come.
    Nowhere,
    /// The runner there is cannot run it.
    Refused {
        message: String,
    },
}

impl Core {
    pub(crate) fn place_for(&self, namespace: NamespaceId, name: &str) -> Place {
        let Some(component) = self.live_component(namespace, name) else { return Place::Nowhere };
        let mut refused = None;
        let mut chosen: Option<(RunnerId, &Runner)> = None;
        for (id, runner) in self.component_runners() {
            if runner.prepared.contains(&component) {
                chosen = chosen.filter(|(_, best)| best.profile.version >= runner.profile.version).or(Some((id, runner)));
            } else if let Some(refusal) = runner.refused.get(&component) {
                refused = Some(refusal.message.clone());
            }
        }
        match (chosen, refused) {
            (Some((on, runner)), _) => Place::Runner { on, runner: RunnerRef::of(&runner.profile) },
            (None, Some(message)) => Place::Refused { message },
            (None, None) => Place::Nowhere,
        }
    }

    pub(crate) fn live_component(&self, namespace: NamespaceId, name: &str) -> Option<ComponentHash> {
        Some(self.deployment(namespace, name)?.live_version().component)
    }

    pub(crate) fn deployment(&self, namespace: NamespaceId, name: &str) -> Option<&DeploymentRecord> {
        self.deployments.get(&namespace)?.get(name)
    }

    fn component_runners(&self) -> impl Iterator<Item = (RunnerId, &Runner)> {
        self.runners.iter().filter(|(_, runner)| runner.profile.runs_components()).map(|(id, runner)| (*id, runner))
    }

    pub(crate) fn runner_joined(&mut self, id: RunnerId, profile: RunnerProfile) {
        // What is live, and what is about to be.
        let live = self.deployments.values().flat_map(|of_namespace| of_namespace.values()).chain(self.publishing.values());
        let live = live.map(|record| record.live_version().component);
        let components: BTreeSet<ComponentHash> = match profile.runs_components() {
            true => live.chain(self.deploying.iter().map(|deploying| deploying.component)).collect(),
            false => BTreeSet::new(),
        };
        self.runners.insert(id, Runner { profile, actors: 0, prepared: BTreeSet::new(), refused: BTreeMap::new() });
        for component in components {
            self.act(Action::ToRunner { runner: id, message: ToRunner::Prepare { component } });
        }
    }

    pub(crate) fn runner_left(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.remove(&id) else { return };
        let actors: Vec<ActorId> = self.actors.iter().filter(|(_, actor)| actor.on() == Some(id)).map(|(id, _)| *id).collect();
        for actor in actors {
            self.lost(actor, &runner.profile.key);
        }
        self.requests_lost(id);
        if self.component_runners().next().is_none() {
            for deploying in std::mem::take(&mut self.deploying) {
                self.reply(deploying.call, Err(Refusal::NoComponentRunner));
            }
        }
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

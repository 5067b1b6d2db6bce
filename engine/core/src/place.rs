//! Where an actor can run, and which version of what is deployed.
//!
//! A component that is deployed under an actor's name takes the actors of that name. It goes to a runner that has said it is ready
//! for it (`Prepared`), so that waking an actor never waits for a compiler. Actors of other names go to a runner of their pool.

use std::cmp::Reverse;

use protocol::component::ComponentHash;
use protocol::id::{ActorId, NamespaceId, RunnerId};
use protocol::message::Deployed;

use crate::core::Core;
use crate::record::{ActorError, ActorRecord, DeploymentRecord, PoolKind, RunnerRef, VersionRecord};
use crate::runners::Runner;

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
        match self.version_for(record) {
            Some(Ok(version)) => self.place_component(version.component),
            Some(Err(message)) => Place::Refused { message },
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
        self.deployment(namespace, name).is_some() || self.pool(namespace, pool).is_some()
    }

    /// The version that it is to run, if it is a component: the one it is pinned to, that of the canary if it is among those, or the
    /// live one; and if its state could not be migrated to that, the one that wrote its state. The error is a sentence.
    pub(crate) fn version_for(&self, record: &ActorRecord) -> Option<Result<&VersionRecord, String>> {
        let deployment = self.deployment(record.namespace, &record.name)?;
        // A pin to a version that has become too old to be kept says nothing.
        let pinned = record.pin.and_then(|pin| deployment.version(pin));
        let wanted = pinned.or_else(|| deployment.version(deployment.version_of(record.id)))?;
        let Some(held) = record.held_back.as_ref().filter(|held| held.version == wanted.number && deployment.holds_back(held))
        else {
            return Some(Ok(wanted));
        };
        Some(record.state_version.and_then(|wrote| deployment.version(wrote)).ok_or_else(|| {
            let (version, wrote) = (held.version, record.state_version.unwrap_or_default());
            format!(
                "its state could not be migrated to version {version} ({}), and version {wrote}, which wrote it, is not kept any more; \
                 deploy one that can migrate it, or try again with POST /deployments/{}/retry",
                held.message, record.name
            )
        }))
    }

    /// What an actor is to run now, if it is a component.
    pub(crate) fn deployed_for(&self, record: &ActorRecord) -> Option<Deployed> {
        let deployment = self.deployment(record.namespace, &record.name)?;
        let version = self.version_for(record)?.ok()?;
        // The same code has nothing to migrate.
        let same_code = |wrote: &u32| deployment.version(*wrote).is_some_and(|wrote| wrote.component == version.component);
        // Whether its runner asks before it commits: what others say counts as much as its deployment.
        let storage_bytes = self.storage_limit(record);
        let mut settings = version.settings.clone();
        if settings.limits.storage_bytes != storage_bytes {
            std::sync::Arc::make_mut(&mut settings).limits.storage_bytes = storage_bytes;
        }
        Some(Deployed {
            component: version.component,
            version: version.number,
            migrate_from: record.state_version.filter(|wrote| *wrote != version.number && !same_code(wrote)),
            namespace: self.namespace_names.get(&record.namespace).cloned().unwrap_or_default(),
            settings,
        })
    }

    /// No runner is ready for the version that it is to run: those that were not asked yet are. Live versions are ready anyway;
    /// others that an actor needs may not be since the engine started.
    pub(crate) fn have_prepared(&mut self, id: ActorId) {
        let version = self.actors.get(&id).and_then(|actor| self.version_for(&actor.record)?.ok());
        let Some(component) = version.map(|version| version.component) else { return };
        let not_asked = |(_, runner): &(RunnerId, &Runner)| !runner.asked.contains(&component);
        let runners: Vec<RunnerId> = self.component_runners().filter(not_asked).map(|(runner, _)| runner).collect();
        for runner in runners {
            self.ask_to_prepare(runner, component);
        }
    }

    pub(crate) fn deployment(&self, namespace: NamespaceId, name: &str) -> Option<&DeploymentRecord> {
        self.deployments.get(&namespace)?.get(name)
    }
}

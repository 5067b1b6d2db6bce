//! How a deployment changes: new versions, which one is live, which one a share of the actors tries.
//!
//! Every change is one new record of the deployment. Once that is durable it is used: for whatever starts from then on, and for
//! those that run, which are moved (see [`crate::moves`]). Until then everything is as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind};
use protocol::id::{NamespaceId, RunnerId};
use protocol::limits::ACTOR_NAME_BYTES_MAX;
use protocol::message::ToRunner;

use crate::action::{Action, Answer};
use crate::core::{Core, Then};
use crate::input::{CallId, Operation};
use crate::record::{Canary, Change, DeploymentRecord, Share, VersionRecord};
use crate::refusal::Refusal;
use crate::settings::SettingsPatch;

/// The newest versions are kept, so that one can go back to them.
pub const VERSIONS_KEPT: usize = 20;
/// Of those together that are kept because actors need them. Beyond that the oldest go.
pub const VERSIONS_MAX: usize = 100;

/// A call that waits until a runner is ready for its component.
pub(crate) struct Deploying {
    call: CallId,
    pub component: ComponentHash,
    goal: Goal,
    /// Who has been asked and has not answered.
    asked: BTreeSet<RunnerId>,
    /// What went wrong on one that says nothing about the component: another may do better.
    failed: Option<ComponentRefusal>,
}

pub(crate) enum Goal {
    /// Only to know what it is.
    Look,
    New {
        namespace: NamespaceId,
        name: String,
        new: Box<NewVersion>,
    },
    /// An earlier version is made live again.
    Activate {
        namespace: NamespaceId,
        name: String,
        version: u32,
    },
}

pub(crate) struct NewVersion {
    pub pool: String,
    pub settings: SettingsPatch,
    /// Not for all.
    pub canary: Option<Share>,
    /// What a look at it has found before: it says how long it took to compile.
    pub looked_at: Option<Box<ComponentInfo>>,
}

impl Core {
    pub(crate) fn call_about_deployment(&mut self, call: CallId, operation: Operation) -> Result<(), Refusal> {
        match operation {
            Operation::LookAtComponent { component } => {
                self.deploy(call, component, Goal::Look);
            }
            Operation::Deploy { namespace, name, pool, component, settings, canary, looked_at } => {
                let namespace = self.namespace(&namespace)?;
                if name.len() > ACTOR_NAME_BYTES_MAX {
                    return Err(Refusal::NameTooLarge { bytes: name.len() });
                }
                let new = Box::new(NewVersion { pool, settings, canary, looked_at });
                self.deploy(call, component, Goal::New { namespace, name, new });
            }
            Operation::Activate { namespace, name, version: number } => {
                let namespace = self.namespace(&namespace)?;
                let Some(record) = self.deployment(namespace, &name) else {
                    return Err(Refusal::DeploymentNotFound { name });
                };
                let Some(version) = record.version(number) else {
                    return Err(Refusal::VersionNotFound { name, version: number });
                };
                let component = version.component;
                self.deploy(call, component, Goal::Activate { namespace, name, version: number });
            }
            Operation::Configure { namespace, name, settings, canary } => {
                let now_ms = self.now_ms;
                self.revise(call, &namespace, name, |record| {
                    let live = record.live_version();
                    let (component, info) = (live.component, live.info.clone());
                    let new = NewVersion { pool: record.pool.clone(), settings, canary, looked_at: None };
                    record.add(component, &info, new, now_ms)
                })?;
            }
            Operation::ShareCanary { namespace, name, share } => {
                self.revise(call, &namespace, name, |record| record.share(share))?
            }
            Operation::Promote { namespace, name } => self.revise(call, &namespace, name, DeploymentRecord::promote)?,
            Operation::RetryHeldBack { namespace, name } => self.revise(call, &namespace, name, |record| {
                record.versions.iter_mut().for_each(VersionRecord::try_again);
                Ok(record.live)
            })?,
            Operation::CountMoves { namespace, name } => {
                let namespace = self.namespace(&namespace)?;
                if self.deployment(namespace, &name).is_none() {
                    return Err(Refusal::DeploymentNotFound { name });
                }
                let left = self.moves_left(namespace, &name);
                self.reply(call, Ok(Answer::Moving { left }));
            }
            other => unreachable!("{other:?} is about no deployment"),
        }
        Ok(())
    }

    /// Asks the runners to make the component ready; the deploy goes on in [`Core::prepared`].
    fn deploy(&mut self, call: CallId, component: ComponentHash, goal: Goal) {
        let runners: Vec<RunnerId> = self.component_runners().map(|(id, _)| id).collect();
        if runners.is_empty() {
            return self.reply(call, Err(Refusal::NoComponentRunner));
        }
        self.deploying.push(Deploying { call, component, goal, asked: BTreeSet::new(), failed: None });
        for runner in runners {
            self.ask_to_prepare(runner, component);
        }
    }

    pub(crate) fn ask_to_prepare(&mut self, id: RunnerId, component: ComponentHash) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.asked.insert(component);
            for deploying in self.deploying.iter_mut().filter(|deploying| deploying.component == component) {
                deploying.asked.insert(id);
            }
            self.act(Action::ToRunner { runner: id, message: ToRunner::Prepare { component } });
        }
    }

    pub(crate) fn prepared(&mut self, id: RunnerId, component: ComponentHash, result: Result<ComponentInfo, ComponentRefusal>) {
        let Some(runner) = self.runners.get_mut(&id).filter(|runner| runner.profile.runs_components()) else { return };
        match &result {
            Ok(_) => {
                runner.refused.remove(&component);
                runner.prepared.insert(component);
            }
            // Only what can still become live is worth remembering; this is to be tried again.
            Err(refusal) if refusal.kind == ComponentRefusalKind::Internal => drop(runner.asked.remove(&component)),
            Err(refusal) => {
                runner.refused.insert(component, refusal.clone());
            }
        }
        let (answered, waiting) =
            std::mem::take(&mut self.deploying).into_iter().partition(|deploying| deploying.component == component);
        self.deploying = waiting;
        for mut deploying in answered {
            match &result {
                Ok(info) => self.is_ready(deploying, info),
                Err(refusal) if refusal.kind == ComponentRefusalKind::Internal => {
                    deploying.failed = Some(refusal.clone());
                    self.deploying.push(deploying);
                }
                Err(refusal) => self.reply(deploying.call, Err(Refusal::Component(refusal.clone()))),
            }
        }
        self.will_not_prepare(id, |asked| asked == component);
        self.place_unplaced();
    }

    /// Nothing more is to be expected of this runner for these components. A deploy that waits for nobody else has failed.
    pub(crate) fn will_not_prepare(&mut self, id: RunnerId, which: impl Fn(ComponentHash) -> bool) {
        for deploying in self.deploying.iter_mut().filter(|deploying| which(deploying.component)) {
            deploying.asked.remove(&id);
        }
        let (over, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.deploying).into_iter().partition(|deploying| deploying.asked.is_empty());
        self.deploying = waiting;
        for Deploying { call, failed, .. } in over {
            self.reply(call, Err(failed.map_or(Refusal::NoComponentRunner, Refusal::Component)));
        }
    }

    fn is_ready(&mut self, deploying: Deploying, info: &ComponentInfo) {
        let Deploying { call, component, goal, .. } = deploying;
        let now_ms = self.now_ms;
        let done = match goal {
            Goal::Look => return self.reply(call, Ok(Answer::Component(Box::new(info.clone())))),
            Goal::Activate { namespace, name, version } => self.revise_in(call, namespace, name, |record| record.activate(version)),
            Goal::New { namespace, name, new } => match self.check_deploy_quotas(namespace, &name, component, info) {
                Err(refusal) => Err(refusal),
                Ok(()) if self.newest(namespace, &name).is_some() => {
                    self.revise_in(call, namespace, name, |record| record.add(component, info, *new, now_ms))
                }
                // A canary needs others beside it.
                Ok(()) if new.canary.is_some() => Err(Refusal::DeploymentNotFound { name }),
                Ok(()) => self.deploy_first(call, namespace, name, component, info, *new),
            },
        };
        if let Err(refusal) = done {
            self.reply(call, Err(refusal));
        }
    }

    fn deploy_first(
        &mut self,
        call: CallId,
        namespace: NamespaceId,
        name: String,
        component: ComponentHash,
        info: &ComponentInfo,
        new: NewVersion,
    ) -> Result<(), Refusal> {
        let settings = new.settings.apply(&Default::default()).map_err(|reason| Refusal::SettingsInvalid { reason })?;
        let version = VersionRecord::new(1, component, new.info(info), Arc::new(settings), self.now_ms);
        let record = DeploymentRecord { namespace, name, pool: new.pool, live: 1, versions: vec![version], canary: None };
        self.publish(Some(call), record, 1);
        Ok(())
    }

    fn revise(
        &mut self,
        call: CallId,
        namespace: &str,
        name: String,
        revise: impl FnOnce(&mut DeploymentRecord) -> Result<u32, Refusal>,
    ) -> Result<(), Refusal> {
        let namespace = self.namespace(namespace)?;
        self.revise_in(call, namespace, name, revise)
    }

    /// What comes of `revise` is made durable, and then used. It says which version the caller is shown.
    fn revise_in(
        &mut self,
        call: CallId,
        namespace: NamespaceId,
        name: String,
        revise: impl FnOnce(&mut DeploymentRecord) -> Result<u32, Refusal>,
    ) -> Result<(), Refusal> {
        let Some(before) = self.newest(namespace, &name) else { return Err(Refusal::DeploymentNotFound { name }) };
        let mut record = before.clone();
        let version = revise(&mut record)?;
        let (changed, on_its_way) = (record != *before, self.publishing.contains_key(&(namespace, name)));
        let answer = || Answer::Deployment { record: Box::new(record.clone()), version };
        match (changed, on_its_way) {
            (true, _) => self.publish(Some(call), record, version),
            (false, true) => {
                let answer = answer();
                self.commit(Vec::new(), Then::Reply(call, answer));
            }
            (false, false) => {
                let answer = answer();
                self.reply(call, Ok(answer));
            }
        }
        Ok(())
    }

    /// Another change may be on its way to the disk: the next one comes after it.
    fn newest(&self, namespace: NamespaceId, name: &str) -> Option<&DeploymentRecord> {
        self.publishing.get(&(namespace, name.to_string())).or_else(|| self.deployment(namespace, name))
    }

    fn publish(&mut self, call: Option<CallId>, record: DeploymentRecord, version: u32) {
        self.publishing.insert((record.namespace, record.name.clone()), record.clone());
        let deployment = Box::new(record);
        self.commit(vec![Change::PutDeployment(deployment.clone())], Then::Deployed { call, version, deployment });
    }

    /// An actor needs this version, also when it has become old.
    pub(crate) fn keep_version(&mut self, namespace: NamespaceId, name: &str, number: u32) {
        let Some(mut record) = self.newest(namespace, name).cloned() else { return };
        let live = record.live;
        if let Some(version) = record.version_mut(number).filter(|version| !version.kept) {
            version.kept = true;
            self.publish(None, record, live);
        }
    }

    /// It is on disk, so it may be shown and used.
    pub(crate) fn deployed(&mut self, call: Option<CallId>, version: u32, record: DeploymentRecord) {
        let (namespace, name) = (record.namespace, record.name.clone());
        let place = (namespace, name.clone());
        if self.publishing.get(&place) == Some(&record) {
            self.publishing.remove(&place);
        }
        self.deployments.entry(namespace).or_default().insert(name.clone(), record.clone());
        self.move_actors_of(namespace, &name);
        if let Some(call) = call {
            self.reply(call, Ok(Answer::Deployment { record: Box::new(record), version }));
        }
        self.place_unplaced();
    }
}

impl DeploymentRecord {
    /// A new version, unless it is what there is already. Its number.
    fn add(&mut self, component: ComponentHash, info: &ComponentInfo, new: NewVersion, now_ms: u64) -> Result<u32, Refusal> {
        let live = self.live_version();
        let settings = new.settings.apply(&live.settings).map_err(|reason| Refusal::SettingsInvalid { reason })?;
        let same = |version: &VersionRecord| version.component == component && *version.settings == settings;
        let refused = |reason: String| Err(Refusal::CanaryRefused { reason });
        match (new.canary, self.canary) {
            // Deploying what is live already changes nothing, so that it can be repeated.
            (Some(_), _) if same(live) && self.pool == new.pool => return Ok(self.live),
            (None, _) if same(live) && self.pool == new.pool => {
                self.canary = None;
                return Ok(self.live);
            }
            (Some(_), Some(Canary { version, share })) => {
                return refused(format!(
                    "version {version} is a canary already, with {share} of the actors; promote it, roll back, or deploy for all"
                ));
            }
            (Some(_), None) if self.pool != new.pool => {
                return refused(format!(
                    "a canary stays in the pool of the live version, which is {:?}; deploy for all to change it",
                    self.pool
                ));
            }
            (None, Some(canary)) if self.version(canary.version).is_some_and(same) => {
                self.pool = new.pool;
                return self.promote();
            }
            _ => {}
        }
        let number = self.versions.last().map_or(1, |last| last.number + 1);
        self.versions.push(VersionRecord::new(number, component, new.info(info), Arc::new(settings), now_ms));
        match new.canary {
            Some(share) => self.canary = Some(Canary { version: number, share }),
            None => {
                self.pool = new.pool;
                self.live = number;
                self.canary = None;
            }
        }
        self.prune();
        Ok(number)
    }

    /// Who could not be migrated to any of the versions that this is about is to try again when it comes to that.
    fn activate(&mut self, number: u32) -> Result<u32, Refusal> {
        if self.version(number).is_none() {
            return Err(Refusal::VersionNotFound { name: self.name.clone(), version: number });
        }
        let canary = self.canary.take().map(|canary| canary.version);
        let about = [Some(number), Some(self.live), canary];
        self.versions.iter_mut().filter(|version| about.contains(&Some(version.number))).for_each(VersionRecord::try_again);
        self.live = number;
        Ok(number)
    }

    fn promote(&mut self) -> Result<u32, Refusal> {
        let Some(canary) = self.canary.take() else { return Err(Refusal::NoCanary { name: self.name.clone() }) };
        self.live = canary.version;
        Ok(self.live)
    }

    fn share(&mut self, share: Share) -> Result<u32, Refusal> {
        let Some(canary) = &mut self.canary else { return Err(Refusal::NoCanary { name: self.name.clone() }) };
        canary.share = share;
        Ok(canary.version)
    }

    fn prune(&mut self) {
        let (live, canary) = (self.live, self.canary.map(|canary| canary.version));
        let in_use = |version: &VersionRecord| version.number == live || Some(version.number) == canary;
        let mut too_many = self.versions.len().saturating_sub(VERSIONS_MAX);
        let newest = self.versions.iter().rev().nth(VERSIONS_KEPT - 1).map_or(0, |version| version.number);
        self.versions.retain(|version| {
            let goes = version.number < newest && !in_use(version) && (!version.kept || too_many > 0);
            too_many = too_many.saturating_sub(usize::from(goes));
            !goes
        });
    }
}

impl NewVersion {
    fn info(&self, found: &ComponentInfo) -> ComponentInfo {
        let compile_ms = self.looked_at.as_ref().map_or(found.compile_ms, |looked_at| looked_at.compile_ms);
        ComponentInfo { compile_ms, ..found.clone() }
    }
}

impl VersionRecord {
    fn new(
        number: u32,
        component: ComponentHash,
        info: ComponentInfo,
        settings: Arc<protocol::component::Settings>,
        deploy_ms: u64,
    ) -> VersionRecord {
        VersionRecord { number, component, info, deploy_ms, settings, attempt: 0, kept: false }
    }

    fn try_again(&mut self) {
        self.attempt = self.attempt.wrapping_add(1);
    }
}

//! What a namespace may have: actors, awake actors, bytes, requests a second, deployments, bytes of components.
//!
//! What there is is counted where it changes; here is what is compared with it. Quotas on storage are in [`crate::storage`], those on
//! awake actors in [`crate::awake`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protocol::component::{ComponentHash, ComponentInfo};
use protocol::id::NamespaceId;

use crate::awake::Circle;
use crate::core::{Core, Then};
use crate::input::{CallId, Import};
use crate::record::{Change, Quotas};
use crate::refusal::Refusal;

/// A field of [`Quotas`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QuotaName {
    Actors,
    AwakeActors,
    StorageBytes,
    RequestsPerSecond,
    Deployments,
    ComponentBytes,
}

impl QuotaName {
    pub const ALL: [QuotaName; 6] = [
        QuotaName::Actors,
        QuotaName::AwakeActors,
        QuotaName::StorageBytes,
        QuotaName::RequestsPerSecond,
        QuotaName::Deployments,
        QuotaName::ComponentBytes,
    ];

    pub fn of(self, quotas: &Quotas) -> Option<u64> {
        match self {
            QuotaName::Actors => quotas.actors,
            QuotaName::AwakeActors => quotas.awake_actors,
            QuotaName::StorageBytes => quotas.storage_bytes,
            QuotaName::RequestsPerSecond => quotas.requests_per_second,
            QuotaName::Deployments => quotas.deployments,
            QuotaName::ComponentBytes => quotas.component_bytes,
        }
    }

    fn of_mut(self, quotas: &mut Quotas) -> &mut Option<u64> {
        match self {
            QuotaName::Actors => &mut quotas.actors,
            QuotaName::AwakeActors => &mut quotas.awake_actors,
            QuotaName::StorageBytes => &mut quotas.storage_bytes,
            QuotaName::RequestsPerSecond => &mut quotas.requests_per_second,
            QuotaName::Deployments => &mut quotas.deployments,
            QuotaName::ComponentBytes => &mut quotas.component_bytes,
        }
    }
}

impl fmt::Display for QuotaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QuotaName::Actors => "actors",
            QuotaName::AwakeActors => "awake_actors",
            QuotaName::StorageBytes => "storage_bytes",
            QuotaName::RequestsPerSecond => "requests_per_second",
            QuotaName::Deployments => "deployments",
            QuotaName::ComponentBytes => "component_bytes",
        })
    }
}

/// What is to be different. None: no quota. What is not named stays as it is.
pub type QuotasPatch = BTreeMap<QuotaName, Option<u64>>;

/// What a namespace has of what is counted in memory; what its actors have stored is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InUse {
    pub actors: u64,
    pub awake_actors: u64,
    pub deployments: u64,
    pub component_bytes: u64,
}

/// Requests that may come now, in thousandths: as many as a second brings gather while none come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    thousandths: u64,
    at_ms: u64,
}

impl Bucket {
    fn full(per_second: u64, now_ms: u64) -> Bucket {
        Bucket { thousandths: per_second.saturating_mul(1_000), at_ms: now_ms }
    }

    /// Takes one, or says in how many milliseconds there is one.
    fn take(&mut self, per_second: u64, now_ms: u64) -> Result<(), u64> {
        let more = per_second.saturating_mul(now_ms.saturating_sub(self.at_ms));
        self.thousandths = self.thousandths.saturating_add(more).min(per_second.saturating_mul(1_000));
        self.at_ms = now_ms;
        match self.thousandths.checked_sub(1_000) {
            Some(left) => {
                self.thousandths = left;
                Ok(())
            }
            None => Err((1_000 - self.thousandths).div_ceil(per_second.max(1))),
        }
    }
}

impl Core {
    pub(crate) fn quotas(&self, namespace: NamespaceId) -> Quotas {
        let record = self.namespace_names.get(&namespace).and_then(|name| self.namespaces.get(name));
        record.map(|record| record.quotas).unwrap_or_default()
    }

    pub(crate) fn set_quotas(&mut self, call: CallId, namespace: String, patch: QuotasPatch) -> Result<(), Refusal> {
        let id = self.namespace(&namespace)?;
        if patch.get(&QuotaName::RequestsPerSecond) == Some(&Some(0)) {
            let reason = "requests_per_second is 0, and no request could ever come; give null for no quota".to_string();
            return Err(Refusal::QuotasInvalid { reason });
        }
        let Some(record) = self.namespaces.get_mut(&namespace) else { return Ok(()) };
        for (name, value) in patch {
            *name.of_mut(&mut record.quotas) = value;
        }
        let record = record.clone();
        self.buckets.remove(&id);
        let answer = self.about_quotas(&namespace);
        self.commit(vec![Change::PutNamespace(record)], Then::Reply(call, answer));
        Ok(())
    }

    pub(crate) fn show_quotas(&mut self, call: CallId, namespace: &str) -> Result<(), Refusal> {
        if !self.namespaces.contains_key(namespace) {
            return Err(Refusal::NamespaceNotFound { namespace: namespace.to_string() });
        }
        let answer = self.about_quotas(namespace);
        // What is then read of the store is no older than this.
        self.reply_when_durable(call, answer);
        Ok(())
    }

    pub(crate) fn in_use(&self, namespace: NamespaceId) -> InUse {
        InUse {
            actors: self.usage.get(&namespace).map_or(0, |usage| usage.actors),
            awake_actors: self.awake.count(&Circle::Namespace(namespace)),
            deployments: self.deployment_names(namespace).len() as u64,
            component_bytes: self.components_of(namespace).values().sum(),
        }
    }

    /// One more actor.
    pub(crate) fn check_actors_quota(&self, namespace: NamespaceId) -> Result<(), Refusal> {
        self.deleting(namespace)?;
        let used = self.usage.get(&namespace).map_or(0, |usage| usage.actors);
        self.check_quota(namespace, QuotaName::Actors, used, 1)
    }

    /// One more actor, with all that it brings.
    pub(crate) fn check_import_quotas(&self, namespace: NamespaceId, import: &Import) -> Result<(), Refusal> {
        self.check_actors_quota(namespace)?;
        let used = self.usage.get(&namespace).map_or(0, |usage| usage.bytes_max());
        self.check_quota(namespace, QuotaName::StorageBytes, used, import.bytes())
    }

    /// One more request of a client.
    pub(crate) fn check_request_rate(&mut self, namespace: NamespaceId) -> Result<(), Refusal> {
        let Some(limit) = self.quotas(namespace).requests_per_second else { return Ok(()) };
        let now_ms = self.now_ms;
        let bucket = self.buckets.entry(namespace).or_insert_with(|| Bucket::full(limit, now_ms));
        bucket.take(limit, now_ms).map_err(|retry_ms| Refusal::RequestRate {
            namespace: self.namespace_names.get(&namespace).cloned().unwrap_or_default(),
            limit,
            retry_ms,
        })
    }

    /// A version of this component, under this name.
    pub(crate) fn check_deploy_quotas(
        &self,
        namespace: NamespaceId,
        name: &str,
        component: ComponentHash,
        info: &ComponentInfo,
    ) -> Result<(), Refusal> {
        self.deleting(namespace)?;
        let names = self.deployment_names(namespace);
        if !names.contains(name) {
            self.check_quota(namespace, QuotaName::Deployments, names.len() as u64, 1)?;
        }
        let components = self.components_of(namespace);
        match components.contains_key(&component) {
            true => Ok(()),
            false => self.check_quota(namespace, QuotaName::ComponentBytes, components.values().sum(), info.bytes),
        }
    }

    fn check_quota(&self, namespace: NamespaceId, quota: QuotaName, used: u64, more: u64) -> Result<(), Refusal> {
        let Some(limit) = quota.of(&self.quotas(namespace)).filter(|limit| used.saturating_add(more) > *limit) else {
            return Ok(());
        };
        let namespace = self.namespace_names.get(&namespace).cloned().unwrap_or_default();
        Err(Refusal::QuotaExceeded { namespace, quota, limit, used, more })
    }

    fn deployment_names(&self, namespace: NamespaceId) -> BTreeSet<&str> {
        let live = self.deployments.get(&namespace).into_iter().flat_map(BTreeMap::keys);
        let coming = self.publishing.keys().filter(|(of, _)| *of == namespace).map(|(_, name)| name);
        live.chain(coming).map(String::as_str).collect()
    }

    /// Each once, with its size, however many versions have it.
    fn components_of(&self, namespace: NamespaceId) -> BTreeMap<ComponentHash, u64> {
        let live = self.deployments.get(&namespace).into_iter().flat_map(BTreeMap::values);
        let coming = self.publishing.iter().filter(|((of, _), _)| *of == namespace).map(|(_, record)| record);
        live.chain(coming).flat_map(|record| &record.versions).map(|version| (version.component, version.info.bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_brings_as_many_as_it_may() {
        // (requests a second, when a request comes and what it hears: none, it may; else the milliseconds to wait)
        type Row = (u64, &'static [(u64, Option<u64>)]);
        let rows: &[Row] = &[
            (1, &[(0, None), (0, Some(1_000)), (999, Some(1)), (1_000, None), (1_000, Some(1_000))]),
            (2, &[(0, None), (0, None), (0, Some(500)), (499, Some(1)), (500, None), (500, Some(500))]),
            // What is not used is not kept beyond a second's worth.
            (2, &[(60_000, None), (60_000, None), (60_000, Some(500))]),
            (3, &[(0, None), (0, None), (0, None), (0, Some(334)), (333, Some(1)), (334, None)]),
            (u64::MAX, &[(0, None), (u64::MAX, None)]),
        ];
        for (per_second, requests) in rows {
            let mut bucket = Bucket::full(*per_second, 0);
            for (at_ms, heard) in *requests {
                assert_eq!(bucket.take(*per_second, *at_ms).err(), *heard, "{per_second} a second, at {at_ms}");
            }
        }
    }
}

//! The audit log: who did what, and what came of it.
//!
//! An administrative act that a call asks for has one entry, in the commit of the act itself; where the act has none, or is
//! refused, in a commit before the answer. So nobody is told of an act that the log does not have, and after a crash the log has
//! what the rest of the disk has. Entries are numbered, never changed, and the oldest go when there are too many.
//!
//! What an act is, and what of it is written down, is decided in one place, [`Act::of`]: it names every operation. No values of
//! settings, headers or tokens are in it, only their names.

use protocol::limits::cut;

use crate::core::{ActorThen, Core, Then};
use crate::input::{CallId, Operation};
use crate::quotas::{QuotaName, QuotasPatch};
use crate::record::{AuditRecord, Change, PoolKind};
use crate::refusal::Refusal;
use crate::settings::SettingsPatch;

/// Entries that are kept.
pub const AUDIT_ENTRIES_MAX: u64 = 1_000_000;
/// Of each text of an entry.
const TEXT_BYTES_MAX: usize = 512;

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct By {
    /// `admin`, `token ID`, `anyone` where nobody has to show who they are.
    pub who: String,
    /// The address it came from; empty if it came from none.
    pub remote: String,
    pub request_id: String,
}

/// What is done, without what nobody may read later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    pub act: &'static str,
    /// By name.
    pub namespace: Option<String>,
    pub target: String,
    pub details: Vec<(&'static str, String)>,
}

/// What somebody was not allowed to do, so many times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub by: By,
    pub act: Act,
    /// Group and code of the answer.
    pub outcome: String,
    pub count: u32,
}

/// An act whose call has not been answered.
pub(crate) struct Note {
    by: By,
    act: Act,
}

impl Act {
    fn new(act: &'static str, namespace: &str, target: impl Into<String>) -> Act {
        Act { act, namespace: Some(namespace.to_string()), target: target.into(), details: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Act {
        self.details.push((name, value.to_string()));
        self
    }

    fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Act {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// None: it reads, or it is what clients of actors do, or what the engine does by itself.
    pub fn of(operation: &Operation) -> Option<Act> {
        Some(match operation {
            Operation::CreateNamespace { name, display_name, .. } => {
                Act::new("namespace.create", name, name).with("display_name", display_name)
            }
            Operation::SetQuotas { namespace, quotas } => Act::new("namespace.quotas", namespace, namespace).with_quotas(quotas),
            Operation::DeleteNamespace { namespace } => Act::new("namespace.delete", namespace, namespace),
            Operation::ImportActor { namespace, name, key, .. } => {
                Act::new("actor.import", namespace, name).with_some("key", key.as_ref())
            }
            Operation::DestroyActor { namespace, actor } => Act::new("actor.destroy", namespace, actor.to_string()),
            Operation::SleepActor { namespace, actor } => Act::new("actor.sleep", namespace, actor.to_string()),
            Operation::RescheduleActor { namespace, actor } => Act::new("actor.reschedule", namespace, actor.to_string()),
            Operation::PinActor { namespace, actor, version: Some(version) } => {
                Act::new("actor.pin", namespace, actor.to_string()).with("version", version)
            }
            Operation::PinActor { namespace, actor, version: None } => Act::new("actor.unpin", namespace, actor.to_string()),
            Operation::Deploy { namespace, name, pool, component, settings, canary, looked_at: _ } => {
                let act = Act::new("deployment.deploy", namespace, name).with("component", component).with("pool", pool);
                act.with_some("canary", *canary).with_settings(settings)
            }
            Operation::Activate { namespace, name, version } => {
                Act::new("deployment.activate", namespace, name).with("version", version)
            }
            Operation::Configure { namespace, name, settings, canary } => {
                Act::new("deployment.configure", namespace, name).with_some("canary", *canary).with_settings(settings)
            }
            Operation::ShareCanary { namespace, name, share } => {
                Act::new("deployment.canary", namespace, name).with("share", share)
            }
            Operation::Promote { namespace, name } => Act::new("deployment.promote", namespace, name),
            Operation::RetryHeldBack { namespace, name } => Act::new("deployment.retry", namespace, name),
            Operation::PutRunnerConfig { namespace, record } => {
                let act = Act::new("pool.put", namespace, &record.pool);
                match &record.kind {
                    PoolKind::Normal => act.with("kind", "normal"),
                    PoolKind::Serverless(config) => {
                        // What follows `?` may be a key.
                        let url = config.url.split('?').next().unwrap_or_default();
                        let headers: Vec<&str> = config.headers.iter().map(|(name, _)| name.as_str()).collect();
                        act.with("kind", "serverless").with("url", url).with("headers", headers.join(", "))
                    }
                }
            }
            Operation::DeleteRunnerConfig { namespace, pool } => Act::new("pool.delete", namespace, pool),
            Operation::MintToken { namespace, record } => {
                let mut act = Act::new("token.create", "", &record.id).with("role", record.role).with("name", &record.name);
                act.namespace = namespace.clone();
                act.with_some("expire_ts", record.expire_ms)
            }
            Operation::RevokeToken { id, namespace, .. } => {
                let mut act = Act::new("token.revoke", "", id);
                act.namespace = namespace.clone();
                act
            }
            Operation::CreateActor { .. }
            | Operation::GetOrCreateActor { .. }
            | Operation::StageImport { .. }
            | Operation::DropImport { .. }
            | Operation::LookAtComponent { .. }
            | Operation::ShowQuotas { .. }
            | Operation::CountMoves { .. }
            | Operation::TouchToken { .. }
            | Operation::Settle
            | Operation::ListRunners { .. } => return None,
        })
    }

    fn with_quotas(self, quotas: &QuotasPatch) -> Act {
        let one = |(name, value): (&QuotaName, &Option<u64>)| match value {
            Some(value) => format!("{name}={value}"),
            None => format!("{name}=none"),
        };
        self.with("quotas", quotas.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    /// Names only: what they are set to may be anybody's secret.
    fn with_settings(self, settings: &SettingsPatch) -> Act {
        let names = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut act = self;
        for (what, listed) in [
            ("config", names(settings.config.keys().collect())),
            ("secrets", names(settings.secrets.keys().collect())),
            ("outbound", settings.outbound.as_ref().map(|hosts| hosts.join(", ")).unwrap_or_default()),
        ] {
            if !listed.is_empty() {
                act = act.with(what, listed);
            }
        }
        act
    }
}

impl Then {
    /// The call that is answered when this is durable.
    fn call(&self) -> Option<CallId> {
        match self {
            Then::Reply(call, _) | Then::Refuse(call, _) | Then::Deleting { call, .. } => Some(*call),
            Then::Deployed { call, .. } => *call,
            Then::Actor(_, ActorThen::Told { call, .. }) => Some(*call),
            Then::Actor(_, ActorThen::Start { created_by, .. }) => *created_by,
            Then::Actor(_, ActorThen::Created { by }) => *by,
            // Several calls may have wanted an end; see [`Core::end`].
            Then::Actor(_, ActorThen::Destroyed) => None,
            Then::Actor(_, ActorThen::Nothing | ActorThen::Written { .. } | ActorThen::Answered { .. }) | Then::Nothing => None,
            Then::Forgotten { .. } | Then::NamespaceGone { .. } => None,
        }
    }
}

impl Core {
    pub(crate) fn note(&mut self, call: CallId, by: Option<By>, operation: &Operation) {
        if let Some(by) = by
            && let Some(act) = Act::of(operation)
        {
            self.notes.insert(call, Note { by, act });
        }
    }

    /// The entry of a call whose act is decided now; none if it has one already, or needs none.
    pub(crate) fn audited(&mut self, call: CallId, refused: Option<&Refusal>) -> Option<Change> {
        let Note { by, act } = self.notes.remove(&call)?;
        let outcome = refused.map_or_else(
            || "ok".to_string(),
            |refusal| {
                let (group, code) = refusal.code();
                format!("{group}.{code}")
            },
        );
        Some(self.entry(Attempt { by, act, outcome, count: 1 }))
    }

    /// The same for the call of a commit.
    pub(crate) fn audited_with(&mut self, then: &Then) -> Option<Change> {
        let call = then.call()?;
        if let Then::Deployed { version, .. } = then
            && let Some(note) = self.notes.get_mut(&call)
            && note.act.details.iter().all(|(name, _)| *name != "version")
        {
            note.act.details.push(("version", version.to_string()));
        }
        self.audited(call, None)
    }

    pub(crate) fn attempted(&mut self, attempt: Attempt) {
        let entry = self.entry(attempt);
        self.commit(vec![entry], Then::Nothing);
    }

    fn entry(&mut self, Attempt { by, act, outcome, count }: Attempt) -> Change {
        self.last_audit += 1;
        let number = self.last_audit;
        let short = |text: String| cut(text, TEXT_BYTES_MAX);
        let namespace = act.namespace.as_ref().and_then(|name| self.namespaces.get(name));
        let mut details: Vec<(String, String)> =
            act.details.into_iter().map(|(name, value)| (name.to_string(), short(value))).collect();
        if let (Some(name), None) = (&act.namespace, namespace) {
            details.push(("namespace".to_string(), short(name.clone())));
        }
        let record = AuditRecord {
            number,
            at_ms: self.now_ms,
            who: short(by.who),
            remote: short(by.remote),
            request_id: short(by.request_id),
            act: act.act.to_string(),
            namespace: namespace.map(|record| (record.id, record.name.clone())),
            target: short(act.target),
            details,
            outcome,
            count,
        };
        let forget = number.checked_sub(self.config.audit_entries_max).filter(|forget| *forget > 0);
        Change::PutAudit { record: Box::new(record), forget }
    }

    /// There may be more than are kept today.
    pub(crate) fn trim_audit(&mut self, numbers: Option<(u64, u64)>) {
        let Some((first, last)) = numbers else { return };
        self.last_audit = last;
        let below = (last + 1).saturating_sub(self.config.audit_entries_max);
        if first < below {
            self.commit(vec![Change::ForgetAudit { below }], Then::Nothing);
        }
    }
}

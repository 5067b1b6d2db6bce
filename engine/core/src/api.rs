//! What the API may ask for: checks in the order that clients see, then the same paths that everything else takes.

use protocol::id::{ActorId, NamespaceId};
use protocol::limits::{ACTOR_INPUT_BYTES_MAX, ACTOR_KEY_BYTES_MAX, ACTOR_NAME_BYTES_MAX};
use protocol::message::StopReason;

use crate::action::Answer;
use crate::core::{Core, Then};
use crate::input::{CallId, Create, Import, KeyRef, Operation};
use crate::life::Life;
use crate::record::{After, Change, NamespaceRecord, Quotas};
use crate::refusal::Refusal;
use crate::requests::KeyWaiter;

/// An API call about one actor.
pub(crate) struct ActorCall {
    pub call: CallId,
    pub namespace: NamespaceId,
    pub operation: ActorOperation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ActorOperation {
    Destroy,
    Sleep,
    Reschedule,
    /// To run this version; none: what the others run.
    Pin(Option<u32>),
    /// Get or create found it.
    Get,
    /// Create found it.
    Create,
}

impl ActorOperation {
    /// Wants it to stop. Of one that is destroyed that is true already.
    pub fn stops(self) -> bool {
        matches!(self, ActorOperation::Destroy | ActorOperation::Sleep | ActorOperation::Reschedule)
    }
}

impl Core {
    pub(crate) fn call(&mut self, call: CallId, operation: Operation) {
        let result = match operation {
            Operation::CreateNamespace { random, name, display_name } => self.create_namespace(call, random, name, display_name),
            Operation::CreateActor { namespace, name, key, create } => self.call_create(call, namespace, name, key, create, false),
            Operation::GetOrCreateActor { namespace, name, key, create } => {
                self.call_create(call, namespace, name, Some(key), create, true)
            }
            Operation::StageImport { actor, entries, pages } => {
                self.commit(vec![Change::StageImport { actor, entries, pages }], Then::Reply(call, Answer::Done));
                Ok(())
            }
            Operation::DropImport { actor } => {
                self.commit(vec![Change::DropImport { actor }], Then::Reply(call, Answer::Done));
                Ok(())
            }
            Operation::ImportActor { namespace, name, key, import } => self.call_import(call, namespace, name, key, import),
            Operation::DestroyActor { namespace, actor } => self.call_actor(call, namespace, actor, ActorOperation::Destroy),
            Operation::SleepActor { namespace, actor } => self.call_actor(call, namespace, actor, ActorOperation::Sleep),
            Operation::RescheduleActor { namespace, actor } => self.call_actor(call, namespace, actor, ActorOperation::Reschedule),
            Operation::PinActor { namespace, actor, version } => {
                self.call_actor(call, namespace, actor, ActorOperation::Pin(version))
            }
            operation @ (Operation::LookAtComponent { .. }
            | Operation::Deploy { .. }
            | Operation::Activate { .. }
            | Operation::Configure { .. }
            | Operation::ShareCanary { .. }
            | Operation::Promote { .. }
            | Operation::RetryHeldBack { .. }
            | Operation::CountMoves { .. }) => self.call_about_deployment(call, operation),
            Operation::PutRunnerConfig { namespace, record } => self.put_runner_config(call, namespace, *record),
            Operation::DeleteRunnerConfig { namespace, pool } => self.delete_runner_config(call, namespace, pool),
            Operation::MintToken { namespace, record } => self.mint_token(call, namespace, *record),
            Operation::RevokeToken { id, within, namespace: _ } => self.revoke_token(call, id, within),
            Operation::TouchToken { id, used_ms } => {
                self.touch_token(call, &id, used_ms);
                Ok(())
            }
            Operation::Settle => {
                self.settle(call);
                Ok(())
            }
            Operation::DeleteNamespace { namespace } => self.delete_namespace(call, namespace),
            Operation::ShowQuotas { namespace } => self.show_quotas(call, &namespace),
            Operation::SetQuotas { namespace, quotas } => self.set_quotas(call, namespace, quotas),
            Operation::ListRunners { namespace } => self.list_runners(call, namespace),
        };
        if let Err(refusal) = result {
            self.reply(call, Err(refusal));
        }
    }

    fn settle(&mut self, call: CallId) {
        self.reply_when_durable(call, Answer::Done);
    }

    fn create_namespace(&mut self, call: CallId, random: [u8; 16], name: String, display_name: String) -> Result<(), Refusal> {
        check_namespace_name(&name)?;
        check_display_name(&display_name)?;
        if let Some(record) = self.namespaces.get(&name) {
            self.deleting(record.id)?;
            return Err(Refusal::NamespaceTaken { name });
        }
        let record = NamespaceRecord {
            id: self.new_id(random),
            name: name.clone(),
            display_name,
            create_ms: self.now_ms,
            quotas: Quotas::default(),
            delete_ms: None,
        };
        // Usable at once: whatever is done in it is committed after it.
        self.namespace_names.insert(record.id, name.clone());
        self.namespaces.insert(name, record.clone());
        self.commit(vec![Change::PutNamespace(record.clone())], Then::Reply(call, Answer::Namespace(Box::new(record))));
        Ok(())
    }

    fn call_create(
        &mut self,
        call: CallId,
        namespace: String,
        name: String,
        key: Option<String>,
        create: Create,
        get: bool,
    ) -> Result<(), Refusal> {
        let id = self.namespace(&namespace)?;
        self.check_create(&namespace, id, &name, key.as_deref(), &create)?;
        match key {
            Some(key) => {
                let key = KeyRef { namespace: id, name, key };
                self.want_key(key, KeyWaiter::Call { call, create: Box::new(create), get });
            }
            None => {
                self.check_actors_quota(id)?;
                self.create_actor(id, name, None, create, Some(call));
            }
        }
        Ok(())
    }

    fn call_import(
        &mut self,
        call: CallId,
        namespace: String,
        name: String,
        key: Option<String>,
        import: Box<Import>,
    ) -> Result<(), Refusal> {
        let id = self.namespace(&namespace)?;
        self.check_create(&namespace, id, &name, key.as_deref(), &import.create)?;
        match key {
            Some(key) => self.want_key(KeyRef { namespace: id, name, key }, KeyWaiter::Import { call, import }),
            None => {
                self.check_import_quotas(id, &import)?;
                self.import_actor(id, name, None, *import, call);
            }
        }
        Ok(())
    }

    /// What must hold to create an actor, checked even where there already is one.
    pub(crate) fn check_create(
        &self,
        namespace: &str,
        id: NamespaceId,
        name: &str,
        key: Option<&str>,
        create: &Create,
    ) -> Result<(), Refusal> {
        // First: nothing can be deployed under such a name, and the remedy for that would not help.
        if name.len() > ACTOR_NAME_BYTES_MAX {
            return Err(Refusal::NameTooLarge { bytes: name.len() });
        }
        if !self.is_placeable(id, name, &create.pool) {
            return Err(Refusal::NoRunnerConfig { namespace: namespace.to_string(), pool: create.pool.clone() });
        }
        match key {
            Some("") => return Err(Refusal::EmptyKey),
            Some(key) if key.len() > ACTOR_KEY_BYTES_MAX => return Err(Refusal::KeyTooLarge { key: key.to_string() }),
            _ => {}
        }
        match &create.input {
            Some(input) if input.len() > ACTOR_INPUT_BYTES_MAX => Err(Refusal::InputTooLarge { bytes: input.len() }),
            _ => Ok(()),
        }
    }

    /// The key is taken by this actor.
    pub(crate) fn answer_existing(&mut self, call: CallId, get: bool, key: &KeyRef, id: ActorId) {
        let operation = if get { ActorOperation::Get } else { ActorOperation::Create };
        self.operate_when_known(id, ActorCall { call, namespace: key.namespace, operation });
    }

    fn call_actor(&mut self, call: CallId, namespace: String, id: ActorId, operation: ActorOperation) -> Result<(), Refusal> {
        let namespace = self.namespace(&namespace)?;
        self.operate_when_known(id, ActorCall { call, namespace, operation });
        Ok(())
    }

    pub(crate) fn operate_when_known(&mut self, id: ActorId, call: ActorCall) {
        self.load(id);
        match self.actors.get_mut(&id) {
            Some(actor) if actor.life == Life::Loading => actor.calls.push(call),
            _ => self.operate(id, call),
        }
    }

    /// The actor is in memory and its record is known.
    pub(crate) fn operate(&mut self, id: ActorId, call: ActorCall) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.record.namespace != call.namespace {
            return self.reply(call.call, Err(Refusal::ActorNotFound));
        }
        let life = actor.life;
        match call.operation {
            operation if operation.stops() && life == Life::Gone => self.reply(call.call, Ok(Answer::Done)),
            // Answered when it is destroyed.
            ActorOperation::Destroy => {
                actor.calls.push(call);
                match life {
                    // A runner that its pool's URL brings along later hears that it is not wanted.
                    Life::Asleep | Life::Unplaced | Life::Crowded { .. } | Life::Pausing | Life::Calling => {
                        self.end(id, Vec::new());
                    }
                    Life::Starting { .. } | Life::Running { .. } => self.stop(id, StopReason::Destroy, After::Destroy),
                    Life::Stopping { .. } => self.change_after(id, After::Destroy),
                    Life::Loading | Life::Placing { .. } | Life::Ending | Life::Gone => {}
                }
            }
            _ if actor.is_ending() => self.reply(call.call, Err(Refusal::ActorDestroyedWhileWaiting { actor: id })),
            ActorOperation::Get => {
                let answer = Answer::Actor { record: Box::new(actor.record.clone()), created: false };
                match actor.commits_in_flight {
                    0 => self.reply(call.call, Ok(answer)),
                    // Its creation may be on its way to the disk: who is told of the actor must find it again after a crash.
                    _ => self.commit(Vec::new(), Then::Reply(call.call, answer)),
                }
            }
            ActorOperation::Create => {
                let key = actor.record.key.clone().unwrap_or_default();
                self.reply(call.call, Err(Refusal::DuplicateKey { key, existing: id }));
            }
            ActorOperation::Sleep => {
                // First, so that its entry in the audit log is on disk before anything that comes of it.
                self.reply(call.call, Ok(Answer::Done));
                if let Life::Running { .. } = life {
                    self.stop(id, StopReason::Sleep, After::Sleep);
                }
            }
            ActorOperation::Pin(version) => self.pin(id, call.call, version),
            ActorOperation::Reschedule => {
                self.reply(call.call, Ok(Answer::Done));
                match life {
                    Life::Running { .. } | Life::Starting { .. } => self.stop(id, StopReason::GoingAway, After::Start),
                    Life::Pausing => self.wake(id),
                    _ => {}
                }
            }
        }
    }
}

fn check_namespace_name(name: &str) -> Result<(), Refusal> {
    let reason = if name.is_empty() {
        "name too short"
    } else if name.len() > 64 {
        "name too long"
    } else if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        || name.starts_with('-')
        || name.ends_with('-')
        || name.contains("--")
    {
        "invalid name"
    } else {
        return Ok(());
    };
    Err(Refusal::NamespaceInvalid { reason })
}

fn check_display_name(name: &str) -> Result<(), Refusal> {
    let reason = if name.is_empty() {
        "display name too short"
    } else if name.len() > 128 {
        "display name too long"
    } else if name.trim() != name || name.contains("  ") || name.chars().any(|char| char.is_whitespace() && char != ' ') {
        "invalid display name"
    } else {
        return Ok(());
    };
    Err(Refusal::NamespaceInvalid { reason })
}

//! What is said about a check: values that become JSON, and nothing else.

use std::collections::BTreeMap;

use engine_core::record::ActorRecord;
use protocol::component::{ComponentInfo, Handler};
use serde::Serialize;
use utoipa::ToSchema;

use super::Wanted;
use super::link::{Attempts, Noted};
use crate::api::views::Granted;

/// What trying a version on some actors has shown.
#[derive(Serialize, ToSchema)]
pub struct Checked {
    namespace: String,
    name: String,
    /// The number that the version would have.
    version: u32,
    /// The one that is live; null if nothing is deployed.
    live_version: Option<u32>,
    component: String,
    bytes: u64,
    /// 0: it was compiled already.
    compile_ms: u64,
    #[schema(value_type = Vec<String>)]
    handlers: Vec<Handler>,
    imports: Vec<String>,
    settings: Granted,
    pub summary: Summary,
    actors: Vec<CheckedActor>,
}

#[derive(Serialize, ToSchema, Default)]
#[schema(as = CheckSummary)]
pub struct Summary {
    pub tried: usize,
    pub ok: usize,
    pub failed: usize,
    /// Time was up before.
    pub not_tried: usize,
    /// What the forks were asked, all together, and today's version too.
    pub calls: usize,
    /// Of these, how many it answers otherwise, or does something else to its state.
    pub differing: usize,
}

/// How it went with a fork of one actor.
#[derive(Serialize, ToSchema)]
pub struct CheckedActor {
    actor_id: String,
    key: Option<String>,
    /// The version that wrote its state; null: none.
    version: Option<u32>,
    /// The version that it is pinned to: it would stay there.
    pinned: Option<u32>,
    /// It ran, so that the version would come to it at once. What was tried is its last durable state.
    awake: bool,
    pub outcome: Outcome,
    /// Why, if it did not go well.
    pub message: Option<String>,
    pub changes: Changes,
    pub calls: Vec<Answered>,
    pub logs: Logs,
    /// Outgoing requests that it tried.
    pub outgoing: Attempts,
    /// Calls to other actors that it tried.
    pub actor_calls: Attempts,
    /// What it asked for: `sleep`, `destroy`.
    pub wishes: Vec<&'static str>,
    pub cpu_ms: f64,
    /// As it counts towards the limit of all guests.
    pub memory_bytes: usize,
    pub elapsed_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema, Debug)]
#[serde(rename_all = "snake_case")]
#[schema(as = CheckOutcome)]
pub enum Outcome {
    /// It started, answered what it was asked, and went to sleep.
    Ok,
    /// Its state could not be migrated: it would be held back.
    NotMigrated,
    NotStarted,
    /// It ran, and then ended by itself.
    Crashed,
    /// It was given up after a minute.
    TookTooLong,
    /// It wrote more than a fork may.
    WroteTooMuch,
}

/// What is different in a fork's state.
#[derive(Serialize, ToSchema, Default, Clone)]
#[schema(as = CheckChanges)]
pub struct Changes {
    pub kv: Entries,
    /// What the engine keeps for it: schedules, queued messages, connections.
    pub kept: Counted,
    pub tables: Vec<Table>,
    /// Null if it is as it was.
    pub alarm: Option<AlarmMoved>,
    /// What could not be compared, and why.
    pub unknown: Vec<String>,
}

#[derive(Serialize, ToSchema, Default, Clone)]
#[schema(as = CheckEntries)]
pub struct Entries {
    #[serde(flatten)]
    pub counted: Counted,
    /// The first keys that were added, changed and removed.
    pub keys: BTreeMap<&'static str, Vec<String>>,
    /// The same for the same keys and values.
    #[serde(skip)]
    pub digest: u64,
}

#[derive(Serialize, ToSchema, Default, Clone, Copy, PartialEq, Eq, Debug)]
#[schema(as = CheckCounts)]
pub struct Counted {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    /// There are more: not all were counted.
    pub more: bool,
}

/// A table, index, view or trigger of its database that is not as it was.
#[derive(Serialize, ToSchema, Default, Clone, PartialEq, Debug)]
#[schema(as = CheckTable)]
pub struct Table {
    pub kind: String,
    pub name: String,
    /// `created`, `dropped` or `altered`; null: its definition is as it was.
    pub definition: Option<&'static str>,
    /// Of a table.
    pub rows: Option<Counted>,
    /// The same for the same rows.
    #[serde(skip)]
    pub digest: u64,
}

#[derive(Serialize, ToSchema, Clone, Copy)]
#[schema(as = CheckAlarm)]
pub struct AlarmMoved {
    pub before_ts: Option<u64>,
    pub after_ts: Option<u64>,
}

/// What a fork answered.
#[derive(Serialize, ToSchema)]
#[schema(as = CheckCall)]
pub struct Answered {
    /// As it was asked.
    pub call: String,
    #[serde(flatten)]
    pub answer: Answer,
    pub elapsed_ms: u64,
    /// What it did to the state; null if that is not known.
    pub changes: Option<Changes>,
    /// What the version that the actor runs today answers, on a fork of its own; null if it runs none, or could not be asked.
    pub today: Option<Answer>,
    pub today_changes: Option<Changes>,
    /// In what the two are not alike: `status`, `answer`, `entries`, `database`, `alarm`, `kept`.
    pub differs: Vec<&'static str>,
    /// Of a request that was recorded.
    pub recorded: Option<Recorded>,
}

/// When it was made, and how it ended then.
#[derive(Serialize, ToSchema, Clone)]
#[schema(as = CheckRecorded)]
pub struct Recorded {
    pub ts: u64,
    /// The version that answered.
    pub version: u32,
    /// Null: it was not answered by the actor.
    pub status: Option<u16>,
    /// The group and code of the engine's answer.
    pub error: Option<String>,
    /// Whether it is answered with the same status and bytes now; null if that is not known.
    pub same: Option<bool>,
    pub today_same: Option<bool>,
    /// Why it was not made again.
    pub skipped: Option<String>,
}

#[derive(Serialize, ToSchema, Clone)]
#[schema(as = CheckAnswer)]
pub struct Answer {
    /// Null: there was no answer.
    pub status: Option<u16>,
    /// Its beginning.
    pub body: String,
    /// Of all of it, unless it was too long.
    #[serde(skip)]
    pub digest: Option<[u8; 32]>,
}

#[derive(Serialize, ToSchema, Default)]
#[schema(as = CheckLogs)]
pub struct Logs {
    pub count: usize,
    /// The newest.
    pub lines: Vec<LogEntry>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CheckLogLine)]
pub struct LogEntry {
    pub ts: u64,
    pub level: String,
    pub text: String,
}

impl Checked {
    pub fn new(wanted: &Wanted, info: &ComponentInfo, version: u32, live_version: Option<u32>, settings: Granted) -> Checked {
        Checked {
            namespace: wanted.namespace.name.clone(),
            name: wanted.name.clone(),
            version,
            live_version,
            component: wanted.component.to_string(),
            bytes: info.bytes,
            compile_ms: info.compile_ms,
            handlers: info.handlers.clone(),
            imports: info.imports.clone(),
            settings,
            summary: Summary::default(),
            actors: Vec::new(),
        }
    }

    pub fn add(&mut self, actor: CheckedActor) {
        self.summary.tried += 1;
        match actor.outcome {
            Outcome::Ok => self.summary.ok += 1,
            Outcome::NotMigrated | Outcome::NotStarted | Outcome::Crashed | Outcome::TookTooLong | Outcome::WroteTooMuch => {
                self.summary.failed += 1;
            }
        }
        self.summary.calls += actor.calls.iter().filter(|call| call.today.is_some() && !call.is_skipped()).count();
        self.summary.differing += actor.calls.iter().filter(|call| !call.differs.is_empty()).count();
        self.actors.push(actor);
    }
}

impl Answered {
    pub fn is_skipped(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.skipped.is_some())
    }
}

impl CheckedActor {
    pub fn new(record: &ActorRecord, outcome: Outcome, message: Option<String>, noted: Noted) -> CheckedActor {
        CheckedActor {
            actor_id: record.id.to_string(),
            key: record.key.clone(),
            version: record.state_version,
            pinned: record.pin,
            awake: record.connectable_ms.is_some(),
            outcome,
            message,
            changes: Changes::default(),
            calls: Vec::new(),
            logs: Logs::default(),
            outgoing: noted.outgoing,
            actor_calls: noted.calls,
            wishes: noted.wishes.into_iter().collect(),
            cpu_ms: 0.0,
            memory_bytes: 0,
            elapsed_ms: 0,
        }
    }
}

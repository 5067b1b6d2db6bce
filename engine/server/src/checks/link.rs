//! What is heard and held back between a fork's engine and its runner.
//!
//! The engine and the runner are the same as anywhere. How the fork starts and ends is heard on the way, and a call to another actor
//! goes no further: it is noted, and answered with an error that says why.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use protocol::limits::cut;
use protocol::link::{FromRunnerLink, ToRunnerLink};
use protocol::message::{Ask, CallError, CallTarget, Command, Event, FromRunner, Outcome, StartReason, ToRunner};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::engine::{Engine, OWN_RUNNER};
use crate::error::ApiError;
use crate::links::RunnerDoor;
use crate::lock::lock;

/// Of what a fork has tried to reach so many are told.
const FIRST_MAX: usize = 10;
const TO_BYTES_SHOWN: usize = 256;

/// How far a fork is.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    Starting,
    Running,
    Stopped(Outcome),
    /// It cannot go on: the component could not be loaded again, or the store has failed.
    Failed(String),
}

/// What was tried and refused.
#[derive(Clone, Default, Serialize, ToSchema)]
pub struct Attempts {
    pub count: u64,
    /// The first that were different.
    pub to: BTreeSet<String>,
}

pub struct Heard {
    pub stage: watch::Sender<Stage>,
    noted: Mutex<Noted>,
}

#[derive(Clone, Default)]
pub struct Noted {
    pub outgoing: Attempts,
    pub calls: Attempts,
    /// It asked to be put to sleep, or to be destroyed.
    pub wishes: BTreeSet<&'static str>,
    /// Why it ended by itself, the first time.
    crashed: Option<String>,
}

impl Attempts {
    /// It is the guest's text.
    fn add(&mut self, to: String) {
        self.count += 1;
        if self.to.len() < FIRST_MAX {
            self.to.insert(cut(to, TO_BYTES_SHOWN));
        }
    }
}

impl Default for Heard {
    fn default() -> Heard {
        Heard { stage: watch::Sender::new(Stage::Starting), noted: Mutex::default() }
    }
}

impl Heard {
    pub fn noted(&self) -> Noted {
        lock(&self.noted).clone()
    }

    pub fn crashed(&self) -> Option<String> {
        lock(&self.noted).crashed.clone()
    }

    pub fn outgoing(&self, to: &str) {
        lock(&self.noted).outgoing.add(to.to_string());
    }

    pub fn fail(&self, why: String) {
        self.stage.send_replace(Stage::Failed(why));
    }

    fn enter(&self, next: Stage) {
        if let Stage::Stopped(Outcome::Error(why)) = &next {
            let why = why.clone().unwrap_or_else(|| "it did not say why".to_string());
            lock(&self.noted).crashed.get_or_insert(why);
        }
        // What has failed goes no further.
        self.stage.send_if_modified(|stage| {
            let goes_on = !matches!(stage, Stage::Failed(_));
            if goes_on {
                *stage = next;
            }
            goes_on
        });
    }
}

/// The engine's end.
pub struct Door {
    pub door: RunnerDoor,
    pub engine: Arc<Engine>,
    pub heard: Arc<Heard>,
}

impl FromRunnerLink for Door {
    fn whole_body_bytes_max(&self) -> usize {
        self.door.whole_body_bytes_max()
    }

    fn send(&self, message: FromRunner) {
        let next = match &message {
            FromRunner::Event(_, Event::Running) => Some(Stage::Running),
            FromRunner::Event(_, Event::Stopped(outcome)) => Some(Stage::Stopped(outcome.clone())),
            FromRunner::Event(_, Event::SleepIntent) => {
                lock(&self.heard.noted).wishes.insert("sleep");
                None
            }
            FromRunner::Event(_, Event::StopIntent) => {
                lock(&self.heard.noted).wishes.insert("destroy");
                None
            }
            FromRunner::Prepared { result: Err(refusal), .. } => Some(Stage::Failed(refusal.message.clone())),
            FromRunner::CallActor { actor, generation, call, target, ask, .. } => {
                lock(&self.heard.noted).calls.add(named(target, ask));
                let result = Err(refused());
                let (actor, generation, call) = (*actor, *generation, *call);
                return self.engine.runners.send(OWN_RUNNER, ToRunner::CallAnswer { actor, generation, call, result });
            }
            _ => None,
        };
        self.door.send(message);
        if let Some(next) = next {
            self.heard.enter(next);
        }
    }
}

fn named(target: &CallTarget, ask: &Ask) -> String {
    let what = match ask {
        Ask::Action { name, .. } => format!("action {name}"),
        Ask::Push { queue, .. } => format!("queue {queue}"),
    };
    match target {
        CallTarget::Id(id) => format!("{what} of {id}"),
        CallTarget::Get { name, key } | CallTarget::GetOrCreate { name, key, .. } => {
            format!("{what} of {name}[{}]", key.join(", "))
        }
    }
}

fn refused() -> CallError {
    let message = "this is a check, and a fork calls no other actor; what comes after this call was not tried";
    ApiError::new("actor", "call_refused_in_check", message).into()
}

/// The runner's end: says why the fork starts, as the actor would be told.
pub struct Starts {
    pub runner: Arc<dyn ToRunnerLink>,
    pub reason: StartReason,
}

impl ToRunnerLink for Starts {
    fn send(&self, message: ToRunner) {
        self.runner.send(match message {
            ToRunner::Command(checkpoint, Command::Start(mut start)) => {
                if start.reason != StartReason::Created {
                    start.reason = self.reason;
                }
                ToRunner::Command(checkpoint, Command::Start(start))
            }
            other => other,
        });
    }
}

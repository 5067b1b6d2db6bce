//! Other actors of the same namespace, in whatever language.
//!
//! A call is not part of the transaction: what the other actor did stays done, even if this handler fails later.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::rivet::actor::actors;
use crate::{Error, failure};

/// Which actor.
#[derive(Clone, Debug)]
pub struct Target(actors::Target);

impl Target {
    pub fn id(id: impl Into<String>) -> Target {
        Target(actors::Target::Id(id.into()))
    }

    /// One that must be there.
    pub fn get(name: impl Into<String>, key: &[&str]) -> Target {
        Target(actors::Target::Get(actors::ActorKey { name: name.into(), key: parts(key) }))
    }

    /// Is created if it is not there.
    pub fn get_or_create(name: impl Into<String>, key: &[&str]) -> Target {
        Target(actors::Target::GetOrCreate(actors::Creation { name: name.into(), key: parts(key), input: None }))
    }

    /// What it is created with, if it is created.
    pub fn with_input(mut self, bytes: Vec<u8>) -> Target {
        if let actors::Target::GetOrCreate(creation) = &mut self.0 {
            creation.input = Some(bytes);
        }
        self
    }
}

fn parts(key: &[&str]) -> Vec<String> {
    key.iter().map(|part| part.to_string()).collect()
}

/// Why a call has no answer, as a RivetKit client would see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallError {
    /// `user` for the other actor's own failures, `actor` for what the engine says.
    pub group: String,
    pub code: String,
    pub message: String,
    pub metadata: Option<Value>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.group, self.code, self.message)
    }
}

impl std::error::Error for CallError {}

impl From<actors::CallError> for CallError {
    fn from(error: actors::CallError) -> CallError {
        let metadata = error.metadata.and_then(|metadata| serde_json::from_str(&metadata).ok());
        CallError { group: error.group, code: error.code, message: error.message, metadata }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        CallError { group: "actor".into(), code: "invalid_request".into(), message: format!("{error:?}"), metadata: None }
    }
}

/// Calls an action and waits for the answer, at most 60 s. The arguments are a tuple.
///
/// ```no_run
/// use rivet_actor::actors::{self, Target};
///
/// # fn example() -> Result<(), rivet_actor::Failure> {
/// let count: i64 = actors::call(&Target::get_or_create("counter", &["total"]), "increment", (5,))?;
/// # Ok(())
/// # }
/// ```
pub fn call<T: DeserializeOwned>(to: &Target, action: &str, args: impl Serialize) -> Result<T, CallError> {
    answer(actors::call(&to.0, action, &failure::encode_args(args)?, None)?)
}

/// [`call`] with a limit in time of its own.
pub fn call_within<T: DeserializeOwned>(to: &Target, action: &str, args: impl Serialize, timeout_ms: u32) -> Result<T, CallError> {
    answer(actors::call(&to.0, action, &failure::encode_args(args)?, Some(timeout_ms))?)
}

/// Puts a message into its queue; it is durable there when this returns.
pub fn push(to: &Target, queue: &str, body: impl Serialize) -> Result<(), CallError> {
    Ok(actors::push(&to.0, queue, &failure::encode(body)?)?)
}

fn answer<T: DeserializeOwned>(json: String) -> Result<T, CallError> {
    serde_json::from_str(&json).map_err(|error| CallError {
        group: "actor".into(),
        code: "unexpected_answer".into(),
        message: format!("the answer does not fit the type: {error}"),
        metadata: None,
    })
}

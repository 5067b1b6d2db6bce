//! What a handler refuses with.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::actors::CallError;
use crate::bindings::rivet::actor::types;
use crate::sql::SqlError;

/// An answer that says no. A RivetKit client gets it as an `ActorError` of group `user`, with this code and message.
///
/// What the handler wrote before is kept; a handler that wants it dropped panics.
///
/// ```
/// use rivet_actor::{Failure, json};
///
/// let failure = Failure::new("too_many", "at most 3 are allowed").with(json!({ "seen": 4 }));
/// assert_eq!(failure.to_string(), "too_many: at most 3 are allowed");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// For programs, such as `too_many`.
    pub code: String,
    /// For people.
    pub message: String,
    pub metadata: Option<Value>,
}

impl Failure {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), metadata: None }
    }

    /// The same with something for programs beside the code.
    pub fn with(self, metadata: Value) -> Failure {
        Failure { metadata: Some(metadata), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> types::Failure {
        let metadata = failure.metadata.map(|metadata| metadata.to_string());
        types::Failure { code: failure.code, message: failure.message, metadata }
    }
}

// So that `?` passes on what the host refused. The code says what it was.

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (code, text) = match error {
            Error::InvalidArgument(text) => ("invalid_argument", text),
            Error::TooLarge(text) => ("too_large", text),
            Error::QuotaExceeded(text) => ("quota_exceeded", text),
            Error::Other(text) => ("refused", text),
        };
        Failure::new(code, text)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::new(format!("sql_{}", error.code), error.message)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure { code: error.code, message: error.message, metadata: error.metadata }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::new("invalid_json", error.to_string())
    }
}

/// JSON text of something that is passed to the host.
pub(crate) fn encode(value: impl Serialize) -> Result<String, Error> {
    serde_json::to_string(&value).map_err(|error| Error::InvalidArgument(format!("it cannot be written as JSON: {error}")))
}

/// JSON text of arguments: a tuple, or anything else that is an array.
pub(crate) fn encode_args(args: impl Serialize) -> Result<String, Error> {
    let text = encode(args)?;
    // What `()` is in JSON.
    match text.as_str() {
        "null" => Ok("[]".into()),
        array if array.starts_with('[') => Ok(text),
        _ => Err(Error::InvalidArgument(format!("arguments are an array, such as the tuple (1, \"two\"), and not {text:.100}"))),
    }
}

//! What can be wrong with what a test asked for, one sentence each.

use std::fmt;

use serde_json::Value;

#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// The actor or the engine has refused it.
    Refused(Refused),
    /// Nothing is under way and there is no answer: it would come only with time, and time passes only by
    /// [`TestKit::advance`](crate::TestKit::advance).
    WaitsForTime,
    /// The engine could not be started, or its answer could not be understood.
    Broken(String),
}

/// As a client of RivetKit sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub status: u16,
    pub group: String,
    pub code: String,
    pub message: String,
    pub metadata: Value,
}

impl Error {
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused(refused) => Some(&refused.code),
            Error::WaitsForTime | Error::Broken(_) => None,
        }
    }

    pub(crate) fn broken(what: &str, cause: &dyn fmt::Display) -> Error {
        Error::Broken(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(Refused { status, group, code, message, .. }) => {
                write!(f, "{message} ({group}.{code}, status {status})")
            }
            Error::WaitsForTime => f.write_str("the answer would come only with time, which passes only by TestKit::advance"),
            Error::Broken(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

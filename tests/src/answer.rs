//! What came back: status, headers, the whole body, and the engine's way of saying what is wrong.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// As much of a body as a failure shows.
const SHOWN_BYTES_MAX: usize = 600;

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("JSON expected ({error}), seen: {self}"))
    }

    /// `group.code` of an error body; empty if it is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match (body["group"].as_str(), body["code"].as_str()) {
            (Some(group), Some(code)) => format!("{group}.{code}"),
            _ => String::new(),
        }
    }

    pub fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_string()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Panics unless the status is 200.
    #[track_caller]
    pub fn expect_ok(self, what: &str) -> Answer {
        assert_eq!(self.status, 200, "{what}: 200 expected, seen {self}");
        self
    }

    /// The number that is the whole body of a 200.
    #[track_caller]
    pub fn number(self, what: &str) -> u64 {
        let answer = self.expect_ok(what);
        answer.text().trim().parse().unwrap_or_else(|_| panic!("{what}: a number expected, seen {answer}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = String::from_utf8_lossy(&self.body[..self.body.len().min(SHOWN_BYTES_MAX)]).into_owned();
        write!(f, "status {} with {} bytes: {shown}", self.status, self.body.len())
    }
}

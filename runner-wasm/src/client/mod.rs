//! How RivetKit's clients speak with an actor: version 4 of their protocol, in its three encodings.
//!
//! Pure: bytes and text in, bytes and text out. A guest sees JSON text only, so everything is brought to that: `json` is passed on,
//! `cbor` is the same shapes in CBOR, and `bare` is structs whose values are CBOR. What JSON cannot say is an array of two whose
//! first is a tag, `["$BigInt", "5"]`, in JSON and CBOR alike. The npm client is the judge of all of it.
//!
//! Everything here may come from a hostile client, or from a hostile guest: depth, sizes and numbers are theirs.
//!
//! - [`json`]: JSON text, checked, copied, taken apart.
//! - [`cbor`]: from CBOR to JSON text and back.
//! - [`bare`]: the structs of the third encoding.
//! - [`call`]: actions, queued messages and errors over HTTP.
//! - [`connection`]: what goes over `/connect`, both ways.
//! - [`handshake`]: what a client says about itself when it asks: encoding and parameters.

pub mod bare;
pub mod call;
pub mod cbor;
pub mod connection;
pub mod handshake;
pub mod json;

use std::fmt;

use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};

/// The version that all of this is about.
pub const VERSION: u16 = 4;
/// How deep values may be nested: what serde_json takes, on both sides of a transformation.
pub const DEPTH_MAX: usize = 127;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Json,
    Cbor,
    Bare,
}

impl Encoding {
    /// As a client names it; one that does not, or names another, gets JSON.
    pub fn named(name: Option<&str>) -> Encoding {
        match name {
            Some("cbor") => Encoding::Cbor,
            Some("bare") => Encoding::Bare,
            _ => Encoding::Json,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Cbor | Encoding::Bare => "application/octet-stream",
        }
    }

    /// Whether it travels in the binary frames of a WebSocket.
    pub fn is_binary(self) -> bool {
        self != Encoding::Json
    }
}

/// Why something cannot be read or written; the text says what and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Broken {
    Malformed(String),
    TooLong(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Malformed(text) | Broken::TooLong(text) => f.write_str(text),
        }
    }
}

/// What a client is refused with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientError {
    pub group: String,
    pub code: String,
    pub message: String,
    /// JSON text.
    pub metadata: Option<String>,
}

/// The actor that an error is about; clients show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Speaker {
    pub id: String,
    pub generation: u32,
    pub key: Option<String>,
}

impl ClientError {
    pub fn new(group: &str, code: &str, message: String) -> ClientError {
        let message = cut(message, FAILURE_TEXT_BYTES_MAX);
        ClientError { group: group.to_string(), code: code.to_string(), message, metadata: None }
    }

    /// What a client sent cannot be understood.
    pub fn of(broken: Broken) -> ClientError {
        match broken {
            Broken::Malformed(text) => ClientError::new("actor", "invalid_request", text),
            Broken::TooLong(text) => ClientError::new("message", "incoming_too_long", text),
        }
    }

    pub fn incoming_too_long(bytes: usize, max: usize) -> ClientError {
        let message = format!("the message has {bytes} bytes, this actor takes at most {max}");
        ClientError::new("message", "incoming_too_long", message)
    }

    pub fn outgoing_too_long(bytes: usize, max: usize) -> ClientError {
        ClientError::new("message", "outgoing_too_long", format!("the answer has {bytes} bytes, at most {max} are sent"))
    }

    pub fn action_not_found(name: &str) -> ClientError {
        ClientError::new("actor", "action_not_found", format!("Action `{}` was not found.", cut(name.to_string(), 256)))
    }

    pub fn action_timed_out(name: &str, limit_ms: u64) -> ClientError {
        let name = cut(name.to_string(), 256);
        ClientError::new("actor", "action_timed_out", format!("Action `{name}` did not return within {limit_ms} ms."))
    }

    /// The status over HTTP: the one that RivetKit's own actors answer with.
    pub fn status(&self) -> u16 {
        match (&self.group[..], &self.code[..]) {
            ("auth", "forbidden") => 403,
            ("actor", "not_found" | "action_not_found") => 404,
            ("actor", "method_not_allowed") => 405,
            ("actor", "action_timed_out") => 408,
            ("actor", "invalid_request") | ("message", "incoming_too_long" | "outgoing_too_long") | ("queue", _) => 400,
            _ => 500,
        }
    }
}

#[cfg(test)]
mod tests;

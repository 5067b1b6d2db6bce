//! What an actor asks, as a RivetKit client would put it, and what the answer means. Pure.
//!
//! JSON goes through as it is: it is looked at, so that nobody can say with it what was not asked, and never written anew.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Ask, CallError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::CALL_BYTES_MAX;
use crate::error::ApiError;

/// All that has no meaning of its own in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The path and the body to send.
pub fn request(ask: &Ask) -> Result<(String, Bytes), ApiError> {
    let (path, name, field, json) = match ask {
        Ask::Action { name, args } => ("action", name, "args", args),
        Ask::Push { queue, body } => ("queue", queue, "body", body),
    };
    if json.len() > CALL_BYTES_MAX {
        let message = format!("the call has {} bytes of JSON, and may have {CALL_BYTES_MAX}; divide it among several", json.len());
        return Err(ApiError::new("actor", "request_too_large", message));
    }
    serde_json::from_str::<&RawValue>(json).map_err(|error| ApiError::bad_request(format!("{field} is no JSON: {error}")))?;
    let path = format!("/{path}/{}", utf8_percent_encode(name, SEGMENT));
    Ok((path, format!("{{\"{field}\":{json}}}").into()))
}

/// JSON text.
pub fn answer(ask: &Ask, status: StatusCode, body: &[u8]) -> Result<String, CallError> {
    if status != StatusCode::OK {
        let Ok(Failure { group, code, message, metadata }) = serde_json::from_slice::<Failure>(body) else {
            let shown = cut(String::from_utf8_lossy(body).into_owned(), FAILURE_TEXT_BYTES_MAX);
            return Err(invalid_answer(&format!("it has status {status} and is no error of RivetKit: {shown}")).into());
        };
        let metadata = metadata.map(|value| value.get().to_string());
        return Err(CallError { group: group.into(), code: code.into(), message: message.into(), metadata });
    }
    match ask {
        Ask::Push { .. } => Ok("null".to_string()),
        Ask::Action { .. } => match serde_json::from_slice::<Output>(body) {
            Ok(Output { output }) => Ok(output.map_or_else(|| "null".to_string(), |output| output.get().to_string())),
            Err(error) => Err(invalid_answer(&format!("it is not the JSON of an action's answer: {error}")).into()),
        },
    }
}

pub fn invalid_answer(why: &str) -> ApiError {
    ApiError::new("actor", "invalid_response", format!("the answer of the actor that was called cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(name: &str, args: &str) -> Ask {
        Ask::Action { name: name.to_string(), args: args.to_string() }
    }

    fn push(queue: &str, body: &str) -> Ask {
        Ask::Push { queue: queue.to_string(), body: body.to_string() }
    }

    #[test]
    fn what_is_sent() {
        let rows = [
            (action("add", "[1, 2.50]"), r#"/action/add {"args":[1, 2.50]}"#),
            (action("a b/ü?#%..", "[]"), r#"/action/a%20b%2F%C3%BC%3F%23%25.. {"args":[]}"#),
            (push("mail", r#"{"to":1e400}"#), r#"/queue/mail {"body":{"to":1e400}}"#),
            (action("x", ""), "api.bad_request"),
            (action("x", "[1"), "api.bad_request"),
            (action("x", r#"[],"args":[1]"#), "api.bad_request"),
            (action("x", "[]} {"), "api.bad_request"),
            (push("x", &"1".repeat(CALL_BYTES_MAX + 1)), "actor.request_too_large"),
        ];
        for (ask, expected) in rows {
            let sent = match request(&ask) {
                Ok((path, body)) => format!("{path} {}", String::from_utf8_lossy(&body)),
                Err(error) => format!("{}.{}", error.group, error.code),
            };
            assert_eq!(sent, expected, "{ask:?}");
        }
        assert!(request(&push("x", &"1".repeat(CALL_BYTES_MAX))).is_ok());
    }

    #[test]
    fn what_comes_back() {
        let unusable = "actor.invalid_response the answer of the actor that was called cannot be used";
        let rows: [(Ask, u16, &[u8], &str); 14] = [
            (action("x", "[]"), 200, br#"{"output": {"a" : 1.0}}"#, r#"{"a" : 1.0}"#),
            (action("x", "[]"), 200, br#"{"output":["$BigInt","1"],"more":2}"#, r#"["$BigInt","1"]"#),
            (action("x", "[]"), 200, br#"{"output":null}"#, "null"),
            (action("x", "[]"), 200, b"{}", "null"),
            (action("x", "[]"), 200, b"", unusable),
            (action("x", "[]"), 200, b"7", unusable),
            (action("x", "[]"), 200, b"{\"output\":\xff}", unusable),
            (action("x", "[]"), 204, b"", unusable),
            (action("x", "[]"), 404, b"not here", unusable),
            (action("x", "[]"), 500, br#"{"group":"user","code":"full","message":"no \"room\""}"#, "user.full no \"room\""),
            (
                action("x", "[]"),
                400,
                br#"{"group":"g","code":"c","message":"m","metadata":{"a":[1]},"actor":{}}"#,
                r#"g.c m {"a":[1]}"#,
            ),
            (action("x", "[]"), 400, br#"{"group":"g","code":"c","message":7}"#, unusable),
            (push("q", "1"), 200, br#"{"status":"completed","response":7}"#, "null"),
            (push("q", "1"), 400, br#"{"group":"queue","code":"full","message":"m","metadata":null}"#, "queue.full m"),
        ];
        for (ask, status, body, expected) in rows {
            let status = StatusCode::from_u16(status).expect("a status");
            let said = answer(&ask, status, body).unwrap_or_else(|CallError { group, code, message, metadata }| {
                format!("{group}.{code} {message} {}", metadata.unwrap_or_default()).trim_end().to_string()
            });
            let fits = if expected == unusable { said.starts_with(unusable) } else { said == expected };
            assert!(fits, "{ask:?} {status} {}: {said}", String::from_utf8_lossy(body));
        }
    }
}

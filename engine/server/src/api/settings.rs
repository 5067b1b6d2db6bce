//! A deployment's settings as they are put: JSON in a body or a header, read by hand so that no sentence about what is wrong with
//! them repeats a secret.

use std::collections::BTreeMap;

use engine_core::record::Share;
use engine_core::refusal::Refusal;
use engine_core::settings::{LimitName, SettingsPatch};
use http::HeaderMap;
use protocol::component::Settings;
use protocol::limits::cut;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::extract::Query;
use crate::error::ApiError;

pub const SETTINGS_HEADER: &str = "x-rivet-settings";
/// Of a name that is wrong so much is repeated.
const NAME_BYTES_SHOWN: usize = 64;

/// What is to be different. What is not named stays as it is, and null takes away.
#[derive(ToSchema)]
#[schema(as = SettingsBody)]
#[allow(dead_code)] // Only described: see `read`.
pub struct SettingsBody {
    config: Option<BTreeMap<String, Option<String>>>,
    secrets: Option<BTreeMap<String, Option<String>>>,
    /// The whole list.
    outbound: Option<Vec<String>>,
    /// `cpu_ms`, `memory_bytes`, `message_bytes`, `mailbox`, `sockets`, `action_ms`, `storage_bytes`, `awake`
    limits: Option<BTreeMap<String, Option<u64>>>,
    /// How many requests of each actor are recorded: 0 to 100; null: as many as the engine does by itself
    record_requests: Option<u64>,
}

pub fn share(query: &Query) -> Result<Option<Share>, ApiError> {
    query.one("canary")?.map(str::parse).transpose().map_err(ApiError::bad_request)
}

pub fn of_header(headers: &HeaderMap) -> Result<SettingsPatch, ApiError> {
    let mut values = headers.get_all(SETTINGS_HEADER).iter();
    let Some(value) = values.next() else { return Ok(SettingsPatch::default()) };
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("the header {SETTINGS_HEADER} is given more than once; give it once")));
    }
    // Where, and not what: it may be a secret.
    let value = serde_json::from_slice(value.as_bytes()).map_err(|error| {
        ApiError::bad_request(format!("the header {SETTINGS_HEADER} is not JSON on one line, at character {}", error.column()))
    })?;
    read(&value)
}

/// Also checked as far as it can be without what it is to change.
pub fn read(value: &Value) -> Result<SettingsPatch, ApiError> {
    let read = patch(value).and_then(|patch| patch.apply(&Settings::default()).map(|_| patch));
    read.map_err(|reason| Refusal::SettingsInvalid { reason }.into())
}

fn patch(value: &Value) -> Result<SettingsPatch, String> {
    let mut patch = SettingsPatch::default();
    for (name, value) in object("the settings", value)? {
        match name.as_str() {
            "config" => patch.config = texts(name, value)?,
            "secrets" => patch.secrets = texts(name, value)?,
            "outbound" => patch.outbound = Some(hosts(value)?),
            "limits" => patch.limits = limits(value)?,
            "record_requests" => patch.record_requests = Some(count(name, value)?),
            other => {
                let known = "config, secrets, outbound, limits and record_requests";
                return Err(format!("the settings know no {}; known are {known}", shown(other)));
            }
        }
    }
    Ok(patch)
}

fn object<'a>(what: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{what} must be an object, {{\"name\": value}}, and {} is given", kind(value)))
}

fn texts(of: &str, value: &Value) -> Result<BTreeMap<String, Option<String>>, String> {
    let one = |(name, value): (&String, &Value)| match value {
        Value::Null => Ok((name.clone(), None)),
        Value::String(text) => Ok((name.clone(), Some(text.clone()))),
        other => Err(format!("{} in {of} must be a text, or null to take it away, and {} is given", shown(name), kind(other))),
    };
    object(of, value)?.iter().map(one).collect()
}

fn hosts(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| format!("outbound must be a list of hosts, and {} is given", kind(value)))?;
    let one = |host: &Value| match host.as_str() {
        Some(host) => Ok(host.to_string()),
        None => Err(format!("a host in outbound must be a text, and {} is given", kind(host))),
    };
    list.iter().map(one).collect()
}

fn limits(value: &Value) -> Result<BTreeMap<LimitName, Option<u64>>, String> {
    let one = |(name, value): (&String, &Value)| {
        let Some(limit) = LimitName::ALL.into_iter().find(|limit| limit.to_string() == *name) else {
            let known = LimitName::ALL.map(|limit| limit.to_string()).join(", ");
            return Err(format!("there is no limit {}; known are {known}", shown(name)));
        };
        match (value, value.as_u64()) {
            (Value::Null, _) => Ok((limit, None)),
            (_, Some(number)) => Ok((limit, Some(number))),
            _ => {
                Err(format!("the limit {limit} must be a whole number, or null for the runner's own, and {} is given", kind(value)))
            }
        }
    };
    object("limits", value)?.iter().map(one).collect()
}

fn count(name: &str, value: &Value) -> Result<Option<u64>, String> {
    match (value, value.as_u64()) {
        (Value::Null, _) => Ok(None),
        (_, Some(number)) => Ok(Some(number)),
        _ => Err(format!("{name} must be a whole number, or null for the engine's own, and {} is given", kind(value))),
    }
}

fn shown(name: &str) -> String {
    format!("{:?}", cut(name.to_string(), NAME_BYTES_SHOWN))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_u64() => "a whole number",
        Value::Number(_) => "another number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_any_secret() {
        let rows = [
            (json!(null), "the settings must be an object"),
            (json!("hush"), "the settings must be an object"),
            (json!({ "confg": {} }), "know no \"confg\"; known are config, secrets, outbound, limits and record_requests"),
            (json!({ "config": ["hush"] }), "config must be an object"),
            (
                json!({ "config": { "A": 1 } }),
                "\"A\" in config must be a text, or null to take it away, and a whole number is given",
            ),
            (json!({ "secrets": { "S": ["hush"] } }), "\"S\" in secrets must be a text"),
            (json!({ "secrets": "hush" }), "secrets must be an object"),
            (json!({ "secrets": { "a b": "hush" } }), "\"a b\" in secrets has other characters"),
            (json!({ "config": { "S": "x" }, "secrets": { "S": "hush" } }), "\"S\" is in config and in secrets"),
            (json!({ "outbound": "a" }), "outbound must be a list of hosts, and a text is given"),
            (json!({ "outbound": [1] }), "a host in outbound must be a text"),
            (json!({ "outbound": ["http://a"] }), "leave out http:// and paths"),
            (
                json!({ "limits": { "cpu": 1 } }),
                "there is no limit \"cpu\"; known are cpu_ms, memory_bytes, message_bytes, mailbox, sockets, action_ms, storage_bytes, awake",
            ),
            (json!({ "limits": { "cpu_ms": "1" } }), "cpu_ms must be a whole number, or null for the runner's own, and a text"),
            (json!({ "limits": { "cpu_ms": 1.5 } }), "another number is given"),
            (json!({ "limits": { "cpu_ms": -1 } }), "another number is given"),
            (json!({ "limits": { "mailbox": 0 } }), "mailbox is 0"),
            (json!({ "limits": [] }), "limits must be an object"),
            (json!({ "record_requests": "5" }), "record_requests must be a whole number, or null for the engine's own, and a text"),
            (json!({ "record_requests": 101 }), "record_requests is 101; 0 to 100"),
            (json!({ "secrets": { "S": "hush".repeat(20_000) } }), "80001 bytes in all; at most 65536"),
        ];
        for (value, sentence) in rows {
            let error = read(&value).expect_err("it is refused");
            assert!(error.message.contains(sentence), "{sentence:?} expected, seen {:?}", error.message);
            assert!(error.code == "settings_invalid" && !error.message.contains("hush"), "{error:?}");
        }
        for header in ["", "{", "{\"secrets\":{\"S\":\"hush}", "hush"] {
            let headers = HeaderMap::from_iter([(SETTINGS_HEADER.parse().expect("a name"), HeaderValue::from_static(header))]);
            let error = of_header(&headers).expect_err("it is refused");
            assert!(error.message.contains("is not JSON on one line") && !error.message.contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn what_is_said_is_read() {
        let value = json!({ "config": { "A": "1", "B": null }, "outbound": [], "limits": { "sockets": 7, "cpu_ms": null } });
        let expected = SettingsPatch {
            config: BTreeMap::from([("A".to_string(), Some("1".to_string())), ("B".to_string(), None)]),
            outbound: Some(Vec::new()),
            limits: BTreeMap::from([(LimitName::Sockets, Some(7)), (LimitName::CpuMs, None)]),
            ..SettingsPatch::default()
        };
        assert_eq!(read(&value), Ok(expected));
        assert_eq!(read(&json!({})), Ok(SettingsPatch::default()));
        for (value, expected) in [(json!(20), Some(20)), (json!(0), Some(0)), (json!(null), None)] {
            let patch = SettingsPatch { record_requests: Some(expected), ..SettingsPatch::default() };
            assert_eq!(read(&json!({ "record_requests": value })), Ok(patch));
        }
        assert_eq!(of_header(&HeaderMap::new()), Ok(SettingsPatch::default()));
    }
}

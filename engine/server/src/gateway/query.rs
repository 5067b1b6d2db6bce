//! Reads a gateway address that names an actor by its key: `/gateway/{name}/{rest}?rvt-namespace=…&rvt-method=…`.
//!
//! Everything that begins with `rvt-` is for the engine and never reaches the actor; the other pairs reach it byte for byte.
//! Pure: text in, text out. Creating and finding actors is the core's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use engine_core::record::CrashPolicy;
use protocol::key;
use serde_json::json;

use crate::engine::DATACENTER;
use crate::error::ApiError;
use crate::form;
use crate::gateway::route::{Brought, Wanted};

const PREFIX: &str = "rvt-";
/// Arrays and maps inside each other in an input.
const CBOR_DEPTH_MAX: usize = 128;

/// What a client asks for if there is no actor yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateWanted {
    pub pool: String,
    pub crash_policy: CrashPolicy,
    pub input: Option<Bytes>,
}

pub fn is_present(query: &str) -> bool {
    form::pairs(query).any(|(key, _)| key.starts_with(PREFIX))
}

/// Appends what the actor sees of the query, with its `?`, or nothing.
pub fn append_stripped(path: &mut String, query: &str) {
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with(PREFIX)) {
        path.push(separator);
        path.push_str(pair);
        separator = '&';
    }
}

/// What such an address says.
#[derive(Debug)]
pub struct Address {
    pub wanted: Wanted,
    pub skip_ready_wait: bool,
    pub token: Option<Brought>,
}

/// `name` is the path's segment as it was sent.
pub fn parse(name: &str, query: &str) -> Result<Address, ApiError> {
    let params = Params::read(query)?;
    if name.contains('@') {
        let message = "a gateway address by key takes its token from rvt-token, not from @token in the path";
        return Err(ApiError::new("guard", "query_path_token_syntax", message));
    }
    let name = form::decode_percent(name).map_err(|_| invalid_encoding("name"))?;
    if name.is_empty() {
        return Err(ApiError::new("guard", "query_empty_actor_name", "the path names no actor: /gateway/{name}/… is expected"));
    }
    let namespace = params.namespace.ok_or_else(|| missing("rvt-namespace"))?;
    let method = params.method.ok_or_else(|| missing("rvt-method"))?;
    let skip_ready_wait = match &params.skip_ready_wait {
        None => false,
        Some(skip) => {
            parse_flag(skip).ok_or_else(|| invalid(format!("rvt-skip-ready-wait is {skip:?}; true, 1, false or 0 is expected")))?
        }
    };
    let token = params.token.map(Brought);
    let create = match &method[..] {
        "get" => {
            if params.input.is_some() || params.region.is_some() || params.crash_policy.is_some() || params.runner.is_some() {
                let message =
                    "rvt-method=get finds and never creates: leave out rvt-input, rvt-region, rvt-crash-policy and rvt-runner";
                return Err(ApiError::new("guard", "query_get_disallowed_params", message));
            }
            None
        }
        "getOrCreate" => {
            let pool = params.pool.or(params.runner).ok_or_else(|| {
                ApiError::new(
                    "guard",
                    "query_missing_pool",
                    "rvt-method=getOrCreate needs rvt-pool, the pool to create the actor in",
                )
            })?;
            let input = params.input.as_deref().map(parse_input).transpose()?;
            let crash_policy = params.crash_policy.as_deref().map_or(Ok(CrashPolicy::default()), parse_crash_policy)?;
            if let Some(region) = params.region.filter(|region| region != DATACENTER) {
                return Err(ApiError::datacenter_not_found(&region));
            }
            Some(CreateWanted { pool, crash_policy, input })
        }
        other => return Err(invalid(format!("rvt-method is {other:?}; get or getOrCreate is expected"))),
    };
    let key = join_key(params.key.as_deref().unwrap_or_default());
    Ok(Address { wanted: Wanted::Key { namespace, name: name.into_owned(), key, create }, skip_ready_wait, token })
}

/// `true` or `1`, `false` or `0`.
pub fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

#[derive(Default)]
struct Params {
    namespace: Option<String>,
    method: Option<String>,
    key: Option<String>,
    pool: Option<String>,
    runner: Option<String>,
    input: Option<String>,
    region: Option<String>,
    crash_policy: Option<String>,
    token: Option<String>,
    skip_ready_wait: Option<String>,
}

impl Params {
    fn read(query: &str) -> Result<Params, ApiError> {
        let mut params = Params::default();
        let mut unknown = None;
        for (key, value) in form::pairs(query) {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let value = form::decode(value).map_err(|_| invalid_encoding(key))?;
            let slot = match name {
                "namespace" => &mut params.namespace,
                "method" => &mut params.method,
                "key" => &mut params.key,
                "pool" => &mut params.pool,
                "runner" => &mut params.runner,
                "input" => &mut params.input,
                "region" => &mut params.region,
                "crash-policy" => &mut params.crash_policy,
                "token" => &mut params.token,
                "skip-ready-wait" => &mut params.skip_ready_wait,
                _ => {
                    unknown.get_or_insert(key);
                    continue;
                }
            };
            if slot.is_some() {
                return Err(ApiError::new("guard", "query_duplicate_param", format!("{key} is given twice; give it once"))
                    .with(json!({ "name": key })));
            }
            *slot = Some(value.into_owned());
        }
        match unknown {
            Some(key) => Err(invalid(format!(
                "{key} is not known; rvt-namespace, rvt-method, rvt-key, rvt-pool, rvt-runner, rvt-input, rvt-region, \
                 rvt-crash-policy, rvt-token and rvt-skip-ready-wait are"
            ))),
            None => Ok(params),
        }
    }
}

/// Parts between commas; no text at all is no parts.
fn join_key(text: &str) -> String {
    match text {
        "" => key::join::<&str>(&[]),
        text => key::join(&text.split(',').collect::<Vec<_>>()),
    }
}

fn parse_crash_policy(text: &str) -> Result<CrashPolicy, ApiError> {
    match text {
        "restart" => Ok(CrashPolicy::Restart),
        "sleep" => Ok(CrashPolicy::Sleep),
        "destroy" => Ok(CrashPolicy::Destroy),
        other => Err(invalid(format!("rvt-crash-policy is {other:?}; restart, sleep or destroy is expected"))),
    }
}

fn parse_input(text: &str) -> Result<Bytes, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let message = format!("rvt-input is not base64url without padding: {error}");
        ApiError::new("guard", "query_invalid_base64_input", message)
    })?;
    let mut rest = &bytes[..];
    let detail = match ciborium::de::from_reader_with_recursion_limit::<ciborium::Value, _>(&mut rest, CBOR_DEPTH_MAX) {
        Ok(_) if rest.is_empty() => return Ok(bytes.into()),
        Ok(_) => format!("{} bytes follow after the value", rest.len()),
        Err(error) => error.to_string(),
    };
    Err(ApiError::new("guard", "query_invalid_cbor_input", format!("rvt-input is not one CBOR value: {detail}"))
        .with(json!({ "detail": detail })))
}

fn missing(name: &str) -> ApiError {
    invalid(format!("{name} is missing"))
}

fn invalid(detail: String) -> ApiError {
    ApiError::new("guard", "query_invalid_params", format!("the rvt- parameters cannot be understood: {detail}"))
        .with(json!({ "detail": detail }))
}

fn invalid_encoding(name: &str) -> ApiError {
    ApiError::new("guard", "query_invalid_percent_encoding", format!("{name} is not UTF-8 once its percent signs are decoded"))
        .with(json!({ "name": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "rvt-namespace=default&rvt-method=get";
    const CREATE: &str = "rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=p";

    fn key_of(query: &str) -> String {
        match parse("lobby", query).map(|address| address.wanted) {
            Ok(Wanted::Key { key, .. }) => key,
            other => panic!("{query}: {other:?}"),
        }
    }

    fn code_of(name: &str, query: &str) -> &'static str {
        match parse(name, query) {
            Err(error) => error.code,
            Ok(wanted) => panic!("{name} {query}: {wanted:?}"),
        }
    }

    #[test]
    fn keys() {
        let rows = [
            ("", "/"),
            ("&rvt-key=", "/"),
            ("&rvt-key=a", "a"),
            ("&rvt-key=a,b,c", "a/b/c"),
            ("&rvt-key=region-west%2F1,shard-2,alpha%40beta", "region-west\\/1/shard-2/alpha@beta"),
            ("&rvt-key=hello+world%20x", "hello world x"),
            // Decoded before it is split: a comma cannot be inside a part.
            ("&rvt-key=a%2Cb", "a/b"),
            ("&rvt-key=,", "\\0/\\0"),
            ("&rvt-key=a%5Cb", "a\\\\b"),
        ];
        for (more, key) in rows {
            assert_eq!(key_of(&format!("{OK}{more}")), key, "{more}");
        }
    }

    #[test]
    fn get_or_create() {
        let created = |query: &str| match parse("worker", query).map(|address| address.wanted) {
            Ok(Wanted::Key { create: Some(create), .. }) => create,
            other => panic!("{query}: {other:?}"),
        };
        let plain = CreateWanted { pool: "p".to_string(), crash_policy: CrashPolicy::Sleep, input: None };
        assert_eq!(created(CREATE), plain);
        assert_eq!(created("rvt-namespace=n&rvt-method=getOrCreate&rvt-runner=p"), plain);
        assert_eq!(created(&format!("{CREATE}&rvt-runner=r&rvt-region=default&rvt-token=t&rvt-skip-ready-wait=1")), plain);
        assert_eq!(created(&format!("{CREATE}&rvt-crash-policy=restart")).crash_policy, CrashPolicy::Restart);
        assert_eq!(created(&format!("{CREATE}&rvt-crash-policy=destroy")).crash_policy, CrashPolicy::Destroy);
        // {"count": 2} in CBOR.
        let input = URL_SAFE_NO_PAD.encode([0xa1, 0x65, b'c', b'o', b'u', b'n', b't', 0x02]);
        assert_eq!(created(&format!("{CREATE}&rvt-input={input}")).input.map(|input| input.len()), Some(8));
    }

    #[test]
    fn tokens_and_waiting() {
        let rows = [
            ("", false, false),
            ("&rvt-token=t", false, true),
            ("&rvt-token=", false, true),
            ("&rvt-skip-ready-wait=true", true, false),
            ("&rvt-skip-ready-wait=1&rvt-token=t", true, true),
            ("&rvt-skip-ready-wait=false", false, false),
            ("&rvt-skip-ready-wait=0", false, false),
        ];
        for (more, skip_ready_wait, has_token) in rows {
            let address = parse("lobby", &format!("{OK}{more}")).expect("it is an address");
            assert_eq!((address.skip_ready_wait, address.token.is_some()), (skip_ready_wait, has_token), "{more}");
        }
    }

    #[test]
    fn names() {
        let named = |raw: &str| match parse(raw, OK).map(|address| address.wanted) {
            Ok(Wanted::Key { name, namespace, create: None, .. }) => (namespace, name),
            other => panic!("{raw}: {other:?}"),
        };
        assert_eq!(named("lobby"), ("default".to_string(), "lobby".to_string()));
        assert_eq!(named("a%2Fb%20c").1, "a/b c");
        assert_eq!(named("a%40b").1, "a@b");
        assert_eq!(named("a+b").1, "a+b");
    }

    #[test]
    fn every_rejection() {
        let text = |number: usize| format!("{CREATE}&rvt-input={}", URL_SAFE_NO_PAD.encode(vec![0x81u8; number]));
        let rows = [
            ("lobby@token", OK.to_string(), "query_path_token_syntax"),
            ("", OK.to_string(), "query_empty_actor_name"),
            ("%ff", OK.to_string(), "query_invalid_percent_encoding"),
            ("x", format!("{OK}&rvt-key=%ff"), "query_invalid_percent_encoding"),
            ("x", format!("{OK}&rvt-unknown=1"), "query_invalid_params"),
            ("x", format!("{OK}&rvt-=1"), "query_invalid_params"),
            ("x", format!("{OK}&rvt-method=get"), "query_duplicate_param"),
            ("x", format!("{OK}&rvt-key=a&rvt-key=b"), "query_duplicate_param"),
            ("x", "rvt-method=get".to_string(), "query_invalid_params"),
            ("x", "rvt-namespace=default".to_string(), "query_invalid_params"),
            ("x", "rvt-namespace=default&rvt-method=create".to_string(), "query_invalid_params"),
            ("x", "rvt-namespace=default&rvt-method=GET".to_string(), "query_invalid_params"),
            ("x", format!("{CREATE}&rvt-crash-policy=panic"), "query_invalid_params"),
            ("x", format!("{OK}&rvt-skip-ready-wait=yes"), "query_invalid_params"),
            ("x", format!("{OK}&rvt-skip-ready-wait="), "query_invalid_params"),
            ("x", format!("{OK}&rvt-input=oA"), "query_get_disallowed_params"),
            ("x", format!("{OK}&rvt-region=default"), "query_get_disallowed_params"),
            ("x", format!("{OK}&rvt-crash-policy=sleep"), "query_get_disallowed_params"),
            ("x", format!("{OK}&rvt-runner=p"), "query_get_disallowed_params"),
            ("x", "rvt-namespace=default&rvt-method=getOrCreate".to_string(), "query_missing_pool"),
            ("x", format!("{CREATE}&rvt-input=*"), "query_invalid_base64_input"),
            ("x", format!("{CREATE}&rvt-input=oA=="), "query_invalid_base64_input"),
            ("x", format!("{CREATE}&rvt-input="), "query_invalid_cbor_input"),
            ("x", format!("{CREATE}&rvt-input={}", URL_SAFE_NO_PAD.encode("foo")), "query_invalid_cbor_input"),
            ("x", format!("{CREATE}&rvt-input={}", URL_SAFE_NO_PAD.encode("aab")), "query_invalid_cbor_input"),
            // An array that says it is longer than memory, and one inside the other without end.
            (
                "x",
                format!("{CREATE}&rvt-input={}", URL_SAFE_NO_PAD.encode([0x9b, 255, 255, 255, 255, 255, 255, 255, 255])),
                "query_invalid_cbor_input",
            ),
            ("x", text(40_000), "query_invalid_cbor_input"),
            ("x", format!("{CREATE}&rvt-region=mars"), "not_found"),
        ];
        for (name, query, code) in rows {
            assert_eq!(code_of(name, &query), code, "{name} {}", &query[..query.len().min(100)]);
        }
        // A pool is tolerated where nothing is created.
        assert_eq!(key_of(&format!("{OK}&rvt-pool=p")), "/");
    }

    #[test]
    fn the_actor_sees_the_rest_byte_for_byte() {
        let rows = [
            (OK, ""),
            ("rvt-namespace=default&rvt-method=get&foo=bar&baz=qux", "?foo=bar&baz=qux"),
            ("foo=1&rvt-namespace=default&bar=2&rvt-method=get&baz=3", "?foo=1&bar=2&baz=3"),
            ("rvt-namespace=default&&rvt-method=get&&foo=bar&&baz=qux", "?foo=bar&baz=qux"),
            (
                "callback=https%3A%2F%2Fexample.com&name=hello%20world&rvt-x=1",
                "?callback=https%3A%2F%2Fexample.com&name=hello%20world",
            ),
            ("rvt-x=1&search=hello+world&tag=c%2B%2B&lower=%2f&upper=%2F", "?search=hello+world&tag=c%2B%2B&lower=%2f&upper=%2F"),
            ("rvt-x=1&flag&=odd&a=b=c", "?flag&=odd&a=b=c"),
            ("rvt-x=1&%72vt-key=kept", "?%72vt-key=kept"),
        ];
        for (query, expected) in rows {
            let mut path = String::new();
            append_stripped(&mut path, query);
            assert_eq!(path, expected, "{query}");
            assert!(is_present(query));
        }
        assert!(!is_present("a=rvt-b&rvt=1&RVT-x=1"));
    }
}

//! What is left of a request when it is recorded: nothing whose name says that it is a secret. Pure.

use http::HeaderMap;

use crate::form;

/// A header or a parameter of the query whose name has one of these in it is not recorded.
const SECRET: [&str; 17] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "credential",
    "session",
    "signature",
    "api-key",
    "api_key",
    "apikey",
    "access-key",
    "access_key",
    "jwt",
    "csrf",
    "xsrf",
    // What clients of RivetKit prove who they are with.
    "x-rivet-conn-params",
];

/// What concerns the connection or the engine, and comes anew when the request is made again.
const OF_THE_WAY: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "x-rivet-caller",
    "x-rivet-ray-id",
];

pub fn headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let kept = headers.iter().filter(|(name, value)| {
        let name = name.as_str();
        !value.is_sensitive() && !is_secret(name) && !OF_THE_WAY.contains(&name)
    });
    kept.map(|(name, value)| (name.as_str().to_string(), value.as_bytes().to_vec())).collect()
}

/// Path and query, without the parameters that are secrets.
pub fn path(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_string() };
    let is_kept = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        form::decode_percent(name).is_ok_and(|name| !is_secret(&name.to_ascii_lowercase()))
    };
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { path.to_string() } else { format!("{path}?{}", kept.join("&")) }
}

/// Of a name in lower case.
fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    #[test]
    fn headers_that_are_recorded() {
        let rows = [
            ("content-type", true),
            ("host", true),
            ("accept", true),
            ("x-rivet-encoding", true),
            ("idempotency-key", true),
            ("authorization", false),
            ("proxy-authorization", false),
            ("www-authenticate", false),
            ("cookie", false),
            ("cookie2", false),
            ("x-rivet-token", false),
            ("x-rivet-conn-params", false),
            ("x-rivet-conn-token", false),
            ("x-api-key", false),
            ("apikey", false),
            ("x-aws-access-key-id", false),
            ("x-amz-security-token", false),
            ("x-hub-signature-256", false),
            ("x-client-secret", false),
            ("x-session-id", false),
            ("x-password", false),
            ("x-csrf", false),
            ("content-length", false),
            ("x-rivet-ray-id", false),
            ("traceparent", false),
        ];
        for (name, expected) in rows {
            let mut sent = HeaderMap::new();
            sent.insert(HeaderName::from_static(name), HeaderValue::from_static("hush"));
            assert_eq!(!headers(&sent).is_empty(), expected, "{name}");
        }
    }

    #[test]
    fn paths_that_are_recorded() {
        let rows = [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?b=1&c", "/a?b=1&c"),
            ("/a?token=hush", "/a"),
            ("/a?b=1&access_token=hush&c=2", "/a?b=1&c=2"),
            ("/a?b=1&API_KEY=hush", "/a?b=1"),
            ("/a?%74oken=hush", "/a"),
            ("/a?%ff=hush", "/a"),
            ("/a?password", "/a"),
            ("/a?b=token", "/a?b=token"),
        ];
        for (sent, expected) in rows {
            assert_eq!(path(sent), expected, "{sent}");
        }
    }
}

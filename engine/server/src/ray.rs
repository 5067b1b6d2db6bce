//! The id that follows one request through logs, answers and actors.
//!
//! A caller may bring its own, so that one id spans several systems; anything that could not go into a log line or a header
//! unharmed is replaced.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::random;

pub const X_RIVET_RAY_ID: HeaderName = HeaderName::from_static("x-rivet-ray-id");
const RAY_ID_BYTES_MAX: usize = 30;

/// The caller's ray id, or a fresh one.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_RIVET_RAY_ID) {
        Some(brought) if is_acceptable(brought) => brought.clone(),
        _ => mint(),
    }
}

/// Whether it can go into log lines and headers.
pub fn is_acceptable(ray: &HeaderValue) -> bool {
    let id = ray.as_bytes();
    (1..=RAY_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn mint() -> HeaderValue {
    let mut text = random::bytes::<RAY_ID_BYTES_MAX>();
    for byte in &mut text {
        // 256 is not a multiple of 36: some digits are a little more frequent, which an id does not mind.
        *byte = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(*byte % 36)];
    }
    HeaderValue::from_bytes(&text).expect("digits and letters make a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brought_or_minted() {
        let long = "a".repeat(31);
        let rows = [
            ("a", true),
            ("Az09-_", true),
            (&long[..30], true),
            (&long[..], false),
            ("", false),
            ("a b", false),
            ("a.b", false),
            ("a#b", false),
            ("ä", false),
        ];
        for (brought, adopted) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(X_RIVET_RAY_ID, HeaderValue::from_bytes(brought.as_bytes()).expect("a header value"));
            let ray = of(&headers);
            assert_eq!(ray == brought, adopted, "{brought:?}");
            assert!(is_acceptable(&ray), "{ray:?}");
        }
        assert_eq!(of(&HeaderMap::new()).len(), 30);
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}

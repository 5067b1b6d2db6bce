//! Who may ask: one token for everything that is not an actor.
//!
//! Without a token in the configuration everybody may. With one, the API wants it in `authorization: Bearer …`, and runners bring
//! it when they connect. Calls to actors need none.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::ApiError;

const BEARER: &[u8] = b"Bearer ";

/// The token that the configuration names. It is not shown and not logged.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

impl AdminToken {
    pub fn new(token: String) -> AdminToken {
        AdminToken(token)
    }

    /// To be sent, and still not shown. None if no header can carry it.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes as long whatever is given, so that the time tells nothing about the token. No token is equal to an empty one.
    fn is(&self, given: &[u8]) -> bool {
        let (ours, theirs) = (Sha256::digest(self.0.as_bytes()), Sha256::digest(given));
        let difference = ours.iter().zip(theirs.iter()).fold(0, |difference, (a, b)| difference | (a ^ b));
        std::hint::black_box(difference) == 0 && !self.0.is_empty()
    }
}

/// Whether whoever brings this token may go on.
pub fn check(wanted: Option<&AdminToken>, given: Option<&[u8]>) -> Result<(), ApiError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let reason = match given {
        Some(given) if wanted.is(given) => return Ok(()),
        Some(_) => "Invalid token",
        None => "Token not provided",
    };
    let message = "the engine wants its admin token; send it as authorization: Bearer TOKEN";
    Err(ApiError::new("api", "forbidden", message).with(json!({ "reason": reason })))
}

/// The token of an API request, if it brings one in the one way there is.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(BEARER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let token = AdminToken::new("s3cret".to_string());
        let empty = AdminToken::new(String::new());
        let rows = [
            (None, None, None),
            (None, Some("Bearer dev"), None),
            (Some(&token), Some("Bearer s3cret"), None),
            (Some(&token), Some("Bearer s3cre"), Some("Invalid token")),
            (Some(&token), Some("Bearer s3crets"), Some("Invalid token")),
            (Some(&token), Some("Bearer "), Some("Invalid token")),
            (Some(&token), Some("bearer s3cret"), Some("Token not provided")),
            (Some(&token), Some("s3cret"), Some("Token not provided")),
            (Some(&token), None, Some("Token not provided")),
            (Some(&empty), Some("Bearer "), Some("Invalid token")),
            (Some(&empty), None, Some("Token not provided")),
        ];
        for (wanted, header, refused) in rows {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, header.parse().expect("a header"));
            }
            let error = check(wanted, bearer(&headers)).err();
            let reason = error.and_then(|error| error.metadata).map(|metadata| metadata["reason"].clone());
            assert_eq!(reason, refused.map(Into::into), "{header:?}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}

//! The admin token, which the configuration names. Whoever has it may do everything.

use std::fmt;

use http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::auth::token;

/// It is not shown and not logged.
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
    pub fn is(&self, given: &[u8]) -> bool {
        token::is(given, Some(&Sha256::digest(self.0.as_bytes()).into())) && !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_the_token() {
        let (token, empty) = (AdminToken::new("s3cret".to_string()), AdminToken::new(String::new()));
        for (given, expected) in [("s3cret", true), ("s3cre", false), ("s3crets", false), ("S3cret", false), ("", false)] {
            assert_eq!(token.is(given.as_bytes()), expected, "{given:?}");
        }
        assert!(!empty.is(b""));
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}

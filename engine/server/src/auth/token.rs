//! What a minted token looks like: `sk_ID_SECRET`, or `pk_ID_SECRET` for clients.
//!
//! `sk` is for those who must keep it secret, `pk` may be in a page or an app that others have. The id finds the record; the secret
//! are 256 random bits. Stored is the SHA-256 of the whole text: against so many random bits nobody can try them all, so that a slow
//! hash would only slow the engine down.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine_core::record::Role;
use sha2::{Digest, Sha256};

use crate::random;

const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;
const SECRET_PREFIX: &str = "sk_";
const PUBLIC_PREFIX: &str = "pk_";

/// A token that was just minted: the only moment that its text is known.
pub struct Minted {
    pub id: String,
    pub hash: [u8; 32],
    text: String,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Minted({})", self.id)
    }
}

impl Minted {
    pub fn new(role: Role) -> Minted {
        let id: String = random::bytes::<ID_BYTES>().iter().map(|byte| letter(*byte)).collect();
        let prefix = if role == Role::Client { PUBLIC_PREFIX } else { SECRET_PREFIX };
        let text = format!("{prefix}{id}_{}", URL_SAFE_NO_PAD.encode(random::bytes::<SECRET_BYTES>()));
        Minted { id, hash: hash(text.as_bytes()), text }
    }

    /// For whom it was minted, and nobody else.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// 256 is not a multiple of 36: some are a little more frequent, which an id does not mind.
fn letter(byte: u8) -> char {
    char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(byte % 36)])
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Which token this text says that it is.
pub fn id_of(given: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(given).ok()?;
    let rest = text.strip_prefix(SECRET_PREFIX).or_else(|| text.strip_prefix(PUBLIC_PREFIX))?;
    let (id, _) = rest.split_once('_')?;
    (id.len() == ID_BYTES).then_some(id)
}

/// Takes as long whatever is given, also where there is no such token.
pub fn is(given: &[u8], wanted: Option<&[u8; 32]>) -> bool {
    let given = hash(given);
    // No text is known to have this hash; and if there is nothing to compare with, nothing is equal.
    let (wanted, exists) = wanted.map_or((&[0; 32], false), |wanted| (wanted, true));
    let difference = given.iter().zip(wanted).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0 && exists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_id_and_known_by_its_hash() {
        for (role, prefix) in [(Role::Admin, "sk_"), (Role::Deploy, "sk_"), (Role::Runner, "sk_"), (Role::Client, "pk_")] {
            let minted = Minted::new(role);
            assert!(!format!("{minted:?}").contains(&minted.text));
            let (id, hash, text) = (minted.id.clone(), minted.hash, minted.into_text());
            assert!(text.starts_with(prefix) && text.len() == 3 + 12 + 1 + 43, "{text}");
            // It can be in a subprotocol, a path and a URL's password as it is.
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')), "{text}");
            assert_eq!(id_of(text.as_bytes()), Some(&id[..]));
            assert!(is(text.as_bytes(), Some(&hash)));
            for wrong in [&text[1..], &text[..text.len() - 1], &text.to_uppercase(), &format!("{text}x"), ""] {
                assert!(!is(wrong.as_bytes(), Some(&hash)), "{wrong}");
            }
            assert!(!is(text.as_bytes(), None));
            assert_ne!(text, Minted::new(role).into_text());
        }
    }

    #[test]
    fn what_is_no_token_has_no_id() {
        for text in ["", "sk_", "sk__", "dev", "sk_abcdefghijkl", "sk_abcdefghijk_x", "xk_abcdefghijkl_x", "SK_abcdefghijkl_x"] {
            assert_eq!(id_of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(id_of(b"sk_\xff"), None);
        assert_eq!(id_of(b"pk_abcdefghijkl_"), Some("abcdefghijkl"));
    }
}

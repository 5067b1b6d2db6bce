//! JSON text from a guest: whether it is what it says it is, before somebody else has to find out.

use serde::de::IgnoredAny;

use crate::config::NAME_BYTES_MAX;
use crate::state::Refusal;

/// Any value.
pub fn check(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    check_bytes(what, text, bytes_max)?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| Refusal::Invalid(format!("{what} is not JSON: {error}")))
}

/// An array, as the arguments of an action are.
pub fn check_array(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    check_bytes(what, text, bytes_max)?;
    let array = serde_json::from_str::<Vec<IgnoredAny>>(text);
    array.map(drop).map_err(|error| Refusal::Invalid(format!("{what} is not a JSON array: {error}")))
}

/// The name of an action or of a queue.
pub fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    match (1..=NAME_BYTES_MAX).contains(&name.len()) {
        true => Ok(()),
        false => Err(Refusal::Invalid(format!("the name of {what} has 1 to {NAME_BYTES_MAX} bytes, this has {}", name.len()))),
    }
}

fn check_bytes(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    match text.len() > bytes_max {
        true => Err(Refusal::TooLarge(format!("{what} has at most {bytes_max} bytes, this has {}", text.len()))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused_in_words() {
        let deep = "[".repeat(100_000);
        let rows = [
            ("[]", Ok(())),
            (" [1, [\"$BigInt\", \"1\"]] ", Ok(())),
            ("{}", Err("not a JSON array")),
            ("", Err("not a JSON array")),
            ("[1", Err("not a JSON array")),
            ("[] []", Err("not a JSON array")),
            (&deep, Err("at most 64 bytes")),
            (&deep[..64], Err("not a JSON array")),
        ];
        for (text, expected) in rows {
            let refused = check_array("it", text, 64);
            match expected {
                Ok(()) => assert_eq!(refused, Ok(()), "{text}"),
                Err(words) => assert!(refused.as_ref().is_err_and(|refusal| refusal.text().contains(words)), "{refused:?}"),
            }
        }
        assert_eq!(check("it", "{\"a\": null}", 64), Ok(()));
        assert!(check("it", "undefined", 64).is_err());
        assert!(check_name("an action", "").is_err() && check_name("an action", &"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }
}

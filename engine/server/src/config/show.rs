//! `config show`: every key that counts, what it is, and who said so.

use crate::config::keys::{self, Fate, KEYS, Kind};
use crate::config::said::All;
use crate::config::sources::Said;

/// The source of what nobody has said.
pub const DEFAULT: &str = "default";
const SECRET_SHOWN: &str = "(secret)";

/// Key, value and source, in the order of the table; what changes nothing is there only if it was said.
pub fn rows(all: &All) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for key in KEYS {
        let said: Vec<_> =
            all.entries().filter(|(path, _)| key.is(&path.split('.').map(str::to_string).collect::<Vec<_>>())).collect();
        let named = !key.path.contains('*');
        if said.is_empty() && key.fate == Fate::Used && named {
            rows.push(vec![key.path.to_string(), key.default.to_string(), DEFAULT.to_string()]);
        }
        for (path, said) in said {
            let effect = if matches!(key.fate, Fate::NoEffect(_)) { ", without effect" } else { "" };
            rows.push(vec![path, value(key, said), format!("{}{effect}", said.source)]);
        }
    }
    rows
}

fn value(key: &keys::Key, said: &Said) -> String {
    match (key.kind, said.value.as_str()) {
        // It may hold a password.
        (Kind::Secret, _) | (Kind::Any, _) => SECRET_SHOWN.to_string(),
        (_, Some(text)) => text.to_string(),
        (_, None) => said.value.to_string(),
    }
}

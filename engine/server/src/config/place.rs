//! The line of a file on which a key stands, for sentences about it.
//!
//! The readers give values without their places, so the line is looked for in the text: the first section of that name, in it the
//! next, in it the key. A file that repeats names in strange ways may mislead it; nothing but sentences depends on it.

use std::cell::Cell;
use std::path::Path;

use crate::config::sources::Source;

/// A file has fewer keys; in one that has more the rest is told without lines.
const LOOKUPS_MAX: u32 = 1_000;

pub struct Place<'a> {
    path: &'a Path,
    text: &'a str,
    lookups: Cell<u32>,
}

impl<'a> Place<'a> {
    pub fn new(path: &'a Path, text: &'a str) -> Place<'a> {
        Place { path, text, lookups: Cell::new(0) }
    }

    /// The file, with the line of the key.
    pub fn source(&self, key: &[String]) -> Source {
        self.lookups.set(self.lookups.get() + 1);
        let line = if self.lookups.get() <= LOOKUPS_MAX { line_of(self.text, key) } else { None };
        Source::File(self.path.to_owned(), line)
    }
}

fn line_of(text: &str, key: &[String]) -> Option<usize> {
    let mut at = 0;
    for (depth, part) in key.iter().enumerate() {
        match after_name(text, at, part) {
            Some(after) => at = after,
            // In a list an entry says its name as a value, or a name is written with escapes.
            None if depth + 1 < key.len() => {}
            None => return None,
        }
    }
    Some(text.get(..at)?.matches('\n').count() + 1)
}

/// Behind the first place from here on where the name stands as a key: with or without quotes, before a colon.
fn after_name(text: &str, from: usize, name: &str) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    text.get(from..)?.match_indices(name).map(|(at, _)| from + at).find_map(|at| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_key = behind.trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']).starts_with(':');
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let is_comment = line.starts_with('#') || line.starts_with("//") || line.starts_with('*');
        (begins && is_key && !is_comment).then_some(at + name.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys() {
        let json = "{\n  // port: here not\n  \"metrics\": {\"port\": 1},\n  \"guard\": {\n    'port' : 2,\n    prt: 3\n  }\n}";
        let yaml =
            "# guard: no\nguard:\n  export: 1\n  port: 2\ntopology:\n  datacenters:\n    - name: default\n      public_url: a\n";
        let rows = [
            (json, "metrics.port", Some(3)),
            (json, "guard.port", Some(5)),
            (json, "guard.prt", Some(6)),
            (json, "guard.host", None),
            (yaml, "guard.port", Some(4)),
            (yaml, "topology.datacenters.default.public_url", Some(8)),
            (yaml, "", None),
            ("", "guard", None),
        ];
        for (text, key, expected) in rows {
            let key: Vec<String> = key.split('.').map(str::to_string).collect();
            assert_eq!(line_of(text, &key), expected, "{key:?}");
        }
    }
}

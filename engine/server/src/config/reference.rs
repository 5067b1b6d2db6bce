//! docs/CONFIGURATION.md, written from the table of keys. `UPDATE_EXPECT=1` writes it anew.

use expect_test::expect_file;

use crate::config::keys::{Fate, KEYS, Key, Kind};
use crate::config::schema;

const HEAD: &str = "# Configuration

Every key that a configuration may have. Written by a test from the one table that the engine reads too
(`engine/server/src/config/keys.rs`); do not edit it by hand. Where configurations come from, and which source wins, is in
[OPERATIONS.md](OPERATIONS.md#configuration).

`rivet-engine config show` prints what is in effect and who said so, `config check` says what is wrong without starting anything,
`config schema` prints a JSON Schema for editors (`rivet-engine config schema > rivet.schema.json`).

In a file a key's parts are sections: `guard.port` is `{\"guard\": {\"port\": 6420}}`. In the environment they stand between double
underscores, in any case: `RIVET__GUARD__PORT=6420`; lists stand between commas, flags are `true`, `1`, `yes`, `on` and their
opposites. `NAME` is the name of a datacenter, and the one there is is called `default`. `null` in a file says nothing.

";

fn document() -> String {
    let flags = schema::flags();
    let mut text = HEAD.to_string();
    text +=
        "## Keys that count\n\n| key and variable | flag of `start` | takes | default | what it does |\n|---|---|---|---|---|\n";
    for key in KEYS.iter().filter(|key| matches!(key.fate, Fate::Used | Fate::SameAs(_))) {
        let flag = flags.iter().find(|(path, _)| *path == key.path).map(|(_, flag)| format!("`{flag}`")).unwrap_or_default();
        let meaning = match key.fate {
            Fate::SameAs(other) => format!("another spelling of `{other}`"),
            _ => key.meaning.to_string(),
        };
        let (path, variable, takes) = (key.path, key.variable(), takes(key));
        text += &format!("| `{path}`<br>`{variable}` | {flag} | {takes} | {} | {meaning} |\n", key.default);
    }
    text += "\n## Keys of the original that stop the start\n\nTo go on without what they ask for would do something else.\n\n\
             | key | what to do instead |\n|---|---|\n";
    for key in KEYS {
        if let Fate::Refused(remedy) = key.fate {
            text += &format!("| `{}` | {remedy} |\n", key.path);
        }
    }
    text += "\n## Keys of the original without effect\n\nThey are accepted, because configurations of the original have them; their \
             values are checked all the same. The start warns about each that is set, unless it asks for nothing that could be \
             missed.\n\n| key | takes | why | warned about |\n|---|---|---|---|\n";
    for key in KEYS {
        let (why, warned) = match key.fate {
            Fate::NoEffect(why) => (why, "yes"),
            Fate::Idle(why) => (why, "no"),
            Fate::Used | Fate::SameAs(_) | Fate::Refused(_) => continue,
        };
        text += &format!("| `{}` | {} | {why} | {warned} |\n", key.path, takes(key));
    }
    text
}

fn takes(key: &Key) -> String {
    let unit = match key.unit() {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    match key.kind {
        Kind::Text => "text".to_string(),
        Kind::Secret => "secret text".to_string(),
        Kind::Flag => "flag".to_string(),
        Kind::Whole { min, max: u64::MAX } => format!("from {min} on{unit}"),
        Kind::Whole { min, max } => format!("{min} to {max}{unit}"),
        Kind::Number => "number".to_string(),
        Kind::Texts => "list of texts".to_string(),
        Kind::Any => "anything".to_string(),
    }
}

#[test]
fn the_reference_is_of_this_table() {
    expect_file!["../../../../docs/CONFIGURATION.md"].assert_eq(&document());
}

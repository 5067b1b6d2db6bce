//! The bytes that the original's own codecs write for our examples, and ours for the same.
//!
//! `protocol/tests/fixtures/wire.txt` has one line for each message of each version that is published; the folder's README says
//! how it was made.

use std::collections::BTreeSet;

use super::{decode, dialects, encode, examples, hex, unhex};

const FIXTURE: &str = include_str!("../../../tests/fixtures/wire.txt");

#[test]
fn the_originals_codecs_write_the_same_bytes() {
    let examples = examples::all();
    let mut compared = BTreeSet::new();
    for line in FIXTURE.lines().filter(|line| !line.starts_with('#')) {
        let [protocol, version, name, bytes] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let dialect_name = format!("{protocol} protocol {version}");
        let dialect = dialects().find(|dialect| dialect.to_string() == dialect_name).expect("a version that is spoken here");
        let message = &examples.iter().find(|(example, _)| example == name).expect("an example of this name").1;
        let ours = encode(dialect, message).expect("the original can say it").expect("so can we");
        assert_eq!(hex(&ours), bytes, "{name} in {dialect}");
        let heard = decode(dialect, message.to(), unhex(bytes)).unwrap_or_else(|error| panic!("{name} in {dialect}: {error}"));
        assert_eq!(encode(dialect, &heard), Some(Ok(unhex(bytes))), "{name} in {dialect}");
        compared.insert((dialect, name));
    }
    // What we can say and the original cannot would be an invention.
    let versions: BTreeSet<_> = compared.iter().map(|(dialect, _)| *dialect).collect();
    assert_eq!(versions.len(), 5, "{versions:?}");
    for dialect in versions {
        for (name, message) in &examples {
            let ours = matches!(encode(dialect, message), Some(Ok(_)));
            let theirs = compared.contains(&(dialect, name.as_str()));
            assert_eq!(ours, theirs, "{name} in {dialect}: {}", if ours { "only we say it" } else { "only they say it" });
        }
    }
    println!("{} messages are the same bytes", compared.len());
}

#[test]
fn an_example_has_one_name() {
    let examples = examples::all();
    let names: BTreeSet<&str> = examples.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), examples.len());
}

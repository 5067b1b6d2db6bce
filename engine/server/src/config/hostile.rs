//! Configurations that nobody meant: each is read, or refused with a sentence, and what was read can be said again.

use std::path::Path;

use serde_json::{Map, Value};

use super::show;
use super::*;
use crate::hostile::Inputs;

const SECRET: &str = "s3cret-of-nobody";

/// Whether it is a configuration.
fn check(said: Result<Sources, ConfigError>) -> bool {
    let said = match said.and_then(Sources::finish) {
        Ok(said) => All::new(said),
        Err(ConfigError(sentence)) => {
            assert!(!sentence.is_empty());
            return false;
        }
    };
    if let Err(ConfigError(sentence)) = Config::new(&said) {
        assert!(!sentence.is_empty());
    }
    for row in show::rows(&said) {
        assert!(row[0] != "auth.admin_token" || !row[1].contains(SECRET), "{row:?}");
    }
    let written = written(&said);
    let mut again = Sources::default();
    again.text(Path::new("again.json"), "json", &written).expect("what was printed can be read");
    let again = All::new(again.finish().expect("what was taken is taken again"));
    assert_eq!(self::written(&again), written);
    true
}

/// As a file could say it.
fn written(said: &All) -> String {
    let mut file = Map::new();
    for (path, said) in said.paths() {
        let Some((last, sections)) = path.split_last() else { continue };
        let mut section = Some(&mut file);
        for name in sections {
            section = section
                .and_then(|section| section.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())).as_object_mut());
        }
        // Where all below a section is taken without a look, it may be a value in one place and a section in another.
        if let Some(section) = section {
            section.insert(last.clone(), said.value.clone());
        }
    }
    Value::Object(file).to_string()
}

fn file(extension: &str, text: &str) -> bool {
    let mut sources = Sources::default();
    let read = sources.text(Path::new("it.any"), extension, text);
    check(read.map(|()| sources))
}

#[test]
fn files_of_json5() {
    let valid = [
        r#"{"guard":{"port":1},"topology":{"datacenters":{"default":{"public_url":"http://a/","valid_hosts":["a"]}}}}"#,
        r#"{"topology":{"datacenters":[{"name":"default","datacenter_label":1,"public_url":"http://a"}]}}"#,
        "// a comment\n{guard: {port: 0x10, host: '::1',}, /* b */ auth: {admin_token: 's3cret-of-nobody'},}",
        r#"{"runtime":{"worker_load_shedding_beta":-.5e1,"worker_load_shedding_curve":[[1,2]]},"cache":{"a":{"b":null}}}"#,
        r#"{"outbound":{"allow_cidrs":["10.0.0.0/8"],"max_redirects":3},"durability":"batch:5","wasm":{"dirs":["/a=/b:ro"]}}"#,
        "",
    ];
    let words = [
        "{", "}", "[", "]", ":", ",", "'", "\"", "\\", "//", "/*", "*/", "\n", "null", "NaN", "Infinity", "-", "0x", "1e400",
        "\\u00", "\\x4", "\\ud800", "guard", "port", "default", "a.b", "__", "", "\u{feff}", "\u{2028}", "{a:", "[[",
    ];
    Inputs::new("configuration in JSON5", 2, &valid, &words).each_text(|_, text| file("json5", text));
}

#[test]
fn files_of_yaml() {
    let valid = [
        "guard:\n  port: 1\n  host: ::1\nauth:\n  admin_token: s3cret-of-nobody\n",
        "topology:\n  datacenters:\n    default: {public_url: 'http://a/', valid_hosts: [a, \"b\"]}\n",
        "topology:\n  datacenters:\n    - name: default\n      datacenter_label: 1\n",
        "# a\ncache: &a\n  x: [1, 2.5, ~, true]\nnats: *a\noutbound:\n  allow_hosts:\n    - |\n      a\n",
        "",
    ];
    let words = [
        "\n",
        "  ",
        ": ",
        "- ",
        "&a",
        "*a",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        "\"",
        "|",
        ">",
        "---",
        "...",
        "!!int",
        "!x",
        "~",
        "%",
        "\t",
        "#",
        "? ",
        ".inf",
        "0o7",
        "1_0",
        "\\u00",
        "guard:",
        "[[",
        "&a [*a,*a]",
    ];
    Inputs::new("configuration in YAML", 2, &valid, &words).each_text(|_, text| file("yaml", text));
}

#[test]
fn variables() {
    let valid = [
        "RIVET__GUARD__PORT=7000",
        "rivet__auth__admin_token=s3cret-of-nobody\nRIVET__TELEMETRY__ENABLED=false",
        "RIVET__OUTBOUND__ALLOW_HOSTS=a.example, b.example\nRIVET__RUNTIME__WORKER_LOAD_SHEDDING_BETA=0.5",
        "RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PUBLIC_URL=http://a\nPATH=/bin",
        "RIVET__CACHE__A__B=1\nRIVET__DURABILITY=batch:7",
    ];
    let words = [
        "RIVET__", "__", "_", "=", "\n", "GUARD", "PORT", "DEFAULT", "0", "-1", "NaN", "inf", "ä", ",", "true", "TOPOLOGY", "*",
        ".",
    ];
    Inputs::new("configuration in the environment", 1, &valid, &words).each_text(|_, text| {
        let mut sources = Sources::default();
        let variables = text.lines().map(|line| line.split_once('=').unwrap_or((line, "")));
        sources.environment(variables.map(|(name, value)| (name.into(), value.into())));
        check(Ok(sources))
    });
}

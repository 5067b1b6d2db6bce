//! `rivet-engine new`: what it writes, and what it refuses. That the projects build is what `scripts/projects` looks at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use rivet_tests::process::binary;
use tempfile::TempDir;

fn new(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).arg("new").args(arguments).current_dir(folder).output().expect("the binary can be run")
}

fn check(language: &str, files: Expect) {
    let folder = TempDir::new().expect("a folder");
    let made = new(folder.path(), &["my-actor", "--lang", language]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let project = folder.path().join("my-actor");
    let mut found = files_in(&project);
    found.sort();
    files.assert_eq(&found.iter().map(|file| format!("{}\n", file.display())).collect::<String>());
    for file in &found {
        let text = fs::read_to_string(project.join(file)).expect("text");
        assert!(!text.contains("{{name}}"), "{}: a gap", file.display());
    }
    let contract = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/actor.wit")).expect("the contract");
    let carried = found.iter().find(|file| file.ends_with("wit/deps/actor.wit")).expect("it carries the contract");
    assert!(fs::read_to_string(project.join(carried)).expect("text") == contract, "the contract is another one");

    let again = new(folder.path(), &["my-actor", "--lang", language]);
    assert_eq!(again.status.code(), Some(1), "it overwrites nothing");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("my-actor is there already"), "{said}");
}

fn files_in(project: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![project.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that was just written") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(project).expect("inside").to_path_buf()) }
        }
    }
    found
}

#[test]
fn a_project_in_rust() {
    check(
        "rust",
        expect![[r#"
        .gitignore
        Cargo.lock
        Cargo.toml
        README.md
        rivet-actor/Cargo.toml
        rivet-actor/LICENSE
        rivet-actor/README.md
        rivet-actor/src/actors.rs
        rivet-actor/src/adapt.rs
        rivet-actor/src/alarm.rs
        rivet-actor/src/answer.rs
        rivet-actor/src/bindings.rs
        rivet-actor/src/clock.rs
        rivet-actor/src/config.rs
        rivet-actor/src/connections.rs
        rivet-actor/src/context.rs
        rivet-actor/src/export.rs
        rivet-actor/src/failure.rs
        rivet-actor/src/handlers.rs
        rivet-actor/src/kv.rs
        rivet-actor/src/lib.rs
        rivet-actor/src/log.rs
        rivet-actor/src/queue.rs
        rivet-actor/src/random.rs
        rivet-actor/src/schedule.rs
        rivet-actor/src/sql.rs
        rivet-actor/wit/deps/actor.wit
        rivet-actor/wit/deps/clocks.wit
        rivet-actor/wit/deps/random.wit
        rivet-actor/wit/world.wit
        rivet.json
        src/lib.rs
    "#]],
    );
}

#[test]
fn a_project_in_javascript() {
    check(
        "js",
        expect![[r#"
        .gitignore
        README.md
        actor.js
        package.json
        rivet-actor.d.ts
        rivet-actor.js
        rivet.json
        wit/deps/actor.wit
        wit/world.wit
    "#]],
    );
}

#[test]
fn a_project_in_python() {
    check(
        "python",
        expect![[r#"
        .gitignore
        README.md
        app.py
        rivet.json
        rivet_actor/__init__.py
        rivet_actor/_actor.py
        rivet_actor/_failure.py
        rivet_actor/_json.py
        rivet_actor/actors.py
        rivet_actor/alarm.py
        rivet_actor/config.py
        rivet_actor/connections.py
        rivet_actor/context.py
        rivet_actor/kv.py
        rivet_actor/log.py
        rivet_actor/queue.py
        rivet_actor/schedule.py
        rivet_actor/sql.py
        wit/deps/actor.wit
        wit/world.wit
    "#]],
    );
}

#[test]
fn a_project_in_c() {
    check(
        "c",
        expect![[r#"
        .gitignore
        README.md
        actor.c
        build.sh
        rivet.json
        sdk/bindings/actor.c
        sdk/bindings/actor.h
        sdk/rivet.c
        sdk/rivet.h
        wit/deps/actor.wit
        wit/deps/clocks.wit
        wit/world.wit
    "#]],
    );
}

#[test]
fn what_cannot_be_is_refused_and_nothing_written() {
    let folder = TempDir::new().expect("a folder");
    for (arguments, code, words) in [
        (&["Counter", "--lang", "js"][..], 1, "begins with a lower-case letter"),
        (&["../up", "--lang", "js"], 1, "begins with a lower-case letter"),
        (&["serde", "--lang", "rust"], 1, "a crate that the project uses"),
        (&["counter", "--lang", "cobol"], 2, "possible values: rust, js, python, c"),
        (&["counter"], 2, "--lang"),
    ] {
        let refused = new(folder.path(), arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

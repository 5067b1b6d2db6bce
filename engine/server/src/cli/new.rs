//! `rivet-engine new`: writes a project that builds into an actor, with all of ours that it needs.
//!
//! The helper library and the contract are in this binary, so that a project begins without a network. What is not ours, crates and
//! compilers, its README names.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::{Outcome, print};

/// It becomes the name of a folder, a crate, an npm package and a deployment: what all of them take.
const NAME_BYTES_MAX: usize = 64;

#[derive(Args)]
pub struct NewArgs {
    /// The project's name, and that of the folder it is written to, below this one
    #[arg(value_name = "NAME")]
    name: String,

    /// The language it is written in
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Rust,
    /// JavaScript
    #[value(alias = "javascript")]
    Js,
    Python,
    C,
}

/// Where it goes, and what it says, with `{{name}}` for the project's name.
type File = (&'static str, &'static str);

/// Files of `sdk/`, each with where it goes.
macro_rules! files {
    ($($to:literal: $from:literal,)*) => { &[$(($to, include_str!(concat!("../../../../sdk/", $from)))),*] };
}

const RUST: &[File] = files! {
    "Cargo.toml": "rust/template/Cargo.toml.in",
    "README.md": "rust/template/README.md",
    "rivet.json": "rust/template/rivet.json",
    "src/lib.rs": "rust/template/src/lib.rs",
    "rivet-actor/Cargo.toml": "rust/Cargo.toml",
    "rivet-actor/LICENSE": "rust/LICENSE",
    "rivet-actor/README.md": "rust/README.md",
    "rivet-actor/src/actors.rs": "rust/src/actors.rs",
    "rivet-actor/src/adapt.rs": "rust/src/adapt.rs",
    "rivet-actor/src/alarm.rs": "rust/src/alarm.rs",
    "rivet-actor/src/answer.rs": "rust/src/answer.rs",
    "rivet-actor/src/bindings.rs": "rust/src/bindings.rs",
    "rivet-actor/src/clock.rs": "rust/src/clock.rs",
    "rivet-actor/src/config.rs": "rust/src/config.rs",
    "rivet-actor/src/connections.rs": "rust/src/connections.rs",
    "rivet-actor/src/context.rs": "rust/src/context.rs",
    "rivet-actor/src/export.rs": "rust/src/export.rs",
    "rivet-actor/src/failure.rs": "rust/src/failure.rs",
    "rivet-actor/src/handlers.rs": "rust/src/handlers.rs",
    "rivet-actor/src/kv.rs": "rust/src/kv.rs",
    "rivet-actor/src/lib.rs": "rust/src/lib.rs",
    "rivet-actor/src/log.rs": "rust/src/log.rs",
    "rivet-actor/src/queue.rs": "rust/src/queue.rs",
    "rivet-actor/src/random.rs": "rust/src/random.rs",
    "rivet-actor/src/schedule.rs": "rust/src/schedule.rs",
    "rivet-actor/src/sql.rs": "rust/src/sql.rs",
    "rivet-actor/wit/world.wit": "rust/wit/world.wit",
    "rivet-actor/wit/deps/actor.wit": "rust/wit/deps/actor.wit",
    "rivet-actor/wit/deps/clocks.wit": "rust/wit/deps/clocks.wit",
    "rivet-actor/wit/deps/random.wit": "rust/wit/deps/random.wit",
};

/// Of the helper crate; the project's own package is put into it.
const RUST_LOCK: &str = include_str!("../../../../sdk/rust/Cargo.lock");

const JS: &[File] = files! {
    "package.json": "js/template/package.json",
    "README.md": "js/template/README.md",
    "rivet.json": "js/template/rivet.json",
    "actor.js": "js/template/actor.js",
    "rivet-actor.js": "js/rivet-actor.js",
    "rivet-actor.d.ts": "js/rivet-actor.d.ts",
    "wit/world.wit": "js/template/wit/world.wit",
    "wit/deps/actor.wit": "rust/wit/deps/actor.wit",
};

const PYTHON: &[File] = files! {
    "README.md": "python/template/README.md",
    "rivet.json": "python/template/rivet.json",
    "app.py": "python/template/app.py",
    "rivet_actor/__init__.py": "python/rivet_actor/__init__.py",
    "rivet_actor/_actor.py": "python/rivet_actor/_actor.py",
    "rivet_actor/_failure.py": "python/rivet_actor/_failure.py",
    "rivet_actor/_json.py": "python/rivet_actor/_json.py",
    "rivet_actor/actors.py": "python/rivet_actor/actors.py",
    "rivet_actor/alarm.py": "python/rivet_actor/alarm.py",
    "rivet_actor/config.py": "python/rivet_actor/config.py",
    "rivet_actor/connections.py": "python/rivet_actor/connections.py",
    "rivet_actor/context.py": "python/rivet_actor/context.py",
    "rivet_actor/kv.py": "python/rivet_actor/kv.py",
    "rivet_actor/log.py": "python/rivet_actor/log.py",
    "rivet_actor/queue.py": "python/rivet_actor/queue.py",
    "rivet_actor/schedule.py": "python/rivet_actor/schedule.py",
    "rivet_actor/sql.py": "python/rivet_actor/sql.py",
    "wit/world.wit": "python/template/wit/world.wit",
    "wit/deps/actor.wit": "rust/wit/deps/actor.wit",
};

const C: &[File] = files! {
    "README.md": "c/template/README.md",
    "rivet.json": "c/template/rivet.json",
    "actor.c": "c/template/actor.c",
    "build.sh": "c/template/build.sh",
    "sdk/rivet.h": "c/rivet.h",
    "sdk/rivet.c": "c/rivet.c",
    "sdk/bindings/actor.h": "c/bindings/actor.h",
    "sdk/bindings/actor.c": "c/bindings/actor.c",
    "wit/world.wit": "c/template/wit/world.wit",
    "wit/deps/actor.wit": "rust/wit/deps/actor.wit",
    "wit/deps/clocks.wit": "rust/wit/deps/clocks.wit",
};

/// What a build leaves behind.
const IGNORED: &str = "/.rivet/\n/target/\n/node_modules/\n/.venv/\n__pycache__/\n*.wasm\n";

pub fn run(args: NewArgs) -> Outcome {
    check(&args.name, args.lang)?;
    let folder = PathBuf::from(&args.name);
    // The folder is made here, so it is empty: nothing can be overwritten.
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => format!("{} is there already; choose another name, or remove it", folder.display()),
        _ => format!("the folder {} could not be made: {error}", folder.display()),
    })?;
    for (path, text) in files_of(args.lang) {
        write(&folder.join(path), &text.replace("{{name}}", &args.name))?;
    }
    write(&folder.join(".gitignore"), IGNORED)?;
    if matches!(args.lang, Language::Rust) {
        write(&folder.join("Cargo.lock"), &lock(&args.name))?;
    }
    print::note(&format!("{0} is written; {0}/README.md says how to build and deploy it", args.name));
    Ok(())
}

fn files_of(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST,
        Language::Js => JS,
        Language::Python => PYTHON,
        Language::C => C,
    }
}

fn check(name: &str, language: Language) -> Outcome {
    let known = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let shaped = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('-') && name.chars().all(known);
    if !shaped || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "{name:?} cannot be the name of an actor's project: it begins with a lower-case letter, goes on with such letters, digits \
             and -, does not end with -, and has at most {NAME_BYTES_MAX} bytes"
        ));
    }
    // Cargo could not tell the two apart.
    if matches!(language, Language::Rust) && RUST_LOCK.contains(&format!("name = \"{name}\"\n")) {
        return Err(format!("{name} is the name of a crate that the project uses; choose another one"));
    }
    Ok(())
}

/// The lock file of the helper crate with one package more, in its place in the alphabet: cargo would not take another order.
fn lock(name: &str) -> String {
    let mut packages: Vec<&str> = RUST_LOCK.split("\n[[package]]\n").collect();
    let head = packages.remove(0);
    let own = format!("name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"rivet-actor\",\n]\n");
    let place = packages.partition_point(|package| package.lines().next() < own.lines().next());
    packages.insert(place, &own);
    let packages: String = packages.iter().map(|package| format!("\n[[package]]\n{}\n", package.trim_end())).collect();
    format!("{head}{packages}")
}

fn write(path: &Path, text: &str) -> Outcome {
    let folder = path.parent().unwrap_or(Path::new(""));
    let written = fs::create_dir_all(folder)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes()));
    written.map_err(|error| format!("{} could not be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_every_tool_takes() {
        for name in ["counter", "my-counter", "a1", "chat-room-2", "core"] {
            assert_eq!(check(name, Language::Rust), Ok(()), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "-a", "a-", "1a", "Counter", "my_counter", "a/b", "..", "über", "serde", "rivet-actor", &long] {
            assert!(check(name, Language::Rust).is_err(), "{name}");
        }
        assert_eq!(check("serde", Language::C), Ok(()));
    }

    #[test]
    fn a_lock_keeps_the_order_that_cargo_keeps() {
        for name in ["a", "rivet-b", "zzz"] {
            let lock = lock(name);
            let names: Vec<&str> = lock.lines().filter(|line| line.starts_with("name = ")).collect();
            assert!(names.is_sorted() && names.contains(&format!("name = \"{name}\"").as_str()), "{names:?}");
            assert_eq!(lock.lines().count(), RUST_LOCK.lines().count() + 7);
        }
    }

    #[test]
    fn no_file_is_left_with_a_gap() {
        for language in Language::value_variants() {
            for (path, text) in files_of(*language) {
                let gaps = text.matches("{{").count();
                assert_eq!(gaps, text.matches("{{name}}").count(), "{language:?} {path}: a gap is spelled {{{{name}}}}");
            }
        }
    }
}

//! The rules of the house that no compiler knows. Each failure names the file and what to do instead.
//!
//! Reads the sources as text, without their comments: fast, and blind to what a macro or a renamed import hides. It reminds people
//! who forgot; it does not stop anyone who wants to get around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Words that do not belong: where, which, except in which files, and what to do instead.
const FORBIDDEN: &[(&str, &[&str], &[&str], &str)] = &[
    ("", &["todo!", "unimplemented!", "dbg!"], &[], "write it, or leave it out; what is planned belongs into an issue"),
    (
        "",
        &["unbounded_channel", "unbounded("],
        &[],
        "a queue without a limit takes all memory when its reader is slow; give it one, as a named constant",
    ),
    (
        "engine/core/",
        &["tokio", "Instant", "SystemTime", "thread", "fs", "net", "rand", "fastrand", "getrandom"],
        &[],
        "the core touches nothing; take it as an Input or ask for it as an Action",
    ),
    ("engine/core/", &["HashMap", "HashSet"], &[], "its order differs from run to run; use BTreeMap or BTreeSet"),
    (
        "engine/core/Cargo.toml",
        &["engine-store", "runner-wasm", "axum", "hyper", "reqwest", "rocksdb", "wasmtime"],
        &[],
        "the core depends on `protocol` and on data structures only",
    ),
    (
        "protocol/Cargo.toml",
        &["engine-core", "engine-store", "runner-wasm", "tokio", "axum", "hyper", "reqwest", "rocksdb", "wasmtime"],
        &[],
        "the protocol is what is said, not who says it or over what; it needs no more than serde, bytes and channels",
    ),
    (
        "engine/sql/src/",
        &["engine_core", "engine_store", "tokio", "Instant", "SystemTime", "fs", "net", "File::open"],
        &[],
        "SQLite runs on what it is given; take pages and the time from the caller",
    ),
    (
        "engine/server/src/",
        &["runner_wasm"],
        &["engine/server/src/compose.rs"],
        "the server knows a runner by the protocol only; hand what is needed in from where the engine is composed",
    ),
    (
        "runner-wasm/",
        &["engine-core", "engine-store", "rivet-engine-core", "rivet-engine-store", "engine_core", "engine_store"],
        &[],
        "the runner does not know that there is an engine; say it through `protocol`",
    ),
];

/// What opens a connection to elsewhere, or looks a name up.
const CALLS_OUT: &[&str] = &[
    "TcpStream::connect",
    "TcpSocket",
    "UdpSocket",
    "UnixStream::connect",
    "client_async_with_config",
    "client::conn",
    "lookup_host",
    "to_socket_addrs",
    "opentelemetry_otlp",
    "transport::Endpoint",
    "reqwest",
];

/// The files of the product that may, and to where.
const CALLERS_OUT: &[(&str, &str)] = &[
    ("engine/server/src/checks/fork.rs", "a check, to an engine in this process, through a pipe"),
    ("engine/server/src/cli/", "the commands, to the engine that they are told"),
    ("engine/server/src/compose.rs", "the names of its own hosts, to listen on them"),
    ("engine/server/src/serverless/client.rs", "the URLs of pools, each judged by outbound.*"),
    ("engine/server/src/telemetry/", "traces and metrics, to the collector that RIVET_OTEL_* name"),
    ("engine/server/src/standalone/dial.rs", "a runner, to the engine that it is told"),
    ("runner-wasm/src/outbound/", "guests, to the hosts that their deployment was granted"),
];

const LINES_MAX: usize = 700;

/// Files that may be longer, each with the reason.
const LONG: &[(&str, &str)] = &[];

#[test]
fn words_stay_where_they_belong() {
    let mut found = Vec::new();
    for file in files(&["rs", "toml"]) {
        // It spells the words it forbids.
        if file.path == "tests/tests/tidy.rs" {
            continue;
        }
        let code = without_comments(&file);
        for (folder, words, except, remedy) in FORBIDDEN {
            if !file.path.starts_with(folder) || except.contains(&file.path.as_str()) {
                continue;
            }
            for (number, line) in code.lines().enumerate() {
                for word in words.iter().filter(|word| names(line, word)) {
                    found.push(format!("{}:{}: `{word}`: {remedy}", file.path, number + 1));
                }
            }
        }
    }
    report(found);
}

#[test]
fn only_these_files_call_elsewhere() {
    let mut found = Vec::new();
    for file in files(&["rs"]) {
        let is_product = ["engine/", "runner-wasm/src/", "protocol/"].iter().any(|folder| file.path.starts_with(folder));
        let is_test = file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
        if !is_product || is_test || CALLERS_OUT.iter().any(|(path, _)| file.path.starts_with(path)) {
            continue;
        }
        let code = without_comments(&file);
        // What follows are the file's own tests.
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            for word in CALLS_OUT.iter().filter(|word| names(line, word)) {
                found.push(format!(
                    "{}:{}: `{word}`: nothing leaves the machine unless it was configured to; let one of those call that tidy.rs \
                     names, or say there where to and why",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    report(found);
}

#[test]
fn no_dependency_calls_home() {
    // The one list, which `cargo deny` reads too.
    let denied = read(&root().join("deny.toml"));
    let list = denied.split("deny = [").nth(1).and_then(|rest| rest.split(']').next()).expect("deny.toml has a list");
    let denied: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(denied.contains(&"sentry"), "{denied:?}");
    let locked = read(&root().join("Cargo.lock"));
    let names = locked.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let found = names.filter(|name| denied.contains(name));
    report(found.map(|name| format!("Cargo.lock: {name}: see deny.toml for why it is not to be here; do without it")));
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = files(&["rs"]).into_iter().filter(|file| !file.text.starts_with("//!"));
    report(silent.map(|file| format!("{}: open it with `//!`: what it is, why, and what it must never do", file.path)));
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = files(&["rs", "wit", "js", "css", "html"]).into_iter().filter(|file| file.text.lines().count() > LINES_MAX);
    let unexplained = long.filter(|file| !LONG.iter().any(|(path, _)| *path == file.path));
    report(unexplained.map(|file| format!("{}: over {LINES_MAX} lines; divide it, or say in tidy.rs why it is one", file.path)));
}

#[test]
fn every_guest_carries_the_same_contract() {
    let contracts = ["wit/actor.wit", "wit/0.1/actor.wit"].map(|contract| read(&root().join(contract)));
    let copies = files(&["wit"]).into_iter().filter(|file| file.path.ends_with("/wit/deps/actor.wit"));
    let other = copies.filter(|file| !contracts.contains(&file.text));
    report(other.map(|file| format!("{0}: differs from the contract; run: cp wit/actor.wit {0}", file.path)));
}

#[test]
fn the_bindings_for_c_are_of_this_contract() {
    let checked = Command::new(root().join("scripts/bindings")).arg("--check").output().expect("a script of the project runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn every_example_is_explained_and_tested() {
    let mut tests = files(&["rs"]);
    tests.retain(|file| file.path.starts_with("tests/tests/") || file.path.starts_with("runner-wasm/tests/"));
    let mut found = Vec::new();
    // By the file that a guest of its language has: see language_of in scripts/lib.sh.
    for source in files(&["toml", "js", "py", "c"]) {
        let example = source.path.strip_prefix("guest-examples/").and_then(|path| path.split_once('/'));
        let Some((name, "Cargo.toml" | "actor.js" | "app.py" | "actor.c")) = example else { continue };
        if !root().join("guest-examples").join(name).join("README.md").exists() {
            found.push(format!("guest-examples/{name}: has no README.md; say what it answers and what it shows"));
        }
        let spellings = [format!("\"{name}\""), format!("{name}.wasm")];
        if !tests.iter().any(|test| spellings.iter().any(|spelling| test.text.contains(spelling))) {
            found.push(format!("guest-examples/{name}: no test uses it; an example that nobody runs stops working"));
        }
    }
    report(found);
}

#[test]
fn nothing_compiled_is_committed() {
    let listed =
        Command::new("git").args(["ls-files", "*.wasm", "*.cwasm", "*.a", "*.o", "*.so", "*.pyc"]).current_dir(root()).output();
    // Sources without their history are fine too.
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else { return };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    report(listed.lines().map(|path| format!("{path}: is built, not written; run: git rm --cached {path}")));
}

struct File {
    /// From the root of the project, with `/`.
    path: String,
    text: String,
}

fn files(extensions: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of a folder that could be opened").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Hidden, built, downloaded, or written by a running engine: not ours to judge.
            let skip = name.starts_with('.')
                || ["target", "node_modules", "__pycache__"].contains(&name.as_ref())
                || path == root().join("data");
            if path.is_dir() {
                folders.extend((!skip).then_some(path));
            } else if path.extension().is_some_and(|extension| extensions.contains(&extension.to_string_lossy().as_ref())) {
                let inside = path.strip_prefix(root()).expect("found below the root").to_string_lossy().replace('\\', "/");
                found.push(File { text: read(&path), path: inside });
            }
        }
    }
    assert!(!found.is_empty(), "no {extensions:?} files: this test looks in the wrong place");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The same number of lines. Of a manifest also without what only its tests need.
fn without_comments(file: &File) -> String {
    let manifest = file.path.ends_with("Cargo.toml");
    let text = if manifest { file.text.split("[dev-dependencies]").next().unwrap_or_default() } else { &file.text };
    let mark = if manifest { "#" } else { "//" };
    text.lines().map(|line| line.split(mark).next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `line` by itself and not as a part of a longer name.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part) && word.ends_with(part);
        !before && !after
    })
}

fn report(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

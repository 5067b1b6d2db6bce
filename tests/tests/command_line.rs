//! Every command as a person types it: what it prints, as a table and as JSON, how it ends, and what it says when it fails.
//!
//! Looks for what a reader or a program relies on, not at whole texts: those may be improved.

use rivet_tests::engine::{Done, run};
use rivet_tests::{Engine, guest};
use serde_json::Value;

/// Standard output of a command that must succeed.
#[track_caller]
fn printed(done: &Done, what: &str) -> String {
    assert_eq!(done.code, Some(0), "{what}: exit code 0 expected, seen {:?} and {}", done.code, done.err);
    done.out.clone()
}

#[track_caller]
fn json(done: &Done, what: &str) -> Value {
    let out = printed(done, what);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{what}: one JSON value expected ({error}), seen {out}"))
}

#[track_caller]
fn holds(out: &str, parts: &[&str], what: &str) {
    for part in parts {
        assert!(out.contains(part), "{what}: {part:?} expected, seen:\n{out}");
    }
}

/// A command that must fail: with this exit code, these words on standard error, and nothing on standard output.
#[track_caller]
fn fails(done: &Done, code: i32, parts: &[&str], what: &str) {
    assert_eq!(done.code, Some(code), "{what}: exit code {code} expected, seen {:?}; {}{}", done.code, done.out, done.err);
    holds(&done.err, parts, what);
    assert_eq!(done.out, "", "{what}: results go to standard output, and this has none");
}

fn file(guest: &str) -> String {
    guest::path(guest).to_str().expect("a path that is text").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_come_and_go_back() {
    let engine = Engine::start().await;
    let none = engine.cli(&["deployments"]).await;
    printed(&none, "deployments, when there are none");
    holds(&none.err, &["nothing is deployed", "rivet-engine deploy"], "deployments, when there are none");

    let out = printed(&engine.cli(&["deploy", &file("counter")]).await, "deploy");
    holds(&out, &["counter version 1 is live in namespace default", "component ", "handles   http"], "deploy");
    let deployed = json(&engine.cli(&["deploy", &file("hostile"), "--name", "counter", "--json"]).await, "deploy --json");
    assert_eq!((&deployed["name"], &deployed["version"]), (&"counter".into(), &2.into()), "{deployed}");
    assert_eq!(deployed["handlers"].as_array().map(Vec::len), Some(4), "{deployed}");

    let out = printed(&engine.cli(&["deployments"]).await, "deployments");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "a head and two versions expected, seen:\n{out}");
    holds(lines[0], &["NAME", "POOL", "VERSION", "LIVE", "DEPLOYED", "SIZE", "COMPONENT"], "the head");
    let live: Vec<bool> = lines[1..].iter().map(|line| line.contains("live")).collect();
    assert_eq!(live, [false, true], "the second is live:\n{out}");

    holds(
        &printed(&engine.cli(&["rollback", "counter", "--to", "1"]).await, "rollback"),
        &["counter version 1 is live"],
        "rollback",
    );
    let listed = json(&engine.cli(&["deployments", "--json"]).await, "deployments --json");
    assert_eq!(listed["deployments"][0]["versions"][0]["live"], true, "{listed}");
    let back = json(&engine.cli(&["rollback", "counter", "--to", "2", "--json"]).await, "rollback --json");
    assert_eq!(back["version"], 2, "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_are_listed_shown_and_destroyed() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let none = engine.cli(&["actors", "list"]).await;
    printed(&none, "actors list, when there are none");
    holds(&none.err, &["no such actors"], "actors list, when there are none");

    let (first, _) = engine.get_or_create("hostile", "first", None).await;
    let (second, _) = engine.get_or_create("hostile", "second", None).await;
    engine.get(rivet_tests::address::by_id(&first, "/say?value=good%20day%1b[2J")).await.expect_ok("a line to log");
    engine.logged(&first, "good day").await;

    let out = printed(&engine.cli(&["actors", "list"]).await, "actors list");
    holds(&out, &["ACTOR", "KEY", "STATUS", &first, &second, "running"], "actors list");
    let one = json(&engine.cli(&["actors", "list", "--name", "hostile", "--key", "second", "--json"]).await, "actors list --json");
    assert_eq!(one["actors"].as_array().map(Vec::len), Some(1), "{one}");
    assert_eq!(one["actors"][0]["actor_id"], second.as_str(), "{one}");

    holds(&printed(&engine.cli(&["actors", "get", &first]).await, "actors get"), &["status", "running", &first], "actors get");
    assert_eq!(json(&engine.cli(&["actors", "get", &first, "--json"]).await, "actors get --json")["actor_id"], first.as_str());

    let out = printed(&engine.cli(&["logs", &first]).await, "logs");
    holds(&out, &["info  start: created", "warn  good day\u{fffd}[2J"], "logs");
    let out = printed(&engine.cli(&["logs", &first, "--json", "--limit", "1"]).await, "logs --json");
    let line: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("one line of JSON expected ({error}), seen {out}"));
    assert_eq!((&line["level"], &line["text"]), (&"warn".into(), &"good day\u{1b}[2J".into()), "{line}");

    let gone = printed(&engine.cli(&["actors", "destroy", &first]).await, "actors destroy");
    holds(&gone, &[&first, "is destroyed"], "actors destroy");
    let out = printed(&engine.cli(&["actors", "list", "--include-destroyed"]).await, "actors list --include-destroyed");
    holds(&out, &["destroyed", &first], "actors list --include-destroyed");
    json(&engine.cli(&["actors", "destroy", &second, "--json"]).await, "actors destroy --json");
    json(&engine.cli(&["actors", "destroy", &second, "--json"]).await, "destroying it once more, which changes nothing");
    let absent = rivet_tests::address::unknown(&second);
    fails(&engine.cli(&["actors", "destroy", &absent]).await, 1, &["actor.not_found"], "destroying what was never there");
    fails(&engine.cli(&["actors", "get", &absent]).await, 1, &["there is no actor"], "looking at what was never there");
    fails(&engine.cli(&["logs", &absent]).await, 1, &["actor.not_found"], "logs of what was never there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_one_sentence_and_an_exit_code() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let (wrong, missing) = (file("unknown-import"), file("no-such-guest"));
    let unknown = "0".repeat(30);
    let rows: [(&[&str], i32, &[&str]); 16] = [
        (&[], 2, &["Usage"]),
        (&["frobnicate"], 2, &["frobnicate"]),
        (&["deploy"], 2, &["FILE.wasm"]),
        (&["rollback", "counter"], 2, &["--to"]),
        (&["rollback", "counter", "--to", "first"], 2, &["first"]),
        (&["start", "--port", "70000"], 2, &["70000"]),
        (&["start", "--durability", "fast"], 2, &["sync, batch, batch:MS or relaxed"]),
        (&["deploy", &missing], 1, &["error: ", "cannot be read"]),
        (&["deploy", env!("CARGO_MANIFEST_DIR")], 1, &["is not a file"]),
        (&["deploy", &wrong, "--name", "counter"], 1, &["component.unknown_import", "the version before is still live"]),
        (&["deployments", "--namespace", "nowhere"], 1, &["namespace.not_found", "POST /namespaces"]),
        (&["rollback", "counter", "--to", "9"], 1, &["deployment.version_not_found"]),
        (&["rollback", "nobody", "--to", "1"], 1, &["deployment.not_found"]),
        (&["actors", "get", &unknown], 1, &["is not an actor id"]),
        (&["logs", "x"], 1, &["is not an actor id"]),
        (&["deployments", "--engine", "https://127.0.0.1"], 1, &["guard.https.port"]),
    ];
    for (arguments, code, parts) in rows {
        fails(&engine.cli(arguments).await, code, parts, &format!("{arguments:?}"));
        assert_eq!(engine.get(rivet_tests::address::by_key("counter", "a", "/")).await.number("a read"), 0, "after {arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_is_named_with_the_remedy() {
    let mut engine = Engine::start().await;
    let url = engine.url().to_string();
    engine.kill9();
    let counter = file("counter");
    let rows: [&[&str]; 6] = [
        &["deploy", &counter],
        &["deployments"],
        &["rollback", "counter", "--to", "1"],
        &["actors", "list"],
        &["actors", "get", "x"],
        &["logs", "x"],
    ];
    for arguments in rows {
        let parts = ["error: no engine answers at ", url.as_str(), "rivet-engine start", "--engine"];
        fails(&run(&url, arguments).await, 1, &parts, &format!("{arguments:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_every_command() {
    let help = run("", &["--help"]).await;
    let commands = [
        "start",
        "deploy",
        "deployments",
        "status",
        "configure",
        "rollback",
        "canary",
        "promote",
        "retry",
        "pin",
        "unpin",
        "actors",
        "logs",
    ];
    holds(&printed(&help, "--help"), &commands, "--help");
    for command in commands {
        holds(&printed(&run("", &[command, "--help"]).await, command), &["Usage: rivet-engine"], command);
    }
    holds(&printed(&run("", &["--version"]).await, "--version"), &["Rivet ", "Git SHA: ", "Cargo Profile: "], "--version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_on_the_same_data_is_refused() {
    let engine = Engine::start().await;
    let data = engine.data_dir();
    let second = run("", &["start", "--port", "0", "--data-dir", data.to_str().expect("a path that is text")]).await;
    assert_eq!(second.code, Some(1), "{}{}", second.out, second.err);
    holds(&second.err, &["error: "], "a second engine on the same data");
    engine.get("/health").await.expect_ok("the first one");
    let port = engine.url().rsplit(':').next().expect("a port").to_string();
    let other = engine.data_dir().with_extension("other");
    let third = run("", &["start", "--port", &port, "--data-dir", other.to_str().expect("a path that is text")]).await;
    assert_eq!(third.code, Some(1), "{}{}", third.out, third.err);
    holds(&third.err, &["error: ", &port], "a second engine on the same port");
}

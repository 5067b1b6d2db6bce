//! The counter that is written in four languages, feature by feature: what one answers, all answer.
//!
//! A row is a feature, a column a language; docs/LANGUAGES.md is the table that comes out. `UPDATE_EXPECT=1` writes it anew. What the
//! counter answers is written down in guest-examples/README.md.
//!
//! - [`actor`]: the counter of one language under one key, spoken to as a RivetKit client does, in JSON.
//! - [`features`]: the rows.

mod actor;
mod features;

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect_file;
use futures_util::FutureExt;
use reqwest::Method;
use rivet_tests::engine::is_remote;
use rivet_tests::{Engine, guest};

use crate::actor::Actor;
use crate::features::FEATURES;

/// A component with a large runtime is compiled for half a minute on a machine that does nothing else.
const DEPLOY_WITHIN: Duration = Duration::from_secs(600);

const SETTINGS: &str = r#"{"config":{"COLOUR":"blue"},"secrets":{"KEY":"s3cret"}}"#;

/// How the table calls it, and which guest it is.
const LANGUAGES: &[(&str, &str)] =
    &[("Rust", "counter-rust"), ("JavaScript", "counter-js"), ("Python", "counter-python"), ("C", "counter-c")];

const COMPILED_QUICKLY: &[&str] = &["Rust", "C"];

const HEAD: &str = "# What actors can do, in which language

Written by a test, `tests/tests/languages`: it drives the counter of [guest-examples](../guest-examples/README.md) in each language,
over HTTP and WebSockets. \"yes\" is a passed test.

";

#[tokio::test(flavor = "multi_thread")]
async fn every_language_has_every_feature() {
    let engine = Engine::start().await;
    // Where actors run makes no difference to a language, so those that take minutes to compile are driven in one place.
    let languages: Vec<_> = LANGUAGES.iter().filter(|(language, _)| !is_remote() || COMPILED_QUICKLY.contains(language)).collect();
    for (_, guest) in &languages {
        deploy(&engine, guest, guest::bytes(guest)).await;
        // For the upgrade: what is there before.
        deploy(&engine, &format!("{guest}-upgraded"), guest::another_version("counter-c", "before")).await;
    }
    let engine = Arc::new(engine);
    let mut table = String::from(HEAD);
    let names = languages.iter().map(|(language, _)| *language).collect::<Vec<_>>();
    writeln!(table, "| feature | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len())).expect("a String takes all");
    for (row, (feature, check)) in FEATURES.iter().enumerate() {
        let mut cells = Vec::new();
        for (language, guest) in &languages {
            let actor = Actor::new(engine.clone(), *guest, format!("row-{row}"));
            // A panic in there is told on standard error, and a "no" in the table.
            let passed = AssertUnwindSafe(check(actor)).catch_unwind().await.is_ok();
            eprintln!("{feature}, {language}: {}", if passed { "passed" } else { "FAILED; see above" });
            cells.push(if passed { "yes" } else { "no" });
        }
        writeln!(table, "| {feature} | {} |", cells.join(" | ")).expect("a String takes all");
    }
    assert!(!table.contains("| no |"), "{table}");
    if languages.len() == LANGUAGES.len() {
        expect_file!["../../../docs/LANGUAGES.md"].assert_eq(&table);
    }
}

async fn deploy(engine: &Engine, name: &str, component: Vec<u8>) {
    let put = engine.http(Method::PUT, &format!("/deployments/{name}?namespace=default")).timeout(DEPLOY_WITHIN);
    let put = put.header("x-rivet-settings", SETTINGS).body(component);
    let answer = put.send().await.unwrap_or_else(|error| panic!("{name}: an answer expected, seen {error}"));
    let (status, text) = (answer.status(), answer.text().await.expect("text"));
    assert!(status.is_success(), "{name}: {status} {text}");
}

//! Everything that can be wrong with what comes in: each is answered with its status, its code and a sentence that helps, and
//! the engine goes on serving.
//!
//! One table for each place where input arrives:
//! - [`deploys`]: components, and what is said about them. [`versions`]: settings, canaries, pins.
//! - [`api`]: requests about actors and namespaces.
//! - [`pools`]: requests about pools and runners.
//! - [`gateway`]: requests to actors.
//! - [`guests`]: what actors themselves do.
//! - [`wire`]: the bytes of connections.

mod api;
mod deploys;
mod gateway;
mod guests;
mod pools;
mod versions;
mod wire;

use rivet_tests::{Call, Engine};

/// What is wrong, the request, the status, `group.code` (empty where no body is sent), and a part of the sentence.
type Row = (&'static str, Call, u16, &'static str, &'static str);

/// All rows against one engine, and after each an increment that must be the next.
async fn check(engine: &Engine, rows: Vec<Row>) {
    engine.deploy("counter", "witness").await;
    let mut wrong = Vec::new();
    for (count, (what, call, status, code, part)) in (1..).zip(rows) {
        let answer = engine.send(call).await;
        if (answer.status, answer.code().as_str()) != (status, code) || !answer.message().contains(part) {
            wrong.push(format!("{what}:\n  expected {status} {code} with {part:?}\n  seen {answer}"));
        } else if code.is_empty() && !answer.body.is_empty() {
            wrong.push(format!("{what}: an empty body expected, seen {answer}"));
        }
        assert_eq!(engine.increment("witness", "a").await, count, "the engine serves as before after: {what}");
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

//! Tokens over their time: minted, listed, used, expired, revoked; by API and by command; on disk, and nowhere else.

use std::path::Path;

use rivet_tests::engine::run_with;
use rivet_tests::until::until;
use rivet_tests::{Call, Engine, Socket};
use serde_json::json;

use crate::{ADMIN, Secured};

const LIST: &str = "/deployments?namespace=default";

/// Whether any file below the folder has these bytes.
fn is_in(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => is_in(&path, bytes),
            false => std::fs::read(&path).expect("a file").windows(bytes.len()).any(|window| window == bytes),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn they_outlive_the_engine_and_only_their_hash_is_on_disk() {
    let mut secured = Secured::start_tracing("").await;
    let (id, token) = secured.mint("deploy", Some("default"), Some(3_600_000)).await;
    let (gone, revoked) = secured.mint("client", Some("other"), None).await;
    assert_eq!(secured.told(&token, Call::get(LIST)).await, "200");
    secured.revoke(&gone).await;
    // In every other place where somebody may put one.
    secured.engine.get(format!("/gateway/x/y?rvt-namespace=default&rvt-method=get&rvt-token={token}")).await;
    secured.engine.send(Call::get("/envoys/connect").header("x-rivet-token", token.as_str())).await;
    let target = format!("/gateway/x/y?rvt-namespace=default&rvt-method=get&rvt-token={token}");
    Socket::open(&secured.engine, &target, &format!("rivet, rivet_token.{token}")).await.closed().await;
    // And where nobody should: what is said about it quotes no token.
    let actor = protocol::id::Id::new([1; 16], 1);
    let misplaced = [
        format!("/gateway/{actor}%40{token}/x"),
        format!("/gateway/{actor}%2540{token}/x"),
        format!("/gateway//{actor}@{token}/x"),
        format!("/gateway/name@{token}/x?rvt-namespace=default&rvt-method=get"),
        format!("/gateway/{actor}/x?rvt-token={token}"),
        format!("/gateway/name/x?rvt-namespace=default&rvt-method=get&rvt-token={token}&rvt-token={token}"),
        format!("/gateway/name/x?rvt-namespace=default&rvt-method=get&rvt-toke={token}"),
        format!("/nothing@{token}"),
        format!("/actors/{actor}@{token}/logs?namespace=default"),
        format!("/deployments?namespace=default&token={token}"),
        format!("/envoys/connect?protocol_version=8&namespace=default&token={token}"),
    ];
    for target in &misplaced {
        let answer = secured.engine.get(target).await;
        assert!(answer.status >= 400 && !answer.text().contains(&token), "{target}: {answer}");
        let elsewhere = Call::get(target).header("x-rivet-target", "moon").header("authorization", format!("Bearer {token}"));
        let answer = secured.engine.send(elsewhere).await;
        assert!(answer.status >= 400 && !answer.text().contains(&token), "{target}: {answer}");
        for protocols in ["rivet", "rivet, rivet_target.moon"] {
            let (_, reason) = Socket::open(&secured.engine, target, protocols).await.closed().await;
            assert!(!reason.contains(&token), "{target}: {reason}");
        }
    }
    let audit = secured.send(ADMIN, Call::get("/audit?limit=1000")).await.expect_ok("the audit log").text();
    assert!(audit.contains("access.refused") && !audit.contains(&token), "{audit}");
    let log = secured.engine.log();
    assert!(log.contains("DEBUG"), "it was to write everything");
    secured.engine.kill9();
    let data = secured.engine.data_dir();
    assert!(is_in(&data, id.as_bytes()), "this finds what is there");
    for secret in [&token[..], &revoked, &token[16..], ADMIN] {
        assert!(!is_in(&data, secret.as_bytes()), "{secret} is on disk");
        assert!(!log.contains(secret), "{secret} is in the log");
    }

    secured.engine.restart().await;
    assert_eq!(secured.told(&token, Call::get(LIST)).await, "200");
    assert_eq!(secured.told(&revoked, Call::get(LIST)).await, "403 Invalid token");
    let listed = secured.send(ADMIN, Call::get("/tokens")).await.expect_ok("a list").json();
    let [one] = &listed["tokens"].as_array().expect("a list")[..] else { panic!("one token expected, seen {listed}") };
    assert_eq!(
        (&one["id"], &one["role"], &one["namespace"], &one["name"]),
        (&json!(id), &json!("deploy"), &json!("default"), &json!("a test's"))
    );
    assert_eq!(
        one["expire_ts"].as_u64().zip(one["create_ts"].as_u64()).map(|(to, from)| (to - from).div_ceil(60_000)),
        Some(60),
        "{one}"
    );
    assert!(one["used_ts"].is_u64(), "{one}");
    assert_eq!(one.as_object().map(|one| one.len()), Some(7), "nothing else is shown: {one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_or_is_revoked_is_of_no_use() {
    let secured = Secured::start().await;
    let (_, brief) = secured.mint("deploy", Some("default"), Some(1_500)).await;
    let (id, other) = secured.mint("deploy", Some("default"), None).await;
    assert_eq!(secured.told(&brief, Call::get(LIST)).await, "200");
    assert_eq!(secured.told(&other, Call::get(LIST)).await, "200");
    secured.revoke(&id).await;
    assert_eq!(secured.told(&other, Call::get(LIST)).await, "403 Invalid token", "at once");
    until("the token has expired", async || match &*secured.told(&brief, Call::get(LIST)).await {
        "403 Token expired" => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
    let refused = secured.send(ADMIN, Call::delete(format!("/tokens/{id}"))).await;
    assert_eq!(refused.code(), "token.not_found", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_minted() {
    let secured = Secured::start().await;
    let long = "x".repeat(129);
    let rows = [
        ("/tokens?namespace=nowhere", json!({ "role": "client" }), "namespace.not_found"),
        ("/tokens", json!({ "role": "client" }), "token.invalid"),
        ("/tokens", json!({ "role": "admin" }), "token.invalid"),
        ("/tokens?namespace=default", json!({ "role": "king" }), "api.bad_request"),
        ("/tokens?namespace=default", json!({ "name": "x" }), "api.bad_request"),
        ("/tokens?namespace=default", json!({ "role": "client", "name": long }), "token.invalid"),
        ("/tokens?namespace=default", json!({ "role": "client", "name": "a\nb" }), "token.invalid"),
        ("/tokens?namespace=default", json!({ "role": "client", "expires_in_ms": 0 }), "token.invalid"),
        ("/tokens?namespace=default", json!({ "role": "client", "expires_in_ms": -1 }), "api.bad_request"),
        ("/tokens?namespace=default&namespace=other", json!({ "role": "client" }), "api.bad_request"),
    ];
    for (target, body, expected) in rows {
        let answer = secured.send(ADMIN, Call::post(target).json(&body)).await;
        assert_eq!(answer.code(), expected, "{target} {body}: {answer}");
    }
    // Where nothing is checked, a token would be a promise that nobody keeps; and any that is brought is nothing.
    let open = Engine::start().await;
    let answer = open.send(Call::post("/tokens?namespace=default").json(&json!({ "role": "client" }))).await;
    assert_eq!(answer.code(), "token.not_checked", "{answer}");
    open.send(Call::get(LIST).header("authorization", "Bearer dev")).await.expect_ok("a list");
    assert!(open.log().contains("no token is configured (auth.admin_token): whoever is on this machine can do everything"));
    let open = Engine::start_alone(&["--host", "0.0.0.0"]).await;
    assert!(open.log().contains("WARN whoever reaches this address can do everything: no token is configured"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands() {
    let secured = Secured::start().await;
    let url = secured.engine.url();
    let as_admin = [("RIVET_ENDPOINT", url), ("RIVET_TOKEN", ADMIN)];
    let minted =
        run_with(&["tokens", "create", "--role", "admin", "--namespace", "other", "--expires", "30d", "--name", "Ada"], &as_admin)
            .await;
    assert_eq!(minted.code, Some(0), "{}", minted.err);
    // Standard output is the token and nothing else.
    let token = minted.out.trim();
    assert!(token.starts_with("sk_") && token.len() == 59, "{}", minted.out);
    assert!(minted.err.contains("namespace other, role admin, expires ") && !minted.err.contains(token), "{}", minted.err);

    let runner = run_with(&["tokens", "create", "--role", "runner", "--all-namespaces"], &as_admin).await;
    assert!(runner.err.contains("for all namespaces, role runner, never expires"), "{}", runner.err);
    let listed = run_with(&["tokens", "list"], &as_admin).await;
    assert!(listed.out.lines().count() == 3 && listed.out.contains("(all)") && listed.out.contains("Ada"), "{}", listed.out);

    // With the token in the address, as clients of the original write it.
    let address = url.replace("http://", &format!("http://other:{token}@"));
    let as_ada = [("RIVET_ENDPOINT", address.as_str())];
    let listed = run_with(&["tokens", "list", "--json"], &as_ada).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&listed.out).expect("JSON")["tokens"].as_array().map(Vec::len), Some(1));
    assert_eq!(run_with(&["deployments"], &as_ada).await.code, Some(0));
    let elsewhere = url.replace("http://", &format!("http://default:{token}@"));
    let refused = run_with(&["deployments"], &[("RIVET_ENDPOINT", &elsewhere)]).await;
    assert!(refused.code == Some(1) && refused.err.contains("another namespace"), "{}", refused.err);

    let id = &token[3..15];
    let revoked = run_with(&["tokens", "revoke", id], &as_ada).await;
    assert_eq!((revoked.code, revoked.out.trim()), (Some(0), &*format!("token {id} is revoked")), "{}", revoked.err);
    assert_eq!(run_with(&["deployments"], &as_ada).await.code, Some(1));

    let log = run_with(&["audit", "--act", "token", "--limit", "10"], &as_admin).await;
    let acts: Vec<&str> =
        log.out.lines().skip(1).filter_map(|line| line.split_whitespace().find(|word| word.contains("token."))).collect();
    assert_eq!(acts, ["token.revoke", "token.create", "token.create"], "{}", log.out);
    assert!(log.out.contains(&format!("token {id}")) && log.out.contains("127.0.0.1"), "{}", log.out);

    // What is wrong with an address is said before anything is sent.
    let rows = [
        (url.replace("http://", "http://:t@"), "the address holds a token and no namespace"),
        (format!("{url}?x"), "the address has a query or a fragment"),
    ];
    for (address, sentence) in rows {
        let done = run_with(&["tokens", "list"], &[("RIVET_ENDPOINT", &address)]).await;
        assert!(done.code == Some(1) && done.err.contains(sentence), "{address}: {}", done.err);
    }
}

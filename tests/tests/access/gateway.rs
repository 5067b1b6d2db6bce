//! Calls to actors, where these need a token: the four ways to bring one, who may, and that no actor gets to see it.

use protocol::wire::EnvoyVersion;
use protocol::wire::actor::ActorCheckpoint;
use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::{Call, Envoy, Socket, address};
use serde_json::json;

use crate::{ADMIN, Secured};

/// An actor on a runner that shows what it is sent, in the namespace `default`.
pub struct Stage {
    pub secured: Secured,
    pub envoy: Envoy,
    pub actor: String,
    /// Where it runs.
    pub at: ActorCheckpoint,
    client: String,
}

impl Stage {
    pub async fn new(secured: Secured) -> Stage {
        let pool = json!({ "datacenters": { "default": { "normal": {} } } });
        secured.send(ADMIN, Call::put("/runner-configs/default?namespace=default").json(&pool)).await.expect_ok("a pool");
        let target = "/envoys/connect?protocol_version=8&namespace=default&envoy_key=abc&version=1&pool_name=default";
        let (_, runner) = secured.mint("runner", Some("default"), None).await;
        let protocols = format!("rivet, rivet_token.{runner}");
        let mut envoy = Envoy::connect_at(&secured.engine, target, &protocols, EnvoyVersion::NEWEST).await;
        let create = json!({ "name": "web", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep" });
        let made = secured.send(ADMIN, Call::put("/actors?namespace=default").json(&create)).await.expect_ok("an actor").json();
        let at = envoy.start().await;
        envoy.running(&at).await;
        let (_, client) = secured.mint("client", Some("default"), None).await;
        let actor = made["actor"]["actor_id"].as_str().expect("an id").to_string();
        Stage { secured, envoy, actor, at, client }
    }

    /// Sends it; answers it as the actor, should it get there. The answer, and what the actor saw: path and headers.
    async fn call(&mut self, call: Call) -> (rivet_tests::Answer, Option<(String, Vec<(String, String)>)>) {
        let mut seen = None;
        let answer = {
            let sent = self.secured.engine.send(call);
            tokio::pin!(sent);
            loop {
                tokio::select! {
                    answer = &mut sent => break answer,
                    (id, message) = self.envoy.tunnel() => {
                        let ToEnvoyTunnel::RequestStart { path, headers, .. } = message else { continue };
                        seen = Some((path, headers));
                        let response = ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: Some("hello".into()), stream: false };
                        self.envoy.respond(id, response).await;
                    }
                }
            }
        };
        (answer, seen)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_ways_to_bring_a_token() {
    let mut stage = Stage::new(Secured::start_with("auth:\n  gateway: true").await).await;
    let (actor, token) = (stage.actor.clone(), stage.client.clone());
    let by_key = |more: &str| address::by_key_if_there("web", "k", &format!("/x{more}"));
    let by_header = || Call::get("/request/x").header("x-rivet-target", "actor").header("x-rivet-actor", actor.as_str());
    let rows = [
        ("none, by id", Call::get(format!("/gateway/{actor}/x")), "Token not provided"),
        ("none, by key", Call::get(by_key("")), "Token not provided"),
        ("none, by header", by_header(), "Token not provided"),
        (
            "in the wrong place",
            Call::get(format!("/gateway/{actor}/x")).header("authorization", format!("Bearer {token}")),
            "Token not provided",
        ),
        ("a wrong one", Call::get(format!("/gateway/{actor}@{token}x/x")), "Invalid token"),
        (
            "the path's counts first",
            Call::get(format!("/gateway/{actor}@wrong/x")).header("x-rivet-token", token.as_str()),
            "Invalid token",
        ),
        ("in the path", Call::get(format!("/gateway/{actor}@{token}/x")), ""),
        ("in the path, encoded", Call::get(format!("/gateway/{actor}@{}/x", token.replace('_', "%5F"))), ""),
        ("in the query", Call::get(by_key(&format!("?rvt-token={token}"))), ""),
        ("in a header", Call::get(format!("/gateway/{actor}/x")).header("x-rivet-token", token.as_str()), ""),
        ("in a header, by key", Call::get(by_key("")).header("x-rivet-token", token.as_str()), ""),
        ("in a header, by header", by_header().header("x-rivet-token", token.as_str()), ""),
    ];
    for (what, call, reason) in rows {
        let (answer, seen) = stage.call(call.header("origin", "http://a.example")).await;
        match reason {
            "" => {
                let (path, headers) = seen.unwrap_or_else(|| panic!("{what}: {answer}"));
                assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{what}");
                let all = format!("{path} {headers:?}");
                assert!(path.ends_with("/x") && !all.contains(&token) && !all.contains("x-rivet-token"), "{what}: {all}");
            }
            reason => {
                assert_eq!((answer.status, answer.code().as_str()), (403, "api.forbidden"), "{what}: {answer}");
                assert_eq!(answer.json()["metadata"]["reason"], reason, "{what}");
                assert_eq!(answer.header("access-control-allow-origin"), "http://a.example", "{what}: a page may read why");
                assert!(seen.is_none(), "{what}");
            }
        }
    }
    // Browsers ask first, and without a token.
    let preflight = stage.secured.engine.send(Call::new("OPTIONS", format!("/gateway/{actor}/x"))).await;
    assert_eq!(preflight.status, 204, "{preflight}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call() {
    let mut stage = Stage::new(Secured::start_with("auth:\n  gateway: true").await).await;
    let create = |token: &str| Call::get(format!("{}&rvt-token={token}", address::by_key("web", "k", "/x")));
    let mut rows =
        vec![("the engine's admin".to_string(), ADMIN.to_string(), ""), ("nobody".to_string(), "dev".to_string(), "Invalid token")];
    for role in ["admin", "deploy", "runner", "client"] {
        rows.push((role.to_string(), stage.secured.mint(role, Some("default"), None).await.1, ""));
        rows.push((
            format!("{role} of another"),
            stage.secured.mint(role, Some("other"), None).await.1,
            "Token of another namespace",
        ));
    }
    rows.push(("runner of all".to_string(), stage.secured.mint("runner", None, None).await.1, ""));
    for (who, token, reason) in rows {
        let by_id = Call::get(format!("/gateway/{}/x", stage.actor)).header("x-rivet-token", token.as_str());
        for call in [by_id, create(&token)] {
            let target = call.target.clone();
            let (answer, seen) = stage.call(call).await;
            assert_eq!(seen.is_some(), reason.is_empty(), "{who} {target}: {answer}");
            if !reason.is_empty() {
                assert_eq!(
                    (answer.status, answer.json()["metadata"]["reason"].as_str()),
                    (403, Some(reason)),
                    "{who} {target}: {answer}"
                );
            }
        }
    }
    // Once it is revoked it is of no use.
    let (id, token) = stage.secured.mint("client", Some("default"), None).await;
    stage.secured.revoke(&id).await;
    let (answer, _) = stage.call(create(&token)).await;
    assert_eq!(answer.status, 403, "{answer}");
    // What is not there is not there for those only who may look.
    let unknown = format!("/gateway/{}@{}/x", address::unknown(&stage.actor), stage.client);
    assert_eq!(stage.call(Call::get(unknown)).await.0.code(), "actor.not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_bring_theirs_among_the_protocols() {
    let mut stage = Stage::new(Secured::start_with("auth:\n  gateway: true").await).await;
    let (actor, token) = (stage.actor.clone(), stage.client.clone());
    let (_, other) = stage.secured.mint("client", Some("other"), None).await;
    let closed = [
        (format!("/gateway/{actor}/x"), "rivet".to_string()),
        (format!("/gateway/{actor}/x"), "rivet, rivet_token.wrong".to_string()),
        (format!("/gateway/{actor}@wrong/x"), "rivet".to_string()),
        (format!("/gateway/{actor}/x"), format!("rivet, rivet_token.{other}")),
        (address::by_key_if_there("web", "k", "/x"), format!("rivet, rivet_token.{other}")),
    ];
    for (target, protocols) in closed {
        let seen = Socket::open(&stage.secured.engine, &target, &protocols).await.closed().await;
        assert_eq!(seen, (1011, "api.forbidden".to_string()), "{target} {protocols}");
    }
    let opened = [
        (format!("/gateway/{actor}/x"), format!("rivet, rivet_token.{token}, rivet_conn_params.abc")),
        (format!("/gateway/{actor}@{token}/x"), "rivet, rivet_conn_params.abc".to_string()),
        (address::by_key_if_there("web", "k", &format!("/x?rvt-token={token}")), "rivet, rivet_conn_params.abc".to_string()),
        (
            format!("/x?a={}", 1),
            format!("rivet, rivet_target.actor, rivet_actor.{actor}, rivet_token.{token}, rivet_conn_params.abc"),
        ),
    ];
    for (target, protocols) in opened {
        let _socket = Socket::open(&stage.secured.engine, &target, &protocols).await;
        let (path, headers) = loop {
            if let (_, ToEnvoyTunnel::WebSocketOpen { path, headers, .. }) = stage.envoy.tunnel().await {
                break (path, headers);
            }
        };
        let all = format!("{path} {headers:?}");
        assert!(!all.contains(&token) && all.contains("rivet_conn_params.abc"), "{target}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_that_is_turned_on_a_token_is_the_actors_if_it_is_no_secret_of_the_engines() {
    let mut stage = Stage::new(Secured::start().await).await;
    let mut rows = vec![("anything".to_string(), true), (stage.client.clone(), true), (ADMIN.to_string(), false)];
    for role in ["runner", "deploy", "admin"] {
        for namespace in ["default", "other"] {
            rows.push((stage.secured.mint(role, Some(namespace), None).await.1, false));
        }
    }
    let (id, revoked) = stage.secured.mint("admin", Some("default"), None).await;
    stage.secured.revoke(&id).await;
    rows.push((revoked, true));
    let target = format!("/gateway/{}@whatever/x", stage.actor);
    for (token, is_seen) in rows {
        let (answer, seen) = stage.call(Call::get(&target).header("x-rivet-token", "first").header("x-rivet-token", &token)).await;
        assert_eq!(answer.status, 200, "{answer}");
        let (_, headers) = seen.expect("it gets there");
        let brought = headers.iter().find(|(name, _)| name == "x-rivet-token").map(|(_, brought)| brought.clone());
        assert_eq!(brought, is_seen.then(|| format!("first, {token}")), "{headers:?}");

        if token.contains('\'') {
            // No item of a protocol can have that.
            continue;
        }
        let offered = [("sec-websocket-protocol", format!("rivet, rivet_token.{token}")), ("x-rivet-token", token.clone())];
        let offered: Vec<(&str, &str)> = offered.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let _socket = Socket::open_with(&stage.secured.engine, &target, &offered).await.expect("a socket");
        let headers = loop {
            if let (_, ToEnvoyTunnel::WebSocketOpen { headers, .. }) = stage.envoy.tunnel().await {
                break format!("{headers:?}");
            }
        };
        assert_eq!(headers.matches(&token).count(), if is_seen { 2 } else { 0 }, "{token}: {headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_be_turned_on_where_nobody_could_mint() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let arguments = ["start", "--port", "0", "--data-dir", data.to_str().expect("a path that is text")];
    let rows = [
        (vec![("RIVET__AUTH__GATEWAY", "true")], "auth.gateway is on and there is no auth.admin_token"),
        (vec![("RIVET__OUTBOUND__SEND_ADMIN_TOKEN", "1"), ("RIVET__OUTBOUND__SEND_RUNNER_TOKEN", "1")], "are both on"),
        (vec![("RIVET__AUDIT__ENTRIES_MAX", "0")], "audit.entries_max"),
    ];
    for (variables, sentence) in rows {
        let done = rivet_tests::engine::run_with(&arguments, &variables).await;
        assert!(done.code == Some(1) && done.err.contains(sentence), "{variables:?}: {}", done.err);
    }
}

//! Who may connect as a runner, with which token, and until when.

use protocol::wire::EnvoyVersion;
use rivet_tests::runner::Runner;
use rivet_tests::until::until;
use rivet_tests::{Call, Envoy, Socket};
use serde_json::json;

use crate::{ADMIN, Secured, with};

fn envoy(namespace: &str) -> String {
    format!("/envoys/connect?protocol_version=8&namespace={namespace}&envoy_key=abc&version=1&pool_name=p")
}

fn legacy(namespace: &str) -> String {
    format!("/runners/connect?protocol_version=9&namespace={namespace}&runner_key=abc")
}

const COMPONENTS: &str = "/runners/components/connect?protocol_version=2&runner_key=wasm&version=1";

async fn make_pool(secured: &Secured) {
    let body = json!({ "datacenters": { "default": { "normal": {} } } });
    secured.send(ADMIN, Call::put("/runner-configs/p?namespace=default").json(&body)).await.expect_ok("a pool");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_connect() {
    let secured = Secured::start().await;
    let mint = async |role: &str, namespace| secured.mint(role, namespace, None).await.1;
    let (runner, other) = (mint("runner", Some("default")).await, mint("runner", Some("other")).await);
    let (all, admin) = (mint("runner", None).await, mint("admin", Some("default")).await);
    let (deploy, client) = (mint("deploy", Some("default")).await, mint("client", Some("default")).await);
    // Whoever gets past the token is told of something else: no pool, no such protocol, a key that is taken.
    let (in_envoys, in_legacy, in_components) = ("ws.no_runner_config", "ws.invalid_packet", "ws.invalid_request");
    let forbidden = "api.forbidden";
    let rows = [
        ("runner", &runner, [in_envoys, forbidden, forbidden, in_legacy, forbidden]),
        ("runner of another", &other, [forbidden, in_envoys, forbidden, in_legacy, forbidden]),
        ("runner of all", &all, [in_envoys, in_envoys, "namespace.not_found", in_legacy, in_components]),
        ("admin", &admin, [in_envoys, forbidden, forbidden, in_legacy, forbidden]),
        ("deploy", &deploy, [forbidden; 5]),
        ("client", &client, [forbidden; 5]),
        ("the engine's admin", &ADMIN.to_string(), [in_envoys, in_envoys, "namespace.not_found", in_legacy, in_components]),
        ("nobody's", &"sk_abcdefghijkl_x".to_string(), [forbidden; 5]),
    ];
    for (what, token, expected) in rows {
        let targets = [envoy("default"), envoy("other"), envoy("nowhere"), legacy("default"), COMPONENTS.to_string()];
        for (target, expected) in targets.iter().zip(expected) {
            let seen = Socket::open(&secured.engine, target, &format!("rivet, rivet_token.{token}")).await.closed().await;
            assert_eq!(seen, (1011, expected.to_string()), "{what}: {target}");
        }
    }
    // Without asking for a WebSocket.
    for (token, status) in [(&runner, 200), (&client, 403), (&"wrong".to_string(), 403)] {
        let answer = secured.engine.send(Call::get("/envoys/connect").header("x-rivet-token", token.as_str())).await;
        assert_eq!(answer.status, status, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token() {
    let secured = Secured::start().await;
    make_pool(&secured).await;
    let connect = async |token: &str| {
        let protocols = format!("rivet, rivet_token.{token}");
        Envoy::connect_at(&secured.engine, &envoy("default"), &protocols, EnvoyVersion::NEWEST).await
    };
    let (id, token) = secured.mint("runner", Some("default"), None).await;
    let mut connected = connect(&token).await;
    // Others that come and go are nothing to it.
    let (unrelated, _) = secured.mint("runner", Some("default"), None).await;
    secured.revoke(&unrelated).await;
    assert_eq!(secured.told(ADMIN, Call::get("/envoys?namespace=default&envoy_key=abc")).await, "200");
    secured.revoke(&id).await;
    assert_eq!(connected.socket.closed().await, (1011, "token.revoked".to_string()));
    let again = Socket::open(&secured.engine, &envoy("default"), &format!("rivet, rivet_token.{token}")).await.closed().await;
    assert_eq!(again, (1011, "api.forbidden".to_string()));

    let (_, token) = secured.mint("runner", Some("default"), Some(1_500)).await;
    let mut connected = connect(&token).await;
    assert_eq!(connected.socket.closed().await, (1011, "token.expired".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_of_components_have_a_token_for_all_namespaces() {
    let secured = Secured::start_with("wasm: {enabled: false}").await;
    let (id, token) = secured.mint("runner", None, None).await;
    let mut runner = Runner::new("elsewhere", &["--token".to_string(), token.clone()]);
    runner.restart(secured.engine.url()).await;
    let deploy = with(ADMIN, Call::put("/deployments/counter?namespace=default").body(rivet_tests::guest::bytes("counter")));
    secured.engine.send(deploy).await.expect_ok("a deploy");
    // Calls to actors need no token here, also if the API does.
    assert_eq!(secured.engine.increment("counter", "a").await, 1);
    secured.revoke(&id).await;
    assert_eq!(runner.process().ended().await, Some(1));
    let log = runner.process().log();
    assert!(log.contains("the engine does not take this runner's token") && !log.contains(&token), "{log}");
    until("nobody runs components", async || {
        let listed = secured.send(ADMIN, Call::get("/envoys?namespace=default")).await.json();
        listed["envoys"].as_array().is_some_and(Vec::is_empty).then_some(()).ok_or(listed.to_string())
    })
    .await;
    let (_, of_one) = secured.mint("runner", Some("default"), None).await;
    let refused = secured.engine.cli(&["runner", "--token", &of_one, "--key", "k"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("a runner of all namespaces"), "{}", refused.err);
}

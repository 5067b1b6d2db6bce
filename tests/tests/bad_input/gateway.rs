//! What can be wrong with a request to an actor: its address, its headers, its body.

use rivet_tests::address::{by_id, by_key, unknown};
use rivet_tests::{Call, Engine};

use crate::{Row, check};

const BODY_BYTES_MAX: usize = 20 * 1024 * 1024;
const GET: &str = "rvt-namespace=default&rvt-method=get";
const CREATE: &str = "rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=default";

fn keyed(parameters: &str) -> Call {
    Call::get(format!("/gateway/witness/?{parameters}"))
}

fn get(more: &str) -> Call {
    keyed(&format!("{GET}{more}"))
}

fn create(more: &str) -> Call {
    keyed(&format!("{CREATE}{more}"))
}

fn parameters() -> Vec<Row> {
    let invalid = "guard.query_invalid_params";
    let disallowed = "guard.query_get_disallowed_params";
    vec![
        ("no namespace", keyed("rvt-method=get"), 400, invalid, "rvt-namespace is missing"),
        ("a namespace that is not there", keyed("rvt-namespace=nowhere&rvt-method=get"), 400, "namespace.not_found", "\"nowhere\""),
        ("no method", keyed("rvt-namespace=default"), 400, invalid, "rvt-method is missing"),
        ("a method that nobody knows", keyed("rvt-namespace=default&rvt-method=create"), 400, invalid, "get or getOrCreate"),
        ("a parameter that nobody knows", get("&rvt-colour=red"), 400, invalid, "rvt-colour is not known"),
        ("the same twice", get("&rvt-key=a&rvt-key=b"), 400, "guard.query_duplicate_param", "rvt-key is given twice"),
        ("a key that is not text", get("&rvt-key=%ff"), 400, "guard.query_invalid_percent_encoding", "rvt-key"),
        ("neither waiting nor not", get("&rvt-skip-ready-wait=maybe"), 400, invalid, "true, 1, false or 0"),
        ("get with input", get("&rvt-input=oA"), 400, disallowed, "never creates"),
        ("get with a region", get("&rvt-region=default"), 400, disallowed, "leave out"),
        ("get with a policy", get("&rvt-crash-policy=sleep"), 400, disallowed, "rvt-crash-policy"),
        ("get with a runner", get("&rvt-runner=default"), 400, disallowed, "rvt-runner"),
        (
            "no pool to create in",
            keyed("rvt-namespace=default&rvt-method=getOrCreate"),
            400,
            "guard.query_missing_pool",
            "needs rvt-pool",
        ),
        ("input that is not base64", create("&rvt-input=*"), 400, "guard.query_invalid_base64_input", "base64url"),
        ("input that is padded", create("&rvt-input=oA=="), 400, "guard.query_invalid_base64_input", "without padding"),
        ("input that is not CBOR", create("&rvt-input=Zm9v"), 400, "guard.query_invalid_cbor_input", "not one CBOR value"),
        ("input that is nothing", create("&rvt-input="), 400, "guard.query_invalid_cbor_input", "not one CBOR value"),
        ("input that is longer than all memory", create("&rvt-input=m___________"), 400, "guard.query_invalid_cbor_input", ""),
        ("a policy that nobody knows", create("&rvt-crash-policy=panic"), 400, invalid, "restart, sleep or destroy"),
        ("a region that is not there", create("&rvt-region=mars"), 400, "datacenter.not_found", "\"mars\""),
        (
            "a key of 1025 bytes",
            create(&format!("&rvt-key={}", "k".repeat(1025))),
            400,
            "actor.key_too_large",
            "1025 bytes; at most 1024",
        ),
        (
            "a token in the path",
            Call::get(format!("/gateway/witness@token/?{GET}")),
            400,
            "guard.query_path_token_syntax",
            "rvt-token",
        ),
        ("no name", Call::get(format!("/gateway/?{GET}")), 400, "guard.query_empty_actor_name", "names no actor"),
        ("a name that is not text", Call::get(format!("/gateway/%ff/?{GET}")), 400, "guard.query_invalid_percent_encoding", "name"),
        (
            "a name of 257 bytes",
            Call::get(format!("/gateway/{}/?{CREATE}", "n".repeat(257))),
            400,
            "actor.name_too_large",
            "257 bytes",
        ),
        (
            "a name that nothing is deployed under",
            Call::get(format!("/gateway/nobody/?{CREATE}")),
            400,
            "actor.no_runner_config_configured",
            "\"default\"",
        ),
        ("an actor that is not there", get("&rvt-key=absent"), 404, "actor.not_found", "no such actor"),
        ("an address of 70,000 bytes", get(&format!("&x={}", "x".repeat(70_000))).announced(0), 414, "", ""),
    ]
}

fn addresses() -> Vec<Row> {
    let to_actor = || Call::get("/request/").header("x-rivet-target", "actor");
    let upgrade = |target: &str| Call::get(target).header("connection", "upgrade").header("upgrade", "websocket");
    vec![
        ("what is no id", Call::get("/gateway/x/"), 400, "api.bad_request", "30 characters, this has 1"),
        ("an id with upper case", Call::get(by_id(&"A".repeat(30), "/")), 400, "api.bad_request", "0-9 and a-z"),
        ("an id that is too large", Call::get(by_id(&"z".repeat(30), "/")), 400, "api.bad_request", "19 bytes"),
        ("an id of another version", Call::get(by_id(&"0".repeat(30), "/")), 400, "api.bad_request", "version 0"),
        ("an actor that is not there", Call::get(by_id("UNKNOWN", "/")), 404, "actor.not_found", "no such actor"),
        ("no id", Call::get("/gateway/"), 404, "api.not_found", ""),
        ("two slashes", Call::get("/gateway//KNOWN/"), 404, "api.not_found", ""),
        ("an empty token", Call::get("/gateway/KNOWN@/"), 404, "api.not_found", ""),
        ("another word that begins alike", Call::get("/gatewayx/KNOWN/"), 404, "api.not_found", ""),
        ("no actor in the headers", to_actor(), 400, "guard.missing_header", "x-rivet-actor"),
        ("what is no id in the headers", to_actor().header("x-rivet-actor", "x"), 400, "api.bad_request", "is not an actor id"),
        (
            "a path that is not for actors",
            Call::get("/").header("x-rivet-target", "actor"),
            404,
            "guard.no_route",
            "nothing is served at /",
        ),
        ("a target that nobody knows", Call::get("/").header("x-rivet-target", "moon"), 404, "guard.no_route", ""),
        (
            "a header that is neither yes nor no",
            Call::get(by_id("KNOWN", "/")).header("x-rivet-skip-ready-wait", "maybe"),
            400,
            "guard.invalid_header",
            "x-rivet-skip-ready-wait",
        ),
        ("a socket without a key", upgrade("/gateway/KNOWN/"), 400, "api.bad_request", "sec-websocket-key"),
        ("a socket to the API without a key", upgrade("/actors"), 400, "api.bad_request", "sec-websocket-key"),
    ]
}

fn bodies() -> Vec<Row> {
    let too_large = "guard.invalid_request_body";
    let put = || Call::post(by_key("witness", "a", "/"));
    vec![
        ("20 MiB and a byte, announced", put().announced(BODY_BYTES_MAX as u64 + 1), 413, too_large, "longer than 20971520 bytes"),
        ("more than any number", put().announced(1 << 60), 413, too_large, "longer than 20971520 bytes"),
        ("20 MiB and a byte, sent", put().body(vec![0; BODY_BYTES_MAX + 1]), 413, too_large, "longer than 20971520 bytes"),
        ("20 MiB and a byte, without saying so", put().chunked(BODY_BYTES_MAX + 1), 413, too_large, "longer than 20971520 bytes"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_to_actors_are_refused() {
    let engine = Engine::start().await;
    engine.deploy("counter", "witness").await;
    let (known, _) = engine.get_or_create("witness", "a", None).await;
    let unknown = unknown(&known);
    let mut rows = [parameters(), addresses(), bodies()].concat();
    for (_, call, ..) in &mut rows {
        call.target = call.target.replace("UNKNOWN", &unknown).replace("KNOWN", &known);
    }
    check(&engine, rows).await;
}

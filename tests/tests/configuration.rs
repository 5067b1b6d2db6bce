//! What can be wrong with a configuration, and what is said about it; and that `config schema` says the same as the engine.

use std::fs;
use std::path::Path;

use boon::{Compiler, Schemas};
use expect_test::{Expect, expect};
use rivet_tests::engine::{Done, run_with};
use serde_json::Value;
use tempfile::TempDir;

/// What is said by what: files by their names, variables of the environment, flags.
struct Case<'a> {
    files: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

const fn file<'a>(files: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { files, variables: &[], flags: &[] }
}

const fn variable<'a>(variables: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { files: &[], variables, flags: &[] }
}

/// `config check`, and what it wrote with the folder's name left out.
async fn check(folder: &Path, case: &Case<'_>) -> Done {
    let mut arguments = vec!["config".to_string(), "check".to_string()];
    for (name, text) in case.files {
        let path = folder.join(name);
        // Without a text it is one that is not there.
        if !text.is_empty() {
            fs::write(&path, text).expect("a file");
        }
        arguments.extend(["--config".to_string(), path.display().to_string()]);
    }
    arguments.extend(case.flags.iter().map(|flag| flag.replace("FOLDER", &folder.display().to_string())));
    if !case.flags.contains(&"--data-dir") {
        arguments.extend(["--data-dir".to_string(), folder.join("data").display().to_string()]);
    }
    let values: Vec<(&str, String)> =
        case.variables.iter().map(|(name, value)| (*name, value.replace("FOLDER", &folder.display().to_string()))).collect();
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let done = run_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &values).await;
    let short = |text: String| text.replace(&format!("{}/", folder.display()), "");
    Done { code: done.code, out: short(done.out), err: short(done.err) }
}

/// All that is said about each case, in their order.
async fn refusals(cases: &[Case<'_>], expected: Expect) {
    let mut said = String::new();
    for (number, case) in cases.iter().enumerate() {
        let folder = TempDir::new().expect("a folder");
        let done = check(folder.path(), case).await;
        assert_eq!(done.code, Some(1), "{:?} {:?}: {}{}", case.files, case.variables, done.out, done.err);
        assert!(!done.err.contains("s3cret"), "a secret is never shown: {}", done.err);
        said += &format!("{}: {}", number + 1, done.err);
    }
    expected.assert_eq(&said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read() {
    let cases = [
        file(&[("a.json", "{\"guard\": {\"port\": 1}")]),
        file(&[("a.yaml", "guard:\n  port: [1\n")]),
        file(&[("a.yaml", "auth:\n  admin_token: \"s3cret\n")]),
        file(&[("a.json5", "{guard: {port: 1 host: 'a'}}")]),
        file(&[("a.json5", "{auth: {admin_token: 's3cret}}")]),
        file(&[("a.toml", "[guard]")]),
        file(&[("a.json", "[1]")]),
        file(&[("missing.json", "")]),
    ];
    refusals(
        &cases,
        expect![[r#"
            1: error: a.json cannot be read: EOF parsing object at line 1 column 1
            2: error: a.yaml cannot be read: line 2 column 9: unclosed bracket '['
            3: error: a.yaml cannot be read: line 3 column 1: invalid indentation in multiline quoted scalar
            4: error: a.json5 cannot be read: expected comma at line 1 column 18
            5: error: a.json5 cannot be read: EOF parsing string at line 1 column 8
            6: error: a.toml: a configuration ends in .json, .json5, .jsonc, .yaml, .yml
            7: error: a.json: sections and keys are expected, as in {"guard":{"port":6420}}
            8: error: the configuration missing.json cannot be read: No such file or directory (os error 2)
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_knows() {
    let cases = [
        file(&[("a.yaml", "guard:\n  host: 127.0.0.1\n  prt: 6420\n")]),
        file(&[("a.json", "{\n  \"gaurd\": {\"port\": 1}\n}")]),
        file(&[("a.yaml", "admin_token: s3cret\n")]),
        file(&[("a.yaml", "guard:\n  rate_limt:\n    requests: 5\n")]),
        file(&[("a.yaml", "guard: 6420\n")]),
        file(&[("a.yaml", "outbound: [a]\n")]),
        file(&[("a.yaml", "api_public:\n  port: 1\n")]),
        file(&[("a.yaml", "topology:\n  datacenters:\n    default:\n      public_ulr: http://a\n")]),
        variable(&[("RIVET__GUARD__PROT", "1")]),
        variable(&[("RIVET__ADMIN_TOKEN", "s3cret")]),
        variable(&[("RIVET__GUARD", "1")]),
    ];
    refusals(&cases, expect![[r#"
        1: error: guard.prt (a.yaml:3): there is no such key; did you mean guard.port? Known there: actor_ready_timeout_ms, admission_client_state_cache_capacity, exempt_cidrs, host, http_max_request_body_size, https, max_connections, max_in_flight, memory_mib, port, rate_limit, request_body_idle_timeout_ms, request_head_timeout_ms, trace_propagation, trusted_proxies, websocket_max_message_size
        2: error: gaurd (a.json:2): there is no such key; did you mean guard? Known there: actor_logs, actors, api_peer, audit, auth, backup, database, durability, file_system, guard, logs, memory_limit, metrics, outbound, pegboard, recorded_requests, runner, runtime, storage, topology, wasm
        3: error: admin_token (a.yaml:1): there is no such key; did you mean auth.admin_token? Known there: actor_logs, actors, api_peer, audit, auth, backup, database, durability, file_system, guard, logs, memory_limit, metrics, outbound, pegboard, recorded_requests, runner, runtime, storage, topology, wasm
        4: error: guard.rate_limt (a.yaml:2): there is no such key; did you mean guard.rate_limit? Known there: actor_ready_timeout_ms, admission_client_state_cache_capacity, exempt_cidrs, host, http_max_request_body_size, https, max_connections, max_in_flight, memory_mib, port, rate_limit, request_body_idle_timeout_ms, request_head_timeout_ms, trace_propagation, trusted_proxies, websocket_max_message_size
        5: error: guard (a.yaml:1): it is a section, not a key; known in it: actor_ready_timeout_ms, admission_client_state_cache_capacity, exempt_cidrs, host, http_max_request_body_size, https, max_connections, max_in_flight, memory_mib, port, rate_limit, request_body_idle_timeout_ms, request_head_timeout_ms, trace_propagation, trusted_proxies, websocket_max_message_size
        6: error: outbound (a.yaml:1): it is a section, not a key; known in it: allow_cidrs, allow_hosts, allow_insecure_scheme, allow_loopback, allow_private_networks, ca_file, deny_cidrs, max_redirects, send_admin_token, send_runner_token
        7: error: api_public (a.yaml:1): there is no such key; known there: actor_logs, actors, api_peer, audit, auth, backup, database, durability, file_system, guard, logs, memory_limit, metrics, outbound, pegboard, recorded_requests, runner, runtime, storage, topology, wasm
        8: error: topology.datacenters.default.public_ulr (a.yaml:4): there is no such key; did you mean topology.datacenters.default.public_url? Known there: datacenter_label, public_url, valid_hosts
        9: error: guard.prot (the environment, RIVET__GUARD__PROT): there is no such key; did you mean guard.port? Known there: actor_ready_timeout_ms, admission_client_state_cache_capacity, exempt_cidrs, host, http_max_request_body_size, https, max_connections, max_in_flight, memory_mib, port, rate_limit, request_body_idle_timeout_ms, request_head_timeout_ms, trace_propagation, trusted_proxies, websocket_max_message_size
        10: error: admin_token (the environment, RIVET__ADMIN_TOKEN): there is no such key; did you mean auth.admin_token? Known there: actor_logs, actors, api_peer, audit, auth, backup, database, durability, file_system, guard, logs, memory_limit, metrics, outbound, pegboard, recorded_requests, runner, runtime, storage, topology, wasm
        11: error: guard (the environment, RIVET__GUARD): it is a section, not a key; known in it: actor_ready_timeout_ms, admission_client_state_cache_capacity, exempt_cidrs, host, http_max_request_body_size, https, max_connections, max_in_flight, memory_mib, port, rate_limit, request_body_idle_timeout_ms, request_head_timeout_ms, trace_propagation, trusted_proxies, websocket_max_message_size
    "#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_form() {
    let cases = [
        variable(&[("RIVET__GUARD__PORT", "70000")]),
        file(&[("a.yaml", "guard: {port: -1}\n")]),
        file(&[("a.yaml", "guard:\n  port: 6420.5\n")]),
        file(&[("a.json5", "{pegboard: {actor_stop_threshold: '30s'}}")]),
        file(&[("a.yaml", "wasm:\n  enabled: maybe\n")]),
        file(&[("a.yaml", "guard:\n  host: 5\n")]),
        file(&[("a.yaml", "auth:\n  admin_token: 123\n")]),
        file(&[("a.yaml", "outbound:\n  allow_hosts: a.example\n")]),
        file(&[("a.yaml", "guard:\n  rate_limit: {requests: 0}\n  max_in_flight: 0\n")]),
        file(&[("a.yaml", "guard:\n  http_max_request_body_size: 20971521\n")]),
        file(&[("a.yaml", "nats: {addresses: [a]}\nruntime: {worker_cpu_max: many}\n")]),
    ];
    refusals(
        &cases,
        expect![[r#"
        1: error: guard.port (the environment, RIVET__GUARD__PORT): a whole number from 0 to 65535 is expected
        2: error: guard.port (a.yaml:1): a whole number from 0 to 65535 is expected
        3: error: guard.port (a.yaml:2): a whole number from 0 to 65535 is expected
        4: error: pegboard.actor_stop_threshold (a.json5:1): a whole number from 1 to 86400000 (ms) is expected
        5: error: wasm.enabled (a.yaml:2): true or false is expected
        6: error: guard.host (a.yaml:2): text is expected
        7: error: auth.admin_token (a.yaml:2): text is expected
        8: error: outbound.allow_hosts (a.yaml:2): a list of texts is expected
        9: error: guard.max_in_flight (a.yaml:3): a whole number from 1 to 4294967295 is expected
        guard.rate_limit.requests (a.yaml:2): a whole number from 1 to 4294967295 is expected
        10: error: guard.http_max_request_body_size (a.yaml:2): a whole number from 1 to 20971520 (bytes) is expected
        11: error: runtime.worker_cpu_max (a.yaml:2): a whole number from 0 on is expected
    "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_meant() {
    let cases = [
        variable(&[("RIVET__DURABILITY", "fast")]),
        variable(&[("RIVET__DURABILITY", "batch:0")]),
        file(&[("a.yaml", "logs:\n  format: xml\n")]),
        file(&[("a.yaml", "guard:\n  host: '[]'\n")]),
        variable(&[("RIVET__OUTBOUND__ALLOW_CIDRS", "10.0.0.0/33")]),
        file(&[("a.yaml", "guard:\n  trusted_proxies: [proxy.example]\n")]),
        variable(&[("RIVET__WASM__DIRS", "/data")]),
        file(&[("a.yaml", "topology:\n  datacenters:\n    mars: {public_url: 'http://a'}\n")]),
        file(&[("a.yaml", "topology:\n  datacenters:\n    a: {public_url: 'http://a'}\n    b: {public_url: 'http://b'}\n")]),
        file(&[("a.yaml", "topology:\n  datacenters:\n    - public_url: http://a\n")]),
        file(&[("a.yaml", "topology: {datacenter_label: 2}\n")]),
        file(&[("a.yaml", "topology:\n  datacenters: {default: {public_url: 'ftp://a'}}\n")]),
        variable(&[("RIVET__POSTGRES__URL", "postgres://a:s3cret@b/c")]),
        file(&[("a.yaml", "foundationdb: {}\n")]),
        file(&[("a.yaml", "guard: {https: {port: 6443}}\n")]),
        file(&[("a.yaml", "guard: {https: {port: 6443, tls: {api_cert_path: a.pem}}}\n")]),
        file(&[("a.yaml", "guard: {https: {tls: {actor_key_path: a.pem}}}\n")]),
        file(&[("a.yaml", "guard: {https: {tls: {api_cert_path: a.pem, api_key_path: b.pem}}}\n")]),
    ];
    refusals(&cases, expect![[r#"
        1: error: durability (the environment, RIVET__DURABILITY): sync, batch, batch:MS or relaxed is expected
        2: error: durability (the environment, RIVET__DURABILITY): 1 to 60000 milliseconds are possible
        3: error: logs.format (a.yaml:2): text or json is expected
        4: error: guard.host (a.yaml:2): the host is empty; name an address such as 127.0.0.1, or 0.0.0.0 for all of them
        5: error: outbound.allow_cidrs (the environment, RIVET__OUTBOUND__ALLOW_CIDRS): "10.0.0.0/33" is no network; 10.0.0.0/8 is one
        6: error: guard.trusted_proxies (a.yaml:2): "proxy.example" is no network; 10.0.0.0/8 is one
        7: error: wasm.dirs (the environment, RIVET__WASM__DIRS): "/data": PATH=DIR or PATH=DIR:ro is expected
        8: error: topology.datacenters.mars: the one datacenter is called `default`; rename it
        9: error: topology.datacenters: a, b: one datacenter is possible; leave only `default`
        10: error: topology.datacenters (a.yaml:2): each entry needs a name; or write {"NAME": {…}}
        11: error: topology.datacenter_label (a.yaml:1): 2 is not possible; the one datacenter has label 1
        12: error: topology.datacenters.default.public_url (a.yaml:2): "ftp://a" is not an address that can be called; http:// or https:// is expected
        13: error: postgres.url (the environment, RIVET__POSTGRES__URL): data would lie elsewhere than where you expect it; remove it, and name a folder with file_system.path
        14: error: foundationdb (a.yaml:1): there is no such store here; remove it, and name a folder with file_system.path
        15: error: guard.https.port (a.yaml:1): a port for TLS needs a certificate; name one with guard.https.tls.api_cert_path and api_key_path
        16: error: guard.https.tls.api_cert_path (a.yaml:1): a certificate needs its key; name it with guard.https.tls.api_key_path
        17: error: guard.https.tls.actor_key_path (a.yaml:1): a key needs its certificate; name it with guard.https.tls.actor_cert_path
        18: error: guard.https.tls: certificates are named and no port; name one with guard.https.port, or set that to 0
    "#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_or_other_keys_do_not_allow() {
    let certified = rcgen::generate_simple_self_signed(["a.example".to_string()]).expect("a certificate");
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let tls = "guard: {https: {port: 6443, tls: {api_cert_path: FOLDER/c.pem, api_key_path: FOLDER/k.pem}}}\n";
    let pair = |folder: &TempDir, certificate: &str, key: &str| {
        fs::write(folder.path().join("c.pem"), certificate).expect("a file");
        fs::write(folder.path().join("k.pem"), key).expect("a file");
    };
    let same = variable(&[("RIVET__GUARD__PORT", "7000"), ("RIVET__METRICS__PORT", "7000")]);
    let cases = [
        same,
        variable(&[("RIVET__GUARD__HOST", "192.0.2.1")]),
        variable(&[("RIVET__WASM__DIRS", "/data=/no/such/folder")]),
        variable(&[("RIVET__WASM__MEMORY_MIB", "64"), ("RIVET__WASM__ACTOR_MEMORY_MIB", "128")]),
        variable(&[("RIVET__PEGBOARD__ENVOY_PING_TIMEOUT", "1000")]),
        variable(&[("RIVET__PEGBOARD__MIN_METADATA_POLL_INTERVAL", "20000")]),
        Case { files: &[], variables: &[], flags: &["--data-dir", "/proc/version/data"] },
    ];
    refusals(&cases, expect![[r#"
        1: error: metrics.port: 7000 is guard.port too; give each a port of its own
        2: note: guard.host: whoever reaches 192.0.2.1 can do everything: no token is configured (auth.admin_token)
        error: guard.host: 192.0.2.1 is not an address of this machine (Cannot assign requested address (os error 99)); choose another
        api_peer.host: 192.0.2.1 is not an address of this machine (Cannot assign requested address (os error 99)); choose another
        metrics.host: 192.0.2.1 is not an address of this machine (Cannot assign requested address (os error 99)); choose another
        3: error: wasm.dirs: the folder /no/such/folder cannot be read (No such file or directory (os error 2))
        4: error: wasm.actor_memory_mib: one Wasm actor may have more than wasm.memory_mib allows all of them together; lower the one or raise the other
        5: error: pegboard.envoy_update_ping_interval: 3000 ms is more than pegboard.envoy_ping_timeout with 1000 ms: every runner's connection would be closed between two pings; lower the one or raise the other
        6: error: pegboard.min_metadata_poll_interval: 20000 ms is more than pegboard.default_metadata_poll_interval with 10000 ms: the least is more than the default; lower the one or raise the other
        7: error: file_system.path: the folder /proc/version/data cannot be made: /proc/version is no folder; choose another
    "#]]).await;

    let mut said = String::new();
    for (certificate, key) in [("", ""), ("x", &*key), (&certificate, "x"), (&certificate, &other), (&certificate, &key)] {
        let folder = TempDir::new().expect("a folder");
        if !certificate.is_empty() {
            pair(&folder, certificate, key);
        }
        let text = tls.replace("FOLDER", &folder.path().display().to_string());
        let done = check(folder.path(), &file(&[("a.yaml", &text)])).await;
        said += &format!("{}{}", done.err, done.out);
    }
    expect![[r#"
        error: guard.https.tls: c.pem cannot be read: No such file or directory (os error 2)
        error: guard.https.tls: c.pem holds no certificate; PEM is expected: -----BEGIN CERTIFICATE-----
        error: guard.https.tls: k.pem holds no private key in PEM: no items found
        error: guard.https.tls: k.pem is not the key of c.pem; name two that belong together
        an engine could start: 4 keys are set, data in data
    "#]]
    .assert_eq(&said);
}

/// A file, variables, and what they say together.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_spelled_the_data_lies_where_it_says() {
    let rows: [Row; 7] = [
        ("file_system: {path: /1}", &[], "/1"),
        ("database: {file_system: {path: /1}}", &[], "/1"),
        ("", &[("RIVET__FILE_SYSTEM__PATH", "/1")], "/1"),
        ("", &[("RIVET__DATABASE__FILE_SYSTEM__PATH", "/1")], "/1"),
        ("", &[("rivet__database__File_System__path", "/1")], "/1"),
        ("file_system: {path: /1}", &[("RIVET__DATABASE__FILE_SYSTEM__PATH", "/2")], "/2"),
        ("database: {file_system: {path: /1}}", &[("RIVET__FILE_SYSTEM__PATH", "/2")], "/2"),
    ];
    for (text, variables, expected) in rows {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("a.yaml");
        fs::write(&path, text).expect("a file");
        let done = run_with(&["config", "show", "--config", path.to_str().expect("text")], variables).await;
        let row = done.out.lines().find(|line| line.starts_with("file_system.path ")).unwrap_or_else(|| panic!("{}", done.err));
        assert_eq!(row.split_whitespace().nth(1), Some(expected), "{text} {variables:?}: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_wherever_they_are_named() {
    let folder = TempDir::new().expect("a folder");
    let named = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [("1.json", r#"{"guard":{"port":1,"host":"::1"}}"#), ("2.json", r#"{"guard":{"port":2}}"#)] {
        fs::write(named(name), text).expect("a file");
    }
    let (first, second) = (named("1.json"), named("2.json"));
    let rows: [&[&str]; 4] = [
        &["--config", &first, "config", "show", "--config", &second],
        &["config", "--config", &first, "show", "--config", &second],
        &["--config", &first, "config", "--config", &second, "show"],
        &["config", "show", "--config", &first, "--config", &second],
    ];
    for arguments in rows {
        let done = run_with(arguments, &[]).await;
        let row = |key: &str| done.out.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{}", done.err));
        assert!(row("guard.host ").contains("1.json:1") && row("guard.port ").contains("2.json:1"), "{arguments:?}: {}", done.out);
    }
}

/// What each of the two says about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TakenBy {
    Both,
    Neither,
    /// Several keys together, or what a text means, are for the engine alone to judge.
    Schema,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_and_the_engine_agree() {
    use TakenBy::{Both, Neither, Schema};
    let schema = run_with(&["config", "schema"], &[]).await;
    let schema: Value = serde_json::from_str(&schema.out).expect("JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("http://schema/", schema).expect("a name for it");
    let index = compiler.compile("http://schema/", &mut schemas).unwrap_or_else(|error| panic!("it is no schema: {error:#}"));
    let rows = [
        ("{}", Both),
        (r#"{"guard":{"port":1,"host":"::1"}}"#, Both),
        (r#"{"guard":{"port":"0065535"}}"#, Both),
        (r#"{"guard":{"port":"65536"}}"#, Neither),
        (r#"{"guard":{"port":65536}}"#, Neither),
        (r#"{"guard":{"port":-1}}"#, Neither),
        (r#"{"guard":{"port":1.5}}"#, Neither),
        (r#"{"guard":{"port":7.0}}"#, Both),
        (r#"{"guard":{"port":""}}"#, Neither),
        (r#"{"guard":{"port":true}}"#, Neither),
        (r#"{"guard":{"port":null}}"#, Both),
        (r#"{"guard":null}"#, Both),
        (r#"{"guard":[]}"#, Neither),
        (r#"{"guard":{"prt":1}}"#, Neither),
        (r#"{"unknown":1}"#, Neither),
        (r#"{"guard":{"host":"[]"}}"#, Neither),
        (r#"{"guard":{"host":"[::1]"}}"#, Both),
        (r#"{"guard":{"rate_limit":{"requests":0}}}"#, Neither),
        (r#"{"guard":{"rate_limit":{"requests":"0"}}}"#, Neither),
        (r#"{"guard":{"rate_limit":{"requests":"4294967295","period_ms":1000}}}"#, Both),
        (r#"{"guard":{"rate_limit":{"requests":"4294967296"}}}"#, Neither),
        (r#"{"guard":{"http_max_request_body_size":20971520}}"#, Both),
        (r#"{"guard":{"http_max_request_body_size":20971521}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":["10.0.0.0/8","::1","2001:db8::/32","192.0.2.7"]}}"#, Both),
        (r#"{"guard":{"trusted_proxies":["10.0.0.0/33"]}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":["10.0.0.256"]}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":["2001:db8::/129"]}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":["proxy.example"]}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":"10.0.0.0/8"}}"#, Neither),
        (r#"{"guard":{"trusted_proxies":["1::2::3"]}}"#, Schema),
        (r#"{"guard":{"https":{"port":0,"tls":{"api_cert_path":"/c","api_key_path":"/k"}}}}"#, Both),
        (r#"{"guard":{"https":{"port":1,"tls":{"api_cert_path":"/c"}}}}"#, Schema),
        (r#"{"guard":{"https":{"port":0,"tls":{"api_cert_path":"","api_key_path":"/k"}}}}"#, Neither),
        (r#"{"auth":{"admin_token":"s3cret"}}"#, Both),
        (r#"{"auth":{"admin_token":123}}"#, Neither),
        (r#"{"durability":"batch:60000"}"#, Both),
        (r#"{"durability":"batch:60001"}"#, Neither),
        (r#"{"durability":"Sync"}"#, Neither),
        (r#"{"logs":{"format":"json"}}"#, Both),
        (r#"{"logs":{"format":"xml"}}"#, Neither),
        (r#"{"wasm":{"enabled":"OFF","dirs":["/a=/b:ro"]}}"#, Both),
        (r#"{"wasm":{"enabled":0}}"#, Both),
        (r#"{"wasm":{"enabled":2}}"#, Neither),
        (r#"{"wasm":{"enabled":"maybe"}}"#, Neither),
        (r#"{"wasm":{"dirs":["/a"]}}"#, Neither),
        (r#"{"wasm":{"dirs":[1]}}"#, Neither),
        (r#"{"pegboard":{"actor_start_threshold":86400000}}"#, Both),
        (r#"{"pegboard":{"actor_start_threshold":86400001}}"#, Neither),
        (r#"{"pegboard":{"actor_start_threshold":"30s"}}"#, Neither),
        (r#"{"topology":{"datacenters":{"default":{"public_url":"https://a","valid_hosts":["a"]}}}}"#, Both),
        (r#"{"topology":{"datacenters":{"mars":{"public_url":"https://a"}}}}"#, Neither),
        (r#"{"topology":{"datacenters":{"default":{"public_url":"ftp://a"}}}}"#, Neither),
        (r#"{"topology":{"datacenters":[{"name":"default","public_url":"http://a"}]}}"#, Both),
        (r#"{"topology":{"datacenters":[{"public_url":"http://a"}]}}"#, Neither),
        (r#"{"topology":{"datacenters":[{"name":"default","label":1}]}}"#, Neither),
        (r#"{"topology":{"datacenter_label":2}}"#, Schema),
        (r#"{"database":{"file_system":{"path":"/d"}}}"#, Both),
        (r#"{"postgres":{"url":"postgres://a"}}"#, Neither),
        (r#"{"postgres":{}}"#, Neither),
        (r#"{"postgres":null}"#, Both),
        (r#"{"foundationdb":"x"}"#, Neither),
        (r#"{"nats":{"addresses":["a"]},"cache":5,"memory":{"channel":"x"}}"#, Both),
        (r#"{"runtime":{"worker_load_shedding_beta":"1e-3"}}"#, Both),
        (r#"{"runtime":{"worker_load_shedding_beta":"fast"}}"#, Neither),
        (r#"{"runtime":{"udb_throttle_bytes_per_second":{"a":{"read":1}}}}"#, Both),
    ];
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("a.json");
    let mut wrong = Vec::new();
    for (text, expected) in rows {
        fs::write(&path, text).expect("a file");
        let done = run_with(&["config", "show", "--config", path.to_str().expect("text"), "--data-dir", "/d"], &[]).await;
        let value: Value = serde_json::from_str(text).expect("JSON");
        let seen = match (schemas.validate(&value, index).is_ok(), done.code == Some(0)) {
            (true, true) => Both,
            (false, false) => Neither,
            (true, false) => Schema,
            (false, true) => panic!("the schema refuses what the engine takes: {text}"),
        };
        if seen != expected {
            wrong.push(format!("{text}: {expected:?} expected, seen {seen:?}: {}", done.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! What `deploy/` says is what the engine knows: settings, ports, probes, folders; and the command that health checks run.
//!
//! Reads the files and asks the binary. Whether packages and images work is tried by `tests/packages/run`.

use std::fs;
use std::path::{Path, PathBuf};

use rivet_tests::Engine;
use rivet_tests::engine::{run, run_with};
use serde_json::{Map, Value};

/// Clients, probes, metrics: docs/OPERATIONS.md, "Ports".
const PORTS: [u64; 3] = [6420, 6421, 6430];
/// What an engine gives itself to stop in order, `runtime.force_shutdown_duration`, unless it is configured; and the delay before.
const STOP_S: u64 = 45;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a file in YAML.
fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of a kind in the manifest for Kubernetes.
fn manifest(kind: &str) -> Value {
    let mut found = documents("deploy/kubernetes/rivet-engine.yaml").into_iter().filter(|document| document["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} in the manifest"));
    assert!(found.next().is_none(), "one {kind} in the manifest expected");
    one
}

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{what}: a text expected, seen {value}"))
}

/// The binary takes these settings, all of them.
async fn accepted(path: &str, variables: &[(String, String)]) {
    assert!(!variables.is_empty(), "{path} has no settings: this test looks in the wrong place");
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let shown = run_with(&["config", "show"], &variables).await;
    assert_eq!(shown.code, Some(0), "{path}: {}", shown.err);
}

#[tokio::test]
async fn images_set_what_the_engine_knows() {
    let finals = ["deploy/docker/Dockerfile", "deploy/docker/Dockerfile.binary"].map(|path| {
        let file = read(path);
        let (_, last) = file.split_once("\nFROM scratch\n").unwrap_or_else(|| panic!("{path}: its last stage is to be of scratch"));
        last.to_string()
    });
    assert_eq!(finals[0], finals[1], "the last stages of the two Dockerfiles");
    let of = |instruction: &str| -> Vec<&str> {
        finals[0].lines().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' ')).collect()
    };
    let settings: Vec<_> =
        of("ENV").iter().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    accepted("deploy/docker/Dockerfile", &settings).await;
    assert_eq!(of("VOLUME"), [settings[0].1.as_str()], "the volume is where the data is");
    assert_eq!(of("EXPOSE"), [PORTS.map(|port| port.to_string()).join(" ")], "the ports");
    assert_eq!(of("USER"), ["65532:65532"], "nobody's user, as a number: clusters check that it is not root");
    assert!(
        finals[0].contains(&format!("\"health\", \"--engine\", \"http://127.0.0.1:{}\"", PORTS[1])),
        "the health check asks for probes"
    );
}

#[tokio::test]
async fn compose_sets_what_the_engine_knows() {
    let path = "deploy/docker/compose.yml";
    let compose = documents(path).remove(0);
    let engine = &compose["services"]["engine"];
    let settings = engine["environment"].as_object().expect("the engine's environment");
    // The token comes from whoever starts it.
    let value = |value: &Value| {
        text(value, path).split_once("${").map_or_else(|| value.as_str().unwrap_or_default().to_string(), |_| "t".to_string())
    };
    accepted(path, &settings.iter().map(|(name, set)| (name.clone(), value(set))).collect::<Vec<_>>()).await;
    assert_eq!(engine["ports"][0], format!("127.0.0.1:{0}:{0}", PORTS[0]), "only what is public is published, and to this host");
    assert!(text(&engine["volumes"][0], path).ends_with(":/data"), "the volume is where the image has its data");
    let grace = text(&engine["stop_grace_period"], path).trim_end_matches('s').parse::<u64>().expect("seconds");
    assert!(grace > STOP_S, "the engine is killed after {grace} s and gives itself {STOP_S} s");
    let endpoint = text(&compose["services"]["app"]["environment"]["RIVET_ENDPOINT"], path);
    assert!(endpoint.ends_with(&format!("@engine:{}", PORTS[0])), "the app connects to the engine: {endpoint}");
}

#[tokio::test]
async fn the_manifest_sets_what_the_engine_knows() {
    let path = "deploy/kubernetes/rivet-engine.yaml";
    let set = manifest("StatefulSet");
    assert_eq!(set["spec"]["replicas"], 1, "the engine is the only writer of its volume");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut settings = Vec::new();
    for variable in container["env"].as_array().expect("the container's environment") {
        // That of a secret has none here.
        settings.push((text(&variable["name"], path).to_string(), variable["value"].as_str().unwrap_or("t").to_string()));
    }
    accepted(path, &settings).await;

    let delay: u64 = settings
        .iter()
        .find(|(name, _)| name == "RIVET__RUNTIME__SHUTDOWN_DELAY_DURATION")
        .map_or(0, |(_, s)| s.parse().expect("seconds"));
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(grace > STOP_S + delay, "the engine is killed after {grace} s and gives itself {} s", STOP_S + delay);

    let ports: Map<String, Value> = container["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| (text(&port["name"], path).to_string(), port["containerPort"].clone()))
        .collect();
    assert_eq!(ports.values().filter_map(Value::as_u64).collect::<std::collections::BTreeSet<_>>(), PORTS.into());
    let engine = Engine::start().await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(ports[text(&get["port"], probe)], PORTS[1], "{probe} asks the port for probes");
        let answer = engine.get(text(&get["path"], probe)).await;
        assert_eq!(answer.status, 200, "{probe}: {}", answer.text());
    }

    let data = settings.iter().find(|(name, _)| name == "RIVET__FILE_SYSTEM__PATH").map(|(_, path)| path.as_str());
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["mountPath"].as_str(), data, "the volume is where the data is");
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], mount["name"], "the volume that is mounted is claimed");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(manifest("NetworkPolicy")["spec"]["egress"], Value::Array(Vec::new()), "nothing goes out unless it is configured");
}

/// The settings that the Debian package's configuration shows, with the marks of comments removed.
fn uncommented(text: &str) -> String {
    let setting = |line: &&str| line.starts_with("#  ") || (line.starts_with('#') && !line.starts_with("# ") && line.len() > 1);
    text.lines().filter(setting).map(|line| format!("{}\n", &line[1..])).collect()
}

#[tokio::test]
async fn the_packages_configuration_is_accepted_as_it_is_and_uncommented() {
    let path = "deploy/debian/engine.yaml";
    let file = read(path);
    let all = uncommented(&file);
    assert!(all.contains("guard:") && all.contains("wasm:"), "{path} shows settings, seen:\n{all}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("as-it-is.yaml", &file), ("uncommented.yaml", &all)] {
        let config: PathBuf = folder.path().join(name);
        fs::write(&config, text).expect("a file in a temporary folder");
        let shown = run_with(&["--config", config.to_str().expect("a path that is text"), "config", "show"], &[]).await;
        assert_eq!(shown.code, Some(0), "{path}, {name}: {}", shown.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_an_engine_answers() {
    let engine = Engine::start().await;
    let there = engine.cli(&["health"]).await;
    assert_eq!(there.code, Some(0), "{}", there.err);
    assert!(there.out.starts_with("ok, version "), "{}", there.out);
    let shown: Value = serde_json::from_str(&engine.cli(&["health", "--json"]).await.out).expect("JSON");
    assert_eq!(shown["status"], "ok", "{shown}");

    // Port 1 is nobody's.
    let gone = run("http://127.0.0.1:1", &["health"]).await;
    assert_eq!((gone.code, gone.out.as_str()), (Some(1), ""), "{}", gone.err);
    assert!(gone.err.contains("no engine answers at"), "{}", gone.err);
}

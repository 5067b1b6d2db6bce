//! What is meant by what was said.

use super::*;

/// A configuration from the environment alone.
fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
    let mut sources = Sources::default();
    let folder = ("RIVET__FILE_SYSTEM__PATH", "/d");
    sources.environment([&folder].into_iter().chain(variables).map(|(name, value)| (name.into(), value.into())));
    let said = sources.finish().map_err(|error| error.to_string())?;
    Config::new(&All::new(said)).map_err(|error| error.to_string())
}

#[test]
fn durability_modes() {
    let rows = [
        ("sync", Some(Durability::Sync)),
        ("batch", Some(Durability::Batch { ms: 100 })),
        ("batch:5", Some(Durability::Batch { ms: 5 })),
        ("relaxed", Some(Durability::Relaxed)),
        ("batch:0", None),
        ("batch:60001", None),
        ("batch:", None),
        ("batch:-1", None),
        ("sync:5", None),
        ("Sync", None),
        ("", None),
    ];
    for (text, expected) in rows {
        assert_eq!(parse_durability(text).ok(), expected, "{text}");
    }
}

#[test]
fn where_data_lies_unless_said_otherwise() {
    let rows = [
        (Some("/data"), Some("/home/a"), Some("/data/rivet-engine/db")),
        (None, Some("/home/a"), Some("/home/a/.local/share/rivet-engine/db")),
        (Some("relative"), Some("/home/a"), Some("/home/a/.local/share/rivet-engine/db")),
        (None, Some(""), None),
        (None, None, None),
    ];
    for (xdg, home, expected) in rows {
        let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(PathBuf::from);
        assert_eq!(default_data_dir(variable), expected.map(PathBuf::from));
    }
}

#[test]
fn where_it_listens() {
    let port = ("RIVET__GUARD__PORT", "7000");
    let token = ("RIVET__AUTH__ADMIN_TOKEN", "t");
    let rows: [(&[(&str, &str)], &str); 8] = [
        (&[], "127.0.0.1 6420, 127.0.0.1 6421, 127.0.0.1 6430"),
        (&[port], "127.0.0.1 7000, 127.0.0.1 7001, 127.0.0.1 7010"),
        (&[token], ":: 6420, :: 6421, :: 6430"),
        (&[("RIVET__GUARD__PORT", "0")], "127.0.0.1 0, off, off"),
        (&[("RIVET__GUARD__PORT", "0"), ("RIVET__METRICS__PORT", "9")], "127.0.0.1 0, off, 127.0.0.1 9"),
        (&[("RIVET__GUARD__PORT", "65530")], "127.0.0.1 65530, 127.0.0.1 65531, off"),
        (&[("RIVET__API_PEER__PORT", "0"), ("RIVET__METRICS__HOST", "0.0.0.0")], "127.0.0.1 6420, off, 0.0.0.0 6430"),
        (&[token, ("RIVET__GUARD__HOST", "[::1]")], "::1 6420, ::1 6421, ::1 6430"),
    ];
    for (variables, expected) in rows {
        let config = config(variables).expect("a configuration");
        let shown = |listen: Option<&Listen>| listen.map_or("off".to_string(), |listen| format!("{} {}", listen.host, listen.port));
        let all = [shown(Some(&config.guard)), shown(config.api_peer.as_ref()), shown(config.metrics.as_ref())];
        assert_eq!(all.join(", "), expected, "{variables:?}");
    }
}

#[test]
fn what_else_is_meant() {
    let config = config(&[
        ("RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PUBLIC_URL", "https://engine.example"),
        ("RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PEER_URL", "http://127.0.0.1:6421"),
        ("RIVET__PEGBOARD__ACTOR_START_THRESHOLD", "5"),
        ("RIVET__PEGBOARD__ENVOY_LOST_THRESHOLD", "6"),
        ("RIVET__GUARD__ACTOR_READY_TIMEOUT_MS", "7"),
        ("RIVET__OUTBOUND__ALLOW_PRIVATE_NETWORKS", "true"),
        ("RIVET__OUTBOUND__DENY_CIDRS", "10.0.0.0/8,::1"),
        ("RIVET__WASM__MEMORY_MIB", "3"),
        ("RIVET__RUNTIME__WORKER_CPU_MAX", "64000"),
        ("RIVET__TELEMETRY__ENABLED", "true"),
    ]);
    let config = config.expect("a configuration");
    assert_eq!(config.datacenter.public_url.as_deref(), Some("https://engine.example/"));
    assert_eq!((config.core.start_timeout_ms, config.core.ready_timeout_ms, config.runner_times.lost_ms), (5, 7, 6));
    assert!(config.outbound.allow_private_networks && config.outbound.allow_loopback);
    assert_eq!(config.outbound.deny_networks.len(), 2);
    assert_eq!(config.wasm.memory_bytes, Some(3 * MIB));
    assert_eq!(config.without_effect.len(), 1, "{:?}", config.without_effect);
    assert!(config.without_effect[0].starts_with("runtime.worker_cpu_max (the environment, RIVET__RUNTIME__WORKER_CPU_MAX)"));
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn what_cannot_be_meant() {
    let rows: [(&str, &str, &str); 8] = [
        ("RIVET__GUARD__HOST", "[]", "the host is empty"),
        ("RIVET__DURABILITY", "fast", "sync, batch, batch:MS or relaxed"),
        ("RIVET__LOGS__FORMAT", "xml", "text or json"),
        ("RIVET__WASM__DIRS", "/data", "PATH=DIR"),
        ("RIVET__OUTBOUND__ALLOW_CIDRS", "10.0.0.0/33", "outbound.allow_cidrs"),
        ("RIVET__TOPOLOGY__DATACENTERS__MARS__PUBLIC_URL", "http://a", "called `default`"),
        ("RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PUBLIC_URL", "ftp://a", "http:// or https://"),
        ("RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PUBLIC_URL", "a", "is not a URL"),
    ];
    for (name, value, part) in rows {
        let wrong = config(&[(name, value)]).expect_err(name);
        assert!(wrong.contains(part), "{name}={value}: {part:?} expected, seen {wrong}");
    }
    let two =
        [("RIVET__TOPOLOGY__DATACENTERS__A__PUBLIC_URL", "http://a"), ("RIVET__TOPOLOGY__DATACENTERS__B__PUBLIC_URL", "http://b")];
    assert!(config(&two).expect_err("two").contains("one datacenter is possible"));
}

#[test]
fn what_is_shown_keeps_secrets() {
    let mut sources = Sources::default();
    sources
        .environment([("RIVET__AUTH__ADMIN_TOKEN".into(), "s3cret".into()), ("RIVET__GUARD__PORT".into(), "1".into())].into_iter());
    let rows = show::rows(&All::new(sources.finish().expect("good keys")));
    let row = |key: &str| rows.iter().find(|row| row[0] == key).unwrap_or_else(|| panic!("{key} is shown")).join(" | ");
    assert_eq!(row("auth.admin_token"), "auth.admin_token | (secret) | the environment, RIVET__AUTH__ADMIN_TOKEN");
    assert_eq!(row("guard.port"), "guard.port | 1 | the environment, RIVET__GUARD__PORT");
    assert_eq!(row("durability"), "durability | sync | default");
}

#[test]
fn folders_for_actors() {
    let rows = [
        ("/data=/srv/data", Some(("/data", "/srv/data", false))),
        ("data=./x:ro", Some(("data", "./x", true))),
        ("/a=/b=c", Some(("/a", "/b=c", false))),
        ("/data", None),
        ("=/srv", None),
        ("/data=", None),
        ("/data=:ro", None),
    ];
    for (text, expected) in rows {
        let expected = expected.map(|(guest_path, host_path, read_only)| DirGrant {
            guest_path: guest_path.to_string(),
            host_path: host_path.into(),
            read_only,
        });
        assert_eq!(parse_grant(text).ok(), expected, "{text}");
    }
}

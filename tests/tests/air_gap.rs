//! Nothing leaves the machine unless it was configured to.
//!
//! The engine runs in a network of its own, of which loopback is one device and a tunnel the other: everything that is not for this
//! machine goes into the tunnel, where this test reads it, packet by packet, and lets nothing out. Names are looked up there too. The
//! counts would prove nothing if nothing were ever counted, so the same is shown with a pool that does have an address elsewhere.
//!
//! Needs Linux with user namespaces and `/dev/net/tun`. Where these are not to be had it says so; `RIVET_AIR_GAP=required` makes that
//! a failure.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Call, Engine, Socket, until};
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

const INSIDE: &str = "RIVET_AIR_GAP_INSIDE";
const NAMESERVER: &str = "198.51.100.53";
const TUNNEL: &str = "leave";
/// How long the engine is watched once everything was done: what it does by itself, it does at the start or every few seconds.
const WATCHED: Duration = Duration::from_secs(8);

/// What would have left, by where it would have gone.
#[derive(Clone, Default)]
struct Leaving(Arc<Mutex<BTreeMap<IpAddr, u64>>>);

impl Leaving {
    /// Whatever the kernel sends into the tunnel, from now on.
    fn watch() -> Leaving {
        let leaving = Leaving::default();
        let mut tunnel = tunnel();
        let counted = leaving.clone();
        thread::spawn(move || {
            let mut packet = [0; 65_536];
            while let Ok(length) = tunnel.read(&mut packet) {
                if let Some(to) = destination(&packet[..length]) {
                    *counted.0.lock().expect("nobody panics with it").entry(to).or_default() += 1;
                }
            }
        });
        leaving
    }

    fn seen(&self) -> BTreeMap<IpAddr, u64> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    async fn sees(&self, to: &str) {
        let to: IpAddr = to.parse().expect("an address");
        until(&format!("something would have gone to {to}"), async || {
            let seen = self.seen();
            seen.contains_key(&to).then_some(()).ok_or(format!("{seen:?}"))
        })
        .await;
    }
}

/// The destination of a packet, unless the kernel sent it by itself to find its neighbours.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?).into()),
        6 => {
            let to = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
            // ICMPv6, with or without a header for each hop before it.
            let is_kernels = matches!(packet[6], 0 | 58) && to.is_multicast();
            (!is_kernels).then_some(to.into())
        }
        _ => None,
    }
}

/// A device into which everything goes that is not for this machine.
fn tunnel() -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("it was opened before");
    let mut request = [0u8; 40];
    request[..TUNNEL.len()].copy_from_slice(TUNNEL.as_bytes());
    let flags = libc::IFF_TUN as u16 | libc::IFF_NO_PI as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request is as long as an `ifreq`, and lives for the whole call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr()) };
    assert_eq!(made, 0, "a tunnel: {}", std::io::Error::last_os_error());
    for words in [
        "link set lo up",
        "addr add 198.51.100.1/24 dev leave",
        "-6 addr add 2001:db8::1/64 dev leave nodad",
        "link set leave up",
        "route add default dev leave",
        "-6 route add default dev leave",
    ] {
        let done = Command::new("ip").args(words.split(' ')).output().expect("ip runs");
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    }
    file
}

/// Names are looked up at an address that only the tunnel leads to, whatever this machine has.
fn look_names_up_elsewhere(folder: &Path) {
    let file = folder.join("resolv.conf");
    fs::write(&file, format!("nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")).expect("a file");
    let done = Command::new("mount").arg("--bind").arg(&file).arg("/etc/resolv.conf").output().expect("mount runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn nothing_leaves_unless_it_is_configured() {
    if let Err(why) = possible() {
        assert_ne!(env::var("RIVET_AIR_GAP").as_deref(), Ok("required"), "{why}");
        eprintln!("SKIPPED, nothing was tested: {why}");
        return;
    }
    let done = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(env::current_exe().expect("a test is a file"))
        .args(["--exact", "inside", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
    println!("{out}");
}

fn possible() -> Result<(), String> {
    let script = "exec 3<>/dev/net/tun && ip -V >/dev/null && mount --bind /etc/hosts /etc/resolv.conf";
    let done = Command::new("unshare").args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script]).output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("no network of its own, or no tunnel: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => Err(format!("unshare cannot be run: {error}")),
    }
}

/// Run by the test above, in a network of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside of the network that the other test makes"]
async fn inside() {
    assert!(env::var_os(INSIDE).is_some(), "run nothing_leaves_unless_it_is_configured");
    let folder = TempDir::new().expect("a folder");
    look_names_up_elsewhere(folder.path());
    let leaving = Leaving::watch();

    journey().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("attempts to leave, start to restart: {:?}", leaving.seen());
    assert_eq!(leaving.seen(), BTreeMap::new(), "nothing was configured to leave");

    // The counter counts: an address, and a name.
    let config = folder.path().join("pools.yaml");
    fs::write(&config, "outbound: {allow_cidrs: [192.0.2.0/24, '2001:db8:1::/48']}\n").expect("a file");
    let engine = Engine::start_alone(&["--config", config.to_str().expect("text")]).await;
    for (pool, url, to) in [
        ("address", "http://192.0.2.7/api", "192.0.2.7"),
        ("six", "http://[2001:db8:1::7]/api", "2001:db8:1::7"),
        ("name", "http://pool.example/api", NAMESERVER),
    ] {
        let config = json!({ "datacenters": { "default": { "serverless": { "url": url, "request_lifespan": 60, "drain_grace_period": 10, "slots_per_runner": 1, "max_runners": 1 } } } });
        let answer = engine.send(Call::put(format!("/runner-configs/{pool}?namespace=default")).json(&config)).await;
        assert!(answer.status == 200 || to == NAMESERVER, "{pool}: {answer}");
        leaving.sees(to).await;
    }
    println!("attempts to leave, with pools elsewhere: {:?}", leaving.seen());
}

/// All that an installation without a network does.
async fn journey() {
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    for expected in 1..=3 {
        assert_eq!(engine.increment("counter", "a").await, expected);
    }
    engine.deploy("chat", "chat").await;
    let mut socket = Socket::open(&engine, &by_key("chat", "room", "/"), "").await;
    socket.send(Message::text("hello")).await.expect("it is open");
    socket.close().await;
    let (actor, _) = engine.get_or_create("counter", "a", None).await;
    engine.actor_log(&actor).await;
    engine.sleep(&actor).await;
    assert_eq!(engine.get(by_id(&actor, "/")).await.number("it woke"), 3);
    dashboard(&engine).await;
    for arguments in [&["deployments"][..], &["actors", "list"], &["status", "counter"], &["config", "check"], &["config", "show"]]
    {
        let done = engine.cli(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.err);
    }
    engine.kill9();
    engine.restart().await;
    assert_eq!(engine.increment("counter", "a").await, 4);
    tokio::time::sleep(WATCHED).await;
    assert_eq!(engine.stop().await, Some(0));
}

/// Every file of the dashboard, which may name nothing elsewhere that a browser would fetch.
async fn dashboard(engine: &Engine) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard");
    let mut folders = vec![root.clone()];
    let mut scanned = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).expect("found below").to_string_lossy().into_owned();
            let text = engine.get(format!("/ui/{inside}")).await.expect_ok(&inside).text();
            for (at, _) in text.match_indices("://") {
                let line = text[..at].rsplit('\n').next().unwrap_or_default();
                let after = text[at + 3..].split(['"', '\'', ' ', '/', ')']).next().unwrap_or_default();
                // A namespace is a name, and an example is shown and not fetched.
                let is_name = after == "www.w3.org" && line.contains("xmlns");
                let is_example = after.ends_with(".example") && line.contains("placeholder");
                assert!(is_name || is_example, "{inside} names {after}: {line}");
            }
            scanned += 1;
        }
    }
    assert!(scanned > 5, "{scanned} files: this looks in the wrong place");
}

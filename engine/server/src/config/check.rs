//! `config check`: what a configuration that can be read still lacks to start, or hardly means.
//!
//! Looks and changes nothing: no folder is made, no file written, no name looked up. What only a start can tell, such as whether a
//! port is free at that moment, is not asked.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::tls;

#[derive(Default)]
pub struct Found {
    /// What would stop the start, or would make it useless: a sentence each.
    pub problems: Vec<String>,
    /// What is allowed, and perhaps not meant.
    pub notes: Vec<String>,
}

pub fn check(config: &Config) -> Found {
    let mut found = Found { problems: Vec::new(), notes: config.without_effect.clone() };
    found.data_dir(&config.data_dir);
    found.listeners(config);
    found.times(config);
    for dir in &config.wasm.dirs {
        if let Err(error) = fs::read_dir(&dir.host_path) {
            found.problems.push(format!("wasm.dirs: the folder {} cannot be read ({error})", dir.host_path.display()));
        }
    }
    if let Some(https) = &config.https {
        match tls::load(&https.pairs) {
            // Judged by the machine's clock, as clients judge them by theirs.
            Ok(loaded) => found.notes.extend(loaded.warnings(Clock::default().now_ms())),
            Err(error) => found.problems.push(format!("guard.https.tls: {error}")),
        }
    }
    if config.admin_token.is_none() && config.guard.host.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()) {
        let host = &config.guard.host;
        found
            .notes
            .push(format!("guard.host: whoever reaches {host} can do everything: no token is configured (auth.admin_token)"));
    }
    found.notes.extend(config.memory.raised.clone());
    if config.edge.exempt.is_empty() {
        found.notes.push("guard.exempt_cidrs: is empty, so programs on this machine are limited like any client".to_string());
    }
    found
}

impl Found {
    fn data_dir(&mut self, path: &Path) {
        let unusable = |what: String| format!("file_system.path: the folder {} {what}; choose another", path.display());
        let Some(there) = path.ancestors().find(|ancestor| ancestor.exists() || ancestor.as_os_str().is_empty()) else { return };
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        if !there.is_dir() {
            return self.problems.push(unusable(format!("cannot be made: {} is no folder", there.display())));
        }
        if let Err(error) = writable(there) {
            self.problems.push(unusable(format!("cannot be written to: {} is not writable ({error})", there.display())));
        }
    }

    fn listeners(&mut self, config: &Config) {
        let all = [
            ("guard", Some(&config.guard)),
            ("guard.https", config.https.as_ref().map(|https| &https.listen)),
            ("api_peer", config.api_peer.as_ref()),
            ("metrics", config.metrics.as_ref()),
        ];
        let all: Vec<(&str, &Listen)> = all.into_iter().filter_map(|(key, listen)| Some((key, listen?))).collect();
        for (at, (key, listen)) in all.iter().enumerate() {
            let same = all[..at].iter().find(|(_, other)| other.port == listen.port && listen.port != 0);
            if let Some((other, _)) = same {
                self.problems.push(format!("{key}.port: {} is {other}.port too; give each a port of its own", listen.port));
            }
            match listen.host.parse::<IpAddr>() {
                // Any port: whether its own is free is known only when it starts.
                Ok(ip) => match TcpListener::bind((ip, 0)) {
                    Err(error) if config.host_is_default => {
                        self.notes.push(format!("{key}.host: {ip} cannot be listened on ({error}); without IPv6 0.0.0.0 is used"));
                    }
                    Err(error) => {
                        self.problems.push(format!("{key}.host: {ip} is not an address of this machine ({error}); choose another"));
                    }
                    Ok(_) => {}
                },
                Err(_) => {
                    let host = &listen.host;
                    self.notes.push(format!("{key}.host: {host:?} is a name, which is looked up when the engine starts"));
                }
            }
        }
    }

    fn times(&mut self, config: &Config) {
        let times = &config.runner_times;
        let rows = [
            (
                "pegboard.envoy_update_ping_interval",
                times.ping_interval_ms,
                "pegboard.envoy_ping_timeout",
                times.ping_timeout_ms,
                "every runner's connection would be closed between two pings",
            ),
            (
                "pegboard.envoy_update_ping_interval",
                times.ping_interval_ms,
                "pegboard.envoy_lost_threshold",
                times.lost_ms,
                "runners would be given up between two pings",
            ),
            (
                "pegboard.min_metadata_poll_interval",
                times.metadata_poll_min_ms,
                "pegboard.default_metadata_poll_interval",
                times.metadata_poll_ms,
                "the least is more than the default",
            ),
        ];
        for (key, ms, other, other_ms, why) in rows {
            if ms > other_ms {
                self.problems.push(format!(
                    "{key}: {ms} ms is more than {other} with {other_ms} ms: {why}; lower the one or raise the other"
                ));
            }
        }
        let wasm = &config.wasm;
        if let (Some(one), Some(all)) = (wasm.actor_memory_bytes, wasm.memory_bytes)
            && one > all
        {
            let what = "wasm.actor_memory_mib: one Wasm actor may have more than wasm.memory_mib allows all of them together";
            self.problems.push(format!("{what}; lower the one or raise the other"));
        }
    }
}

/// As far as the system tells without trying.
fn writable(folder: &Path) -> io::Result<()> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: it reads a text that ends with a zero, and nothing else of ours.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

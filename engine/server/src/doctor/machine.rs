//! The machine: limits of the kernel, memory, the clock.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use crate::doctor::{Finding, Wanted};
use crate::memory::allowed::{Allowed, By};
use crate::memory::mib;

/// Of each connection and each table one is used.
const FILES_MIN: u64 = 65_536;
/// What a process may map where nobody has changed it; see docs/OPERATIONS.md, "Memory and mappings".
const MAPPINGS_DEFAULT: u64 = 65_530;
/// One in so many is left to everything but actors.
const MAPPINGS_SHARE_LEFT: u64 = 8;
/// So many count for one awake actor of the smallest kind.
const MAPPINGS_PER_ACTOR: u64 = 4;
/// 2024-01-01: before this was written no engine ran.
const EARLIEST: Duration = Duration::from_secs(1_704_067_200);
/// Clocks of disks and machines are not the same to the second.
const AHEAD_MAX: Duration = Duration::from_secs(60);

pub fn look(data_dir: &Path, wanted: &Wanted, findings: &mut Vec<Finding>) {
    mappings(findings);
    files(findings);
    memory(wanted, findings);
    clock(data_dir, findings);
}

fn mappings(findings: &mut Vec<Finding>) {
    let Some(limit) = number("/proc/sys/vm/max_map_count") else { return };
    let actors = (limit - limit / MAPPINGS_SHARE_LEFT) / MAPPINGS_PER_ACTOR;
    let text = format!("vm.max_map_count is {limit}: room for {actors} awake Wasm actors");
    findings.push(match limit < MAPPINGS_DEFAULT {
        true => Finding::warn("mappings", text, "sysctl -w vm.max_map_count=1048576, if you have more actors than that"),
        false => Finding::ok("mappings", text),
    });
}

fn files(findings: &mut Vec<Finding>) {
    let hard = getrlimit(Resource::Nofile).maximum;
    findings.push(match hard {
        Some(hard) if hard < FILES_MIN => Finding::warn(
            "open-files",
            format!("a process of yours may have {hard} open files; each connection is one"),
            format!("LimitNOFILE={FILES_MIN} in the unit, or ulimit -Hn, for the engine's user"),
        ),
        Some(hard) => Finding::ok("open-files", format!("a process of yours may have {hard} open files")),
        None => Finding::ok("open-files", "a process of yours may have any number of open files"),
    });
}

fn memory(wanted: &Wanted, findings: &mut Vec<Finding>) {
    let allowed = Allowed::of_process();
    if allowed.by == By::Unknown {
        return;
    }
    let (of, bytes) = (if allowed.by == By::Group { "the control group" } else { "the machine" }, allowed.bytes);
    let text = format!("{of} has {} MiB, of which the engine may take {} (memory_limit)", mib(bytes), mib(wanted.memory_bytes));
    findings.push(match wanted.memory_bytes > bytes {
        true => {
            Finding::warn("memory", text, "lower memory_limit, or what asks for more, or the kernel may end the engine under load")
        }
        false => Finding::ok("memory", text),
    });
}

fn clock(data_dir: &Path, findings: &mut Vec<Finding>) {
    let now = SystemTime::now();
    if now < UNIX_EPOCH + EARLIEST {
        let text = "the machine's clock is years behind";
        return findings.push(Finding::error("clock", text, "set it before you start the engine: alarms ring by it"));
    }
    let entries = fs::read_dir(data_dir.join("store")).into_iter().flatten().flatten();
    let newest = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    findings.push(match newest.and_then(|newest| newest.duration_since(now).ok()).filter(|ahead| *ahead > AHEAD_MAX) {
        Some(ahead) => Finding::error(
            "clock",
            format!("files of the store were written {} s after now: the clock was set back", ahead.as_secs()),
            "set the clock; until it has caught up the engine's stands still, and no alarm rings",
        ),
        None => Finding::ok("clock", "it is not behind what was written"),
    });
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

//! What memory the machine has, or the control group that this process runs in allows: the smaller of the two.
//!
//! Groups of version 2 (`memory.max`) and of version 1 (`memory.limit_in_bytes`), with those above them. In a container the group's
//! own files may lie at the root of the file system of groups, whatever its path says; so both places are asked.

use std::fs;
use std::path::Path;

use protocol::limits::MIB;

/// A limit that is none: version 1 says a number near the largest there is.
const NO_LIMIT_BYTES: u64 = 1 << 60;
/// Where the system says nothing.
const UNKNOWN_BYTES: u64 = 2048 * MIB as u64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    pub bytes: u64,
    pub by: By,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Machine,
    Group,
    Unknown,
}

impl Allowed {
    pub fn of_process() -> Allowed {
        Allowed::below(Path::new("/"))
    }

    /// As a system says it whose files are in this folder.
    pub fn below(root: &Path) -> Allowed {
        let machine = fs::read_to_string(root.join("proc/meminfo")).ok().as_deref().and_then(total);
        match (machine, group(root)) {
            (Some(machine), Some(group)) if group >= machine => Allowed { bytes: machine, by: By::Machine },
            (_, Some(group)) => Allowed { bytes: group, by: By::Group },
            (Some(machine), None) => Allowed { bytes: machine, by: By::Machine },
            (None, None) => Allowed { bytes: 0, by: By::Unknown },
        }
    }

    /// The limit that is taken if nobody names one. A machine is shared with others, and a group is this process's own; what is left of
    /// it is for what cannot be promised.
    pub fn usual(self) -> (u64, String) {
        let (bytes, from) = match self.by {
            By::Machine => (self.bytes / 2, "half of this machine's memory"),
            By::Group => (self.bytes / 4 * 3, "three quarters of the control group's limit"),
            By::Unknown => (UNKNOWN_BYTES, "what is taken where the system does not say"),
        };
        (bytes, from.to_string())
    }
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least of the group and all above it.
fn group(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (folder, file) = match controllers {
            "" => (root.join("sys/fs/cgroup"), "memory.max"),
            named if named.split(',').any(|name| name == "memory") => (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        for above in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = fs::read_to_string(folder.join(above).join(file)).ok();
            // Without a limit it says `max`, or a number that is none.
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok()).filter(|bytes| *bytes < NO_LIMIT_BYTES);
            least = [least, limit].into_iter().flatten().min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_machine_and_group() {
        const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1048576 kB\nMemFree: 5 kB\n");
        const GIB: u64 = 1 << 30;
        let v2 = |text| ("sys/fs/cgroup/a/b/memory.max", text);
        let in_b = ("proc/self/cgroup", "0::/a/b\n");
        let machine = |bytes| Allowed { bytes, by: By::Machine };
        let group = |bytes| Allowed { bytes, by: By::Group };
        let rows: [(&[(&str, &str)], Allowed); 11] = [
            (&[], Allowed { bytes: 0, by: By::Unknown }),
            (&[MEMINFO], machine(GIB)),
            (&[MEMINFO, in_b], machine(GIB)),
            (&[MEMINFO, in_b, v2("max\n")], machine(GIB)),
            (&[MEMINFO, in_b, v2("268435456\n")], group(268_435_456)),
            (&[MEMINFO, in_b, v2("8589934592\n")], machine(GIB)),
            (&[MEMINFO, in_b, v2("max\n"), ("sys/fs/cgroup/a/memory.max", "1000000\n")], group(1_000_000)),
            // Inside a container: the path is of the host, the files are at the root.
            (&[MEMINFO, in_b, ("sys/fs/cgroup/memory.max", "2000000\n")], group(2_000_000)),
            (
                &[
                    MEMINFO,
                    ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/c\n0::/\n"),
                    ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3000000\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                group(3_000_000),
            ),
            (&[in_b, v2("4000000\n")], group(4_000_000)),
            (&[("proc/meminfo", "MemTotal: much\n"), ("proc/self/cgroup", "0\nx:y\n::\n")], Allowed { bytes: 0, by: By::Unknown }),
        ];
        for (files, expected) in rows {
            let root = tempfile::tempdir().expect("a folder");
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            assert_eq!(Allowed::below(root.path()), expected, "{files:?}");
        }
    }
}

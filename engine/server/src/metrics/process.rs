//! What the kernel says about this process, under the names that every exporter for Prometheus gives it.

use std::fs;

use crate::metrics::page::Page;

/// All there is; on systems without `/proc` the processor time alone.
pub fn process(page: &mut Page) {
    page.counter("process_cpu_seconds_total", "Processor time of the process, user and system.", cpu_seconds());
    if let Some(memory) = fs::read_to_string("/proc/self/statm").ok().as_deref().and_then(memory) {
        let [virtual_bytes, resident_bytes] = memory;
        page.gauge("process_resident_memory_bytes", "Memory of the process that is in use.", resident_bytes);
        page.gauge("process_virtual_memory_bytes", "Addresses that the process has mapped.", virtual_bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Files and connections that are open.", files.count());
    }
    if let Some(limit) = files_max() {
        page.gauge("process_max_fds", "How many may be open.", limit);
    }
    if let Some(started) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
        page.gauge("process_threads", "Threads of the process.", started.threads);
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_seconds) {
            let seconds = booted as f64 + started.ticks as f64 / constant(libc::_SC_CLK_TCK) as f64;
            page.gauge("process_start_time_seconds", "When the process began, in seconds since 1970.", seconds);
        }
    }
}

fn constant(name: libc::c_int) -> u64 {
    // SAFETY: it reads a constant of the system and nothing else.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(1).max(1)
}

fn cpu_seconds() -> f64 {
    // SAFETY: all zeros is a value of this structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: it writes to the structure that it is given, which lives until it returns.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Virtual and resident, from the kernel's pages.
fn memory(text: &str) -> Option<[u64; 2]> {
    let mut pages = text.split(' ').map(str::parse::<u64>);
    let (all, resident) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page_bytes = constant(libc::_SC_PAGESIZE);
    Some([all * page_bytes, resident * page_bytes])
}

struct Stat {
    threads: u64,
    /// When it began, since the machine did.
    ticks: u64,
}

impl Stat {
    /// The second field is the program's name, in parentheses and with anything in it; the others are counted from its end.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        Some(Stat { threads: fields.get(17)?.parse().ok()?, ticks: fields.get(19)?.parse().ok()? })
    }
}

fn boot_seconds(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let text = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 123456 7 8 9";
        let stat = Stat::parse(text).expect("it can be read");
        assert_eq!((stat.threads, stat.ticks), (9, 123_456));
        for text in ["", "17 (a", "17 (a) S 1"] {
            assert!(Stat::parse(text).is_none(), "{text}");
        }
    }
}

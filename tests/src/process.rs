//! A process of the binary: started, told, killed, waited for. Killed when it is dropped.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::until::until;

/// As much of its log as a failure shows.
const LOG_LINES_SHOWN: usize = 80;

pub struct Process {
    what: &'static str,
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Process {
    /// What it writes lies in the folder, in files that begin with the name.
    pub fn start(what: &'static str, mut command: Command, folder: &Path, name: &str) -> Process {
        let (out, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let file = |path| File::create(path).expect("a file beside the data");
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&log));
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        Process { what, child, out, log }
    }

    /// What it has written to standard output.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).expect("the file was made before")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the file was made before")
    }

    /// The first line of standard output that has these words; the process must not have ended before.
    pub async fn line(&mut self, words: &str) -> String {
        let (out, what, child) = (self.out.clone(), self.what, &mut self.child);
        until(&format!("{what} says {words:?}"), async || {
            let ended = child.try_wait().expect("it is our child");
            let said = fs::read_to_string(&out).expect("the file was made before");
            let whole = said.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains(words));
            assert!(ended.is_none() || whole.is_some(), "{what} ended by itself: {ended:?}");
            whole.map(|line| line.trim_end().to_string()).ok_or(said)
        })
        .await
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        let id = libc::pid_t::try_from(self.child.id()).expect("process ids are small");
        // SAFETY: it goes to a child that was not waited for yet, so the id is still its.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "signal {signal} could not be sent");
    }

    /// The most memory that it has had at one time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// `kill -9`: it can do nothing about it.
    pub fn kill9(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits until it has ended by itself. Its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let (what, child) = (self.what, &mut self.child);
        until(&format!("{what} ends"), async || {
            let ended = child.try_wait().expect("it is our child");
            ended.map(|status| status.code()).ok_or("it still runs".to_string())
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!(
                "--- the last {} lines of the log of {}, {}:\n{}\n---",
                shown.len(),
                self.what,
                self.log.display(),
                shown.join("\n")
            );
        }
    }
}

/// The binary, with none of the variables that it reads.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    // Only what the test says counts.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIVET_")) {
        command.env_remove(name);
    }
    command
}

pub fn binary() -> PathBuf {
    env::var_os("RIVET_ENGINE_BINARY").map(PathBuf::from).unwrap_or_else(|| {
        // The test lies in `deps`, beside which is the binary of the same build.
        let test = env::current_exe().expect("a test is a file");
        test.parent().and_then(Path::parent).expect("it lies in a folder of the target directory").join("rivet-engine")
    })
}

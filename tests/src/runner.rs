//! The runner for components on its own: the real binary, over a cache folder of its own, killed when it is dropped.

use tempfile::TempDir;

use crate::Engine;
use crate::process::{Process, command};

pub struct Runner {
    folder: TempDir,
    key: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    starts: u32,
    process: Option<Process>,
}

impl Runner {
    /// Until the engine has taken it.
    pub async fn start(engine: &Engine, key: &str) -> Runner {
        let mut runner = Runner::new(key, &[]);
        runner.restart(engine.url()).await;
        runner
    }

    /// One that does not run yet.
    pub fn new(key: &str, flags: &[String]) -> Runner {
        let folder = TempDir::new().expect("a folder for the cache");
        Runner { folder, key: key.to_string(), flags: flags.to_vec(), variables: Vec::new(), starts: 0, process: None }
    }

    /// Variables of its environment, from its next start on.
    pub fn set(&mut self, variables: &[(&str, &str)]) {
        self.variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }

    /// Starts it with the same cache, until the engine has taken it.
    pub async fn restart(&mut self, url: &str) {
        self.spawn(url);
        self.connected().await;
    }

    pub fn spawn(&mut self, url: &str) {
        // The older one may still wait for an engine that is gone.
        self.process = None;
        self.starts += 1;
        let mut command = command();
        command.args(["runner", "--endpoint", url, "--key", &self.key, "--cache-dir"]).arg(self.folder.path().join("cache"));
        command.args(&self.flags).envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start("the runner", command, self.folder.path(), &self.starts.to_string()));
    }

    /// Waits until an engine has taken it, since it was started.
    pub async fn connected(&mut self) {
        let words = format!("runs actors as {}", self.key);
        self.process().line(&words).await;
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the runner runs")
    }

    pub fn kill9(&mut self) {
        self.process.take().expect("the runner runs").kill9();
    }

    /// SIGTERM, until it has ended. Its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.process().signal(libc::SIGTERM);
        self.process().ended().await
    }
}

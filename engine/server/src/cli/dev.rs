//! `rivet-engine dev`: builds a project, deploys it, and does so again whenever a file of it changes. State is kept.
//!
//! A supervisor of processes and nothing else: the project's own build command, this binary's `deploy`, and, unless one answers
//! already, this binary's `start` with its data in the project's `.rivet` folder. A build that fails changes nothing: the version
//! before goes on.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::cli::{Outcome, print};

const MANIFEST: &str = "rivet.json";
/// Where the engine that is started here keeps its data.
const DATA_FOLDER: &str = ".rivet";
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);
const ENGINE_WITHIN: Duration = Duration::from_secs(30);
/// How long the engine may take to end in order.
const ENGINE_ENDS_WITHIN: Duration = Duration::from_secs(20);
/// A folder with more files than that is not a project of one actor.
const FILES_MAX: usize = 20_000;
/// What builds write, and what others wrote. Hidden files and folders are not looked at either.
const NOT_WATCHED: [&str; 4] = ["target", "node_modules", "__pycache__", "venv"];

#[derive(Args)]
pub struct DevArgs {
    /// The project: a folder with a rivet.json, as `rivet-engine new` makes it
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// The address of the engine; one is started there if none answers
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6420")]
    listen: SocketAddr,
}

/// `rivet.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Of the actors.
    name: String,
    /// A line for `sh`, run in the project's folder.
    build: String,
    /// What the build makes, from the project's folder.
    component: PathBuf,
}

pub async fn run(args: DevArgs) -> Outcome {
    let project = Project::open(&args)?;
    let no_signals = |error: io::Error| format!("signals cannot be listened to: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut engine = project.engine().await?;
    let outcome = tokio::select! {
        outcome = project.work() => outcome,
        ended = ended(&mut engine) => Err(format!("the engine has ended ({ended}); see above")),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if let Some(engine) = engine {
        stop(engine).await;
    }
    outcome
}

struct Project {
    dir: PathBuf,
    manifest: Manifest,
    listen: SocketAddr,
    /// This binary.
    own: PathBuf,
}

type Snapshot = BTreeMap<PathBuf, Seen>;

/// A file, as it was when it was looked at.
#[derive(Clone)]
struct Seen {
    modified: SystemTime,
    bytes: u64,
    content: u64,
}

/// One that was written again as it was has not changed: builds do that.
impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        self.content == other.content
    }
}

impl Project {
    fn open(args: &DevArgs) -> Result<Project, String> {
        let path = args.dir.join(MANIFEST);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("{} cannot be read ({error}); `rivet-engine new NAME` makes a project", path.display()))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let own = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
        Ok(Project { dir: args.dir.clone(), manifest, listen: args.listen, own })
    }

    /// None if one answers already.
    async fn engine(&self) -> Result<Option<Child>, String> {
        if self.answers().await {
            print::note(&format!("the engine at http://{} is used", self.listen));
            return Ok(None);
        }
        let data = self.dir.join(DATA_FOLDER);
        print::note(&format!("starting an engine at http://{}, data in {}", self.listen, data.display()));
        let mut command = Command::new(&self.own);
        command.args(["start", "--host", &self.listen.ip().to_string(), "--port", &self.listen.port().to_string(), "--data-dir"]);
        command.arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut engine = Some(command.spawn().map_err(|error| format!("the engine could not be started: {error}"))?);
        let began = Instant::now();
        while began.elapsed() < ENGINE_WITHIN {
            if self.answers().await {
                return Ok(engine);
            }
            tokio::select! {
                ended = ended(&mut engine) => return Err(format!("the engine did not start ({ended}); see above")),
                () = sleep(LOOK_EVERY) => {}
            }
        }
        Err(format!("the engine did not answer within {} s", ENGINE_WITHIN.as_secs()))
    }

    async fn answers(&self) -> bool {
        matches!(timeout(ENGINE_WITHIN, TcpStream::connect(self.listen)).await, Ok(Ok(_)))
    }

    /// Ends only if the files cannot be looked at.
    async fn work(&self) -> Outcome {
        let mut built = Snapshot::new();
        let mut said_waiting = false;
        loop {
            let now = self.snapshot(&built)?;
            if now == built {
                built = now;
                if !said_waiting {
                    print::note("waiting for changes; ctrl-c ends");
                    said_waiting = true;
                }
                sleep(LOOK_EVERY).await;
                continue;
            }
            sleep(SETTLE).await;
            if self.snapshot(&now)? != now {
                continue;
            }
            if let Some(changed) = changed(&built, &now).filter(|_| !built.is_empty()) {
                print::note(&format!("{} has changed", changed.display()));
            }
            self.build_and_deploy().await;
            // As it was before: what has changed meanwhile is not in the build. What the build itself has written makes it run once more,
            // and writes the same then.
            built = now;
            said_waiting = false;
        }
    }

    async fn build_and_deploy(&self) {
        let began = Instant::now();
        print::note(&format!("building: {}", self.manifest.build));
        let mut build = Command::new("sh");
        build.args(["-c", &self.manifest.build]).current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        match build.status().await {
            Ok(status) if status.success() => print::note(&format!("built in {:.1} s", began.elapsed().as_secs_f64())),
            Ok(status) => return print::note(&format!("the build failed ({status}); the version before goes on")),
            Err(error) => return print::note(&format!("the build could not be started: {error}")),
        }
        let mut deploy = Command::new(&self.own);
        deploy.arg("deploy").arg(self.dir.join(&self.manifest.component)).args(["--name", &self.manifest.name]);
        deploy.args(["--engine", &format!("http://{}", self.listen)]).stdin(Stdio::null()).kill_on_drop(true);
        match deploy.status().await {
            Ok(status) if status.success() => {}
            Ok(_) => print::note("the deploy failed; the version before goes on"),
            Err(error) => print::note(&format!("the deploy could not be started: {error}")),
        }
    }

    /// The files of the project, but for what it is built into. Only those are read that are not as they were.
    fn snapshot(&self, before: &Snapshot) -> Result<Snapshot, String> {
        let component = self.dir.join(&self.manifest.component);
        let mut found = Snapshot::new();
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            let unreadable = |error: io::Error| format!("the folder {} cannot be read: {error}", folder.display());
            for entry in fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with('.') || NOT_WATCHED.contains(&name.as_str()) || path == component {
                    continue;
                }
                // One that vanishes at this moment is seen at the next look.
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                if metadata.is_dir() {
                    folders.push(path);
                } else if let Some(seen) = look(&path, &metadata, before.get(&path)) {
                    found.insert(path, seen);
                }
            }
            if found.len() > FILES_MAX {
                let dir = self.dir.display();
                return Err(format!("{dir} has more than {FILES_MAX} files, too many to watch; is it a project of one actor?"));
            }
        }
        Ok(found)
    }
}

fn look(path: &Path, metadata: &fs::Metadata, before: Option<&Seen>) -> Option<Seen> {
    let (modified, bytes) = (metadata.modified().ok()?, metadata.len());
    if let Some(before) = before.filter(|before| before.modified == modified && before.bytes == bytes) {
        return Some(before.clone());
    }
    let mut content = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut content);
    Some(Seen { modified, bytes, content: content.finish() })
}

/// One file that is in one of them only, or another in each.
fn changed<'a>(before: &'a Snapshot, now: &'a Snapshot) -> Option<&'a Path> {
    let differs = |one: &'a Snapshot, other: &'a Snapshot| one.iter().find(|(path, seen)| other.get(*path) != Some(*seen));
    differs(now, before).or_else(|| differs(before, now)).map(|(path, _)| path.as_path())
}

/// Says how it ended. An engine of somebody else does not end for us.
async fn ended(engine: &mut Option<Child>) -> String {
    match engine {
        Some(engine) => engine.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string()),
        None => std::future::pending().await,
    }
}

/// In order: it may have got the signal already, as one of the same terminal.
async fn stop(mut engine: Child) {
    let Some(id) = engine.id().and_then(|id| i32::try_from(id).ok()) else { return };
    if let Some(id) = rustix::process::Pid::from_raw(id) {
        // One that has ended meanwhile needs no signal.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    if timeout(ENGINE_ENDS_WITHIN, engine.wait()).await.is_err() {
        print::note("the engine takes too long to end and is killed; what it has acknowledged is on disk");
        let _ = engine.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
            fs::write(path, name).expect("a file");
        };
        write(MANIFEST);
        fs::write(dir.path().join(MANIFEST), r#"{"name":"a","build":"true","component":"out/a.wasm"}"#).expect("a file");
        let args = DevArgs { dir: dir.path().to_owned(), listen: ([127, 0, 0, 1], 1).into() };
        let project = Project::open(&args).expect("a project");
        let before = project.snapshot(&Snapshot::new()).expect("a folder that can be read");
        let rows = [
            ("src/lib.rs", true),
            ("deep/er/file", true),
            ("out/a.wasm", false),
            ("out/b.wasm", true),
            ("target/debug/x", false),
            ("node_modules/y/z", false),
            (".rivet/store", false),
            (".hidden", false),
        ];
        for (name, watched) in rows {
            write(name);
            let now = project.snapshot(&before).expect("a folder that can be read");
            assert_eq!(changed(&before, &now).is_some(), watched, "{name}");
            let path = dir.path().join(name);
            fs::remove_file(&path).expect("it was just written");
        }
        write(MANIFEST);
        let again = project.snapshot(&before).expect("a folder that can be read");
        assert!(changed(&before, &again).is_some(), "another text of the same file");
        write(MANIFEST);
        let same = project.snapshot(&again).expect("a folder that can be read");
        assert_eq!(changed(&again, &same), None, "the same text, written again");
    }

    #[test]
    fn manifests_that_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let args = || DevArgs { dir: dir.path().to_owned(), listen: ([127, 0, 0, 1], 1).into() };
        let told = || Project::open(&args()).err().expect("it is refused");
        assert!(told().contains("rivet-engine new"), "{}", told());
        for (text, part) in
            [("{", "rivet.json"), ("{\"name\":\"a\"}", "build"), (r#"{"name":"a","build":"b","component":"c","x":1}"#, "x")]
        {
            fs::write(dir.path().join(MANIFEST), text).expect("a file");
            assert!(told().contains(part), "{text}: {}", told());
        }
    }
}

//! Pulls the plug while a backup is made and while one is restored: what is listed is whole, what was acknowledged before it began is
//! in it, and a place holds a whole data directory or none. `RIVET_KILLS` sets the number of rounds.
//!
//! Children of this test do the work; they say on their standard output what was acknowledged, and when a backup began.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use engine_store::rocks::Tuning;
use engine_store::{Batch, Persist, Rocks, Store};
use rivet_engine_backup::{BackupError, Repository, Stage, create, restore, verify};

const KILLS: u64 = 8;
const KILL_WITHIN_MS: u64 = 700;
const RESTORE_WITHIN_MS: u64 = 800;
const CHILD: &str = "RIVET_BACKUP_CHILD";
const FOLDER: &str = "RIVET_BACKUP_FOLDER";

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn repository(folder: &Path) -> PathBuf {
    folder.join("backups")
}

fn tuning() -> Tuning {
    // Small memtables: tables and compactions are under way whenever the kill comes.
    Tuning { memtable_bytes: 256 * 1024, ..Tuning::default() }
}

fn key(number: u64) -> Vec<u8> {
    [b"x/", &number.to_be_bytes()[..]].concat()
}

fn value(number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..random.usize(1..2_000)).map(|_| random.u8(..)).collect()
}

fn counter(store: &dyn Store) -> u64 {
    let found = store.get(b"x").expect("it can be read");
    found.map_or(0, |value| u64::from_be_bytes(value[..].try_into().expect("a counter has 8 bytes")))
}

fn child(role: &str, folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("a test knows its own path"));
    command.args(["--exact", "child_process", "--nocapture", "--test-threads", "1"]);
    command.env(CHILD, role).env(FOLDER, folder).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts")
}

/// Does nothing, unless another test of this file started it.
#[test]
fn child_process() {
    let (Ok(role), Ok(folder)) = (env::var(CHILD), env::var(FOLDER)) else { return };
    let folder = PathBuf::from(folder);
    match role.as_str() {
        "back-up" => back_up(&folder),
        "restore" => {
            let repository = Repository::open(&repository(&folder)).expect("it is there");
            say("begins");
            restore(&repository, "latest", &folder.join("restored/data"), &mut |_| true).expect("a restore");
            say("restored");
            thread::sleep(Duration::from_secs(600));
        }
        other => panic!("no test starts a child as {other}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have stopped listening.
    let _ = out.write_all(format!("\n= {line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Writes without end, and makes one backup after the other.
fn back_up(folder: &Path) {
    let store = Rocks::open(&data(folder).join("store"), &tuning()).expect("it opens after a kill");
    let repository = Repository::create(&repository(folder)).expect("a folder of backups opens after a kill");
    let acknowledged = AtomicU64::new(counter(&store));
    let mut made: u64 = repository.list().expect("a list").last().map_or(0, |(id, _)| id[..8].parse().expect("a number"));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in acknowledged.load(Ordering::SeqCst) + 1.. {
                let mut batch = Batch::new();
                batch.put(key(number), value(number));
                batch.put("x", number.to_be_bytes().to_vec());
                store.commit(&batch, Persist::Synced).expect("the disk is well");
                acknowledged.store(number, Ordering::SeqCst);
            }
        });
        loop {
            made += 1;
            let id = format!("{made:08}-{}", acknowledged.load(Ordering::SeqCst));
            let stage = Stage::make(&store, &data(folder)).expect("a stage, after a kill too");
            say(&format!("begins {id}"));
            create(&stage, &repository, &id, made, None, &mut |_| true).expect("a backup");
            say(&format!("made {id}"));
        }
    });
}

/// Runs it until chance kills it. What it said.
fn run_and_kill(role: &str, folder: &Path, after: Duration) -> Vec<String> {
    let mut child = child(role, folder);
    let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let mut said = Vec::new();
    let mut killer = Some(child);
    for line in lines.map_while(Result::ok) {
        let Some(line) = line.strip_prefix("= ") else { continue };
        said.push(line.to_owned());
        // From when it has begun to do what it is to be killed in.
        if let Some(mut child) = killer.take() {
            thread::spawn(move || {
                thread::sleep(after);
                child.kill().expect("it is ours");
                child.wait().expect("it is ours");
            });
        }
    }
    assert!(killer.is_none(), "{role} ended before it began: {said:?}");
    said
}

fn rounds() -> u64 {
    env::var("RIVET_KILLS").map_or(KILLS, |rounds| rounds.parse().expect("RIVET_KILLS is a number"))
}

#[test]
fn a_backup_that_was_killed_is_never_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let mut random = fastrand::Rng::new();
    let (mut begun, mut made, mut lost) = (0, 0, 0);
    let mut checked = BTreeMap::new();
    for round in 0..rounds() {
        let said = run_and_kill("back-up", folder.path(), Duration::from_millis(random.u64(0..KILL_WITHIN_MS)));
        begun += said.iter().filter(|line| line.starts_with("begins ")).count();
        let told: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("made ")).collect();
        made += told.len();
        // The child may have been killed before it could make a folder of backups.
        let Ok(repository) = Repository::open(&repository(folder.path())) else { continue };
        let listed = repository.list().expect("a list");
        for id in &told {
            assert!(listed.iter().any(|(listed, _)| listed == id), "round {round}: {id} was told and is not there");
        }
        for (id, manifest) in listed {
            manifest.unwrap_or_else(|error| panic!("round {round}: {id} is listed and not whole: {error}"));
            if checked.contains_key(&id) {
                continue;
            }
            let place = folder.path().join("check");
            // These keys are not the engine's: that it opens and has the right checksums is what is looked at.
            restore(&repository, &id, &place, &mut |_| true).unwrap_or_else(|error| panic!("round {round}: {id}: {error}"));
            let store = Rocks::open(&place.join("store"), &tuning()).expect("it opens");
            let acknowledged: u64 = id[9..].parse().expect("the id says what was acknowledged before");
            let reached = counter(&store);
            lost += acknowledged.saturating_sub(reached);
            for number in 1..=reached {
                assert_eq!(store.get(&key(number)).expect("it can be read").as_deref(), Some(&value(number)[..]), "{id}: {number}");
            }
            assert_eq!(store.get(&key(reached + 1)), Ok(None), "{id}: nothing beyond its moment");
            drop(store);
            fs::remove_dir_all(&place).expect("it is ours");
            checked.insert(id, reached);
        }
    }
    println!("backups begun {begun}, made {made}, whole {}, acknowledged writes lost {lost}", checked.len());
    assert_eq!(lost, 0);
    assert!(begun > 0 && !checked.is_empty(), "nothing was tried");
}

#[test]
fn a_restore_that_was_killed_leaves_nothing_or_all() {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let store = Rocks::open(&data(folder.path()).join("store"), &tuning()).expect("a new store");
    for number in 1..3_000 {
        let mut batch = Batch::new();
        batch.put(key(number), value(number));
        batch.put("x", number.to_be_bytes().to_vec());
        store.commit(&batch, Persist::Written).expect("a commit");
    }
    let stage = Stage::make(&store, &data(folder.path())).expect("a stage");
    let repository = Repository::create(&repository(folder.path())).expect("a folder");
    create(&stage, &repository, "1", 1, None, &mut |_| true).expect("a backup");
    verify(&repository, "1", &mut |_| true).expect("it is whole");
    let mut random = fastrand::Rng::new();
    let place = folder.path().join("restored/data");
    let (mut nothing, mut all) = (0, 0);
    for _ in 0..rounds() {
        run_and_kill("restore", folder.path(), Duration::from_millis(random.u64(0..RESTORE_WITHIN_MS)));
        if !place.exists() {
            nothing += 1;
            continue;
        }
        all += 1;
        let store = Rocks::open(&place.join("store"), &tuning()).expect("it opens");
        assert_eq!(counter(&store), 2_999);
        drop(store);
        let again = restore(&repository, "latest", &place, &mut |_| true);
        assert!(matches!(again, Err(BackupError::Occupied { .. })), "{again:?}");
        fs::remove_dir_all(&place).expect("it is ours");
    }
    println!("restores killed: {nothing} left nothing, {all} left all");
    restore(&repository, "latest", &place, &mut |_| true).expect("whatever was left, the next one goes through");
}

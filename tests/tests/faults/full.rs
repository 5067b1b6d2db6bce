//! A real file system of a few MiB: it becomes full, and it cannot be written to.
//!
//! Mounting one takes a mount namespace of one's own, so each test runs itself again in one; where that is not possible, it says so.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, until};

use crate::Told;

const INSIDE: &str = "RIVET_FAULTS_INSIDE";
/// Room for the log, which is laid out in advance, for tables, components and what is compiled of them.
const DISK_MIB: u64 = 192;
/// Written at a time by one who fills the disk from outside.
const HOG_BYTES: usize = 256 * 1024;

/// Runs the test again where it may mount; false if it is to go on here.
fn went_inside(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    let may = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        println!("skipped: this machine lets nobody mount a file system in a namespace of their own (unshare -rm)");
        return true;
    }
    let mut again = Command::new("unshare");
    again.arg("-rm").arg(env::current_exe().expect("a test knows its own path"));
    let done =
        again.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(INSIDE, "1").output().expect("it can be run");
    print!("{}", String::from_utf8_lossy(&done.stdout));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    true
}

fn mount(arguments: &[&str], place: &Path) {
    let done = Command::new("mount").args(arguments).arg(place).output().expect("there is mount");
    assert!(done.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn configured(folder: &Path, reserve_mib: u64) -> String {
    let file = folder.join(format!("{reserve_mib}.yaml"));
    fs::write(&file, format!("storage: {{reserve_mib: {reserve_mib}}}\n")).expect("a file");
    file.to_str().expect("a path that is text").to_string()
}

/// Takes all the room there is.
fn fill(place: &Path) {
    let mut hog = File::create(place).expect("there is room for a name");
    for bytes in [HOG_BYTES, 4_096, 1] {
        while hog.write_all(&vec![7; bytes]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_writes_wait_and_loses_none() {
    if went_inside("full::a_full_disk_makes_writes_wait_and_loses_none") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // With a reserve commits stop before the disk is full. Without one, RocksDB meets the end of the disk.
    let mut lost = 0;
    for reserve_mib in [16, 0] {
        lost += check_full(&configured(folder.path(), reserve_mib), reserve_mib).await;
    }
    println!("acknowledged writes lost {lost}");
    assert_eq!(lost, 0);
}

async fn check_full(config: &str, reserve_mib: u64) -> u64 {
    let mut engine = Engine::start_alone(&["--config", config]).await;
    engine.stop().await;
    fs::remove_dir_all(engine.data_dir()).expect("it is ours");
    fs::create_dir(engine.data_dir()).expect("it is ours");
    mount(&["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"], &engine.data_dir());
    engine.restart().await;
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    let mut told = Told::default();
    told.increment(&engine).await;
    engine.increment("counter", "other").await;

    let hog = engine.data_dir().join("hog");
    let started = engine.starts();
    fill(&hog);
    let engine = Arc::new(engine);
    let path = |key: u64| by_key("hostile", "writer", &format!("/put-many?n=8&bytes={}", 100_000 + key));
    // Until one is not answered at once: with room in what the log has laid out already, some still are.
    let mut written = 0;
    let waiting = loop {
        let (one, target) = (engine.clone(), path(written));
        // A read by its method, so it is not refused where it arrives; it makes an actor or writes all the same.
        let mut put = tokio::spawn(async move { one.send(Call::post(target)).await });
        match tokio::time::timeout(Duration::from_secs(2), &mut put).await {
            Ok(answer) => match answer.expect("it does not panic") {
                answer if answer.status == 200 => written += 1,
                answer => {
                    assert_eq!((answer.status, answer.code().as_str()), (503, "storage.no_space"), "{answer}");
                    assert_eq!(answer.header("retry-after"), "1");
                    break None;
                }
            },
            Err(_) => break Some(put),
        }
        assert!(written < 10_000, "the disk is not full");
    };
    // What is a read by its method and a write in truth waits.
    let waiting = waiting.unwrap_or_else(|| {
        let one = engine.clone();
        tokio::spawn(async move { one.send(Call::get(by_key("counter", "made-while-full", "/"))).await })
    });
    until("what grows is refused", async || {
        let answer = engine.post(by_key("counter", "told", "/increment")).await;
        (answer.code() == "storage.no_space").then_some(()).ok_or(answer.to_string())
    })
    .await;
    assert_eq!(engine.get(by_key("counter", "other", "/")).await.number("reads go on"), 1);
    engine.get("/actors?namespace=default&name=counter").await.expect_ok("reads of the API go on");
    assert!(!waiting.is_finished(), "nothing is acknowledged while it cannot be written");

    fs::remove_file(&hog).expect("it was made before");
    let answer = waiting.await.expect("it does not panic");
    assert_eq!(answer.status, 200, "reserve {reserve_mib} MiB: it waited, and was written when there was room: {answer}");
    until("what grows is taken again", async || {
        let answer = told.try_increment(&engine).await;
        answer.filter(|answer| answer.status == 200).map(drop).ok_or("refused".to_string())
    })
    .await;
    let mut engine = Arc::into_inner(engine).expect("all clients have ended");
    assert_eq!(engine.starts(), started, "it went on without a restart");
    let mut lost = 0;
    for _ in 0..2 {
        lost += told.lost(&engine).await;
        let listed = engine.get(by_key("hostile", "writer", "/list?prefix=many/")).await.expect_ok("a list").text();
        if written > 0 {
            assert_eq!(listed.lines().count(), 8, "all of a message or nothing");
            let bytes = listed.lines().next().and_then(|line| line.split_once('=')).map_or(0, |(_, value)| value.len() as u64);
            lost += (100_000 + written - 1).saturating_sub(bytes);
        }
        told.increment(&engine).await;
        engine.kill9();
        engine.restart().await;
    }
    println!("reserve {reserve_mib} MiB: {written} messages written before it was full, lost {lost}");
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_stops_the_start_in_one_sentence() {
    if went_inside("full::a_read_only_disk_stops_the_start_in_one_sentence") {
        return;
    }
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    let mut told = Told::default();
    told.increment(&engine).await;
    engine.stop().await;
    let place = engine.data_dir();
    mount(&["--bind", place.to_str().expect("a path that is text")], &place);
    mount(&["-o", "remount,bind,ro"], &place);
    crate::starting::refused(&place, "check that it may be read and written").await;
    mount(&["-o", "remount,bind,rw"], &place);
    engine.restart().await;
    assert_eq!(told.lost(&engine).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_backups_leaves_none_and_the_engine_goes_on() {
    if went_inside("full::a_full_disk_under_the_backups_leaves_none_and_the_engine_goes_on") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (place, file) = (folder.path().join("backups"), folder.path().join("engine.yaml"));
    fs::create_dir(&place).expect("a folder");
    // Not even the component fits.
    mount(&["-t", "tmpfs", "-o", "size=32k", "tmpfs"], &place);
    fs::write(&file, format!("backup: {{dir: {}}}\n", place.display())).expect("a file");
    let engine = Engine::start_alone(&["--config", file.to_str().expect("a path that is text")]).await;
    engine.deploy("counter", "counter").await;
    let mut told = Told::default();
    for _ in 0..2 {
        told.increment(&engine).await;
        let refused = engine.cli(&["backup", "create"]).await;
        assert_eq!(refused.code, Some(1), "{}", refused.out);
        assert!(refused.err.contains("backup.failed") && refused.err.contains("free space"), "{}", refused.err);
        assert_eq!(engine.get("/backups").await.expect_ok("the list").json()["backups"], serde_json::json!([]));
    }
    mount(&["-o", "remount,size=64m"], &place);
    told.increment(&engine).await;
    for arguments in [&["backup", "create"][..], &["backup", "verify", "latest", "--backups", place.to_str().expect("text")]] {
        let done = engine.cli(arguments).await;
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    assert_eq!(told.lost(&engine).await, 0);
}

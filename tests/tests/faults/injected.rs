//! Writes and syncs of the log that fail, injected below the store by a library that is loaded before the C library.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, until};

use crate::Told;

/// What is to become of the engine.
enum Then {
    /// It ends with 1: what is on disk is not known any more, and only a start finds out.
    Ends,
    /// It waits, however long the fault lasts, and goes on without a restart when it is over.
    Waits { ms: u64 },
}

struct Row {
    fault: String,
    then: Then,
}

const BEFORE: u64 = 20;
const SHORT_MS: u64 = 200;
/// Many times what one attempt to open the database again takes.
const LONG_MS: u64 = 12_000;
/// What stopping may take where nothing but the disk is in its way.
const STOP_MS_MAX: u64 = 15_000;
/// Actors that write at one time, and what each writes: more than the writer's queue takes.
const WRITERS: usize = 110;
const WRITTEN: &str = "/put-many?n=9&bytes=100000";
const ROUNDS_DEFAULT: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else {
        println!("skipped: there is no C compiler (cc) to build the failing disk with");
        return;
    };
    let rounds = std::env::var("RIVET_FAULTS").map_or(ROUNDS_DEFAULT, |text| text.parse().expect("a whole number"));
    let rows = [
        Row { fault: format!("sync {}", libc::EIO), then: Then::Ends },
        // Bytes that a full disk refused are not there. Of bytes whose sync failed that is not known, whatever the reason.
        Row { fault: format!("sync {}", libc::ENOSPC), then: Then::Ends },
        Row { fault: format!("write {}", libc::EIO), then: Then::Ends },
        // As when the kernel has met an error and writes no more.
        Row { fault: format!("write {}", libc::EROFS), then: Then::Ends },
        Row { fault: format!("write {}", libc::ENOSPC), then: Then::Waits { ms: SHORT_MS } },
        Row { fault: format!("write {}", libc::EDQUOT), then: Then::Waits { ms: SHORT_MS } },
        // A quota refuses every file, and the file system shows room all the while.
        Row { fault: format!("write {} /store/ *", libc::EDQUOT), then: Then::Waits { ms: LONG_MS } },
    ];
    let mut lost = 0;
    for row in (0..rounds).flat_map(|_| &rows) {
        lost += check(&library, &folder.path().join("fault"), row).await;
    }
    println!("faults {}, acknowledged writes lost {lost}", rows.len() as u64 * rounds);
    assert_eq!(lost, 0);
}

async fn check(library: &str, fault: &Path, row: &Row) -> u64 {
    let mut engine = on_failing_disk(library, fault, &[]).await;
    let mut told = Told::default();
    engine.increment("counter", "other").await;
    for _ in 0..BEFORE {
        told.increment(&engine).await;
    }
    fs::write(fault, &row.fault).expect("a file");
    match row.then {
        Then::Ends => {
            let answer = told.try_increment(&engine).await;
            assert!(answer.as_ref().is_none_or(|answer| answer.status != 200), "{}: it was acknowledged", row.fault);
            assert_eq!(engine.ended().await, Some(1), "{}", row.fault);
            fs::remove_file(fault).expect("it was made before");
            engine.restart().await;
        }
        Then::Waits { ms } => {
            let mut waiting = Told { acknowledged: told.acknowledged, unknown: 0 };
            let (first, ()) = tokio::join!(waiting.try_increment(&engine), async {
                // It is refused from when a write has met the end of the disk.
                until("what grows is refused", async || {
                    let answer = engine.send(Call::put("/deployments/other?namespace=default")).await;
                    match (answer.status, answer.code().as_str(), answer.header("retry-after")) {
                        (503, "storage.no_space", "1") => Ok(()),
                        _ => Err(answer.to_string()),
                    }
                })
                .await;
                let since = Instant::now();
                loop {
                    let other = engine.get(by_key("counter", "other", "/")).await.number("reads go on");
                    assert_eq!(other, 1);
                    let listed = engine.get("/actors?namespace=default&name=counter").await.expect_ok("those of the disk too");
                    assert_eq!(listed.json()["actors"].as_array().map(Vec::len), Some(2));
                    if since.elapsed() >= Duration::from_millis(ms) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                fs::remove_file(fault).expect("it was made before");
            });
            let first = first.expect("the connection is well");
            assert_eq!(first.status, 200, "{}: it waited, and then it was written: {first}", row.fault);
            told = waiting;
            until("what grows is taken again", async || {
                let answer = told.try_increment(&engine).await;
                answer.filter(|answer| answer.status == 200).map(drop).ok_or("refused".to_string())
            })
            .await;
        }
    }
    let mut lost = told.lost(&engine).await;
    told.increment(&engine).await;
    engine.kill9();
    engine.restart().await;
    lost += told.lost(&engine).await;
    lost
}

/// With a counter deployed, and no fault yet.
async fn on_failing_disk(library: &str, fault: &Path, flags: &[&str]) -> Engine {
    let mut engine = Engine::start_alone(flags).await;
    engine.deploy("counter", "counter").await;
    engine.stop().await;
    engine.variables = vec![
        ("LD_PRELOAD".to_string(), library.to_string()),
        ("RIVET_FAULT".to_string(), fault.to_str().expect("a path that is text").to_string()),
    ];
    engine.restart().await;
    engine
}

/// A file of configuration, and the port where its engine tells its figures.
fn configured(folder: &Path) -> (String, u16) {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
    let file = folder.join("engine.yaml");
    let text = format!("runtime: {{guard_shutdown_duration: 2}}\nmetrics: {{host: 127.0.0.1, port: {}}}\n", free.port());
    fs::write(&file, text).expect("a file");
    (file.to_str().expect("a path that is text").to_string(), free.port())
}

/// Fails if they take long: then something waits that must not.
async fn figures(port: u16) -> String {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client without TLS");
    let page = client.get(format!("http://127.0.0.1:{port}/metrics")).send().await.expect("figures in time");
    page.text().await.expect("text")
}

/// The engine's end, which must not take long.
async fn stop_in_time(engine: &mut Engine, what: &str) {
    let since = Instant::now();
    assert_eq!(engine.stop().await, Some(0), "{what}");
    let took = since.elapsed();
    assert!(took < Duration::from_millis(STOP_MS_MAX), "{what}: it took {took:?}");
}

/// What actors log is worth less than anything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_log_lines_costs_lines_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else {
        println!("skipped: there is no C compiler (cc) to build the failing disk with");
        return;
    };
    let (fault, (config, port)) = (folder.path().join("fault"), configured(folder.path()));
    for row in [format!("write {} /logs/ .log", libc::EDQUOT), format!("write {} /logs/ *", libc::ENOSPC)] {
        let mut engine = on_failing_disk(&library, &fault, &["--config", &config]).await;
        engine.deploy("hostile", "hostile").await;
        let mut told = Told::default();
        fs::write(&fault, &row).expect("a file");
        for round in 0..8 {
            engine.get(by_key("hostile", "talks", "/log?n=10&bytes=1000")).await.expect_ok("it logs");
            // More of them than there are threads to block.
            let page = figures(port).await;
            assert!(page.contains("rivet_actor_log_bytes"), "{row}, round {round}: {page}");
            engine.get("/health").await.expect_ok("it is alive");
            told.increment(&engine).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if row.ends_with('*') {
            stop_in_time(&mut engine, &row).await;
            fs::remove_file(&fault).expect("it was made before");
            engine.restart().await;
        } else {
            fs::remove_file(&fault).expect("it was made before");
            until("lines are kept again", async || {
                engine.get(by_key("hostile", "talks", "/log?n=1&bytes=1000")).await.expect_ok("it logs");
                let page = figures(port).await;
                let kept = page.lines().find_map(|line| line.strip_prefix("rivet_actor_log_bytes "));
                kept.filter(|kept| *kept != "0").map(drop).ok_or(format!("{kept:?}"))
            })
            .await;
            stop_in_time(&mut engine, &row).await;
            engine.restart().await;
        }
        assert_eq!(told.lost(&engine).await, 0, "{row}");
    }
}

/// More waits than the writer's queue takes, and the core decides all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_up_neither_reads_nor_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else {
        println!("skipped: there is no C compiler (cc) to build the failing disk with");
        return;
    };
    let (fault, (config, port)) = (folder.path().join("fault"), configured(folder.path()));
    for stopped in [false, true] {
        let engine = on_failing_disk(&library, &fault, &["--config", &config]).await;
        engine.deploy("hostile", "hostile").await;
        engine.increment("counter", "other").await;
        let path = |writer: usize, path: &str| by_key("hostile", &format!("writer-{writer}"), path);
        for writer in 0..WRITERS {
            engine.get(path(writer, "/info")).await.expect_ok("it is awake");
        }
        fs::write(&fault, format!("write {} /store/ *", libc::ENOSPC)).expect("a file");
        let shared = Arc::new(engine);
        let mut writing = Vec::new();
        for writer in 0..WRITERS {
            let (engine, target) = (shared.clone(), path(writer, WRITTEN));
            writing.push(tokio::spawn(async move { engine.try_send(Call::get(target)).await.ok().map(|answer| answer.status) }));
        }
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(5) {
            let asked = Instant::now();
            assert_eq!(shared.get(by_key("counter", "other", "/")).await.number("reads go on"), 1);
            // Its driver answers, which is what the watchdog of a service manager is told.
            let page = figures(port).await;
            assert!(page.contains("rivet_actor_requests_in_flight"), "the core decides nothing");
            assert!(asked.elapsed() < Duration::from_secs(2), "a read took {:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(writing.iter().all(|writing| !writing.is_finished()), "nothing is acknowledged while it cannot be written");
        if stopped {
            shared.tell_to_stop();
        } else {
            fs::remove_file(&fault).expect("it was made before");
        }
        let since = Instant::now();
        let mut statuses = Vec::new();
        for writing in writing {
            statuses.push(writing.await.expect("it does not panic"));
        }
        let mut engine = Arc::into_inner(shared).expect("all clients have ended");
        if stopped {
            assert!(!statuses.contains(&Some(200)), "it was acknowledged, and is not on the disk");
            assert_eq!(engine.ended().await, Some(0), "an orderly end");
            assert!(since.elapsed() < Duration::from_millis(STOP_MS_MAX), "stopping took {:?}", since.elapsed());
            fs::remove_file(&fault).expect("it was made before");
        } else {
            assert_eq!(statuses, vec![Some(200); WRITERS], "they waited, and were written when there was room");
            engine.kill9();
        }
        engine.restart().await;
        let mut found = 0;
        for writer in 0..WRITERS {
            let listed = engine.get(path(writer, "/list?prefix=many/")).await.expect_ok("a list").text();
            assert!([0, 9].contains(&listed.lines().count()), "all of a message or nothing");
            found += usize::from(!listed.is_empty());
        }
        assert!(stopped || found == WRITERS, "{} acknowledged writes lost", WRITERS - found);
        assert_eq!(engine.increment("counter", "other").await, 2);
        stop_in_time(&mut engine, "a disk that is well").await;
    }
}

/// Compiled by the test: nothing of it is in the engine.
fn library(folder: &Path) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk.c");
    let library = folder.join("disk.so");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status().ok()?;
    assert!(compiled.success(), "the failing disk does not compile");
    Some(library.to_str().expect("a path that is text").to_string())
}

//! Writes and syncs of the log that fail, injected below the store by a library that is loaded before the C library.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, until};

use crate::Told;

/// What is to become of the engine.
enum Then {
    /// It ends with 1: what is on disk is not known any more, and only a start finds out.
    Ends,
    /// It waits, and goes on without a restart when the fault is over.
    Waits,
}

struct Row {
    fault: String,
    then: Then,
}

const BEFORE: u64 = 20;
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
        Row { fault: format!("write {}", libc::ENOSPC), then: Then::Waits },
        Row { fault: format!("write {}", libc::EDQUOT), then: Then::Waits },
    ];
    let mut lost = 0;
    for row in (0..rounds).flat_map(|_| &rows) {
        lost += check(&library, &folder.path().join("fault"), row).await;
    }
    println!("faults {}, acknowledged writes lost {lost}", rows.len() as u64 * rounds);
    assert_eq!(lost, 0);
}

async fn check(library: &str, fault: &Path, row: &Row) -> u64 {
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    engine.stop().await;
    engine.variables = vec![
        ("LD_PRELOAD".to_string(), library.to_string()),
        ("RIVET_FAULT".to_string(), fault.to_str().expect("a path that is text").to_string()),
    ];
    engine.restart().await;
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
        Then::Waits => {
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
                // Reads go on.
                let other = engine.get(by_key("counter", "other", "/")).await.number("a read");
                assert_eq!(other, 1);
                tokio::time::sleep(Duration::from_millis(200)).await;
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

/// Compiled by the test: nothing of it is in the engine.
fn library(folder: &Path) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk.c");
    let library = folder.join("disk.so");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status().ok()?;
    assert!(compiled.success(), "the failing disk does not compile");
    Some(library.to_str().expect("a path that is text").to_string())
}

//! `rivet-engine dev`: a change is built and deployed by itself, what was stored stays, and a build that fails changes nothing.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rivet_tests::process::{Process, command};
use rivet_tests::{guest, until};

/// Builds by copying: a build that can be broken by taking its source away.
const MANIFEST: &str = r#"{ "name": "counter", "build": "cp src/counter.bin counter.wasm", "component": "counter.wasm" }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_live_and_what_was_stored_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("project");
    let source = project.join("src/counter.bin");
    fs::create_dir_all(source.parent().expect("it has one")).expect("a folder");
    fs::write(project.join("rivet.json"), MANIFEST).expect("a file");
    fs::write(&source, guest::bytes("counter")).expect("a file");

    let port = free_port();
    let mut dev = start(&project, port, folder.path());
    let count = async |expected: u64, what: &str| {
        let url = format!(
            "http://127.0.0.1:{port}/gateway/counter/increment?rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=default&rvt-key=a"
        );
        let seen = until(what, async || {
            let answer = reqwest::Client::new().post(&url).send().await.map_err(|error| error.to_string())?;
            let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
            text.trim().parse::<u64>().map_err(|_| format!("{status}: {text}"))
        });
        assert_eq!(seen.await, expected, "{what}");
    };
    until("the first version is live", async || says(&dev, "version 1 is live")).await;
    count(1, "the first call").await;

    fs::write(&source, guest::another_version("counter", "second")).expect("a file");
    until("the change is live", async || says(&dev, "version 2 is live")).await;
    count(2, "a call after the change").await;

    fs::remove_file(&source).expect("it was there");
    until("the build fails", async || says_in_log(&dev, "the build failed")).await;
    count(3, "a call after a build that failed").await;

    dev.signal(libc::SIGTERM);
    assert_eq!(dev.ended().await, Some(0));
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "its engine has ended too");

    fs::write(&source, guest::bytes("counter")).expect("a file");
    let mut dev = start(&project, port, folder.path());
    until("it is live again", async || says(&dev, "is live")).await;
    count(4, "a call after a restart").await;
    dev.signal(libc::SIGTERM);
    assert_eq!(dev.ended().await, Some(0));
}

#[tokio::test]
async fn a_folder_that_is_no_project_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = start(folder.path(), free_port(), folder.path());
    assert_eq!(dev.ended().await, Some(1));
    assert!(dev.log().contains("rivet-engine new"), "{}", dev.log());
}

fn start(project: &Path, port: u16, folder: &Path) -> Process {
    let mut command = command();
    command.arg("dev").arg(project).args(["--listen", &format!("127.0.0.1:{port}")]);
    Process::start("dev", command, folder, "dev")
}

fn says(dev: &Process, words: &str) -> Result<(), String> {
    let said = dev.said();
    if said.contains(words) { Ok(()) } else { Err(said) }
}

fn says_in_log(dev: &Process, words: &str) -> Result<(), String> {
    let said = dev.log();
    if said.contains(words) { Ok(()) } else { Err(said) }
}

/// Somebody else may take it meanwhile; then the test says so.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

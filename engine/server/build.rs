//! Tells the binary what it was built from and by, for `/metadata` and `--version`.
//!
//! Never fails: what cannot be found out is "unknown". The time is that of the commit, so that the same source gives the same
//! binary.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(head) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    set("BUILD_GIT_SHA", output("git", &["rev-parse", "HEAD"]));
    set("BUILD_TIMESTAMP", output("git", &["log", "-1", "--format=%cI"]));
    set("BUILD_RUSTC_VERSION", output(&rustc, &["--version"]));
    set("BUILD_HOST", env::var("HOST").ok());
    set("BUILD_TARGET", env::var("TARGET").ok());
    set("BUILD_PROFILE", env::var("PROFILE").ok());
}

fn set(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_string())
}

//! Tells the binary what it was built from and by, for `/metadata` and `--version`.
//!
//! Never fails: what cannot be found out is "unknown". The time is that of the commit, so that the same source gives the same
//! binary. Where there are sources without their history, as in an image that is being built, the environment says what they are.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(head) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    set("BUILD_GIT_SHA", told("RIVET_BUILD_GIT_SHA").or_else(|| output("git", &["rev-parse", "HEAD"])));
    set("BUILD_TIMESTAMP", told("RIVET_BUILD_TIMESTAMP").or_else(|| output("git", &["log", "-1", "--format=%cI"])));
    set("BUILD_RUSTC_VERSION", output(&rustc, &["--version"]));
    set("BUILD_HOST", env::var("HOST").ok());
    set("BUILD_TARGET", env::var("TARGET").ok());
    set("BUILD_PROFILE", profile());
}

/// What the environment says, if it says something.
fn told(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// By the folder, `target/PROFILE/build/NAME/out`: the variable knows only debug and release, and says release of `dist` too.
fn profile() -> Option<String> {
    let out = env::var("OUT_DIR").ok()?;
    let folder = Path::new(&out).ancestors().nth(3)?.file_name()?;
    Some(folder.to_str()?.to_string())
}

fn set(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_string())
}

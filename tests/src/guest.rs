//! The components that tests deploy, as `scripts/guests` built them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

pub fn path(guest: &str) -> PathBuf {
    let folder = env::var_os("RIVET_GUESTS_DIR").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests"));
    folder.join(format!("{guest}.wasm"))
}

pub fn bytes(guest: &str) -> Vec<u8> {
    let path = path(guest);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run scripts/guests, or set RIVET_GUESTS_DIR", path.display()))
}

/// The same component with a remark at its end: it behaves alike, and is another version.
pub fn another_version(guest: &str, remark: &str) -> Vec<u8> {
    let name = b"remark";
    let length = u8::try_from(1 + name.len() + remark.len()).expect("a remark is short");
    assert!(length < 128, "longer numbers are written otherwise");
    let mut component = bytes(guest);
    // A custom section: 0, how long, its name, anything.
    component.extend([0, length, name.len() as u8]);
    component.extend(name);
    component.extend(remark.as_bytes());
    component
}

//! Looks at a data directory and the machine under it, and says what it sees: what is well, what will hurt, what is broken, each with a
//! reason and the next step.
//!
//! Reads only, and repairs nothing: what is wrong may be evidence. It takes the store's lock if it can, so that nobody writes while it
//! reads; where an engine runs, it leaves out what would be of different moments.
//!
//! - [`directory`]: the folder, its file system, its lock. [`data`]: what is in it. [`machine`]: limits, memory, clock.

mod data;
mod directory;
mod machine;

use std::path::Path;

use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warn,
    Error,
}

#[derive(PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub level: Level,
    /// One word for what was looked at.
    pub check: &'static str,
    pub text: String,
    /// What to do; of what is well there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What the engine would be told, as far as it matters here.
pub struct Wanted {
    pub reserve_bytes: u64,
    /// All that the process may have.
    pub memory_bytes: u64,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, check, text: text.into(), next: None }
    }

    fn warn(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, check, text: text.into(), next: Some(next.into()) }
    }

    fn error(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding { level: Level::Error, check, text: text.into(), next: Some(next.into()) }
    }
}

/// Everything, in an order in which one can read it. `step` is told of keys that were read.
pub fn look(data_dir: &Path, wanted: &Wanted, step: &mut dyn FnMut(u64)) -> Vec<Finding> {
    let mut findings = Vec::new();
    if directory::look(data_dir, wanted, &mut findings) {
        match directory::lock(data_dir) {
            directory::Lock::Held(held) => {
                findings.push(Finding::ok("lock", "no engine uses it"));
                data::look(data_dir, step, &mut findings);
                drop(held);
            }
            directory::Lock::None => {
                findings.push(Finding::ok("lock", "there is no store in it yet; an engine that starts here makes one"));
            }
            directory::Lock::Taken => findings.push(Finding::warn(
                "lock",
                "an engine uses it, so what is in it was not looked at: it changes all the time",
                "stop the engine to look, or look at a copy: `rivet-engine backup create` and `rivet-engine backup verify latest`",
            )),
            directory::Lock::Unknown(cause) => findings.push(Finding::error(
                "lock",
                format!("the store's lock cannot be looked at: {cause}"),
                "run this as the engine's user, who may read and write it",
            )),
        }
    }
    machine::look(data_dir, wanted, &mut findings);
    findings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use engine_store::Rocks;
    use engine_store::rocks::Tuning;

    use super::*;

    const WANTED: Wanted = Wanted { reserve_bytes: 1, memory_bytes: 1 };

    /// Level and words of what is said about one thing.
    fn said(data_dir: &Path, check: &str) -> Vec<(Level, String)> {
        let findings = look(data_dir, &WANTED, &mut |_| {});
        findings.into_iter().filter(|finding| finding.check == check).map(|finding| (finding.level, finding.text)).collect()
    }

    #[test]
    fn each_fault_is_named() {
        type Row = (&'static str, fn(&Path), Level, &'static str);
        let rows: [Row; 7] = [
            ("lock", |_| {}, Level::Ok, "no engine uses it"),
            ("records", |_| {}, Level::Ok, "0 actors"),
            ("directory", |data| fs::remove_dir_all(data).expect("it is ours"), Level::Error, "cannot be looked at"),
            (
                "store",
                |data| fs::remove_file(data.join("store/CURRENT")).expect("it is there"),
                Level::Error,
                "it has no file CURRENT",
            ),
            (
                "components",
                |data| fs::write(data.join(format!("components/{}.wasm", "a".repeat(64))), "x").expect("a file"),
                Level::Error,
                "is not what its name says",
            ),
            ("components", |data| fs::write(data.join("components/x.part"), "x").expect("a file"), Level::Ok, "0 components"),
            (
                "permissions",
                |data| {
                    use std::os::unix::fs::PermissionsExt;
                    fs::set_permissions(data, fs::Permissions::from_mode(0o777)).expect("it is ours");
                },
                Level::Warn,
                "others may",
            ),
        ];
        for (check, spoil, level, words) in rows {
            let folder = tempfile::tempdir().expect("a folder");
            let data = folder.path().join("data");
            fs::create_dir_all(data.join("components")).expect("a folder");
            drop(Rocks::open(&data.join("store"), &Tuning::default()).expect("a new store"));
            spoil(&data);
            let said = said(&data, check);
            assert!(said.iter().any(|(found, text)| *found == level && text.contains(words)), "{check}: {words:?}: {said:?}");
        }
    }

    #[test]
    fn what_is_in_use_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(
            said(folder.path(), "lock"),
            [(Level::Ok, "there is no store in it yet; an engine that starts here makes one".to_string())]
        );
        assert!(said(folder.path(), "records").is_empty());
    }
}

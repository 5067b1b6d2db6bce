//! What is in the directory: its format, every record and what it names, the components.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use engine_backup::files::hash;
use engine_store::check::{self, Census};
use engine_store::{Rocks, StoreError, format, records};

use crate::doctor::Finding;

const RESTORE: &str =
    "restore a backup to a new directory (`rivet-engine backup restore`), and check the disk before you use it again";

pub fn look(data_dir: &Path, step: &mut dyn FnMut(u64), findings: &mut Vec<Finding>) {
    let store = match Rocks::look(&data_dir.join("store")) {
        Ok(store) => store,
        Err(error @ StoreError::NewerFormat { .. }) => {
            return findings.push(Finding::error("format", error.to_string(), "use the engine that wrote it, or a newer one"));
        }
        Err(error) => return findings.push(Finding::error("store", error.to_string(), RESTORE)),
    };
    findings.push(Finding::ok("store", "it opens"));
    format_of(&store, findings);
    match check::check(&store, step) {
        Ok(census) => {
            tell(&census, findings);
            components(data_dir, &census, findings);
        }
        Err(error) => findings.push(Finding::error("records", format!("it cannot be read to its end: {error}"), RESTORE)),
    }
}

fn format_of(store: &Rocks, findings: &mut Vec<Finding>) {
    let Ok(Some(found)) = format::read(store) else { return };
    let wrote = found.engine.as_deref().unwrap_or("an engine that did not say");
    let text = format!("format {}, written last by {wrote}; this is {}", found.number, format::ENGINE_VERSION);
    findings.push(match found.number < records::FORMAT_VERSION {
        true => Finding::warn(
            "format",
            format!("{text}: the next start brings it up to format {}", records::FORMAT_VERSION),
            "make a backup before: an engine of before cannot open it afterwards",
        ),
        false => Finding::ok("format", text),
    });
}

fn tell(census: &Census, findings: &mut Vec<Finding>) {
    let counts = &census.counts;
    let text = format!(
        "{} keys, every checksum right: {} namespaces, {} deployments, {} actors and {} that were destroyed, {} entries, {} pages, {} alarms",
        counts.keys,
        counts.namespaces,
        counts.deployments,
        counts.actors,
        counts.destroyed_actors,
        counts.entries,
        counts.pages,
        counts.alarms
    );
    if census.is_whole() {
        findings.push(Finding::ok("records", text));
    }
    findings.extend(census.problems.iter().map(|problem| Finding::error("records", problem, RESTORE)));
    let told = census.problems.len() as u64;
    if census.problems_count > told {
        findings.push(Finding::error("records", format!("{} more of these", census.problems_count - told), RESTORE));
    }
    if census.unknown_keys > 0 {
        let text = format!("{} keys are of a kind that this engine does not know", census.unknown_keys);
        findings.push(Finding::warn("records", text, "look with the engine that wrote them"));
    }
}

fn components(data_dir: &Path, census: &Census, findings: &mut Vec<Finding>) {
    let folder = data_dir.join("components");
    let names: BTreeSet<String> = match fs::read_dir(&folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        Err(error) => {
            let text = format!("{} cannot be read: {error}", folder.display());
            if !census.components.is_empty() {
                findings.push(Finding::error("components", text, RESTORE));
            }
            return;
        }
    };
    let before = findings.len();
    for needed in &census.components {
        if !names.contains(&format!("{needed}.wasm")) {
            let text = format!("the component {needed} is missing, which a version needs");
            findings.push(Finding::error("components", text, "put it back from a backup, or deploy its version again"));
        }
    }
    let stems = names.iter().filter_map(|name| name.strip_suffix(".wasm"));
    let mut count = 0;
    for stem in stems {
        count += 1;
        let found = hash(&folder.join(format!("{stem}.wasm")), &mut |_| true);
        let wrong = match found {
            Ok(sha256) if sha256 == stem => continue,
            Ok(_) => format!("the component {stem} is not what its name says"),
            Err(error) => error.to_string(),
        };
        findings.push(Finding::error("components", wrong, "put it back from a backup, or deploy its version again"));
    }
    if findings.len() == before {
        findings.push(Finding::ok("components", format!("{count} components, each what its name says")));
    }
}

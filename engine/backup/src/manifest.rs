//! What a backup says of itself: when, by whom, how much, and each file with its size and SHA-256.
//!
//! Two lines: the manifest as JSON, and `sha256:` with the SHA-256 of the first line. It is written when all files are on the disk,
//! and renamed into place, so one that can be read belongs to a backup that is whole. What it says is checked before anything is
//! done with it: it comes from a disk that anybody may have written to.

use engine_store::check::Counts;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::BackupError;
use crate::files::hex;

/// Of manifests and of the repository around them.
pub const FORMAT: u32 = 1;
/// A longer one is none of ours: a million tables of the smallest size.
pub const MANIFEST_BYTES_MAX: u64 = 512 * 1024 * 1024;
const CHECKSUM: &str = "sha256:";

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub id: String,
    /// That made it.
    pub engine: String,
    /// Of the data directory.
    pub data_format: u8,
    /// The moment that it is a copy of.
    pub create_ms: u64,
    pub counts: Counts,
    /// Of all files together.
    pub bytes: u64,
    /// What it added to the repository.
    pub new_bytes: u64,
    pub files: Vec<FileEntry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// In the data directory: a folder and a name.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// Of its end, where that says which file it is: the next backup need not read it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_sha256: Option<String>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("texts and numbers can be written as JSON");
        let checksum = hex(&Sha256::digest(&json));
        format!("{json}\n{CHECKSUM}{checksum}\n").into_bytes()
    }

    /// The one with this id.
    pub fn decode(id: &str, bytes: &[u8]) -> Result<Manifest, BackupError> {
        let damaged = |what: String| BackupError::damaged(id, format!("its manifest {what}"));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text".to_owned()))?;
        let mut lines = text.split('\n');
        let (json, checksum) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let expected = format!("{CHECKSUM}{}", hex(&Sha256::digest(json)));
        if checksum != expected || lines.next() != Some("") || lines.next().is_some() {
            return Err(damaged("does not have the checksum that it says".to_owned()));
        }
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_str(json).map_err(|error| damaged(format!("cannot be read: {error}")))?;
        if head.format > FORMAT {
            return Err(BackupError::NewerFormat { what: "the backup", found: head.format, known: FORMAT });
        }
        let manifest: Manifest = serde_json::from_str(json).map_err(|error| damaged(format!("cannot be read: {error}")))?;
        if manifest.id != id {
            return Err(damaged(format!("is that of {}", manifest.id)));
        }
        match manifest.files.iter().find(|file| !file.is_plain()) {
            Some(file) => Err(damaged(format!("names a file that cannot be: {:?}", file.path))),
            None => Ok(manifest),
        }
    }

    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl FileEntry {
    /// Nothing that leads out of the folder that it is restored to, or out of the repository.
    fn is_plain(&self) -> bool {
        let plain = |name: &str| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(letters)
        };
        let in_folder = |folder: &str| self.path.strip_prefix(folder).is_some_and(plain);
        (in_folder("store/") || in_folder("components/")) && is_sha256(&self.sha256)
    }
}

pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether it may be the name of a file.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            id: "1-a".to_owned(),
            engine: "0.1.0".to_owned(),
            data_format: 2,
            create_ms: 1,
            counts: Counts::default(),
            bytes: 3,
            new_bytes: 3,
            files: vec![FileEntry { path: "store/CURRENT".to_owned(), bytes: 3, sha256: "a".repeat(64), tail_sha256: None }],
        }
    }

    #[test]
    fn a_manifest_reads_as_it_was_written_and_in_no_other_way() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode("1-a", &bytes).expect("it is whole"), manifest());
        assert!(matches!(Manifest::decode("1-b", &bytes), Err(BackupError::Damaged { .. })), "under another name");
        for length in 0..bytes.len() {
            assert!(Manifest::decode("1-a", &bytes[..length]).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x04;
            assert!(Manifest::decode("1-a", &other).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn files_stay_where_they_belong() {
        let rows = [
            "store/../x",
            "../store/x",
            "/etc/passwd",
            "store/",
            "store/a/b",
            "components/..",
            "store/.x",
            "x",
            "store/a\\b",
            "compiled/x",
        ];
        for path in rows {
            let mut other = manifest();
            other.files[0].path = path.to_owned();
            assert!(matches!(Manifest::decode("1-a", &other.encode()), Err(BackupError::Damaged { .. })), "{path}");
        }
        let mut other = manifest();
        other.files[0].sha256 = "../../x".to_owned();
        assert!(Manifest::decode("1-a", &other.encode()).is_err());
        other = manifest();
        other.format = 2;
        assert!(matches!(Manifest::decode("1-a", &other.encode()), Err(BackupError::NewerFormat { .. })));
    }
}

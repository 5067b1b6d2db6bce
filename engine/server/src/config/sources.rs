//! Where a configuration comes from: files, the environment, the command line. Later ones win, key by key.
//!
//! What nobody knows, and what has another form than expected, is an error that names the key, where it was said, and what to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::limits::MIB;
use serde_json::{Map, Value};

use crate::config::keys::{self, Fate, KEYS, Kind};
use crate::config::near;
use crate::config::place::Place;
use crate::config::{ConfigError, nested};

/// Where files are looked for when none is named.
pub const FOLDER_DEFAULT: &str = "/etc/rivet";
const ENV_PREFIX: &str = "RIVET__";
const EXTENSIONS: [&str; 5] = ["json", "json5", "jsonc", "yaml", "yml"];
const FILE_BYTES_MAX: u64 = MIB as u64;
/// Up to here every whole number is one of these.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;
/// Nobody reads on after so many; one mistake often makes many.
const PROBLEMS_MAX: usize = 50;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// With the line, where that was found.
    File(PathBuf, Option<usize>),
    /// The variable's name.
    Environment(String),
    /// The flag.
    CommandLine(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Source::File(path, None) => write!(f, "{}", path.display()),
            Source::Environment(name) => write!(f, "the environment, {name}"),
            Source::CommandLine(flag) => write!(f, "the command line, {flag}"),
        }
    }
}

/// One key's value, in the form that the key takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Said {
    pub value: Value,
    pub source: Source,
}

/// What was said, each key as the last source has it. All keys are known and their values have the right form.
#[derive(Default, Debug)]
pub struct Sources {
    said: BTreeMap<Vec<String>, Said>,
    problems: Vec<String>,
    /// Of which no more than the number is kept.
    problems_more: usize,
    /// Keys and the flags that set them.
    flags: Vec<(&'static str, &'static str)>,
}

impl Sources {
    /// What was said, or everything that is wrong with it.
    pub fn finish(mut self) -> Result<BTreeMap<Vec<String>, Said>, ConfigError> {
        if self.problems_more > 0 {
            self.problems.push(format!("and {} more", self.problems_more));
        }
        match self.problems.is_empty() {
            true => Ok(self.said),
            false => Err(ConfigError(self.problems.join("\n"))),
        }
    }

    /// Of every flag that was asked for, whether it was given or not.
    pub fn flags(self) -> Vec<(&'static str, &'static str)> {
        self.flags
    }

    /// The named files and folders, or else the default folder, which may be absent.
    pub fn files(&mut self, named: &[PathBuf]) -> Result<(), ConfigError> {
        let default = Path::new(FOLDER_DEFAULT);
        if named.is_empty() && default.is_dir() {
            return self.folder(default);
        }
        for path in named {
            match path.is_dir() {
                true => self.folder(path)?,
                false => self.file(path)?,
            }
        }
        Ok(())
    }

    /// In the order of their names; what has another ending, or is hidden, is not looked at.
    fn folder(&mut self, folder: &Path) -> Result<(), ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError(format!("the folder {} cannot be read: {error}", folder.display()));
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.is_file() && extension(&path).is_some() {
                files.push(path);
            }
        }
        files.sort();
        files.iter().try_for_each(|file| self.file(file))
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| ConfigError(format!("the configuration {shown} cannot be read: {error}"));
        let Some(extension) = extension(path) else {
            return Err(ConfigError(format!(
                "{shown}: a configuration ends in {}",
                EXTENSIONS.map(|known| format!(".{known}")).join(", ")
            )));
        };
        if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            return Err(ConfigError(format!("{shown} is longer than {FILE_BYTES_MAX} bytes, and cannot be a configuration")));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        self.text(path, extension, &text)
    }

    /// The text of a file with one of [`EXTENSIONS`].
    pub(super) fn text(&mut self, path: &Path, extension: &str, text: &str) -> Result<(), ConfigError> {
        let shown = path.display();
        let value: Result<Value, String> = match extension {
            _ if text.trim().is_empty() => Ok(Value::Null),
            "yaml" | "yml" => serde_saphyr::from_str(text).map_err(|error| first_line(&error)),
            // All of these are JSON5 too.
            _ => nested::read(text).map_err(|error| first_line(&error)),
        };
        match value.map_err(|error| ConfigError(format!("{shown} cannot be read: {error}")))? {
            Value::Object(fields) => self.object(Vec::new(), fields, &Place::new(path, text)),
            // Nothing but comments.
            Value::Null => {}
            _ => {
                return Err(ConfigError(format!("{shown}: sections and keys are expected, as in {{\"guard\":{{\"port\":6420}}}}")));
            }
        }
        Ok(())
    }

    fn object(&mut self, above: Vec<String>, fields: Map<String, Value>, file: &Place<'_>) {
        for (name, value) in fields {
            let path: Vec<String> = above.iter().cloned().chain([name]).collect();
            let is_list_of_datacenters = path == ["topology", "datacenters"];
            match value {
                Value::Object(fields) if keys::find(&path).is_none() && is_section(&path) => self.object(path, fields, file),
                Value::Array(entries) if is_list_of_datacenters => self.datacenters(&path, entries, file),
                Value::Null => {}
                value => {
                    let source = file.source(&path);
                    self.say(path, value, &source);
                }
            }
        }
    }

    /// The older form: a list, each with its name.
    fn datacenters(&mut self, path: &[String], entries: Vec<Value>, file: &Place<'_>) {
        for entry in entries {
            match entry {
                Value::Object(fields) if fields.get("name").is_some_and(Value::is_string) => {
                    let name = fields["name"].as_str().unwrap_or_default().to_string();
                    self.object(path.iter().cloned().chain([name]).collect(), fields, file);
                }
                _ => self.problem(path, &file.source(path), "each entry needs a name; or write {\"NAME\": {…}}"),
            }
        }
    }

    /// Variables that begin with `RIVET__`, whatever their case. Values are taken as they are.
    pub fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        let mut found: Vec<(String, OsString)> = Vec::new();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            if name.get(..ENV_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(ENV_PREFIX)) {
                found.push((name, value));
            }
        }
        // Two that differ only in case: always the same one wins.
        found.sort();
        for (name, value) in found {
            let path: Vec<String> = name[ENV_PREFIX.len()..].to_ascii_lowercase().split("__").map(str::to_string).collect();
            let source = Source::Environment(name);
            let Ok(value) = value.into_string() else {
                self.problem(&path, &source, "its value is not UTF-8");
                continue;
            };
            // An empty variable is one that was not set, except where that would switch authentication off.
            if value.is_empty() && keys::find(&path).is_some_and(|key| key.kind != Kind::Secret) {
                continue;
            }
            self.say(path, Value::String(value), &source);
        }
    }

    pub fn flag(&mut self, path: &'static str, flag: &'static str, value: Option<impl Into<Value>>) {
        self.flags.push((path, flag));
        if let Some(value) = value {
            self.say(path.split('.').map(str::to_string).collect(), value.into(), &Source::CommandLine(flag));
        }
    }

    fn say(&mut self, mut path: Vec<String>, value: Value, source: &Source) {
        let Some(key) = keys::find(&path) else {
            let remedy = unknown(&path, &value);
            return self.problem(&path, source, &remedy);
        };
        if let Fate::Refused(remedy) = key.fate {
            return self.problem(&path, source, remedy);
        }
        if let Fate::SameAs(other) = key.fate {
            path = other.split('.').map(str::to_string).collect();
        }
        let literal = matches!(source, Source::Environment(_));
        match shaped(key.kind, value, literal) {
            Ok(value) => {
                self.said.insert(path, Said { value, source: source.clone() });
            }
            Err(expected) => {
                let unit = if key.unit().is_empty() { String::new() } else { format!(" ({})", key.unit()) };
                self.problem(&path, source, &format!("{expected}{unit} is expected"));
            }
        }
    }

    fn problem(&mut self, path: &[String], source: &Source, what: &str) {
        if self.problems.len() == PROBLEMS_MAX {
            self.problems_more += 1;
            return;
        }
        self.problems.push(format!("{} ({source}): {what}", path.join(".")));
    }
}

/// What is wrong and where. The lines behind it show the file's, which may hold a secret.
fn first_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string()
}

fn is_section(path: &[String]) -> bool {
    KEYS.iter().any(|key| key.is_below(path))
}

fn extension(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    EXTENSIONS.into_iter().find(|known| extension.eq_ignore_ascii_case(known))
}

/// What to do about a key that is not known: the keys that are, in the deepest section that is.
fn unknown(path: &[String], value: &Value) -> String {
    let section = (0..=path.len()).take_while(|length| is_section(&path[..*length])).last().unwrap_or(0);
    let names = |counts: fn(&Fate) -> bool| {
        let there = KEYS.iter().filter(|key| key.is_below(&path[..section]) && counts(&key.fate));
        let mut names: Vec<&str> = there.filter_map(|key| key.path.split('.').nth(section)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let all = names(|_| true);
    let meant = path.get(section).and_then(|name| near::meant(name, &all, &path[..section]));
    // Those that change nothing are not what anybody looks for, unless there are no others.
    let useful = names(|fate| matches!(fate, Fate::Used | Fate::SameAs(_)));
    let known = if useful.is_empty() { all } else { useful }.join(", ");
    match section == path.len() {
        true if value.is_object() => format!("nothing is said in it; known there: {known}"),
        true => format!("it is a section, not a key; known in it: {known}"),
        false => match meant {
            Some(meant) => format!("there is no such key; did you mean {meant}? Known there: {known}"),
            None => format!("there is no such key; known there: {known}"),
        },
    }
}

/// The value in the form that the key takes, or what is expected. Text is read where a number or a flag is wanted: a variable of the
/// environment is always text, and files are often made from them. A list in one text is a matter of the environment alone.
fn shaped(kind: Kind, value: Value, literal: bool) -> Result<Value, String> {
    let text = value.as_str().map(str::to_string);
    match kind {
        Kind::Any => Ok(value),
        Kind::Text | Kind::Secret if value.is_string() => Ok(value),
        Kind::Text | Kind::Secret => Err("text".to_string()),
        Kind::Flag => {
            let flag = text.map_or_else(|| value.as_bool().or_else(|| whole(&value).and_then(numbered)), |text| spelled(&text));
            flag.map(Value::from).ok_or_else(|| "true or false".to_string())
        }
        Kind::Whole { min, max } => {
            let number = text.map_or_else(|| whole(&value), |text| text.parse().ok());
            let number = number.filter(|number| (min..=max).contains(number));
            number.map(Value::from).ok_or_else(|| match max {
                u64::MAX => format!("a whole number from {min} on"),
                max => format!("a whole number from {min} to {max}"),
            })
        }
        Kind::Number => {
            let number = text.map_or(value.as_f64(), |text| text.parse().ok()).filter(|number| number.is_finite());
            number.map(Value::from).ok_or_else(|| "a number".to_string())
        }
        Kind::Texts => match (text, &value) {
            (Some(text), _) if literal => Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()),
            (_, Value::Array(entries)) if entries.iter().all(Value::is_string) => Ok(value),
            _ => Err("a list of texts".to_string()),
        },
    }
}

/// A flag in one of the words that the original takes for it.
fn spelled(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Also 7.0, which is whole.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: f64| (number.fract() == 0.0 && (0.0..=MANTISSA_MAX).contains(&number)).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(exact))
}

fn numbered(number: u64) -> Option<bool> {
    (number < 2).then_some(number == 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        sources.environment(variables.iter().map(|(name, value)| (name.into(), value.into())));
        sources
    }

    /// The keys and values that are left, or what is wrong.
    fn told(sources: Sources) -> Result<Vec<String>, String> {
        let said = sources.finish().map_err(|error| error.to_string())?;
        Ok(said.into_iter().map(|(path, said)| format!("{}={}", path.join("."), said.value)).collect())
    }

    fn file(name: &str, text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        let mut sources = Sources::default();
        sources.files(&[path]).map_err(|error| error.to_string())?;
        told(sources)
    }

    #[test]
    fn variables_are_taken_as_they_are() {
        let rows: [(&str, &str, &str); 11] = [
            ("RIVET__GUARD__PORT", "7000", "guard.port=7000"),
            ("rivet__guard__Port", "7000", "guard.port=7000"),
            ("RIVET__AUTH__ADMIN_TOKEN", "00123", "auth.admin_token=\"00123\""),
            ("RIVET__AUTH__ADMIN_TOKEN", "", "auth.admin_token=\"\""),
            ("RIVET__AUTH__ADMIN_TOKEN", "true", "auth.admin_token=\"true\""),
            ("RIVET__OUTBOUND__ALLOW_HOSTS", "a.example, b.example", "outbound.allow_hosts=[\"a.example\",\"b.example\"]"),
            ("RIVET__TELEMETRY__ENABLED", "false", "telemetry.enabled=false"),
            ("RIVET__TELEMETRY__ENABLED", "0", "telemetry.enabled=false"),
            ("RIVET__TELEMETRY__ENABLED", "Yes", "telemetry.enabled=true"),
            ("RIVET__RUNTIME__WORKER_LOAD_SHEDDING_BETA", "0.5", "runtime.worker_load_shedding_beta=0.5"),
            (
                "RIVET__TOPOLOGY__DATACENTERS__DEFAULT__PUBLIC_URL",
                "http://a",
                "topology.datacenters.default.public_url=\"http://a\"",
            ),
        ];
        for (name, value, expected) in rows {
            assert_eq!(told(environment(&[(name, value)])), Ok(vec![expected.to_string()]), "{name}={value}");
        }
        for (name, value) in
            [("RIVET_GUARD_PORT", "x"), ("PATH", "x"), ("RIVET__GUARD__PORT", ""), ("RIVET__FILE_SYSTEM__PATH", "")]
        {
            assert_eq!(told(environment(&[(name, value)])), Ok(Vec::new()), "{name}={value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_source_and_a_remedy() {
        let rows = [
            (
                "RIVET__GUARD__PORT",
                "70000",
                "guard.port (the environment, RIVET__GUARD__PORT): a whole number from 0 to 65535 is expected",
            ),
            ("RIVET__GUARD__PRT", "1", "there is no such key; did you mean guard.port? Known there: "),
            ("RIVET__GUARD", "1", "it is a section, not a key; known in it: actor_ready"),
            ("RIVET__FOO", "1", "known there: actor_logs, actors, api_peer, audit, auth, "),
            ("RIVET__POSTGRES__URL", "postgres://a", "name a folder with file_system.path"),
            ("RIVET__TELEMETRY__ENABLED", "maybe", "true or false is expected"),
            ("RIVET__", "1", "there is no such key"),
        ];
        for (name, value, part) in rows {
            let wrong = told(environment(&[(name, value)])).expect_err(name);
            assert!(wrong.contains(name) && wrong.contains(part), "{name}={value}: {part:?} expected, seen {wrong}");
        }
    }

    #[test]
    fn files_of_every_form() {
        let port = || Ok(vec!["guard.port=1".to_string()]);
        assert_eq!(file("a.json", r#"{"guard":{"port":1}}"#), port());
        assert_eq!(file("a.json5", "{guard: {port: 1,}, // a comment\n}"), port());
        assert_eq!(file("a.jsonc", "/* a */ {\"guard\": {\"port\": 1}}"), port());
        assert_eq!(file("a.YAML", "# a\nguard:\n  port: 1\n"), port());
        assert_eq!(file("a.yml", "guard: {port: 1, host: null}"), port());
        assert_eq!(file("a.yml", "auth: {admin_token: \"00123\"}"), Ok(vec!["auth.admin_token=\"00123\"".to_string()]));
        assert_eq!(file("a.json", r#"{"guard":{"port":"1"}}"#), port());
        for flag in ["false", "0", "\"off\""] {
            let text = format!("telemetry: {{enabled: {flag}}}");
            assert_eq!(file("a.yml", &text), Ok(vec!["telemetry.enabled=false".to_string()]), "{flag}");
        }
        assert_eq!(file("a.yml", ""), Ok(Vec::new()));
        assert_eq!(
            file("a.json", r#"{"topology":{"datacenters":[{"name":"here","public_url":"http://a"}]}}"#),
            Ok(vec![
                "topology.datacenters.here.name=\"here\"".to_string(),
                "topology.datacenters.here.public_url=\"http://a\"".to_string()
            ])
        );
        let rows = [
            ("a.toml", "x = 1", "ends in .json"),
            ("a.json", "{", "cannot be read"),
            ("a.json", "[1]", "sections and keys are expected"),
            ("a.yml", "guard: [1", "cannot be read"),
            ("a.json", r#"{"guard":{"port":"one"}}"#, "a whole number"),
            ("a.json", r#"{"telemetry":{"enabled":2}}"#, "true or false"),
            ("a.json", r#"{"guard":{"port":1.5}}"#, "a whole number"),
            ("a.json", r#"{"grd":{}}"#, "there is no such key"),
            ("a.json", r#"{"outbound":{"allow_hosts":"a"}}"#, "a list of texts"),
            ("a.json", r#"{"auth":{"admin_token":123}}"#, "text is expected"),
            ("a.json", r#"{"topology":{"datacenters":[{}]}}"#, "each entry needs a name"),
            ("a.json", r#"{"nats":{"addresses":["a"]},"postgres":{}}"#, "file_system.path"),
        ];
        for (name, text, part) in rows {
            let wrong = file(name, text).expect_err(text);
            assert!(wrong.contains(part) && wrong.contains(name), "{text}: {part:?} expected, seen {wrong}");
        }
        assert!(Sources::default().files(&["/no/such/file.json".into()]).is_err());
    }

    #[test]
    fn later_ones_win_key_by_key() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("1.json", r#"{"guard":{"port":1,"host":"a"}}"#), ("2.yml", "guard: {port: 2}"), (".3.json", "{"), ("4.txt", "?")]
        {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let mut sources = Sources::default();
        sources.files(&[folder.path().to_owned()]).expect("a folder of files");
        sources.environment([("RIVET__METRICS__PORT".into(), "5".into())].into_iter());
        sources.flag("metrics.port", "--metrics-port", Some(6));
        sources.flag("guard.host", "--host", None::<String>);
        assert_eq!(told(sources), Ok(["guard.host=\"a\"", "guard.port=2", "metrics.port=6"].map(str::to_string).to_vec()));
    }
}

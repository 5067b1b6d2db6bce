//! Reads values of what was said. Their forms were checked when they were said; what they mean is checked here.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::ConfigError;
use crate::config::keys::{self, Fate};
use crate::config::sources::Said;

/// Everything that was said, by key.
#[derive(Default, Debug)]
pub struct All(BTreeMap<Vec<String>, Said>);

impl All {
    pub fn new(said: BTreeMap<Vec<String>, Said>) -> All {
        All(said)
    }

    pub fn entries(&self) -> impl Iterator<Item = (String, &Said)> {
        self.0.iter().map(|(path, said)| (path.join("."), said))
    }

    #[cfg(test)]
    pub fn paths(&self) -> impl Iterator<Item = (&Vec<String>, &Said)> {
        self.0.iter()
    }

    pub fn find(&self, key: &str) -> Option<&Said> {
        self.0.get(&key.split('.').map(str::to_string).collect::<Vec<_>>())
    }

    pub fn text(&self, key: &str) -> Option<String> {
        self.find(key)?.value.as_str().map(str::to_string)
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.find(key)?.value.as_bool()
    }

    /// The table of keys bounds it to what `T` holds.
    pub fn whole<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        self.find(key)?.value.as_u64().and_then(|number| T::try_from(number).ok())
    }

    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        Some(self.find(key)?.value.as_array()?.iter().filter_map(Value::as_str).map(str::to_string).collect())
    }

    /// A text that means something; an error names key and source.
    pub fn read<T>(&self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        let Some(said) = self.find(key) else { return Ok(None) };
        let value = read(said.value.as_str().unwrap_or_default());
        value.map(Some).map_err(|error| self.wrong(key, &error))
    }

    /// What is wrong with a key's value.
    pub fn wrong(&self, key: &str, what: &str) -> ConfigError {
        match self.find(key) {
            Some(said) => ConfigError(format!("{key} ({}): {what}", said.source)),
            None => ConfigError(format!("{key}: {what}")),
        }
    }

    /// The names under a section whose keys are names.
    pub fn names(&self, section: &str) -> Vec<String> {
        let section: Vec<&str> = section.split('.').collect();
        let below = self.0.keys().filter(|path| path.len() > section.len() && path.iter().zip(&section).all(|(a, b)| a == b));
        let mut names: Vec<String> = below.map(|path| path[section.len()].clone()).collect();
        names.dedup();
        names
    }

    pub fn without_effect(&self) -> Vec<String> {
        let of = |(path, said): (&Vec<String>, &Said)| match keys::find(path)?.fate {
            Fate::NoEffect(reason) => Some(format!("{} ({}) has no effect: {reason}", path.join("."), said.source)),
            Fate::Used | Fate::SameAs(_) | Fate::Idle(_) | Fate::Refused(_) => None,
        };
        self.0.iter().filter_map(of).collect()
    }
}

//! What a deployment gives its actors beside code, as it is asked for: checked, and merged into what there was.
//!
//! A deploy names only what is to change, so that secrets need not be sent again with each one. Decides what is well formed; that
//! actors get it and are held to it is their runner's business.

use std::collections::BTreeMap;
use std::fmt;

use protocol::component::{ActorLimits, Settings};
use protocol::limits::KIB;

/// Names and values of configuration and secrets, and the places that outgoing requests may go to; all of one version.
pub const SETTINGS_BYTES_MAX: usize = 64 * KIB;
/// Of one name of a configuration value or a secret.
pub const SETTING_NAME_BYTES_MAX: usize = 128;
/// Places that outgoing requests may go to.
pub const OUTBOUND_MAX: usize = 256;
/// Requests of one actor that may be recorded.
pub const RECORD_REQUESTS_MAX: u32 = 100;
/// Of a host that is wrong so much is repeated.
const HOST_BYTES_SHOWN: usize = 64;

/// What is to be different. What is not named stays as it is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SettingsPatch {
    /// None: it goes.
    pub config: BTreeMap<String, Option<String>>,
    /// None: it goes.
    pub secrets: BTreeMap<String, Option<String>>,
    /// The whole list.
    pub outbound: Option<Vec<String>>,
    /// None: the runner's own.
    pub limits: BTreeMap<LimitName, Option<u64>>,
    /// How many requests of each actor are recorded. None in it: as many as the engine does by itself.
    pub record_requests: Option<Option<u64>>,
}

/// Values may be secret.
impl fmt::Debug for SettingsPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<&String> = self.secrets.keys().collect();
        let SettingsPatch { config, outbound, limits, record_requests, .. } = self;
        write!(f, "SettingsPatch {{ config: {config:?}, secrets: {secrets:?}, outbound: {outbound:?}, limits: {limits:?}, ")?;
        write!(f, "record_requests: {record_requests:?} }}")
    }
}

/// A field of [`ActorLimits`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LimitName {
    CpuMs,
    MemoryBytes,
    MessageBytes,
    Mailbox,
    Sockets,
    ActionMs,
    StorageBytes,
    Awake,
}

impl LimitName {
    pub const ALL: [LimitName; 8] = [
        LimitName::CpuMs,
        LimitName::MemoryBytes,
        LimitName::MessageBytes,
        LimitName::Mailbox,
        LimitName::Sockets,
        LimitName::ActionMs,
        LimitName::StorageBytes,
        LimitName::Awake,
    ];
}

impl SettingsPatch {
    /// What there was, with this on top. The error is a sentence.
    pub fn apply(&self, before: &Settings) -> Result<Settings, String> {
        let mut settings = before.clone();
        merge("config", &mut settings.config, &self.config)?;
        merge("secrets", &mut settings.secrets, &self.secrets)?;
        if let Some(both) = settings.config.keys().find(|name| settings.secrets.contains_key(*name)) {
            return Err(format!(
                "{both:?} is in config and in secrets, and an actor finds both by name; remove one of them with null"
            ));
        }
        if let Some(outbound) = &self.outbound {
            settings.outbound = check_outbound(outbound)?;
        }
        for (name, value) in &self.limits {
            set_limit(&mut settings.limits, *name, *value)?;
        }
        if let Some(count) = self.record_requests {
            settings.record_requests = count.map(checked_record_requests).transpose()?;
        }
        let values = settings.config.iter().chain(&settings.secrets).map(|(name, value)| name.len() + value.len());
        let bytes = values.chain(settings.outbound.iter().map(String::len)).sum::<usize>();
        if bytes > SETTINGS_BYTES_MAX {
            return Err(format!(
                "the settings have {bytes} bytes in all; at most {SETTINGS_BYTES_MAX} are allowed, keep larger things in actors"
            ));
        }
        Ok(settings)
    }
}

fn merge(of: &str, values: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) -> Result<(), String> {
    for (name, value) in changes {
        if name.is_empty() || name.len() > SETTING_NAME_BYTES_MAX {
            return Err(format!("a name in {of} has {} bytes; 1 to {SETTING_NAME_BYTES_MAX} are allowed", name.len()));
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
            return Err(format!("the name {name:?} in {of} has other characters than letters, digits, `_`, `-` and `.`"));
        }
        match value {
            Some(value) => drop(values.insert(name.clone(), value.clone())),
            None => drop(values.remove(name)),
        }
    }
    Ok(())
}

fn set_limit(limits: &mut ActorLimits, name: LimitName, value: Option<u64>) -> Result<(), String> {
    if value == Some(0) {
        return Err(format!("the limit {name} is 0, and nothing could run; leave it out or give null for the runner's own"));
    }
    let small = || match value.map(u32::try_from).transpose() {
        Ok(value) => Ok(value),
        Err(_) => Err(format!("the limit {name} is {}; at most {} can be said", value.unwrap_or_default(), u32::MAX)),
    };
    match name {
        LimitName::CpuMs => limits.cpu_ms = small()?,
        LimitName::MemoryBytes => limits.memory_bytes = value,
        LimitName::MessageBytes => limits.message_bytes = value,
        LimitName::Mailbox => limits.mailbox = small()?,
        LimitName::Sockets => limits.sockets = small()?,
        LimitName::ActionMs => limits.action_ms = small()?,
        LimitName::StorageBytes => limits.storage_bytes = value,
        LimitName::Awake => limits.awake = small()?,
    }
    Ok(())
}

fn checked_record_requests(count: u64) -> Result<u32, String> {
    let fits = u32::try_from(count).ok().filter(|count| *count <= RECORD_REQUESTS_MAX);
    fits.ok_or_else(|| {
        format!("record_requests is {count}; 0 to {RECORD_REQUESTS_MAX} requests of each actor can be recorded, and 0 records none")
    })
}

/// Sorted, each once.
fn check_outbound(patterns: &[String]) -> Result<Vec<String>, String> {
    if patterns.len() > OUTBOUND_MAX {
        return Err(format!("{} outbound hosts are given; at most {OUTBOUND_MAX} are allowed", patterns.len()));
    }
    let mut checked = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let pattern = pattern.to_ascii_lowercase();
        if !protocol::outbound::is_pattern(&pattern) {
            let shown = protocol::limits::cut(pattern, HOST_BYTES_SHOWN);
            return Err(format!(
                "the outbound host {shown:?} is none of: a host, host:port, *.host, an address, a range of addresses (10.0.0.0/8); leave out http:// and paths"
            ));
        }
        checked.push(pattern);
    }
    checked.sort_unstable();
    checked.dedup();
    Ok(checked)
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitName::CpuMs => "cpu_ms",
            LimitName::MemoryBytes => "memory_bytes",
            LimitName::MessageBytes => "message_bytes",
            LimitName::Mailbox => "mailbox",
            LimitName::Sockets => "sockets",
            LimitName::ActionMs => "action_ms",
            LimitName::StorageBytes => "storage_bytes",
            LimitName::Awake => "awake",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, value: Option<&str>) -> BTreeMap<String, Option<String>> {
        BTreeMap::from([(name.to_string(), value.map(str::to_string))])
    }

    fn refused(patch: SettingsPatch) -> String {
        let before = Settings { config: BTreeMap::from([("TAKEN".to_string(), "x".to_string())]), ..Settings::default() };
        patch.apply(&before).expect_err("it is refused")
    }

    #[test]
    fn what_is_refused_and_why() {
        let config = |name: &str, value: &str| SettingsPatch { config: named(name, Some(value)), ..SettingsPatch::default() };
        let secret = |name: &str| SettingsPatch { secrets: named(name, Some("s")), ..SettingsPatch::default() };
        let limit = |name, value| SettingsPatch { limits: BTreeMap::from([(name, Some(value))]), ..SettingsPatch::default() };
        let record = |count| SettingsPatch { record_requests: Some(Some(count)), ..SettingsPatch::default() };
        let outbound = |hosts: Vec<String>| SettingsPatch { outbound: Some(hosts), ..SettingsPatch::default() };
        let rows = [
            (config("", "x"), "has 0 bytes; 1 to 128"),
            (config(&"n".repeat(129), "x"), "has 129 bytes; 1 to 128"),
            (config("a b", "x"), "letters, digits"),
            (config("ä", "x"), "letters, digits"),
            (config("A", &"x".repeat(SETTINGS_BYTES_MAX)), "65543 bytes in all; at most 65536"),
            (secret("A\n"), "in secrets has other characters"),
            (secret("TAKEN"), "in config and in secrets"),
            (limit(LimitName::CpuMs, 0), "cpu_ms is 0"),
            (limit(LimitName::CpuMs, 1 << 32), "at most 4294967295 can be said"),
            (limit(LimitName::Sockets, u64::MAX), "at most 4294967295 can be said"),
            (outbound(vec!["a".to_string(), "http://a".to_string()]), "\"http://a\" is none of"),
            (outbound(vec!["a".to_string(); 257]), "257 outbound hosts are given; at most 256"),
            (record(101), "record_requests is 101; 0 to 100"),
            (record(1 << 32), "record_requests is 4294967296"),
        ];
        for (patch, sentence) in rows {
            let why = refused(patch);
            assert!(why.contains(sentence), "{sentence:?} expected, seen {why:?}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let first = SettingsPatch {
            config: BTreeMap::from([("A".to_string(), Some("1".to_string())), ("B".to_string(), Some("2".to_string()))]),
            secrets: named("S", Some("hush")),
            outbound: Some(vec!["b".to_string(), "a".to_string(), "b".to_string()]),
            limits: BTreeMap::from([(LimitName::CpuMs, Some(5)), (LimitName::Mailbox, Some(7))]),
            record_requests: Some(Some(0)),
        };
        let settings = first.apply(&Settings::default()).expect("it is good");
        assert_eq!(settings.outbound, ["a", "b"]);
        assert!(!format!("{first:?}{settings:?}").contains("hush"), "a secret is not for logs");
        let second = SettingsPatch {
            config: named("A", None),
            secrets: BTreeMap::new(),
            outbound: None,
            limits: BTreeMap::from([(LimitName::CpuMs, None)]),
            record_requests: None,
        };
        let after = second.apply(&settings).expect("it is good");
        assert_eq!(after.config, BTreeMap::from([("B".to_string(), "2".to_string())]));
        assert_eq!((&after.secrets, &after.outbound), (&settings.secrets, &settings.outbound));
        assert_eq!(after.limits, ActorLimits { mailbox: Some(7), ..ActorLimits::default() });
        assert_eq!((settings.record_requests, after.record_requests), (Some(0), Some(0)));
        let unsaid = SettingsPatch { record_requests: Some(None), ..SettingsPatch::default() };
        assert_eq!(unsaid.apply(&after).map(|settings| settings.record_requests), Ok(None));
        assert_eq!(SettingsPatch::default().apply(&after).as_ref(), Ok(&after));
        // What goes from one may come to the other in the same step.
        let moved = SettingsPatch { config: named("S", Some("open")), secrets: named("S", None), ..SettingsPatch::default() };
        assert_eq!(moved.apply(&after).map(|settings| settings.secrets), Ok(BTreeMap::new()));
    }
}

//! The versions of the wire protocols, and all that differs between them.
//!
//! Both sides name the version when they connect; nothing on the wire repeats it. What a version has is asked here and nowhere
//! else, so this table is the whole difference between them, except for the order of runner protocol 4's bodies.

use std::fmt;

/// A version of the envoy protocol that is spoken here.
///
/// There are two of number 7 in the wild. The one meant here is 6 and commits in stages; of the other one, which was withdrawn,
/// the aborts cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EnvoyVersion(u16);

impl EnvoyVersion {
    pub const OLDEST: EnvoyVersion = EnvoyVersion(3);
    pub const NEWEST: EnvoyVersion = EnvoyVersion(8);

    pub fn new(number: u16) -> Option<EnvoyVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).contains(&number).then_some(EnvoyVersion(number))
    }

    pub fn all() -> impl DoubleEndedIterator<Item = EnvoyVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).map(EnvoyVersion)
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

/// A version of the legacy runner protocol that is spoken here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunnerVersion(u16);

impl RunnerVersion {
    pub const OLDEST: RunnerVersion = RunnerVersion(4);
    pub const NEWEST: RunnerVersion = RunnerVersion(7);

    pub fn new(number: u16) -> Option<RunnerVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).contains(&number).then_some(RunnerVersion(number))
    }

    pub fn all() -> impl DoubleEndedIterator<Item = RunnerVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).map(RunnerVersion)
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

/// A version of our own protocol for runners of components; see [`super::components`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ComponentsVersion(u16);

impl ComponentsVersion {
    pub const OLDEST: ComponentsVersion = ComponentsVersion(2);
    pub const NEWEST: ComponentsVersion = ComponentsVersion(3);

    pub fn new(number: u16) -> Option<ComponentsVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).contains(&number).then_some(ComponentsVersion(number))
    }

    pub fn all() -> impl DoubleEndedIterator<Item = ComponentsVersion> {
        (Self::OLDEST.0..=Self::NEWEST.0).map(ComponentsVersion)
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

/// Which of Rivet's protocols a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dialect {
    Envoy(EnvoyVersion),
    Runner(RunnerVersion),
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dialect::Envoy(version) => write!(f, "envoy protocol {}", version.0),
            Dialect::Runner(version) => write!(f, "runner protocol {}", version.0),
        }
    }
}

/// What a message is written in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Language {
    Rivet(Dialect),
    Components(ComponentsVersion),
}

impl From<Dialect> for Language {
    fn from(dialect: Dialect) -> Language {
        Language::Rivet(dialect)
    }
}

impl From<ComponentsVersion> for Language {
    fn from(version: ComponentsVersion) -> Language {
        Language::Components(version)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Language::Rivet(dialect) => dialect.fmt(f),
            Language::Components(version) => write!(f, "components protocol {}", version.0),
        }
    }
}

/// A message, a field or a meaning that some versions have and others do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Feature {
    /// A start brings keys and values with it.
    PreloadedKv,
    /// A stop says why.
    StopReason,
    /// The actor's database, as pages.
    Sqlite,
    /// The engine runs statements.
    SqliteRemote,
    /// An error has a group and a code, and an answer says which transaction is the newest.
    SqliteHead,
    SqliteBatch,
    SqliteStagedCommit,
    /// Requests name the generation that they are for, aborts their reason, and streamed bodies have a window.
    HttpStreaming,
    KvDeleteRange,
    /// A checkpoint names the generation. Where it does not, the bodies of events and commands do.
    CheckpointGeneration,
    /// A runner is told how long an actor may take to stop, and a serverless one how long it may drain.
    RunnerThresholds,
    /// A message of a socket and a call of an actor carry what follows them.
    Carried,
}

impl Language {
    /// Our own protocol has none of what differs between those of Rivet: it has messages of its own.
    pub(super) fn has(self, feature: Feature) -> bool {
        match self {
            Language::Rivet(dialect) => dialect.has(feature),
            Language::Components(version) => feature == Feature::Carried && version.0 >= 3,
        }
    }
}

impl Dialect {
    pub(super) fn has(self, feature: Feature) -> bool {
        const NEVER: u16 = u16::MAX;
        // Since which version of each.
        let (envoy, runner) = match feature {
            Feature::PreloadedKv | Feature::StopReason | Feature::Sqlite => (3, NEVER),
            Feature::SqliteRemote => (4, NEVER),
            Feature::SqliteHead => (5, NEVER),
            Feature::SqliteBatch => (6, NEVER),
            Feature::SqliteStagedCommit => (7, NEVER),
            Feature::HttpStreaming => (8, NEVER),
            Feature::KvDeleteRange => (3, 7),
            Feature::CheckpointGeneration => (3, 5),
            Feature::RunnerThresholds => (NEVER, 6),
            Feature::Carried => (NEVER, NEVER),
        };
        match self {
            Dialect::Envoy(version) => version.0 >= envoy,
            Dialect::Runner(version) => version.0 >= runner,
        }
    }
}

/// A message that the version of a connection has no words for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotSay {
    pub what: &'static str,
    pub language: Language,
}

impl fmt::Display for CannotSay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no {}", self.language, self.what)
    }
}

impl std::error::Error for CannotSay {}

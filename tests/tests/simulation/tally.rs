//! What happened, to be sure that the faults did.

use std::fmt;

#[derive(Clone, Copy)]
pub enum Happened {
    Answered,
    Refused,
    Started,
    Crashed,
    Rung,
    RunnerLost,
    PowerLost,
    Destroyed,
    Deployed,
    EnvoyJoined,
    EnvoyBack,
    EnvoyTakenOver,
    EnvoyKilled,
    EnvoyGaveUp,
    EnvoyForgotten,
    EnvoyEvicted,
    EnvoyStopping,
    CommandRepeated,
    EventRepeated,
    EventsAcked,
    ToldToStopAsLost,
    CalledOut,
    CallFailed,
    SocketOpened,
    SocketHibernated,
    SocketResumed,
    DatabaseCommitted,
    DatabaseStaged,
    DatabaseFenced,
    KvWritten,
    KvOfNobody,
    Migrating,
    HeldBack,
    Sealed,
    SealForgotten,
    Called,
    CircleRefused,
    CallAbandoned,
}

const NAMES: [&str; 38] = [
    "requests answered",
    "requests refused",
    "actors started",
    "actors crashed",
    "alarms delivered",
    "runners of components lost",
    "power cuts",
    "actors destroyed",
    "deploys",
    "envoys joined",
    "envoys back",
    "envoys taken over",
    "envoys killed",
    "envoys that gave up",
    "envoys forgotten",
    "envoys evicted",
    "envoys stopping",
    "commands repeated",
    "events repeated",
    "events acked",
    "actors that were given up",
    "URLs called",
    "calls failed",
    "sockets opened",
    "sockets hibernated",
    "sockets resumed",
    "databases committed",
    "databases committed in stages",
    "databases fenced",
    "KV writes",
    "KV writes to nobody",
    "migrations",
    "actors held back",
    "messages sealed",
    "seals forgotten",
    "actors called by actors",
    "circles refused",
    "calls abandoned",
];

pub struct Tally([u64; NAMES.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; NAMES.len()])
    }
}

impl Tally {
    pub fn count(&mut self, what: Happened) {
        self.0[what as usize] += 1;
    }

    pub fn add(&mut self, other: &Tally) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    pub fn assert_everything_happened(&self) {
        for (name, count) in NAMES.iter().zip(self.0) {
            assert!(count > 0, "no {name} in all these seeds: the simulation does not test what it says");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = NAMES.iter().zip(self.0).map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}

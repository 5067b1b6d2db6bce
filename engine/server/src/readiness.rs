//! Whether the engine wants to be sent requests, and if not, why.
//!
//! Not the same as being alive: an engine that recovers or drains is well, and must be left alone. One value for the whole process;
//! whoever knows a reason sets it and clears it.

use std::sync::atomic::{AtomicU8, Ordering};

use http::StatusCode;
use serde_json::json;

use crate::api::about::VERSION;

/// Why the engine is not ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The store is being opened and what it holds is being read.
    Starting,
    /// It was told to stop.
    Draining,
    /// The disk is full, or nearly: what grows is refused.
    DiskFull,
    /// A write or a sync has failed: the process is about to end.
    StoreFailed,
}

impl Reason {
    const ALL: [Reason; 4] = [Reason::Starting, Reason::Draining, Reason::DiskFull, Reason::StoreFailed];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::Draining => "draining",
            Reason::DiskFull => "disk_full",
            Reason::StoreFailed => "store_failed",
        }
    }
}

pub struct Readiness(AtomicU8);

/// Not before somebody says that the start is over.
impl Default for Readiness {
    fn default() -> Readiness {
        Readiness(AtomicU8::new(Reason::Starting.bit()))
    }
}

impl Readiness {
    pub fn set(&self, reason: Reason) {
        self.0.fetch_or(reason.bit(), Ordering::AcqRel);
    }

    pub fn clear(&self, reason: Reason) {
        self.0.fetch_and(!reason.bit(), Ordering::AcqRel);
    }

    pub fn is(&self, reason: Reason) -> bool {
        self.0.load(Ordering::Acquire) & reason.bit() != 0
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// What a probe is answered with: a status, and a body that names every reason.
    pub fn answer(&self) -> (StatusCode, String) {
        let reasons: Vec<_> = Reason::ALL.into_iter().filter(|reason| self.is(*reason)).map(Reason::name).collect();
        let (status, text) = match reasons.is_empty() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        (status, json!({ "runtime": "engine", "status": text, "reasons": reasons, "version": VERSION }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_once_no_reason_is_left() {
        let readiness = Readiness::default();
        let seen = || (readiness.answer().0.as_u16(), readiness.is_ready());
        assert_eq!(seen(), (503, false));
        readiness.set(Reason::DiskFull);
        readiness.clear(Reason::Starting);
        assert_eq!(seen(), (503, false));
        assert!(readiness.answer().1.contains(r#""reasons":["disk_full"]"#), "{}", readiness.answer().1);
        readiness.clear(Reason::DiskFull);
        assert_eq!(seen(), (200, true));
        readiness.set(Reason::Draining);
        assert_eq!(seen(), (503, false));
    }
}

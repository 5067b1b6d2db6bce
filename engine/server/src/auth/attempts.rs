//! What was refused, so that the audit log has it and nobody can fill it with that.
//!
//! Of each kind the first attempt is written at once, and how many more there were when the time is up. Attempts without a valid token
//! are of one kind for each reason, whatever they were for; those with one are told apart by token and route.

use std::collections::BTreeMap;
use std::sync::Mutex;

use engine_core::audit::Attempt;

use crate::auth::identity::Denied;
use crate::lock::lock;

/// For so long attempts of a kind are counted together.
pub const WINDOW_MS: u64 = 10 * 60_000;
/// Kinds that are told apart in that time; what is of another is one more kind.
const KINDS_MAX: usize = 16;

#[derive(Default)]
pub struct Attempts(Mutex<BTreeMap<Kind, Attempt>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Nobody knows by whom.
    Unknown(Denied),
    Known(Denied, String, String),
    Others,
}

impl Attempts {
    /// What is to be written at once.
    pub fn note(&self, denied: Denied, attempt: Attempt) -> Option<Attempt> {
        let kind = match denied {
            Denied::NoToken | Denied::Invalid | Denied::Expired => Kind::Unknown(denied),
            Denied::Role | Denied::Namespace => Kind::Known(denied, attempt.by.who.clone(), attempt.act.target.clone()),
        };
        let mut kinds = lock(&self.0);
        let full = kinds.len() >= KINDS_MAX;
        let kind = if full && !kinds.contains_key(&kind) { Kind::Others } else { kind };
        let Some(counted) = kinds.get_mut(&kind) else {
            kinds.insert(kind, Attempt { count: 0, ..attempt.clone() });
            return Some(attempt);
        };
        // The last one stands for all of them.
        let count = counted.count.saturating_add(1);
        *counted = Attempt { count, ..attempt };
        None
    }

    /// The time is up: what is to be written of it.
    pub fn take(&self) -> Vec<Attempt> {
        let kinds = std::mem::take(&mut *lock(&self.0));
        kinds.into_values().filter(|attempt| attempt.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use engine_core::audit::{Act, By};

    use super::*;

    fn attempt(who: &str, target: &str) -> Attempt {
        let by = By { who: who.to_string(), remote: String::new(), request_id: String::new() };
        let act = Act { act: "access.refused", namespace: None, target: target.to_string(), details: Vec::new() };
        Attempt { by, act, outcome: "api.forbidden".to_string(), count: 1 }
    }

    fn counts(attempts: &Attempts) -> Vec<(String, u32)> {
        attempts.take().into_iter().map(|attempt| (attempt.act.target, attempt.count)).collect()
    }

    #[test]
    fn the_first_of_a_kind_is_written_and_the_others_are_counted() {
        let attempts = Attempts::default();
        for number in 0..1_000 {
            let at_once = attempts.note(Denied::Invalid, attempt("nobody", &format!("GET /{number}")));
            assert_eq!(at_once.is_some(), number == 0);
        }
        assert!(attempts.note(Denied::Role, attempt("token a", "GET /x")).is_some());
        assert!(attempts.note(Denied::Role, attempt("token b", "GET /x")).is_some());
        assert!(attempts.note(Denied::Role, attempt("token a", "GET /y")).is_some());
        assert!(attempts.note(Denied::Role, attempt("token a", "GET /x")).is_none());
        assert_eq!(counts(&attempts), [("GET /999".to_string(), 999), ("GET /x".to_string(), 1)]);
        assert_eq!(counts(&attempts), []);
        assert!(attempts.note(Denied::Invalid, attempt("nobody", "GET /")).is_some(), "the next time begins anew");
    }

    #[test]
    fn there_are_only_so_many_kinds() {
        let attempts = Attempts::default();
        let written = (0..1_000)
            .filter(|number| attempts.note(Denied::Namespace, attempt(&format!("token {number}"), "GET /x")).is_some())
            .count();
        assert_eq!(written, KINDS_MAX + 1);
        assert_eq!(counts(&attempts), [("GET /x".to_string(), 1_000 - KINDS_MAX as u32 - 1)]);
    }
}

//! What SQLite calls back into while it works for one database: its files, its limits, the policy, the time.
//!
//! Callbacks can only say yes or no; why it was no is kept here, and becomes the error of the call. One value, one lock, never
//! held while SQLite runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::SqlError;
use crate::files::{FileError, Files};
use crate::layers::Layers;
use crate::limits::{Limits, STEPS_PER_LOOK};
use crate::pages::{Clock, Pages};
use crate::policy::{self, Within};

pub(crate) struct Host {
    state: Mutex<State>,
}

pub(crate) struct State {
    pub files: Files,
    pub within: Within,
    clock: Clock,
    limits: Limits,
    steps: u64,
    /// By the clock. None: no call is running.
    deadline_ms: Option<i64>,
    /// The first no of this call.
    trouble: Option<SqlError>,
}

impl Host {
    pub fn new(pages: Box<dyn Pages>, clock: Clock, limits: Limits) -> Host {
        let files = Files::new(Layers::new(pages), limits.held_bytes_max);
        let state = State { files, within: Within::Statement, clock, limits, steps: 0, deadline_ms: None, trouble: None };
        Host { state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside a callback was caught and has become an error; the state is what it was before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub fn begin_call(&mut self, within: Within) {
        self.within = within;
        self.steps = 0;
        self.trouble = None;
        let span_ms = i64::try_from(self.limits.time_ms_max).unwrap_or(i64::MAX);
        self.deadline_ms = Some(self.now_ms().saturating_add(span_ms));
    }

    /// Without its limits from here on: what follows is to end a transaction.
    pub fn end_limits(&mut self) {
        self.deadline_ms = None;
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Some steps were made. Whether to stop.
    pub fn stops(&mut self) -> bool {
        let Some(deadline_ms) = self.deadline_ms else { return false };
        self.steps = self.steps.saturating_add(u64::from(STEPS_PER_LOOK));
        if self.steps > self.limits.steps_max {
            self.note(SqlError::TooManySteps { steps_max: self.limits.steps_max });
        } else if self.now_ms() >= deadline_ms {
            self.note(SqlError::TookTooLong { ms_max: self.limits.time_ms_max });
        } else {
            return false;
        }
        true
    }

    pub fn refuses(&mut self, action: i32, first: &str, second: Option<&str>) -> bool {
        let refused = policy::refused(self.within, action, first, second);
        let refuses = refused.is_some();
        if let Some(what) = refused {
            self.note(SqlError::Denied { what });
        }
        refuses
    }

    pub fn file_failed(&mut self, error: FileError) {
        match error {
            FileError::Full => self.note(SqlError::HeldExhausted { bytes_max: self.limits.held_bytes_max }),
            FileError::Pages(cause) => self.note(SqlError::Pages(cause)),
            FileError::Misaligned => self.note(SqlError::Unsupported { what: "has pages of another size".to_owned() }),
        }
    }

    fn note(&mut self, trouble: SqlError) {
        self.trouble.get_or_insert(trouble);
    }

    pub fn take_trouble(&mut self) -> Option<SqlError> {
        self.trouble.take()
    }
}

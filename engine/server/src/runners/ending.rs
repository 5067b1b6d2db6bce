//! Why the engine ends a connection of a runner, and how whoever serves it is told.

use http::HeaderValue;
use tokio::sync::watch;

use crate::auth::pass::Over;
use crate::websocket::{self, Close};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Another connection has its name, or it is not wanted any more: it is not to come back.
    Evicted,
    /// The engine is shutting down.
    GoingAway,
    /// No pong for too long.
    TimedOut,
    /// It does not read what it is sent.
    TooSlow,
    /// It said something that cannot be, or that is too long.
    Internal,
    /// What it was opened with counts no more.
    Token(Over),
}

impl Ending {
    pub fn close(self, ray: &HeaderValue) -> Close {
        match self {
            Ending::Evicted => Close::new(websocket::NORMAL, websocket::coded("ws", "eviction", ray)),
            Ending::GoingAway => Close::error("ws", "going_away", ray),
            Ending::TimedOut => Close::error("ws", "timed_out", ray),
            Ending::TooSlow => Close::error("ws", "too_slow", ray),
            Ending::Internal => Close::error("core", "internal_error", ray),
            Ending::Token(over) => {
                let (group, code) = over.coded();
                Close::error(group, code, ray)
            }
        }
    }
}

/// Says once that a connection is to end; the first reason counts.
pub struct EndSignal(watch::Sender<Option<Ending>>);

impl Default for EndSignal {
    fn default() -> EndSignal {
        EndSignal(watch::Sender::new(None))
    }
}

impl EndSignal {
    pub fn tell(&self, ending: Ending) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(ending);
            first
        });
    }

    /// Until it is to end.
    pub async fn told(&self) -> Ending {
        let mut told = self.0.subscribe();
        match told.wait_for(Option::is_some).await.map(|ending| *ending) {
            Ok(Some(ending)) => ending,
            // The sender lives as long as this does.
            Ok(None) | Err(_) => Ending::Internal,
        }
    }
}

//! What stands in line for an actor, in the order in which it came.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::id::RequestId;
use protocol::message::{RequestStart, StopReason};

use crate::config::MAILBOX_SPARE;
use crate::http::{Gathered, Route};

pub enum Mail {
    Request(Box<Request>),
    Alarm { scheduled_ms: u64, attempt: u32 },
    Stop(StopReason),
}

pub struct Request {
    pub head: RequestStart,
    pub route: Arc<Route>,
    /// Its body came in pieces and has been put together.
    pub gathered: Option<Gathered>,
}

pub struct Mailbox {
    line: VecDeque<Mail>,
    max: usize,
    closed: bool,
}

/// Why something was not taken, with it.
pub enum Refused {
    /// The actor has ended, or is about to.
    Closed(Mail),
    /// More than was agreed stands in line.
    Full(Mail),
}

impl Mailbox {
    /// For so many requests, and what else may stand in line.
    pub fn new(requests_max: usize) -> Mailbox {
        Mailbox { line: VecDeque::new(), max: requests_max + MAILBOX_SPARE, closed: false }
    }

    pub fn push(&mut self, mail: Mail) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed(mail));
        }
        if self.line.len() >= self.max {
            return Err(Refused::Full(mail));
        }
        self.line.push_back(mail);
        Ok(())
    }

    /// Takes a request out of the line, if it stands there.
    pub fn remove(&mut self, request: RequestId) {
        self.line.retain(|mail| !matches!(mail, Mail::Request(queued) if queued.head.request == request));
    }

    pub fn push_front(&mut self, request: Box<Request>) -> Result<(), Box<Request>> {
        if self.closed || self.line.len() >= self.max {
            return Err(request);
        }
        self.line.push_front(Mail::Request(request));
        Ok(())
    }

    pub fn pop(&mut self) -> Option<Mail> {
        self.line.pop_front()
    }

    /// Takes the requests out of the line; what else stands there stays.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for mail in std::mem::take(&mut self.line) {
            match mail {
                Mail::Request(request) => requests.push(*request),
                other => self.line.push_back(other),
            }
        }
        requests
    }

    /// Takes nothing more; gives back the requests that were never begun.
    pub fn close(&mut self) -> Vec<Request> {
        self.closed = true;
        let requests = self.take_requests();
        self.line.clear();
        requests
    }
}

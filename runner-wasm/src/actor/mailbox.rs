//! What stands in line for an actor, in the order in which it came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::id::RequestId;
use protocol::message::{RequestStart, SocketOpen, StopReason};

use crate::config::{MAILBOX_SPARE, SOCKET_MAIL_MAX};
use crate::http::{Gathered, Route};
use crate::sockets::serve::Received;
use crate::sockets::table::Ended;

pub enum Mail {
    Request(Box<Request>),
    SocketOpen(Box<SocketOpen>),
    SocketMessage(Box<Received>),
    SocketEnded(Ended),
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
    /// With the moment that each has come.
    line: VecDeque<(Mail, Instant)>,
    /// How many of them are about sockets, and how many others there may be.
    sockets: usize,
    max: usize,
    closed: bool,
}

impl Mail {
    fn is_about_socket(&self) -> bool {
        matches!(self, Mail::SocketOpen(_) | Mail::SocketMessage(_) | Mail::SocketEnded(_))
    }
}

/// What was never begun.
#[derive(Default)]
pub struct NeverBegun {
    pub requests: Vec<Request>,
    pub sockets: Vec<RequestId>,
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
        Mailbox { line: VecDeque::new(), sockets: 0, max: requests_max + MAILBOX_SPARE, closed: false }
    }

    pub fn push(&mut self, mail: Mail) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed(mail));
        }
        let is_full = match mail.is_about_socket() {
            true => self.sockets >= SOCKET_MAIL_MAX,
            false => self.line.len() - self.sockets >= self.max,
        };
        if is_full {
            return Err(Refused::Full(mail));
        }
        self.sockets += usize::from(mail.is_about_socket());
        self.line.push_back((mail, Instant::now()));
        Ok(())
    }

    /// Takes a request out of the line, if it stands there.
    pub fn remove(&mut self, request: RequestId) {
        self.line.retain(|(mail, _)| !matches!(mail, Mail::Request(queued) if queued.head.request == request));
    }

    pub fn push_front(&mut self, request: Box<Request>) -> Result<(), Box<Request>> {
        if self.closed || self.line.len() - self.sockets >= self.max {
            return Err(request);
        }
        self.line.push_front((Mail::Request(request), Instant::now()));
        Ok(())
    }

    /// And how long it stood in line.
    pub fn pop(&mut self) -> Option<(Mail, Duration)> {
        let (mail, since) = self.line.pop_front()?;
        self.sockets -= usize::from(mail.is_about_socket());
        Some((mail, since.elapsed()))
    }

    /// Takes out of the line what clients want; what else stands there stays.
    pub fn take_wishes(&mut self) -> NeverBegun {
        let mut taken = NeverBegun::default();
        for (mail, since) in std::mem::take(&mut self.line) {
            match mail {
                Mail::Request(request) => taken.requests.push(*request),
                Mail::SocketOpen(open) => taken.sockets.push(open.request),
                // The engine keeps what was not acked, and knows by itself who is gone.
                Mail::SocketMessage(_) | Mail::SocketEnded(_) => {}
                Mail::Alarm { .. } | Mail::Stop(_) => self.line.push_back((mail, since)),
            }
        }
        self.sockets = 0;
        taken
    }

    /// Takes nothing more; gives back what was never begun.
    pub fn close(&mut self) -> NeverBegun {
        self.closed = true;
        let never_begun = self.take_wishes();
        self.line.clear();
        never_begun
    }
}

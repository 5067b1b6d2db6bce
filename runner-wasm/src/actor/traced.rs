//! What follows an actor's messages: the request's id in log lines, and the spans of what is sampled.
//!
//! Says whom a message was for and how it ended. Never what was in it.

use http::HeaderMap;
use protocol::message::Failure;
use protocol::trace::{self, Carried, Followed, Kind, Parent, Span, TRACEPARENT};

use super::{Actor, Books, Mail, lock};
use crate::agenda::Item;
use crate::config::QUEUED_TRACES_MAX;
use crate::state::Sealed;

const RAY_ID: &str = "x-rivet-ray-id";

impl Actor {
    /// From now on the message is followed, if there is something that follows it. Its span, if it is sampled.
    pub(super) fn follow(&self, mail: &Mail) -> Span {
        let (span, ray) = match mail {
            Mail::Request(request) => self.asked("actor.request", &request.head.headers),
            Mail::SocketOpen(open) => self.asked("actor.socket_open", &open.headers),
            Mail::SocketMessage(received) => {
                let Carried { ray, context } = &received.trace;
                let parent = self.shared.spans.as_ref().zip(*context).and_then(|(spans, context)| Parent::of(spans, context));
                let mut span = parent.map_or(Span::none(), |parent| parent.child("actor.message", Kind::Consumer));
                self.describe(&mut span);
                (span, ray.clone())
            }
            Mail::Alarm { scheduled_ms, attempt } => (self.rings(*scheduled_ms, *attempt), None),
            Mail::SocketEnded(_) | Mail::Stop(_) => return Span::none(),
        };
        trace::replace(Followed { ray, parent: span.as_parent() });
        span
    }

    fn asked(&self, name: &'static str, headers: &HeaderMap) -> (Span, Option<http::HeaderValue>) {
        let spans = self.shared.spans.as_ref();
        let parent = spans.zip(headers.get(TRACEPARENT)).and_then(|(spans, header)| Parent::remote(spans, header));
        let mut span = parent.map_or(Span::none(), |parent| parent.child(name, Kind::Server));
        self.describe(&mut span);
        (span, headers.get(RAY_ID).cloned())
    }

    /// Nobody asks for it: a trace of its own.
    fn rings(&self, scheduled_ms: u64, attempt: u32) -> Span {
        let mut span = self.root("actor.alarm");
        if span.is_none() {
            return span;
        }
        let earliest = self.books().state.agenda().earliest();
        span.set("rivet.alarm.kind", || match earliest {
            Some((_, Item::Schedule(_))) => "schedule",
            Some((_, Item::Queue)) => "queue",
            Some((_, Item::Alarm)) | None => "alarm",
        });
        span.set("rivet.alarm.late_ms", || self.shared.clock.now_ms().saturating_sub(scheduled_ms));
        span.set("rivet.alarm.attempt", || u64::from(attempt));
        span
    }

    /// From now on the first message of the queue is followed, in a trace of its own: who has sent it does not wait for it.
    pub(super) fn follow_queued(&self, number: u64, attempt: u32) -> Span {
        let sent = lock(&self.queued).remove(&number);
        let mut span = self.root("actor.queue");
        span.link(sent);
        span.set("rivet.queue.attempt", || u64::from(attempt));
        trace::replace(Followed { ray: None, parent: span.as_parent() });
        span
    }

    /// A message was put into the queue. Where it comes from is known as long as the actor is in memory, and if that is sampled.
    pub(super) fn has_queued(&self, number: u64) {
        if self.shared.spans.is_none() {
            return;
        }
        let sent = trace::parent().map(|parent| parent.context());
        let mut queued = lock(&self.queued);
        // Of one that was never committed: its number is given again.
        queued.remove(&number);
        if let Some(sent) = sent {
            if queued.len() >= QUEUED_TRACES_MAX {
                queued.pop_first();
            }
            queued.insert(number, sent);
        }
    }

    /// A message is over, as it ended; nothing follows its actor any more.
    pub(super) fn leave(&self, mut span: Span, ended: Result<(), &Failure>) {
        if let Err(failure) = ended {
            span.fail(|| format!("{:?}", failure.kind));
            tracing::debug!(actor = %self.id, kind = ?failure.kind, "a message has ended its actor's guest");
        }
        drop(span);
        trace::replace(Followed::default());
    }

    fn root(&self, name: &'static str) -> Span {
        let Some(spans) = &self.shared.spans else { return Span::none() };
        let mut span = Span::root(spans, name, Kind::Consumer);
        self.describe(&mut span);
        span
    }

    fn describe(&self, span: &mut Span) {
        span.set("rivet.actor.id", || self.id.to_string());
        span.set("rivet.actor.name", || self.start.name.as_str());
        span.set("rivet.actor.generation", || u64::from(self.generation));
        if let Some(deployed) = &self.start.component {
            span.set("rivet.namespace", || deployed.namespace.as_str());
            span.set("rivet.deployment.version", || u64::from(deployed.version));
        }
    }
}

impl Books {
    /// A commit is sent.
    pub(super) fn begin_span(&mut self, sealed: &Sealed) {
        let mut span = trace::child("actor.commit", Kind::Internal);
        if span.is_none() {
            return;
        }
        span.set("rivet.commit", || sealed.commit);
        span.set("rivet.commit.changes", || (sealed.changes.len() + sealed.own.len()) as u64);
        self.commits.push_back((sealed.commit, span));
    }

    /// All up to this one are durable.
    pub(super) fn end_spans(&mut self, commit: u64) {
        while self.commits.front().is_some_and(|(number, _)| *number <= commit) {
            self.commits.pop_front();
        }
    }
}

//! What follows an actor's messages: the request's id in log lines, and the spans of what is sampled.
//!
//! Says whom a message was for and how it ended. Never what was in it.

use http::HeaderMap;
use protocol::trace::{self, Followed, Kind, Parent, Span, TRACEPARENT};

use super::{Actor, Books, Mail};
use crate::state::Sealed;

const RAY_ID: &str = "x-rivet-ray-id";

impl Actor {
    /// From now on the message is followed, if a client sent it. Its span, if it is sampled.
    pub(super) fn follow(&self, mail: &Mail) -> Span {
        let (name, headers) = match mail {
            Mail::Request(request) => ("actor.request", &request.head.headers),
            Mail::SocketOpen(open) => ("actor.socket_open", &open.headers),
            Mail::SocketMessage(_) | Mail::SocketEnded(_) | Mail::Alarm { .. } | Mail::Stop(_) => return Span::none(),
        };
        let span = self.span(name, headers);
        trace::replace(Followed { ray: headers.get(RAY_ID).cloned(), parent: span.as_parent() });
        span
    }

    fn span(&self, name: &'static str, headers: &HeaderMap) -> Span {
        let Some(spans) = &self.shared.spans else { return Span::none() };
        let parent = headers.get(TRACEPARENT).and_then(|header| Parent::remote(spans, header));
        let mut span = parent.map_or(Span::none(), |parent| parent.child(name, Kind::Server));
        span.set("rivet.actor.id", || self.id.to_string());
        span.set("rivet.actor.name", || self.start.name.as_str());
        span.set("rivet.actor.generation", || u64::from(self.generation));
        if let Some(deployed) = &self.start.component {
            span.set("rivet.namespace", || deployed.namespace.as_str());
            span.set("rivet.deployment.version", || u64::from(deployed.version));
        }
        span
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

//! What follows a client's socket: the span of its opening, one of each message, and one of its end.
//!
//! A socket may be open for days, so there is no span of all of it. Its opening ends when the actor has taken it. Each message is a
//! trace of its own, linked to the opening if that is traced; it ends when the actor has made it durable. Beside the ids of the
//! opening nothing is held but the spans of messages that wait for that, so many at most.

use std::collections::VecDeque;
use std::mem;

use http::{HeaderMap, HeaderValue};
use protocol::trace::{Carried, Kind, Span, SpanContext, TRACEPARENT};

use crate::engine::Engine;
use crate::requests::Place;
use crate::sockets::kept::Indexed;
use crate::telemetry::{Decided, Telemetry};

/// Messages of one socket that are measured at one time; more are not traced.
const MESSAGES_AT_ONCE_MAX: usize = 64;

pub struct Traced {
    ray: HeaderValue,
    /// What its client has decided about it and all of its messages.
    decided: Option<bool>,
    /// Until the actor has taken it.
    opening: Span,
    opened: Option<SpanContext>,
    /// Whether the actor says which messages it has made durable.
    is_acked: bool,
    /// Those that were sent to the actor, by their indices.
    messages: VecDeque<(u16, Span)>,
    received: u64,
    /// What the client was told.
    close_code: Option<u16>,
}

impl Traced {
    pub fn new(telemetry: &Telemetry, headers: &HeaderMap, opening: Span, ray: HeaderValue) -> Traced {
        let decided = match telemetry.decided(headers) {
            Decided::Traced(_) => Some(true),
            Decided::NotTraced => Some(false),
            Decided::Nothing => None,
        };
        let opened = opening.context();
        Traced { ray, decided, opening, opened, is_acked: false, messages: VecDeque::new(), received: 0, close_code: None }
    }

    /// What the actor is asked with.
    pub fn headers(&mut self, engine: &Engine, place: &Place, headers: &mut HeaderMap) {
        self.opening.set("rivet.actor.id", || place.actor.to_string());
        self.opening.set("rivet.actor.generation", || u64::from(place.generation));
        if let Some(context) = self.opened.filter(|_| engine.trace_propagation || place.link.goes_on_with_traces()) {
            headers.insert(TRACEPARENT, context.header());
        }
    }

    /// The actor takes it. `is_acked`: and will say which messages it has made durable.
    pub fn opens(&mut self, is_acked: bool) {
        self.opening = Span::none();
        self.is_acked = is_acked;
    }

    /// A message is sent to the actor; what is carried with it.
    pub fn message(&mut self, engine: &Engine, place: &Place, message: &Indexed) -> Carried {
        self.received += 1;
        let mut span = match self.decided {
            _ if self.messages.len() >= MESSAGES_AT_ONCE_MAX => Span::none(),
            Some(true) => engine.telemetry.root_of_traced("gateway.message", Kind::Server),
            Some(false) => Span::none(),
            None => engine.telemetry.root("gateway.message", Kind::Server),
        };
        let context = span.context();
        if context.is_some() {
            span.link(self.opened);
            span.set("rivet.ray_id", || self.ray.to_str().unwrap_or_default());
            span.set("rivet.actor.id", || place.actor.to_string());
            span.set("rivet.actor.generation", || u64::from(place.generation));
            span.set("rivet.message.bytes", || message.data.len() as u64);
            if self.is_acked {
                self.messages.push_back((message.index, span));
            }
        }
        Carried { ray: Some(self.ray.clone()), context }
    }

    /// The actor has made all up to this message durable.
    pub fn acks(&mut self, index: u16) {
        // Indices wrap, and those that wait are near each other.
        while self.messages.front().is_some_and(|(first, _)| index.wrapping_sub(*first) <= u16::MAX / 2) {
            self.messages.pop_front();
        }
        if self.messages.is_empty() {
            // A socket that was busy once must not keep that room while it sleeps.
            self.messages.shrink_to_fit();
        }
    }

    /// The actor's generation is over: what it has not made durable is sent again.
    pub fn loses_actor(&mut self) {
        for (_, mut span) in mem::take(&mut self.messages) {
            span.fail(|| "the actor stopped; the message is sent again".to_string());
        }
    }

    pub fn closes(&mut self, code: u16) {
        self.close_code = Some(code);
        // Only if the actor has not taken it. The reason may be what the actor says.
        self.opening.fail(|| format!("closed with {code}"));
    }

    /// It is over.
    pub fn ends(&mut self, engine: &Engine, open_s: u64) {
        let Some(opened) = self.opened.take() else { return };
        let mut span = engine.telemetry.later(opened, "gateway.socket_close");
        span.set("rivet.ray_id", || self.ray.to_str().unwrap_or_default());
        span.set("rivet.socket.open_seconds", || open_s);
        span.set("rivet.socket.messages_received", || self.received);
        if let Some(code) = self.close_code {
            span.set("rivet.socket.close_code", || u64::from(code));
        }
    }
}

//! One request while it lives: the pieces of its body, the credit of both directions, and its one end.
//!
//! A request ends once: answered, aborted or returned. Whoever takes it out of the table of routes says so to the engine, nobody
//! else. The engine's credit bounds what can be queued here; a sender that goes beyond it is cut off.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use protocol::id::{ActorId, Generation, RequestId};
use protocol::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES};
use protocol::message::{Failure, FailureKind, FromRunner};
use tokio::sync::Notify;

use super::Response;
use crate::actor::{Sending, lock};
use crate::runner::Shared;
use crate::runner::sharded::Sharded;

/// The requests that have not ended, by their ids.
#[derive(Default)]
pub struct Routes(Sharded<RequestId, Arc<Route>>);

impl Routes {
    pub fn add(&self, route: Arc<Route>) {
        self.0.insert(route.request, route);
    }

    pub fn find(&self, request: RequestId) -> Option<Arc<Route>> {
        self.0.find(&request)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Ends all requests of a generation that is gone, without a word: nobody waits for their answers.
    pub fn forget_actor(&self, actor: ActorId, generation: Generation) {
        for route in self.0.take_if(|route| route.actor == actor && route.generation == generation) {
            route.cut_off();
        }
    }
}

pub struct Route {
    pub request: RequestId,
    pub actor: ActorId,
    pub generation: Generation,
    shared: Arc<Shared>,
    streams: Mutex<Streams>,
    /// Credit has come, or the request is gone. Only the one who sends the response waits for it.
    changed: Notify,
}

#[derive(Default)]
struct Streams {
    pieces: VecDeque<Bytes>,
    queued_bytes: u64,
    consumed_bytes: u64,
    finished: bool,
    reader: Option<Waker>,
    sent_bytes: u64,
    credited_bytes: u64,
    gone: bool,
}

/// A piece of the request's body.
pub enum Piece {
    Bytes(Bytes),
    End,
    /// The request is gone, there will be no more.
    Gone,
}

/// A body that was returned whole: counted by its actor until the last piece of it has left, or nobody wants it.
struct Leaving {
    body: Bytes,
    _sending: Sending,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Route {
    /// With the part of the body that came with the head.
    pub fn new(
        shared: Arc<Shared>,
        request: RequestId,
        actor: ActorId,
        generation: Generation,
        body: Bytes,
        stream: bool,
    ) -> Route {
        let mut streams = Streams { finished: !stream, queued_bytes: body.len() as u64, ..Streams::default() };
        if !body.is_empty() {
            streams.pieces.push_back(body);
        }
        Route { request, actor, generation, shared, streams: Mutex::new(streams), changed: Notify::new() }
    }

    // From the engine.

    pub fn piece(&self, body: Bytes, finish: bool) {
        let (reader, overrun) = {
            let mut streams = lock(&self.streams);
            if streams.finished || streams.gone {
                return;
            }
            streams.queued_bytes += body.len() as u64;
            let overrun = streams.queued_bytes > 2 * BODY_WINDOW_BYTES;
            if !overrun && !body.is_empty() {
                streams.pieces.push_back(body);
            }
            streams.finished = finish;
            (streams.reader.take(), overrun)
        };
        if overrun {
            let message = "the request's body came faster than was agreed".to_string();
            self.abort_with(Failure { kind: FailureKind::Internal, message });
            self.cut_off();
        }
        reader.into_iter().for_each(Waker::wake);
    }

    pub fn credit(&self, consumed_bytes: u64) {
        let mut streams = lock(&self.streams);
        streams.credited_bytes = streams.credited_bytes.max(consumed_bytes.min(streams.sent_bytes));
        drop(streams);
        self.changed.notify_one();
    }

    /// Nobody waits for the answer any more.
    pub fn cut_off(&self) {
        let reader = {
            let mut streams = lock(&self.streams);
            streams.gone = true;
            streams.pieces.clear();
            streams.reader.take()
        };
        self.shared.routes.0.remove(&self.request);
        reader.into_iter().for_each(Waker::wake);
        self.changed.notify_one();
    }

    // The body of the request.

    pub fn is_gone(&self) -> bool {
        lock(&self.streams).gone
    }

    /// The whole body, if all of it is here in one piece, as it is when it came with the head. Nobody waits for its credit.
    pub fn whole_body(&self) -> Option<Bytes> {
        let mut streams = lock(&self.streams);
        let whole = streams.finished && streams.consumed_bytes == 0 && streams.pieces.len() <= 1;
        whole.then(|| streams.pieces.pop_front().unwrap_or_default())
    }

    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Piece> {
        let (piece, consumed_bytes, finished) = {
            let mut streams = lock(&self.streams);
            if streams.gone {
                return Poll::Ready(Piece::Gone);
            }
            let Some(piece) = streams.pieces.pop_front() else {
                if streams.finished {
                    return Poll::Ready(Piece::End);
                }
                streams.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            streams.queued_bytes = streams.queued_bytes.saturating_sub(piece.len() as u64);
            streams.consumed_bytes += piece.len() as u64;
            (piece, streams.consumed_bytes, streams.finished)
        };
        // After the last piece nobody waits for credit.
        if !finished {
            self.shared.link.send(FromRunner::RequestWindow { request: self.request, consumed_bytes });
        }
        Poll::Ready(Piece::Bytes(piece))
    }

    pub async fn next_piece(&self) -> Piece {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    // The response. Each of these ends the request, or begins to.

    pub fn respond(self: &Arc<Self>, response: Response) {
        if response.body.len() > self.shared.link.whole_body_bytes_max() {
            let route = Arc::clone(self);
            self.shared.runtime.spawn(async move { route.stream_whole(response).await });
        } else if self.end() {
            let Response { status, headers, body, sending } = response;
            let body = match sending {
                Some(sending) => Bytes::from_owner(Leaving { body, _sending: sending }),
                None => body,
            };
            self.shared.link.send(FromRunner::ResponseStart { request: self.request, status, headers, body, stream: false });
        }
    }

    pub fn abort_with(&self, failure: Failure) {
        if self.end() {
            self.shared.link.send(FromRunner::ResponseAbort { request: self.request, failure });
        }
    }

    /// The request was never begun. If part of its body has been consumed, nobody can begin it again.
    pub fn return_to_engine(&self) {
        if lock(&self.streams).consumed_bytes > 0 {
            self.abort_with(crate::actor::stopped());
        } else if self.end() {
            self.shared.link.send(FromRunner::RequestReturned { request: self.request });
        }
    }

    pub fn begin_stream(&self, status: StatusCode, headers: HeaderMap) {
        if !self.is_gone() {
            let body = Bytes::new();
            self.shared.link.send(FromRunner::ResponseStart { request: self.request, status, headers, body, stream: true });
        }
    }

    /// Sends as the receiver's credit allows. `false` when the request is gone.
    pub async fn send_body(&self, mut body: Bytes) -> bool {
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(BODY_CHUNK_BYTES_MAX));
            if !self.room_for(piece.len() as u64).await {
                return false;
            }
            self.shared.link.send(FromRunner::ResponseChunk { request: self.request, body: piece, finish: false });
        }
        true
    }

    pub fn end_stream(&self) {
        if self.end() {
            self.shared.link.send(FromRunner::ResponseChunk { request: self.request, body: Bytes::new(), finish: true });
        }
    }

    /// Resolves when nobody waits for the answer any more. For the one who sends it.
    pub async fn gone(&self) {
        while !self.is_gone() {
            self.changed.notified().await;
        }
    }

    async fn stream_whole(self: Arc<Self>, response: Response) {
        let Response { status, headers, body, sending: _sending } = response;
        self.begin_stream(status, headers);
        if self.send_body(body).await {
            self.end_stream();
        }
    }

    async fn room_for(&self, bytes: u64) -> bool {
        loop {
            {
                let mut streams = lock(&self.streams);
                if streams.gone {
                    return false;
                }
                if streams.sent_bytes + bytes <= streams.credited_bytes + BODY_WINDOW_BYTES {
                    streams.sent_bytes += bytes;
                    return true;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Whether it had not ended before.
    fn end(&self) -> bool {
        self.shared.routes.0.remove(&self.request).is_some()
    }
}

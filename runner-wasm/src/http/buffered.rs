//! `rivet:actor/http-handler`: a request whose body is held whole, a response that is returned whole.
//!
//! A body that comes in pieces is put together beside the line: a client that sends slowly must not hold up the actor. The
//! request then has the next turn.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use protocol::message::{Failure, FailureKind, RequestStart};

use super::route::Piece;
use super::{Response, Route, response};
use crate::actor::{Actor, Held, Instance, Limits, Request, Sending, stopped};
use crate::bindings::exports::rivet::actor::http_handler;
use crate::bindings::rivet::actor::types::Header;
use crate::config::{GATHERED_BYTES_MAX, KIB_PERMIT, RESPONSE_WHOLE_BYTES_MAX};
use crate::sandbox::room;

pub async fn serve(instance: &mut Instance, request: Box<Request>) -> Result<(), Failure> {
    let actor = Arc::clone(&instance.actor);
    let Some((head, route, body)) = whole(&actor, request) else { return Ok(()) };
    if let Err(failure) = check_size(&actor, body.len()) {
        route.abort_with(failure);
        return Ok(());
    }
    let method = head.method.clone();
    let answered = match instance.call_http(argument(head, body)).await.and_then(|returned| response::whole(&method, returned)) {
        Ok(response) => actor.commit().await.map(|()| response),
        Err(failure) => Err(failure),
    };
    say(&actor, route, answered).await
}

/// The request and the whole of its body; none if that is still to be put together, and then it comes again.
pub fn whole(actor: &Arc<Actor>, mut request: Box<Request>) -> Option<(RequestStart, Arc<Route>, Bytes)> {
    let body = match (request.gathered.take(), request.route.whole_body()) {
        (Some(gathered), _) => gathered.body(),
        (None, Some(body)) => body,
        (None, None) => {
            actor.shared.runtime.spawn(gather(Arc::clone(actor), request));
            return None;
        }
    };
    Some((request.head, request.route, body))
}

/// Says what came of a message whose transaction is over.
pub async fn say(actor: &Arc<Actor>, route: Arc<Route>, answered: Result<Response, Failure>) -> Result<(), Failure> {
    match answered {
        Ok(mut response) => {
            if response.body.len() > RESPONSE_WHOLE_BYTES_MAX {
                let kib = u32::try_from(response.body.len().div_ceil(KIB_PERMIT)).unwrap_or(u32::MAX);
                let room = Arc::clone(&actor.outbox).acquire_many_owned(kib).await.ok();
                let counted = actor.shared.room.count(response.body.len());
                response.sending = Some(Sending::new(actor, room.map(|room| (room, counted))));
            }
            actor.say(Held::Response(route, response));
            Ok(())
        }
        Err(failure) => {
            actor.drop_writes();
            actor.say(Held::Abort(route, failure.clone()));
            Err(failure)
        }
    }
}

/// Whether the guest may be given a body of so many bytes.
fn check_size(actor: &Actor, bytes: usize) -> Result<(), Failure> {
    let Limits { memory_bytes, message_bytes, .. } = actor.limits;
    let message = if bytes > message_bytes {
        format!("the request's body has more than the {message_bytes} bytes that this actor takes")
    } else if bytes > memory_bytes / 2 {
        format!("the request's body has {bytes} bytes, too many for an actor with {memory_bytes} bytes of memory")
    } else {
        return Ok(());
    };
    Err(Failure { kind: FailureKind::RequestTooLarge, message })
}

fn argument(head: RequestStart, body: Bytes) -> http_handler::Request {
    let (path, query) = match head.path.split_once('?') {
        Some((path, query)) => (path.to_string(), Some(query.to_string())),
        None => (head.path, None),
    };
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
        name: name.as_str().to_string(),
        value: value.as_bytes().to_vec(),
    };
    http_handler::Request {
        method: head.method.as_str().to_string(),
        path,
        query,
        headers: head.headers.iter().map(header).collect(),
        body: body.into(),
    }
}

/// A body that was put together, counted until its turn has come.
pub struct Gathered {
    actor: Arc<Actor>,
    bytes: Vec<u8>,
    /// Of the memory that all may have: what was allocated, which grows ahead of what has come.
    taken_bytes: usize,
}

impl Gathered {
    fn body(mut self) -> Bytes {
        self.give_back();
        std::mem::take(&mut self.bytes).into()
    }

    fn give_back(&mut self) {
        self.actor.gathered_bytes.fetch_sub(self.bytes.len(), Relaxed);
        self.actor.shared.room.give_back(std::mem::take(&mut self.taken_bytes));
    }

    /// Room for so much in all, at most `limit`.
    fn allocate(&mut self, needed: usize, limit: usize) -> Result<(), Failure> {
        let capacity = needed.max(2 * self.taken_bytes).min(limit);
        let more = capacity.saturating_sub(self.taken_bytes);
        if !self.actor.shared.room.take(more) {
            return Err(room::no_memory());
        }
        self.taken_bytes += more;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let too_large = |message: String| Err(Failure { kind: FailureKind::RequestTooLarge, message });
        let limit = self.actor.limits.message_bytes;
        if self.bytes.len() + piece.len() > limit {
            return too_large(format!("the request's body has more than the {limit} bytes that this actor takes"));
        }
        let needed = self.bytes.len() + piece.len();
        if needed > self.taken_bytes {
            self.allocate(needed, limit)?;
        }
        if self.actor.gathered_bytes.fetch_add(piece.len(), Relaxed) + piece.len() > GATHERED_BYTES_MAX {
            self.actor.gathered_bytes.fetch_sub(piece.len(), Relaxed);
            return too_large(format!("the actor is taking {GATHERED_BYTES_MAX} bytes of other requests' bodies; try again later"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.give_back();
    }
}

async fn gather(actor: Arc<Actor>, mut request: Box<Request>) {
    let route: Arc<Route> = Arc::clone(&request.route);
    let mut gathered = Gathered { actor: Arc::clone(&actor), bytes: Vec::new(), taken_bytes: 0 };
    loop {
        match route.next_piece().await {
            Piece::Bytes(piece) => {
                if let Err(failure) = gathered.add(&piece) {
                    return route.abort_with(failure);
                }
            }
            Piece::End => break,
            Piece::Gone => return,
        }
    }
    request.gathered = Some(gathered);
    if let Err(request) = actor.post_gathered(request) {
        request.route.abort_with(stopped());
    }
}

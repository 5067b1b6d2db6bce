//! A request body that is too long, or of unknown length, to travel with its head.
//!
//! The runner is sent no more than the window allows beyond what it says it has consumed. Reading from the client starts when
//! the request has been dispatched: a request that waits for its actor holds no body. A runner may return a request unbegun;
//! until it has begun, what was sent is kept, so that the next one gets all of it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use protocol::id::RequestId;
use protocol::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES, REQUEST_BODY_BYTES_MAX};
use protocol::message::{RequestStart, ToRunner};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::gateway::forward::body_refused;
use crate::incoming::RequestBody;
use crate::requests::Place;
use crate::window::Credit;

type Dispatched = watch::Receiver<Option<(Place, Box<RequestStart>)>>;

pub struct Sending {
    pub engine: Arc<Engine>,
    pub request: RequestId,
    pub body: RequestBody,
    pub dispatched: Dispatched,
    pub credit: Arc<Credit>,
}

/// What was sent to the runner that has the request now.
#[derive(Default)]
struct Sent {
    /// None before the first dispatch.
    place: Option<Place>,
    bytes: u64,
    /// All of it, until the runner has begun with it.
    kept: Vec<Bytes>,
    finished: bool,
}

impl Sending {
    /// Until the body is sent and begun to be consumed, or nobody wants it any more.
    pub async fn run(mut self) {
        let mut sent = Sent::default();
        if self.redispatched(&mut sent).await.is_none() {
            return;
        }
        // What is kept, and the chunk that waits for credit.
        let Some(_room) = self.engine.requests.body_room_in_time(BODY_WINDOW_BYTES as usize).await else { return };
        match self.send_all(&mut sent).await {
            Ok(()) => {}
            Err(Failed::Gone) => return,
            Err(Failed::Body(error)) => return self.refuse(error, &sent),
        }
        // Until the runner has begun with it, it may still give it back.
        let credit = self.credit.clone();
        loop {
            tokio::select! {
                () = credit.begun() => return,
                again = self.redispatched(&mut sent) => if again.is_none() { return },
            }
        }
    }

    async fn send_all(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        while let Some(frame) = self.next_frame(sent).await? {
            let Ok(mut data) = frame.into_data() else { continue };
            if sent.bytes + data.len() as u64 > REQUEST_BODY_BYTES_MAX {
                return Err(Failed::Body(body_refused(&format!("it is longer than {REQUEST_BODY_BYTES_MAX} bytes"))));
            }
            while data.has_remaining() {
                let chunk = data.split_to(data.len().min(BODY_CHUNK_BYTES_MAX));
                self.wait_for_credit(sent, chunk.len() as u64).await?;
                self.send(sent, chunk, false);
            }
        }
        sent.finished = true;
        self.send(sent, Bytes::new(), true);
        Ok(())
    }

    async fn next_frame(&mut self, sent: &mut Sent) -> Result<Option<hyper::body::Frame<Bytes>>, Failed> {
        loop {
            tokio::select! {
                biased;
                changed = self.dispatched.changed() => {
                    changed.map_err(|_| Failed::Gone)?;
                    self.begin(sent);
                }
                frame = self.body.frame() => {
                    let frame = frame.transpose();
                    return frame.map_err(|error| Failed::Body(body_refused(&format!("it could not be read: {error}"))));
                }
            }
        }
    }

    async fn wait_for_credit(&mut self, sent: &mut Sent, bytes: u64) -> Result<(), Failed> {
        let credit = self.credit.clone();
        loop {
            tokio::select! {
                biased;
                changed = self.dispatched.changed() => {
                    changed.map_err(|_| Failed::Gone)?;
                    self.begin(sent);
                }
                () = credit.allows(sent.bytes + bytes) => return Ok(()),
            }
        }
    }

    /// Waits until the request is dispatched (again). None when it is over.
    async fn redispatched(&mut self, sent: &mut Sent) -> Option<()> {
        self.dispatched.changed().await.ok()?;
        self.begin(sent);
        Some(())
    }

    /// The head, and what of the body was sent to the runner before, which has not begun with it.
    fn begin(&mut self, sent: &mut Sent) {
        let Some((place, start)) = self.dispatched.borrow_and_update().as_ref().map(|(place, start)| (place.clone(), copy(start)))
        else {
            return;
        };
        place.link.send(ToRunner::Request(start));
        for (at, chunk) in sent.kept.iter().enumerate() {
            let finish = sent.finished && at + 1 == sent.kept.len();
            place.link.send(ToRunner::RequestChunk { request: self.request, body: chunk.clone(), finish });
        }
        sent.place = Some(place);
    }

    fn send(&self, sent: &mut Sent, body: Bytes, finish: bool) {
        sent.bytes += body.len() as u64;
        if self.credit.has_begun() {
            sent.kept = Vec::new();
        } else {
            sent.kept.push(body.clone());
        }
        if let Some(place) = &sent.place {
            place.link.send(ToRunner::RequestChunk { request: self.request, body, finish });
        }
    }

    /// The client is told what is wrong with its body; the actor and the core that the request is over.
    fn refuse(&self, error: ApiError, sent: &Sent) {
        if !self.engine.requests.refuse(self.request, error) {
            return;
        }
        self.engine.inbox.push(engine_core::Input::RequestAborted { request: self.request });
        if let Some(place) = &sent.place {
            place.link.send(ToRunner::RequestAbort { request: self.request });
        }
    }
}

enum Failed {
    /// The request is over.
    Gone,
    Body(ApiError),
}

fn copy(start: &RequestStart) -> RequestStart {
    RequestStart {
        request: start.request,
        actor: start.actor,
        generation: start.generation,
        method: start.method.clone(),
        path: start.path.clone(),
        headers: start.headers.clone(),
        body: start.body.clone(),
        stream: start.stream,
    }
}

//! The requests that are in flight between clients and runners.
//!
//! The core decides where a request goes and sees only its id; its head, its body and its response pass here. An entry lives
//! from the client's request until the runner has said its last word about it, the core has refused it, or the client has
//! left: whoever removes the entry tells the others, so each of them hears of the end once.
//!
//! A request that the runner returns unbegun is dispatched again, so the head is kept until the response begins.
//! A runner speaks about the requests that it was given and about no others: their ids can be guessed.
//! No lock is held while a runner is spoken to: a runner in the same process may answer on the spot.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use engine_core::refusal::Refusal;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::limits::{BODY_WINDOW_BYTES, KIB};
use protocol::link::ToRunnerLink;
use protocol::message::{RequestStart, ToRunner};
use protocol::trace::{self, Kind, Span, TRACEPARENT};
use tokio::sync::{oneshot, watch};

use crate::error::ApiError;
use crate::lock::lock;
use crate::memory::buffers::{Buffers, Held};
use crate::random;
use crate::recordings::Recorder;
use crate::recordings::underway::{Ended, Underway};
use crate::window::{Credit, Drain, Feed, stream};

/// Requests to actors that may be in flight at one time, on the whole server.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 16_384;
/// What a request takes beside its head and body: its entry, its task, what its connection holds.
const REQUEST_BYTES: usize = 2 * KIB;
const SHARDS: usize = 16;

pub struct Requests {
    last: AtomicU64,
    in_flight: AtomicUsize,
    buffers: Arc<Buffers>,
    shards: [Mutex<HashMap<RequestId, Entry>>; SHARDS],
    recorder: Arc<Recorder>,
}

/// What the actor will see of a request.
pub struct Head {
    pub method: Method,
    /// Path and query; begins with `/`.
    pub path: String,
    pub headers: HeaderMap,
    /// The whole body, unless it is streamed.
    pub body: Bytes,
    /// Room taken for the body, given back with it.
    pub room: Option<Held>,
}

impl Head {
    /// What it holds in memory beside the body.
    fn bytes(&self) -> usize {
        let header = |(name, value): (&http::HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        REQUEST_BYTES + self.path.len() + self.headers.iter().map(header).sum::<usize>()
    }
}

/// Where a request was dispatched to.
#[derive(Clone)]
pub struct Place {
    pub runner: RunnerId,
    pub link: Arc<dyn ToRunnerLink>,
    pub actor: ActorId,
    pub generation: Generation,
}

/// The side of a streamed request body that the runner's words reach.
pub struct Upload {
    /// Told each time the request is dispatched; the upload then sends the body. Its end is the request's.
    pub dispatched: watch::Sender<Option<Dispatched>>,
    pub credit: Arc<Credit>,
}

/// What an upload is told.
pub struct Dispatched {
    pub place: Place,
    pub start: Box<RequestStart>,
    /// The runner has the head already. If not, the upload sends it.
    pub is_begun: bool,
}

/// What the client gets.
pub enum Reply {
    Whole(StatusCode, HeaderMap, Bytes),
    Streamed(StatusCode, HeaderMap, Drain),
    Refused(ApiError),
}

struct Entry {
    head: Option<Head>,
    _held: Held,
    /// What a runner goes on with, and the span until it does; if the request is sampled.
    trace: Option<HeaderValue>,
    wait: Span,
    upload: Option<Upload>,
    place: Option<Place>,
    /// Until the response begins.
    reply: Option<oneshot::Sender<Reply>>,
    /// Once it streams.
    response: Option<Feed>,
    /// When it came, while anything is recorded.
    arrived_ms: Option<u64>,
    /// From its first dispatch on, if its actor is recorded.
    recorded: Option<Box<Underway>>,
}

/// The beginning of a response, or all of it.
pub struct ResponseStart {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// More of the body follows.
    pub stream: bool,
}

/// What became of a runner's message about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Nobody waits for it any more.
    Unknown,
    Continues,
    /// It was the last; the core is to be told.
    Ended,
    /// The runner broke the rules: it is over, the runner and the core are to be told.
    Broken,
}

impl Requests {
    pub fn new(buffers: Arc<Buffers>) -> Requests {
        Requests {
            // Ids that a runner still has from an earlier process mean nothing in this one.
            last: AtomicU64::new(u64::from(u32::from_le_bytes(random::bytes())) << 32),
            in_flight: AtomicUsize::new(0),
            buffers,
            shards: Default::default(),
            recorder: Arc::new(Recorder::none()),
        }
    }

    /// That are recorded where somebody wants it.
    pub fn recorded_by(recorder: Arc<Recorder>, buffers: Arc<Buffers>) -> Requests {
        Requests { recorder, ..Requests::new(buffers) }
    }

    /// Room to hold a body of that many bytes, if there is any.
    pub fn body_room(&self, bytes: usize) -> Result<Held, ApiError> {
        self.buffers.hold_body(bytes)
    }

    /// The same, as soon as there is some.
    pub async fn body_room_in_time(&self, bytes: usize) -> Held {
        self.buffers.hold_body_in_time(bytes).await
    }

    pub fn open(&self, head: Head, upload: Option<Upload>) -> Result<(RequestId, oneshot::Receiver<Reply>), ApiError> {
        let held = self.buffers.hold(head.bytes())?;
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= REQUESTS_IN_FLIGHT_MAX {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return Err(ApiError::busy(format!("{REQUESTS_IN_FLIGHT_MAX} requests are in flight; try again in a moment")));
        }
        let request = self.next_id();
        let (reply, waiter) = oneshot::channel();
        let parent = trace::parent();
        let wait = parent.as_ref().map_or(Span::none(), |parent| parent.child("actor.wait", Kind::Internal));
        let trace = parent.map(|parent| parent.context().header());
        let arrived_ms = self.recorder.is_on().then(|| self.recorder.now_ms());
        let (head, reply) = (Some(head), Some(reply));
        let entry =
            Entry { head, _held: held, trace, wait, upload, place: None, reply, response: None, arrived_ms, recorded: None };
        self.shard(request).insert(request, entry);
        Ok((request, waiter))
    }

    /// For a request or a socket: runners and the core know both by the same kind of id.
    pub fn next_id(&self) -> RequestId {
        RequestId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The core has found the runner for this request.
    pub fn dispatch(&self, request: RequestId, place: Place) {
        let mut shard = self.shard(request);
        let Some(entry) = shard.get_mut(&request) else { return };
        let Some(head) = &entry.head else { return };
        let mut start = RequestStart {
            request,
            actor: place.actor,
            generation: place.generation,
            method: head.method.clone(),
            path: head.path.clone(),
            headers: head.headers.clone(),
            body: head.body.clone(),
            stream: entry.upload.is_some(),
        };
        if let Some(trace) = entry.trace.as_ref().filter(|_| place.link.goes_on_with_traces()) {
            start.headers.insert(TRACEPARENT, trace.clone());
        }
        let mut wait = mem::take(&mut entry.wait);
        wait.set("rivet.actor.id", || place.actor.to_string());
        wait.set("rivet.actor.generation", || u64::from(place.generation));
        entry.place = Some(place.clone());
        if let Some(arrived_ms) = entry.arrived_ms.take() {
            entry.recorded = self.recorder.begin(place.actor, arrived_ms);
        }
        let upload = entry.upload.as_ref().map(|upload| upload.dispatched.clone());
        // A client that leaves between these lines is told to the runner before the request itself is: the actor then
        // handles a request that nobody reads the answer of, which is what happens whenever a client leaves a little later.
        drop(shard);
        drop(wait);
        let Some(upload) = upload else { return place.link.send(ToRunner::Request(start)) };
        // What the core says next may be that the actor is to stop, and a runner refuses what comes after that. Only a runner that
        // gives requests back is given one again: then the upload sends the head, lest one of its chunks comes between.
        let is_begun = upload.borrow().is_none() && place.link.streams();
        if is_begun {
            place.link.send(ToRunner::Request(start.clone()));
            // Whoever ended it meanwhile has told a runner that did not have it yet, and no body would ever come.
            if self.place_of(request).is_none() {
                place.link.send(ToRunner::RequestAbort { request });
            }
        }
        upload.send_replace(Some(Dispatched { place, start: Box::new(start), is_begun }));
    }

    /// The core, or the gateway itself, answers with an error. False if nobody waits any more.
    pub fn refuse(&self, request: RequestId, error: ApiError) -> bool {
        let failed = || Ended::Failed(format!("{}.{}", error.group, error.code));
        let Some(entry) = self.remove(request, failed) else { return false };
        match (entry.reply, entry.response) {
            (Some(reply), _) => drop(reply.send(Reply::Refused(error))),
            (None, Some(response)) => response.cut(format!("{}.{}: {}", error.group, error.code, error.message)),
            (None, None) => {}
        }
        true
    }

    pub fn refuse_by_core(&self, request: RequestId, refusal: Refusal) {
        // The entry is looked up first: most refusals that come late are for requests that have ended.
        if self.shard(request).contains_key(&request) {
            self.refuse(request, refusal.into());
        }
    }

    pub fn response_start(&self, runner: RunnerId, request: RequestId, response: ResponseStart) -> Heard {
        let ResponseStart { status, headers, body, stream: streamed } = response;
        if !streamed {
            let Some(entry) = self.remove_given_to(runner, request, || Ended::Whole(status, body.clone())) else {
                return Heard::Unknown;
            };
            let Some(reply) = entry.reply else { return Heard::Broken };
            if let Some(upload) = &entry.upload {
                upload.credit.answered();
            }
            // The client may be leaving at this moment; then nobody reads it.
            let _ = reply.send(Reply::Whole(status, headers, body));
            return Heard::Ended;
        }
        let mut shard = self.shard(request);
        let Some(entry) = given_to(&mut shard, runner, request) else { return Heard::Unknown };
        let window_bytes = entry.place.as_ref().map_or(BODY_WINDOW_BYTES, |place| place.link.response_window_bytes());
        let (mut feed, drain) = stream(window_bytes, &self.buffers);
        let reply = entry.reply.take();
        let begun = body.clone();
        if reply.is_none() || feed.push(body).is_err() {
            drop(shard);
            self.remove(request, || Ended::Left);
            return Heard::Broken;
        }
        let head = entry.head.take();
        if let Some(recorded) = &mut entry.recorded {
            recorded.begins(head, entry.upload.is_some(), status);
            recorded.part(&begun);
        }
        entry.response = Some(feed);
        if let Some(upload) = &entry.upload {
            upload.credit.begin();
        }
        drop(shard);
        if let Some(reply) = reply {
            let _ = reply.send(Reply::Streamed(status, headers, drain));
        }
        Heard::Continues
    }

    pub fn response_chunk(&self, runner: RunnerId, request: RequestId, body: Bytes, finish: bool) -> Heard {
        let mut shard = self.shard(request);
        let Some(entry) = given_to(&mut shard, runner, request) else { return Heard::Unknown };
        if let Some(recorded) = &mut entry.recorded {
            recorded.part(&body);
        }
        let fits = entry.response.as_mut().is_some_and(|response| response.push(body).is_ok());
        if fits && !finish {
            return Heard::Continues;
        }
        drop(shard);
        let ended = || if fits { Ended::Streamed } else { Ended::Left };
        let Some(entry) = self.remove(request, ended) else { return Heard::Unknown };
        match entry.response {
            Some(response) if fits => {
                response.finish();
                if let Some(upload) = &entry.upload {
                    upload.credit.answered();
                }
                Heard::Ended
            }
            Some(response) => {
                response.cut("the runner sent more than it was allowed to".to_string());
                Heard::Broken
            }
            None => Heard::Broken,
        }
    }

    pub fn request_window(&self, runner: RunnerId, request: RequestId, consumed_bytes: u64) {
        let mut shard = self.shard(request);
        let upload = given_to(&mut shard, runner, request).and_then(|entry| entry.upload.as_ref());
        if let Some(Upload { credit, .. }) = upload {
            credit.consumed(consumed_bytes);
        }
    }

    /// The runner reads no more of the request's body, and may answer all the same.
    pub fn request_body_cancel(&self, runner: RunnerId, request: RequestId) {
        let mut shard = self.shard(request);
        let upload = given_to(&mut shard, runner, request).and_then(|entry| entry.upload.as_ref());
        if let Some(Upload { credit, .. }) = upload {
            credit.cancel();
        }
    }

    /// The runner ends the request without a (whole) response. False if that is not its to say, or nobody waits any more.
    pub fn failed(&self, runner: RunnerId, request: RequestId, error: impl FnOnce(ActorId) -> ApiError) -> bool {
        let actor = given_to(&mut self.shard(request), runner, request).and_then(|entry| Some(entry.place.as_ref()?.actor));
        actor.is_some_and(|actor| self.refuse(request, error(actor)))
    }

    pub fn place_of(&self, request: RequestId) -> Option<Place> {
        self.shard(request).get(&request).and_then(|entry| entry.place.clone())
    }

    /// The client has left. Where the request was, if it was still going on.
    pub fn abandon(&self, request: RequestId) -> Option<Option<Place>> {
        self.remove(request, || Ended::Left).map(|entry| entry.place)
    }

    #[cfg(test)]
    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// `ended` says how, if it is recorded.
    fn remove(&self, request: RequestId, ended: impl FnOnce() -> Ended) -> Option<Entry> {
        let mut entry = self.shard(request).remove(&request)?;
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        if let Some(recorded) = entry.recorded.take() {
            recorded.ends(entry.head.take(), entry.upload.is_some(), ended());
        }
        Some(entry)
    }

    fn remove_given_to(&self, runner: RunnerId, request: RequestId, ended: impl FnOnce() -> Ended) -> Option<Entry> {
        given_to(&mut self.shard(request), runner, request)?;
        self.remove(request, ended)
    }

    fn shard(&self, request: RequestId) -> MutexGuard<'_, HashMap<RequestId, Entry>> {
        lock(&self.shards[request.0 as usize % SHARDS])
    }
}

fn given_to(shard: &mut HashMap<RequestId, Entry>, runner: RunnerId, request: RequestId) -> Option<&mut Entry> {
    shard.get_mut(&request).filter(|entry| entry.place.as_ref().is_some_and(|place| place.runner == runner))
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;
    use crate::testing;

    const RUNNER: RunnerId = RunnerId(7);

    fn whole_or_begun(body: Bytes, stream: bool) -> ResponseStart {
        ResponseStart { status: StatusCode::OK, headers: HeaderMap::new(), body, stream }
    }

    fn opened(requests: &Requests) -> (RequestId, oneshot::Receiver<Reply>, Arc<testing::Heard>) {
        let head = Head {
            method: Method::GET,
            path: "/x?y".to_string(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"body"),
            room: None,
        };
        let (request, reply) = requests.open(head, None).expect("there is room");
        let link = Arc::new(testing::Heard::default());
        requests.dispatch(request, Place { runner: RUNNER, link: link.clone(), actor: Id::new([1; 16], 1), generation: 3 });
        (request, reply, link)
    }

    #[test]
    fn a_returned_request_is_dispatched_again_as_it_was() {
        let requests = Requests::new(Arc::default());
        let (request, _reply, link) = opened(&requests);
        requests.dispatch(request, Place { runner: RUNNER, link: link.clone(), actor: Id::new([1; 16], 1), generation: 4 });
        let sent = link.take();
        let starts: Vec<_> = sent
            .iter()
            .map(|message| match message {
                ToRunner::Request(start) => (start.generation, start.path.as_str(), &start.body[..], start.stream),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(starts, [(3, "/x?y", &b"body"[..], false), (4, "/x?y", &b"body"[..], false)]);
    }

    #[test]
    fn a_whole_response_ends_the_request_once() {
        let requests = Requests::new(Arc::default());
        let (request, mut reply, _) = opened(&requests);
        let start = || requests.response_start(RUNNER, request, whole_or_begun(Bytes::new(), false));
        assert_eq!(requests.in_flight(), 1);
        assert_eq!(start(), Heard::Ended);
        assert_eq!(start(), Heard::Unknown);
        assert!(matches!(reply.try_recv(), Ok(Reply::Whole(StatusCode::OK, ..))));
        assert!(requests.abandon(request).is_none());
        assert_eq!(requests.in_flight(), 0);
    }

    #[test]
    fn a_streamed_response_ends_with_its_last_chunk() {
        let requests = Requests::new(Arc::default());
        let (request, mut reply, _) = opened(&requests);
        let chunk = |body: &'static [u8], finish| requests.response_chunk(RUNNER, request, Bytes::from_static(body), finish);
        assert_eq!(requests.response_start(RUNNER, request, whole_or_begun(Bytes::from_static(b"a"), true)), Heard::Continues);
        let Ok(Reply::Streamed(_, _, drain)) = reply.try_recv() else { panic!("the response has begun") };
        assert_eq!(chunk(b"b", false), Heard::Continues);
        assert_eq!(chunk(b"", true), Heard::Ended);
        assert_eq!(chunk(b"c", true), Heard::Unknown);
        assert!(!drain.is_over(), "two chunks wait to be read");
    }

    #[test]
    fn a_runner_that_breaks_the_rules_loses_the_request() {
        let requests = Requests::new(Arc::default());
        let (request, _reply, _) = opened(&requests);
        assert_eq!(requests.response_chunk(RUNNER, request, Bytes::from_static(b"early"), false), Heard::Broken);
        assert_eq!(requests.response_chunk(RUNNER, request, Bytes::from_static(b"early"), true), Heard::Unknown);

        let (request, _reply, _) = opened(&requests);
        requests.response_start(RUNNER, request, whole_or_begun(Bytes::new(), true));
        let much = Bytes::from(vec![0; BODY_WINDOW_BYTES as usize + 1]);
        assert_eq!(requests.response_chunk(RUNNER, request, much, false), Heard::Broken);
        assert_eq!(requests.in_flight(), 0);
    }

    #[test]
    fn a_runner_speaks_about_its_own_requests_only() {
        let requests = Requests::new(Arc::default());
        let (request, mut reply, _) = opened(&requests);
        let other = RunnerId(8);
        assert_eq!(requests.response_start(other, request, whole_or_begun(Bytes::new(), false)), Heard::Unknown);
        assert_eq!(requests.response_start(other, request, whole_or_begun(Bytes::new(), true)), Heard::Unknown);
        assert!(!requests.failed(other, request, |_| ApiError::busy("x")));
        assert_eq!(requests.response_start(RUNNER, request, whole_or_begun(Bytes::new(), true)), Heard::Continues);
        assert_eq!(requests.response_chunk(other, request, Bytes::new(), true), Heard::Unknown);
        assert!(matches!(reply.try_recv(), Ok(Reply::Streamed(..))));
        assert!(requests.failed(RUNNER, request, |_| ApiError::busy("x")));
        assert_eq!(requests.in_flight(), 0);
    }

    #[test]
    fn a_refusal_after_the_head_cuts_the_body() {
        let requests = Requests::new(Arc::default());
        let (request, mut reply, _) = opened(&requests);
        requests.response_start(RUNNER, request, whole_or_begun(Bytes::new(), true));
        let Ok(Reply::Streamed(_, _, mut drain)) = reply.try_recv() else { panic!("the response has begun") };
        requests.refuse_by_core(request, Refusal::ActorNotFound);
        let polled = drain.poll_chunk(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(polled, std::task::Poll::Ready(Some(Err(_)))));
        assert_eq!(requests.in_flight(), 0);
    }

    #[test]
    fn the_table_has_an_end() {
        let requests = Requests::new(Arc::default());
        let open = || {
            let head =
                Head { method: Method::GET, path: "/".to_string(), headers: HeaderMap::new(), body: Bytes::new(), room: None };
            requests.open(head, None)
        };
        let kept: Vec<_> = (0..REQUESTS_IN_FLIGHT_MAX).map(|_| open().expect("there is room")).collect();
        assert!(open().is_err());
        requests.abandon(kept[0].0);
        assert!(open().is_ok());
    }
}

//! A request body that is too long, or of unknown length, to travel with its head.
//!
//! The runner is sent no more than the window allows beyond what it says it has consumed. Reading from the client starts when
//! the request has been dispatched: a request that waits for its actor holds no body. A runner may return a request unbegun;
//! until it has begun, what was sent is kept, so that the next one gets all of it. A runner that takes no streams gets the request
//! when the whole body is there.

use std::fmt::Display;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use protocol::id::RequestId;
use protocol::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES};
use protocol::message::{RequestStart, ToRunner};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::gateway::forward::{body_refused, body_too_long};
use crate::memory::buffers::Held;
use crate::requests::{Dispatched, Place};
use crate::window::{Cancelled, Credit};

pub struct Sending<B> {
    pub engine: Arc<Engine>,
    pub request: RequestId,
    pub body: B,
    pub dispatched: watch::Receiver<Option<Dispatched>>,
    pub credit: Arc<Credit>,
}

/// What was sent to the runner that has the request now.
#[derive(Default)]
struct Sent {
    /// None before the first dispatch.
    place: Option<Place>,
    /// Whether it takes the body in chunks; if not, it has heard nothing before the body is whole.
    streams: bool,
    bytes: u64,
    /// All of it, until the runner has begun with it.
    kept: Vec<Bytes>,
    finished: bool,
    /// For a body that is put together.
    rooms: Vec<Held>,
}

impl<B: Body<Data = Bytes, Error: Display> + Unpin> Sending<B> {
    /// Until the body is sent and begun to be consumed, or nobody wants it any more.
    pub async fn run(mut self) {
        let mut sent = Sent::default();
        if self.redispatched(&mut sent).await.is_none() {
            return;
        }
        // What is kept, and the chunk that waits for credit.
        let _room = self.engine.requests.body_room_in_time(BODY_WINDOW_BYTES as usize).await;
        match self.send_all(&mut sent).await {
            Ok(()) => {}
            Err(Failed::Over) => return self.cancel(&sent),
            Err(Failed::Unwanted) => return,
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
            let bytes_max = self.engine.edge.limits.body_bytes_max;
            if sent.bytes + data.len() as u64 > bytes_max {
                return Err(Failed::Body(body_too_long(bytes_max)));
            }
            if !sent.streams {
                sent.rooms.push(self.engine.requests.body_room(data.len()).map_err(Failed::Body)?);
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

    async fn next_frame(&mut self, sent: &mut Sent) -> Result<Option<Frame<Bytes>>, Failed> {
        let credit = self.credit.clone();
        loop {
            tokio::select! {
                biased;
                changed = self.dispatched.changed() => {
                    changed.map_err(|_| Failed::Over)?;
                    self.begin(sent);
                }
                Cancelled = credit.cancelled() => return Err(Failed::Unwanted),
                frame = self.body.frame() => {
                    let frame = frame.transpose();
                    return frame.map_err(|error| Failed::Body(body_refused(&format!("it could not be read: {error}"))));
                }
            }
        }
    }

    async fn wait_for_credit(&mut self, sent: &mut Sent, bytes: u64) -> Result<(), Failed> {
        let credit = self.credit.clone();
        while sent.streams {
            tokio::select! {
                biased;
                changed = self.dispatched.changed() => {
                    changed.map_err(|_| Failed::Over)?;
                    self.begin(sent);
                }
                allowed = credit.allows(sent.bytes + bytes) => return allowed.map_err(|Cancelled| Failed::Unwanted),
            }
        }
        Ok(())
    }

    /// Waits until the request is dispatched (again). None when it is over.
    async fn redispatched(&mut self, sent: &mut Sent) -> Option<()> {
        self.dispatched.changed().await.ok()?;
        self.begin(sent);
        Some(())
    }

    /// The head, unless the runner has it, and what of the body was sent to the one before, which has not begun with it.
    fn begin(&mut self, sent: &mut Sent) {
        let told = self.dispatched.borrow_and_update();
        let Some(Dispatched { place, start, is_begun }) = told.as_ref() else { return };
        let (place, start, is_begun) = (place.clone(), RequestStart::clone(start), *is_begun);
        drop(told);
        sent.streams = is_begun || place.link.streams();
        if sent.streams {
            if !is_begun {
                place.link.send(ToRunner::Request(start));
            }
            for (at, chunk) in sent.kept.iter().enumerate() {
                let finish = sent.finished && at + 1 == sent.kept.len();
                place.link.send(ToRunner::RequestChunk { request: self.request, body: chunk.clone(), finish });
            }
        } else if sent.finished {
            place.link.send(ToRunner::Request(RequestStart { body: put_together(&mut sent.kept), stream: false, ..start }));
        }
        sent.place = Some(place);
    }

    fn send(&mut self, sent: &mut Sent, body: Bytes, finish: bool) {
        sent.bytes += body.len() as u64;
        if self.credit.has_begun() {
            sent.kept = Vec::new();
        } else {
            sent.kept.push(body.clone());
        }
        if !sent.streams {
            return if finish {
                self.begin(sent)
            };
        }
        if let Some(place) = &sent.place {
            place.link.send(ToRunner::RequestChunk { request: self.request, body, finish });
        }
    }

    /// The response was complete before the body: the rest of it is not coming.
    fn cancel(&self, sent: &Sent) {
        if let Some(place) = sent.place.as_ref().filter(|_| sent.streams && self.credit.is_answered()) {
            place.link.send(ToRunner::RequestBodyCancel { request: self.request });
        }
    }

    /// The client is told what is wrong with its body; the actor and the core that the request is over.
    fn refuse(&self, error: ApiError, sent: &Sent) {
        if !self.engine.requests.refuse(self.request, error) {
            return;
        }
        self.engine.inbox.push(engine_core::Input::RequestAborted { request: self.request });
        if let Some(place) = sent.place.as_ref().filter(|_| sent.streams) {
            place.link.send(ToRunner::RequestAbort { request: self.request });
        }
    }
}

enum Failed {
    /// The request is over.
    Over,
    /// The runner reads no more of it; the request goes on.
    Unwanted,
    Body(ApiError),
}

/// One piece, which is kept in their place.
fn put_together(chunks: &mut Vec<Bytes>) -> Bytes {
    let whole = match &chunks[..] {
        [whole] => whole.clone(),
        several => Bytes::from(several.concat()),
    };
    *chunks = vec![whole.clone()];
    whole
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use http::{HeaderMap, Method, StatusCode};
    use http_body_util::StreamBody;
    use protocol::id::{Id, RunnerId};
    use protocol::limits::REQUEST_BODY_BYTES_MAX;
    use tokio::sync::oneshot;

    use super::*;
    use crate::requests::{Head, Reply, ResponseStart, Upload};
    use crate::testing::{self, Heard, TestEngine};

    struct Case {
        engine: TestEngine,
        request: RequestId,
        reply: oneshot::Receiver<Reply>,
        link: Arc<Heard>,
    }

    /// A request whose body is so many chunks of this size.
    fn case(chunks: usize, chunk_bytes: usize) -> Case {
        case_with(chunks, chunk_bytes, Heard::default())
    }

    fn case_with(chunks: usize, chunk_bytes: usize, link: Heard) -> Case {
        let engine = testing::start();
        let (dispatched, is_dispatched) = watch::channel(None);
        let credit = Arc::new(Credit::default());
        let upload = Upload { dispatched, credit: credit.clone() };
        let head = Head { method: Method::POST, path: "/".to_string(), headers: HeaderMap::new(), body: Bytes::new(), room: None };
        let (request, reply) = engine.engine.requests.open(head, Some(upload)).expect("there is room");
        let frames = (0..chunks).map(move |at| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![at as u8; chunk_bytes]))));
        let body = StreamBody::new(stream::iter(frames));
        tokio::spawn(Sending { engine: engine.engine.clone(), request, body, dispatched: is_dispatched, credit }.run());
        Case { engine, request, reply, link: Arc::new(link) }
    }

    impl Case {
        fn dispatch(&self, generation: u32) {
            let place = Place { runner: RunnerId(7), link: self.link.clone(), actor: Id::new([1; 16], 1), generation };
            self.engine.engine.requests.dispatch(self.request, place);
        }

        /// What the runner has heard once nothing more comes, in one line.
        async fn heard(&self) -> String {
            let mut heard = Vec::new();
            loop {
                tokio::time::sleep(Duration::from_millis(30)).await;
                let more = self.link.take();
                if more.is_empty() {
                    return heard.join(" ");
                }
                heard.extend(more.iter().map(|message| match message {
                    ToRunner::Request(start) if start.stream => format!("start@{}", start.generation),
                    ToRunner::Request(start) => format!("whole@{} {}", start.generation, start.body.len()),
                    ToRunner::RequestBodyCancel { .. } => "cancel".to_string(),
                    ToRunner::RequestChunk { body, finish, .. } => format!("{}{}", body.len(), if *finish { "." } else { "" }),
                    ToRunner::RequestAbort { .. } => "abort".to_string(),
                    other => format!("{other:?}"),
                }));
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_body_is_sent_within_its_window() {
        let case = case(3, 100_000);
        assert_eq!(case.heard().await, "", "nothing before it is dispatched");
        case.dispatch(1);
        assert_eq!(case.heard().await, "start@1 65536 34464 65536 34464", "the window is 262144 bytes");
        case.engine.engine.requests.request_window(RunnerId(7), case.request, 100_000);
        assert_eq!(case.heard().await, "65536 34464 0.");
    }

    #[tokio::test]
    async fn a_runner_has_the_head_before_the_core_says_more() {
        let case = case(2, 1_000);
        // Nothing else runs meanwhile, so this is before the upload's own turn.
        case.dispatch(1);
        assert!(matches!(&case.link.take()[..], [ToRunner::Request(start)] if start.stream && start.generation == 1));
        assert_eq!(case.heard().await, "1000 1000 0.");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_returned_request_brings_all_of_its_body_again() {
        let case = case(2, 1_000);
        case.dispatch(1);
        assert_eq!(case.heard().await, "start@1 1000 1000 0.");
        case.dispatch(2);
        assert_eq!(case.heard().await, "start@2 1000 1000 0.");
        case.engine.engine.requests.request_window(RunnerId(7), case.request, 1_000);
        assert_eq!(case.heard().await, "");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_body_that_is_too_long_ends_the_request() {
        let mut case = case(21, 1024 * 1024);
        case.dispatch(1);
        case.engine.engine.requests.request_window(RunnerId(7), case.request, REQUEST_BODY_BYTES_MAX);
        let heard = case.heard().await;
        assert!(heard.starts_with("start@1 65536 ") && heard.ends_with(" 65536 abort"), "{heard}");
        assert!(matches!(case.reply.try_recv(), Ok(Reply::Refused(error)) if error.code == "invalid_request_body"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_runner_without_streams_gets_the_body_with_its_head() {
        let case = case_with(3, 100_000, Heard::without_streams());
        case.dispatch(1);
        assert_eq!(case.heard().await, "whole@1 300000");
        case.dispatch(2);
        assert_eq!(case.heard().await, "whole@2 300000");
        let is_held = || case.engine.engine.memory.buffers.used_bytes() >= 300_000;
        assert!(is_held(), "it is kept until the runner has begun");
        let response = ResponseStart { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), stream: true };
        case.engine.engine.requests.response_start(RunnerId(7), case.request, response);
        assert_eq!(case.heard().await, "");
        assert!(!is_held());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_runner_without_streams_does_not_hear_of_a_body_that_is_too_long() {
        let mut case = case_with(21, 1024 * 1024, Heard::without_streams());
        case.dispatch(1);
        let reply = tokio::time::timeout(Duration::from_secs(10), &mut case.reply).await.expect("in time");
        assert!(matches!(reply, Ok(Reply::Refused(error)) if error.code == "invalid_request_body"));
        assert_eq!(case.heard().await, "");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_rest_of_a_body_is_cancelled_by_a_whole_response() {
        let begun = || ResponseStart { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), stream: true };
        // Answered at once, answered after a while, and not answered at all.
        let case = case(9, 65_536);
        let requests = &case.engine.engine.requests;
        case.dispatch(1);
        assert_eq!(case.heard().await, "start@1 65536 65536 65536 65536");
        requests.response_start(RunnerId(7), case.request, ResponseStart { stream: false, ..begun() });
        assert_eq!(case.heard().await, "cancel");

        let case = self::case(9, 65_536);
        let requests = &case.engine.engine.requests;
        case.dispatch(1);
        case.heard().await;
        requests.response_start(RunnerId(7), case.request, begun());
        assert_eq!(case.heard().await, "");
        requests.response_chunk(RunnerId(7), case.request, Bytes::new(), true);
        assert_eq!(case.heard().await, "cancel");

        let case = self::case(9, 65_536);
        case.dispatch(1);
        case.heard().await;
        case.engine.engine.abandon(case.request);
        assert_eq!(case.heard().await, "abort");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_runner_that_reads_no_more_is_sent_no_more_and_may_answer() {
        let mut case = case(9, 65_536);
        case.dispatch(1);
        assert_eq!(case.heard().await, "start@1 65536 65536 65536 65536");
        let requests = &case.engine.engine.requests;
        requests.request_body_cancel(RunnerId(8), case.request);
        requests.request_body_cancel(RunnerId(7), case.request);
        assert_eq!(case.heard().await, "");
        let response = ResponseStart { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), stream: false };
        requests.response_start(RunnerId(7), case.request, response);
        assert!(matches!(case.reply.try_recv(), Ok(Reply::Whole(..))));
        assert_eq!(case.heard().await, "");
    }
}

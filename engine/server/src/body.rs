//! The bodies of answers: whole, as they stream from an actor, or from the API's router.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use protocol::id::RequestId;
use protocol::limits::BODY_CHUNK_BYTES_MAX;
use protocol::link::ToRunnerLink;
use protocol::message::ToRunner;

use crate::engine::Engine;
use crate::window::Drain;

pub enum Body {
    /// What has not been sent of it.
    Whole(Bytes),
    Streamed(Streamed),
    Api(axum::body::Body),
}

/// A response body that a runner is still sending.
pub struct Streamed {
    pub drain: Drain,
    pub client: Client,
}

/// A client that waits for its answer. When it goes before that is complete, the runner and the core are told.
pub struct Client {
    pub engine: Arc<Engine>,
    pub request: RequestId,
    /// Where to say how much of the response was consumed; known once it streams.
    pub link: Option<Arc<dyn ToRunnerLink>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        // Nothing happens if the request is over, as it usually is.
        self.engine.abandon(self.request);
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.split_to(bytes.len().min(BODY_CHUNK_BYTES_MAX)))))),
            Body::Streamed(streamed) => match ready!(streamed.drain.poll_chunk(context)) {
                Some(Ok(chunk)) => {
                    streamed.tell_consumed();
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
                Some(Err(cut)) => Poll::Ready(Some(Err(cut.into()))),
                None => Poll::Ready(None),
            },
            Body::Api(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::Streamed(streamed) => streamed.drain.is_over(),
            Body::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Streamed(_) => SizeHint::default(),
            Body::Api(body) => body.size_hint(),
        }
    }
}

impl Streamed {
    fn tell_consumed(&mut self) {
        if let (Some(consumed_bytes), Some(link)) = (self.drain.consumed_to_tell(), &self.client.link) {
            link.send(ToRunner::ResponseWindow { request: self.client.request, consumed_bytes });
        }
    }
}

//! The body of a request, read to its end even when nobody wants it any more.
//!
//! A client that is still sending when the answer comes, and the connection with it, may never see the answer: the unread rest
//! resets the connection under it. So an unread rest is read and thrown away, within bounds; beyond them the connection ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use protocol::limits::MIB;
use tokio::runtime::Handle;

/// How much of an unwanted body is read. More than the longest that is ever wanted, so that one that is a little too long is
/// answered with that.
const UNWANTED_BYTES_MAX: usize = 24 * MIB;
const UNWANTED_MS_MAX: u64 = 10_000;
const _: () = assert!(UNWANTED_BYTES_MAX as u64 > protocol::limits::REQUEST_BODY_BYTES_MAX);

pub struct RequestBody(Option<Incoming>);

impl RequestBody {
    pub fn new(body: Incoming) -> RequestBody {
        RequestBody(Some(body))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            return;
        }
        // Without a runtime the process is ending, and the connection with it.
        if let (Ok(runtime), Some(body)) = (Handle::try_current(), self.0.take()) {
            runtime.spawn(tokio::time::timeout(Duration::from_millis(UNWANTED_MS_MAX), throw_away(body)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > UNWANTED_BYTES_MAX {
            return;
        }
    }
}

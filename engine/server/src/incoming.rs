//! The body of a request, read to its end even when nobody wants it any more.
//!
//! A client that is still sending when the answer comes, and the connection with it, may never see the answer: the unread rest
//! resets the connection under it. So an unread rest is read and thrown away, within bounds; beyond them the connection ends.
//!
//! A client that stops in the middle of a body does not hold what waits for it for ever: only the time counts in which it is waited
//! for, not that in which nobody reads.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use protocol::limits::MIB;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

/// How much of an unwanted body is read. More than the longest that is ever wanted, so that one that is a little too long is
/// answered with that.
const UNWANTED_BYTES_MAX: usize = 24 * MIB;
const UNWANTED_MS_MAX: u64 = 10_000;
const _: () = assert!(UNWANTED_BYTES_MAX as u64 > protocol::limits::REQUEST_BODY_BYTES_MAX);

pub struct RequestBody {
    body: Option<Incoming>,
    idle_ms_max: u64,
    /// While the client is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// Why there is no more of it.
#[derive(Debug)]
pub enum Cut {
    Broken(hyper::Error),
    /// Nothing came for so long.
    Idle {
        waited_ms: u64,
    },
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Broken(error) => error.fmt(f),
            Cut::Idle { waited_ms } => {
                write!(f, "nothing of it came for {waited_ms} ms, which guard.request_body_idle_timeout_ms sets")
            }
        }
    }
}

impl std::error::Error for Cut {}

impl RequestBody {
    pub fn new(body: Incoming, idle_ms_max: u64) -> RequestBody {
        RequestBody { body: Some(body), idle_ms_max, waiting: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(polled) = Pin::new(body).poll_frame(context) else {
            let waited_ms = this.idle_ms_max;
            let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(waited_ms))));
            ready!(waiting.as_mut().poll(context));
            // What may still come is not worth waiting for: the connection ends with it.
            this.body = None;
            return Poll::Ready(Some(Err(Cut::Idle { waited_ms })));
        };
        this.waiting = None;
        if matches!(polled, None | Some(Err(_))) {
            this.body = None;
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Cut::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            return;
        }
        // Without a runtime the process is ending, and the connection with it.
        if let (Ok(runtime), Some(body)) = (Handle::try_current(), self.body.take()) {
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

//! The body of an answer, which keeps its request counted until all of it is sent, or the client is gone. One that streams is cut when
//! the token that it was asked for with counts no more.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::auth::lasting::Lasting;
use crate::auth::pass::Ending;
use crate::body::Body;
use crate::edge::Slot;

pub struct Counted {
    body: Lasting<Body>,
    _slot: Slot,
}

impl Counted {
    pub fn new(body: Body, slot: Slot) -> Counted {
        Counted::until(body, slot, None)
    }

    pub fn until(body: Body, slot: Slot, ending: Option<Ending>) -> Counted {
        Counted { body: Lasting::new(body, ending), _slot: slot }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

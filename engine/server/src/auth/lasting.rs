//! A body that is cut when the token that it belongs to counts no more.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::auth::pass::Ending;

pub struct Lasting<B> {
    /// None once it is cut: whoever sends the rest hears that nobody takes it.
    body: Option<B>,
    ending: Option<Ending>,
}

impl<B> Lasting<B> {
    pub fn new(body: B, ending: Option<Ending>) -> Lasting<B> {
        Lasting { body: Some(body), ending }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Lasting<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(Poll::Ready(over)) = self.ending.as_mut().map(|ending| ending.as_mut().poll(context)) {
            (self.body, self.ending) = (None, None);
            return Poll::Ready(Some(Err(over.to_string().into())));
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

//! The body of an answer, which keeps its request counted until all of it is sent, or the client is gone. A long one lets others go
//! first again and again, and one that streams is cut when the token that it was asked for with counts no more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use protocol::limits::KIB;

use crate::auth::lasting::Lasting;
use crate::auth::pass::Ending;
use crate::body::Body;
use crate::edge::Slot;

/// After so much of a body it is the turn of others: it would keep its thread as long as the client's side has room.
const TURN_BYTES_MAX: usize = 256 * KIB;

pub struct Counted {
    body: Lasting<Body>,
    turn_bytes: usize,
    _slot: Slot,
}

impl Counted {
    pub fn new(body: Body, slot: Slot) -> Counted {
        Counted::until(body, slot, None)
    }

    pub fn until(body: Body, slot: Slot, ending: Option<Ending>) -> Counted {
        Counted { body: Lasting::new(body, ending), turn_bytes: 0, _slot: slot }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.turn_bytes >= TURN_BYTES_MAX {
            self.turn_bytes = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.turn_bytes += frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use protocol::limits::{BODY_CHUNK_BYTES_MAX, MIB};

    use super::*;

    #[test]
    fn a_long_body_lets_others_go_first_and_comes_whole() {
        let sent = Bytes::from((0..MIB + 1).map(|at| at as u8).collect::<Vec<_>>());
        let mut body = Counted::new(Body::Whole(sent.clone()), Slot::free());
        let mut context = Context::from_waker(Waker::noop());
        let (mut read, mut turns) = (Vec::new(), vec![0]);
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((sent.len() - read.len()) as u64));
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(frame) => {
                    let data = frame.expect("it has not ended").expect("it is not cut").into_data().expect("there are no trailers");
                    assert!(data.len() <= BODY_CHUNK_BYTES_MAX);
                    read.extend_from_slice(&data);
                    *turns.last_mut().expect("there is one") += data.len();
                }
                Poll::Pending => turns.push(0),
            }
        }
        assert!(read == sent, "what came is what was sent");
        assert_eq!(turns, [TURN_BYTES_MAX, TURN_BYTES_MAX, TURN_BYTES_MAX, TURN_BYTES_MAX, 1]);
    }
}

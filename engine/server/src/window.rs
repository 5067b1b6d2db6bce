//! Byte credit: how much of a body may be on its way before the receiver says that it has consumed some.
//!
//! [`Credit`] is the sender's side: it waits when the window is used up. [`stream`] is the receiver's: it holds what has
//! arrived, at most one window of it, and says how much of it has been consumed. Neither knows what carries the bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use protocol::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES};
use tokio::sync::Notify;

use crate::lock::lock;
use crate::memory::buffers::Buffers;

/// Chunks that may wait one by one; when there are more, they are small and are put together.
const CHUNKS_WAITING_MAX: usize = 64;
/// Consumption is told in steps of this size, so that a body of small chunks is not answered by as many messages.
const CONSUMED_STEP_BYTES: u64 = BODY_WINDOW_BYTES / 4;
const _: () =
    assert!(CONSUMED_STEP_BYTES + BODY_CHUNK_BYTES_MAX as u64 <= BODY_WINDOW_BYTES, "the window must open before it is empty");

/// What a sender may still send.
#[derive(Default)]
pub struct Credit {
    consumed_bytes: AtomicU64,
    begun: AtomicBool,
    cancelled: AtomicBool,
    answered: AtomicBool,
    opened: Notify,
}

/// The receiver reads no more of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled;

impl Credit {
    /// The receiver has consumed so much since the body began.
    pub fn consumed(&self, consumed_bytes: u64) {
        self.consumed_bytes.fetch_max(consumed_bytes, Ordering::AcqRel);
        self.begin();
    }

    /// The receiver has begun with what the body belongs to: it will not be given back.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.opened.notify_one();
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until the receiver has begun. For one waiter at a time.
    pub async fn begun(&self) {
        while !self.has_begun() {
            self.opened.notified().await;
        }
    }

    /// The receiver reads no more. What the body belongs to goes on.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.begin();
    }

    /// What the body belongs to is complete, perhaps before the body is.
    pub fn answered(&self) {
        self.answered.store(true, Ordering::Release);
    }

    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Waits until the receiver reads no more. For one waiter at a time.
    pub async fn cancelled(&self) -> Cancelled {
        while !self.cancelled.load(Ordering::Acquire) {
            self.opened.notified().await;
        }
        Cancelled
    }

    /// Waits until `sent_bytes` in all stay within the window. For one waiter at a time.
    pub async fn allows(&self, sent_bytes: u64) -> Result<(), Cancelled> {
        loop {
            if self.cancelled.load(Ordering::Acquire) {
                return Err(Cancelled);
            }
            // What the receiver says is a number from outside: it may be anything.
            if sent_bytes <= self.consumed_bytes.load(Ordering::Acquire).saturating_add(BODY_WINDOW_BYTES) {
                return Ok(());
            }
            self.opened.notified().await;
        }
    }
}

/// A body on its way to its reader; of it at most so many bytes wait to be read.
pub fn stream(window_bytes: u64, buffers: &Arc<Buffers>) -> (Feed, Drain) {
    let state = State { chunks: VecDeque::new(), waiting_bytes: 0, buffers: buffers.clone(), end: None, reader: None };
    let state = Arc::new(Mutex::new(state));
    (Feed { state: state.clone(), window_bytes }, Drain { state, consumed_bytes: 0, told_bytes: 0 })
}

struct State {
    chunks: VecDeque<Bytes>,
    waiting_bytes: u64,
    /// What waits counts there: the window was promised.
    buffers: Arc<Buffers>,
    end: Option<Result<(), Cut>>,
    reader: Option<Waker>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.buffers.give_back(self.waiting_bytes as usize);
    }
}

/// The body ended before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut(pub String);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cut {}

/// More arrived than the window allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overrun;

/// Where chunks go in. Dropping it without a word cuts the body.
pub struct Feed {
    state: Arc<Mutex<State>>,
    window_bytes: u64,
}

impl Feed {
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Overrun> {
        if chunk.is_empty() {
            return Ok(());
        }
        let mut state = lock(&self.state);
        if state.waiting_bytes + chunk.len() as u64 > self.window_bytes {
            return Err(Overrun);
        }
        state.waiting_bytes += chunk.len() as u64;
        state.buffers.add(chunk.len());
        if state.chunks.len() >= CHUNKS_WAITING_MAX {
            let mut joined = BytesMut::with_capacity(state.waiting_bytes as usize);
            for waiting in state.chunks.drain(..) {
                joined.extend_from_slice(&waiting);
            }
            state.chunks.push_back(joined.freeze());
        }
        state.chunks.push_back(chunk);
        wake(state.reader.take());
        Ok(())
    }

    pub fn finish(self) {
        self.end(Ok(()));
    }

    pub fn cut(self, reason: String) {
        self.end(Err(Cut(reason)));
    }

    fn end(&self, end: Result<(), Cut>) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(end);
        wake(state.reader.take());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end(Err(Cut("the sender of the body is gone".to_string())));
    }
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Where chunks come out.
pub struct Drain {
    state: Arc<Mutex<State>>,
    consumed_bytes: u64,
    told_bytes: u64,
}

impl Drain {
    pub fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut state = lock(&self.state);
        if let Some(chunk) = state.chunks.pop_front() {
            state.waiting_bytes -= chunk.len() as u64;
            state.buffers.give_back(chunk.len());
            self.consumed_bytes += chunk.len() as u64;
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(cut)) => Poll::Ready(Some(Err(cut.clone()))),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// How much has been consumed in all, when it is time to say so.
    pub fn consumed_to_tell(&mut self) -> Option<u64> {
        if self.consumed_bytes - self.told_bytes < CONSUMED_STEP_BYTES {
            return None;
        }
        self.told_bytes = self.consumed_bytes;
        Some(self.consumed_bytes)
    }

    /// Nothing more will come, and nothing is left.
    pub fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.chunks.is_empty() && state.end == Some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn next(drain: &mut Drain) -> Poll<Option<Result<Bytes, Cut>>> {
        drain.poll_chunk(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn chunks_come_out_as_they_went_in_and_then_the_end() {
        let (mut feed, mut drain) = stream(BODY_WINDOW_BYTES, &Arc::default());
        assert_eq!(next(&mut drain), Poll::Pending);
        feed.push(Bytes::from_static(b"ab")).expect("there is room");
        feed.push(Bytes::new()).expect("nothing needs no room");
        feed.push(Bytes::from_static(b"c")).expect("there is room");
        assert_eq!(next(&mut drain), Poll::Ready(Some(Ok(Bytes::from_static(b"ab")))));
        feed.finish();
        assert!(!drain.is_over());
        assert_eq!(next(&mut drain), Poll::Ready(Some(Ok(Bytes::from_static(b"c")))));
        assert!(drain.is_over());
        assert_eq!(next(&mut drain), Poll::Ready(None));
    }

    #[test]
    fn a_body_is_cut_with_its_reason_or_by_silence() {
        let (mut feed, mut drain) = stream(BODY_WINDOW_BYTES, &Arc::default());
        feed.push(Bytes::from_static(b"a")).expect("there is room");
        feed.cut("why".to_string());
        assert_eq!(next(&mut drain), Poll::Ready(Some(Ok(Bytes::from_static(b"a")))));
        assert_eq!(next(&mut drain), Poll::Ready(Some(Err(Cut("why".to_string())))));

        let (feed, mut drain) = stream(BODY_WINDOW_BYTES, &Arc::default());
        drop(feed);
        assert!(matches!(next(&mut drain), Poll::Ready(Some(Err(_)))));
        assert!(!drain.is_over());
    }

    #[test]
    fn what_waits_counts_until_it_is_read_or_nobody_will() {
        let buffers = Arc::default();
        let (mut feed, mut drain) = stream(BODY_WINDOW_BYTES, &buffers);
        feed.push(Bytes::from_static(b"abc")).expect("there is room");
        feed.push(Bytes::from_static(b"de")).expect("there is room");
        assert_eq!(buffers.used_bytes(), 5);
        assert!(matches!(next(&mut drain), Poll::Ready(Some(Ok(_)))));
        assert_eq!(buffers.used_bytes(), 2);
        drop((feed, drain));
        assert_eq!(buffers.used_bytes(), 0);
    }

    #[test]
    fn no_more_than_a_window_waits() {
        let (mut feed, mut drain) = stream(BODY_WINDOW_BYTES, &Arc::default());
        let chunk = Bytes::from(vec![7; BODY_CHUNK_BYTES_MAX]);
        for _ in 0..BODY_WINDOW_BYTES / BODY_CHUNK_BYTES_MAX as u64 {
            feed.push(chunk.clone()).expect("there is room");
        }
        assert_eq!(feed.push(Bytes::from_static(b"x")), Err(Overrun));
        assert!(matches!(next(&mut drain), Poll::Ready(Some(Ok(_)))));
        assert_eq!(drain.consumed_to_tell(), Some(BODY_CHUNK_BYTES_MAX as u64));
        assert_eq!(drain.consumed_to_tell(), None);
        feed.push(Bytes::from_static(b"x")).expect("the window has opened");
    }

    #[test]
    fn many_small_chunks_are_put_together() {
        let (mut feed, mut drain) = stream(BODY_WINDOW_BYTES, &Arc::default());
        for byte in 0..100_000u32 {
            feed.push(Bytes::copy_from_slice(&[byte as u8])).expect("there is room");
            assert!(lock(&feed.state).chunks.len() <= CHUNKS_WAITING_MAX + 1);
        }
        feed.finish();
        let mut read = Vec::new();
        while let Poll::Ready(Some(Ok(chunk))) = next(&mut drain) {
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, (0..100_000u32).map(|byte| byte as u8).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_sender_waits_for_its_window() {
        let credit = Credit::default();
        let soon = Duration::from_millis(20);
        assert_eq!(credit.allows(BODY_WINDOW_BYTES).await, Ok(()));
        assert!(tokio::time::timeout(soon, credit.allows(BODY_WINDOW_BYTES + 1)).await.is_err());
        credit.consumed(1);
        assert_eq!(credit.allows(BODY_WINDOW_BYTES + 1).await, Ok(()));
        // An older number, arriving late, takes nothing back; an absurd one does no harm.
        credit.consumed(0);
        assert_eq!(credit.allows(BODY_WINDOW_BYTES + 1).await, Ok(()));
        credit.consumed(u64::MAX);
        assert_eq!(credit.allows(u64::MAX).await, Ok(()));
        assert!(tokio::time::timeout(soon, credit.cancelled()).await.is_err());
        credit.cancel();
        assert_eq!(credit.cancelled().await, Cancelled);
        assert_eq!(credit.allows(1).await, Err(Cancelled));
        assert!(credit.has_begun() && !credit.is_answered());
    }
}

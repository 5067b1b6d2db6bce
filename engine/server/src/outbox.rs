//! Frames that wait to be sent over one connection, bounded in bytes.
//!
//! Whoever pushes never waits. When too much lies here the other side does not read, or not fast enough, and the connection is to
//! end: both sides learn of that as the other's loss.

use std::collections::VecDeque;
use std::sync::Mutex;

use protocol::limits::MIB;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use crate::lock::lock;

/// What may wait; a single frame may always.
pub const OUTBOX_BYTES_MAX: usize = 256 * MIB;
/// What a frame weighs beside its bytes.
const FRAME_BYTES: usize = 128;

#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Message>,
    bytes: usize,
    closed: bool,
}

impl Outbox {
    /// False if too much is waiting; then it is not sent.
    pub fn push(&self, frame: Message) -> bool {
        let bytes = frame.len() + FRAME_BYTES;
        let mut queue = lock(&self.queue);
        if queue.closed {
            return false;
        }
        if queue.bytes + bytes > OUTBOX_BYTES_MAX && !queue.waiting.is_empty() {
            return false;
        }
        queue.bytes += bytes;
        queue.waiting.push_back(frame);
        drop(queue);
        self.filled.notify_one();
        true
    }

    pub fn pop(&self) -> Option<Message> {
        let mut queue = lock(&self.queue);
        let frame = queue.waiting.pop_front()?;
        queue.bytes -= frame.len() + FRAME_BYTES;
        Some(frame)
    }

    pub fn bytes(&self) -> usize {
        lock(&self.queue).bytes
    }

    /// Until something has been pushed, or [`Outbox::wake`]. For one waiter.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The connection is at its end: nothing is taken any more, and what waits is dropped.
    pub fn close(&self) {
        *lock(&self.queue) = Queue { closed: true, ..Queue::default() };
    }

    /// There is something else to send.
    pub fn wake(&self) {
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_wait_is_bounded() {
        let outbox = Outbox::default();
        let frame = |bytes| Message::binary(vec![0; bytes]);
        assert!(outbox.push(frame(OUTBOX_BYTES_MAX)), "a single one may always");
        assert!(!outbox.push(frame(0)));
        assert_eq!(outbox.pop().map(|frame| frame.len()), Some(OUTBOX_BYTES_MAX));
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.push(frame(0)) && outbox.push(frame(1)));
        assert_eq!(outbox.bytes(), 1 + 2 * FRAME_BYTES);
        outbox.close();
        assert!(!outbox.push(frame(0)));
        assert_eq!((outbox.pop(), outbox.bytes()), (None, 0));
    }
}

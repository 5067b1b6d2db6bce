//! Messages of a client that its actor may not have yet, in their order, each with the index by which the actor tells them apart.
//!
//! Those at the front have been sent and wait for an ack, the rest waits to be sent. When the actor's generation ends, all that is
//! left is sent again to the next one, under the same indices. Knows no time limit and no state: see [`super::state`].

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::limits::{SOCKET_UNACKED_BYTES_MAX, SOCKET_UNACKED_MESSAGES_MAX};

/// What a message costs beside its own bytes.
const OVERHEAD_BYTES: usize = 64;
const _: () = assert!(SOCKET_UNACKED_MESSAGES_MAX <= u16::MAX as usize, "an index must name one message only");

pub struct Kept {
    queue: VecDeque<Message>,
    /// The index of the message at the front, or of the next one if there is none.
    first: u16,
    /// So many at the front have been sent.
    sent: usize,
    bytes: usize,
}

struct Message {
    data: Bytes,
    binary: bool,
    sent_ms: u64,
}

/// No more messages fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// One message as it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Indexed {
    pub index: u16,
    pub data: Bytes,
    pub binary: bool,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { queue: VecDeque::new(), first: 1, sent: 0, bytes: 0 }
    }
}

impl Kept {
    pub fn push(&mut self, data: Bytes, binary: bool) -> Result<(), Full> {
        if self.queue.len() >= SOCKET_UNACKED_MESSAGES_MAX || self.bytes + data.len() > SOCKET_UNACKED_BYTES_MAX {
            return Err(Full);
        }
        self.bytes += data.len();
        self.queue.push_back(Message { data, binary, sent_ms: 0 });
        Ok(())
    }

    /// The next message to send; from now on it waits for its ack.
    pub fn send_next(&mut self, now_ms: u64) -> Option<Indexed> {
        let index = self.next_index();
        let message = self.queue.get_mut(self.sent)?;
        message.sent_ms = now_ms;
        self.sent += 1;
        Some(Indexed { index, data: message.data.clone(), binary: message.binary })
    }

    /// The index of whatever is sent next.
    pub fn next_index(&self) -> u16 {
        // At most as many messages as indices: the sum wraps, and that is meant.
        self.first.wrapping_add(self.sent as u16)
    }

    /// The actor has this message and all before it. An index that was not sent, or was acked before, changes nothing.
    pub fn ack(&mut self, index: u16) {
        let acked = usize::from(index.wrapping_sub(self.first)) + 1;
        if acked <= self.sent {
            self.forget(acked);
        }
    }

    /// Nobody will ask for those that were sent.
    pub fn forget_sent(&mut self) {
        self.forget(self.sent);
    }

    /// Whoever had them is gone: all of them are to be sent again.
    pub fn send_again(&mut self) {
        self.sent = 0;
    }

    /// Since when the oldest of those that were sent waits for its ack.
    pub fn unacked_since_ms(&self) -> Option<u64> {
        self.queue.front().filter(|_| self.sent > 0).map(|message| message.sent_ms)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What it holds in memory.
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.queue.len() * OVERHEAD_BYTES
    }

    fn forget(&mut self, messages: usize) {
        self.bytes -= self.queue.drain(..messages).map(|message| message.data.len()).sum::<usize>();
        self.sent -= messages;
        self.first = self.first.wrapping_add(messages as u16);
        if self.queue.is_empty() {
            // A socket that was busy once must not keep that room while it sleeps.
            self.queue.shrink_to(OVERHEAD_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(messages: usize) -> Kept {
        let mut kept = Kept::default();
        for _ in 0..messages {
            kept.push(Bytes::from_static(b"x"), false).expect("there is room");
        }
        kept
    }

    fn send_all(kept: &mut Kept) -> Vec<u16> {
        std::iter::from_fn(|| kept.send_next(0)).map(|sent| sent.index).collect()
    }

    #[test]
    fn indices_begin_with_one_and_stay_with_their_message() {
        let mut kept = filled(4);
        assert_eq!(send_all(&mut kept), [1, 2, 3, 4]);
        kept.ack(2);
        kept.send_again();
        assert_eq!(send_all(&mut kept), [3, 4]);
        kept.push(Bytes::new(), true).expect("there is room");
        assert_eq!(send_all(&mut kept), [5]);
        kept.ack(5);
        assert!(kept.is_empty());
        assert_eq!(kept.held_bytes(), 0);
    }

    #[test]
    fn an_ack_counts_for_what_was_sent_and_not_acked_before() {
        // Messages, sent, acks, left.
        let rows: [(usize, usize, &[u16], usize); 8] = [
            (5, 5, &[3], 2),
            (5, 5, &[3, 3, 2, 1, 0], 2),
            (5, 5, &[5], 0),
            (5, 5, &[6], 5),
            (5, 5, &[40_000], 5),
            (5, 2, &[3], 5),
            (5, 2, &[2], 3),
            (0, 0, &[0, 1, 65_535], 0),
        ];
        for (messages, sent, acks, left) in rows {
            let mut kept = filled(messages);
            for _ in 0..sent {
                kept.send_next(0);
            }
            for ack in acks {
                kept.ack(*ack);
            }
            assert_eq!(kept.queue.len(), left, "{messages} messages, {sent} sent, acks {acks:?}");
        }
    }

    #[test]
    fn indices_wrap_and_still_name_one_message() {
        let mut kept = filled(SOCKET_UNACKED_MESSAGES_MAX);
        assert_eq!(kept.push(Bytes::new(), false), Err(Full));
        let indices = send_all(&mut kept);
        assert_eq!((indices[0], indices.last()), (1, Some(&65_535)));
        kept.ack(65_534);
        for _ in 0..3 {
            kept.push(Bytes::new(), false).expect("there is room again");
        }
        assert_eq!(send_all(&mut kept), [0, 1, 2]);
        kept.send_again();
        assert_eq!(send_all(&mut kept), [65_535, 0, 1, 2]);
        kept.ack(0);
        kept.send_again();
        assert_eq!(send_all(&mut kept), [1, 2]);
    }

    #[test]
    fn bytes_have_a_limit() {
        let mut kept = Kept::default();
        kept.push(Bytes::from(vec![0; SOCKET_UNACKED_BYTES_MAX]), true).expect("it just fits");
        assert_eq!(kept.push(Bytes::from_static(b"x"), true), Err(Full));
        kept.send_next(0);
        kept.forget_sent();
        kept.push(Bytes::from_static(b"x"), true).expect("there is room again");
    }

    #[test]
    fn the_oldest_one_says_since_when() {
        let mut kept = filled(3);
        assert_eq!(kept.unacked_since_ms(), None);
        kept.send_next(10);
        kept.send_next(20);
        assert_eq!(kept.unacked_since_ms(), Some(10));
        kept.ack(1);
        assert_eq!(kept.unacked_since_ms(), Some(20));
        kept.send_again();
        assert_eq!(kept.unacked_since_ms(), None);
    }
}

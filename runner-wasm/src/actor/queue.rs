//! The actor's durable queue: messages in the runner's own key space, numbered in their order.
//!
//! A message is removed in the transaction of the handler that took it. One that fails stays at the front; the agenda says when it is
//! tried again, and sees to it that an actor with something in its queue wakes. Who put a message there may wait for what becomes of
//! it, as long as the actor is in memory.

use bytes::Bytes;
use protocol::message::KvSpace;
use tokio::sync::oneshot;

use super::{Actor, lock};
use crate::agenda::records::{self, QueueEnds, QueueMessage};
use crate::config::{QUEUE_BYTES_MAX, QUEUE_MESSAGE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::host::json;
use crate::state::Refusal;

/// What the handler answered for a message, said once that is durable. Closed without a word if the actor leaves memory before.
pub type Completion = oneshot::Receiver<Option<String>>;

impl Actor {
    /// Puts a message behind all others, as part of the running message. Its number.
    pub async fn push(&self, name: String, body: String) -> Result<u64, Refusal> {
        json::check_name("a queue", &name)?;
        json::check("a message of a queue", &body, QUEUE_MESSAGE_BYTES_MAX.min(self.limits.message_bytes))?;
        let mut ends = self.queue_ends().await?;
        if ends.next - ends.first >= QUEUE_MESSAGES_MAX {
            return Err(Refusal::QuotaExceeded(format!("{QUEUE_MESSAGES_MAX} messages wait in the queue, as many as may")));
        }
        let message = QueueMessage { name, body, queued_ms: self.shared.clock.now_ms() };
        let number = ends.next;
        ends.next += 1;
        ends.bytes += message.bytes();
        if ends.bytes > QUEUE_BYTES_MAX {
            let bytes = ends.bytes;
            return Err(Refusal::QuotaExceeded(format!(
                "the messages of a queue have at most {QUEUE_BYTES_MAX} bytes together, with this one they would have {bytes}"
            )));
        }
        let mut books = self.books();
        // In this order: one that is refused leaves at most a message that is not between the ends.
        books.state.write_own(records::queue_message(number), Some(records::encode(&message)))?;
        books.state.write_own(records::QUEUE_ENDS.to_vec(), Some(records::encode(&ends)))?;
        books.state.agenda_mut().set_queue(false, message.queued_ms);
        drop(books);
        self.has_queued(number);
        Ok(number)
    }

    /// The same from outside, between two messages, as a message of its own. It is durable once the gate lets through what is said
    /// next.
    pub async fn enqueue(&self, name: String, body: String) -> Result<u64, Refusal> {
        self.books().state.begin();
        let pushed = self.push(name, body).await;
        if pushed.is_err() {
            self.drop_writes();
        }
        self.commit().await.map_err(|failure| Refusal::Other(failure.message))?;
        pushed
    }

    /// What becomes of a message that has just been put there.
    pub fn completion(&self, number: u64) -> Completion {
        let (tell, completion) = oneshot::channel();
        let mut waiting = lock(&self.completions);
        // As many as there are requests that wait.
        waiting.retain(|_, tell| !tell.is_closed());
        waiting.insert(number, tell);
        completion
    }

    pub async fn queue_size(&self) -> Result<u64, Refusal> {
        self.queue_ends().await.map(|ends| ends.next - ends.first)
    }

    pub(super) async fn first_queued(&self) -> Result<Option<(u64, QueueMessage)>, Refusal> {
        let ends = self.queue_ends().await?;
        if ends.first == ends.next {
            return Ok(None);
        }
        let stored = self.read(KvSpace::Runner, records::queue_message(ends.first).into()).await?;
        let message = stored.and_then(|stored| records::decode(&stored)).ok_or_else(unreadable)?;
        Ok(Some((ends.first, message)))
    }

    /// Removes the first message, as part of the running message, which was it. `with_alarm`: its alarm is not to be kept.
    pub(super) async fn dequeue(&self, message_bytes: u64, with_alarm: bool) -> Result<(), Refusal> {
        let mut ends = self.queue_ends().await?;
        let number = ends.first;
        ends.first += 1;
        ends.bytes = ends.bytes.saturating_sub(message_bytes);
        let mut books = self.books();
        books.state.write_own(records::queue_message(number), None)?;
        books.state.write_own(records::QUEUE_ENDS.to_vec(), Some(records::encode(&ends)))?;
        books.state.agenda_mut().dequeued(ends.first == ends.next, with_alarm, self.shared.clock.now_ms());
        Ok(())
    }

    async fn queue_ends(&self) -> Result<QueueEnds, Refusal> {
        match self.read(KvSpace::Runner, Bytes::from_static(records::QUEUE_ENDS)).await? {
            Some(stored) => records::decode(&stored).ok_or_else(unreadable),
            None => Ok(QueueEnds { first: 1, next: 1, bytes: 0 }),
        }
    }
}

fn unreadable() -> Refusal {
    Refusal::Other("the actor's queue cannot be read: it was written by another version of the engine, or is damaged".to_string())
}

//! The two doors between the engine and a runner.
//!
//! Both directions are one call that neither waits nor fails. In-process that call hands the value on at once; over a wire it
//! queues, and a link whose queue is full closes itself, which both sides learn as the other's loss. How much can be on its
//! way is bounded before this point: requests and commits per actor, bytes per body (see [`crate::limits`]).

use crate::limits::{BODY_CHUNK_BYTES_MAX, BODY_WINDOW_BYTES};
use crate::message::{FromRunner, ToRunner};

/// What the engine holds of a runner.
pub trait ToRunnerLink: Send + Sync {
    fn send(&self, message: ToRunner);

    /// Whether bodies may go to it, and come from it, in chunks and with credit. One that says no gets each request whole, and
    /// what it sends is not held back.
    fn streams(&self) -> bool {
        true
    }

    /// Whether it goes on with the trace that the gateway is in, which the header of a request then names. One that does not gets that
    /// header as the client has sent it.
    fn goes_on_with_traces(&self) -> bool {
        true
    }

    /// Bytes that wait to be sent to it. Clients that could add to them are not read while there are many.
    fn backlog_bytes(&self) -> usize {
        0
    }

    /// How much of a response's body may come from it before it is told that some was consumed.
    fn response_window_bytes(&self) -> u64 {
        BODY_WINDOW_BYTES
    }
}

/// What a runner holds of the engine.
pub trait FromRunnerLink: Send + Sync {
    fn send(&self, message: FromRunner);

    /// The longest body that may come with the head of its response. A longer one comes in chunks, and with credit.
    fn whole_body_bytes_max(&self) -> usize {
        BODY_CHUNK_BYTES_MAX
    }
}

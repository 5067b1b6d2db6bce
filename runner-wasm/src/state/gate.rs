//! Holds back an actor's output until the commits that it may depend on are durable.
//!
//! Without this a client could see a value, the machine could crash, and the value be gone. Counts commits and knows nothing
//! else: what an output is, and who sends it, is the caller's. One gate per actor; never shared.

use std::collections::VecDeque;

pub struct Gate<O> {
    /// Commits sent to the engine, and how many of them it has confirmed.
    sent: u64,
    durable: u64,
    /// Commits whose outputs have been handed on.
    released: u64,
    /// Outputs with the commit they wait for, in order.
    held: VecDeque<(u64, O)>,
}

impl<O> Default for Gate<O> {
    fn default() -> Gate<O> {
        Gate { sent: 0, durable: 0, released: 0, held: VecDeque::new() }
    }
}

impl<O> Gate<O> {
    pub fn sent(&mut self, commit: u64) {
        debug_assert_eq!(commit, self.sent + 1, "commits are numbered without gaps");
        self.sent = commit;
    }

    pub fn in_flight(&self) -> u64 {
        self.sent - self.durable
    }

    /// Gives the output back if it may leave at once; keeps it until everything sent so far is durable otherwise.
    pub fn pass(&mut self, output: O) -> Option<O> {
        if self.durable == self.sent {
            return Some(output);
        }
        self.held.push_back((self.sent, output));
        None
    }

    /// The commits up to this one are durable: these outputs may leave. Ends with [`Gate::released`] once they have.
    pub fn open(&mut self, commit: u64) -> Vec<O> {
        // A number that was never sent would open the gate for commits still to come.
        self.durable = self.durable.max(commit.min(self.sent));
        let open = self.held.partition_point(|(waits_for, _)| *waits_for <= self.durable);
        self.held.drain(..open).map(|(_, output)| output).collect()
    }

    /// What `open` gave for this commit has left.
    pub fn released(&mut self, commit: u64) {
        self.released = self.released.max(commit.min(self.durable));
    }

    /// Whether everything sent is durable and everything held has left.
    pub fn is_settled(&self) -> bool {
        self.released == self.sent && self.held.is_empty()
    }

    pub fn take_held(&mut self) -> Vec<O> {
        self.held.drain(..).map(|(_, output)| output).collect()
    }
}

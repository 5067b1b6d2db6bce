//! The requests and sockets that one runner was given, and how many messages went each way about each.
//!
//! They stay the same over reconnects of the runner: both sides go on counting. Knows no messages.

use std::collections::{BTreeMap, VecDeque};

use protocol::id::{ActorId, Generation, RequestId};

/// Streams that are over and whose last messages may still be on their way to the runner.
const OVER_MAX: usize = 1_024;
/// Far above what can be in flight: reached only by those whose end is not seen here, and then the oldest go.
const STREAMS_MAX: usize = 65_536;

#[derive(Default)]
pub struct Streams {
    of: BTreeMap<RequestId, Stream>,
    over: VecDeque<RequestId>,
}

struct Stream {
    actor: ActorId,
    generation: Generation,
    /// The index of the next message to the runner, and from it.
    next_to: u16,
    next_from: u16,
}

/// What goes onto the wire with a message about a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub index: u16,
    pub actor: ActorId,
    pub generation: Generation,
}

/// A message of the runner's about a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Next,
    /// Another one should have come first.
    Gap,
    /// It was not given this stream.
    Unknown,
}

impl Streams {
    /// It is given to the runner, perhaps again: counting begins.
    pub fn begin(&mut self, request: RequestId, actor: ActorId, generation: Generation) -> Stamp {
        self.of.insert(request, Stream { actor, generation, next_to: 1, next_from: 0 });
        if self.of.len() > STREAMS_MAX {
            self.of.pop_first();
        }
        Stamp { index: 0, actor, generation }
    }

    /// The next message to the runner.
    pub fn next_to(&mut self, request: RequestId) -> Option<Stamp> {
        let stream = self.of.get_mut(&request)?;
        let index = stream.next_to;
        stream.next_to = index.wrapping_add(1);
        Some(Stamp { index, actor: stream.actor, generation: stream.generation })
    }

    /// A message to the runner that brings its own index, of a socket that may have begun with another runner.
    pub fn at(&mut self, request: RequestId, index: u16) {
        if let Some(stream) = self.of.get_mut(&request) {
            stream.next_to = index.wrapping_add(1);
        }
    }

    /// A message from the runner, which counts without gaps.
    pub fn next_from(&mut self, request: RequestId, index: u16) -> Turn {
        match self.of.get_mut(&request) {
            None => Turn::Unknown,
            Some(stream) if stream.next_from != index => Turn::Gap,
            Some(stream) => {
                stream.next_from = index.wrapping_add(1);
                Turn::Next
            }
        }
    }

    pub fn end(&mut self, request: RequestId) {
        if !self.of.contains_key(&request) {
            return;
        }
        self.over.push_back(request);
        if self.over.len() > OVER_MAX
            && let Some(oldest) = self.over.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    #[test]
    fn both_sides_count_for_themselves() {
        let mut streams = Streams::default();
        let (request, actor) = (RequestId(5), Id::new([1; 16], 1));
        let index = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.index);
        assert_eq!(streams.next_to(request), None);
        assert_eq!(streams.next_from(request, 0), Turn::Unknown);
        assert_eq!(streams.begin(request, actor, 1).index, 0);
        assert_eq!(index(streams.next_to(request)), Some(1));
        assert_eq!(index(streams.next_to(request)), Some(2));
        assert_eq!([0, 0, 2, 1].map(|index| streams.next_from(request, index)), [Turn::Next, Turn::Gap, Turn::Gap, Turn::Next]);
        streams.at(request, u16::MAX);
        assert_eq!(index(streams.next_to(request)), Some(0));
        streams.begin(request, actor, 2);
        assert_eq!(streams.next_from(request, 0), Turn::Next);
    }

    #[test]
    fn what_is_over_is_forgotten_after_a_while() {
        let mut streams = Streams::default();
        let actor = Id::new([1; 16], 1);
        for number in 0..=OVER_MAX as u64 {
            streams.begin(RequestId(number), actor, 1);
            streams.end(RequestId(number));
        }
        assert_eq!(streams.next_to(RequestId(0)), None);
        assert!(streams.next_to(RequestId(1)).is_some());
    }
}

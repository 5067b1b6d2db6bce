//! The number under which the core answers what a connected runner asked for.
//!
//! A runner counts its questions from the beginning on each connection. An answer that outlives its connection must not be
//! taken for that to another question of the next one, so the number tells the connection apart, and what was asked too: the
//! shape of an answer on the wire depends on it.

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    KvGet,
    KvList,
    KvPut,
    KvDelete,
    KvDrop,
    GetPages,
    Commit,
    StageBegin,
    StageSegment,
    StageFinalize,
    Exec,
    Execute,
    ExecuteBatch,
}

impl Asked {
    const ALL: [Asked; 13] = [
        Asked::KvGet,
        Asked::KvList,
        Asked::KvPut,
        Asked::KvDelete,
        Asked::KvDrop,
        Asked::GetPages,
        Asked::Commit,
        Asked::StageBegin,
        Asked::StageSegment,
        Asked::StageFinalize,
        Asked::Exec,
        Asked::Execute,
        Asked::ExecuteBatch,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Which of its runner's connections; its lower 24 bits count.
    pub connection: u32,
    pub asked: Asked,
    /// The runner's number for it.
    pub request_id: u32,
}

impl Call {
    pub fn number(self) -> u64 {
        u64::from(self.connection & CONNECTION_BITS) << 40 | (self.asked as u64) << 32 | u64::from(self.request_id)
    }

    /// None for a number that was not made here.
    pub fn of(number: u64) -> Option<Call> {
        let asked = *Asked::ALL.get((number >> 32) as usize & 0xff)?;
        Some(Call { connection: (number >> 40) as u32, asked, request_id: number as u32 })
    }

    pub fn is_of(self, connection: u32) -> bool {
        self.connection == connection & CONNECTION_BITS
    }
}

const CONNECTION_BITS: u32 = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_was_asked() {
        for (at, asked) in Asked::ALL.into_iter().enumerate() {
            assert_eq!(asked as usize, at);
            for (connection, request_id) in [(0, 0), (1, u32::MAX), (0xff_ffff, 7)] {
                let call = Call { connection, asked, request_id };
                assert_eq!(Call::of(call.number()), Some(call));
            }
        }
        assert_eq!(Call::of(0xff << 32), None);
        let late = Call::of(Call { connection: 0x0100_0002, asked: Asked::KvGet, request_id: 1 }.number());
        assert!(late.is_some_and(|late| late.is_of(0x0100_0002) && !late.is_of(0x0100_0003)));
    }
}

//! The bytes of a component on their way: in pieces, one component after the other.
//!
//! The engine sends what was asked for, in that order; whoever gets the pieces holds at most one component that is not whole.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::schema::wire_struct;
use crate::component::ComponentHash;
use crate::limits::COMPONENT_BYTES_MAX;
use crate::message::ToRunner;

/// Some of a component, or why there is no more of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    pub component: ComponentHash,
    pub part: Result<Part, String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where in the component these bytes begin.
    pub at: u64,
    /// How long the whole of it is.
    pub total: u64,
    pub bytes: Bytes,
}

wire_struct! { Piece { component, part } }
wire_struct! { Part { at, total, bytes } }

/// A piece that does not belong where it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PieceError {
    TooLong { total: u64 },
    OutOfTurn { component: ComponentHash, at: u64 },
}

impl fmt::Display for PieceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PieceError::TooLong { total } => {
                write!(f, "a component of {total} bytes was announced, {COMPONENT_BYTES_MAX} is the most")
            }
            PieceError::OutOfTurn { component, at } => write!(f, "byte {at} of component {component} came out of turn"),
        }
    }
}

impl std::error::Error for PieceError {}

/// Puts pieces together.
#[derive(Default)]
pub struct Assembly {
    begun: Option<(ComponentHash, u64, BytesMut)>,
}

impl Assembly {
    /// The message that all pieces together are, once this was the last one.
    pub fn add(&mut self, piece: Piece) -> Result<Option<ToRunner>, PieceError> {
        let Piece { component, part } = piece;
        let Part { at, total, bytes } = match part {
            Ok(part) => part,
            Err(cause) => {
                self.begun = None;
                return Ok(Some(ToRunner::Component { component, bytes: Err(cause) }));
            }
        };
        if total > COMPONENT_BYTES_MAX {
            return Err(PieceError::TooLong { total });
        }
        let out_of_turn = PieceError::OutOfTurn { component, at };
        // Not as much as was announced: memory follows what has come.
        let (begun, its_total, mut so_far) = self.begun.take().unwrap_or((component, total, BytesMut::new()));
        let end = at.checked_add(bytes.len() as u64);
        if begun != component || its_total != total || at != so_far.len() as u64 || end.is_none_or(|end| end > total) {
            return Err(out_of_turn);
        }
        so_far.extend_from_slice(&bytes);
        if so_far.len() as u64 == total {
            return Ok(Some(ToRunner::Component { component, bytes: Ok(so_far.freeze()) }));
        }
        if bytes.is_empty() {
            return Err(out_of_turn);
        }
        self.begun = Some((component, total, so_far));
        Ok(None)
    }
}

//! Our own protocol, between the engine and a runner of components that is not inside it: [`crate::message`] itself, as bytes.
//!
//! Never spoken to a peer that did not ask for it: it has an address of its own, where the runner names the version. Unlike the
//! mirrors of Rivet's protocols this writes the messages as they are, in BARE, so there is nothing to translate. A message that no
//! runner of components sends or gets has no bytes here.
//!
//! The engine's first frame is [`Welcome`]. The bytes of a component are too long for one frame: they come in [`Piece`]s, between
//! which other messages pass, and [`Assembly`] puts them together again.
//!
//! In reading order:
//! - [`PATH`], [`ToComponents`]: where it is spoken, and what a frame may be.
//! - `messages`: the table of all messages. `schema`: how the table is read.
//! - `values`: what is more than a struct or an enum.
//! - `pieces`: components on their way.

mod messages;
mod pieces;
mod schema;
mod values;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::bare;
use super::version::ComponentsVersion;
use super::{CannotSay, DecodeError};
use crate::limits::{COMPONENT_BYTES_MAX, DATABASE_STAGED_BYTES_MAX, KV_LIST_BYTES_MAX, MIB, SOCKET_MESSAGE_BYTES_MAX};
use crate::message::{FromRunner, ToRunner};
pub use pieces::{Assembly, Part, Piece, PieceError};
use schema::{wire_enum, wire_struct};

/// Where the engine takes such runners. The query says `protocol_version`, `runner_key` and `version`.
pub const PATH: &str = "/runners/components/connect";

/// One frame. The longest message is the commit of all pages that one message of an actor may change, with what it wrote beside.
pub const FRAME_BYTES_MAX: usize = 96 * MIB;
/// What one [`Piece`] carries of a component: little enough that what waits behind it waits for a moment only.
pub const PIECE_BYTES: usize = 256 * crate::limits::KIB;
const _: () = assert!(DATABASE_STAGED_BYTES_MAX + SOCKET_MESSAGE_BYTES_MAX <= FRAME_BYTES_MAX, "room for numbers and lengths");
const _: () = assert!(KV_LIST_BYTES_MAX <= FRAME_BYTES_MAX / 2, "a list has keys and moments beside its values");
const _: () = assert!(PIECE_BYTES as u64 <= COMPONENT_BYTES_MAX);

/// A frame from the engine.
#[derive(Debug)]
pub enum ToComponents {
    Welcome(Welcome),
    Say(ToRunner),
    Piece(Piece),
}

/// The engine's first frame: the runner is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Of the engine.
    pub version: String,
    /// It pings so often.
    pub ping_interval_ms: u64,
    /// Without a sign of life for so long either side takes the connection for lost.
    pub lost_ms: u64,
}

wire_enum! { ToComponents { 0 Welcome(welcome), 1 Say(message), 2 Piece(piece) } }
wire_struct! { Welcome { version, ping_interval_ms, lost_ms } }

pub fn encode_to_components(version: ComponentsVersion, message: &ToComponents) -> Result<Bytes, CannotSay> {
    bare::encode(version, &[], message)
}

pub fn decode_to_components(version: ComponentsVersion, bytes: Bytes) -> Result<ToComponents, DecodeError> {
    bare::decode(version, bytes)
}

pub fn encode_from_components(version: ComponentsVersion, message: &FromRunner) -> Result<Bytes, CannotSay> {
    bare::encode(version, &[], message)
}

pub fn decode_from_components(version: ComponentsVersion, bytes: Bytes) -> Result<FromRunner, DecodeError> {
    bare::decode(version, bytes)
}

//! Every number that bounds something that comes from outside, with its unit, and how they must relate.
//!
//! Numbers that an operator may turn live in the server's configuration; these are the ones both sides of a link rely on.

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// Slices of the store; fixed when a data directory is made, and part of every actor id.
pub const PARTITIONS: u8 = 64;

pub const ACTOR_KEY_BYTES_MAX: usize = 1024;
pub const ACTOR_INPUT_BYTES_MAX: usize = MIB;
/// Ours: the original takes names of any length. It is a column of an index, so it is bounded.
pub const ACTOR_NAME_BYTES_MAX: usize = 256;

pub const KV_KEY_BYTES_MAX: usize = 2046;
pub const KV_VALUE_BYTES_MAX: usize = 128 * KIB;
/// Keys and values of one put, or of all that one message of an actor writes.
pub const KV_WRITE_BYTES_MAX: usize = 976 * KIB;
/// Changes of one message: bounds the bookkeeping of very small writes.
pub const KV_WRITE_CHANGES_MAX: usize = 16_384;
pub const KV_LIST_ENTRIES_MAX: usize = 16_384;
/// What one list may return; a longer one is refused, never cut silently.
pub const KV_LIST_BYTES_MAX: usize = 16 * MIB;

/// Pages of one commit of an actor's database that comes in one message.
pub const DATABASE_COMMIT_BYTES_MAX: usize = 320 * crate::database::PAGE_BYTES;
/// A segment of a larger one begins at a page whose number is a multiple of this, and has at most so many pages.
pub const DATABASE_SEGMENT_ALIGNMENT: u32 = 64;
pub const DATABASE_SEGMENT_PAGES_MAX: u32 = 320;
/// Bytes of one larger commit; they are in memory until its end.
pub const DATABASE_STAGED_BYTES_MAX: usize = 64 * MIB;
/// Segments of one larger commit, which may be empty.
pub const DATABASE_SEGMENTS_MAX: usize = DATABASE_STAGED_BYTES_MAX / crate::database::PAGE_BYTES;
/// Pages of one answer: 16 MiB.
pub const DATABASE_READ_PAGES_MAX: usize = 4096;
/// Changed pages of one message of an actor: as many as one answer has, since they travel to its runner and back.
pub const DATABASE_MESSAGE_PAGES_MAX: usize = DATABASE_READ_PAGES_MAX;
/// 10 GiB.
pub const DATABASE_PAGES_MAX: u32 = (10 * 1024 * MIB / crate::database::PAGE_BYTES) as u32;

/// One frame of a client's WebSocket.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 32 * MIB;
/// Messages to an actor that are kept until it has them; per socket.
pub const SOCKET_UNACKED_MESSAGES_MAX: usize = 65_535;
pub const SOCKET_UNACKED_BYTES_MAX: usize = 128 * MIB;

pub const REQUEST_BODY_BYTES_MAX: u64 = 20 * MIB as u64;
/// A request body up to this size travels with its head; a longer one, or one of unknown length, is streamed.
pub const REQUEST_BODY_INLINE_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a streamed body that may be on their way before the receiver says that it has consumed some.
pub const BODY_WINDOW_BYTES: u64 = 256 * KIB as u64;
pub const BODY_CHUNK_BYTES_MAX: usize = 64 * KIB;

/// Items of all lists that one message of the wire may have: of 32 MiB of one-byte items memory would need forty times as much.
pub const WIRE_ITEMS_MAX: usize = 1 << 20;

/// Requests of one actor that may be parked, queued or running at one time.
pub const REQUESTS_PER_ACTOR_MAX: usize = 1024;
/// Sockets of clients to one actor.
pub const SOCKETS_PER_ACTOR_MAX: usize = 16_384;
/// Messages of one actor whose commits may be on their way to the disk while the next one already runs.
pub const COMMITS_IN_FLIGHT_PER_ACTOR_MAX: usize = 64;

pub const COMPONENT_BYTES_MAX: u64 = 128 * MIB as u64;
/// Longest line an actor may log; the rest of it is dropped and said so.
pub const LOG_LINE_BYTES_MAX: usize = 8 * KIB;
/// Longest text of a failure that is kept in a record or shown to a caller.
pub const FAILURE_TEXT_BYTES_MAX: usize = 4 * KIB;

const _: () = assert!(256 % PARTITIONS as usize == 0, "one byte of an id must spread evenly over the partitions");
const _: () = assert!(KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX <= KV_WRITE_BYTES_MAX, "the largest entry must fit in a message");
const _: () = assert!(BODY_CHUNK_BYTES_MAX as u64 <= BODY_WINDOW_BYTES, "a chunk must fit in the window, or it never leaves");
const _: () = assert!(KV_LIST_ENTRIES_MAX * 3 <= WIRE_ITEMS_MAX, "a list answers with keys, values and metadata");
const _: () = assert!(REQUEST_BODY_INLINE_BYTES_MAX as u64 <= REQUEST_BODY_BYTES_MAX);

/// At most `max` bytes of `text`, cut at a character.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

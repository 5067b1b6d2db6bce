//! One request that is being recorded, from its dispatch to its end, and what it holds in memory until it is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine_store::recordings::{HEAD_BYTES_MAX, PATH_BYTES_SHOWN, RecordedBody, RecordedEnd, RecordedRequest};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use protocol::id::{ActorId, NamespaceId};
use protocol::limits::{KIB, MIB, cut};
use sha2::{Digest, Sha256};

use super::{Shared, secrets};
use crate::requests::Head;

/// Requests and answers that are held to be recorded.
pub const HELD_BYTES_MAX: usize = 16 * MIB;
/// An answer of more has no digest.
pub const ANSWER_BYTES_MAX: usize = MIB;
/// What a request takes beside its bytes.
const OVERHEAD_BYTES: usize = KIB;

/// Whose requests these are: one generation of an actor.
pub struct Of {
    pub actor: ActorId,
    /// Its namespace, and its name.
    pub name: (NamespaceId, String),
    pub version: u32,
    /// How many of the last are kept.
    pub keep: u32,
}

pub struct Underway {
    of: Arc<Of>,
    arrived_ms: u64,
    request: Option<Kept>,
    /// Once a response streams.
    status: Option<StatusCode>,
    answer: Answer,
    held: Held,
}

/// What was kept of a request when its actor began to answer.
struct Kept {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Result<Bytes, Option<u64>>,
}

enum Answer {
    Whole(Bytes),
    /// What has streamed by: copied, so that many small parts are not more than one large one.
    Parts(Vec<u8>),
    TooLong,
}

/// How it ended.
pub enum Ended {
    /// With the answer's body.
    Whole(StatusCode, Bytes),
    /// All of it has streamed by.
    Streamed,
    Failed(String),
    Left,
}

/// The same, with the answer put away.
pub(super) enum How {
    Answered,
    Failed(String),
    Left,
}

/// Its part of [`HELD_BYTES_MAX`].
struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Held {
    fn take(&mut self, bytes: usize) -> bool {
        let held = &self.shared.held_bytes;
        let took = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|held| *held <= HELD_BYTES_MAX)
        });
        if took.is_ok() {
            self.bytes += bytes;
        }
        took.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Underway {
    pub(super) fn new(shared: Arc<Shared>, of: Arc<Of>, arrived_ms: u64) -> Underway {
        let held = Held { shared, bytes: 0 };
        Underway { of, arrived_ms, request: None, status: None, answer: Answer::Parts(Vec::new()), held }
    }

    pub(super) fn of(&self) -> &Arc<Of> {
        &self.of
    }

    /// A response begins to stream. The head is of no more use to anybody else; `streamed`: its body came, or comes, in pieces.
    pub fn begins(&mut self, head: Option<Head>, streamed: bool, status: StatusCode) {
        self.keep(head, streamed);
        self.status = Some(status);
    }

    pub fn part(&mut self, part: &[u8]) {
        let Answer::Parts(parts) = &mut self.answer else { return };
        if parts.len() + part.len() <= ANSWER_BYTES_MAX && self.held.take(part.len()) {
            parts.extend_from_slice(part);
        } else {
            self.answer = Answer::TooLong;
        }
    }

    pub fn ends(mut self, head: Option<Head>, streamed: bool, ended: Ended) {
        self.keep(head, streamed);
        let shared = self.held.shared.clone();
        let how = match ended {
            Ended::Whole(status, body) => {
                self.status = Some(status);
                let fits = body.len() <= ANSWER_BYTES_MAX && self.held.take(body.len());
                self.answer = if fits { Answer::Whole(body) } else { Answer::TooLong };
                How::Answered
            }
            Ended::Streamed => How::Answered,
            Ended::Failed(code) => How::Failed(code),
            Ended::Left => How::Left,
        };
        if self.request.is_some() {
            shared.push(self, how);
        } else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Without room for it, it is lost.
    fn keep(&mut self, head: Option<Head>, streamed: bool) {
        let Some(Head { method, path, mut headers, body, .. }) = head.filter(|_| self.request.is_none()) else { return };
        let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_long = method.as_str().len() + path.len() + bytes > HEAD_BYTES_MAX;
        let (body, path) = match is_long {
            true => {
                headers = HeaderMap::new();
                (Err(announced), cut(path, PATH_BYTES_SHOWN))
            }
            false if streamed => (Err(announced), path),
            false => (Ok(body), path),
        };
        let bytes = OVERHEAD_BYTES + path.len() + if is_long { 0 } else { bytes } + body.as_ref().map_or(0, Bytes::len);
        if self.held.take(bytes) {
            self.request = Some(Kept { method, path, headers, body });
        }
    }

    /// As it is written: without secrets, and with a digest of the answer. None: nothing of it was kept.
    pub(super) fn record(&mut self, how: How) -> Option<RecordedRequest> {
        let Kept { method, path, headers, body } = self.request.take()?;
        let digest = match &self.answer {
            Answer::Whole(body) => Some(Sha256::digest(body).into()),
            Answer::Parts(parts) => Some(Sha256::digest(parts).into()),
            Answer::TooLong => None,
        };
        let ended = match (how, self.status) {
            (How::Answered, Some(status)) => RecordedEnd::Answered { status: status.as_u16(), digest },
            (How::Failed(code), _) => RecordedEnd::Failed { code },
            (How::Left, _) | (How::Answered, None) => RecordedEnd::Left,
        };
        Some(RecordedRequest {
            arrived_ms: self.arrived_ms,
            version: self.of.version,
            method: method.to_string(),
            path: secrets::path(&path),
            headers: secrets::headers(&headers),
            body: body.map_or_else(RecordedBody::TooLarge, |body| RecordedBody::Whole(body.to_vec())),
            ended,
        })
    }
}

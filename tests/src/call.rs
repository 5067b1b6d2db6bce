//! A request as a value, so that tests can be tables.

use serde_json::Value;

/// Pieces of a streamed body.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Whole(Vec<u8>),
    /// So many zeros, in pieces, their number not said beforehand.
    Chunked(usize),
    /// So many bytes are announced, and none is sent.
    Announced(u64),
}

impl Call {
    pub fn new(method: &'static str, target: impl Into<String>) -> Call {
        Call { method, target: target.into(), headers: Vec::new(), body: Body::Whole(Vec::new()) }
    }

    pub fn get(target: impl Into<String>) -> Call {
        Call::new("GET", target)
    }

    pub fn post(target: impl Into<String>) -> Call {
        Call::new("POST", target)
    }

    pub fn put(target: impl Into<String>) -> Call {
        Call::new("PUT", target)
    }

    pub fn delete(target: impl Into<String>) -> Call {
        Call::new("DELETE", target)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Call {
        self.body = Body::Whole(body.into());
        self
    }

    pub fn json(self, value: &Value) -> Call {
        self.header("content-type", "application/json").body(value.to_string())
    }

    pub fn chunked(mut self, bytes: usize) -> Call {
        self.body = Body::Chunked(bytes);
        self
    }

    pub fn announced(mut self, bytes: u64) -> Call {
        self.body = Body::Announced(bytes);
        self
    }
}

/// So many zeros in pieces.
pub fn zeros(bytes: usize) -> reqwest::Body {
    static PIECE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
    let pieces = (0..bytes.div_ceil(PIECE_BYTES))
        .map(move |at| Ok::<_, std::io::Error>(&PIECE[..PIECE_BYTES.min(bytes - at * PIECE_BYTES)]));
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}

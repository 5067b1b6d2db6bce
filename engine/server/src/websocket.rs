//! WebSockets, as far as those of clients and those of runners are alike: how one is accepted, and how it is closed.
//!
//! A request that asks for one is always answered with 101 and told what is wrong by the code and reason of a close: most
//! clients cannot see anything else of a handshake that fails.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use protocol::limits::{KIB, MIB, cut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::body::Body;
use crate::error::ApiError;

pub type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Closed in order.
pub const NORMAL: u16 = 1000;
/// Closed because of an error; the reason says which.
pub const ERROR: u16 = 1011;

/// The protocol that is answered with, if the client offers it; its other items carry parameters.
const PROTOCOL: &str = "rivet";
const VERSION: &[u8] = b"13";
/// A control frame has 125 bytes, two of them the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;
/// How long the other side may take to answer a close.
const CLOSE_MS_MAX: u64 = 2_000;
/// How much of what it sends meanwhile is read, so that the connection is not reset under the close.
const CLOSE_UNREAD_BYTES_MAX: usize = 64 * MIB;
/// There may be very many sockets, most of them idle: each keeps such a buffer.
const READ_BUFFER_BYTES: usize = 8 * KIB;
const WRITE_BUFFER_BYTES: usize = 16 * KIB;

pub fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What the client offers as protocols, item by item. Clients that cannot set headers say there what others say in them.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// The value of the first item that begins so, such as `rivet_token.`.
pub fn parameter<'a>(headers: &'a HeaderMap, prefix: &str) -> Option<&'a str> {
    protocols(headers).find_map(|item| item.strip_prefix(prefix))
}

/// With buffers as large as the library thinks fit.
pub fn wide(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(message_bytes_max)).max_frame_size(Some(message_bytes_max))
}

/// A WebSocket that opens as soon as its response has been sent.
pub struct Opening(OnUpgrade);

impl Opening {
    pub async fn open(self, message_bytes_max: usize) -> Result<WebSocket, hyper::Error> {
        let narrow = wide(message_bytes_max).read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(WRITE_BUFFER_BYTES);
        self.open_with(narrow).await
    }

    /// For one of few peers that say much.
    pub async fn open_wide(self, message_bytes_max: usize) -> Result<WebSocket, hyper::Error> {
        self.open_with(wide(message_bytes_max)).await
    }

    async fn open_with(self, config: WebSocketConfig) -> Result<WebSocket, hyper::Error> {
        let stream = TokioIo::new(self.0.await?);
        Ok(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await)
    }
}

/// The response to send, and what to wait for then. An error if it is no handshake that could be answered.
pub fn accept(parts: &mut Parts) -> Result<(Response<Body>, Opening), ApiError> {
    let headers = &parts.headers;
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(ApiError::bad_request("a WebSocket's handshake has the header sec-websocket-key"));
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(ApiError::bad_request("the header sec-websocket-version must be 13"));
    }
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
    let offers_ours = protocols(headers).any(|item| item == PROTOCOL);
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return Err(ApiError::bad_request("this connection cannot become a WebSocket; ask over HTTP/1.1"));
    };
    let mut response = Response::new(Body::Whole(Default::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    if offers_ours {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok((response, Opening(upgrade)))
}

/// How a socket is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    /// The reason is cut to what fits.
    pub fn new(code: u16, reason: impl Into<String>) -> Close {
        Close { code, reason: cut(reason.into(), CLOSE_REASON_BYTES_MAX) }
    }

    /// As clients take it apart again: the group up to the dot, the code, and the ray id after the hash.
    pub fn error(group: &str, code: &str, ray: &HeaderValue) -> Close {
        Close::new(ERROR, coded(group, code, ray))
    }

    pub fn message(self) -> Message {
        Message::Close(Some(CloseFrame { code: self.code.into(), reason: self.reason.into() }))
    }
}

/// `group.code#ray`.
pub fn coded(group: &str, code: &str, ray: &HeaderValue) -> String {
    format!("{group}.{code}#{}", ray.to_str().unwrap_or_default())
}

/// Says so to the other side and waits a little for its answer, so that it reads this and not a reset.
pub async fn close<T: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<T>, close: Close) {
    let closing = async {
        if socket.send(close.message()).await.is_err() {
            return;
        }
        read_out(&mut socket).await;
    };
    // Whoever does not answer is left.
    let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), closing).await;
}

/// The other side has closed it: what the library answered leaves, and the connection ends.
pub async fn finish<T: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<T>) {
    let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), read_out(&mut socket)).await;
}

async fn read_out<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<T>) {
    let mut left = CLOSE_UNREAD_BYTES_MAX;
    while let Some(Ok(message)) = socket.next().await {
        match left.checked_sub(message.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// As [`close`], when what the other side sends cannot be read any more, such as a message that is too long.
pub async fn close_unread<T: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<T>, close: Close) {
    let closing = async {
        if socket.send(close.message()).await.is_err() {
            return;
        }
        let mut rest = socket.into_inner().take(CLOSE_UNREAD_BYTES_MAX as u64);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_items_of_one_or_more_headers() {
        let mut headers = HeaderMap::new();
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("rivet, rivet_token.a.b,,"));
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("rivet_target.envoy"));
        assert_eq!(protocols(&headers).collect::<Vec<_>>(), ["rivet", "rivet_token.a.b", "rivet_target.envoy"]);
        assert_eq!(parameter(&headers, "rivet_token."), Some("a.b"));
        assert_eq!(parameter(&headers, "rivet_actor."), None);
    }

    #[test]
    fn a_reason_fits_in_a_control_frame() {
        let ray = HeaderValue::from_static("r");
        assert_eq!(Close::error("ws", "going_away", &ray), Close { code: 1011, reason: "ws.going_away#r".to_string() });
        let long = Close::new(1000, "ä".repeat(100));
        assert_eq!(long.reason.len(), 122);
    }
}

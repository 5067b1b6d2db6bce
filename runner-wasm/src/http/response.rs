//! What of a guest's response may leave. A response that cannot be sent is the handler's failure, and said so.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use protocol::message::{Failure, FailureKind};

use crate::actor::Sending;
use crate::bindings::exports::rivet::actor::http_handler;
use crate::config::{RESPONSE_BODY_BYTES_MAX, RESPONSE_HEADER_BYTES_MAX, RESPONSE_HEADERS_MAX};

/// A whole response.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For a long body: kept until the last of it has left.
    pub sending: Option<Sending>,
}

pub fn whole(method: &Method, response: http_handler::Response) -> Result<Response, Failure> {
    let status = status(response.status)?;
    if response.headers.len() > RESPONSE_HEADERS_MAX {
        let count = response.headers.len();
        return Err(invalid(format!("it has {count} headers, at most {RESPONSE_HEADERS_MAX} are sent")));
    }
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in response.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| invalid(format!("{:?} is not a header's name", shown(&header.name))))?;
        let value = HeaderValue::try_from(header.value)
            .map_err(|_| invalid(format!("the value of the header {name} has bytes that cannot be sent")))?;
        headers.try_append(name, value).map_err(|_| invalid("it has too many headers".to_string()))?;
    }
    if response.body.len() > RESPONSE_BODY_BYTES_MAX {
        let bytes = response.body.len();
        return Err(invalid(format!(
            "its body has {bytes} bytes, at most {RESPONSE_BODY_BYTES_MAX} are sent whole; export wasi:http/incoming-handler to stream"
        )));
    }
    // The length of the body is known here; of what a GET would answer, only the guest knows it.
    if method != Method::HEAD {
        headers.remove(CONTENT_LENGTH);
    }
    let headers = sendable(headers)?;
    Ok(Response { status, headers, body: response.body.into(), sending: None })
}

/// An interim status would have to be followed by another, and no guest can say two.
pub fn status(status: u16) -> Result<StatusCode, Failure> {
    let valid = StatusCode::from_u16(status).ok().filter(|status| (200..=599).contains(&status.as_u16()));
    valid.ok_or_else(|| invalid(format!("{status} is not the status of a response; use 200 to 599")))
}

/// Without the headers that belong to the connection, which is not the guest's.
pub fn sendable(mut headers: HeaderMap) -> Result<HeaderMap, Failure> {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > RESPONSE_HEADER_BYTES_MAX || headers.len() > RESPONSE_HEADERS_MAX {
        let count = headers.len();
        return Err(invalid(format!(
            "its {count} headers have {bytes} bytes; at most {RESPONSE_HEADERS_MAX} with {RESPONSE_HEADER_BYTES_MAX} are sent"
        )));
    }
    Ok(headers)
}

fn invalid(what: String) -> Failure {
    Failure { kind: FailureKind::HandlerError, message: format!("the actor's response cannot be sent: {what}") }
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

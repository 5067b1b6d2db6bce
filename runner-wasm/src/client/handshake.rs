//! What a client says about itself when it asks: in headers, or as items of the WebSocket's protocols.

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use percent_encoding::percent_decode_str;

use super::{Broken, Encoding, json};

pub const ENCODING: &str = "x-rivet-encoding";
const ENCODING_ITEM: &str = "rivet_encoding.";
const PARAMS_ITEM: &str = "rivet_conn_params.";

/// Of a plain request.
pub fn encoding(headers: &HeaderMap) -> Encoding {
    Encoding::named(headers.get(ENCODING).and_then(|value| value.to_str().ok()))
}

/// Of a WebSocket.
pub fn socket_encoding(headers: &HeaderMap) -> Encoding {
    Encoding::named(item(headers, ENCODING_ITEM))
}

/// What a client passes when it connects: JSON text.
pub fn params(headers: &HeaderMap) -> Result<Option<String>, Broken> {
    let Some(value) = item(headers, PARAMS_ITEM) else { return Ok(None) };
    let text = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| Broken::Malformed("the connection's parameters are not UTF-8".to_string()))?;
    json::check(&text)?;
    Ok(Some(text.into_owned()))
}

fn item<'a>(headers: &'a HeaderMap, prefix: &str) -> Option<&'a str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|item| item.trim().strip_prefix(prefix))
}

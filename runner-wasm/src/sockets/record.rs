//! Connections as they are stored: up to three entries each, so that what changes often is small.
//!
//! ```text
//! c/ request, 8 bytes  0   what it is: JSON behind a byte that says the version
//!                      1   the guest's state, if it is not empty
//!                      2   the last message of it that was handled, 2 bytes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::RequestId;
use serde::{Deserialize, Serialize};

use super::table::{Connection, Kind, Meta};
use crate::client::Encoding;

pub const PREFIX: &[u8] = b"c/";
const META: u8 = 0;
const STATE: u8 = 1;
const HANDLED: u8 = 2;
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Record {
    id: String,
    connected_ms: u64,
    /// None of a plain WebSocket.
    client: Option<Client>,
}

#[derive(Serialize, Deserialize)]
struct Client {
    encoding: String,
    params: Option<String>,
    events: BTreeSet<String>,
}

pub fn meta_key(request: RequestId) -> Vec<u8> {
    key(request, META)
}

pub fn state_key(request: RequestId) -> Vec<u8> {
    key(request, STATE)
}

pub fn handled_key(request: RequestId) -> Vec<u8> {
    key(request, HANDLED)
}

pub fn keys(request: RequestId) -> [Vec<u8>; 3] {
    [META, STATE, HANDLED].map(|part| key(request, part))
}

fn key(request: RequestId, part: u8) -> Vec<u8> {
    [PREFIX, &request.0.to_be_bytes(), &[part]].concat()
}

pub fn meta(meta: &Meta) -> Vec<u8> {
    let client = match &meta.kind {
        Kind::Client { encoding, params, events } => {
            let encoding = match encoding {
                Encoding::Json => "json",
                Encoding::Cbor => "cbor",
                Encoding::Bare => "bare",
            };
            Some(Client { encoding: encoding.to_string(), params: params.clone(), events: events.clone() })
        }
        Kind::Websocket => None,
    };
    let record = Record { id: meta.id.clone(), connected_ms: meta.connected_ms, client };
    let mut stored = vec![VERSION];
    serde_json::to_writer(&mut stored, &record).expect("texts and numbers can be written as JSON");
    stored
}

/// What the entries say, in the order of their keys. Entries that cannot be read are reported and left out.
pub fn read(entries: impl IntoIterator<Item = (Bytes, Bytes)>) -> (Vec<(RequestId, Connection)>, Vec<String>) {
    let mut found: BTreeMap<RequestId, [Option<Bytes>; 3]> = BTreeMap::new();
    let mut broken = Vec::new();
    for (key, value) in entries {
        match key.strip_prefix(PREFIX).and_then(|rest| rest.split_last()).map(|(part, id)| (*part, <[u8; 8]>::try_from(id))) {
            Some((part @ META..=HANDLED, Ok(id))) => {
                found.entry(RequestId(u64::from_be_bytes(id))).or_default()[usize::from(part)] = Some(value);
            }
            _ => broken.push(format!("the entry {key:?} is not one of a connection")),
        }
    }
    let mut connections = Vec::new();
    for (request, [stored, state, handled]) in found {
        let meta_bytes = stored.as_ref().map_or(0, Bytes::len);
        let Some(meta) = stored.as_deref().and_then(read_meta) else {
            broken.push(format!("what is stored of the connection {} cannot be read", request.0));
            continue;
        };
        let handled = handled.and_then(|bytes| <[u8; 2]>::try_from(&bytes[..]).ok()).map_or(0, u16::from_be_bytes);
        let state = state.unwrap_or_default();
        connections.push((request, Connection { meta: Arc::new(meta), meta_bytes, state, handled, is_over: false }));
    }
    (connections, broken)
}

fn read_meta(stored: &[u8]) -> Option<Meta> {
    let json = stored.strip_prefix(&[VERSION])?;
    let Record { id, connected_ms, client } = serde_json::from_slice(json).ok()?;
    let kind = match client {
        Some(Client { encoding, params, events }) => Kind::Client { encoding: Encoding::named(Some(&encoding)), params, events },
        None => Kind::Websocket,
    };
    Some(Meta { id, kind, connected_ms })
}

//! The actor's own key-value state, ordered by the bytes of the key.
//!
//! A key has at most 2046 bytes, a value at most 131072, and all writes of one call, keys and values together, at most 999424.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::rivet::actor::kv;
pub use crate::bindings::rivet::actor::kv::{Entry, KeyRange, ListOptions, Selector};
use crate::{Error, failure};

pub fn get(key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
    kv::get(key.as_ref())
}

pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
    kv::put(key.as_ref(), value.as_ref())
}

/// A key that is not there is not an error.
pub fn delete(key: impl AsRef<[u8]>) -> Result<(), Error> {
    kv::delete(key.as_ref())
}

/// At most `limit` entries whose keys begin with `prefix`, in the order of their keys.
pub fn list(prefix: impl AsRef<[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
    let options = ListOptions { reverse: false, limit: Some(limit), keys_only: false };
    select(&Selector::Prefix(prefix.as_ref().to_vec()), options)
}

/// What the selector takes, in the order and shape that the options say.
pub fn select(selector: &Selector, options: ListOptions) -> Result<Vec<Entry>, Error> {
    kv::list(selector, options)
}

/// A value that [`put_json`] wrote. One that does not fit the type is an error.
pub fn get_json<T: DeserializeOwned>(key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
    let decode = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes).map_err(|error| Error::Other(format!("what is stored does not fit the type: {error}")))
    };
    get(key)?.map(decode).transpose()
}

/// Writes a value as JSON.
pub fn put_json(key: impl AsRef<[u8]>, value: &impl Serialize) -> Result<(), Error> {
    put(key, failure::encode(value)?)
}

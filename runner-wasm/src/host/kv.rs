//! `rivet:actor/kv`: the actor's own ordered state. What is written here is the message's, until it ends; see `state`.

use bytes::Bytes;
use protocol::limits::{KV_KEY_BYTES_MAX, KV_LIST_ENTRIES_MAX};
use protocol::message::{KvRange, KvSpace};
use protocol::trace::{self, Kind};

use super::Host;
use crate::bindings::rivet::actor::{kv, types};
use crate::state::{Refusal, check_key};

impl kv::Host for Host {
    async fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<Option<Vec<u8>>, types::Error>> {
        Ok(self.read(key).await.map_err(types::Error::from))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.actor.books().state.put(key, value).map_err(types::Error::from))
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.actor.books().state.delete(key).map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        selector: kv::Selector,
        options: kv::ListOptions,
    ) -> wasmtime::Result<Result<Vec<kv::Entry>, types::Error>> {
        Ok(self.read_list(selector, options).await.map_err(types::Error::from))
    }
}

impl Host {
    async fn read(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
        check_key(&key)?;
        let _span = trace::child("kv.get", Kind::Internal);
        Ok(self.actor.read(KvSpace::Actor, key.into()).await?.map(Vec::from))
    }

    async fn read_list(&mut self, selector: kv::Selector, options: kv::ListOptions) -> Result<Vec<kv::Entry>, Refusal> {
        let range = match selector {
            kv::Selector::All => KvRange::all(),
            kv::Selector::Prefix(prefix) => KvRange::prefix(bound(prefix)?),
            kv::Selector::Range(range) => KvRange { start: bound(range.start)?, end: range.end.map(bound).transpose()? },
        };
        let _span = trace::child("kv.list", Kind::Internal);
        // The guest's number: it may be u32::MAX.
        let limit = options.limit.map_or(KV_LIST_ENTRIES_MAX, |limit| (limit as usize).min(KV_LIST_ENTRIES_MAX));
        let listed = self.actor.list(KvSpace::Actor, range, options.reverse, limit, options.keys_only).await?;
        let entry = |(key, value): (Bytes, Bytes)| kv::Entry { key: key.to_vec(), value: value.to_vec() };
        Ok(listed.into_iter().map(entry).collect())
    }
}

/// A bound need not be a key that could be stored, but one byte more than the longest key says all there is to say.
fn bound(bytes: Vec<u8>) -> Result<Bytes, Refusal> {
    match bytes.len() > KV_KEY_BYTES_MAX + 1 {
        true => Err(Refusal::Invalid(format!("a bound has at most {} bytes, this has {}", KV_KEY_BYTES_MAX + 1, bytes.len()))),
        false => Ok(bytes.into()),
    }
}

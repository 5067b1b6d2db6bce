//! `wasi:keyvalue`, for components that were written for any host: the actor's own entries, the same that `rivet:actor/kv` has, with the
//! same limits and in the same transaction. Keys are UTF-8.
//!
//! There is one bucket, under the names `` and `default`. Components import one of two drafts, which differ in the type of a list's
//! cursor and of a number that is incremented. Such a number is stored as decimal digits, as wasmtime's own implementation does.
//! The second has compare-and-swap too. Within one message nobody else writes; a handle that outlives its message finds what
//! other messages have written since.

use std::sync::Arc;

use bytes::Bytes;
use protocol::limits::KV_LIST_ENTRIES_MAX;
use protocol::message::{KvRange, KvSpace};
use sha2::{Digest, Sha256};
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

use super::Host;
use crate::actor::Actor;
use crate::config::{KEYVALUE_BATCH_MAX, KEYVALUE_PAGE_MAX};
use crate::state::{Refusal, check_key};

/// The one there is.
struct Bucket;

type ABucket = Resource<Bucket>;

/// A value to be replaced if it is still what it was.
struct Cas {
    key: String,
    seen: Seen,
}

/// What was there: its SHA-256, so that a handle takes as little as any.
type Seen = Option<[u8; 32]>;

fn seen(value: Option<&Bytes>) -> Seen {
    value.map(|value| Sha256::digest(value).into())
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    StoreError(Error),
    /// It is something else by now; the handle has seen that.
    #[component(name = "cas-failed")]
    CasFailed(Resource<Cas>),
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    #[expect(dead_code, reason = "a type is compared by its structure")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Other(refusal.text().to_string())
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Page<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

/// Where the next page of a list begins.
trait Cursor: ComponentType + Lower + Lift + Send + Sync + Sized + 'static {
    /// The keys from there on, and how many of them have been listed.
    fn rest(&self) -> (KvRange, usize);
    fn after(listed: usize, last: &str) -> Self;
}

impl Cursor for u64 {
    fn rest(&self) -> (KvRange, usize) {
        // The guest's number: it may be u64::MAX.
        (KvRange::all(), usize::try_from(*self).unwrap_or(usize::MAX).min(KV_LIST_ENTRIES_MAX))
    }

    fn after(listed: usize, _last: &str) -> u64 {
        listed as u64
    }
}

impl Cursor for String {
    fn rest(&self) -> (KvRange, usize) {
        // The smallest key after a key is that key and a zero byte.
        (KvRange { start: [self.as_bytes(), &[0]].concat().into(), end: None }, 0)
    }

    fn after(_listed: usize, last: &str) -> String {
        last.to_string()
    }
}

/// A number that is incremented, as a draft has it.
trait Number: ComponentType + Lower + Lift + Send + Sync + std::fmt::Display + std::str::FromStr + Default + 'static {
    fn plus(self, delta: Self) -> Option<Self>;
}

impl Number for u64 {
    fn plus(self, delta: u64) -> Option<u64> {
        self.checked_add(delta)
    }
}

impl Number for i64 {
    fn plus(self, delta: i64) -> Option<i64> {
        self.checked_add(delta)
    }
}

pub fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    add_draft::<u64, u64>(linker, "0.2.0-draft", |_| Ok(()))?;
    add_draft::<String, i64>(linker, "0.2.0-draft2", add_cas)
}

fn add_draft<C: Cursor, N: Number>(
    linker: &mut Linker<Host>,
    draft: &str,
    more_atomics: fn(&mut LinkerInstance<'_, Host>) -> Result<()>,
) -> Result<()> {
    let mut store = linker.instance(&format!("wasi:keyvalue/store@{draft}"))?;
    store.resource("bucket", ResourceType::host::<Bucket>(), |mut host, bucket| {
        host.data_mut().resources.delete(Resource::<Bucket>::new_own(bucket))?;
        Ok(())
    })?;
    store.func_wrap("open", |mut host, (name,): (String,)| {
        let found = matches!(name.as_str(), "" | "default");
        Ok((if found { Ok(host.data_mut().resources.push(Bucket)?) } else { Err(Error::NoSuchStore) },))
    })?;
    store.func_wrap_async("[method]bucket.get", |host, (_, key): (ABucket, String)| {
        let entries = Entries::of(&host);
        Box::new(async move { Ok((entries.entry(key).await.map(|value| value.map(Vec::from)),)) })
    })?;
    store.func_wrap_async("[method]bucket.exists", |host, (_, key): (ABucket, String)| {
        let entries = Entries::of(&host);
        Box::new(async move { Ok((entries.entry(key).await.map(|value| value.is_some()),)) })
    })?;
    store.func_wrap("[method]bucket.set", |host, (_, key, value): (ABucket, String, Vec<u8>)| {
        Ok((Entries::of(&host).put_all([(key, value)]),))
    })?;
    store.func_wrap("[method]bucket.delete", |host, (_, key): (ABucket, String)| Ok((Entries::of(&host).delete_all([key]),)))?;
    store.func_wrap_async("[method]bucket.list-keys", |host, (_, cursor): (ABucket, Option<C>)| {
        let entries = Entries::of(&host);
        Box::new(async move { Ok((entries.page(cursor).await,)) })
    })?;

    let mut atomics = linker.instance(&format!("wasi:keyvalue/atomics@{draft}"))?;
    atomics.func_wrap_async("increment", |host, (_, key, delta): (ABucket, String, N)| {
        let entries = Entries::of(&host);
        Box::new(async move { Ok((entries.increment(key, delta).await,)) })
    })?;
    more_atomics(&mut atomics)?;

    let mut batch = linker.instance(&format!("wasi:keyvalue/batch@{draft}"))?;
    batch.func_wrap_async("get-many", |host, (_, keys): (ABucket, Vec<String>)| {
        let entries = Entries::of(&host);
        Box::new(async move { Ok((entries.entries(keys).await,)) })
    })?;
    batch.func_wrap("set-many", |host, (_, pairs): (ABucket, Vec<(String, Vec<u8>)>)| Ok((Entries::of(&host).put_all(pairs),)))?;
    batch.func_wrap("delete-many", |host, (_, keys): (ABucket, Vec<String>)| Ok((Entries::of(&host).delete_all(keys),)))
}

fn add_cas(atomics: &mut LinkerInstance<'_, Host>) -> Result<()> {
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut host, cas| {
        host.data_mut().resources.delete(Resource::<Cas>::new_own(cas))?;
        Ok(())
    })?;
    atomics.func_wrap_async("[static]cas.new", |mut host, (_, key): (ABucket, String)| {
        Box::new(async move {
            Ok((match Entries::of(&host).entry(key.clone()).await {
                Ok(value) => Ok(host.data_mut().resources.push(Cas { key, seen: seen(value.as_ref()) })?),
                Err(error) => Err(error),
            },))
        })
    })?;
    atomics.func_wrap_async("[method]cas.current", |mut host, (cas,): (Resource<Cas>,)| {
        Box::new(async move {
            let key = host.data().resources.get(&cas)?.key.clone();
            let value = Entries::of(&host).entry(key).await;
            if let Ok(value) = &value {
                host.data_mut().resources.get_mut(&cas)?.seen = seen(value.as_ref());
            }
            Ok((value.map(|value| value.map(Vec::from)),))
        })
    })?;
    atomics.func_wrap_async("swap", |mut host, (cas, value): (Resource<Cas>, Vec<u8>)| {
        Box::new(async move {
            let Cas { key, seen: expected } = host.data_mut().resources.delete(cas)?;
            let entries = Entries::of(&host);
            let found = match entries.entry(key.clone()).await {
                Ok(found) => seen(found.as_ref()),
                Err(error) => return Ok((Err(CasError::StoreError(error)),)),
            };
            Ok((match found == expected {
                true => entries.put_all([(key, value)]).map_err(CasError::StoreError),
                false => Err(CasError::CasFailed(host.data_mut().resources.push(Cas { key, seen: found })?)),
            },))
        })
    })
}

/// The actor's own entries, by keys that are text.
struct Entries(Arc<Actor>);

impl Entries {
    fn of(host: &StoreContextMut<'_, Host>) -> Entries {
        Entries(Arc::clone(&host.data().actor))
    }

    async fn entry(&self, key: String) -> Result<Option<Bytes>, Error> {
        check_key(key.as_bytes())?;
        Ok(self.0.read(KvSpace::Actor, key.into()).await?)
    }

    async fn entries(&self, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        check_batch(keys.len())?;
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.push(self.entry(key.clone()).await?.map(|value| (key, Vec::from(value))));
        }
        Ok(entries)
    }

    fn put_all(&self, pairs: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let mut books = self.0.books();
        pairs.into_iter().try_for_each(|(key, value)| Ok(books.state.put(key.into(), value)?))
    }

    fn delete_all(&self, keys: impl IntoIterator<Item = String>) -> Result<(), Error> {
        let mut books = self.0.books();
        keys.into_iter().try_for_each(|key| Ok(books.state.delete(key.into())?))
    }

    async fn increment<N: Number>(&self, key: String, delta: N) -> Result<N, Error> {
        let wrong = || Error::Other(format!("the value of {key:?} is not a number that can be incremented by this"));
        let number = match self.entry(key.clone()).await? {
            Some(value) => std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?,
            None => N::default(),
        };
        let sum = number.plus(delta).ok_or_else(wrong)?;
        self.put_all([(key, sum.to_string().into_bytes())])?;
        Ok(sum)
    }

    async fn page<C: Cursor>(&self, cursor: Option<C>) -> Result<Page<C>, Error> {
        let (range, skip) = cursor.map_or((KvRange::all(), 0), |cursor| cursor.rest());
        // One more, to see whether there is a next page.
        let listed = self.0.list(KvSpace::Actor, range, false, skip + KEYVALUE_PAGE_MAX + 1, true).await?;
        let has_next = listed.len() > skip + KEYVALUE_PAGE_MAX;
        // Keys that are no text were written through another interface, and have no name in this one.
        let text = |(key, _): (Bytes, Bytes)| String::from_utf8(key.into()).ok();
        let keys: Vec<String> = listed.into_iter().skip(skip).take(KEYVALUE_PAGE_MAX).filter_map(text).collect();
        let cursor = keys.last().filter(|_| has_next).map(|last| C::after(skip + KEYVALUE_PAGE_MAX, last));
        Ok(Page { keys, cursor })
    }
}

fn check_batch(keys: usize) -> Result<(), Error> {
    match keys > KEYVALUE_BATCH_MAX {
        true => Err(Error::Other(format!("one call gets at most {KEYVALUE_BATCH_MAX} values, this asks for {keys}"))),
        false => Ok(()),
    }
}

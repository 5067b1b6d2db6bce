//! What a guest can call. One interface, one file; every argument is a hostile guest's.
//!
//! [`Host`] is what an instance's calls find: its actor, its limits, and what WASI needs. It must stay small, there is one per
//! actor in memory; the WASI part exists only once the guest uses it.

mod actors;
mod alarm;
mod config;
mod connections;
mod context;
pub mod json;
mod keyvalue;
mod kv;
mod logging;
mod queue;
mod schedule;
mod sql;
mod v0_1;
mod wasi;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

use crate::actor::Actor;
use crate::bindings::rivet::actor::types;
use crate::config::{Grant, HOSTCALL_BYTES_MAX, RESOURCES_MAX, StartError};
use crate::outbound::Outgoing;
use crate::sandbox::room::Limiter;
use crate::state::Refusal;

/// The data of one instance's store.
pub struct Host {
    actor: Arc<Actor>,
    limiter: Limiter,
    grants: Arc<[Grant]>,
    resources: ResourceTable,
    /// Made at the guest's first use of it.
    wasi: Option<Box<WasiCtx>>,
    wasi_http: WasiHttpCtx,
    outgoing: Outgoing,
}

/// Links everything a guest may import: our interfaces, WASI 0.2, its HTTP, its key-value stores and its configuration. Linked is not
/// granted; see [`wasi`].
pub fn linker(engine: &Engine) -> Result<Linker<Host>, StartError> {
    let mut linker = Linker::new(engine);
    link(&mut linker).map(|()| linker).map_err(|error| StartError::Sandbox(format!("{error:#}")))
}

fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    use crate::bindings::rivet::actor;
    type Own = HasSelf<Host>;
    actor::types::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::context::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::kv::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::sql::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::alarm::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::connections::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::schedule::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::queue::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::actors::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::config::add_to_linker::<_, Own>(linker, |host| host)?;
    actor::logging::add_to_linker::<_, Own>(linker, |host| host)?;
    v0_1::add_to_linker(linker)?;
    keyvalue::add_to_linker(linker)?;
    config::add_standard_to_linker(linker)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// A guest that used up its processor time; found in the error that its call ends with.
#[derive(Debug)]
pub struct CpuTimeExceeded;

impl std::fmt::Display for CpuTimeExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler used up its processor time")
    }
}

impl std::error::Error for CpuTimeExceeded {}

pub fn store(engine: &Engine, actor: Arc<Actor>, limiter: Limiter, grants: Arc<[Grant]>) -> Store<Host> {
    let mut resources = ResourceTable::new();
    resources.set_max_capacity(RESOURCES_MAX);
    let outgoing = Outgoing::new(Arc::clone(&actor));
    let host = Host { actor, limiter, grants, resources, wasi: None, wasi_http: WasiHttpCtx::new(), outgoing };
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    // At every tick of the clock: let others run, and look whether the time is up.
    store.epoch_deadline_callback(|store| match store.data().actor.meter.is_used_up() {
        true => Err(wasmtime::Error::new(CpuTimeExceeded)),
        false => Ok(UpdateDeadline::Yield(1)),
    });
    store
}

impl types::Host for Host {}

impl From<Refusal> for types::Error {
    fn from(refusal: Refusal) -> types::Error {
        match refusal {
            Refusal::Invalid(text) => types::Error::InvalidArgument(text),
            Refusal::TooLarge(text) => types::Error::TooLarge(text),
            Refusal::QuotaExceeded(text) => types::Error::QuotaExceeded(text),
            Refusal::Other(text) => types::Error::Other(text),
        }
    }
}

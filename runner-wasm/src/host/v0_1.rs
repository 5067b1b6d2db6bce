//! Version 0.1 of `rivet:actor`, for components that were built against it: the functions of 0.2 under their earlier names.
//!
//! Types are compared by their structure, so what has not changed is the same; what has is here.

use wasmtime::Result;
use wasmtime::component::{ComponentType, Linker, Lower};

use super::Host;
use crate::bindings::rivet::actor::{alarm, context, kv, logging};

/// Without namespace and version, which 0.2 added.
#[derive(ComponentType, Lower)]
#[component(record)]
struct ActorInfo {
    id: String,
    name: String,
    key: Option<Vec<String>>,
    generation: u32,
    #[component(name = "created-at")]
    created_at: u64,
}

pub fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    use alarm::Host as _;
    use context::Host as _;
    use logging::Host as _;

    linker.instance("rivet:actor/types@0.1.0")?;

    let mut context = linker.instance("rivet:actor/context@0.1.0")?;
    context.func_wrap("info", |mut store, ()| {
        let context::ActorInfo { id, name, key, generation, created_at, .. } = store.data_mut().info()?;
        Ok((ActorInfo { id, name, key, generation, created_at },))
    })?;
    context.func_wrap("input", |mut store, ()| Ok((store.data_mut().input()?,)))?;
    context.func_wrap("sleep", |mut store, ()| context::Host::sleep(store.data_mut()))?;
    context.func_wrap("destroy", |mut store, ()| store.data_mut().destroy())?;

    let mut kv = linker.instance("rivet:actor/kv@0.1.0")?;
    kv.func_wrap_async("get", |mut store, (key,)| Box::new(async move { Ok((kv::Host::get(store.data_mut(), key).await?,)) }))?;
    kv.func_wrap("put", |mut store, (key, value)| Ok((kv::Host::put(store.data_mut(), key, value)?,)))?;
    kv.func_wrap("delete", |mut store, (key,)| Ok((kv::Host::delete(store.data_mut(), key)?,)))?;
    kv.func_wrap_async("list", |mut store, (selector, options)| {
        Box::new(async move { Ok((kv::Host::list(store.data_mut(), selector, options).await?,)) })
    })?;

    let mut alarm = linker.instance("rivet:actor/alarm@0.1.0")?;
    alarm.func_wrap("set", |mut store, (at,)| Ok((store.data_mut().set(at)?,)))?;
    alarm.func_wrap("get", |mut store, ()| Ok((alarm::Host::get(store.data_mut())?,)))?;
    alarm.func_wrap("clear", |mut store, ()| Ok((store.data_mut().clear()?,)))?;

    let mut logging = linker.instance("rivet:actor/logging@0.1.0")?;
    logging.func_wrap("log", |mut store, (level, message)| store.data_mut().log(level, message))?;
    Ok(())
}

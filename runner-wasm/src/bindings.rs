//! The interface of an actor, `wit/actor.wit`, as Rust.
//!
//! One tiny world per handler, because every handler is optional: whether a component exports it is asked for each alone.
//! A component that was built against another 0.1.z is found too; versions that are compatible share a track.

#![allow(clippy::all)]

wasmtime::component::bindgen!({
    path: "../wit/0.1",
    world: "imports",
    imports: {
        // Only these two may have to wait; a function that never waits costs a third of one that could.
        "rivet:actor/kv.get": async | trappable,
        "rivet:actor/kv.list": async | trappable,
        default: trappable,
    },
});

pub mod start {
    wasmtime::component::bindgen!({ path: "../wit/0.1", world: "with-start", exports: { default: async } });
}

pub mod stop {
    wasmtime::component::bindgen!({ path: "../wit/0.1", world: "with-stop", exports: { default: async } });
}

pub mod alarm {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "with-alarm",
        exports: { default: async },
        with: { "rivet:actor/types": super::rivet::actor::types },
    });
}

pub mod http {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "with-http",
        exports: { default: async },
        with: { "rivet:actor/types": super::rivet::actor::types },
    });
}

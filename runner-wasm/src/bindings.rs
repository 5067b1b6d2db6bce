//! The interface of an actor, `wit/actor.wit`, as Rust: what the host implements, and the types of what a component exports.
//!
//! Exports are not called through what is generated here, because every handler is optional; see `component::handlers`.

#![allow(clippy::all)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "actor",
    imports: {
        // Only these may have to wait; a function that never waits costs a third of one that could.
        "rivet:actor/kv.get": async | trappable,
        "rivet:actor/kv.list": async | trappable,
        "rivet:actor/sql": async | trappable,
        "rivet:actor/queue": async | trappable,
        "rivet:actor/actors": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

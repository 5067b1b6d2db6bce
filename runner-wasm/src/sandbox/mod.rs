//! The engine that compiles and runs guests, and what keeps one guest from taking more than its share.
//!
//! - [`lanes`]: threads. Whoever computes for long does so when nobody else wants to.
//! - [`ticker`]: time. Interrupts running guests, counts their processor time, sleeps when none runs.
//! - [`room`]: memory, and how many instances may live.
//!
//! Instances are allocated on demand: measured, a pool saves a third of an instantiation's 30 us and no memory, and asks the
//! operator to size it. Interruption is by epochs: a few percent, where counting instructions costs up to a half.

pub mod lanes;
pub mod room;
pub mod ticker;

use wasmtime::Engine;

use crate::config::{FIBER_STACK_BYTES, StartError, WASM_STACK_BYTES};

/// The engine that all components of a runner share.
pub fn engine() -> Result<Engine, StartError> {
    let mut config = wasmtime::Config::new();
    config
        .epoch_interruption(true)
        // Handlers are plain functions of one mailbox: without the machinery for overlapping calls each is four times cheaper.
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // On a small machine a compile must leave a processor to those who serve.
        .parallel_compilation(std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 2));
    Engine::new(&config).map_err(|error| StartError::Sandbox(format!("{error:#}")))
}

//! The engine that compiles and runs guests, and what keeps one guest from taking more than its share.
//!
//! - [`lanes`]: threads. Whoever computes for long does so when nobody else wants to.
//! - [`ticker`]: time. Interrupts running guests, counts their processor time, sleeps when none runs.
//! - [`room`]: memory, and how many instances may live.
//! - [`mappings`]: how many mappings of memory those may have.
//! - [`stacks`]: what guests run on, which is put away while they do not.
//!
//! Instances are allocated on demand: measured, a pool saves a third of an instantiation's 30 us and no memory, and asks the
//! operator to size it. Interruption is by epochs: a few percent, where counting instructions costs up to a half.

pub mod lanes;
pub mod mappings;
pub mod room;
pub mod stacks;
pub mod ticker;

use std::sync::Arc;

use wasmtime::Engine;

use self::stacks::Stacks;
use crate::config::{FIBER_STACK_BYTES, StartError, WASM_STACK_BYTES};

/// The engines that all components of a runner share. They differ in how a guest's memory gets what it begins with.
#[derive(Clone)]
pub struct Engines {
    /// It is copied: for little. Such a memory is one mapping, and one more that cannot be touched.
    pub copied: Engine,
    /// It is mapped from an image, which instances share until they write to it: for much. Such a memory is up to four.
    pub mapped: Engine,
    pub stacks: Arc<Stacks>,
}

impl Engines {
    pub fn new() -> Result<Engines, StartError> {
        let stacks = Arc::new(Stacks::default());
        Ok(Engines { copied: engine(&stacks, false)?, mapped: engine(&stacks, true)?, stacks })
    }

    pub fn each(&self) -> [&Engine; 2] {
        [&self.copied, &self.mapped]
    }
}

fn engine(stacks: &Arc<Stacks>, maps_images: bool) -> Result<Engine, StartError> {
    let mut config = wasmtime::Config::new();
    config
        .epoch_interruption(true)
        // Handlers are plain functions of one mailbox: without the machinery for overlapping calls each is four times cheaper.
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .with_host_stack(Arc::clone(stacks) as Arc<dyn wasmtime::StackCreator>)
        .memory_init_cow(maps_images);
    Engine::new(&config).map_err(|error| StartError::Sandbox(format!("{error:#}")))
}

//! Who this actor is, and what becomes of it after the running handler.

use crate::bindings::rivet::actor::context;
pub use crate::bindings::rivet::actor::context::ActorInfo;

pub fn info() -> ActorInfo {
    context::info()
}

/// The bytes its creator passed; the same at every start.
pub fn input() -> Option<Vec<u8>> {
    context::input()
}

/// Ask to be put to sleep once the running handler has returned. Memory is lost, stored state stays; the next message wakes it.
pub fn sleep() {
    context::sleep();
}

/// Ask to be destroyed, stored state and all, once the running handler has returned.
pub fn destroy() {
    context::destroy();
}

/// Do not go to sleep for being idle before so much time has passed. Replaces what was asked before; 0 takes it back.
pub fn keep_awake(for_ms: u64) {
    context::keep_awake(for_ms);
}

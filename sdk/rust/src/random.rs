//! Randomness, on every target: on `wasm32-unknown-unknown` the `getrandom` crate has none.

use crate::bindings::wasi::random::random;

/// So many random bytes, good enough for secrets. At most 65536 at once.
pub fn bytes(count: u32) -> Vec<u8> {
    random::get_random_bytes(count.into())
}

/// A random number, good enough for secrets.
pub fn u64() -> u64 {
    bytes(8).into_iter().fold(0, |number, byte| number << 8 | u64::from(byte))
}

//! Randomness from the operating system, drawn in blocks.
//!
//! A gateway request that may create an actor brings 16 random bytes along, whether they are used or not, and every request
//! may need a ray id. One system call for each would cost more than the rest of the routing.

use std::cell::RefCell;

const BLOCK_BYTES: usize = 1024;

struct Block {
    bytes: [u8; BLOCK_BYTES],
    used: usize,
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES }) };
}

/// Random bytes, never given out twice.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= BLOCK_BYTES) };
    BLOCK.with_borrow_mut(|block| {
        if block.used + N > BLOCK_BYTES {
            // Without randomness ids would collide: there is nothing sensible to go on with.
            getrandom::fill(&mut block.bytes).expect("the operating system gives random bytes");
            block.used = 0;
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&block.bytes[block.used..block.used + N]);
        block.used += N;
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_out_twice() {
        let mut seen: Vec<[u8; 16]> = (0..1_000).map(|_| bytes()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1_000);
    }
}

//! What a guest can do to its host without calling it.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Memory that is never given back while the instance lives.
static HOARD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

pub fn run_forever() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub fn allocate_forever() -> ! {
    loop {
        hoard(1 << 20);
    }
}

pub fn hoard(bytes: usize) {
    // Ones, so that the pages are really touched.
    HOARD.lock().expect("a panic ends the instance").push(vec![1; bytes]);
}

/// Exhausts the stack that the host gives to calls.
pub fn recurse_forever() -> u64 {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        // The value is needed after the call, and no loop can stand in for it.
        if NEVER.load(Ordering::Relaxed) { depth } else { deeper(depth + 1).rotate_left(1) ^ depth }
    }
    static NEVER: AtomicBool = AtomicBool::new(false);
    deeper(black_box(0))
}

/// Exhausts the guest's own stack, which lies in its memory.
pub fn recurse_with_frames_forever() -> u64 {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 512]);
        if frame[0] == u64::MAX { 0 } else { deeper(depth + 1) + frame[(depth % 512) as usize] }
    }
    deeper(0)
}

/// Honest work that ends: near a nanosecond each turn.
pub fn spin(turns: u64) -> u64 {
    (0..turns).fold(0, |sum, turn| black_box(sum ^ turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

//! Input from strangers, made up: valid examples with something changed, and what was never valid. For tests.
//!
//! Each parser of bytes from outside has a test beside it, in a file `hostile.rs`, that tries many inputs and says what must hold
//! after each. `RIVET_FUZZ_INPUTS` is how many inputs each test tries, the expensive ones fewer; `RIVET_FUZZ_SEED` is which ones. A
//! failure prints the input. What was found this way is fixed together with a row of an ordinary test.

use std::env;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

/// As long as anything is that a client can send in a head.
pub const LONG_BYTES: usize = 65_000;
/// What an input of that length may take of a processor; a build for tests is slower.
const LONG_CPU_MS_MAX: u64 = if cfg!(debug_assertions) { 1_000 } else { 50 };
const INPUTS_DEFAULT: u64 = 5_000;
const _: () = assert!(LONG_BYTES < u16::MAX as usize, "longer addresses are none");

pub struct Inputs<'a> {
    name: &'static str,
    valid: &'a [&'a str],
    /// Pieces that mean something to the parser.
    words: &'a [&'a str],
    pub random: Rng,
    seed: u64,
    left: u64,
    tried: u64,
    understood: u64,
    last: Vec<u8>,
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

impl<'a> Inputs<'a> {
    /// `cost` is that of one input, as a multiple of a cheap one's.
    pub fn new(name: &'static str, cost: u64, valid: &'a [&'a str], words: &'a [&'a str]) -> Inputs<'a> {
        let seed = number("RIVET_FUZZ_SEED", 1);
        let left = number("RIVET_FUZZ_INPUTS", INPUTS_DEFAULT).div_ceil(cost);
        Inputs { name, valid, words, random: Rng::with_seed(seed), seed, left, tried: 0, understood: 0, last: Vec::new() }
    }

    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(1)?;
        // Every example as it is comes first.
        let at = usize::try_from(self.tried).unwrap_or(usize::MAX);
        self.last = match self.valid.get(at) {
            Some(valid) => valid.as_bytes().to_vec(),
            None => self.make(),
        };
        self.tried += 1;
        Some(self.last.clone())
    }

    pub fn next_text(&mut self) -> Option<String> {
        let bytes = self.next()?;
        Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Tries them all. `check` says whether the input was understood.
    pub fn each(mut self, mut check: impl FnMut(&mut Rng, &[u8]) -> bool) {
        while let Some(input) = self.next() {
            let mut random = self.random.fork();
            let before = cpu();
            let understood = check(&mut random, &input);
            let took = cpu() - before;
            assert!(took.as_millis() < LONG_CPU_MS_MAX.into(), "{} bytes took {took:?}", input.len());
            self.count(understood);
        }
        self.end();
    }

    pub fn each_text(self, mut check: impl FnMut(&mut Rng, &str) -> bool) {
        self.each(|random, bytes| check(random, &String::from_utf8_lossy(bytes)));
    }

    pub fn count(&mut self, understood: bool) {
        self.understood += u64::from(understood);
    }

    /// What is tried must not be too far from what is meant, or nothing behind the first check is reached.
    pub fn end(self) {
        println!("{}: {} inputs, {} understood, RIVET_FUZZ_SEED={}", self.name, self.tried, self.understood, self.seed);
        assert!(self.understood > self.tried / 50, "{}: {} of {} understood", self.name, self.understood, self.tried);
    }

    fn make(&mut self) -> Vec<u8> {
        match self.random.u16(..500) {
            0 => self.grown(),
            1..20 => (0..self.random.usize(..100)).map(|_| self.random.u8(..)).collect(),
            20..40 => (0..self.random.usize(..20)).flat_map(|_| self.word().to_vec()).collect(),
            _ => self.mutated(),
        }
    }

    fn valid(&mut self) -> &'a [u8] {
        self.valid[self.random.usize(..self.valid.len())].as_bytes()
    }

    fn word(&mut self) -> &'a [u8] {
        self.words[self.random.usize(..self.words.len())].as_bytes()
    }

    /// A part of it again and again: finds what takes longer than its input is long, and what nests without end.
    fn grown(&mut self) -> Vec<u8> {
        let mut bytes = self.valid().to_vec();
        let (from, to) = self.range(bytes.len(), 24);
        let part = if self.random.bool() { self.word().to_vec() } else { bytes[from..to].to_vec() };
        let times = (LONG_BYTES - bytes.len().min(LONG_BYTES)) / part.len().max(1);
        bytes.splice(to..to, part.repeat(times));
        bytes
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = self.valid().to_vec();
        for _ in 0..self.random.usize(..5) {
            let (from, to) = self.range(bytes.len(), 12);
            let at = from;
            match self.random.u8(..10) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.random.u8(..)),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.random.u8(..8),
                3 if at < bytes.len() => bytes[at] = self.random.u8(b' '..127),
                4 => drop(bytes.drain(from..to)),
                5 => {
                    let part = bytes[from..to].to_vec();
                    bytes.splice(to..to, part.repeat(self.random.usize(..4)));
                }
                6 => {
                    let other = self.valid();
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.random.usize(..=other.len())..]);
                }
                7 => drop(bytes.splice(from..to, self.word().iter().copied())),
                _ => drop(bytes.splice(at..at, self.word().iter().copied())),
            }
        }
        bytes
    }

    /// A part of something that is so long, itself not longer than `max`.
    fn range(&mut self, bytes: usize, max: usize) -> (usize, usize) {
        let from = self.random.usize(..=bytes);
        (from, (from + self.random.usize(..=max)).min(bytes))
    }
}

impl Drop for Inputs<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let shown = String::from_utf8_lossy(&self.last[..self.last.len().min(2_000)]).into_owned();
            let (name, seed, tried, bytes) = (self.name, self.seed, self.tried, self.last.len());
            eprintln!("{name}, RIVET_FUZZ_SEED={seed}, input {tried}, {bytes} bytes: {shown:?}");
        }
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes the one value that it is given, which lives longer than the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of a thread is always there");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

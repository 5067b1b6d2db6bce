//! Stacks for guests: many in one stretch of address space, where those of actors that rest count for nothing.
//!
//! A guest runs on a stack of its own, which stays with its instance between calls. Under each lies a guard that nobody may touch, so a
//! stack divides what is around it, and the kernel counts two more memory mappings. When an actor has had nothing to do for a while,
//! its stack is put away: its pages are given back, and what is left is like the guards beside it, and one mapping with them.
//!
//! ```text
//! | guard | stack | guard   put away   guard   free   guard | stack | ..
//!    1        2                    3                            4
//! ```
//!
//! Between calls nothing is on a stack. Each call begins with [`Own::enter`], which makes it one again; whoever forgot that would be
//! stopped by the kernel, and could not write over another's.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use wasmtime::{StackCreator, StackMemory};

use crate::actor::lock;
use crate::config::{STACK_GUARD_BYTES, STACKS_PER_SLAB};

/// Makes stacks, and keeps the places of those that are gone.
#[derive(Default)]
pub struct Stacks(Arc<Places>);

#[derive(Default)]
struct Places {
    free: Mutex<Vec<Place>>,
    /// Stacks that are put away.
    away: AtomicUsize,
}

// SAFETY: each stack is handed out once at a time, is as long as was asked for, begins and ends with a page, is zeroed when it is
// made and has a guard below.
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        let place = lock(&self.0.free).pop();
        let place = match place.filter(|place| place.stack_bytes == size) {
            Some(place) => place,
            None => self.slab(size)?,
        };
        if let Err(error) = place.open() {
            lock(&self.0.free).push(place);
            return Err(error.into());
        }
        let stack = Arc::new(Stack { place: Some(place), state: Mutex::new(State::InUse), places: Arc::downgrade(&self.0) });
        LATEST.replace(Arc::downgrade(&stack));
        Ok(Box::new(Held(stack)))
    }
}

impl Stacks {
    pub fn away(&self) -> usize {
        self.0.away.load(Relaxed)
    }

    /// A place in a new slab; the others are free.
    fn slab(&self, stack_bytes: usize) -> io::Result<Place> {
        let step = STACK_GUARD_BYTES + stack_bytes;
        let whole = Slab::place(STACKS_PER_SLAB * step)?;
        let base = |number| whole.base + number * step + STACK_GUARD_BYTES;
        let place = |number| Place { base: base(number), stack_bytes, slab: Arc::clone(&whole.slab) };
        // Popped from the end: the lowest first.
        lock(&self.0.free).extend((1..STACKS_PER_SLAB).rev().map(place));
        Ok(place(0))
    }
}

/// Address space that nobody may touch until a place in it is opened.
struct Slab {
    base: usize,
    bytes: usize,
}

impl Slab {
    /// The whole of it, closed.
    fn place(bytes: usize) -> io::Result<Place> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: new memory, wherever the kernel wants it.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let slab = Place { base: base as usize, stack_bytes: bytes, slab: Arc::new(Slab { base: base as usize, bytes }) };
        // Linux makes two mappings one again only if their pages have the same history: that of a page which was written
        // while there was one.
        // SAFETY: the slab has just been made, writable, and nobody knows it.
        unsafe { base.cast::<u8>().write_volatile(1) };
        slab.close()?;
        Ok(slab)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: it is ours, and every place in it is gone.
        let _ = unsafe { libc::munmap(self.base as *mut libc::c_void, self.bytes) };
    }
}

/// Where one stack is, or may be.
struct Place {
    base: usize,
    stack_bytes: usize,
    slab: Arc<Slab>,
}

impl Place {
    fn open(&self) -> io::Result<()> {
        self.protect(libc::PROT_READ | libc::PROT_WRITE)
    }

    /// What was there is gone. If the kernel refuses, it stays as it is: open.
    fn close(&self) -> io::Result<()> {
        self.protect(libc::PROT_NONE)?;
        // SAFETY: the pages are those of this place, and nothing is on it: see `Stack`.
        let _ = unsafe { libc::madvise(self.base as *mut libc::c_void, self.stack_bytes, libc::MADV_DONTNEED) };
        Ok(())
    }

    fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        // SAFETY: the pages are those of this place, and nobody runs on it while that changes: see `Stack`.
        match unsafe { libc::mprotect(self.base as *mut libc::c_void, self.stack_bytes, protection) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A call has begun that has not ended. Next: Ready.
    InUse,
    /// No call runs. Next: InUse, or Away.
    Ready,
    /// Nobody may touch it. Next: InUse.
    Away,
}

/// The stack of one instance.
struct Stack {
    /// Until this is dropped.
    place: Option<Place>,
    state: Mutex<State>,
    places: Weak<Places>,
}

impl Stack {
    fn count(&self, count: impl Fn(&AtomicUsize)) {
        if let Some(places) = self.places.upgrade() {
            count(&places.away);
        }
    }

    fn place(&self) -> &Place {
        self.place.as_ref().expect("it is taken only when this is dropped")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        // One that cannot be closed would not be zero for the next instance: its slab stays, without that place.
        if place.close().is_err() {
            return std::mem::forget(place);
        }
        let Some(places) = self.places.upgrade() else { return };
        if *lock(&self.state) == State::Away {
            places.away.fetch_sub(1, Relaxed);
        }
        lock(&places.free).push(place);
    }
}

/// What wasmtime has of a stack.
struct Held(Arc<Stack>);

// SAFETY: the pages from the base on are open whenever a call runs, and those below it never are.
unsafe impl StackMemory for Held {
    fn top(&self) -> *mut u8 {
        self.range().end as *mut u8
    }

    fn range(&self) -> Range<usize> {
        let place = self.0.place();
        place.base..place.base + place.stack_bytes
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let base = self.0.place().base;
        (base - STACK_GUARD_BYTES) as *mut u8..base as *mut u8
    }
}

thread_local! {
    /// The stack that was made last on this thread: who had it made is not told.
    static LATEST: RefCell<Weak<Stack>> = const { RefCell::new(Weak::new()) };
}

/// An actor's stack, once it has one.
#[derive(Default)]
pub struct Own(OnceLock<Weak<Stack>>);

impl Own {
    /// Runs an instance's first call, which makes its stack.
    pub async fn first<R>(&self, call: impl Future<Output = R>) -> R {
        let mut call = pin!(call);
        let result = std::future::poll_fn(|cx| {
            LATEST.take();
            let polled = call.as_mut().poll(cx);
            let made = LATEST.take();
            if made.strong_count() > 0 {
                self.0.get_or_init(|| made);
            }
            polled
        });
        let result = result.await;
        self.stack().into_iter().for_each(|stack| *lock(&stack.state) = State::Ready);
        result
    }

    /// Before each later call; it lasts until what this gives is dropped, which must be after the call.
    pub fn enter(&self) -> io::Result<Entered> {
        let Some(stack) = self.stack() else { return Ok(Entered(None)) };
        let mut state = lock(&stack.state);
        if *state == State::Away {
            stack.place().open()?;
            stack.count(|away| _ = away.fetch_sub(1, Relaxed));
        }
        *state = State::InUse;
        drop(state);
        Ok(Entered(Some(stack)))
    }

    /// Nothing is about to be called.
    pub fn put_away(&self) {
        let Some(stack) = self.stack() else { return };
        let mut state = lock(&stack.state);
        if *state == State::Ready && stack.place().close().is_ok() {
            *state = State::Away;
            stack.count(|away| _ = away.fetch_add(1, Relaxed));
        }
    }

    fn stack(&self) -> Option<Arc<Stack>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

pub struct Entered(Option<Arc<Stack>>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(stack) = &self.0 {
            *lock(&stack.state) = State::Ready;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1024 * 1024;

    /// Of the range: how many mappings begin in it, and how much of it may be written.
    fn seen(range: &Range<usize>) -> (usize, usize) {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux says so");
        let hex = |text: &str| usize::from_str_radix(text, 16).expect("an address");
        let each = maps.lines().filter_map(|line| {
            let (place, rest) = line.split_once(' ')?;
            let (from, to) = place.split_once('-')?;
            let (from, to) = (hex(from).max(range.start), hex(to).min(range.end));
            (from < to).then(|| (1, if rest.starts_with("rw") { to - from } else { 0 }))
        });
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    #[tokio::test]
    async fn what_rests_counts_for_nothing_and_has_nothing() {
        let stacks = Stacks::default();
        let mut made = Vec::new();
        for _ in 0..STACKS_PER_SLAB {
            let own = Own::default();
            let held = own.first(async { stacks.new_stack(BYTES, false).expect("room") }).await;
            made.push((own, held));
        }
        let step = BYTES + STACK_GUARD_BYTES;
        let base = made[0].1.guard_range().start as usize;
        let slab = base..base + STACKS_PER_SLAB * step;
        let check = |stacks: usize| {
            let divided = if stacks == STACKS_PER_SLAB { 2 * stacks } else { 2 * stacks + 1 };
            assert_eq!(seen(&slab), (divided, stacks * BYTES), "with {stacks} in use");
        };
        check(STACKS_PER_SLAB);
        // The last ones, so that no two of those that are left have another between them that is not.
        let write = |at: usize| {
            let last = made[at].1.top().wrapping_sub(1);
            // SAFETY: the stack is open, and nobody is on it.
            unsafe { last.replace(7) }
        };
        assert_eq!(write(5), 0);
        for (own, _) in &made[3..] {
            own.put_away();
        }
        check(3);
        // Twice is once.
        made[5].0.put_away();
        check(3);
        drop(made[5].0.enter().expect("room"));
        let (mappings, writable) = seen(&slab);
        assert_eq!((mappings, writable), (9, 4 * BYTES), "and one between those that rest");
        assert_eq!(write(5), 0, "what was on it is gone");

        let entered = made[6].0.enter().expect("room");
        made[6].0.put_away();
        assert_eq!(seen(&made[6].1.range()), (1, BYTES), "one that is in use is not put away");
        drop(entered);
        made[6].0.put_away();
        assert_eq!(seen(&made[6].1.range()), (1, 0));

        // A place is used again, with nothing on it, by one that is not who had it.
        let (own, held) = made.remove(0);
        let range = held.range();
        drop(held);
        assert_eq!(seen(&range), (1, 0));
        let other = Own::default();
        let again = other.first(async { stacks.new_stack(BYTES, false).expect("room") }).await;
        assert_eq!(again.range(), range);
        own.put_away();
        assert_eq!(seen(&range), (1, BYTES), "nobody puts away what is no longer theirs");
    }
}

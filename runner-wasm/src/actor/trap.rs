//! What the end of a guest says to the caller, and to whoever reads the actor's log.

use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Failure, FailureKind, LogLevel};
use wasmtime::{Trap, WasmBacktrace};

use super::Actor;
use crate::host::CpuTimeExceeded;

/// Functions of the guest that the caller is shown; the log has all.
const FRAMES_FOR_CALLER: usize = 4;
/// A stack of fewer functions than this has not overflown.
const FRAMES_OF_OVERFLOW: usize = 20;
/// Frames of these say how a language fails, not where.
const MACHINERY: [&str; 10] =
    ["std::", "core::", "alloc::", "__rustc::", "rust_", "__rust", "abort", "wit_bindgen::", "<std::", "<core::"];

/// What ended the call of this handler. Writes the whole of it to the actor's log.
pub fn failure(actor: &Actor, handler: &str, error: &wasmtime::Error) -> Failure {
    actor.shared.lanes.charge_fault(actor.id);
    let frames = frames(error);
    let (kind, what) = classify(actor, error, frames.len());
    let mut message = format!("the actor's {handler} handler failed: {what}");
    let shown = frames.iter().filter(|frame| !MACHINERY.iter().any(|prefix| frame.starts_with(prefix)));
    let shown: Vec<&str> = shown.map(String::as_str).take(FRAMES_FOR_CALLER).collect();
    if !shown.is_empty() {
        message = format!("{message}; in {}", shown.join(", called by "));
    }
    let stack: String = frames.iter().map(|frame| format!("\n  in {frame}")).collect();
    actor.log(LogLevel::Error, format!("the {handler} handler failed: {what}{stack}"));
    Failure { kind, message: cut(message, FAILURE_TEXT_BYTES_MAX) }
}

fn classify(actor: &Actor, error: &wasmtime::Error, frames: usize) -> (FailureKind, String) {
    let limits = &actor.limits;
    if error.downcast_ref::<CpuTimeExceeded>().is_some() {
        let text = format!("it used up the {} ms of processor time that one message has", limits.cpu_ms);
        return (FailureKind::CpuTimeExceeded, text);
    }
    // A guest that is refused memory usually gives up by a trap of its own choice.
    if let Some(refused) = actor.share.failure(limits.memory_bytes) {
        return (refused.kind, refused.message);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => (FailureKind::StackOverflow, "its stack overflowed".to_string()),
        // Many languages keep a stack of their own in memory, below everything else; it overflows into addresses below zero.
        Some(Trap::MemoryOutOfBounds) if frames >= FRAMES_OF_OVERFLOW => {
            (FailureKind::StackOverflow, "its stack overflowed".to_string())
        }
        Some(Trap::UnreachableCodeReached) => (FailureKind::Trapped, "it panicked or aborted".to_string()),
        Some(trap) => (FailureKind::Trapped, trap.to_string()),
        None => (FailureKind::Trapped, error.root_cause().to_string()),
    }
}

fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| {
        let symbol = frame.symbols().first().and_then(|symbol| symbol.name()).or_else(|| frame.func_name());
        symbol.map_or_else(|| format!("function {}", frame.func_index()), demangle)
    };
    backtrace.frames().iter().map(name).collect()
}

/// As it stands in the source, without the hash that a Rust symbol ends with. A name of another language stays as it is.
fn demangle(name: &str) -> String {
    let plain = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => plain.map_or(name, |(plain, _)| plain).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_source() {
        let rows = [
            ("_RNvCsfgHYwM92fyn_7___rustc10rust_panic", "__rustc::rust_panic"),
            ("_RNvNtCs2d7j4WCgsqY_3std9panicking15panic_with_hook", "std::panicking::panic_with_hook"),
            ("_ZN7counter3add17h0123456789abcdefE", "counter::add"),
            ("counter::add::h0123456789abcdef", "counter::add"),
            ("counter::add", "counter::add"),
            ("handle_increment", "handle_increment"),
        ];
        for (name, expected) in rows {
            assert_eq!(demangle(name), expected, "{name}");
        }
    }
}

//! The hostile components, one row each: what it does, and what it must get.

use crate::component::{GOOD, Hostile};

/// What a component gets.
#[derive(Debug)]
pub enum Gets {
    /// A refusal at deploy: code, and a part of its sentence.
    Refused(&'static str, &'static str),
    /// An answer with this status and code.
    Fails(u16, &'static str),
    /// 200: what it tried had no effect on anybody.
    Nothing,
}

impl Gets {
    pub fn allows(&self, seen: &str) -> bool {
        match self {
            Gets::Refused(code, part) => seen.starts_with(&format!("refused {code}: ")) && seen.contains(part),
            Gets::Fails(status, code) => seen.starts_with(&format!("{status} {code}: ")),
            Gets::Nothing => seen == "ok",
        }
    }
}

type Row = (&'static str, Vec<u8>, Gets);

const CPU: Gets = Gets::Fails(504, "actor.cpu_time_exceeded");
const MEMORY: Gets = Gets::Fails(500, "actor.memory_exceeded");
const STACK: Gets = Gets::Fails(500, "actor.stack_overflow");
const TRAP: Gets = Gets::Fails(500, "actor.trapped");

pub fn corpus() -> Vec<Row> {
    let mut rows = computing();
    rows.extend(lying());
    rows.extend(flooding());
    rows.extend(refused());
    rows
}

fn row(what: &'static str, component: Hostile, gets: Gets) -> Row {
    (what, component.build(), gets)
}

fn body(what: &'static str, body: &'static str, gets: Gets) -> Row {
    row(what, Hostile { body, ..Hostile::default() }, gets)
}

/// Loops, bombs, recursion, and plain faults.
fn computing() -> Vec<Row> {
    vec![
        body("does nothing wrong", GOOD, Gets::Nothing),
        body("an endless loop", "(loop $l (br $l)) (unreachable)", CPU),
        row(
            "an endless loop while its arguments are written",
            Hostile { realloc: "(loop $l (br $l)) (unreachable)", ..Hostile::default() },
            CPU,
        ),
        row(
            "an endless loop before it is instantiated",
            Hostile { fields: "(func $s (loop $l (br $l))) (start $s)", ..Hostile::default() },
            Gets::Fails(500, "actor.start_failed"),
        ),
        row(
            "a trap before it is instantiated",
            Hostile { fields: "(func $s (unreachable)) (start $s)", ..Hostile::default() },
            Gets::Fails(500, "actor.start_failed"),
        ),
        body(
            "memory without end, touched",
            "(local $page i32)
             (loop $l
                (local.set $page (memory.grow (i32.const 16)))
                (if (i32.eq (local.get $page) (i32.const -1)) (then (unreachable)))
                (i32.store (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1))
                (br $l))
             (unreachable)",
            MEMORY,
        ),
        body(
            "four gigabytes at one time",
            "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then (unreachable)))
             (i32.const 64)",
            MEMORY,
        ),
        body(
            "four gigabytes at one time, again and again",
            "(loop $l (drop (memory.grow (i32.const 65000))) (br $l)) (unreachable)",
            CPU,
        ),
        row(
            "a memory that begins with a gigabyte",
            Hostile { memory: "(memory (export \"memory\") 16384)", ..Hostile::default() },
            Gets::Fails(500, "actor.start_failed"),
        ),
        row(
            "a table of a hundred million entries",
            Hostile {
                fields: "(table $t 1 funcref)",
                body: "(if (i32.eq (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const -1)) (then (unreachable))) (i32.const 64)",
                ..Hostile::default()
            },
            MEMORY,
        ),
        row(
            "recursion without end",
            Hostile { fields: "(func $f (call $f) (call $f))", body: "(call $f) (unreachable)", ..Hostile::default() },
            STACK,
        ),
        row(
            "recursion without end, through a table",
            Hostile {
                fields: "(type $v (func)) (table funcref (elem $f $g))
                         (func $f (call_indirect (type $v) (i32.const 1)) (call_indirect (type $v) (i32.const 1)))
                         (func $g (call_indirect (type $v) (i32.const 0)) (call_indirect (type $v) (i32.const 0)))",
                body: "(call $f) (unreachable)",
                ..Hostile::default()
            },
            STACK,
        ),
        body("unreachable", "(unreachable)", TRAP),
        body("a division by zero", "(i32.div_u (i32.const 1) (i32.const 0))", TRAP),
        body("a read behind its memory", "(i32.load (i32.const -4))", TRAP),
        body("a copy over the end of its memory", "(memory.copy (i32.const 0) (i32.const 8) (i32.const -1)) (i32.const 64)", TRAP),
        row(
            "a call of something with another type",
            Hostile {
                fields: "(type $v (func)) (table funcref (elem $f)) (func $f (param i32))",
                body: "(call_indirect (type $v) (i32.const 0)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
    ]
}

/// What it gives back, or the place it offers, is not what it says.
fn lying() -> Vec<Row> {
    // A response at 64: status, headers (pointer, length), body (pointer, length).
    let returned = |what, body, gets| row(what, Hostile { body, ..Hostile::default() }, gets);
    vec![
        row("an allocator that answers with an address outside", Hostile { realloc: "(i32.const -8)", ..Hostile::default() }, TRAP),
        row("an allocator that answers with an odd address", Hostile { realloc: "(i32.const 65537)", ..Hostile::default() }, TRAP),
        row(
            "an allocator that always answers with the same address",
            Hostile { realloc: "(i32.const 1024)", ..Hostile::default() },
            Gets::Nothing,
        ),
        returned("a response outside of its memory", "(i32.const -16)", TRAP),
        returned("a response at an odd address", "(i32.const 65)", TRAP),
        returned(
            "four billion headers",
            "(i32.store16 (i32.const 64) (i32.const 200)) (i32.store (i32.const 72) (i32.const -1)) (i32.const 64)",
            TRAP,
        ),
        returned(
            "headers that begin outside of its memory",
            "(i32.store16 (i32.const 64) (i32.const 200)) (i32.store (i32.const 68) (i32.const -16))
             (i32.store (i32.const 72) (i32.const 1)) (i32.const 64)",
            TRAP,
        ),
        returned(
            "a body of four gigabytes",
            "(i32.store16 (i32.const 64) (i32.const 200)) (i32.store (i32.const 80) (i32.const -1)) (i32.const 64)",
            TRAP,
        ),
        returned(
            "ten thousand headers that share one long value",
            // Each is 16 bytes: name (pointer, length), value (pointer, length).
            "(local $at i32)
             (i32.store8 (i32.const 128) (i32.const 120))
             (local.set $at (i32.const 262144))
             (drop (memory.grow (i32.const 8)))
             (loop $l
                (i32.store (local.get $at) (i32.const 128))
                (i32.store offset=4 (local.get $at) (i32.const 1))
                (i32.store offset=8 (local.get $at) (i32.const 0))
                (i32.store offset=12 (local.get $at) (i32.const 200000))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (br_if $l (i32.lt_u (local.get $at) (i32.const 422144))))
             (i32.store16 (i32.const 64) (i32.const 200))
             (i32.store (i32.const 68) (i32.const 262144)) (i32.store (i32.const 72) (i32.const 10000))
             (i32.const 64)",
            TRAP,
        ),
        returned(
            "a header whose name is not UTF-8",
            "(i32.store8 (i32.const 128) (i32.const 255))
             (i32.store (i32.const 256) (i32.const 128)) (i32.store (i32.const 260) (i32.const 1))
             (i32.store16 (i32.const 64) (i32.const 200))
             (i32.store (i32.const 68) (i32.const 256)) (i32.store (i32.const 72) (i32.const 1)) (i32.const 64)",
            TRAP,
        ),
        returned(
            "a status that no client should see",
            "(i32.store16 (i32.const 64) (i32.const 65535)) (i32.const 64)",
            Gets::Fails(500, "actor.invalid_response"),
        ),
        returned("no status", "(i32.const 64)", Gets::Fails(500, "actor.invalid_response")),
    ]
}

const KV: &[&str] = &["rivet:actor/kv@0.1.0"];
const KV_PUT: &str = "(import \"rivet:actor/kv@0.1.0\" \"put\" (func $put (param i32 i32 i32 i32 i32)))";
const KV_GET: &str = "(import \"rivet:actor/kv@0.1.0\" \"get\" (func $get (param i32 i32 i32)))";
const LOG: &[&str] = &["rivet:actor/logging@0.1.0"];
const LOG_LOG: &str = "(import \"rivet:actor/logging@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
const CLOCK: &[&str] = &["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"];
const SUBSCRIBE: &str =
    "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\" (func $wait (param i64) (result i32)))";

/// Calls of the host, as many as it can.
fn flooding() -> Vec<Row> {
    vec![
        row(
            "writes without end",
            Hostile {
                imports: KV,
                core: KV_PUT,
                body: "(local $n i32)
                       (loop $l
                          ;; The texts of refusals would fill its memory otherwise.
                          (global.set $top (i32.const 65536))
                          (i32.store (i32.const 512) (local.get $n))
                          (call $put (i32.const 512) (i32.const 4) (i32.const 1024) (i32.const 100) (i32.const 128))
                          (local.set $n (i32.add (local.get $n) (i32.const 1)))
                          (br $l))
                       (unreachable)",
                ..Hostile::default()
            },
            CPU,
        ),
        row(
            "a value of a hundred kilobytes more than fits, then an answer",
            Hostile {
                imports: KV,
                core: KV_PUT,
                body: "(call $put (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 231072) (i32.const 128))
                       (i32.store16 (i32.const 64) (i32.const 200)) (i32.store (i32.const 68) (i32.const 0))
                       (i32.store (i32.const 72) (i32.const 0)) (i32.const 64)",
                ..Hostile::default()
            },
            Gets::Nothing,
        ),
        row(
            "a value that ends outside of its memory",
            Hostile {
                imports: KV,
                core: KV_PUT,
                body: "(call $put (i32.const 512) (i32.const 4) (i32.const 0) (i32.const -1) (i32.const 128)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "a result that would be written outside of its memory",
            Hostile {
                imports: KV,
                core: KV_PUT,
                body: "(call $put (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 1) (i32.const -4)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "two thousand reads of keys that are not there",
            Hostile {
                imports: KV,
                core: KV_GET,
                body: "(local $n i32)
                       (loop $l
                          (i32.store (i32.const 512) (local.get $n))
                          (call $get (i32.const 512) (i32.const 4) (i32.const 128))
                          (local.set $n (i32.add (local.get $n) (i32.const 1)))
                          (br_if $l (i32.lt_u (local.get $n) (i32.const 2000))))
                       (i32.store16 (i32.const 64) (i32.const 200)) (i32.const 64)",
                ..Hostile::default()
            },
            Gets::Nothing,
        ),
        row(
            "log lines without end",
            Hostile {
                imports: LOG,
                core: LOG_LOG,
                body: "(loop $l (call $log (i32.const 2) (i32.const 1024) (i32.const 8192)) (br $l)) (unreachable)",
                ..Hostile::default()
            },
            CPU,
        ),
        row(
            "a log line that is not UTF-8",
            Hostile {
                imports: LOG,
                core: LOG_LOG,
                body: "(i32.store8 (i32.const 1024) (i32.const 255)) (call $log (i32.const 2) (i32.const 1024) (i32.const 1)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "a log line of a level that does not exist",
            Hostile {
                imports: LOG,
                core: LOG_LOG,
                body: "(call $log (i32.const 77) (i32.const 1024) (i32.const 1)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "all the random numbers there are",
            Hostile {
                imports: &["wasi:random/random@0.2.0"],
                core: "(import \"wasi:random/random@0.2.0\" \"get-random-bytes\" (func $random (param i64 i32)))",
                body: "(call $random (i64.const -1) (i32.const 128)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "resources without end",
            Hostile {
                imports: CLOCK,
                core: SUBSCRIBE,
                body: "(loop $l (drop (call $wait (i64.const -1))) (br $l)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
        row(
            "a resource that it does not have",
            Hostile {
                imports: CLOCK,
                core: "(import \"wasi:io/poll@0.2.0\" \"[method]pollable.block\" (func $block (param i32)))",
                body: "(call $block (i32.const 4242)) (unreachable)",
                ..Hostile::default()
            },
            TRAP,
        ),
    ]
}

/// Not even deployed.
fn refused() -> Vec<Row> {
    let text = |what, text: &str, code, part| {
        (what, wat::parse_str(text).expect("the component is well-formed"), Gets::Refused(code, part))
    };
    let good = Hostile::default().build();
    let many = format!(
        "(component {})",
        "(core module)".repeat(200) + &(0..200).map(|n| format!("(core instance (instantiate {n}))")).collect::<String>()
    );
    vec![
        ("nothing", Vec::new(), Gets::Refused("component.malformed", "empty")),
        ("half of a component", good[..good.len() / 2].to_vec(), Gets::Refused("component.malformed", "")),
        ("a component with noise in its middle", noisy(&good), Gets::Refused("component.malformed", "")),
        (
            "a core module",
            wat::parse_str("(module)").expect("it is well-formed"),
            Gets::Refused("component.malformed", "core module"),
        ),
        text("no handler", "(component)", "component.no_handler", "no handler"),
        text(
            "an import that nobody offers",
            "(component (import \"evil:host/shell\" (instance (export \"run\" (func)))))",
            "component.unknown_import",
            "evil:host/shell",
        ),
        text("a core module as an import", "(component (import \"m\" (core module)))", "component.unknown_import", "m"),
        text("two hundred core modules in one", &many, "component.no_handler", ""),
        text("threads", "(component (core module (memory 1 1 shared)))", "component.malformed", ""),
        text("a memory of 64 bits", "(component (core module (memory i64 1)))", "component.no_handler", ""),
    ]
}

fn noisy(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    bytes
}

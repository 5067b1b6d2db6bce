//! Components whose core module is written by hand: what no compiler makes, a hostile author does.
//!
//! The module is text; its world is made into a component around it by the same encoder that compilers use.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component with the HTTP handler of `rivet:actor@0.1.0` around a core module in text form.
pub struct Hostile {
    /// Interfaces of the contract that the module imports.
    pub imports: &'static [&'static str],
    /// The core imports, in the same order.
    pub core: &'static str,
    /// Fields of the module: globals, functions, data.
    pub fields: &'static str,
    /// What the handler does. It leaves the address of its response on the stack, or ends otherwise.
    pub body: &'static str,
    /// What stands in place of the memory.
    pub memory: &'static str,
    /// What `cabi_realloc` does with (old, old size, alignment, new size).
    pub realloc: &'static str,
}

/// The part of WASI 0.2 that hostile guests try.
const WASI: [&str; 3] = [
    "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }",
    "package wasi:clocks@0.2.0; interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        subscribe-duration: func(nanoseconds: u64) -> pollable;
    }",
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
];

/// Enough for one request: what the host writes lies behind the first page, and is never freed.
const BUMP: &str = "
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at)";

/// The address of a response: 200, no header, no body. The page begins with zeros but for this.
pub const GOOD: &str = "(i32.store16 (i32.const 64) (i32.const 200)) (i32.const 64)";

impl Default for Hostile {
    fn default() -> Hostile {
        Hostile { imports: &[], core: "", fields: "", body: GOOD, memory: "(memory (export \"memory\") 4)", realloc: BUMP }
    }
}

impl Hostile {
    pub fn text(&self) -> String {
        let Hostile { core, fields, body, memory, realloc, .. } = self;
        format!(
            "(module
                {core}
                {memory}
                (global $top (mut i32) (i32.const 65536))
                (func $realloc (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})
                {fields}
                (func (export \"rivet:actor/http-handler@0.1.0#handle\")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {body}))"
        )
    }

    pub fn build(&self) -> Vec<u8> {
        let imports: String = self.imports.iter().map(|interface| format!("import {interface};\n")).collect();
        component(&self.text(), &imports)
    }
}

/// A component of this core module, in a world with these imports.
fn component(text: &str, imports: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1")).expect("the contract can be read");
    for package in WASI {
        resolve.push_str("wasi.wit", package).expect("WASI can be read");
    }
    let world = format!("package hostile:guest;\nworld guest {{\n{imports}export rivet:actor/http-handler@0.1.0;\n}}");
    let package = resolve.push_str("guest.wit", &world).expect("the world is well-formed");
    let world = resolve.select_world(&[package], None).expect("there is one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world can be embedded");
    let encoder = ComponentEncoder::default().module(&module).expect("the module fits its world");
    encoder.validate(false).encode().unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

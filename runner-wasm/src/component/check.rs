//! Which components are accepted, and the sentences that refuse the others.
//!
//! Everything that can be known before an instance exists is asked here: at deploy, where somebody reads the answer, not at the
//! first request. Runs nothing of the component.

use protocol::component::{ComponentHash, ComponentRefusal, ComponentRefusalKind as Kind, Handler};
use protocol::limits::{COMPONENT_BYTES_MAX, FAILURE_TEXT_BYTES_MAX, cut};
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentNamedList, InstancePre, Lift, Linker, Lower};

use super::handlers::{Export, Handlers};
use crate::host::Host;

const MAGIC: &[u8; 4] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// Of these a component needs one: they are called from outside.
const CALLED: [Handler; 8] = [
    Handler::Start,
    Handler::Alarm,
    Handler::Action,
    Handler::Queue,
    Handler::Connection,
    Handler::Websocket,
    Handler::Http,
    Handler::WasiHttp,
];

pub struct Checked {
    pub pre: InstancePre<Host>,
    pub imports: Vec<String>,
    pub handlers: Handlers,
    /// It was built against 0.2, so it answers RivetKit's clients; one of before has every path for itself.
    pub takes_clients: bool,
}

/// What the first bytes say, so that the common mistakes get their own sentence.
pub fn bytes(hash: ComponentHash, bytes: &[u8]) -> Result<(), ComponentRefusal> {
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        let message = format!("the component has {} bytes, at most {COMPONENT_BYTES_MAX} are taken", bytes.len());
        return Err(refusal(Kind::TooLarge, message));
    }
    let malformed = |message: &str| Err(refusal(Kind::Malformed, message.to_string()));
    if bytes.is_empty() {
        return malformed("the file is empty; upload a WebAssembly component");
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return malformed("this is machine code that a WebAssembly engine compiled ahead of time; upload the component itself");
    }
    if !bytes.starts_with(MAGIC) {
        return malformed("this is not WebAssembly: the file does not begin with \\0asm; upload a component, a .wasm file");
    }
    if bytes.get(4..8) == Some(&CORE_MODULE) {
        return malformed(
            "this is a core module; make a component of it with `wasm-tools component new module.wasm -o component.wasm`, or build \
             for the target wasm32-wasip2",
        );
    }
    if bytes.get(6..8) != Some(&COMPONENT_LAYER) {
        return malformed("this is WebAssembly of a kind that is not known here; upload a component");
    }
    if Sha256::digest(bytes)[..] != hash.0 {
        return Err(refusal(Kind::Internal, format!("the bytes that arrived are not those of {hash}; deploy it again")));
    }
    Ok(())
}

/// What the memories of an instance begin with; of what is malformed, as much as can be read: the compiler refuses it.
pub fn data_bytes(bytes: &[u8]) -> usize {
    let payloads = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    let data = payloads.map(|payload| match payload {
        Payload::DataSection(section) => section.range().len(),
        _ => 0,
    });
    data.sum()
}

pub fn refusal_of_compiler(error: &wasmtime::Error) -> ComponentRefusal {
    refusal(Kind::Malformed, format!("the component is damaged or uses something that is not supported: {error:#}"))
}

pub fn component(linker: &Linker<Host>, component: &Component) -> Result<Checked, ComponentRefusal> {
    let pre = linker.instantiate_pre(component).map_err(|error| {
        let message = format!("it imports something that is not offered here, or with another signature: {error:#}");
        refusal(Kind::UnknownImport, message)
    })?;
    let engine = linker.engine();
    let imports = component.component_type().imports(engine).map(|(name, _)| name.to_string()).collect();
    let handlers = Handlers::find(&Exports { pre: &pre, engine })?;
    if !handlers.list().iter().any(|handler| CALLED.contains(handler)) {
        let message = "it exports no handler that could be called: export one of rivet:actor's of version 0.2 or 0.1 beside the \
                       migrate-handler and the stop-handler, such as rivet:actor/action-handler or rivet:actor/http-handler, or \
                       wasi:http/incoming-handler of version 0.2";
        return Err(refusal(Kind::NoHandler, message.to_string()));
    }
    let is_of_0_2 = |name: &str| name.strip_prefix("rivet:actor/").is_some_and(|rest| rest.contains("@0.2."));
    let takes_clients = component.component_type().exports(engine).any(|(name, _)| is_of_0_2(name));
    Ok(Checked { pre, imports, handlers, takes_clients })
}

/// What a component exports.
pub struct Exports<'a> {
    pre: &'a InstancePre<Host>,
    engine: &'a Engine,
}

impl Exports<'_> {
    /// The function, if the interface is exported in one of these versions; refused if it is and its function is another than ours.
    pub fn find<P, R>(&self, interface: &str, versions: &[&str], function: &str) -> Result<Option<Export<P, R>>, ComponentRefusal>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let component = self.pre.component();
        let exported = |version: &&str| {
            let of_version = |name: &str| name.strip_prefix(interface).is_some_and(|rest| rest.starts_with(version));
            component.component_type().exports(self.engine).map(|(name, _)| name.to_string()).find(|name| of_version(name))
        };
        let Some(name) = versions.iter().find_map(exported) else { return Ok(None) };
        let wrong = |what: String| refusal(Kind::NoHandler, format!("the export `{name}` is not what the engine calls: {what}"));
        let Some((ComponentItem::ComponentInstance(_), instance)) = component.get_export(None, name.as_str()) else {
            return Err(wrong("it is not an interface".to_string()));
        };
        let Some((ComponentItem::ComponentFunc(func), index)) = component.get_export(Some(&instance), function) else {
            return Err(wrong(format!("it has no function `{function}`")));
        };
        if func.async_() {
            return Err(wrong(format!("`{function}` is an `async func`, the interface has a plain one")));
        }
        func.typecheck::<P, R>(&self.pre.instance_type())
            .map_err(|error| wrong(format!("`{function}` has another signature: {error:#}")))?;
        Ok(Some(Export::new(index)))
    }
}

fn refusal(kind: Kind, message: String) -> ComponentRefusal {
    ComponentRefusal { kind, message: cut(message, FAILURE_TEXT_BYTES_MAX) }
}

//! Which components are accepted, and the sentences that refuse the others.
//!
//! Everything that can be known before an instance exists is asked here: at deploy, where somebody reads the answer, not at the
//! first request. Runs nothing of the component.

use protocol::component::{ComponentHash, ComponentRefusal, ComponentRefusalKind as Kind, Handler};
use protocol::limits::{COMPONENT_BYTES_MAX, FAILURE_TEXT_BYTES_MAX, cut};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker, Resource};
use wasmtime_wasi_http::p2::bindings as wasi;

use crate::bindings;
use crate::host::Host;

/// The versions that an exported interface of ours may have: 0.1.z, one track.
const TRACK: &str = "@0.1.";
const WASI_TRACK: &str = "@0.2.";

const MAGIC: &[u8; 4] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT_LAYER: [u8; 2] = [1, 0];

pub struct Checked {
    pub pre: InstancePre<Host>,
    pub imports: Vec<String>,
    pub start: Option<bindings::start::WithStartIndices>,
    pub stop: Option<bindings::stop::WithStopIndices>,
    pub alarm: Option<bindings::alarm::WithAlarmIndices>,
    pub http: Option<bindings::http::WithHttpIndices>,
    pub wasi_http: Option<wasi::ProxyIndices>,
}

impl Checked {
    pub fn handlers(&self) -> Vec<Handler> {
        let has = [
            (self.start.is_some(), Handler::Start),
            (self.stop.is_some(), Handler::Stop),
            (self.alarm.is_some(), Handler::Alarm),
            (self.http.is_some(), Handler::Http),
            (self.wasi_http.is_some(), Handler::WasiHttp),
        ];
        has.into_iter().filter_map(|(has, handler)| has.then_some(handler)).collect()
    }
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
    let exports = Exports { pre: &pre, engine };

    let start = exports.handler("rivet:actor/start-handler", TRACK, "start", |func, pre| {
        use bindings::start::exports::rivet::actor::start_handler::StartReason;
        func.typecheck::<(StartReason,), (Result<(), String>,)>(&pre.instance_type())
    })?;
    let stop = exports.handler("rivet:actor/stop-handler", TRACK, "stop", |func, pre| {
        use bindings::stop::exports::rivet::actor::stop_handler::StopReason;
        func.typecheck::<(StopReason,), ()>(&pre.instance_type())
    })?;
    let alarm = exports.handler("rivet:actor/alarm-handler", TRACK, "fired", |func, pre| {
        func.typecheck::<(u64, u32), (Result<(), String>,)>(&pre.instance_type())
    })?;
    let http = exports.handler("rivet:actor/http-handler", TRACK, "handle", |func, pre| {
        use bindings::http::exports::rivet::actor::http_handler::{Request, Response};
        func.typecheck::<(Request,), (Response,)>(&pre.instance_type())
    })?;
    let wasi_http = exports.handler("wasi:http/incoming-handler", WASI_TRACK, "handle", |func, pre| {
        use wasi::http::types::{IncomingRequest, ResponseOutparam};
        func.typecheck::<(Resource<IncomingRequest>, Resource<ResponseOutparam>), ()>(&pre.instance_type())
    })?;

    // What passed must be found by its bindings; what is absent is not looked for.
    let bound = |error: wasmtime::Error| refusal(Kind::NoHandler, format!("an exported handler cannot be called: {error:#}"));
    let checked = Checked {
        imports,
        start: start.then(|| bindings::start::WithStartIndices::new(&pre)).transpose().map_err(bound)?,
        stop: stop.then(|| bindings::stop::WithStopIndices::new(&pre)).transpose().map_err(bound)?,
        alarm: alarm.then(|| bindings::alarm::WithAlarmIndices::new(&pre)).transpose().map_err(bound)?,
        http: http.then(|| bindings::http::WithHttpIndices::new(&pre)).transpose().map_err(bound)?,
        wasi_http: wasi_http.then(|| wasi::ProxyIndices::new(&pre)).transpose().map_err(bound)?,
        pre,
    };
    if checked.http.is_none() && checked.wasi_http.is_none() && checked.alarm.is_none() && checked.start.is_none() {
        let message = "it exports no handler that could be called: export rivet:actor/http-handler, rivet:actor/alarm-handler or \
                       rivet:actor/start-handler of version 0.1, or wasi:http/incoming-handler of version 0.2";
        return Err(refusal(Kind::NoHandler, message.to_string()));
    }
    Ok(checked)
}

struct Exports<'a> {
    pre: &'a InstancePre<Host>,
    engine: &'a Engine,
}

impl Exports<'_> {
    /// Whether the interface is exported in a version we know; refused if it is and its function is another than ours.
    fn handler(
        &self,
        interface: &str,
        track: &str,
        function: &str,
        check: impl FnOnce(&ComponentFunc, &InstancePre<Host>) -> wasmtime::Result<()>,
    ) -> Result<bool, ComponentRefusal> {
        let component = self.pre.component().component_type();
        let of_track = |name: &str| name.strip_prefix(interface).is_some_and(|version| version.starts_with(track));
        let Some((name, export)) = component.exports(self.engine).find(|(name, _)| of_track(name)) else { return Ok(false) };
        let wrong = |what: String| refusal(Kind::NoHandler, format!("the export `{name}` is not what the engine calls: {what}"));
        let ComponentItem::ComponentInstance(instance) = export.ty else {
            return Err(wrong("it is not an interface".to_string()));
        };
        let func = self.function(&instance, function).ok_or_else(|| wrong(format!("it has no function `{function}`")))?;
        if func.async_() {
            return Err(wrong(format!("`{function}` is an `async func`, the interface has a plain one")));
        }
        check(&func, self.pre).map_err(|error| wrong(format!("`{function}` has another signature: {error:#}")))?;
        Ok(true)
    }

    fn function(&self, instance: &ComponentInstance, name: &str) -> Option<ComponentFunc> {
        match instance.get_export(self.engine, name)?.ty {
            ComponentItem::ComponentFunc(func) => Some(func),
            _ => None,
        }
    }
}

fn refusal(kind: Kind, message: String) -> ComponentRefusal {
    ComponentRefusal { kind, message: cut(message, FAILURE_TEXT_BYTES_MAX) }
}

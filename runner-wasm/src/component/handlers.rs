//! The handlers that a component may export: one table of their names and types.
//!
//! What is compared are types, not names: a handler of version 0.1 whose type has not changed since is called as one of 0.2.

use std::marker::PhantomData;

use protocol::component::{ComponentRefusal, Handler};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource, TypedFunc};
use wasmtime_wasi_http::p2::bindings::http::types::{IncomingRequest, ResponseOutparam};

use super::check::Exports;
use crate::bindings::exports::rivet::actor::action_handler::Call;
use crate::bindings::exports::rivet::actor::http_handler::{Request, Response};
use crate::bindings::exports::rivet::actor::queue_handler::Queued;
use crate::bindings::exports::rivet::actor::start_handler::StartReason;
use crate::bindings::exports::rivet::actor::stop_handler::StopReason;
use crate::bindings::exports::rivet::actor::websocket_handler::OpenRequest;
use crate::bindings::rivet::actor::types::{Failure, Message};
use crate::host::Host;

/// The versions that an interface may have; the first that is found is called.
const SINCE_0_1: &[&str] = &["@0.2.", "@0.1."];
const SINCE_0_2: &[&str] = &["@0.2."];
const WASI: &[&str] = &["@0.2."];

/// A handler's function in a component.
pub struct Export<P, R> {
    index: ComponentExportIndex,
    of: PhantomData<fn(P) -> R>,
}

impl<P: ComponentNamedList + Lower, R: ComponentNamedList + Lift> Export<P, R> {
    /// For an index whose function has been found to be of this type.
    pub fn new(index: ComponentExportIndex) -> Export<P, R> {
        Export { index, of: PhantomData }
    }

    fn bind(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<TypedFunc<P, R>> {
        instance.get_typed_func(store, self.index)
    }
}

macro_rules! handlers {
    ($($function:ident: $handler:ident, $interface:literal $versions:ident $name:literal, $params:ty => $results:ty;)*) => {
        /// Those that a component has.
        pub struct Handlers {
            $($function: Option<Export<$params, $results>>,)*
        }

        /// The same of one instance, to be called.
        pub struct Bound {
            $(pub $function: Option<TypedFunc<$params, $results>>,)*
        }

        impl Handlers {
            pub fn find(exports: &Exports<'_>) -> Result<Handlers, ComponentRefusal> {
                Ok(Handlers { $($function: exports.find($interface, $versions, $name)?,)* })
            }

            pub fn list(&self) -> Vec<Handler> {
                let has = [$((self.$function.is_some(), Handler::$handler)),*];
                let mut list: Vec<_> = has.into_iter().filter_map(|(has, handler)| has.then_some(handler)).collect();
                list.dedup();
                list
            }

            pub fn bind(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Bound> {
                Ok(Bound { $($function: self.$function.as_ref().map(|found| found.bind(store, instance)).transpose()?,)* })
            }
        }
    };
}

handlers! {
    migrate: Migrate, "rivet:actor/migrate-handler" SINCE_0_2 "migrate", (u32,) => (Result<(), String>,);
    start: Start, "rivet:actor/start-handler" SINCE_0_1 "start", (StartReason,) => (Result<(), String>,);
    stop: Stop, "rivet:actor/stop-handler" SINCE_0_1 "stop", (StopReason,) => ();
    alarm: Alarm, "rivet:actor/alarm-handler" SINCE_0_1 "fired", (u64, u32) => (Result<(), String>,);
    action: Action, "rivet:actor/action-handler" SINCE_0_2 "handle", (Call,) => (Result<String, Failure>,);
    queue: Queue, "rivet:actor/queue-handler" SINCE_0_2 "handle", (Queued,) => (Result<Option<String>, Failure>,);
    connect: Connection, "rivet:actor/connection-handler" SINCE_0_2 "connect",
        (String, Option<String>) => (Result<Vec<u8>, Failure>,);
    disconnect: Connection, "rivet:actor/connection-handler" SINCE_0_2 "disconnect", (String,) => ();
    socket_open: Websocket, "rivet:actor/websocket-handler" SINCE_0_2 "open",
        (String, OpenRequest) => (Result<Vec<u8>, Failure>,);
    socket_receive: Websocket, "rivet:actor/websocket-handler" SINCE_0_2 "receive", (String, Message) => ();
    socket_close: Websocket, "rivet:actor/websocket-handler" SINCE_0_2 "close", (String, Option<u16>, Option<String>) => ();
    http: Http, "rivet:actor/http-handler" SINCE_0_1 "handle", (Request,) => (Response,);
    wasi_http: WasiHttp, "wasi:http/incoming-handler" WASI "handle", (Resource<IncomingRequest>, Resource<ResponseOutparam>) => ();
}

//! What the contract looks like in Rust, generated from `wit/`. The rest of the crate wraps it; nothing else is to be found here.
//!
//! Each handler has a world of its own, so that a component exports only those that its `export!` names.

wit_bindgen::generate!({ path: "wit", world: "rivet:actor-sdk/imports", generate_all, pub_export_macro: true });

pub mod migrate {
    //! `migrate-handler`.
    wit_bindgen::generate!({ path: "wit", world: "rivet:actor/with-migrate", pub_export_macro: true, export_macro_name: "export_migrate" });
}

pub mod start {
    //! `start-handler`.
    wit_bindgen::generate!({ path: "wit", world: "rivet:actor/with-start", pub_export_macro: true, export_macro_name: "export_start" });
}

pub mod stop {
    //! `stop-handler`.
    wit_bindgen::generate!({ path: "wit", world: "rivet:actor/with-stop", pub_export_macro: true, export_macro_name: "export_stop" });
}

pub mod alarm {
    //! `alarm-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-alarm",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_alarm",
    });
}

pub mod action {
    //! `action-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-action",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_action",
    });
}

pub mod queue {
    //! `queue-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-queue",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_queue",
    });
}

pub mod connection {
    //! `connection-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-connection",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_connection",
    });
}

pub mod websocket {
    //! `websocket-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-websocket",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_websocket",
    });
}

pub mod http {
    //! `http-handler`.
    wit_bindgen::generate!({
        path: "wit",
        world: "rivet:actor/with-http",
        with: { "rivet:actor/types@0.2.0": crate::bindings::rivet::actor::types },
        pub_export_macro: true,
        export_macro_name: "export_http",
    });
}

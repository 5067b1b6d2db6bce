//! The one line that makes a component of a type.

/// Exports an actor: its type, and the handlers that it has.
///
/// ```
/// use rivet_actor::{Start, StartReason, Stop, StopReason};
///
/// #[derive(Default)]
/// struct Quiet;
///
/// rivet_actor::export!(Quiet: Start + Stop);
///
/// impl Start for Quiet {
///     fn start(&mut self, reason: StartReason) -> Result<(), String> {
///         rivet_actor::log::info(&format!("here I am: {reason:?}"));
///         Ok(())
///     }
/// }
///
/// impl Stop for Quiet {
///     fn stop(&mut self, _reason: StopReason) {}
/// }
/// ```
///
/// The type needs `Default`: that is how it comes into memory. The handlers are the names of this crate's traits; one that is named
/// and not implemented does not compile, one that is implemented and not named is never called.
#[macro_export]
macro_rules! export {
    ($actor:ident : $first:ident $(+ $more:ident)*) => {
        impl $crate::Instance for $actor {
            fn with<R>(call: impl FnOnce(&mut Self) -> R) -> R {
                ::std::thread_local! {
                    static ACTOR: ::std::cell::RefCell<Option<$actor>> = const { ::std::cell::RefCell::new(None) };
                }
                ACTOR.with_borrow_mut(|actor| call(actor.get_or_insert_with(|| {
                    $crate::first_call();
                    ::std::default::Default::default()
                })))
            }
        }
        const _: () = {
            type Exported = $crate::Adapter<$actor>;
            $crate::export_handler!($first Exported);
            $($crate::export_handler!($more Exported);)*
        };
    };
}

/// The handlers that [`export!`](crate::export) knows.
#[doc(hidden)]
#[macro_export]
macro_rules! export_handler {
    (Migrate $adapter:ident) => { $crate::bindings::migrate::export_migrate!($adapter with_types_in $crate::bindings::migrate); };
    (Start $adapter:ident) => { $crate::bindings::start::export_start!($adapter with_types_in $crate::bindings::start); };
    (Stop $adapter:ident) => { $crate::bindings::stop::export_stop!($adapter with_types_in $crate::bindings::stop); };
    (Alarms $adapter:ident) => { $crate::bindings::alarm::export_alarm!($adapter with_types_in $crate::bindings::alarm); };
    (Actions $adapter:ident) => { $crate::bindings::action::export_action!($adapter with_types_in $crate::bindings::action); };
    (Queues $adapter:ident) => { $crate::bindings::queue::export_queue!($adapter with_types_in $crate::bindings::queue); };
    (Connections $adapter:ident) => {
        $crate::bindings::connection::export_connection!($adapter with_types_in $crate::bindings::connection);
    };
    (WebSockets $adapter:ident) => {
        $crate::bindings::websocket::export_websocket!($adapter with_types_in $crate::bindings::websocket);
    };
    (Http $adapter:ident) => { $crate::bindings::http::export_http!($adapter with_types_in $crate::bindings::http); };
    ($other:ident $adapter:ident) => {
        ::std::compile_error!(::std::concat!(
            "`", ::std::stringify!($other), "` is no handler; there are Actions, Alarms, Connections, Http, Migrate, Queues, Start, ",
            "Stop and WebSockets"
        ));
    };
}

//! The engine: one binary that runs stateful actors, and the same inside another process for tests of actors.
//!
//! In reading order:
//! - [`cli`]: what can be typed; `start` leads to everything below.
//! - [`config`]: what was typed, checked once.
//! - [`compose`]: puts the parts together. Start here to see how they hang together.
//! - [`driver`]: tells the core what happened and does what it asks for; [`inbox`] is what it has yet to be told.
//! - [`embedded`]: the same parts without a port, on a store in memory and with another clock. [`checks`]: the same once more, around a
//!   fork of an actor, to try a version on it.
//! - [`engine`]: what the parts share.
//! - [`http`]: the main port; sends each request to the [`gateway`] or the [`api`]. [`edge`]: what is asked of clients before that.
//!   [`tls`]: certificates. [`lanes`]: where a connection goes on that carries much.
//! - [`gateway`]: requests to actors. [`actor_calls`]: those that actors make. [`requests`]: those in flight. [`incoming`], [`body`], [`window`]: how bodies flow.
//! - [`sockets`]: clients' WebSockets to actors.
//! - [`api`]: requests about actors. [`calls`]: those that wait for the core. [`error`]: all errors there are.
//! - [`auth`]: who may ask. [`ports`]: the two ports beside the main one. [`metrics`]: what is counted. [`telemetry`]: log lines,
//!   and what leaves for a collector. [`readiness`]: whether requests are wanted. [`notify`],
//!   [`supervise`]: what the service manager is told, and when.
//! - [`dashboard`]: what operators see.
//! - [`links`]: what runners say. [`runners`]: those that are connected; [`outbox`]: what waits to be sent to one.
//! - [`serverless`]: pools whose runners are called by URL.
//! - [`trust`]: whom the engine believes when it calls others.
//! - [`standalone`]: the runner for components on its own, for an engine elsewhere.
//! - [`memory`]: what the process may have, and what each of its parts may.
//! - [`readers`]: the threads that read. [`database`]: actors' SQLite databases. [`components`], [`directory`], [`logs`]: what is
//!   kept beside the store. [`backups`]: copies of it all. [`room`]: what is refused while the disk is full.
//!   [`held`]: what waits for it. [`doctor`]: looks at all of it. [`portable`]: one actor as a file.
//! - [`websocket`]: what the WebSockets of clients and of runners have in common. [`prompt`]: why they are not heard late.
//! - [`clock`], [`random`], [`ray`], [`form`], [`lock`], [`files`]: small tools.

mod actor_calls;
mod api;
mod auth;
mod backups;
mod body;
mod calls;
mod checks;
pub mod cli;
mod clock;
mod components;
mod compose;
mod config;
mod dashboard;
mod database;
mod directory;
mod doctor;
mod driver;
mod edge;
pub mod embedded;
mod engine;
mod error;
mod files;
mod form;
mod gateway;
mod held;
#[cfg(test)]
mod hostile;
mod http;
mod inbox;
mod incoming;
mod lanes;
mod links;
mod lock;
mod logs;
mod memory;
mod metrics;
mod notify;
mod outbox;
mod portable;
mod ports;
mod prompt;
mod random;
mod ray;
mod readers;
mod readiness;
mod recordings;
mod requests;
mod room;
mod runners;
mod serverless;
mod sockets;
mod standalone;
mod supervise;
mod telemetry;
#[cfg(test)]
mod testing;
mod tls;
mod trust;
mod websocket;
mod window;

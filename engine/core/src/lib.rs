//! The whole behaviour of the engine, as a value.
//!
//! [`Core`] is told what happened ([`Input`]) together with the time, and asked what to do about it ([`Action`]):
//!
//! ```text
//! core.handle(now, input);
//! while let Some(action) = core.poll_action() { perform(action) }
//! sleep_at_most(core.wait_ms(now));
//! ```
//!
//! It touches nothing: no clock, socket, file, thread, randomness or unordered map. The same inputs give the same actions, so
//! its tests are scripts and its worst days can be replayed.
//!
//! In reading order:
//! - [`record`]: what is persisted of an actor, a namespace, a deployment.
//! - [`input`], [`action`]: the two vocabularies.
//! - [`refusal`]: why something is refused.
//! - [`core`]: the value; routes each input to the part it concerns.
//! - [`requests`]: how a request finds its actor and waits for it.
//! - [`actor_calls`]: requests that an actor makes, and waits for.
//! - [`api`]: what the API may ask for.
//! - [`import`]: an actor that comes from elsewhere.
//! - [`tokens`]: who may ask. [`audit`]: who asked for what.
//! - [`memory`]: how an actor comes into memory and leaves it.
//! - [`life`], [`start`], [`words`]: the life of one actor; how it starts; what its runner says.
//! - [`crashes`]: how soon one that fails again and again starts again.
//! - [`sockets`]: clients' sockets that outlive a generation of their actor.
//! - [`database`]: who may write an actor's database, and on what.
//! - [`place`]: where an actor can run, and which version of what is deployed.
//! - [`deploys`], [`settings`]: how a deployment changes; what it gives its actors beside code.
//! - [`moves`]: how running actors get to another version.
//! - [`runners`]: who is there, who is away, who is on its way out.
//! - [`pools`]: how pools get their runners.
//! - [`storage`]: how much an actor, and its namespace, may store.
//! - [`awake`]: how many actors may be awake.
//! - [`quotas`]: what a namespace may have.
//! - [`deletion`]: how a namespace goes.
//! - [`alarms`]: which alarm is due next, without holding all of them.
//! - [`check`]: what must hold between two inputs, for simulations.

pub mod action;
mod actor_calls;
mod alarms;
mod api;
pub mod audit;
mod awake;
mod check;
pub mod core;
pub mod crashes;
mod database;
pub mod deletion;
pub mod deploys;
mod import;
pub mod input;
mod life;
mod memory;
pub mod moves;
mod place;
mod pools;
pub mod quotas;
pub mod record;
pub mod refusal;
mod requests;
mod runners;
pub mod settings;
mod sockets;
mod start;
mod storage;
pub mod tokens;
mod words;

pub use action::Action;
pub use core::{Config, Core};
pub use input::Input;

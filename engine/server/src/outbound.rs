//! Calls to the URLs of serverless pools.

use std::sync::Arc;

use protocol::id::{ActorId, Generation, NamespaceId};
use protocol::message::{Checkpoint, Start};

use crate::engine::Engine;

pub fn call(_engine: &Arc<Engine>, _namespace: NamespaceId, _pool: String, _checkpoint: Checkpoint, _start: Start) {}

pub fn end(_engine: &Arc<Engine>, _actor: ActorId, _generation: Generation) {}

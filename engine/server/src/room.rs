//! Whether the disk has room, as those who take requests need to know it.
//!
//! While it has not, what grows is refused where it arrives: API calls that make something, and requests to actors with other methods
//! than those that read or delete. What is under way already goes on, and waits for the disk if need be (`engine_store::space`). It
//! decides by what a request says of itself, not by what an actor will do with it.

use std::sync::Arc;
use std::time::Duration;

use engine_core::input::Operation;
use engine_store::space::Space;
use http::Method;

use crate::error::ApiError;
use crate::readiness::{Readiness, Reason};

/// How often the file system is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct Room(Option<Arc<Space>>);

impl Room {
    pub fn of(space: Arc<Space>) -> Room {
        Room(Some(space))
    }

    /// Refused while the disk is nearly full.
    pub fn for_growth(&self) -> Result<(), ApiError> {
        match &self.0 {
            Some(space) if space.is_low() => Err(ApiError::new(
                "storage",
                "no_space",
                format!(
                    "the engine's disk is nearly full ({} bytes free, {} wanted), so nothing that grows is taken; reads and deletes are; \
                     free some space on it and this ends by itself",
                    space.free_bytes(),
                    space.reserve_bytes()
                ),
            )),
            _ => Ok(()),
        }
    }

    pub fn for_operation(&self, operation: &Operation) -> Result<(), ApiError> {
        match operation {
            Operation::CreateNamespace { .. }
            | Operation::CreateActor { .. }
            | Operation::GetOrCreateActor { .. }
            | Operation::StageImport { .. }
            | Operation::ImportActor { .. }
            | Operation::PinActor { .. }
            | Operation::Deploy { .. }
            | Operation::Activate { .. }
            | Operation::Configure { .. }
            | Operation::ShareCanary { .. }
            | Operation::Promote { .. }
            | Operation::RetryHeldBack { .. }
            | Operation::PutRunnerConfig { .. } => self.for_growth(),
            // Reads, and what makes room.
            _ => Ok(()),
        }
    }

    pub fn for_request(&self, method: &Method) -> Result<(), ApiError> {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE => Ok(()),
            _ => self.for_growth(),
        }
    }

    /// Looks, until the engine ends: room is made by others, and nobody tells.
    pub async fn watch(space: Arc<Space>, readiness: Arc<Readiness>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = space.clone();
            // A file system of a network may take its time.
            if tokio::task::spawn_blocking(move || looked.look()).await.is_err() {
                return;
            }
            match space.is_low() {
                true => readiness.set(Reason::DiskFull),
                false => readiness.clear(Reason::DiskFull),
            }
        }
    }
}

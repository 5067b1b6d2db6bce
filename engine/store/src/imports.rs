//! Imports that were cut short by the end of a process: what was staged for them goes.
//!
//! An import does not survive the engine that it goes through, so whatever is staged when a start looks is nobody's and never will be.

use engine_core::record::Change;
use protocol::id::Partition;

use crate::error::StoreError;
use crate::group;
use crate::keys::{self, Kind};
use crate::state::State;
use crate::store::{Persist, Scan, Store};

/// Before anybody writes. How many there were.
pub fn clear(store: &dyn Store) -> Result<usize, StoreError> {
    let mut cleared = 0;
    for partition in Partition::all() {
        let (start, end) = keys::all_of(Kind::Importing, partition);
        // One after the other: as many as were under way at one time.
        while let Some(pair) = store.scan(Scan { keys_only: true, ..Scan::range(&start, &end, 1) })?.first() {
            let actor = keys::parse_importing(&pair.key)?;
            let batch = group::alone(store, State::batch(&[Change::DropImport { actor }]))?;
            store.commit(&batch, Persist::Synced)?;
            cleared += 1;
        }
    }
    if cleared > 0 {
        tracing::info!(imports = cleared, "what was staged for imports that were cut short is removed");
    }
    Ok(cleared)
}

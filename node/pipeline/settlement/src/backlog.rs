use keel_store::{Store, StoreError};
use keel_types::{BatchId, Height, Ts};

/// Batches that are not confirmed on the settlement layer. [spec safe-mode, SETTLEMENT_BACKLOG]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    pub batches: u64,
    /// Chain time of the first block that is in no confirmed batch, whether a batch was made of it or not; `None` if there is none.
    pub oldest: Option<Ts>,
}

/// What comes after `confirmed`. A few rows of the store.
pub(crate) fn backlog(store: &Store, confirmed: Option<BatchId>) -> Result<Backlog, StoreError> {
    let first = BatchId(confirmed.map_or(0, |confirmed| confirmed.0 + 1));
    let block = match confirmed {
        // Its row is being made again: no block is known to be after it.
        Some(confirmed) => store.batch_header(confirmed)?.map(|header| Height(header.last_block.0 + 1)),
        // Block 0 has the time of genesis, which may be long before the chain began to run.
        None => Some(Height(1)),
    };
    let oldest = block.map_or(Ok(None), |block| store.header(block))?.map(|header| header.ts);
    let latest = store.latest_batch()?.filter(|latest| latest.batch >= first);
    Ok(Backlog { batches: latest.map_or(0, |latest| latest.batch.0 - first.0 + 1), oldest })
}

use keel_store::{Store, StoreError};
use keel_types::{BatchId, Ts};

/// Batches that are not confirmed on the settlement layer. [spec safe-mode, SETTLEMENT_BACKLOG]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    pub batches: u64,
    /// Chain time of the last block of the oldest of them; `None` if there is none.
    pub oldest: Option<Ts>,
}

/// The batches after `confirmed`. A few rows of the store.
pub(crate) fn backlog(store: &Store, confirmed: Option<BatchId>) -> Result<Backlog, StoreError> {
    let first = BatchId(confirmed.map_or(0, |confirmed| confirmed.0 + 1));
    let Some(latest) = store.latest_batch()?.filter(|latest| latest.batch >= first) else { return Ok(Backlog::default()) };
    let oldest = match store.batch_header(first)? {
        Some(header) => store.header(header.last_block)?.map(|block| block.ts),
        None => None,
    };
    Ok(Backlog { batches: latest.batch.0 - first.0 + 1, oldest })
}

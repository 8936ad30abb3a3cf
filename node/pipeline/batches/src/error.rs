use crate::data::DataError;
use crate::packed::PackError;
use keel_store::StoreError;
use keel_types::{BatchId, Height, L1Address};

/// Why a batch could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("batch: {0}")]
    Store(#[from] StoreError),
    /// A block inside the range is not in the store: the store is damaged.
    #[error("batch: block {0} is missing in the store")]
    BlockMissing(Height),
    #[error("batch: pack the state diff: {0}")]
    Pack(#[from] PackError),
    #[error("batch: data for the settlement layer: {0}")]
    Data(#[from] DataError),
    /// A message to the settlement layer names a receiver that the layer cannot have.
    #[error("batch: message to the settlement layer in block {height}: {to} is no address there")]
    Receiver { height: Height, to: L1Address },
    /// An L1 handler transaction that is not a message of the settlement layer: its sender or its hash is wrong.
    #[error("batch: L1 handler transaction in block {height}: {why}")]
    Handler { height: Height, why: &'static str },
    /// Asked to end a batch where it cannot end.
    #[error("batch {batch}: cannot end with block {end}: it begins with block {first} and the last sealed block is {tip:?}")]
    End { batch: BatchId, first: Height, end: Height, tip: Option<Height> },
    /// Stored bytes are not a batch: the store is damaged.
    #[error("batch {batch}: decode: {why}")]
    Decode { batch: BatchId, why: String },
}

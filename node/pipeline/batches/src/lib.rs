//! Sealed blocks -> settlement batches: squashed state diff, data-availability words, messages, program output, fact.
//!
//! Invariant: a batch is a function of its block range. Where a range ends is decided by [`decide`], a function of block
//! summaries; nothing here reads a clock, a socket or the engine, and nothing written is ever changed.
//!
//! What is deliberately absent: submission (that is `keel-settlement`), and blobs. [`DataAvailability`] is the place where
//! stateless compression and blobs join the calldata form.
#![forbid(unsafe_code)]

mod batch;
mod batcher;
mod decide;
mod error;
mod packed;
mod wire;

pub use batch::{Batch, BatchContent, DataAvailability, MessageToL1, MessageToL2, StatePoint};
pub use batcher::Batcher;
pub use decide::{BatchLimits, BlockSummary, CloseReason, Cut, decide};
pub use error::BatchError;
pub use packed::{ContractUpdate, ContractWord, PackError, PackedDiff, UnpackError};

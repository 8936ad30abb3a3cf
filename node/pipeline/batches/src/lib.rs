//! Sealed blocks -> settlement batches: squashed state diff, data-availability words, messages, program output, fact.
//!
//! Invariant: a batch is a function of its block range. Where a range ends is decided by [`decide`], a function of block
//! summaries; nothing here reads a clock, a socket or the engine, and nothing written is ever changed.
//!
//! What is deliberately absent: submission (that is `keel-settlement`), and with it the cell proofs of a blob transaction.
#![forbid(unsafe_code)]

mod batch;
mod batcher;
pub mod blob;
pub mod compression;
mod data;
mod decide;
mod error;
pub mod kzg;
mod message;
mod output;
mod packed;
mod rebuild;
mod wire;

#[cfg(test)]
mod fixtures;

pub use batch::{Batch, BatchContent, StatePoint, facts};
pub use batcher::Batcher;
pub use data::{CALLDATA_WORDS_MAX, DATA_CHUNK_WORDS, DATA_CHUNKS_MAX, DataAvailability, DataError, data_words_max};
pub use decide::{BatchLimits, BlockSummary, CloseReason, Cut, MESSAGE_WORDS_MAX, decide};
pub use error::BatchError;
pub use message::{MessageToL1, MessageToL2};
pub use output::{BlobWords, OutputError, ProgramOutput};
pub use packed::{ContractUpdate, ContractWord, PackError, PackedDiff, UnpackError};
pub use rebuild::{RebuildError, RebuildFault, SettledBatch, apply, decode, without_filling};

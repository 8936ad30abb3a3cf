//! Seals blocks: transactions, receipts, events, state diff, roots, hash, signature. [spec settlement, Blocks]
//!
//! Invariant: **a block is a function of the journal and of nothing else.** No clock, no configuration, no order of
//! arrival: the same released commands make the same bytes on every node (the signature too, where the node has the key).
//!
//! Runs on a thread of its own, behind the sequencer: block n holds the hash of block n-10, so it may lag at most 9
//! blocks ([LAG_MAX]), then sealing waits. What is deliberately absent: executing anything. The engine has decided; here
//! its writes are laid out as the exchange contract's storage and its commands as that contract's calls.

mod block;
mod builder;
mod cancel;
mod check;
mod commands;
mod counter;
mod error;
mod key;
mod receipt;
mod state;
mod worker;

#[cfg(test)]
mod tests;

pub use block::{SealedBlock, genesis_block};
pub use builder::BlockBuilder;
pub use cancel::{CancelPath, CancelTree, CancelledOrder, cancel_leaf, cancelled_orders, join_roots};
pub use check::{BlockFault, check_block, check_chain};
pub use commands::{FILLS_OPEN_MAX, FILLS_PER_TRANSACTION_MAX};
pub use counter::{
    BLOCK_ENTRIES_MAX, BLOCK_FILLS_MAX, BLOCK_MESSAGE_WORDS_MAX, BLOCK_TRANSACTIONS_MAX, BLOCK_WITHDRAWALS_MAX,
    BLOCK_WORDS_MAX, DiffCounter,
};
pub use error::BlocksError;
pub use key::BlockKey;
pub use receipt::{CancelReceipt, ReceiptError, StateProof, cancel_root_slot};
pub use worker::{BlockFeed, BlockWorker, LAG_MAX, RELEASED_QUEUE_MAX, Wait, WorkerConfig};

/// Protocol version of every block of ours: names the formats and is hashed. [spec settlement, Chain constants]
pub const STARKNET_VERSION: &str = "0.14.2";

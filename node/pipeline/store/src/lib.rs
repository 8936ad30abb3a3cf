//! What the node remembers besides the journal: blocks, state and tries with their history, order and trade history,
//! batches; and snapshots of the engine in a directory beside it.
//!
//! Invariant: **nothing here is authoritative.** Everything is a function of the journal; a store that was deleted, or
//! that lags behind because the machine lost power, is brought up by replaying the journal from [`Store::resume_after`].
//! That is why no write is synced: RocksDB's log keeps all tables of one database consistent with one moment, and a
//! moment too early costs a replay, never a record.
//!
//! What is deliberately absent: the order book, balances as the engine sees them (read the published view), and any
//! decision. Blocks are built by `keel-blocks`; this crate keeps what it is given, in one write per block.

mod attestations;
mod batches;
mod blocks;
mod cancelled;
mod candles;
mod chain;
mod codec;
mod error;
mod events;
mod fingerprint;
mod history;
mod incidents;
mod integrity;
mod keys;
mod open;
mod pruning;
mod replica;
mod retention;
pub mod snapshots;
mod state;
mod stats;
mod store;
mod tries;

#[cfg(test)]
mod tests;

pub use batches::{BatchChange, BatchHeader, BatchStatus};
pub use cancelled::{CancelledPlace, CancelledRow, is_cancelled_by_safe_mode};
pub use candles::{Candle, CandleInterval};
pub use chain::{Block, Header, Invoke, L1HandlerCall, PlacedTransaction, Receipt, Signature, Transaction};
pub use error::StoreError;
pub use events::{EVENTS_SCANNED_MAX, EventFilter, EventPage, EventPosition, FoundEvent};
pub use fingerprint::TableFingerprint;
pub use history::{
    DepositResult, DepositRow, FillRow, FundingRow, HISTORY_PAGE_MAX, HistoryPage, HistoryWriter, LiquidationRow, OrderRow,
    TradeRow, TransferRow, WithdrawalRow,
};
pub use incidents::{
    AccountLoss, AccountLossRow, INCIDENT_STEPS_MAX, IncidentRow, IncidentStep, StepKind, UNHEARD_FILLS_MS,
    UNHEARD_FILLS_PER_MARKET_MAX,
};
pub use integrity::{IndexCheck, IndexFault, RootMismatch, Roots, TrieCheck, TrieFault};
pub use open::{OpenBlock, OpenState, OpenTransaction, Tip};
pub use pruning::{BLOCKS_PRUNED_PER_COMMIT_MAX, Retained, StateRetention};
pub use replica::{Replica, ReplicaHead, Settled};
pub use retention::{PRUNED_PER_RECORD_MIN, Retention};
pub use state::{StateAt, StateReader, StoredValue};
pub use stats::{ReadCounts, TableStats, counting_reads};
pub use store::Store;
pub use tries::{StoredTrie, TrieChanges, TrieId};

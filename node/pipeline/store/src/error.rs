use keel_commitment::Felt;
use keel_commitment::trie::TrieError;
use keel_types::{BatchId, Bytes32, Height};
use std::path::PathBuf;

/// Why the store could not do something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// For the operator: the directory is missing rights, locked by another process, or not a RocksDB.
    #[error("open store {path:?}: {source}")]
    Open { path: PathBuf, source: rocksdb::Error },
    /// The disk or the database under us. Final for the process: restart, or delete the store and replay.
    #[error("store: {0}")]
    Database(#[from] rocksdb::Error),
    /// A value that this program did not write. Delete the store and replay.
    #[error("store: table {table} holds a bad value at key {key}: {why}")]
    Corrupt { table: &'static str, key: String, why: String },
    /// For the operator: the directory belongs to another chain.
    #[error("store: made for genesis {found}, this chain is {expected}")]
    OtherGenesis { expected: Bytes32, found: Bytes32 },
    /// For the operator: a node's store where a replica of the settled state was expected, or the other way round.
    #[error("store {path:?}: {found} is here, {expected} is expected")]
    OtherKind { path: PathBuf, expected: &'static str, found: &'static str },
    /// The state would have another root after a batch than the settlement layer says.
    #[error("store: the state after batch {batch} has root {found:#x}, the settlement layer says {expected:#x}")]
    OtherRoot { batch: BatchId, expected: Felt, found: Felt },
    /// For the operator: written by another version of this program. Delete the store and replay.
    #[error(
        "store: has format {found}, this program writes {expected}; delete the directory, it is rebuilt from the journal"
    )]
    OtherFormat { expected: u32, found: u32 },
    /// Rows must arrive in order and without a gap.
    #[error("store: expected {what} {expected} next, got {found}")]
    NotNext { what: &'static str, expected: u64, found: u64 },
    /// The block does not continue the stored chain.
    #[error("store: block {height} names another parent than the stored tip")]
    OtherParent { height: u64 },
    /// For the caller: the block is there, what was asked of it is pruned. `first` is the first height that still answers.
    #[error("store: block {height} is no longer retained, the first that is: {first}")]
    NotRetained { height: Height, first: Height },
    /// The stored tries are damaged.
    #[error("store: {0}")]
    Trie(#[from] TrieError),
}

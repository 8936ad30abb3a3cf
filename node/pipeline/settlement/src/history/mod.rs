//! What the settlement layer has of every batch, in order, and the state rebuilt from it alone. [spec settlement, Data availability]
//!
//! Nothing of a node is asked, but for blobs where the operator says so; and whatever gives them, each is compared with the hash that the
//! settlement layer has of it.

mod beacon;
mod ethereum;
mod source;
mod starknet;
mod sync;

pub use source::{BLOB_FOLDER, CHUNK_FOLDER, DataError, DataSource, blob_path, chunk_path};
pub use sync::{Reached, Sync, SyncError};

use crate::error::L1Error;
use keel_batches::SettledBatch;
use keel_contracts::starknet::config_hash;
use keel_types::{BatchId, Bytes32, Felt, Genesis, Height, SettlementLayer};

/// An update of the contract's state: one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    pub last_block: Height,
    pub root: Felt,
    pub block_hash: Felt,
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
}

/// What a transaction has brought, and the contract has accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    pub output: Vec<Felt>,
    pub data: AcceptedData,
}

/// See [`Accepted`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AcceptedData {
    /// The words themselves.
    Words(Vec<Felt>),
    /// Versioned hashes of blobs.
    Blobs(Vec<Bytes32>),
    /// Hashes of chunks.
    Chunks(Vec<Felt>),
}

/// Where the contract is at a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettledState {
    /// `None` before the first batch.
    pub last_block: Option<Height>,
    pub root: Felt,
    pub block_hash: Felt,
}

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{0}")]
    L1(#[from] L1Error),
    /// Who answers does not have it yet, or not any more.
    #[error("batch {batch}: the settlement layer does not have transaction {tx}")]
    NoTransaction { batch: BatchId, tx: Bytes32 },
    /// The update's transaction is not a call of ours.
    #[error("batch {batch}: transaction {tx}: {why}")]
    Transaction { batch: BatchId, tx: Bytes32, why: &'static str },
    /// The event of an update and its program output disagree.
    #[error("batch {batch}: {what} of the event is not that of the program output")]
    Differs { batch: BatchId, what: &'static str },
    /// The contract's chain has another id or fee token than genesis.
    #[error("batch {batch} is of another chain: its configuration hash is not that of genesis")]
    OtherChain { batch: BatchId },
    #[error("the settlement layer has chain id {found:#x}, genesis says {expected:#x}")]
    OtherLayer { expected: Felt, found: Felt },
    #[error("batch {batch}: {why}")]
    Data { batch: BatchId, why: DataError },
}

impl HistoryError {
    /// Whether asking again may help: nobody answered, or who was asked for data does not have it yet.
    pub fn is_transient(&self) -> bool {
        match self {
            HistoryError::L1(error) => matches!(error, L1Error::Unreachable(_) | L1Error::NoQuorum(_) | L1Error::Rpc { .. }),
            HistoryError::Data { why, .. } => matches!(why, DataError::Unreachable(_) | DataError::Missing { .. }),
            HistoryError::NoTransaction { .. } => true,
            HistoryError::Transaction { .. }
            | HistoryError::Differs { .. }
            | HistoryError::OtherChain { .. }
            | HistoryError::OtherLayer { .. } => false,
        }
    }
}

/// Reads the settlement layer of a chain.
pub struct History {
    layer: Layer,
    /// Of the chain whose batches these must be.
    config_hash: Felt,
    /// Of the settlement layer that genesis names.
    chain_id: Felt,
}

enum Layer {
    Ethereum(ethereum::Ethereum),
    Starknet(starknet::Starknet),
}

macro_rules! on_layer {
    ($this:expr, $layer:ident => $call:expr) => {
        match &$this.layer {
            Layer::Ethereum($layer) => $call.await,
            Layer::Starknet($layer) => $call.await,
        }
    };
}

impl History {
    /// Of the chain of `genesis`, at `endpoints` (see [`crate::L1::connect`]), with blobs out of `data`.
    ///
    /// # Errors
    /// An endpoint is not an address, or the quorum no majority of them.
    pub fn connect(endpoints: &[String], quorum: usize, genesis: &Genesis, data: DataSource) -> Result<History, L1Error> {
        let core = genesis.settlement.core;
        let layer = match genesis.settlement.layer {
            SettlementLayer::Ethereum { .. } => Layer::Ethereum(ethereum::Ethereum::connect(endpoints, quorum, core, data)?),
            SettlementLayer::Starknet { .. } => Layer::Starknet(starknet::Starknet::connect(endpoints, quorum, core, data)?),
        };
        let chain_id = match genesis.settlement.layer {
            SettlementLayer::Ethereum { chain_id, .. } => chain_id.into(),
            SettlementLayer::Starknet { chain_id } => chain_id.0,
        };
        Ok(History { layer, config_hash: config_hash(genesis.chain_id.0, genesis.fee_token), chain_id })
    }

    /// Whether this is the settlement layer that genesis names, and not one that has contracts at the same addresses.
    ///
    /// # Errors
    /// [`HistoryError::OtherLayer`]; or see [`L1Error`].
    pub async fn check(&self) -> Result<(), HistoryError> {
        let found = on_layer!(self, layer => layer.chain_id())?;
        if found == self.chain_id { Ok(()) } else { Err(HistoryError::OtherLayer { expected: self.chain_id, found }) }
    }

    /// Number of the newest block.
    ///
    /// # Errors
    /// See [`L1Error`].
    pub async fn head(&self) -> Result<u64, L1Error> {
        on_layer!(self, layer => layer.head())
    }

    /// The contract's state after a block. The endpoint must still have it.
    ///
    /// # Errors
    /// See [`L1Error`].
    pub async fn state_at(&self, block: u64) -> Result<SettledState, L1Error> {
        on_layer!(self, layer => layer.state_at(block))
    }

    /// Every update in blocks `from..=to`, in the order in which they happened.
    ///
    /// # Errors
    /// See [`L1Error`].
    pub async fn updates(&self, from: u64, to: u64) -> Result<Vec<Update>, L1Error> {
        on_layer!(self, layer => layer.updates(from, to))
    }

    /// What the transaction of an update has brought. Blobs are not read.
    ///
    /// # Errors
    /// See [`HistoryError`]; it names the batch.
    pub async fn accepted(&self, batch: BatchId, update: &Update) -> Result<Accepted, HistoryError> {
        let accepted = on_layer!(self, layer => layer.accepted(batch, update))?;
        let differs = |what| HistoryError::Differs { batch, what };
        let word = |index: usize| accepted.output.get(index).copied();
        if word(1) != Some(update.root) {
            return Err(differs("the root"));
        }
        if word(3) != Some(update.last_block.0.into()) {
            return Err(differs("the block number"));
        }
        if word(5) != Some(update.block_hash) {
            return Err(differs("the block hash"));
        }
        if word(7) != Some(self.config_hash) {
            return Err(HistoryError::OtherChain { batch });
        }
        Ok(accepted)
    }

    /// The batch of an update with its data, checked against what the layer has of it.
    ///
    /// # Errors
    /// See [`HistoryError`]; it names the batch.
    pub async fn batch(&self, batch: BatchId, update: &Update) -> Result<SettledBatch, HistoryError> {
        let Accepted { output, data } = self.accepted(batch, update).await?;
        let words = on_layer!(self, layer => layer.words(batch, update, data))?;
        Ok(SettledBatch { batch, output, words, l1_block: update.l1_block, l1_tx_hash: update.l1_tx_hash })
    }
}

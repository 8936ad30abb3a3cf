//! A replica of the settled state, brought up to what the settlement layer has.

use super::{History, HistoryError, SettledState, Update};
use crate::error::L1Error;
use keel_batches::{RebuildError, apply};
use keel_store::{Replica, ReplicaHead, StoreError};
use keel_types::{BatchId, Height};

/// A replica and where it is read from.
pub struct Sync {
    pub history: History,
    pub replica: Replica,
    /// First block of the settlement layer that can hold an event of our contracts: that of their deployment, or 0.
    pub scan_from: u64,
    /// Blocks on top of an update's block before it is applied.
    pub depth: u64,
}

/// Where a round ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// Batches applied in this round.
    pub applied: u64,
    /// The state that is here; `None` while no batch is deep enough.
    pub head: Option<ReplicaHead>,
    /// The block of the settlement layer up to which everything is applied.
    pub l1_block: u64,
}

/// Why a replica cannot be brought up. What was applied before is whole, and the next round goes on after it.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("sync: {0}")]
    History(#[from] HistoryError),
    #[error("{0}")]
    Rebuild(#[from] RebuildError),
    #[error("sync: {0}")]
    Store(#[from] StoreError),
    /// The settlement layer took back a batch that was deep enough. The replica's state is of a chain that is not there any more: delete its
    /// folder.
    #[error(
        "sync: batch {batch}, which is applied, is not on the settlement layer any more; delete the folder and sync again"
    )]
    Reorganised { batch: BatchId },
    /// All updates are applied, and the contract says something else. `batch` is the last one.
    #[error(
        "sync: after batch {batch:?} the contract has root {contract:#x} at block {last_block:?}, the state here is not that"
    )]
    NotTheContracts { batch: Option<BatchId>, contract: keel_types::Felt, last_block: Option<Height> },
    /// A bug: the thread that applied a batch is gone.
    #[error("sync: the thread that applies batches failed")]
    Applying,
}

impl SyncError {
    /// Whether the next round may fare better by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, SyncError::History(error) if error.is_transient())
    }
}

impl From<L1Error> for SyncError {
    fn from(error: L1Error) -> Self {
        SyncError::History(error.into())
    }
}

impl Sync {
    /// Applies, in order, every batch that is deep enough on the settlement layer; `each` is told of every one. Then compares with the contract.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub async fn catch_up(&self, mut each: impl FnMut(&ReplicaHead)) -> Result<Reached, SyncError> {
        self.history.check().await?;
        let newest = self.history.head().await?;
        let Some(to) = newest.checked_sub(self.depth) else {
            return Ok(Reached { applied: 0, head: self.replica.head()?, l1_block: 0 });
        };
        let before = self.replica.head()?;
        let from = before.as_ref().map_or(self.scan_from, |head| head.l1_block);
        // Who answers is further back than who answered before, or the depth is greater now.
        if to < from {
            return Ok(Reached { applied: 0, head: before, l1_block: to });
        }
        let updates = self.history.updates(from, to).await?;
        let mut head = before.clone();
        let mut applied = 0;
        for update in self.new_updates(&updates, before.as_ref())? {
            let batch = BatchId(head.as_ref().map_or(0, |head| head.batch.0 + 1));
            let settled = self.history.batch(batch, update).await?;
            let replica = self.replica.clone();
            let done = tokio::task::spawn_blocking(move || apply(&replica, &settled)).await;
            let next = done.map_err(|_| SyncError::Applying)??;
            each(&next);
            head = Some(next);
            applied += 1;
        }
        self.compare(head.as_ref(), self.history.state_at(to).await?)?;
        Ok(Reached { applied, head, l1_block: to })
    }

    /// The updates after the one that is applied already, which must still be there.
    fn new_updates<'a>(&self, updates: &'a [Update], head: Option<&ReplicaHead>) -> Result<&'a [Update], SyncError> {
        let Some(head) = head else { return Ok(updates) };
        let ours = updates.iter().position(|update| {
            (update.last_block, update.root, update.block_hash) == (head.last_block, head.root, head.block_hash)
        });
        match ours {
            Some(at) => Ok(&updates[at + 1..]),
            None => Err(SyncError::Reorganised { batch: head.batch }),
        }
    }

    fn compare(&self, head: Option<&ReplicaHead>, contract: SettledState) -> Result<(), SyncError> {
        let here = head.map(|head| (head.last_block, head.root, head.block_hash));
        let there = contract.last_block.map(|last_block| (last_block, contract.root, contract.block_hash));
        if here == there {
            return Ok(());
        }
        let SettledState { last_block, root, .. } = contract;
        Err(SyncError::NotTheContracts { batch: head.map(|head| head.batch), contract: root, last_block })
    }
}

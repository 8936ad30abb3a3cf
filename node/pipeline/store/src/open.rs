//! The tip as readers see it: the last committed block, and the block being built on it. In memory, told by whoever builds blocks.

use crate::chain::{Receipt, Transaction};
use crate::state::{StateAt, StateReader};
use crate::store::Store;
use crate::{Header, StoreError};
use keel_commitment::{Felt, StateDiff};
use keel_types::{Height, Ts};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// A transaction that is sequenced and durable, and in no sealed block yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenTransaction {
    pub transaction: Transaction,
    pub receipt: Receipt,
}

/// The block being built: what is sequenced and durable after the last committed block. The transactions here stand in that block as they
/// are, in this order; more will follow them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenBlock {
    /// Height it will have: one above the last committed block; 0 before genesis.
    pub height: Height,
    /// Journal time of the newest record it covers.
    pub ts: Ts,
    pub transactions: Vec<Arc<OpenTransaction>>,
    /// What these transactions changed: storage and nonces, each value another than the last committed block left. What sealing adds (the
    /// hash of block n-10, aliases) is not in it.
    pub diff: StateDiff,
}

/// Where the chain stands. Changes whenever a block is committed or the open block grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tip {
    /// The last committed block; `None` before genesis.
    pub height: Option<Height>,
    /// Transactions in the open block above it.
    pub open: usize,
}

/// The open block and those who wait for it to change.
#[derive(Default)]
pub(crate) struct Open {
    block: RwLock<OpenBlock>,
    tip: watch::Sender<Tip>,
}

impl Open {
    fn read(&self) -> RwLockReadGuard<'_, OpenBlock> {
        self.block.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, OpenBlock> {
        self.block.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A block was committed: what was open is in it. `publish` makes it visible, while no reader looks at the open block.
    pub(crate) fn commit(&self, header: &Header, publish: impl FnOnce()) {
        let mut block = self.write();
        publish();
        *block = OpenBlock { height: Height(header.block.number + 1), ts: header.ts, ..OpenBlock::default() };
        self.tip.send_replace(Tip { height: Some(header.height()), open: 0 });
    }
}

impl Store {
    /// Looks at the open block. Be brief: whoever builds blocks waits.
    ///
    /// A commit moves transactions from here to the sealed block in one step. Who looks for one looks here first and then at the sealed
    /// blocks, and finds it at one of both places; the other way round, a commit in between hides it from both looks.
    pub fn open_block<T>(&self, look: impl FnOnce(&OpenBlock) -> T) -> T {
        look(&self.tip_state().read())
    }

    /// Adds to the open block what commands of a released record made: transactions, and the changes that came with them. `diff` replaces
    /// entry by entry; storage entries named in `restored` (contract, slot) are again as the last committed block left them, and go.
    pub fn extend_open_block(
        &self,
        ts: Ts,
        transactions: Vec<Arc<OpenTransaction>>,
        diff: StateDiff,
        restored: &[(Felt, Felt)],
    ) {
        let mut block = self.tip_state().write();
        block.ts = ts;
        if transactions.is_empty() {
            return;
        }
        block.transactions.extend(transactions);
        for (contract, entries) in diff.storage {
            block.diff.storage.entry(contract).or_default().extend(entries);
        }
        for (contract, slot) in restored {
            if let Some(entries) = block.diff.storage.get_mut(contract) {
                entries.remove(slot);
            }
        }
        block.diff.storage.retain(|_, entries| !entries.is_empty());
        block.diff.nonces.extend(diff.nonces);
        let tip = Tip { height: block.height.0.checked_sub(1).map(Height), open: block.transactions.len() };
        self.tip_state().tip.send_replace(tip);
    }

    /// Empties the open block, for who begins to build it anew from the command after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn restart_open_block(&self) -> Result<(), StoreError> {
        if let Some(tip) = self.tip()? {
            self.publish(&tip);
        }
        Ok(())
    }

    /// Tells of every change of the tip; a slow receiver sees only the newest.
    pub fn tip_changes(&self) -> watch::Receiver<Tip> {
        self.tip_state().tip.subscribe()
    }

    /// The state that the open block leaves: its changes over the last committed block. `None` before genesis.
    ///
    /// # Errors
    /// The database.
    pub fn open_state(&self) -> Result<Option<OpenState<'_>>, StoreError> {
        let (height, diff) = self.open_block(|block| (block.height, block.diff.clone()));
        let Some(below) = height.0.checked_sub(1) else { return Ok(None) };
        Ok(Some(OpenState { diff, below: self.state_at(Height(below))? }))
    }
}

/// See [`Store::open_state`].
pub struct OpenState<'a> {
    diff: StateDiff,
    below: StateAt<'a>,
}

impl StateReader for OpenState<'_> {
    fn storage(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        match self.diff.storage.get(contract).and_then(|entries| entries.get(slot)) {
            Some(value) => Ok(*value),
            None => self.below.storage(contract, slot),
        }
    }

    fn nonce(&self, contract: &Felt) -> Result<Felt, StoreError> {
        self.diff.nonces.get(contract).map_or_else(|| self.below.nonce(contract), |nonce| Ok(*nonce))
    }

    fn class_hash(&self, contract: &Felt) -> Result<Option<Felt>, StoreError> {
        self.below.class_hash(contract)
    }

    fn compiled_class_hash(&self, class: &Felt) -> Result<Option<Felt>, StoreError> {
        self.below.compiled_class_hash(class)
    }
}

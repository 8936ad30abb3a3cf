//! How far back proofs and flat state go, and what a commit forgets.
//!
//! A block's write also prunes: undo rows and old storage roots for proofs, superseded rows for flat state. What is left depends only on
//! the first retained heights, which are markers in the same write: a crash falls between two blocks, never into a pruning.

use crate::error::StoreError;
use crate::keys::{CLASS_HASHES, CLASSES, Key, META, NODE_UNDO, NODE_UNDO_LISTS, NONCES, STORAGE, STORAGE_ROOTS};
use crate::store::{Batch, Store, borsh_vec, corrupt};
use crate::tries::UndoList;
use keel_commitment::StateDiff;
use keel_types::Height;

/// Blocks whose history one commit forgets at most, of each kind. A commit makes one due, so a lowered setting catches up at three a block.
pub const BLOCKS_PRUNED_PER_COMMIT_MAX: u64 = 4;
/// Fewest blocks that can be retained: the one before the newest can be read while the newest is being published.
const BLOCKS_MIN: u64 = 2;

pub(crate) const KEY_PROOFS_FIRST: &[u8] = b"proofs_first";
pub(crate) const KEY_STATE_FIRST: &[u8] = b"state_first";

/// How many of the newest blocks keep their history. Raising a number brings nothing back that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateRetention {
    /// Blocks for which storage proofs can be made; 0 = for ever, else at least 2. A proof also reads flat state, so the smaller of both
    /// numbers counts.
    pub proof_blocks: u64,
    /// Blocks at which flat state can be read; 0 = for ever, else at least 2. Whatever this says, the state after the last batch stays: the
    /// next batch is made against it.
    pub state_blocks: u64,
}

/// The first heights that still answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    pub proofs: Height,
    pub state: Height,
}

impl Retained {
    /// What both retain.
    #[must_use]
    pub fn common(self, other: Retained) -> Retained {
        Retained { proofs: self.proofs.max(other.proofs), state: self.state.max(other.state) }
    }
}

impl Store {
    /// The first heights that still answer.
    ///
    /// # Errors
    /// The database.
    pub fn retained(&self) -> Result<Retained, StoreError> {
        Ok(Retained {
            proofs: self.marker(KEY_PROOFS_FIRST)?.unwrap_or_default(),
            state: self.marker(KEY_STATE_FIRST)?.unwrap_or_default(),
        })
    }

    /// Forgets everything before `first` now, and nothing else: to compare two stores that pruned at another pace. Not beside a thread
    /// that commits blocks.
    ///
    /// # Errors
    /// The database.
    pub fn prune_to(&self, first: Retained) -> Result<(), StoreError> {
        let Some(tip) = self.height() else { return Ok(()) };
        let first = Retained { proofs: first.proofs.min(tip), state: first.state.min(tip) };
        while self.retained()?.common(first) != self.retained()? {
            let mut batch = self.batch();
            self.prune_towards(&mut batch, first)?;
            batch.write()?;
        }
        Ok(())
    }

    /// What the commit of block `tip` forgets.
    pub(crate) fn prune_after(&self, batch: &mut Batch<'_>, tip: Height) -> Result<(), StoreError> {
        let StateRetention { proof_blocks, state_blocks } = self.state_retention();
        let first = |blocks: u64| match blocks {
            0 => Height(0),
            blocks => Height((tip.0 + 1).saturating_sub(blocks.max(BLOCKS_MIN))),
        };
        let mut due = Retained { proofs: first(proof_blocks), state: first(state_blocks) };
        if due.state > Height(0) {
            due.state = due.state.min(self.latest_batch()?.map_or(Height(0), |latest| latest.last_block));
        }
        self.prune_towards(batch, due)
    }

    /// Some steps of the way to `due`. Reads only what was written by earlier batches.
    fn prune_towards(&self, batch: &mut Batch<'_>, due: Retained) -> Result<(), StoreError> {
        let now = self.retained()?;
        let steps = |now: Height, due: Height| now.0 + 1..=due.0.min(now.0 + BLOCKS_PRUNED_PER_COMMIT_MAX);
        for first in steps(now.proofs, due.proofs) {
            self.forget_proofs_before(batch, Height(first))?;
            batch.put(META, KEY_PROOFS_FIRST, borsh_vec(&first));
        }
        for first in steps(now.state, due.state) {
            self.forget_state_before(batch, Height(first))?;
            batch.put(META, KEY_STATE_FIRST, borsh_vec(&first));
        }
        Ok(())
    }

    /// From `first` on, nothing undoes the changes of `first`: they are below every reader.
    fn forget_proofs_before(&self, batch: &mut Batch<'_>, first: Height) -> Result<(), StoreError> {
        let row = Key::new().height(first);
        let list = self.get_bytes(NODE_UNDO_LISTS, &row)?;
        let list = list.ok_or_else(|| corrupt(NODE_UNDO_LISTS, row.as_ref(), "a block without its list"))?;
        for name in UndoList::read(&row, &list)? {
            batch.delete(NODE_UNDO, name.height(first));
        }
        batch.delete(NODE_UNDO_LISTS, row);
        for (contract, entries) in &self.diff_of(first)?.storage {
            if !entries.is_empty() {
                self.forget_superseded(batch, STORAGE_ROOTS, Key::new().felt(contract), first)?;
            }
        }
        Ok(())
    }

    fn forget_state_before(&self, batch: &mut Batch<'_>, first: Height) -> Result<(), StoreError> {
        let diff = self.diff_of(first)?;
        for (contract, entries) in &diff.storage {
            for slot in entries.keys() {
                self.forget_superseded(batch, STORAGE, Key::new().felt(contract).felt(slot), first)?;
            }
        }
        for (table, rows) in
            [(NONCES, &diff.nonces), (CLASS_HASHES, &diff.class_hashes()), (CLASSES, &diff.compiled_classes())]
        {
            for name in rows.keys() {
                self.forget_superseded(batch, table, Key::new().felt(name), first)?;
            }
        }
        Ok(())
    }

    /// Deletes the row that held before block `by` set another.
    fn forget_superseded(
        &self,
        batch: &mut Batch<'_>,
        table: &'static str,
        name: Key,
        by: Height,
    ) -> Result<(), StoreError> {
        let to = Key::new().bytes(name.as_ref()).u64(by.0 - 1);
        if let Some((key, _)) = self.last_at(table, name.as_ref(), to.as_ref())? {
            batch.delete(table, key);
        }
        Ok(())
    }

    fn diff_of(&self, height: Height) -> Result<StateDiff, StoreError> {
        let missing = || corrupt(crate::keys::DIFFS, Key::new().height(height).as_ref(), "a block without its diff");
        self.diff(height)?.ok_or_else(missing)
    }
}

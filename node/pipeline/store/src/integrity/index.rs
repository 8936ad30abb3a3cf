use crate::chain::Header;
use crate::error::StoreError;
use crate::keys::{
    BLOCK_HASHES, CLASS_HASHES, CLASSES, DIFFS, EVENTS, HEADERS, Key, NONCES, RECEIPTS, SEALS, TRANSACTION_HASHES,
    TRANSACTIONS,
};
use crate::state::{StateAt, StoredValue};
use crate::store::Store;
use keel_commitment::{Felt, StateDiff};
use keel_types::{Height, Seq};

/// What [`Store::check_index`] looked at and the first thing it found wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexCheck {
    /// The last committed block.
    pub height: Option<Height>,
    pub blocks: u64,
    pub fault: Option<IndexFault>,
}

/// A block that does not agree with what leads to it or belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexFault {
    pub height: Height,
    pub why: &'static str,
}

impl Store {
    /// Checks every `step`-th block (1: all of them) and the last one: header and hash, parent, indexes by hash, by command and by
    /// transaction, receipts, events, the diff and the flat state it left, where that is retained; and that nothing is stored above the last
    /// block. With `step` 1 also that the indexes name nothing else. Not beside a thread that commits blocks.
    ///
    /// # Errors
    /// The database.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn check_index(&self, step: u64) -> Result<IndexCheck, StoreError> {
        assert_ne!(step, 0, "blocks are checked in steps");
        let Some(tip) = self.height() else { return Ok(IndexCheck::default()) };
        let mut check = IndexCheck { height: Some(tip), ..IndexCheck::default() };
        let heights = (0..tip.0).step_by(usize::try_from(step).unwrap_or(usize::MAX)).chain([tip.0]).map(Height);
        let mut transactions = 0;
        for height in heights {
            let why = match self.checked_block(height)? {
                Ok(count) => {
                    transactions += count;
                    check.blocks += 1;
                    continue;
                }
                Err(why) => why,
            };
            check.fault = Some(IndexFault { height, why });
            return Ok(check);
        }
        let whole = (step == 1).then_some(transactions);
        check.fault = self.beyond(tip, whole)?.map(|why| IndexFault { height: tip, why });
        Ok(check)
    }

    /// The number of transactions of a block, or what is wrong with it.
    fn checked_block(&self, height: Height) -> Result<Result<u64, &'static str>, StoreError> {
        let Some(header) = self.header(height)? else { return Ok(Err("no header")) };
        let parent = height.0.checked_sub(1).map_or(Ok(None), |parent| self.header(Height(parent)))?;
        let (parent_hash, first_seq) = parent.map_or((Felt::ZERO, Seq(0)), |parent| (parent.hash, parent.last_seq.next()));
        let checks = [
            (header.height() == height, "the header is of another block"),
            (header.block.hash().is_ok_and(|hash| hash == header.hash), "the header does not hash to the block's hash"),
            (header.block.parent_hash == parent_hash, "the parent's hash is another"),
            (header.first_seq == first_seq, "commands are missing before the block"),
            (self.height_of_hash(&header.hash)? == Some(height), "the hash leads elsewhere"),
            (self.height_of_seq(header.last_seq)? == Some(height), "the last command leads elsewhere"),
        ];
        if let Some((_, why)) = checks.iter().find(|(holds, _)| !holds) {
            return Ok(Err(why));
        }
        let Some(diff) = self.diff(height)? else { return Ok(Err("no diff")) };
        if diff.len() as u64 != header.block.content.state_diff_length
            || diff.commitment() != header.block.content.state_diff_commitment
        {
            return Ok(Err("the diff is not what the header commits to"));
        }
        let retained = match self.state_at(height) {
            Ok(state) => flat_state_holds(&state, height, &diff)?,
            Err(StoreError::NotRetained { .. }) => true,
            Err(error) => return Err(error),
        };
        if !retained {
            return Ok(Err("the flat state is not what the diff left"));
        }
        self.checked_transactions(&header)
    }

    fn checked_transactions(&self, header: &Header) -> Result<Result<u64, &'static str>, StoreError> {
        let (height, content) = (header.height(), &header.block.content);
        let (transactions, receipts) = (self.transactions(height)?, self.receipts(height)?);
        let count = transactions.len() as u64;
        if count != content.transaction_count || transactions.len() != receipts.len() {
            return Ok(Err("the header counts other transactions or receipts"));
        }
        for (index, (transaction, receipt)) in (0..).zip(transactions.iter().zip(&receipts)) {
            if receipt.transaction_hash != transaction.hash() {
                return Ok(Err("a receipt is of another transaction"));
            }
            if self.place_of_transaction(&transaction.hash())? != Some((height, index)) {
                return Ok(Err("a transaction's hash leads elsewhere"));
            }
        }
        let prefix = Key::new().height(height);
        let rows = self.scan(EVENTS, prefix.as_ref(), prefix.as_ref()).try_fold(0, |rows, row| row.map(|_| rows + 1u64))?;
        let listed = receipts.iter().map(|receipt| receipt.events.len() as u64).sum::<u64>();
        if rows != content.event_count || listed != rows {
            return Ok(Err("the header, the receipts and the events count differently"));
        }
        Ok(Ok(count))
    }

    /// What is stored above the last block, or named by an index and not there. `transactions`: of all blocks, when they were counted.
    fn beyond(&self, tip: Height, transactions: Option<u64>) -> Result<Option<&'static str>, StoreError> {
        let end = Key::new().u64(tip.0 + 1);
        for table in [HEADERS, TRANSACTIONS, RECEIPTS, EVENTS, DIFFS] {
            if self.scan(table, &[], end.as_ref()).next().transpose()?.is_some() {
                return Ok(Some("rows above the last block"));
            }
        }
        let Some(transactions) = transactions else { return Ok(None) };
        for (table, expected) in [(BLOCK_HASHES, tip.0 + 1), (SEALS, tip.0 + 1), (TRANSACTION_HASHES, transactions)] {
            let rows = self.scan(table, &[], &[]).try_fold(0, |rows, row| row.map(|_| rows + 1u64))?;
            if rows != expected {
                return Ok(Some("an index names what is not there"));
            }
        }
        Ok(None)
    }
}

/// Every entry of the block's diff is the value at the block, set by it.
fn flat_state_holds(state: &StateAt<'_>, height: Height, diff: &StateDiff) -> Result<bool, StoreError> {
    for (contract, entries) in &diff.storage {
        for (slot, value) in entries {
            if state.storage_entry(contract, slot)? != Some(StoredValue { value: *value, height }) {
                return Ok(false);
            }
        }
    }
    for (table, rows) in [(NONCES, &diff.nonces), (CLASS_HASHES, &diff.class_hashes()), (CLASSES, &diff.compiled_classes())]
    {
        for (name, value) in rows {
            if state.value(table, Key::new().felt(name))? != Some(StoredValue { value: *value, height }) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

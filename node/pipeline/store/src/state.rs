//! Flat state with its history: each row holds from its block on, until the next row of the same key.

use crate::chain::Header;
use crate::codec;
use crate::error::StoreError;
use crate::keys::{CLASS_HASHES, CLASSES, HEADERS, Key, META, NONCES, STORAGE};
use crate::pruning::KEY_STATE_FIRST;
use crate::store::{Batch, KEY_BLOCKS_HEIGHT, Row, Store, below_end_of, corrupt, decode, from_start_of};
use borsh::BorshDeserialize;
use keel_commitment::{Felt, StateDiff};
use keel_types::Height;
use rocksdb::{Direction, IteratorMode, Snapshot};

/// A value and the block that set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredValue {
    pub value: Felt,
    pub height: Height,
}

/// Chain state at one moment: all that an execution of Cairo contracts reads, and nothing else.
pub trait StateReader {
    /// The value of a storage slot; 0 where nothing was ever stored.
    ///
    /// # Errors
    /// The database; so for all of them.
    fn storage(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError>;
    /// A contract's nonce; 0 if it never had one.
    ///
    /// # Errors
    /// The database.
    fn nonce(&self, contract: &Felt) -> Result<Felt, StoreError>;
    /// The class of a contract; `None` if it is not deployed.
    ///
    /// # Errors
    /// The database.
    fn class_hash(&self, contract: &Felt) -> Result<Option<Felt>, StoreError>;
    /// The compiled class hash of a class; `None` if it is not declared.
    ///
    /// # Errors
    /// The database.
    fn compiled_class_hash(&self, class: &Felt) -> Result<Option<Felt>, StoreError>;
}

/// The state after one committed block, flat and in tries. All reads see the store as it was when this was made: what is committed or
/// pruned meanwhile does not show.
pub struct StateAt<'a> {
    store: &'a Store,
    snapshot: Snapshot<'a>,
    height: Height,
    /// The last block in the snapshot; `None` before genesis.
    tip: Option<Height>,
}

impl StateReader for StateAt<'_> {
    fn storage(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        Ok(self.storage_entry(contract, slot)?.map_or(Felt::ZERO, |entry| entry.value))
    }
    fn nonce(&self, contract: &Felt) -> Result<Felt, StoreError> {
        Ok(self.value(NONCES, Key::new().felt(contract))?.map_or(Felt::ZERO, |entry| entry.value))
    }
    fn class_hash(&self, contract: &Felt) -> Result<Option<Felt>, StoreError> {
        Ok(self.value(CLASS_HASHES, Key::new().felt(contract))?.map(|entry| entry.value))
    }
    fn compiled_class_hash(&self, class: &Felt) -> Result<Option<Felt>, StoreError> {
        Ok(self.value(CLASSES, Key::new().felt(class))?.map(|entry| entry.value))
    }
}

impl StateAt<'_> {
    /// The block whose state this is.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The last block in the snapshot.
    pub(crate) fn tip(&self) -> Option<Height> {
        self.tip
    }

    /// No block in the snapshot is newer.
    pub(crate) fn is_latest(&self) -> bool {
        self.tip.is_none_or(|tip| self.height >= tip)
    }

    /// Header of the block; `None` before genesis.
    ///
    /// # Errors
    /// The database.
    pub fn header(&self) -> Result<Option<Header>, StoreError> {
        self.get(HEADERS, Key::new().height(self.height))
    }

    /// The value of a storage slot, with the block that set it; `None` where nothing was ever stored.
    ///
    /// # Errors
    /// The database.
    pub fn storage_entry(&self, contract: &Felt, slot: &Felt) -> Result<Option<StoredValue>, StoreError> {
        self.value(STORAGE, Key::new().felt(contract).felt(slot))
    }

    /// Every (contract, slot, value) that is not zero, in key order, to `each`.
    ///
    /// # Errors
    /// The database, or the first error of `each`.
    pub fn each_storage(&self, mut each: impl FnMut(Felt, Felt, Felt) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.each(STORAGE, |key, value| {
            let (contract, slot) = key.split_at(32);
            each(felt(STORAGE, contract)?, felt(STORAGE, slot)?, value)
        })
    }

    /// Every row of a versioned table that holds here and is not zero: the last of each key.
    pub(crate) fn each(
        &self,
        table: &'static str,
        mut each: impl FnMut(&[u8], Felt) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut current: Option<(Vec<u8>, Felt)> = None;
        let mut emit = |row: Option<(Vec<u8>, Felt)>| match row {
            Some((key, value)) if value != Felt::ZERO => each(&key, value),
            _ => Ok(()),
        };
        for row in self.scan(table, &[], &[]) {
            let (key, value) = row?;
            let (name, set_at) = split_height(table, &key)?;
            if set_at > self.height {
                continue;
            }
            let value = felt(table, &value)?;
            match &mut current {
                Some((key, old)) if key == name => *old = value,
                _ => emit(current.replace((name.to_vec(), value)))?,
            }
        }
        emit(current)
    }

    pub(crate) fn value(&self, table: &'static str, name: Key) -> Result<Option<StoredValue>, StoreError> {
        let to = Key::new().bytes(name.as_ref()).height(self.height);
        let mode = IteratorMode::From(to.as_ref(), Direction::Reverse);
        let options = from_start_of(name.as_ref());
        value_of(table, self.snapshot.iterator_cf_opt(self.store.table(table), options, mode).next().transpose()?)
    }

    pub(crate) fn get_bytes(&self, table: &str, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.snapshot.get_cf(self.store.table(table), key)?)
    }

    pub(crate) fn get<T: BorshDeserialize>(
        &self,
        table: &'static str,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.get_bytes(table, key.as_ref())? else { return Ok(None) };
        decode(table, key.as_ref(), &bytes).map(Some)
    }

    /// Rows from `from` on (included), ascending, as long as keys start with `prefix`.
    pub(crate) fn scan<'a>(
        &'a self,
        table: &str,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let rows = self.snapshot.iterator_cf_opt(self.store.table(table), below_end_of(prefix), mode);
        rows.map(|row| row.map_err(StoreError::from))
    }
}

/// Newer than any block: reads the latest committed value.
const LATEST: Height = Height(u64::MAX);

impl Store {
    /// The state after block `height`; one above the last committed block reads as that block.
    ///
    /// # Errors
    /// [`StoreError::NotRetained`] where the state of so old a block is pruned; the database.
    pub fn state_at(&self, height: Height) -> Result<StateAt<'_>, StoreError> {
        let mut state = StateAt { store: self, snapshot: self.snapshot(), height, tip: None };
        state.tip = state.get(META, KEY_BLOCKS_HEIGHT)?.map(Height);
        state.height = height.min(state.tip.unwrap_or(height));
        // Pruning is of the snapshot too: what it says is retained is there.
        let first = state.get(META, KEY_STATE_FIRST)?.unwrap_or_default();
        if state.height < first {
            return Err(StoreError::NotRetained { height: state.height, first });
        }
        Ok(state)
    }

    /// The state after the last committed block, whichever that is when the snapshot is taken.
    pub(crate) fn state_at_tip(&self) -> Result<StateAt<'_>, StoreError> {
        self.state_at(LATEST)
    }

    /// The value of a storage slot after block `height`; 0 where nothing was ever stored. For more than one read: [`Store::state_at`].
    ///
    /// # Errors
    /// As [`Store::state_at`], so for all reads at a height.
    pub fn storage_at(&self, contract: &Felt, slot: &Felt, height: Height) -> Result<Felt, StoreError> {
        self.state_at(height)?.storage(contract, slot)
    }

    /// The same, with the block that set it; `None` where nothing was ever stored.
    ///
    /// # Errors
    /// As [`Store::state_at`].
    pub fn storage_entry_at(&self, contract: &Felt, slot: &Felt, height: Height) -> Result<Option<StoredValue>, StoreError> {
        self.state_at(height)?.storage_entry(contract, slot)
    }

    /// The value of a storage slot after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn storage_latest(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        Ok(self.latest(STORAGE, Key::new().felt(contract).felt(slot))?.unwrap_or_default())
    }

    /// A contract's nonce after block `height`; 0 if it never had one.
    ///
    /// # Errors
    /// As [`Store::state_at`].
    pub fn nonce_at(&self, contract: &Felt, height: Height) -> Result<Felt, StoreError> {
        self.state_at(height)?.nonce(contract)
    }

    /// The same after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn nonce_latest(&self, contract: &Felt) -> Result<Felt, StoreError> {
        Ok(self.latest(NONCES, Key::new().felt(contract))?.unwrap_or_default())
    }

    /// A contract's class after block `height`; `None` if it is not deployed.
    ///
    /// # Errors
    /// As [`Store::state_at`].
    pub fn class_hash_at(&self, contract: &Felt, height: Height) -> Result<Option<Felt>, StoreError> {
        self.state_at(height)?.class_hash(contract)
    }

    /// The same after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn class_hash_latest(&self, contract: &Felt) -> Result<Option<Felt>, StoreError> {
        self.latest(CLASS_HASHES, Key::new().felt(contract))
    }

    /// The compiled class hash of a class in the latest state; `None` if it is not declared.
    pub(crate) fn compiled_class_hash_latest(&self, class: &Felt) -> Result<Option<Felt>, StoreError> {
        self.latest(CLASSES, Key::new().felt(class))
    }

    /// The compiled class hash of a class, and the block that declared or migrated it; `None` if it is not declared.
    ///
    /// # Errors
    /// As [`Store::state_at`].
    pub fn compiled_class_hash_at(&self, class: &Felt, height: Height) -> Result<Option<StoredValue>, StoreError> {
        self.state_at(height)?.value(CLASSES, Key::new().felt(class))
    }

    /// The newest value of a versioned table. It is never pruned, so one read of it needs no snapshot.
    pub(crate) fn latest(&self, table: &'static str, name: Key) -> Result<Option<Felt>, StoreError> {
        let to = Key::new().bytes(name.as_ref()).height(LATEST);
        Ok(value_of(table, self.last_at(table, name.as_ref(), to.as_ref())?)?.map(|entry| entry.value))
    }

    pub(crate) fn put_state(&self, batch: &mut Batch<'_>, height: Height, diff: &StateDiff) {
        for (contract, entries) in &diff.storage {
            for (slot, value) in entries {
                batch.put(STORAGE, Key::new().felt(contract).felt(slot).height(height), codec::to_vec(value));
            }
        }
        for (table, rows) in
            [(NONCES, &diff.nonces), (CLASS_HASHES, &diff.class_hashes()), (CLASSES, &diff.compiled_classes())]
        {
            for (name, value) in rows {
                batch.put(table, Key::new().felt(name).height(height), codec::to_vec(value));
            }
        }
    }
}

fn value_of(table: &'static str, row: Option<Row>) -> Result<Option<StoredValue>, StoreError> {
    let Some((key, value)) = row else { return Ok(None) };
    let (_, height) = split_height(table, &key)?;
    Ok(Some(StoredValue { value: felt(table, &value)?, height }))
}

fn split_height<'a>(table: &'static str, key: &'a [u8]) -> Result<(&'a [u8], Height), StoreError> {
    let (name, height) = key.split_last_chunk().ok_or_else(|| corrupt(table, key, "key without a height"))?;
    Ok((name, Height(u64::from_be_bytes(*height))))
}

/// A stored felt: exactly 32 bytes.
pub(crate) fn felt(table: &'static str, bytes: &[u8]) -> Result<Felt, StoreError> {
    let mut rest = bytes;
    match codec::get(&mut rest) {
        Ok(felt) if rest.is_empty() => Ok(felt),
        _ => Err(corrupt(table, bytes, "not a field element")),
    }
}

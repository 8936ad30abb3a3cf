//! Flat state with its history: each row holds from its block on, until the next row of the same key.

use crate::codec;
use crate::error::StoreError;
use crate::keys::{CLASS_HASHES, CLASSES, Key, NONCES, STORAGE};
use crate::store::{Batch, Store, corrupt};
use keel_commitment::{Felt, StateDiff};
use keel_types::Height;

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

/// The state after one committed block.
pub struct StateAt<'a> {
    store: &'a Store,
    height: Height,
}

impl StateReader for StateAt<'_> {
    fn storage(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        self.store.storage_at(contract, slot, self.height)
    }
    fn nonce(&self, contract: &Felt) -> Result<Felt, StoreError> {
        self.store.nonce_at(contract, self.height)
    }
    fn class_hash(&self, contract: &Felt) -> Result<Option<Felt>, StoreError> {
        self.store.class_hash_at(contract, self.height)
    }
    fn compiled_class_hash(&self, class: &Felt) -> Result<Option<Felt>, StoreError> {
        Ok(self.store.compiled_class_hash_at(class, self.height)?.map(|entry| entry.value))
    }
}

/// Newer than any block: reads the latest committed value.
const LATEST: Height = Height(u64::MAX);

impl Store {
    /// The state after block `height`.
    ///
    /// # Errors
    /// The database.
    pub fn state_at(&self, height: Height) -> Result<StateAt<'_>, StoreError> {
        Ok(StateAt { store: self, height })
    }

    /// The value of a storage slot after block `height`; 0 where nothing was ever stored.
    ///
    /// # Errors
    /// The database.
    pub fn storage_at(&self, contract: &Felt, slot: &Felt, height: Height) -> Result<Felt, StoreError> {
        Ok(self.storage_entry_at(contract, slot, height)?.map_or(Felt::ZERO, |entry| entry.value))
    }

    /// The same, with the block that set it; `None` where nothing was ever stored.
    ///
    /// # Errors
    /// The database.
    pub fn storage_entry_at(&self, contract: &Felt, slot: &Felt, height: Height) -> Result<Option<StoredValue>, StoreError> {
        self.value_at(STORAGE, Key::new().felt(contract).felt(slot), height)
    }

    /// The value of a storage slot after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn storage_latest(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        self.storage_at(contract, slot, LATEST)
    }

    /// A contract's nonce after block `height`; 0 if it never had one.
    ///
    /// # Errors
    /// The database.
    pub fn nonce_at(&self, contract: &Felt, height: Height) -> Result<Felt, StoreError> {
        let entry = self.value_at(NONCES, Key::new().felt(contract), height)?;
        Ok(entry.map_or(Felt::ZERO, |entry| entry.value))
    }

    /// The same after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn nonce_latest(&self, contract: &Felt) -> Result<Felt, StoreError> {
        self.nonce_at(contract, LATEST)
    }

    /// A contract's class after block `height`; `None` if it is not deployed.
    ///
    /// # Errors
    /// The database.
    pub fn class_hash_at(&self, contract: &Felt, height: Height) -> Result<Option<Felt>, StoreError> {
        let entry = self.value_at(CLASS_HASHES, Key::new().felt(contract), height)?;
        Ok(entry.map(|entry| entry.value))
    }

    /// The same after the last committed block.
    ///
    /// # Errors
    /// The database.
    pub fn class_hash_latest(&self, contract: &Felt) -> Result<Option<Felt>, StoreError> {
        self.class_hash_at(contract, LATEST)
    }

    /// The compiled class hash of a class, and the block that declared or migrated it; `None` if it is not declared.
    ///
    /// # Errors
    /// The database.
    pub fn compiled_class_hash_at(&self, class: &Felt, height: Height) -> Result<Option<StoredValue>, StoreError> {
        self.value_at(CLASSES, Key::new().felt(class), height)
    }

    /// Every (contract, slot, value) after block `height` that is not zero, in key order, to `each`.
    ///
    /// # Errors
    /// The database, or the first error of `each`.
    pub fn each_storage_at(
        &self,
        height: Height,
        mut each: impl FnMut(Felt, Felt, Felt) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each_at(STORAGE, height, |key, value| {
            let (contract, slot) = key.split_at(32);
            each(felt(STORAGE, contract)?, felt(STORAGE, slot)?, value)
        })
    }

    /// Every row of a history table that holds after `height` and is not zero: the last of each key.
    pub(crate) fn each_at(
        &self,
        table: &'static str,
        height: Height,
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
            if set_at > height {
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

    fn value_at(&self, table: &'static str, prefix: Key, height: Height) -> Result<Option<StoredValue>, StoreError> {
        let to = Key::new().bytes(prefix.as_ref()).height(height);
        let Some((key, value)) = self.last_at(table, prefix.as_ref(), to.as_ref())? else { return Ok(None) };
        let (_, height) = split_height(table, &key)?;
        Ok(Some(StoredValue { value: felt(table, &value)?, height }))
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

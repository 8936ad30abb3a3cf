//! Settlement batches: bytes that `keel-batches` makes and reads, under a small header that anybody can.

use crate::error::StoreError;
use crate::keys::{BATCH_CHANGES, BATCH_ENDS, BATCH_FIRST_CHANGES, BATCH_HEADERS, BATCHES, Key};
use crate::store::{Batch, Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{BatchId, Height};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a batch has come. [spec settlement, Batches] A reorganisation takes INCLUDED back to SUBMITTED.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub enum BatchStatus {
    Built,
    Attested,
    Submitted,
    Included,
    Confirmed,
}

impl BatchStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchStatus::Built => "BUILT",
            BatchStatus::Attested => "ATTESTED",
            BatchStatus::Submitted => "SUBMITTED",
            BatchStatus::Included => "INCLUDED",
            BatchStatus::Confirmed => "CONFIRMED",
        }
    }
}

/// What of a batch can change (`status`, `note`) and what it covers.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct BatchHeader {
    pub batch: BatchId,
    /// Blocks `first_block..=last_block`.
    pub first_block: Height,
    pub last_block: Height,
    pub status: BatchStatus,
    /// For `keel-settlement`: transaction hash, block, attestations, in an encoding of its own.
    pub note: Vec<u8>,
}

/// A change of a batch, with the batch as it was right after. Changes are numbered from 0 without a gap, in the order in which they happened; a
/// store that was deleted and rebuilt counts anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchChange {
    pub number: u64,
    pub header: BatchHeader,
}

/// A change as stored; what it covers never changes and is in the batch's header.
#[derive(BorshSerialize, BorshDeserialize)]
struct ChangeRow {
    batch: BatchId,
    status: BatchStatus,
    note: Vec<u8>,
}

/// The log of changes: one writer at a time, and those who wait for the next.
#[derive(Default)]
pub(crate) struct ChangeLog {
    writing: Mutex<()>,
    count: watch::Sender<u64>,
}

impl ChangeLog {
    /// Guards no data: a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Keeps a batch for good: its number and blocks follow the last one's, its bytes never change. Putting the last
    /// batch again with the same bytes changes nothing.
    ///
    /// # Errors
    /// Number or first block is not the next, or other bytes for a number that is taken; the database.
    pub fn put_batch(&self, header: &BatchHeader, bytes: &[u8]) -> Result<(), StoreError> {
        let log = self.change_log();
        let _one_at_a_time = log.lock();
        let latest = self.latest_batch()?;
        let expected = latest.as_ref().map_or(0, |latest| latest.batch.0 + 1);
        if let Some(latest) = &latest
            && latest.batch == header.batch
            && self.batch_bytes(header.batch)?.as_deref() == Some(bytes)
        {
            return Ok(());
        }
        if header.batch.0 != expected {
            return Err(StoreError::NotNext { what: "batch", expected, found: header.batch.0 });
        }
        let expected = latest.map_or(0, |latest| latest.last_block.0 + 1);
        if header.first_block.0 != expected || header.last_block < header.first_block {
            return Err(StoreError::NotNext { what: "first block of a batch", expected, found: header.first_block.0 });
        }
        let mut batch = self.batch();
        let key = || Key::new().u64(header.batch.0);
        batch.put(BATCHES, key(), bytes);
        batch.put(BATCH_HEADERS, key(), borsh_vec(header));
        batch.put(BATCH_ENDS, Key::new().height(header.last_block), borsh_vec(&header.batch));
        let number = self.batch_change_count()?;
        batch.put(BATCH_FIRST_CHANGES, key(), borsh_vec(&number));
        put_change(&mut batch, number, header);
        batch.write()?;
        log.count.send_replace(number + 1);
        Ok(())
    }

    /// Sets status and note of a batch that is here. Setting what is set already changes nothing.
    ///
    /// # Errors
    /// There is no such batch (as a corrupt row); the database.
    pub fn set_batch_status(&self, id: BatchId, status: BatchStatus, note: Vec<u8>) -> Result<(), StoreError> {
        let log = self.change_log();
        let _one_at_a_time = log.lock();
        let key = Key::new().u64(id.0);
        let before = self.batch_header(id)?.ok_or_else(|| corrupt(BATCH_HEADERS, key.as_ref(), "no such batch"))?;
        let header = BatchHeader { status, note, ..before.clone() };
        if header == before {
            return Ok(());
        }
        let mut batch = self.batch();
        batch.put(BATCH_HEADERS, key, borsh_vec(&header));
        let number = self.batch_change_count()?;
        put_change(&mut batch, number, &header);
        batch.write()?;
        log.count.send_replace(number + 1);
        Ok(())
    }

    /// Changes of batches so far.
    ///
    /// # Errors
    /// The database.
    pub fn batch_change_count(&self) -> Result<u64, StoreError> {
        let last = self.last_at(BATCH_CHANGES, &[], &[0xff; 9])?;
        last.map_or(Ok(0), |(key, _)| Ok(change_number(&key)? + 1))
    }

    /// Changes from number `from` on, in order, at most `limit`; empty when there are no more yet.
    ///
    /// # Errors
    /// The database.
    pub fn batch_changes(&self, from: u64, limit: usize) -> Result<Vec<BatchChange>, StoreError> {
        let rows = self.scan(BATCH_CHANGES, &[], Key::new().u64(from).as_ref()).take(limit);
        rows.map(|row| {
            let (key, value) = row?;
            let ChangeRow { batch, status, note } = decode(BATCH_CHANGES, &key, &value)?;
            let header = self.batch_header(batch)?.ok_or_else(|| corrupt(BATCH_CHANGES, &key, "no such batch"))?;
            Ok(BatchChange { number: change_number(&key)?, header: BatchHeader { status, note, ..header } })
        })
        .collect()
    }

    /// Number of the change that made a batch; `None` while it is not made.
    ///
    /// # Errors
    /// The database.
    pub fn first_change_of_batch(&self, id: BatchId) -> Result<Option<u64>, StoreError> {
        self.get(BATCH_FIRST_CHANGES, Key::new().u64(id.0))
    }

    /// Wakes whoever waits for a change of a batch. What it holds is of no use; ask [`Store::batch_changes`].
    pub fn batch_changes_told(&self) -> watch::Receiver<u64> {
        self.change_log().count.subscribe()
    }

    /// A batch's header.
    ///
    /// # Errors
    /// The database.
    pub fn batch_header(&self, id: BatchId) -> Result<Option<BatchHeader>, StoreError> {
        self.get(BATCH_HEADERS, Key::new().u64(id.0))
    }

    /// A batch's bytes.
    ///
    /// # Errors
    /// The database.
    pub fn batch_bytes(&self, id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_bytes(BATCHES, Key::new().u64(id.0))
    }

    /// Header and bytes of a batch.
    ///
    /// # Errors
    /// The database.
    pub fn get_batch(&self, id: BatchId) -> Result<Option<(BatchHeader, Vec<u8>)>, StoreError> {
        Ok(self.batch_header(id)?.zip(self.batch_bytes(id)?))
    }

    /// The newest batch.
    ///
    /// # Errors
    /// The database.
    pub fn latest_batch(&self) -> Result<Option<BatchHeader>, StoreError> {
        self.latest_batch_with(BatchStatus::Built)
    }

    /// The newest batch that has come at least to `status`.
    ///
    /// # Errors
    /// The database.
    pub fn latest_batch_with(&self, status: BatchStatus) -> Result<Option<BatchHeader>, StoreError> {
        for row in self.scan_down(BATCH_HEADERS, &[], &[0xff; 9]) {
            let (key, value) = row?;
            let header: BatchHeader = decode(BATCH_HEADERS, &key, &value)?;
            if header.status >= status {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Batches from `from` on downwards, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database.
    pub fn batches_down(&self, from: BatchId, limit: usize) -> Result<Vec<BatchHeader>, StoreError> {
        let rows = self.scan_down(BATCH_HEADERS, &[], Key::new().u64(from.0).as_ref()).take(limit);
        rows.map(|row| row.and_then(|(key, value)| decode(BATCH_HEADERS, &key, &value))).collect()
    }

    /// The batch that holds a block.
    ///
    /// # Errors
    /// The database.
    pub fn batch_of_block(&self, height: Height) -> Result<Option<BatchId>, StoreError> {
        let row = self.scan(BATCH_ENDS, &[], Key::new().height(height).as_ref()).next().transpose()?;
        row.map(|(key, value)| decode(BATCH_ENDS, &key, &value)).transpose()
    }
}

fn put_change(batch: &mut Batch<'_>, number: u64, header: &BatchHeader) {
    let row = ChangeRow { batch: header.batch, status: header.status, note: header.note.clone() };
    batch.put(BATCH_CHANGES, Key::new().u64(number), borsh_vec(&row));
}

fn change_number(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| corrupt(BATCH_CHANGES, key, "not a number"))
}

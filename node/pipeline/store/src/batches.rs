//! Settlement batches: bytes that `keel-batches` makes and reads, under a small header that anybody can.

use crate::error::StoreError;
use crate::keys::{BATCH_ENDS, BATCH_HEADERS, BATCHES, Key};
use crate::store::{Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{BatchId, Height};

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

impl Store {
    /// Keeps a batch for good: its number and blocks follow the last one's, its bytes never change. Putting the last
    /// batch again with the same bytes changes nothing.
    ///
    /// # Errors
    /// Number or first block is not the next, or other bytes for a number that is taken; the database.
    pub fn put_batch(&self, header: &BatchHeader, bytes: &[u8]) -> Result<(), StoreError> {
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
        batch.write()
    }

    /// Sets status and note of a batch that is here.
    ///
    /// # Errors
    /// There is no such batch (as a corrupt row); the database.
    pub fn set_batch_status(&self, id: BatchId, status: BatchStatus, note: Vec<u8>) -> Result<(), StoreError> {
        let key = Key::new().u64(id.0);
        let header = self.batch_header(id)?.ok_or_else(|| corrupt(BATCH_HEADERS, key.as_ref(), "no such batch"))?;
        let mut batch = self.batch();
        batch.put(BATCH_HEADERS, key, borsh_vec(&BatchHeader { status, note, ..header }));
        batch.write()
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

    /// The batch that holds a block.
    ///
    /// # Errors
    /// The database.
    pub fn batch_of_block(&self, height: Height) -> Result<Option<BatchId>, StoreError> {
        let row = self.scan(BATCH_ENDS, &[], Key::new().height(height).as_ref()).next().transpose()?;
        row.map(|(key, value)| decode(BATCH_ENDS, &key, &value)).transpose()
    }
}

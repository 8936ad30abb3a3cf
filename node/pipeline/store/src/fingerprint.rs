//! Comparing two stores row by row: a store is a function of the journal, so two nodes' stores are equal to the byte.

use crate::error::StoreError;
use crate::keys::{
    ATTESTATIONS, BATCH_CHANGES, BATCH_ENDS, BATCH_FIRST_CHANGES, BATCH_HEADERS, BATCHES, DIVERGENCES, TABLES,
};
use crate::store::Store;
use keel_types::Bytes32;

/// One table in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFingerprint {
    pub table: &'static str,
    pub rows: u64,
    /// BLAKE3 over all keys and values, in key order, each with its length before it.
    pub hash: Bytes32,
}

impl Store {
    /// Every table that the journal alone determines. Batches are left out, how far one has come is the settlement layer's to say; and
    /// what attestors sent.
    ///
    /// # Errors
    /// The database.
    pub fn fingerprint(&self) -> Result<Vec<TableFingerprint>, StoreError> {
        const OTHERS: [&str; 7] =
            [BATCHES, BATCH_HEADERS, BATCH_ENDS, BATCH_CHANGES, BATCH_FIRST_CHANGES, ATTESTATIONS, DIVERGENCES];
        let derived = TABLES.iter().filter(|table| !OTHERS.contains(table));
        derived.map(|table| self.table_fingerprint(table)).collect()
    }

    fn table_fingerprint(&self, table: &'static str) -> Result<TableFingerprint, StoreError> {
        let (mut hasher, mut rows) = (blake3::Hasher::new(), 0);
        for row in self.scan(table, &[], &[]) {
            let (key, value) = row?;
            for part in [&key, &value] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            rows += 1;
        }
        Ok(TableFingerprint { table, rows, hash: Bytes32(*hasher.finalize().as_bytes()) })
    }
}

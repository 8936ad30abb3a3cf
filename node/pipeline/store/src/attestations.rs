//! What attestors sent: bytes that `keel-settlement` makes and reads, by batch and attestor. Lost with the store, they are sent again.

use crate::error::StoreError;
use crate::keys::{ATTESTATIONS, DIVERGENCES, Key};
use crate::store::{Store, borsh_vec, decode};
use keel_types::{Attestation, AttestorId, BatchId, DivergenceReport};

impl Store {
    /// Keeps an attestor's signature of a batch; a later one replaces it.
    ///
    /// # Errors
    /// The database.
    pub fn put_attestation(&self, attestation: &Attestation) -> Result<(), StoreError> {
        let mut batch = self.batch();
        let key = Key::new().u64(attestation.batch.0).felt(&attestation.attestor.0);
        batch.put(ATTESTATIONS, key, borsh_vec(attestation));
        batch.write()
    }

    /// What was signed of a batch, ascending by attestor.
    ///
    /// # Errors
    /// The database.
    pub fn attestations(&self, id: BatchId) -> Result<Vec<Attestation>, StoreError> {
        let key = Key::new().u64(id.0);
        let rows = self.scan(ATTESTATIONS, key.as_ref(), key.as_ref());
        rows.map(|row| row.and_then(|(key, value)| decode(ATTESTATIONS, &key, &value))).collect()
    }

    /// Keeps an attestor's newest report of a difference.
    ///
    /// # Errors
    /// The database.
    pub fn put_divergence(&self, report: &DivergenceReport) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.put(DIVERGENCES, Key::new().felt(&report.attestor.0), borsh_vec(report));
        batch.write()
    }

    /// Forgets it: the attestor agrees again.
    ///
    /// # Errors
    /// The database.
    pub fn remove_divergence(&self, attestor: AttestorId) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.delete(DIVERGENCES, Key::new().felt(&attestor.0));
        batch.write()
    }

    /// The reports that stand, ascending by attestor.
    ///
    /// # Errors
    /// The database.
    pub fn divergences(&self) -> Result<Vec<DivergenceReport>, StoreError> {
        let rows = self.scan(DIVERGENCES, &[], &[]);
        rows.map(|row| row.and_then(|(key, value)| decode(DIVERGENCES, &key, &value))).collect()
    }
}

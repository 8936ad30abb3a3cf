use keel_settlement::attestation::{AttestorKey, Scheme, SignatureError};
use keel_settlement::protection::{Protection, ProtectionError, Signed};
use keel_types::{Attestation, AttestorId, BatchClaim, BatchId, Divergence, DivergenceReport};

/// A key with the file that keeps it from signing twice.
pub struct Signer {
    scheme: Scheme,
    key: AttestorKey,
    protection: Protection,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Protection(#[from] ProtectionError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Signer {
    /// A key and its file, opened for it.
    pub fn new(scheme: Scheme, key: AttestorKey, protection: Protection) -> Signer {
        Signer { scheme, key, protection }
    }

    /// Who signs.
    pub fn attestor(&self) -> AttestorId {
        self.key.id()
    }

    /// Signs the fact of a batch that was executed here: remembered on disk first. Batches before `unconfirmed_from` are confirmed.
    ///
    /// # Errors
    /// It must not be signed, or cannot be.
    pub fn attest(&mut self, computed: &BatchClaim, unconfirmed_from: BatchId) -> Result<Attestation, SignError> {
        self.protection.allow(Signed::of(computed), unconfirmed_from)?;
        let signature = self.key.sign_fact(&self.scheme, computed.fact)?;
        Ok(Attestation { batch: computed.batch, fact: computed.fact, attestor: self.key.id(), signature })
    }

    /// Signs what differs. It says nothing about a fact and can be signed for any height.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn report(&self, divergence: Divergence) -> Result<DivergenceReport, SignError> {
        let signature = self.key.sign_divergence(&self.scheme, &divergence)?;
        Ok(DivergenceReport { divergence, attestor: self.key.id(), signature })
    }
}

//! KZG commitments to blobs, and the proofs that the settlement contract checks. [spec starknet (d); EIP-4844]
//!
//! The proofs of cells that the network asks of a blob's sender (EIP-7594) are not here: they belong to the transaction.

use crate::blob::{BLOB_WORDS, Blob, evaluate};
use borsh::{BorshDeserialize, BorshSerialize};
use c_kzg::KzgSettings;
use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Poseidon, poseidon_array};
use keel_types::Bytes32;
use sha2::{Digest, Sha256};

/// Bytes of a commitment or proof: a compressed point of BLS12-381.
pub const POINT_BYTES: usize = 48;

/// First byte of a versioned hash.
const VERSION_KZG: u8 = 1;

/// A KZG commitment to a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Commitment(pub [u8; POINT_BYTES]);

/// Proof that a polynomial has a value at a point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct PointProof(pub [u8; POINT_BYTES]);

/// Value of a polynomial at the point of a batch: 32 bytes, big-endian, below the order of BLS12-381.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Evaluation(pub [u8; 32]);

/// What the library refused: a blob whose values are not below the order of BLS12-381.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("KZG: {0}")]
pub struct KzgError(String);

impl From<c_kzg::Error> for KzgError {
    fn from(error: c_kzg::Error) -> KzgError {
        KzgError(error.to_string())
    }
}

impl Commitment {
    /// As two words of the program output: the last 24 bytes, then the first 24.
    pub fn words(&self) -> [Felt; 2] {
        let (high, low) = self.0.split_at(POINT_BYTES / 2);
        [Felt::from_bytes_be_slice(low), Felt::from_bytes_be_slice(high)]
    }

    /// What the settlement layer knows of the blob: SHA-256 of the commitment, its first byte replaced by 1.
    pub fn versioned_hash(&self) -> Bytes32 {
        let mut hash: [u8; 32] = Sha256::digest(self.0).into();
        hash[0] = VERSION_KZG;
        Bytes32(hash)
    }
}

impl Evaluation {
    /// As two words of the program output: the low 128 bits, then the high 128.
    pub fn words(&self) -> [Felt; 2] {
        let (high, low) = self.0.split_at(16);
        [Felt::from_bytes_be_slice(low), Felt::from_bytes_be_slice(high)]
    }
}

/// The commitment to a blob. Some 40 ms.
///
/// # Errors
/// Bytes that are not values.
pub fn commit(blob: &Blob) -> Result<Commitment, KzgError> {
    Ok(Commitment(settings().blob_to_kzg_commitment(&ckzg(blob))?.to_bytes().into_inner()))
}

/// The point at which the settlement contract has the polynomials of a batch opened: Poseidon of all its words and all its
/// commitments, so that nobody can choose the words for the point.
pub fn opening_point(words: &[Felt], commitments: &[Commitment]) -> Felt {
    let commitment_words: Vec<Felt> = commitments.iter().flat_map(Commitment::words).collect();
    Poseidon::hash(&poseidon_array(words), &poseidon_array(&commitment_words))
}

/// Values at `z` of the polynomials of the words' blobs.
pub fn evaluations(words: &[Felt], z: &Felt) -> Vec<Evaluation> {
    words.chunks(BLOB_WORDS).map(|words| Evaluation(evaluate(words, z))).collect()
}

/// Value of the blob's polynomial at `z`, with the proof for the settlement contract. Some 50 ms.
///
/// # Errors
/// Bytes that are not values.
pub fn prove(blob: &Blob, z: &Felt) -> Result<(Evaluation, PointProof), KzgError> {
    let (proof, value) = settings().compute_kzg_proof(&ckzg(blob), &z.to_bytes_be().into())?;
    Ok((Evaluation(*value), PointProof(proof.to_bytes().into_inner())))
}

/// Whether the proof holds: what the settlement contract's precompile says of it.
pub fn verify(commitment: &Commitment, z: &Felt, value: &Evaluation, proof: &PointProof) -> bool {
    let (z, value) = (z.to_bytes_be().into(), value.0.into());
    settings().verify_kzg_proof(&commitment.0.into(), &z, &value, &proof.0.into()).unwrap_or(false)
}

fn ckzg(blob: &Blob) -> c_kzg::Blob {
    c_kzg::Blob::new(*blob.as_bytes())
}

/// Ethereum's trusted setup; read at the first use. Nothing is precomputed: that would take 100 MB and serves cell proofs only.
fn settings() -> &'static KzgSettings {
    c_kzg::ethereum_kzg_settings(0)
}

#[cfg(test)]
mod tests;

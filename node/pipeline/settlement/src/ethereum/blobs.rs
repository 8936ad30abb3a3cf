//! Blobs of a batch as the network takes them since Fusaka: with the proofs of each blob's 128 cells. [EIP-4844, EIP-7594]
//!
//! These proofs are for the network alone. What the contract checks are the point proofs in the calldata.

use crate::error::SendError;
use alloy::eips::eip4844::{Blob, Bytes48};
use alloy::eips::eip7594::BlobTransactionSidecarEip7594;
use alloy::primitives::Bytes;
use keel_batches::DataAvailability;

/// What the update's calldata proves of each blob.
///
/// # Errors
/// The stored blobs are damaged.
pub(super) fn point_proofs(data: &DataAvailability) -> Result<Vec<Bytes>, SendError> {
    let proofs = data.point_proofs().map_err(|error| SendError::Data(error.to_string()))?;
    Ok(proofs.iter().map(|proof| Bytes::copy_from_slice(&proof.0)).collect())
}

/// The sidecar of the blobs; `None` where the data has another form. Some 300 ms a blob.
///
/// # Errors
/// The stored blobs are damaged.
pub(super) fn sidecar(data: &DataAvailability) -> Result<Option<BlobTransactionSidecarEip7594>, SendError> {
    let DataAvailability::Blobs { commitments, .. } = data else { return Ok(None) };
    let damaged = |error: c_kzg::Error| SendError::Data(error.to_string());
    let (mut blobs, mut cell_proofs) = (vec![], vec![]);
    for blob in data.blobs() {
        let bytes = blob.as_bytes();
        let (_, proofs) =
            c_kzg::ethereum_kzg_settings(0).compute_cells_and_kzg_proofs(&c_kzg::Blob::new(*bytes)).map_err(damaged)?;
        cell_proofs.extend(proofs.iter().map(|proof| Bytes48::from(proof.to_bytes().into_inner())));
        blobs.push(Blob::from_slice(bytes));
    }
    let commitments = commitments.iter().map(|commitment| Bytes48::from(commitment.0)).collect();
    Ok(Some(BlobTransactionSidecarEip7594::new(blobs, commitments, cell_proofs)))
}

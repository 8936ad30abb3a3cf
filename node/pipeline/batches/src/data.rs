//! How the state diff of a batch reaches the settlement layer, and how it comes back. [spec settlement, Data availability]

use crate::blob::{BLOB_WORDS, BLOBS_MAX, Blob, BlobError, from_blobs, to_blobs};
use crate::compression::{DecompressError, TooManyWords, compress, compressed_len, decompress};
use crate::kzg::{Commitment, Evaluation, KzgError, PointProof, commit, evaluations, opening_point, prove};
use crate::packed::{PackedDiff, UnpackError};
use crate::wire::{get_felt, get_felts, put_felt, put_felts};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::Felt;
use keel_commitment::hash::poseidon_array;
use keel_types::{DataForm, SettlementLayer};

/// Words of a chunk on Starknet; the last of a batch may have fewer. One transaction carries 5,000 words of calldata.
pub const DATA_CHUNK_WORDS: usize = 4_500;
/// Chunks of one batch: each is a transaction of its own before the update.
pub const DATA_CHUNKS_MAX: usize = 4;
/// Words of data and messages together, where both are calldata of one Ethereum transaction: 96 kB, under the 128 KiB that
/// nodes take.
pub const CALLDATA_WORDS_MAX: usize = 3_000;

/// Most words of data, compressed, in a batch that settles on `layer`; messages included where data is Ethereum calldata.
pub fn data_words_max(layer: SettlementLayer) -> usize {
    match layer {
        SettlementLayer::Ethereum { data: DataForm::Blobs, .. } => BLOBS_MAX * BLOB_WORDS,
        SettlementLayer::Ethereum { data: DataForm::Calldata, .. } => CALLDATA_WORDS_MAX,
        SettlementLayer::Starknet { .. } => DATA_CHUNKS_MAX * DATA_CHUNK_WORDS,
    }
}

/// The data of a batch: its packed state diff, compressed, in the form in which its settlement layer takes it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum DataAvailability {
    /// In the calldata of the update, on Ethereum.
    Calldata {
        #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
        words: Vec<Felt>,
    },
    /// In blobs of the update's transaction, on Ethereum. Blobs and proofs follow from the words.
    Blobs {
        #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
        words: Vec<Felt>,
        /// Of each blob.
        commitments: Vec<Commitment>,
        /// Where the contract has the blobs' polynomials opened.
        #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
        z: Felt,
        /// Value of each blob's polynomial there.
        evaluations: Vec<Evaluation>,
    },
    /// In calldata of transactions before the update, [`DATA_CHUNK_WORDS`] to each, on Starknet.
    Chunks {
        #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
        words: Vec<Felt>,
    },
}

/// Why a state diff is not data, or data no state diff.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DataError {
    #[error("compress: {0}")]
    Compress(#[from] TooManyWords),
    #[error("decompress: {0}")]
    Decompress(#[from] DecompressError),
    #[error("unpack the state diff: {0}")]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Kzg(#[from] KzgError),
    #[error("{0} blobs are more than the {BLOBS_MAX} of one transaction")]
    TooManyBlobs(usize),
    /// The compressed words say how many they are.
    #[error("{blobs} blobs hold data of {words} words")]
    BlobCount { blobs: usize, words: usize },
    #[error("word {0} of the blobs, after the data, is not zero")]
    NotZero(usize),
    /// Commitments, point or values are not those of the words.
    #[error("commitments, point or evaluations are not those of the words")]
    NotOfWords,
}

impl DataAvailability {
    /// The data of a state diff for `layer`. For blobs this takes some 50 ms each.
    ///
    /// # Errors
    /// The diff is too large.
    pub fn of(layer: SettlementLayer, packed: &PackedDiff) -> Result<DataAvailability, DataError> {
        DataAvailability::of_words(layer, compress(&packed.encode())?)
    }

    /// From compressed words. Whether they are a state diff, [`DataAvailability::decode`] says.
    ///
    /// # Errors
    /// More words than the blobs of one transaction hold.
    pub fn of_words(layer: SettlementLayer, words: Vec<Felt>) -> Result<DataAvailability, DataError> {
        match layer {
            SettlementLayer::Ethereum { data: DataForm::Calldata, .. } => Ok(DataAvailability::Calldata { words }),
            SettlementLayer::Ethereum { data: DataForm::Blobs, .. } => with_commitments(words),
            SettlementLayer::Starknet { .. } => Ok(DataAvailability::Chunks { words }),
        }
    }

    /// From the blobs of one update, in their order. The commitments are computed: compare them, or their versioned hashes, with
    /// those on the chain.
    ///
    /// # Errors
    /// They are not the blobs of any words.
    pub fn from_blobs(blobs: &[Blob]) -> Result<DataAvailability, DataError> {
        if blobs.len() > BLOBS_MAX {
            return Err(DataError::TooManyBlobs(blobs.len()));
        }
        let mut words = from_blobs(blobs)?;
        let length = compressed_len(words.first().ok_or(DecompressError::Empty)?)?;
        if length.div_ceil(BLOB_WORDS) != blobs.len() {
            return Err(DataError::BlobCount { blobs: blobs.len(), words: length });
        }
        match words[length..].iter().position(|word| *word != Felt::ZERO) {
            Some(after) => Err(DataError::NotZero(length + after)),
            None => {
                words.truncate(length);
                with_commitments(words)
            }
        }
    }

    /// The compressed words.
    pub fn words(&self) -> &[Felt] {
        match self {
            DataAvailability::Calldata { words }
            | DataAvailability::Blobs { words, .. }
            | DataAvailability::Chunks { words } => words,
        }
    }

    /// The state diff: the exact inverse of [`DataAvailability::of`].
    ///
    /// # Errors
    /// The words are not what a state diff packs and compresses to.
    pub fn decode(&self) -> Result<PackedDiff, DataError> {
        Ok(PackedDiff::decode(&decompress(self.words())?)?)
    }

    /// Whether everything here follows from the words; computes all commitments again.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self) -> Result<(), DataError> {
        match self {
            DataAvailability::Blobs { words, .. } if with_commitments(words.clone())? != *self => Err(DataError::NotOfWords),
            _ => Ok(()),
        }
    }

    /// The blobs, in the order of the commitments; none where the data has another form. 2 ms each.
    pub fn blobs(&self) -> Vec<Blob> {
        match self {
            DataAvailability::Blobs { words, .. } => to_blobs(words),
            DataAvailability::Calldata { .. } | DataAvailability::Chunks { .. } => vec![],
        }
    }

    /// Commitments to the blobs; none where the data has another form.
    pub fn commitments(&self) -> &[Commitment] {
        match self {
            DataAvailability::Blobs { commitments, .. } => commitments,
            DataAvailability::Calldata { .. } | DataAvailability::Chunks { .. } => &[],
        }
    }

    /// What the update's calldata proves of each blob: its value at `z`. Some 50 ms each.
    ///
    /// # Errors
    /// Commitments, point or values are not those of the words.
    pub fn point_proofs(&self) -> Result<Vec<PointProof>, DataError> {
        let DataAvailability::Blobs { z, evaluations, .. } = self else { return Ok(vec![]) };
        let proofs = self.blobs().into_iter().zip(evaluations).map(|(blob, expected)| match prove(&blob, z)? {
            (value, proof) if value == *expected => Ok(proof),
            _ => Err(DataError::NotOfWords),
        });
        proofs.collect()
    }

    /// The chunks that are registered before the update, in their order; none where the data has another form.
    pub fn chunks(&self) -> impl Iterator<Item = &[Felt]> {
        let words: &[Felt] = match self {
            DataAvailability::Chunks { words } => words,
            DataAvailability::Calldata { .. } | DataAvailability::Blobs { .. } => &[],
        };
        words.chunks(DATA_CHUNK_WORDS)
    }

    /// Poseidon of each chunk: by it the contract knows that the chunk was registered.
    pub fn chunk_hashes(&self) -> Vec<Felt> {
        self.chunks().map(poseidon_array).collect()
    }

    /// Word 8 of the program output.
    pub(crate) fn use_kzg_da(&self) -> Felt {
        Felt::from(matches!(self, DataAvailability::Blobs { .. }))
    }

    /// Words of the program output between header and messages. [spec starknet (d)]
    pub(crate) fn output_section(&self) -> Vec<Felt> {
        let DataAvailability::Blobs { commitments, z, evaluations, .. } = self else { return vec![] };
        let prefix = [*z, Felt::from(commitments.len())].into_iter();
        let commitments = commitments.iter().flat_map(Commitment::words);
        prefix.chain(commitments).chain(evaluations.iter().flat_map(Evaluation::words)).collect()
    }
}

fn with_commitments(words: Vec<Felt>) -> Result<DataAvailability, DataError> {
    let blobs = to_blobs(&words);
    if blobs.len() > BLOBS_MAX {
        return Err(DataError::TooManyBlobs(blobs.len()));
    }
    let commitments = blobs.iter().map(commit).collect::<Result<Vec<_>, _>>()?;
    let z = opening_point(&words, &commitments);
    let evaluations = evaluations(&words, &z);
    Ok(DataAvailability::Blobs { words, commitments, z, evaluations })
}

#[cfg(test)]
mod tests;

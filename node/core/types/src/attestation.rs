//! What attestors and the node they follow say to each other. [spec settlement, Trust, said plainly]

use crate::order::text_enum;
use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What the node says of a batch: where it ends, and what it came to. Only the end is taken from it; the rest is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct BatchClaim {
    pub batch: BatchId,
    pub first_block: Height,
    pub last_block: Height,
    /// State root after `last_block`.
    pub root: FeltBytes,
    /// Hash of `last_block`.
    pub block_hash: FeltBytes,
    /// What the fact registry is asked.
    pub fact: Bytes32,
}

/// A fact signed by an attestor: it executed the batch and came to the same.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    pub batch: BatchId,
    pub fact: Bytes32,
    pub attestor: AttestorId,
    /// As the registry of the settlement layer takes it: r, s, v (65 bytes) on Ethereum, r, s (64 bytes) on Starknet.
    pub signature: Vec<u8>,
}

text_enum! {
    /// Which value an attestor came to that the node did not.
    Diverged {
        EngineDigest = "ENGINE_DIGEST",
        Execution = "EXECUTION",
        BatchRange = "BATCH_RANGE",
        StateRoot = "STATE_ROOT",
        BlockHash = "BLOCK_HASH",
        Fact = "FACT",
    }
}

/// A difference between what the node says and what the attestor came to, with both values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Divergence {
    pub what: Diverged,
    /// The batch, when it is about one.
    pub batch: Option<BatchId>,
    /// The block: the one that closes with the digest, or the last of the batch.
    pub height: Height,
    /// What the node says; zero for [Diverged::Execution].
    pub announced: Bytes32,
    /// What the attestor came to; zero for [Diverged::Execution].
    pub computed: Bytes32,
}

impl Divergence {
    /// What an attestor signs of it: BLAKE3 over the borsh encoding.
    pub fn hash(&self) -> Bytes32 {
        let bytes = borsh::to_vec(self).expect("writing to a Vec cannot fail");
        Bytes32(*blake3::hash(&bytes).as_bytes())
    }
}

/// A signed [Divergence].
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct DivergenceReport {
    pub divergence: Divergence,
    pub attestor: AttestorId,
    /// In the form of [Attestation::signature].
    pub signature: Vec<u8>,
}

text_enum! {
    /// Why the node does not take what an attestor sent. Nothing is kept of it then.
    AttestationRefusal {
        UnknownBatch = "UNKNOWN_BATCH",
        NotAnAttestor = "NOT_AN_ATTESTOR",
        BadSignature = "BAD_SIGNATURE",
        FactDiffers = "FACT_DIFFERS",
        AttestorsUnknown = "ATTESTORS_UNKNOWN",
        NotStored = "NOT_STORED",
    }
}

/// How far the attestations of a batch are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gathered {
    /// Different attestors that signed its fact.
    pub have: usize,
    /// How many the registry asks for.
    pub need: usize,
}

//! What a batch holds, and the words the settlement contract gets of it. [spec settlement, Batches and Program output]

use crate::blob::Blob;
use crate::data::{DataAvailability, DataError};
use crate::decide::CloseReason;
use crate::error::BatchError;
use crate::kzg::PointProof;
use crate::message::{MessageToL1, MessageToL2};
use crate::wire::{get_diff, get_felt, get_felts, put_diff, put_felt, put_felts};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::hash::{ascii, poseidon_array};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::ethereum as contract;
use keel_store::{BatchHeader, Store};
use keel_types::{BatchId, Bytes32, Height};

/// A state as the settlement contract names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct StatePoint {
    /// `None` before the first block.
    pub height: Option<Height>,
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub root: Felt,
    /// Block hash.
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub hash: Felt,
}

impl StatePoint {
    /// Before block 0: root 0, number -1, hash 0. [spec settlement, Chain constants]
    pub const BEFORE_GENESIS: StatePoint = StatePoint { height: None, root: Felt::ZERO, hash: Felt::ZERO };

    /// The block number as a field element; -1 before the first block.
    pub fn number(&self) -> Felt {
        self.height.map_or(-Felt::ONE, |height| Felt::from(height.0))
    }
}

/// A run of consecutive blocks: everything the settlement layer may ever ask about it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct BatchContent {
    pub id: BatchId,
    pub first_block: Height,
    pub last_block: Height,
    pub before: StatePoint,
    pub after: StatePoint,
    pub closed: CloseReason,
    /// What the range changed; entries that it set back to what they were before are not in it.
    #[borsh(serialize_with = "put_diff", deserialize_with = "get_diff")]
    pub diff: StateDiff,
    /// In the order of the transactions that sent them.
    pub to_l1: Vec<MessageToL1>,
    /// In the order of the transactions that consumed them.
    pub to_l2: Vec<MessageToL2>,
    pub data: DataAvailability,
    /// Hash of chain id and fee token: word 7 of the program output.
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub config_hash: Felt,
    /// Names our rules on the settlement layer.
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub program_hash: Felt,
}

/// A batch with what is claimed about it on the settlement layer. Immutable.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    pub content: BatchContent,
    /// Program output: header of 10 words, data in blobs, messages to L1, messages to L2. [spec starknet (d)]
    #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
    pub output: Vec<Felt>,
    /// As the settlement contract computes it from output and data, and logs it. On Starknet the same as `fact`.
    pub transition_fact: Bytes32,
    /// What the fact registry is asked, and what attestors sign: over program hash and transition. On Starknet a felt, big-endian.
    pub fact: Bytes32,
}

impl Batch {
    /// Output and facts of a content.
    pub fn new(content: BatchContent) -> Batch {
        let output = output(&content);
        let (transition_fact, fact) = facts(&content.data, content.program_hash, &output);
        Batch { content, output, transition_fact, fact }
    }

    /// The blobs of the update's transaction, in their order; see [`DataAvailability::blobs`].
    pub fn blobs(&self) -> Vec<Blob> {
        self.content.data.blobs()
    }

    /// What the update's calldata proves of each blob; see [`DataAvailability::point_proofs`].
    ///
    /// # Errors
    /// The stored commitments or values are not those of the words: the store is damaged.
    pub fn point_proofs(&self) -> Result<Vec<PointProof>, DataError> {
        self.content.data.point_proofs()
    }

    /// Canonical bytes, as the store keeps them.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec cannot fail")
    }

    /// From the store's bytes of batch `id`.
    ///
    /// # Errors
    /// The bytes are not those of that batch.
    pub fn decode(id: BatchId, bytes: &[u8]) -> Result<Batch, BatchError> {
        match borsh::from_slice::<Batch>(bytes) {
            Ok(batch) if batch.content.id == id => Ok(batch),
            Ok(other) => Err(BatchError::Decode { batch: id, why: format!("the bytes are of batch {}", other.content.id) }),
            Err(error) => Err(BatchError::Decode { batch: id, why: error.to_string() }),
        }
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// The store, or what it holds is not the batch. `None`: there is no such batch.
    pub fn load(store: &Store, id: BatchId) -> Result<Option<(BatchHeader, Batch)>, BatchError> {
        let Some((header, bytes)) = store.get_batch(id)? else { return Ok(None) };
        Ok(Some((header, Batch::decode(id, &bytes)?)))
    }
}

fn output(content: &BatchContent) -> Vec<Felt> {
    let mut output = vec![
        content.before.root,
        content.after.root,
        content.before.number(),
        content.after.number(),
        content.before.hash,
        content.after.hash,
        // The program whose output was aggregated: none.
        Felt::ZERO,
        content.config_hash,
        content.data.use_kzg_da(),
        // Full output, with the values before: no.
        Felt::ZERO,
    ];
    output.extend(content.data.output_section());
    put_segment(&mut output, content.to_l1.iter().map(MessageToL1::words));
    put_segment(&mut output, content.to_l2.iter().map(MessageToL2::words));
    output
}

/// Transition fact and fact of a batch with this data and program output, as the contract of the layer has them.
pub fn facts(data: &DataAvailability, program_hash: Felt, output: &[Felt]) -> (Bytes32, Bytes32) {
    let words = |felts: &[Felt]| felts.iter().copied().map(contract::word).collect::<Vec<_>>();
    let transition = match data {
        DataAvailability::Calldata { words: data } => contract::transition_fact_with_data(&words(output), &words(data)),
        DataAvailability::Blobs { .. } => contract::transition_fact_with_blobs(&words(output)),
        DataAvailability::Chunks { .. } => {
            let data_hash = poseidon_array(&data.chunk_hashes());
            let fact = [ascii("KEEL_TRANSITION"), program_hash, poseidon_array(output), data_hash];
            let fact = Bytes32(poseidon_array(&fact).to_bytes_be());
            return (fact, fact);
        }
    };
    (Bytes32(transition.0), Bytes32(contract::fact(program_hash, transition).0))
}

/// Number of words, then the words of each message.
fn put_segment(output: &mut Vec<Felt>, messages: impl Iterator<Item = Vec<Felt>>) {
    let words: Vec<Felt> = messages.flatten().collect();
    output.push(Felt::from(words.len()));
    output.extend(words);
}

//! What a batch holds, and the words the settlement contract gets of it. [spec settlement, Batches and Program output]

use crate::decide::CloseReason;
use crate::error::BatchError;
use crate::wire::{get_diff, get_felt, get_felts, put_diff, put_felt, put_felts};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::ethereum as contract;
use keel_store::{BatchHeader, Store};
use keel_types::{BatchId, Bytes32, Height, L1Address};

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

/// A message to the settlement layer.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct MessageToL1 {
    /// A contract of our chain.
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub from: Felt,
    pub to: L1Address,
    #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
    pub payload: Vec<Felt>,
}

/// A message of the settlement layer that a block of the batch consumed.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct MessageToL2 {
    pub from: L1Address,
    /// A contract of our chain.
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub to: Felt,
    /// Counted by the settlement contract.
    pub nonce: u64,
    #[borsh(serialize_with = "put_felt", deserialize_with = "get_felt")]
    pub selector: Felt,
    /// Without the sender.
    #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
    pub payload: Vec<Felt>,
}

impl MessageToL1 {
    /// Words of its segment: `[from, to, payload length, payload...]`.
    pub fn words(&self) -> Vec<Felt> {
        let prefix = [self.from, self.to.0, Felt::from(self.payload.len())];
        prefix.into_iter().chain(self.payload.iter().copied()).collect()
    }

    /// Its key in `l2ToL1Messages`.
    pub fn hash(&self) -> Bytes32 {
        hash(&self.words())
    }
}

impl MessageToL2 {
    /// Words of its segment: `[from, to, nonce, selector, payload length, payload...]`.
    pub fn words(&self) -> Vec<Felt> {
        let length = Felt::from(self.payload.len());
        let prefix = [self.from.0, self.to, Felt::from(self.nonce), self.selector, length];
        prefix.into_iter().chain(self.payload.iter().copied()).collect()
    }

    /// Its key in `l1ToL2Messages`.
    pub fn hash(&self) -> Bytes32 {
        hash(&self.words())
    }
}

fn hash(words: &[Felt]) -> Bytes32 {
    Bytes32(contract::hash_words(&words.iter().copied().map(contract::word).collect::<Vec<_>>()).0)
}

/// How the packed state diff reaches the settlement layer. Blobs become another variant.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum DataAvailability {
    /// In the calldata of the update, as packed, not compressed further.
    Calldata {
        #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
        words: Vec<Felt>,
    },
}

impl DataAvailability {
    /// Word 8 of the program output.
    fn use_kzg_da(&self) -> Felt {
        match self {
            DataAvailability::Calldata { .. } => Felt::ZERO,
        }
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
    /// Program output: header of 10 words, messages to L1, messages to L2. [spec starknet (d)]
    #[borsh(serialize_with = "put_felts", deserialize_with = "get_felts")]
    pub output: Vec<Felt>,
    /// As the settlement contract computes it from output and data.
    pub transition_fact: Bytes32,
    /// What the fact registry is asked, and what attestors sign: over program hash and transition fact.
    pub fact: Bytes32,
}

impl Batch {
    /// Output and facts of a content.
    pub fn new(content: BatchContent) -> Batch {
        let output = output(&content);
        let words = |felts: &[Felt]| felts.iter().copied().map(contract::word).collect::<Vec<_>>();
        let transition_fact = match &content.data {
            DataAvailability::Calldata { words: data } => contract::transition_fact_with_data(&words(&output), &words(data)),
        };
        let fact = contract::fact(content.program_hash, transition_fact);
        Batch { content, output, transition_fact: Bytes32(transition_fact.0), fact: Bytes32(fact.0) }
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
    put_segment(&mut output, content.to_l1.iter().map(MessageToL1::words));
    put_segment(&mut output, content.to_l2.iter().map(MessageToL2::words));
    output
}

/// Number of words, then the words of each message.
fn put_segment(output: &mut Vec<Felt>, messages: impl Iterator<Item = Vec<Felt>>) {
    let words: Vec<Felt> = messages.flatten().collect();
    output.push(Felt::from(words.len()));
    output.extend(words);
}

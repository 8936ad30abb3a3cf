//! Blocks as they are stored and served.

use crate::codec::{get, put};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::block_hash::BlockHeader;
use keel_commitment::commitments::{Event, MessageToL1};
use keel_commitment::{Felt, StateDiff};
use keel_types::{Bytes32, Height, Seq, Ts};

/// A sealed block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    pub header: Header,
    /// In seq order of the commands they stand for.
    pub transactions: Vec<Transaction>,
    /// One for each transaction, in the same order.
    pub receipts: Vec<Receipt>,
    pub diff: StateDiff,
}

/// The header: what the block hash covers, and what the node knows about it besides.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// What is hashed: number, parent, state root, timestamp (seconds), prices, commitments.
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub block: BlockHeader,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub hash: Felt,
    /// Over `hash`, by the node's key; `None` on a node that has none.
    pub signature: Option<Signature>,
    /// Roots under `block.state_root`.
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub contracts_root: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub classes_root: Felt,
    /// Commands in the block: `first_seq..=last_seq`. The last is its SealBlock. Genesis: 0 and 0.
    pub first_seq: Seq,
    pub last_seq: Seq,
    /// Time of the SealBlock, nanoseconds.
    pub ts: Ts,
    /// `engine_digest` that the SealBlock carried; zero for genesis.
    pub engine_digest: Bytes32,
}

impl Header {
    /// Block number.
    pub fn height(&self) -> Height {
        Height(self.block.number)
    }
}

/// ECDSA on the Stark curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Signature {
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub r: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub s: Felt,
}

/// A transaction of our chain; there are no other kinds.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Transaction {
    Invoke(Invoke),
    L1Handler(L1HandlerCall),
}

/// INVOKE v3 of the operator account. What every one of them shares is not stored: signature `[]`, tip 0, three zero
/// resource bounds, DA modes L1, empty paymaster and account deployment data. [spec settlement, Blocks]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Invoke {
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub hash: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub sender: Felt,
    pub nonce: u64,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub calldata: Vec<Felt>,
}

/// L1_HANDLER v0: a message of the settlement layer, consumed.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct L1HandlerCall {
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub hash: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub contract: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub selector: Felt,
    /// Of the message.
    pub nonce: u64,
    /// The sender on the settlement layer, then the payload.
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub calldata: Vec<Felt>,
    /// Key of the message on the settlement contract.
    pub message_hash: Bytes32,
}

impl Transaction {
    /// The transaction hash.
    pub fn hash(&self) -> Felt {
        match self {
            Transaction::Invoke(invoke) => invoke.hash,
            Transaction::L1Handler(call) => call.hash,
        }
    }
}

/// What a transaction left. Execution SUCCEEDED, resources 0, fee 0 (FRI for INVOKE, WEI for L1_HANDLER): so it is for
/// every transaction of the chain, and not stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    pub transaction_hash: Felt,
    pub messages_sent: Vec<MessageToL1>,
    pub events: Vec<Event>,
    /// Commands that the transaction stands for.
    pub first_seq: Seq,
    pub last_seq: Seq,
}

/// A transaction with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedTransaction {
    pub height: Height,
    pub index: u32,
    pub transaction: Transaction,
}

//! Messages between our chain and its settlement layer. [spec starknet (e) and (f)]

use crate::wire::{get_felt, get_felts, put_felt, put_felts};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::Felt;
use keel_commitment::hash::poseidon_array;
use keel_contracts::ethereum as contract;
use keel_types::{Bytes32, L1Address, SettlementLayer};

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

    /// Its key in the contract: `l2ToL1Messages`, `appchain_to_sn_messages`.
    pub fn hash(&self, layer: SettlementLayer) -> Bytes32 {
        hash(layer, &self.words())
    }
}

impl MessageToL2 {
    /// Words of its segment: `[from, to, nonce, selector, payload length, payload...]`.
    pub fn words(&self) -> Vec<Felt> {
        let length = Felt::from(self.payload.len());
        let prefix = [self.from.0, self.to, Felt::from(self.nonce), self.selector, length];
        prefix.into_iter().chain(self.payload.iter().copied()).collect()
    }

    /// Its key in the contract: `l1ToL2Messages`, `sn_to_appchain_messages`.
    pub fn hash(&self, layer: SettlementLayer) -> Bytes32 {
        hash(layer, &self.words())
    }
}

/// Keccak of the words on Ethereum, Poseidon on Starknet.
fn hash(layer: SettlementLayer, words: &[Felt]) -> Bytes32 {
    match layer {
        SettlementLayer::Ethereum { .. } => {
            Bytes32(contract::hash_words(&words.iter().copied().map(contract::word).collect::<Vec<_>>()).0)
        }
        SettlementLayer::Starknet { .. } => Bytes32(poseidon_array(words).to_bytes_be()),
    }
}

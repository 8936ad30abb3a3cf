//! Hashes of messages between this chain and Ethereum, as the core contract stores them. [spec/starknet.md (f)]

use starknet_types_core::felt::Felt;

use crate::commitments::MessageToL1;
use crate::hash::keccak256;

/// A message from Ethereum, before it becomes an L1 handler transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToL2 {
    /// Sender on Ethereum.
    pub from_address: [u8; 20],
    /// Receiver, a contract of this chain.
    pub to_address: Felt,
    /// Entry point of the receiver.
    pub selector: Felt,
    /// Counted by the core contract.
    pub nonce: Felt,
    /// Without the sender, which the handler's calldata has first.
    pub payload: Vec<Felt>,
}

impl MessageToL2 {
    /// Keccak-256 of sender, receiver, nonce, selector, payload length and payload, each as a 32-byte word.
    pub fn hash(&self) -> [u8; 32] {
        let head = [self.sender(), self.to_address, self.nonce, self.selector];
        keccak_words(&head, &self.payload)
    }

    /// Calldata of the L1 handler transaction: the sender, then the payload.
    pub fn calldata(&self) -> Vec<Felt> {
        [&[self.sender()], self.payload.as_slice()].concat()
    }

    fn sender(&self) -> Felt {
        Felt::from_bytes_be_slice(&self.from_address)
    }
}

impl MessageToL1 {
    /// Keccak-256 of sender, receiver, payload length and payload, each as a 32-byte word: what
    /// `consumeMessageFromL2` looks up.
    pub fn hash(&self) -> [u8; 32] {
        keccak_words(&[self.from_address, self.to_address], &self.payload)
    }
}

fn keccak_words(head: &[Felt], payload: &[Felt]) -> [u8; 32] {
    let words = head.iter().copied().chain([Felt::from(payload.len())]).chain(payload.iter().copied());
    keccak256(&words.flat_map(|word| word.to_bytes_be()).collect::<Vec<u8>>())
}

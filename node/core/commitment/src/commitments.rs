//! What a block's header commits to besides the state: transactions, events, receipts. [spec/starknet.md (b)]

use starknet_types_core::felt::Felt;

use crate::block_hash::HashRule;
use crate::hash::{PoseidonList, starknet_keccak};
use crate::trie::root_of_list;

/// An event as a contract emitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub from_address: Felt,
    pub keys: Vec<Felt>,
    pub data: Vec<Felt>,
}

/// A message to the settlement layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToL1 {
    /// Sender, a contract of this chain.
    pub from_address: Felt,
    /// Receiver; 160 bits on Ethereum.
    pub to_address: Felt,
    pub payload: Vec<Felt>,
}

/// What of a receipt its commitment covers. Events have a commitment of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub transaction_hash: Felt,
    /// In the unit of the transaction: WEI, or FRI for version 3.
    pub actual_fee: Felt,
    pub messages_sent: Vec<MessageToL1>,
    /// Present exactly if the transaction reverted.
    pub revert_reason: Option<String>,
    pub l1_gas: u64,
    pub l1_data_gas: u64,
}

/// Leaf of the transaction commitment: hash and signature. Before 0.13.4 an empty signature counts as `[0]`.
pub fn transaction_leaf(rule: HashRule, transaction_hash: &Felt, signature: &[Felt]) -> Felt {
    let mut list = PoseidonList::default();
    list.put(*transaction_hash);
    list.put_all(match (rule, signature) {
        (HashRule::V0, []) => &[Felt::ZERO],
        _ => signature,
    });
    list.finish()
}

/// Commitment to the transactions of a block: `(hash, signature)` in order.
pub fn transaction_commitment<'a>(rule: HashRule, transactions: impl IntoIterator<Item = (&'a Felt, &'a [Felt])>) -> Felt {
    let leaves = transactions.into_iter().map(|(hash, signature)| transaction_leaf(rule, hash, signature));
    root_of_list(&leaves.collect::<Vec<_>>())
}

/// Leaf of the event commitment.
pub fn event_leaf(event: &Event, transaction_hash: &Felt) -> Felt {
    let mut list = PoseidonList::default();
    list.put(event.from_address);
    list.put(*transaction_hash);
    list.put_counted(&event.keys);
    list.put_counted(&event.data);
    list.finish()
}

/// Commitment to the events of a block, each with the hash of its transaction, in the order of emission.
pub fn event_commitment<'a>(events: impl IntoIterator<Item = (&'a Felt, &'a Event)>) -> Felt {
    let leaves = events.into_iter().map(|(transaction_hash, event)| event_leaf(event, transaction_hash));
    root_of_list(&leaves.collect::<Vec<_>>())
}

/// Hash of the messages of one receipt.
pub fn messages_hash(messages: &[MessageToL1]) -> Felt {
    let mut list = PoseidonList::default();
    list.put(messages.len());
    for message in messages {
        list.put(message.from_address);
        list.put(message.to_address);
        list.put_counted(&message.payload);
    }
    list.finish()
}

/// Leaf of the receipt commitment.
pub fn receipt_leaf(receipt: &Receipt) -> Felt {
    let mut list = PoseidonList::default();
    list.put(receipt.transaction_hash);
    list.put(receipt.actual_fee);
    list.put(messages_hash(&receipt.messages_sent));
    list.put(receipt.revert_reason.as_ref().map_or(Felt::ZERO, |reason| starknet_keccak(reason.as_bytes())));
    // The place of L2 gas, hashed as 0 in every version.
    list.put(Felt::ZERO);
    list.put(receipt.l1_gas);
    list.put(receipt.l1_data_gas);
    list.finish()
}

/// Commitment to the receipts of a block, in the order of its transactions.
pub fn receipt_commitment<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Felt {
    root_of_list(&receipts.into_iter().map(receipt_leaf).collect::<Vec<_>>())
}

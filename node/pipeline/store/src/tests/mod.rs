//! Claims about the store as a whole. The chains here are made of arbitrary diffs; real blocks are `keel-blocks`' tests.

mod blocks;
mod events;
mod history;
mod incidents;
mod integrity;
mod proofs;
mod replica;

use crate::{Block, Header, Receipt, Store, Transaction};
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, L1DaMode};
use keel_commitment::{Felt, StateDiff};
use keel_types::{Bytes32, Height, Seq, Ts};

pub(crate) const GENESIS: Bytes32 = Bytes32([7; 32]);

pub(crate) fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), GENESIS).unwrap()
}

pub(crate) fn felt(value: u64) -> Felt {
    Felt::from(value)
}

/// A block on the store's tip with the given content; each block holds two commands.
pub(crate) fn block_on(store: &Store, diff: StateDiff, content: Vec<(Transaction, Receipt)>) -> Block {
    let tip = store.tip().unwrap();
    let number = tip.as_ref().map_or(0, |tip| tip.block.number + 1);
    let changes = store.trie_changes(&diff).unwrap();
    let price = GasPrice { wei: 1, fri: 1 };
    let last_seq = if number == 0 { Seq(0) } else { Seq(number * 2) };
    let block = BlockHeader {
        number,
        parent_hash: tip.as_ref().map_or(Felt::ZERO, |tip| tip.hash),
        state_root: changes.state_root(),
        sequencer_address: felt(77),
        timestamp: 1_000 + number,
        l1_da_mode: L1DaMode::Calldata,
        gas_prices: GasPrices { l1_gas: price, l1_data_gas: price, l2_gas: price },
        starknet_version: "0.14.2".into(),
        content: BlockContent {
            transaction_count: content.len() as u64,
            event_count: content.iter().map(|(_, receipt)| receipt.events.len() as u64).sum(),
            state_diff_length: diff.len() as u64,
            transaction_commitment: felt(1),
            event_commitment: felt(2),
            receipt_commitment: felt(3),
            state_diff_commitment: diff.commitment(),
        },
    };
    let header = Header {
        hash: block.hash().unwrap(),
        block,
        signature: None,
        contracts_root: changes.contracts.root,
        classes_root: changes.classes.root,
        first_seq: tip.map_or(Seq(0), |tip| tip.last_seq.next()),
        last_seq,
        ts: Ts(number),
        engine_digest: Bytes32([number as u8; 32]),
    };
    let (transactions, receipts) = content.into_iter().unzip();
    Block { header, transactions, receipts, diff }
}

/// Commits a block with this diff and no transactions.
pub(crate) fn commit(store: &Store, diff: StateDiff) -> Block {
    commit_with(store, diff, vec![])
}

pub(crate) fn commit_with(store: &Store, diff: StateDiff, content: Vec<(Transaction, Receipt)>) -> Block {
    let block = block_on(store, diff, content);
    store.commit_block(&block, &store.trie_changes(&block.diff).unwrap()).unwrap();
    block
}

/// `contract slot=value ...`
pub(crate) fn storage_diff(contract: u64, entries: &[(u64, u64)]) -> StateDiff {
    let mut diff = StateDiff::default();
    entries.iter().for_each(|(slot, value)| diff.set_storage(felt(contract), felt(*slot), felt(*value)));
    diff
}

pub(crate) fn height(value: u64) -> Height {
    Height(value)
}

//! From drafts and a state diff to a block with its hash.

use crate::STARKNET_VERSION;
use crate::commands::{Draft, DraftBody};
use crate::error::BlocksError;
use crate::key::BlockKey;
use crate::state::complete;
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, HashRule, L1DaMode};
use keel_commitment::commitments::{self, event_commitment, receipt_commitment, transaction_commitment};
use keel_commitment::transaction_hash::{CommonV3, InvokeV3, L1Handler, Purpose};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::{Call, Layout, genesis_state};
use keel_store::{Block, Header, Invoke, L1HandlerCall, OpenTransaction, Receipt, Store, Transaction, TrieChanges};
use keel_types::{Bytes32, DataForm, Genesis, Height, Seq, SettlementLayer, StateWrite, Ts};
use std::sync::Arc;

/// A block with what it does to the tries: ready for [Store::commit_block].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedBlock {
    pub block: Block,
    pub tries: TrieChanges,
}

/// When and where a block closes.
pub(crate) struct Seal {
    pub(crate) height: Height,
    pub(crate) ts: Ts,
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    pub(crate) engine_digest: Bytes32,
}

/// Block 0: no transactions; its diff declares and deploys the contracts and holds the state of a new engine.
/// `writes` are those of `Engine::new`.
///
/// # Errors
/// The store.
pub fn genesis_block(
    genesis: &Genesis,
    writes: &[StateWrite],
    store: &Store,
    key: Option<&BlockKey>,
) -> Result<SealedBlock, BlocksError> {
    let mut layout = Layout::new();
    let contracts = genesis_state(genesis, &mut layout);
    let mut diff = StateDiff {
        declared_classes: contracts.declared.into_iter().collect(),
        deployed_contracts: contracts.deployed.into_iter().map(|(address, class)| (address.0, class)).collect(),
        ..StateDiff::default()
    };
    for (address, entries) in contracts.storage {
        entries.into_iter().for_each(|(slot, value)| diff.set_storage(address.0, slot, value));
    }
    for (slot, value) in writes.iter().flat_map(|write| layout.storage(genesis, write)) {
        diff.set_storage(genesis.exchange.0, slot, value);
    }
    let seal =
        Seal { height: Height(0), ts: genesis.ts, first_seq: Seq(0), last_seq: Seq(0), engine_digest: Bytes32::default() };
    seal_block(genesis, store, key, seal, &[], diff)
}

/// Puts a block together on the store's tip. `diff` is what the transactions changed; block hash and aliases are added.
pub(crate) fn seal_block(
    genesis: &Genesis,
    store: &Store,
    key: Option<&BlockKey>,
    seal: Seal,
    closed: &[Arc<OpenTransaction>],
    mut diff: StateDiff,
) -> Result<SealedBlock, BlocksError> {
    let transactions: Vec<Transaction> = closed.iter().map(|closed| closed.transaction.clone()).collect();
    let receipts: Vec<Receipt> = closed.iter().map(|closed| closed.receipt.clone()).collect();
    complete(&mut diff, store, seal.height)?;
    let tries = store.trie_changes(&diff)?;
    let block = BlockHeader {
        number: seal.height.0,
        parent_hash: store.tip()?.map_or(Felt::ZERO, |tip| tip.hash),
        state_root: tries.state_root(),
        sequencer_address: genesis.sequencer.0,
        timestamp: seal.ts.secs(),
        l1_da_mode: l1_da_mode(genesis.settlement.layer),
        gas_prices: gas_prices(),
        starknet_version: STARKNET_VERSION.to_owned(),
        content: content(&transactions, &receipts, &diff),
    };
    let hash = block.hash().expect("our version has a block hash rule");
    let header = Header {
        block,
        hash,
        signature: key.and_then(|key| key.sign(&hash)),
        contracts_root: tries.contracts.root,
        classes_root: tries.classes.root,
        first_seq: seal.first_seq,
        last_seq: seal.last_seq,
        ts: seal.ts,
        engine_digest: seal.engine_digest,
    };
    Ok(SealedBlock { block: Block { header, transactions, receipts, diff }, tries })
}

/// What a header says of the data's form: BLOB where the chain brings it to Ethereum in blobs.
fn l1_da_mode(layer: SettlementLayer) -> L1DaMode {
    match layer {
        SettlementLayer::Ethereum { data: DataForm::Blobs, .. } => L1DaMode::Blob,
        SettlementLayer::Ethereum { data: DataForm::Calldata, .. } | SettlementLayer::Starknet { .. } => L1DaMode::Calldata,
    }
}

/// The transaction of a closed draft, with its hash and its receipt. `nonce` is the operator's next; an invoke takes it.
pub(crate) fn number(genesis: &Genesis, draft: Draft, nonce: &mut u64) -> OpenTransaction {
    let Draft { body, events, messages, first_seq, last_seq } = draft;
    let transaction = match body {
        DraftBody::Invoke(calls) => {
            *nonce += 1;
            invoke(genesis, *nonce - 1, &calls)
        }
        DraftBody::Handler { selector, calldata, nonce, message_hash } => {
            handler(genesis, selector, calldata, nonce, message_hash)
        }
    };
    let receipt = Receipt { transaction_hash: transaction.hash(), messages_sent: messages, events, first_seq, last_seq };
    OpenTransaction { transaction, receipt }
}

fn invoke(genesis: &Genesis, nonce: u64, calls: &[Call]) -> Transaction {
    let mut invoke = Invoke { hash: Felt::ZERO, sender: genesis.operator.0, nonce, calldata: Call::execute_calldata(calls) };
    invoke.hash = invoke_hash(&genesis.chain_id.0, &invoke);
    Transaction::Invoke(invoke)
}

fn handler(genesis: &Genesis, selector: Felt, calldata: Vec<Felt>, nonce: u64, message_hash: Bytes32) -> Transaction {
    let contract = genesis.exchange.0;
    let mut call = L1HandlerCall { hash: Felt::ZERO, contract, selector, nonce, calldata, message_hash };
    call.hash = handler_hash(&genesis.chain_id.0, &call);
    Transaction::L1Handler(call)
}

/// Hash of an INVOKE v3 with the fields every one of ours shares: tip 0, three zero bounds, DA modes L1, empty lists.
pub(crate) fn invoke_hash(chain_id: &Felt, invoke: &Invoke) -> Felt {
    let common = CommonV3 { nonce: invoke.nonce.into(), ..CommonV3::default() };
    let transaction =
        InvokeV3 { common, sender_address: invoke.sender, calldata: invoke.calldata.clone(), ..InvokeV3::default() };
    transaction.hash(chain_id, Purpose::Execute)
}

pub(crate) fn handler_hash(chain_id: &Felt, call: &L1HandlerCall) -> Felt {
    let transaction = L1Handler {
        contract_address: call.contract,
        selector: call.selector,
        calldata: call.calldata.clone(),
        nonce: call.nonce.into(),
    };
    transaction.hash(chain_id, Purpose::Execute)
}

/// What a header says about the content of its block.
pub(crate) fn content(transactions: &[Transaction], receipts: &[Receipt], diff: &StateDiff) -> BlockContent {
    let hashes: Vec<Felt> = transactions.iter().map(Transaction::hash).collect();
    let events =
        || receipts.iter().flat_map(|receipt| receipt.events.iter().map(|event| (&receipt.transaction_hash, event)));
    let committed: Vec<commitments::Receipt> = receipts.iter().map(committed).collect();
    BlockContent {
        transaction_count: transactions.len() as u64,
        event_count: events().count() as u64,
        state_diff_length: diff.len() as u64,
        transaction_commitment: transaction_commitment(HashRule::V1, hashes.iter().map(|hash| (hash, &[][..]))),
        event_commitment: event_commitment(events()),
        receipt_commitment: receipt_commitment(&committed),
        state_diff_commitment: diff.commitment(),
    }
}

/// Of every transaction of ours: SUCCEEDED, fee 0, resources 0.
fn committed(receipt: &Receipt) -> commitments::Receipt {
    commitments::Receipt {
        transaction_hash: receipt.transaction_hash,
        messages_sent: receipt.messages_sent.clone(),
        ..commitments::Receipt::default()
    }
}

/// 1 in every unit. [spec settlement, Chain constants]
fn gas_prices() -> GasPrices {
    let one = GasPrice { wei: 1, fri: 1 };
    GasPrices { l1_gas: one, l1_data_gas: one, l2_gas: one }
}

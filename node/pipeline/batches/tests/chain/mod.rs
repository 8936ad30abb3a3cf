//! A store with a chain in it, block by block.

use keel_batches::{Batch, BatchLimits, Batcher, MessageToL2};
use keel_commitment::aliases::{ALIAS_CONTRACT, allocate_aliases};
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, L1DaMode};
use keel_commitment::commitments::MessageToL1;
use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_changes, global_root};
use keel_commitment::trie::root_from_scratch;
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::HANDLE_DEPOSIT;
use keel_store::{Block, Header, Invoke, L1HandlerCall, Receipt, Store, Transaction};
use keel_types::*;

pub fn felt(value: u64) -> Felt {
    Felt::from(value)
}

pub const CALLDATA: SettlementLayer = SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Calldata };

pub struct Chain {
    pub store: Store,
    pub genesis: Genesis,
    _dir: tempfile::TempDir,
}

impl Chain {
    /// One that settles on Ethereum by calldata.
    pub fn new() -> Chain {
        Chain::on(CALLDATA)
    }

    pub fn on(layer: SettlementLayer) -> Chain {
        let dir = tempfile::tempdir().unwrap();
        Chain { store: Store::open(dir.path(), Bytes32([7; 32])).unwrap(), genesis: genesis(layer), _dir: dir }
    }

    pub fn batcher(&self, limits: BatchLimits) -> Batcher {
        Batcher::new(self.store.clone(), &self.genesis, limits)
    }

    pub fn batch(&self, id: u64) -> Batch {
        Batch::load(&self.store, BatchId(id)).unwrap().unwrap().1
    }

    /// Adds the aliases that the diff needs, as sealing does, and commits the block.
    pub fn commit(&self, mut diff: StateDiff, content: Vec<(Transaction, Receipt)>) {
        let aliases = allocate_aliases(&diff, |key| self.store.storage_latest(&ALIAS_CONTRACT, key).unwrap());
        aliases.iter().for_each(|(key, alias)| diff.set_storage(ALIAS_CONTRACT, *key, *alias));
        let tip = self.store.tip().unwrap();
        let number = tip.as_ref().map_or(0, |tip| tip.block.number + 1);
        let changes = self.store.trie_changes(&diff).unwrap();
        let price = GasPrice { wei: 1, fri: 1 };
        let block = BlockHeader {
            number,
            parent_hash: tip.as_ref().map_or(Felt::ZERO, |tip| tip.hash),
            state_root: changes.state_root(),
            sequencer_address: felt(77),
            timestamp: 1_000 + 2 * number,
            l1_da_mode: L1DaMode::Calldata,
            gas_prices: GasPrices { l1_gas: price, l1_data_gas: price, l2_gas: price },
            starknet_version: "0.14.2".into(),
            content: BlockContent {
                transaction_count: content.len() as u64,
                event_count: 0,
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
            last_seq: Seq(number * 2),
            ts: Ts::from_ms((1_000 + 2 * number) * 1_000),
            engine_digest: Bytes32([number as u8; 32]),
        };
        let (transactions, receipts) = content.into_iter().unzip();
        self.store.commit_block(&Block { header, transactions, receipts, diff }, &changes).unwrap();
    }

    /// An L1 handler transaction of the bridge's message `nonce`, with its receipt.
    pub fn handler(&self, nonce: u64, payload: Vec<Felt>) -> (Transaction, Receipt) {
        let (from, to) = (self.genesis.settlement.bridge, self.genesis.exchange.0);
        let message = MessageToL2 { from, to, nonce, selector: HANDLE_DEPOSIT, payload };
        let call = L1HandlerCall {
            hash: felt(9_000 + nonce),
            contract: to,
            selector: HANDLE_DEPOSIT,
            nonce,
            calldata: [vec![from.0], message.payload.clone()].concat(),
            message_hash: message.hash(self.genesis.settlement.layer),
        };
        let receipt = Receipt { transaction_hash: call.hash, ..Default::default() };
        (Transaction::L1Handler(call), receipt)
    }

    /// An INVOKE of the operator that sent these messages.
    pub fn invoke(&self, nonce: u64, messages_sent: Vec<MessageToL1>) -> (Transaction, Receipt) {
        let invoke = Invoke { hash: felt(8_000 + nonce), sender: self.genesis.operator.0, nonce, calldata: vec![] };
        let receipt = Receipt { transaction_hash: invoke.hash, messages_sent, ..Default::default() };
        (Transaction::Invoke(invoke), receipt)
    }

    /// Root of a whole state, given as the diff from nothing, by the from-scratch trie.
    pub fn root_of(&self, state: &StateDiff) -> Felt {
        let leaf = |address: &Felt| {
            let storage_root = root_from_scratch::<Pedersen>(251, state.storage_changes(address)).unwrap();
            (*address, ContractState::default().after(state, address, storage_root).leaf())
        };
        let contracts = root_from_scratch::<Pedersen>(251, state.contracts().iter().map(leaf)).unwrap();
        global_root(&contracts, &root_from_scratch::<Poseidon>(251, class_changes(state)).unwrap())
    }
}

fn genesis(layer: SettlementLayer) -> Genesis {
    let address = |value: u64| Address(felt(value));
    Genesis {
        chain_id: FeltBytes(keel_contracts::starknet::short_string("KEEL_TEST")),
        rules_version: 1,
        ts: Ts(1),
        exchange: address(1_111),
        operator: address(2_222),
        fee_token: address(3_333),
        sequencer: address(77),
        block_key: StarkKey(felt(5)),
        settlement: SettlementSpec {
            layer,
            core: L1Address::ethereum([1; 20]),
            bridge: L1Address::ethereum([2; 20]),
            registry: L1Address::ethereum([3; 20]),
            deposit_depth: 3,
            confirm_depth: 2,
        },
        account_templates: vec![],
        fee_account: address(11),
        insurance_account: address(12),
        assets: vec![],
        markets: vec![],
        oracle: OracleSpec { publishers: vec![], quorum: 1, report_age_max_ms: 1, stale_ms: 1 },
        limits: EngineLimits { orders_per_account_market: 1, nonces_per_account: 1, fills_per_command: 1 },
    }
}

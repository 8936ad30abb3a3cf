//! A store with a chain in it, block by block. The diffs are arbitrary; what blocks hold is `keel-blocks`' business.

use keel_batches::MessageToL2;
use keel_commitment::aliases::{ALIAS_CONTRACT, allocate_aliases};
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, L1DaMode};
use keel_commitment::commitments::MessageToL1;
use keel_commitment::hash::poseidon_array;
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::{HANDLE_DEPOSIT, withdrawal_message};
use keel_store::{Block, Header, Invoke, L1HandlerCall, Receipt, Store, Transaction};
use keel_types::*;
use std::sync::Arc;

pub fn felt(value: u64) -> Felt {
    Felt::from(value)
}

pub struct Chain {
    pub store: Store,
    genesis: Arc<Genesis>,
    _dir: tempfile::TempDir,
}

impl Chain {
    pub fn new(genesis: &Arc<Genesis>) -> Chain {
        let dir = tempfile::tempdir().unwrap();
        Chain { store: Store::open(dir.path(), genesis.hash()).unwrap(), genesis: genesis.clone(), _dir: dir }
    }

    /// Commits `count` blocks that each change something; `salt` makes another chain.
    pub fn grow(&self, count: u64, salt: u64) {
        for _ in 0..count {
            let n = self.store.height().map_or(0, |height| height.0 + 1);
            let mut diff = StateDiff::default();
            diff.set_storage(felt(1_000), felt(5_000 + n % 4), felt(n + 1 + salt));
            diff.nonces.insert(felt(1_000), felt(n + 1));
            if n == 0 {
                diff.deployed_contracts.insert(felt(1_000), felt(70));
                diff.declared_classes.insert(felt(70), felt(700));
            }
            self.commit(diff, vec![]);
        }
    }

    /// Commits a block that changes so many slots, with keys and values that nothing compresses.
    pub fn grow_wide(&self, slots: u64) {
        let mut diff = StateDiff::default();
        for slot in 0..slots {
            let mut key = poseidon_array(&[felt(slot)]).to_bytes_be();
            // Below 2^251, as keys of storage are.
            key[0] &= 0x03;
            let key = Felt::from_bytes_be(&key);
            diff.set_storage(felt(1_000), key, poseidon_array(&[key]));
        }
        self.commit(diff, vec![]);
    }

    /// A block with one transaction.
    pub fn grow_with(&self, transaction: (Transaction, Receipt)) {
        let n = self.store.height().map_or(0, |height| height.0 + 1);
        let mut diff = StateDiff::default();
        diff.set_storage(felt(1_000), felt(6_000), felt(n + 1));
        self.commit(diff, vec![transaction]);
    }

    fn commit(&self, mut diff: StateDiff, content: Vec<(Transaction, Receipt)>) {
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

    /// The transaction that consumes a deposit.
    pub fn deposit(&self, nonce: u64, payload: Vec<Felt>) -> (Transaction, Receipt) {
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

    /// The transaction of a withdrawal.
    pub fn withdrawal(&self, withdrawal: &Withdrawal) -> (Transaction, Receipt) {
        let message = MessageToL1 {
            from_address: self.genesis.exchange.0,
            to_address: self.genesis.settlement.bridge.0,
            payload: withdrawal_message(withdrawal),
        };
        let hash = felt(8_000 + withdrawal.id);
        let invoke = Invoke { hash, sender: self.genesis.operator.0, nonce: withdrawal.id, calldata: vec![] };
        let receipt = Receipt { transaction_hash: hash, messages_sent: vec![message], ..Default::default() };
        (Transaction::Invoke(invoke), receipt)
    }
}

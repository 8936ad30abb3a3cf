//! Vectors of the Starknet sequencer's own tests, and the L1 to L2 message hash of starknet-rs.

use keel_commitment::Felt;
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, HashRule, L1DaMode, concat_counts};
use keel_commitment::commitments::{
    Event, MessageToL1, Receipt, event_commitment, event_leaf, messages_hash, receipt_commitment, receipt_leaf,
    transaction_commitment, transaction_leaf,
};
use keel_commitment::hash::{Hasher, Pedersen, starknet_keccak};
use keel_commitment::message::MessageToL2;
use keel_commitment::state::{ContractState, class_leaf};
use keel_commitment::trie::{Node, Path, root_of_list};
use serde_json::Value;

use crate::fixtures::{self, felt, felts, u64_of};

fn vectors(test: &str) -> Option<Value> {
    Some(fixtures::read(&fixtures::folder(test)?, "vectors/commitment_vectors.json"))
}

fn each(value: &Value, check: impl Fn(&Value, Felt)) {
    let list = value.as_array().unwrap();
    assert!(!list.is_empty());
    list.iter().for_each(|vector| check(vector, felt(&vector["expected"])));
}

#[test]
fn trie_leaves_and_nodes_match_the_sequencer() {
    let Some(vectors) = vectors("trie_leaves_and_nodes_match_the_sequencer") else { return };
    each(&vectors["contract_leaf"], |v, expected| {
        let [class_hash, storage_root, nonce] = ["class_hash", "storage_root", "nonce"].map(|name| felt(&v[name]));
        assert_eq!(ContractState { class_hash, storage_root, nonce }.leaf(), expected);
    });
    each(&vectors["class_leaf"], |v, expected| assert_eq!(class_leaf(&felt(&v["compiled_class_hash"])), expected));
    each(&vectors["binary_pedersen"], |v, expected| {
        let node = Node::Binary { left: felt(&v["left"]), right: felt(&v["right"]) };
        assert_eq!(node.hash::<Pedersen>(), expected);
    });
    each(&vectors["edge_pedersen"], |v, expected| {
        let path = Path::new(&felt(&v["path"]), u64_of(&v["length"]) as u8).unwrap();
        assert_eq!(Node::Edge { path, child: felt(&v["bottom"]) }.hash::<Pedersen>(), expected);
    });
}

#[test]
fn transaction_commitment_matches_the_sequencer() {
    let Some(vectors) = vectors("transaction_commitment_matches_the_sequencer") else { return };
    // The vector with an empty signature is of the newer rule; the older one hashes a zero instead.
    each(&vectors["tx_leaf"], |v, expected| {
        let (hash, signature) = (felt(&v["tx_hash"]), felts(&v["signature"]));
        let leaf_v0 = transaction_leaf(HashRule::V0, &hash, &signature);
        let leaf_v1 = transaction_leaf(HashRule::V1, &hash, &signature);
        assert_eq!(leaf_v1, expected);
        assert_eq!(leaf_v0 == leaf_v1, !signature.is_empty());
        assert_eq!(transaction_leaf(HashRule::V1, &hash, &[Felt::ZERO]) == leaf_v0, signature.is_empty());
    });
    each(&vectors["tx_commitment"], |v, expected| assert_eq!(root_of_list(&felts(&v["leaves"])), expected));
}

fn event(seed: u64) -> Event {
    let [from_address, key, key_2, a, b, c] = [8, 0, 1, 2, 3, 4].map(|offset| Felt::from(seed + offset));
    Event { from_address, keys: vec![key, key_2], data: vec![a, b, c] }
}

#[test]
fn event_commitment_matches_the_sequencer() {
    let Some(vectors) = vectors("event_commitment_matches_the_sequencer") else { return };
    let vector = &vectors["event"];
    let hash = felt(&vector["tx_hash"]);
    assert_eq!(event_leaf(&event(2), &hash), felt(&vector["event_2_hash"]));
    let events = [0, 1, 2].map(event);
    assert_eq!(event_commitment(events.iter().map(|e| (&hash, e))), felt(&vector["commitment_0_1_2"]));
    assert_eq!(event_commitment([]), Felt::ZERO);
}

fn message(seed: u64) -> MessageToL1 {
    let [from_address, to_address, a, b] = [0, 1, 2, 3].map(|offset| Felt::from(seed + offset));
    MessageToL1 { from_address, to_address, payload: vec![a, b] }
}

fn receipt(transaction_hash: Felt) -> Receipt {
    Receipt {
        transaction_hash,
        actual_fee: Felt::from(99_804),
        messages_sent: vec![message(34), message(56)],
        revert_reason: Some("aborted".to_owned()),
        l1_gas: 16_580,
        l1_data_gas: 32,
    }
}

#[test]
fn receipt_commitment_matches_the_sequencer() {
    let Some(vectors) = vectors("receipt_commitment_matches_the_sequencer") else { return };
    let vector = &vectors["receipt"];
    let receipt = receipt(felt(&vector["tx_hash"]));
    assert_eq!(receipt_leaf(&receipt), felt(&vector["expected_hash"]));
    assert_eq!(receipt_commitment([&receipt]), felt(&vector["expected_commitment"]));
    assert_eq!(messages_hash(&[message(0), message(1)]), felt(&vector["messages_0_1_hash"]));
    assert_eq!(starknet_keccak(b"ABC"), felt(&vector["revert_ABC"]));
}

#[test]
fn state_diff_commitment_and_counts_match_the_sequencer() {
    let Some(vectors) = vectors("state_diff_commitment_and_counts_match_the_sequencer") else { return };
    let vector = &vectors["state_diff"];
    let diff = fixtures::state_diff(&vector["diff"]);
    assert_eq!(diff.commitment(), felt(&vector["expected"]));
    let content =
        BlockContent { transaction_count: 4, event_count: 3, state_diff_length: 2, ..content(&vectors, HashRule::V1) };
    assert_eq!(concat_counts(&content, L1DaMode::Blob), felt(&vectors["concat_counts"]["expected"]));
    assert_eq!(
        concat_counts(&content, L1DaMode::Calldata) + Felt::from(1u64 << 63),
        concat_counts(&content, L1DaMode::Blob)
    );
}

fn content(vectors: &Value, rule: HashRule) -> BlockContent {
    let diff = fixtures::state_diff(&vectors["state_diff"]["diff"]);
    let signature = [Felt::TWO, Felt::THREE];
    BlockContent {
        transaction_count: 1,
        event_count: 0,
        state_diff_length: diff.len() as u64,
        transaction_commitment: transaction_commitment(rule, [(&Felt::ONE, &signature[..])]),
        event_commitment: event_commitment([]),
        receipt_commitment: receipt_commitment([&receipt(Felt::ONE)]),
        state_diff_commitment: diff.commitment(),
    }
}

#[test]
fn block_hash_of_both_rules_matches_the_sequencer() {
    let Some(vectors) = vectors("block_hash_of_both_rules_matches_the_sequencer") else { return };
    for version in ["0.13.2", "0.13.4"] {
        let header = BlockHeader {
            number: 1,
            parent_hash: Felt::from(11),
            state_root: Felt::TWO,
            sequencer_address: Felt::THREE,
            timestamp: 4,
            l1_da_mode: L1DaMode::Blob,
            gas_prices: GasPrices {
                l1_gas: GasPrice { wei: 7, fri: 6 },
                l1_data_gas: GasPrice { wei: 9, fri: 10 },
                l2_gas: GasPrice { wei: 12, fri: 11 },
            },
            starknet_version: version.to_owned(),
            content: content(&vectors, HashRule::of_version(version).unwrap()),
        };
        assert_eq!(header.hash(), Ok(felt(&vectors["block_hash"][version])), "{version}");
    }
}

#[test]
fn message_from_ethereum_has_the_hash_of_the_core_contract() {
    let Some(folder) = fixtures::folder("message_from_ethereum_has_the_hash_of_the_core_contract") else { return };
    let vector = fixtures::read(&folder, "vectors/l1_l2_message_hash.json");
    let message = MessageToL2 {
        from_address: felt(&vector["from_l1"]).to_bytes_be()[12..].try_into().unwrap(),
        to_address: felt(&vector["to_l2"]),
        selector: felt(&vector["selector"]),
        nonce: felt(&vector["nonce"]),
        payload: felts(&vector["payload"]),
    };
    let hash: String = message.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(format!("0x{hash}"), vector["expected"].as_str().unwrap());
    assert_eq!(message.calldata().len(), message.payload.len() + 1);
}

/// The same vectors, a few, restated by hand so that they are checked on every machine.
/// [starkware-libs/sequencer: crates/starknet_committer/src/hash_function/hash_test.rs,
/// crates/starknet_api/src/block_hash/receipt_commitment_test.rs]
#[test]
fn restated_vectors_hold_without_fixtures() {
    let hex = Felt::from_hex_unchecked;
    let contract = ContractState {
        class_hash: hex("0x150917f3bba17e3c0be685981d6cf8874098a857f354d374688e76eb69f44ab"),
        storage_root: hex("0x5d6b3a46ac855f3cea9af60e13cc6c81bf237b901f49f73981a521d4cb6c50c"),
        nonce: hex("0x38"),
    };
    assert_eq!(contract.leaf(), hex("0x3f27688d56740e5e238acde5b408154563c4f6e05514b8029e86ad51c388f8b"));
    let binary = <Pedersen as Hasher>::hash(&Felt::ONE, &Felt::TWO);
    assert_eq!(binary, hex("0x5bb9440e27889a364bcb678b1f679ecd1347acdedcbf36e83494f857cc58026"));
    let edge = Node::Edge { path: Path::new(&Felt::TWO, 3).unwrap(), child: Felt::ONE };
    assert_eq!(edge.hash::<Pedersen>(), binary + Felt::THREE);
    let leaf = receipt_leaf(&receipt(hex("0x4d2")));
    assert_eq!(leaf, hex("0x6276abf21e7c68b2eecfdc8a845b11b44401901f5f040efe10c60d625049646"));
}

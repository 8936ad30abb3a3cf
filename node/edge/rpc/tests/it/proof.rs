//! `starknet_getStorageProof` in both versions: by the schema, and verified from the block's state root down.
use crate::chain::Story;
use crate::http::{Error, call};
use crate::schema::Spec;
use keel_commitment::hash::{Hasher, Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_leaf, global_root};
use keel_commitment::trie::{Node, Path, verify_proof};
use keel_store::{StateReader, StateRetention};
use keel_types::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const METHOD: &str = "starknet_getStorageProof";
const VERSIONS: [(&str, &str); 2] = [("/rpc/v0_9", "v0.9.0"), ("/rpc/v0_10", "v0.10.2")];

fn ask(story: &Story, path: &str, params: Value) -> Result<Value, Error> {
    call(story.node.public, path, METHOD, params)
}

fn hex(felt: Felt) -> Value {
    json!(format!("{felt:#x}"))
}

fn felt(value: &Value) -> Felt {
    Felt::from_hex(value.as_str().expect("a hex string")).expect("a felt")
}

/// The nodes of an answer by their hashes.
fn nodes(list: &Value) -> BTreeMap<Felt, Node> {
    let node = |entry: &Value| {
        let node = &entry["node"];
        let read = match node.get("child") {
            None => Node::Binary { left: felt(&node["left"]), right: felt(&node["right"]) },
            Some(child) => {
                let length = u8::try_from(node["length"].as_u64().expect("a length")).expect("at most 251");
                Node::Edge { path: Path::new(&felt(&node["path"]), length).expect("a path"), child: felt(child) }
            }
        };
        (felt(&entry["node_hash"]), read)
    };
    list.as_array().expect("a list").iter().map(node).collect()
}

fn verified<H: Hasher>(root: &Felt, key: &Felt, list: &Value) -> Felt {
    verify_proof::<H>(*root, key, &nodes(list)).expect("the proof holds").unwrap_or_default()
}

/// The state root that an answer's own roots lead to.
fn root_of(answer: &Value) -> Felt {
    let roots = &answer["global_roots"];
    global_root(&felt(&roots["contracts_tree_root"]), &felt(&roots["classes_tree_root"]))
}

/// What a contract's leaf is by an answer's n-th leaf data.
fn leaf_of(answer: &Value, n: usize) -> ContractState {
    let data = &answer["contracts_proof"]["contract_leaves_data"][n];
    let field = |name: &str| felt(&data[name]);
    ContractState { class_hash: field("class_hash"), storage_root: field("storage_root"), nonce: field("nonce") }
}

#[test]
fn proofs_hold_from_the_state_root_of_every_block_down() {
    let story = Story::tell();
    story.settle();
    let (store, exchange, operator) = (story.node.store(), story.node.genesis.exchange.0, story.node.genesis.operator.0);
    let class = *store.diff(Height(0)).expect("readable").expect("genesis").declared_classes.keys().next().expect("a class");
    let stranger = Felt::from(0xdead);
    let written: Vec<Felt> =
        store.diff(Height(2)).expect("readable").expect("sealed").storage[&exchange].keys().copied().collect();
    let slots: Vec<Felt> = written.iter().copied().chain([stranger, Felt::ZERO]).collect();
    let hexes = |felts: &[Felt]| felts.iter().copied().map(hex).collect::<Value>();
    for (path, version) in VERSIONS {
        let Some(spec) = Spec::open(version, "proofs_hold_from_the_state_root_of_every_block_down") else { return };
        for height in 0..=2 {
            let header = store.header(Height(height)).expect("readable").expect("sealed");
            let params = |id: Value| {
                json!({
                    "block_id": id,
                    "class_hashes": hexes(&[class, stranger]),
                    "contract_addresses": hexes(&[operator, stranger, exchange]),
                    "contracts_storage_keys": [
                        {"contract_address": hex(exchange), "storage_keys": hexes(&slots)},
                        {"contract_address": hex(stranger), "storage_keys": hexes(&slots[..1])},
                    ],
                })
            };
            let answer = ask(&story, path, params(json!({"block_number": height}))).expect("a proof");
            spec.assert_result(METHOD, &answer);
            assert_eq!(ask(&story, path, params(json!({"block_hash": hex(header.hash)}))), Ok(answer.clone()));
            for (tag, of) in [("latest", 2), ("l1_accepted", 1)] {
                let by_tag = ask(&story, path, params(json!(tag))).expect("a proof");
                assert_eq!(by_tag == answer, of == height, "{tag} at {height}");
            }
            assert_eq!(answer["global_roots"]["block_hash"], hex(header.hash));
            assert_eq!(root_of(&answer), header.block.state_root);

            let contracts_root = felt(&answer["global_roots"]["contracts_tree_root"]);
            for (n, address) in [operator, stranger, exchange].iter().enumerate() {
                let leaf = leaf_of(&answer, n);
                assert_eq!(verified::<Pedersen>(&contracts_root, address, &answer["contracts_proof"]["nodes"]), leaf.leaf());
                assert_eq!(leaf == ContractState::default(), *address == stranger);
            }
            let (state, storage_root) =
                (store.state_at(Height(height)).expect("retained"), leaf_of(&answer, 2).storage_root);
            let mut present = 0;
            for slot in &slots {
                let value = verified::<Pedersen>(&storage_root, slot, &answer["contracts_storage_proofs"][0]);
                assert_eq!(value, state.storage(&exchange, slot).expect("readable"), "block {height}, slot {slot:#x}");
                present += usize::from(value != Felt::ZERO);
            }
            assert!(present < slots.len() && (height == 0 || present > 0), "{present} of {} are there", slots.len());
            assert_eq!(answer["contracts_storage_proofs"][1], json!([]), "a contract that is not there has no nodes");

            let classes_root = felt(&answer["global_roots"]["classes_tree_root"]);
            let compiled = state.compiled_class_hash(&class).expect("readable").expect("declared");
            assert_eq!(verified::<Poseidon>(&classes_root, &class, &answer["classes_proof"]), class_leaf(&compiled));
            assert_eq!(verified::<Poseidon>(&classes_root, &stranger, &answer["classes_proof"]), Felt::ZERO);
        }
        let nothing = ask(&story, path, json!(["latest"])).expect("an empty proof");
        spec.assert_result(METHOD, &nothing);
        assert_eq!((&nothing["classes_proof"], &nothing["contracts_storage_proofs"]), (&json!([]), &json!([])));
    }
}

#[test]
fn a_pruned_block_has_no_proofs_and_says_so_by_the_specification() {
    let story = Story::tell();
    // The setting of a running node holds for the commits that come.
    let _ = story.node.store().clone().with_state_retention(StateRetention { proof_blocks: 2, state_blocks: 0 });
    let exchange = hex(story.node.genesis.exchange.0);
    let params = |height: u64| json!([{"block_number": height}, [], [exchange]]);
    assert!(ask(&story, "/rpc", params(0)).is_ok());
    assert_eq!(story.node.seal(), Height(3));
    for (path, version) in VERSIONS {
        let Some(spec) = Spec::open(version, "a_pruned_block_has_no_proofs") else { return };
        let pruned = ask(&story, path, params(1)).expect_err("pruned");
        assert_eq!(pruned.code, 42);
        spec.assert_error(METHOD, &pruned);
        let unknown = ask(&story, path, params(4)).expect_err("not sealed");
        assert_eq!(unknown.code, 24);
        spec.assert_error(METHOD, &unknown);
        for height in [2, 3] {
            let answer = ask(&story, path, params(height)).expect("retained");
            let header = story.node.store().header(Height(height)).expect("readable").expect("sealed");
            assert_eq!(root_of(&answer), header.block.state_root);
        }
    }
}

#[test]
fn what_cannot_be_asked_is_named() {
    let story = Story::tell();
    let many = |count: usize| (0..count as u64).map(|n| hex(Felt::from(n))).collect::<Value>();
    let storage = |keys: Value| json!([{"contract_address": "0x1", "storage_keys": keys}]);
    let too_large = hex(Felt::TWO.pow(251u32));
    for (params, named) in [
        (json!(["pre_confirmed"]), "block_id"),
        (json!([]), "block_id"),
        (json!(["latest", "0x1"]), "class_hashes"),
        (json!(["latest", ["one"]]), "class_hashes"),
        (json!(["latest", [], [too_large]]), "contract_addresses"),
        (json!(["latest", [], [], ["0x1"]]), "contracts_storage_keys"),
        (json!(["latest", [], [], storage(json!([too_large]))]), "storage_keys"),
        (json!(["latest", many(500), many(500), storage(many(24))]), "1,024"),
        (json!(["latest", [], [], [], []]), "too many parameters"),
    ] {
        for (path, _) in VERSIONS {
            let error = ask(&story, path, params.clone()).expect_err("refused");
            assert_eq!(error.code, -32602, "{params}");
            assert!(error.message.contains(named), "{error:?} does not name {named}");
        }
    }
    let most = ask(&story, "/rpc", json!(["latest", many(500), many(500), storage(many(23))])).expect("within the limit");
    assert_eq!(most["contracts_proof"]["contract_leaves_data"].as_array().map(Vec::len), Some(500));
}

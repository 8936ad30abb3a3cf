//! Tries, flat state and proofs at every height, against a model that remembers each block's state whole.

use super::*;
use crate::{BatchHeader, BatchStatus, Retained, StateReader, StateRetention, StoreError, TrieId};
use keel_commitment::hash::{Hasher, Pedersen, Poseidon, starknet_keccak};
use keel_commitment::state::{ContractState, class_leaf, global_root};
use keel_commitment::trie::{Node, verify_proof};
use keel_types::BatchId;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The state after one block, as maps.
#[derive(Clone, Default)]
struct Model {
    storage: BTreeMap<(Felt, Felt), Felt>,
    nonces: BTreeMap<Felt, Felt>,
    class_hashes: BTreeMap<Felt, Felt>,
    classes: BTreeMap<Felt, Felt>,
}

impl Model {
    fn apply(&mut self, diff: &StateDiff) {
        for (contract, entries) in &diff.storage {
            self.storage.extend(entries.iter().map(|(slot, value)| ((*contract, *slot), *value)));
        }
        self.nonces.extend(&diff.nonces);
        self.class_hashes.extend(&diff.class_hashes());
        self.classes.extend(&diff.compiled_classes());
    }
}

/// Names of contracts, slots and classes: spread over the whole range; the last of each is never used.
fn name(n: u64) -> Felt {
    starknet_keccak(&n.to_be_bytes())
}
const CONTRACTS: u64 = 4;
const SLOTS: u64 = 9;
const CLASSES: u64 = 5;

/// Storage, nonces and classes of few names, so that entries are overwritten, deleted and made again, and contracts come and stay.
fn diffs() -> impl Strategy<Value = Vec<StateDiff>> {
    let storage =
        prop::collection::btree_map(0..CONTRACTS - 1, prop::collection::btree_map(0..SLOTS - 1, 0..3u64, 0..6), 0..3);
    let nonces = prop::collection::btree_map(0..CONTRACTS - 1, 1..100u64, 0..2);
    let classes = prop::collection::btree_map(0..CLASSES - 1, 1..100u64, 0..2);
    let diff = (storage, nonces, classes).prop_map(|(storage, nonces, classes)| {
        let mut diff = StateDiff::default();
        for (contract, entries) in storage {
            entries.into_iter().for_each(|(slot, value)| diff.set_storage(name(contract), name(slot), felt(value)));
        }
        diff.nonces = nonces.into_iter().map(|(contract, nonce)| (name(contract), felt(nonce))).collect();
        diff.deployed_contracts = diff.nonces.iter().map(|(contract, nonce)| (*contract, *nonce)).collect();
        diff.declared_classes = classes.into_iter().map(|(class, compiled)| (name(class), felt(compiled))).collect();
        diff
    });
    prop::collection::vec(diff, 4..14)
}

fn verified<H: Hasher>(root: Felt, key: &Felt, nodes: Vec<(Felt, Node)>) -> Felt {
    let nodes: BTreeMap<Felt, Node> = nodes.into_iter().collect();
    verify_proof::<H>(root, key, &nodes).expect("the proof holds").unwrap_or_default()
}

/// Everything that can be asked at `at`, from the header's root down.
fn check_proofs(store: &Store, at: Height, model: &Model) {
    let header = store.header(at).unwrap().unwrap();
    let state = store.state_at(at).unwrap();
    let (contracts, classes) = (state.root(TrieId::Contracts).unwrap(), state.root(TrieId::Classes).unwrap());
    assert_eq!(global_root(&contracts, &classes), header.block.state_root);
    let addresses: Vec<Felt> = (0..CONTRACTS).map(name).collect();
    let union = state.prove(TrieId::Contracts, &addresses).unwrap();
    for address in &addresses {
        let leaf = state.contract_state(address).unwrap();
        let expected = ContractState {
            class_hash: model.class_hashes.get(address).copied().unwrap_or_default(),
            nonce: model.nonces.get(address).copied().unwrap_or_default(),
            storage_root: leaf.storage_root,
        };
        assert_eq!(leaf, expected, "block {at}");
        assert_eq!(verified::<Pedersen>(contracts, address, union.clone()), leaf.leaf(), "block {at}");
        let slots: Vec<Felt> = (0..SLOTS).map(name).collect();
        let nodes = state.prove(TrieId::Storage(*address), &slots).unwrap();
        for slot in &slots {
            let expected = model.storage.get(&(*address, *slot)).copied().unwrap_or_default();
            assert_eq!(verified::<Pedersen>(leaf.storage_root, slot, nodes.clone()), expected, "block {at}");
        }
    }
    for class in (0..CLASSES).map(name) {
        let expected = model.classes.get(&class).map(class_leaf).unwrap_or_default();
        let nodes = state.prove(TrieId::Classes, &[class]).unwrap();
        assert_eq!(verified::<Poseidon>(classes, &class, nodes), expected, "block {at}");
    }
}

fn check_state(store: &Store, at: Height, model: &Model) {
    let state = store.state_at(at).unwrap();
    for contract in (0..CONTRACTS).map(name) {
        for slot in (0..SLOTS).map(name) {
            let expected = model.storage.get(&(contract, slot)).copied().unwrap_or_default();
            assert_eq!(state.storage(&contract, &slot).unwrap(), expected, "block {at}");
        }
        assert_eq!(state.nonce(&contract).unwrap(), model.nonces.get(&contract).copied().unwrap_or_default());
        assert_eq!(state.class_hash(&contract).unwrap(), model.class_hashes.get(&contract).copied());
    }
    for class in (0..CLASSES).map(name) {
        assert_eq!(state.compiled_class_hash(&class).unwrap(), model.classes.get(&class).copied());
    }
}

/// Batches as the batcher makes them: `blocks` in each.
fn batch_up_to(store: &Store, last: u64, blocks: u64) {
    let latest = store.latest_batch().unwrap();
    let (batch, first) = latest.map_or((0, 0), |latest| (latest.batch.0 + 1, latest.last_block.0 + 1));
    if last + 1 >= first + blocks {
        let (first_block, last_block) = (height(first), height(first + blocks - 1));
        let header =
            BatchHeader { batch: BatchId(batch), first_block, last_block, status: BatchStatus::Built, note: vec![] };
        store.put_batch(&header, b"words").unwrap();
    }
}

fn not_retained<T>(answer: Result<T, StoreError>) -> Option<(Height, Height)> {
    match answer {
        Err(StoreError::NotRetained { height, first }) => Some((height, first)),
        _ => None,
    }
}

fn check_all(store: &Store, models: &[Model]) {
    let Retained { proofs, state } = store.retained().unwrap();
    for (at, model) in (0..).map(Height).zip(models) {
        match at >= state {
            true => check_state(store, at, model),
            false => assert_eq!(not_retained(store.state_at(at)), Some((at, state))),
        }
        match at >= proofs.max(state) {
            true => check_proofs(store, at, model),
            false if at >= state => {
                let old = store.state_at(at).unwrap();
                assert_eq!(not_retained(old.prove(TrieId::Contracts, &[felt(1)])), Some((at, proofs)));
                assert_eq!(not_retained(old.contract_state(&felt(1))), Some((at, proofs)));
            }
            false => {}
        }
    }
    assert_eq!(store.check_roots().unwrap(), None);
    let tries = store.check_tries().unwrap();
    assert_eq!((tries.height, tries.fault), (store.height(), None));
    let index = store.check_index(1).unwrap();
    assert_eq!((index.fault, index.blocks), (None, models.len() as u64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..Default::default() })]

    #[test]
    fn every_retained_block_proves_itself_and_no_pruned_one_answers(diffs in diffs()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut models, mut model) = (vec![], Model::default());
        let retention = StateRetention { proof_blocks: 3, state_blocks: 5 };
        for (tip, diff) in (0..).zip(diffs) {
            let store = open(&dir).with_state_retention(retention);
            model.apply(&diff);
            models.push(model.clone());
            commit(&store, diff);
            batch_up_to(&store, tip, 2);
            prop_assert_eq!(store.retained().unwrap().proofs, height(tip.saturating_sub(2)));
            // The state after the last batch stays, and so much is due: nothing else is kept.
            prop_assert_eq!(store.retained().unwrap().state, height(tip.saturating_sub(4)));
            check_all(&store, &models);
        }
    }
}

/// Distinct diffs for as many blocks as a test wants.
fn story(blocks: u64) -> impl Iterator<Item = StateDiff> {
    (0..blocks).map(|n| {
        let mut diff = StateDiff::default();
        (0..3).for_each(|i| diff.set_storage(name(n % 3), name((n + i) % (SLOTS - 1)), felt((n * i) % 4)));
        diff.nonces.insert(name(n % 2), felt(n + 1));
        diff
    })
}

fn told(store: &Store, blocks: u64) -> Vec<Model> {
    let mut models: Vec<Model> = vec![];
    for (tip, diff) in (0..).zip(story(blocks)) {
        let mut model = models.last().cloned().unwrap_or_default();
        model.apply(&diff);
        models.push(model);
        if store.height().is_none_or(|height| height.0 < tip) {
            commit(store, diff);
            batch_up_to(store, tip, 2);
        }
    }
    models
}

#[test]
fn without_a_setting_everything_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let models = told(&store, 12);
    assert_eq!(store.retained().unwrap(), Retained::default());
    check_all(&store, &models);
}

#[test]
fn a_lowered_setting_catches_up_block_by_block_and_a_raised_one_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    told(&store, 20);
    let store = store.with_state_retention(StateRetention { proof_blocks: 3, state_blocks: 3 });
    let first = |blocks| {
        told(&store, blocks);
        store.retained().unwrap()
    };
    let both = |first| Retained { proofs: height(first), state: height(first) };
    assert_eq!([first(21), first(22), first(23)], [both(4), both(8), both(12)]);
    check_all(&store, &told(&store, 23));
    let store = store.with_state_retention(StateRetention { proof_blocks: 30, state_blocks: 0 });
    let models = told(&store, 26);
    assert_eq!(store.retained().unwrap(), both(12));
    check_all(&store, &models);
}

#[test]
fn the_state_below_the_next_batch_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).with_state_retention(StateRetention { proof_blocks: 2, state_blocks: 2 });
    story(12).for_each(|diff| drop(commit(&store, diff)));
    assert_eq!(store.retained().unwrap(), Retained { proofs: height(10), state: height(0) });
    batch_up_to(&store, 11, 3);
    commit(&store, StateDiff::default());
    assert_eq!(store.retained().unwrap().state, height(2));
}

#[test]
fn stores_that_pruned_at_another_pace_are_equal_to_the_byte_where_both_retain() {
    let dirs = [0; 3].map(|_| tempfile::tempdir().unwrap());
    let [all, some, late] = [&dirs[0], &dirs[1], &dirs[2]].map(open);
    let some = some.with_state_retention(StateRetention { proof_blocks: 5, state_blocks: 7 });
    [&all, &some].into_iter().for_each(|store| drop(told(store, 20)));
    told(&late, 17);
    let late = late.with_state_retention(StateRetention { proof_blocks: 4, state_blocks: 9 });
    let models = told(&late, 20);
    assert_ne!(all.fingerprint().unwrap(), some.fingerprint().unwrap());
    let common = [&all, &some, &late].iter().fold(Retained::default(), |r, store| r.common(store.retained().unwrap()));
    assert_eq!(common, Retained { proofs: height(15), state: height(13) });
    for store in [&all, &some, &late] {
        store.prune_to(common).unwrap();
        assert_eq!(store.fingerprint().unwrap(), all.fingerprint().unwrap());
        check_all(store, &models);
    }
}

#[test]
fn a_reader_sees_its_block_whatever_is_committed_and_pruned_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).with_state_retention(StateRetention { proof_blocks: 3, state_blocks: 3 });
    let models = told(&store, 6);
    let old = store.state_at(height(4)).unwrap();
    told(&store, 20);
    assert!(not_retained(store.state_at(height(4))).is_some());
    let root = old.root(TrieId::Storage(name(0))).unwrap();
    for slot in (0..SLOTS).map(name) {
        let expected = models[4].storage.get(&(name(0), slot)).copied().unwrap_or_default();
        assert_eq!(old.storage(&name(0), &slot).unwrap(), expected);
        let nodes = old.prove(TrieId::Storage(name(0)), &[slot]).unwrap();
        assert_eq!(verified::<Pedersen>(root, &slot, nodes), expected);
    }
}

//! Blocks 0 to 7 of the Sepolia chain and the genesis of mainnet: the root of each, from genesis on.

use std::collections::BTreeMap;

use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_changes, global_root_before_0_14};
use keel_commitment::trie::{HEIGHT_STATE, MemoryTrie, root_from_scratch};
use keel_commitment::{Felt, StateDiff};

use crate::fixtures::{self, felt};

/// A whole state, updated incrementally, and all of its leaves beside it for recomputation.
#[derive(Default)]
struct Chain {
    storage: BTreeMap<Felt, MemoryTrie>,
    contract_states: BTreeMap<Felt, ContractState>,
    contracts: MemoryTrie,
    classes: MemoryTrie,
    squashed: StateDiff,
}

impl Chain {
    fn apply(&mut self, diff: &StateDiff) -> Felt {
        let mut changes = Vec::new();
        for address in diff.contracts() {
            let trie = self.storage.entry(address).or_default();
            let storage_root = trie.set::<Pedersen>(&diff.storage_changes(&address)).unwrap();
            let state = self.contract_states.entry(address).or_default();
            *state = state.after(diff, &address, storage_root);
            changes.push((address, state.leaf()));
        }
        self.contracts.set::<Pedersen>(&changes).unwrap();
        self.classes.set::<Poseidon>(&class_changes(diff)).unwrap();
        self.squashed.squash(diff);
        global_root_before_0_14(&self.contracts.root(), &self.classes.root())
    }

    /// The root of everything squashed into one diff, without a stored node.
    fn root_from_scratch(&self) -> Felt {
        let storage_root =
            |address: &Felt| root_from_scratch::<Pedersen>(HEIGHT_STATE, self.squashed.storage_changes(address)).unwrap();
        let leaf = |address: Felt| {
            let state = ContractState::default().after(&self.squashed, &address, storage_root(&address));
            (address, state.leaf())
        };
        let leaves = self.squashed.contracts().into_iter().map(leaf);
        let contracts = root_from_scratch::<Pedersen>(HEIGHT_STATE, leaves).unwrap();
        let classes = root_from_scratch::<Poseidon>(HEIGHT_STATE, class_changes(&self.squashed)).unwrap();
        global_root_before_0_14(&contracts, &classes)
    }
}

#[test]
fn sepolia_blocks_0_to_7_have_the_roots_we_compute() {
    let Some(folder) = fixtures::folder("sepolia_blocks_0_to_7_have_the_roots_we_compute") else { return };
    let mut chain = Chain::default();
    let mut previous = Felt::ZERO;
    for number in 0..=7 {
        let update = fixtures::read(&folder, &format!("state_updates/sepolia_chain/{number}.json"));
        assert_eq!(felt(&update["old_root"]), previous, "block {number}");
        let root = chain.apply(&fixtures::state_diff(&update["state_diff"]));
        assert_eq!(root, felt(&update["new_root"]), "block {number}");
        assert_eq!(chain.root_from_scratch(), root, "block {number}, from scratch");
        println!("sepolia block {number}: root {root:#x} agrees");
        previous = root;
    }
    assert_ne!(chain.classes.root(), Felt::ZERO, "block 7 declares classes");
}

#[test]
fn genesis_blocks_have_the_roots_we_compute() {
    let Some(folder) = fixtures::folder("genesis_blocks_have_the_roots_we_compute") else { return };
    for name in ["madara_mainnet.block_0", "madara_sepolia.block_0"] {
        let file = fixtures::read(&folder, &format!("blocks/{name}.json"));
        let mut chain = Chain::default();
        let root = chain.apply(&fixtures::state_diff(&file["state_update"]["state_diff"]));
        assert_eq!(root, felt(&file["block"]["state_root"]), "{name}");
        assert_eq!(chain.root_from_scratch(), root, "{name}, from scratch");
    }
}

//! Leaves of the contract and class tries, and the root of the whole state. [spec/starknet.md (a)]

use starknet_types_core::felt::Felt;

use crate::hash::{Hasher, Pedersen, Poseidon, ascii, poseidon_array};
use crate::state_diff::StateDiff;

/// Reserved contract that maps block numbers to hashes: key n-10 holds the hash of block n-10.
pub const BLOCK_HASH_CONTRACT: Felt = Felt::ONE;
/// Sealing block n stores the hash of block n-10. [spec/starknet.md (a), `STORED_BLOCK_HASH_BUFFER`]
pub const STORED_BLOCK_HASH_BUFFER: u64 = 10;

/// What the contract trie commits to for one address. All zero: no such contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContractState {
    pub class_hash: Felt,
    pub storage_root: Felt,
    pub nonce: Felt,
}

impl ContractState {
    /// Leaf of the contract trie: `Ped(Ped(Ped(class_hash, storage_root), nonce), 0)`; 0 for an all-zero contract.
    pub fn leaf(&self) -> Felt {
        if *self == ContractState::default() {
            return Felt::ZERO;
        }
        let class_and_storage = <Pedersen as Hasher>::hash(&self.class_hash, &self.storage_root);
        let with_nonce = <Pedersen as Hasher>::hash(&class_and_storage, &self.nonce);
        <Pedersen as Hasher>::hash(&with_nonce, &Felt::ZERO)
    }

    /// This contract after `diff`, whose storage changes at `address` lead to `storage_root`.
    #[must_use]
    pub fn after(&self, diff: &StateDiff, address: &Felt, storage_root: Felt) -> ContractState {
        ContractState {
            class_hash: diff.class_hash_at(address).unwrap_or(self.class_hash),
            nonce: diff.nonces.get(address).copied().unwrap_or(self.nonce),
            storage_root,
        }
    }
}

/// Leaf of the class trie: `Poseidon("CONTRACT_CLASS_LEAF_V0", compiled_class_hash)`.
pub fn class_leaf(compiled_class_hash: &Felt) -> Felt {
    <Poseidon as Hasher>::hash(&ascii("CONTRACT_CLASS_LEAF_V0"), compiled_class_hash)
}

/// Changes of the class trie (ascending) that `diff` brings: declared and migrated classes.
pub fn class_changes(diff: &StateDiff) -> Vec<(Felt, Felt)> {
    diff.compiled_classes().iter().map(|(class, compiled)| (*class, class_leaf(compiled))).collect()
}

/// Root of the state from Starknet 0.14.0 on, the rule of this chain: 0 for an empty state, else
/// `Poseidon("STARKNET_STATE_V0", contracts_root, classes_root)`.
pub fn global_root(contracts_root: &Felt, classes_root: &Felt) -> Felt {
    if *contracts_root == Felt::ZERO && *classes_root == Felt::ZERO {
        return Felt::ZERO;
    }
    poseidon_array(&[ascii("STARKNET_STATE_V0"), *contracts_root, *classes_root])
}

/// Root of the state before 0.14.0: the root of the contracts alone while no class is declared.
pub fn global_root_before_0_14(contracts_root: &Felt, classes_root: &Felt) -> Felt {
    if *classes_root == Felt::ZERO {
        return *contracts_root;
    }
    global_root(contracts_root, classes_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_contract_has_no_leaf_and_empty_state_no_root() {
        assert_eq!(ContractState::default().leaf(), Felt::ZERO);
        assert_ne!(ContractState { nonce: Felt::ONE, ..Default::default() }.leaf(), Felt::ZERO);
        assert_eq!(global_root(&Felt::ZERO, &Felt::ZERO), Felt::ZERO);
        assert_eq!(global_root_before_0_14(&Felt::ZERO, &Felt::ZERO), Felt::ZERO);
    }

    #[test]
    fn without_classes_the_two_global_roots_differ() {
        let contracts = Felt::from(5);
        assert_eq!(global_root_before_0_14(&contracts, &Felt::ZERO), contracts);
        assert_ne!(global_root(&contracts, &Felt::ZERO), contracts);
        assert_eq!(global_root(&contracts, &Felt::ONE), global_root_before_0_14(&contracts, &Felt::ONE));
    }
}

//! The difference between the state before and after a block, or a run of blocks.

use std::collections::{BTreeMap, BTreeSet};

use starknet_types_core::felt::Felt;

use crate::hash::{PoseidonList, ascii};

/// What a block, or several, changed. Everything is sorted, as every commitment and encoding wants it.
///
/// A value of 0 in `storage` deletes the key. Contracts without entries may be present and count for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// address -> key -> new value
    pub storage: BTreeMap<Felt, BTreeMap<Felt, Felt>>,
    /// address -> class hash, of contracts that did not exist before
    pub deployed_contracts: BTreeMap<Felt, Felt>,
    /// address -> new class hash, of contracts that did
    pub replaced_classes: BTreeMap<Felt, Felt>,
    /// address -> new nonce
    pub nonces: BTreeMap<Felt, Felt>,
    /// class hash -> compiled class hash
    pub declared_classes: BTreeMap<Felt, Felt>,
    /// class hashes of Cairo 0 classes, which no trie holds
    pub deprecated_declared_classes: BTreeSet<Felt>,
    /// class hash -> compiled class hash of the newer kind, from 0.14.1
    pub migrated_compiled_classes: BTreeMap<Felt, Felt>,
}

impl StateDiff {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `state_diff_length`: storage entries, nonces, deployed or replaced contracts, declared, deprecated and
    /// migrated classes. [spec/starknet.md (b)]
    pub fn len(&self) -> usize {
        self.storage.values().map(BTreeMap::len).sum::<usize>()
            + self.nonces.len()
            + self.class_hashes().len()
            + self.declared_classes.len()
            + self.deprecated_declared_classes.len()
            + self.migrated_compiled_classes.len()
    }

    /// Sets one storage entry.
    pub fn set_storage(&mut self, address: Felt, key: Felt, value: Felt) {
        self.storage.entry(address).or_default().insert(key, value);
    }

    /// The class hash this diff gives `address`, if it does.
    pub fn class_hash_at(&self, address: &Felt) -> Option<Felt> {
        self.replaced_classes.get(address).or_else(|| self.deployed_contracts.get(address)).copied()
    }

    /// Deployed and replaced contracts together: address -> class hash.
    pub fn class_hashes(&self) -> BTreeMap<Felt, Felt> {
        merged(&self.deployed_contracts, &self.replaced_classes)
    }

    /// Declared and migrated classes together: class hash -> compiled class hash.
    pub fn compiled_classes(&self) -> BTreeMap<Felt, Felt> {
        merged(&self.declared_classes, &self.migrated_compiled_classes)
    }

    /// Every contract whose leaf in the contract trie changes, ascending.
    pub fn contracts(&self) -> BTreeSet<Felt> {
        let with_storage = self.storage.iter().filter(|(_, entries)| !entries.is_empty()).map(|(address, _)| address);
        let others = self.deployed_contracts.keys().chain(self.replaced_classes.keys()).chain(self.nonces.keys());
        with_storage.chain(others).copied().collect()
    }

    /// The storage changes of one contract, ascending by key, as [`crate::trie::update`] takes them.
    pub fn storage_changes(&self, address: &Felt) -> Vec<(Felt, Felt)> {
        let entries = self.storage.get(address).into_iter().flatten();
        entries.map(|(key, value)| (*key, *value)).collect()
    }

    /// Adds the changes of the blocks right after this one: where both set something, the later value stays.
    ///
    /// An entry that the later blocks set back to what it was before the earlier ones is kept: a diff does not know
    /// what was before.
    pub fn squash(&mut self, later: &StateDiff) {
        for (address, entries) in &later.storage {
            self.storage.entry(*address).or_default().extend(entries);
        }
        self.nonces.extend(&later.nonces);
        self.deployed_contracts.extend(&later.deployed_contracts);
        for (address, class) in &later.replaced_classes {
            // Deployed earlier in this run: for the run as a whole it is a deployment.
            match self.deployed_contracts.get_mut(address) {
                Some(deployed) => *deployed = *class,
                None => drop(self.replaced_classes.insert(*address, *class)),
            }
        }
        self.declared_classes.extend(&later.declared_classes);
        self.deprecated_declared_classes.extend(&later.deprecated_declared_classes);
        for (class, compiled) in &later.migrated_compiled_classes {
            match self.declared_classes.get_mut(class) {
                Some(declared) => *declared = *compiled,
                None => drop(self.migrated_compiled_classes.insert(*class, *compiled)),
            }
        }
    }

    /// State-diff commitment. [spec/starknet.md (b); sequencer `state_diff_hash.rs`]
    pub fn commitment(&self) -> Felt {
        let mut list = PoseidonList::default();
        list.put(ascii("STARKNET_STATE_DIFF0"));
        put_map(&mut list, &self.class_hashes());
        put_map(&mut list, &self.compiled_classes());
        list.put(self.deprecated_declared_classes.len());
        self.deprecated_declared_classes.iter().for_each(|class| list.put(*class));
        // One data-availability mode follows, and it is 0 (L1): the format reserved room for more.
        list.put(Felt::ONE);
        list.put(Felt::ZERO);
        let with_storage = || self.storage.iter().filter(|(_, entries)| !entries.is_empty());
        list.put(with_storage().count());
        for (address, entries) in with_storage() {
            list.put(*address);
            put_map(&mut list, entries);
        }
        put_map(&mut list, &self.nonces);
        list.finish()
    }
}

fn merged(first: &BTreeMap<Felt, Felt>, second: &BTreeMap<Felt, Felt>) -> BTreeMap<Felt, Felt> {
    first.iter().chain(second).map(|(key, value)| (*key, *value)).collect()
}

/// The number of entries, then key and value of each.
fn put_map(list: &mut PoseidonList, map: &BTreeMap<Felt, Felt>) {
    list.put(map.len());
    for (key, value) in map {
        list.put(*key);
        list.put(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(u64, u64)]) -> BTreeMap<Felt, Felt> {
        entries.iter().map(|(key, value)| (Felt::from(*key), Felt::from(*value))).collect()
    }

    fn storage(entries: &[(u64, &[(u64, u64)])]) -> BTreeMap<Felt, BTreeMap<Felt, Felt>> {
        entries.iter().map(|(address, entries)| (Felt::from(*address), map(entries))).collect()
    }

    #[test]
    fn squash_keeps_the_later_value_and_one_deployment() {
        let mut run = StateDiff {
            storage: storage(&[(1, &[(1, 10), (2, 20)])]),
            deployed_contracts: map(&[(7, 70)]),
            replaced_classes: map(&[(8, 80)]),
            nonces: map(&[(1, 1)]),
            declared_classes: map(&[(5, 50)]),
            deprecated_declared_classes: [Felt::from(3)].into(),
            migrated_compiled_classes: map(&[(6, 60)]),
        };
        run.squash(&StateDiff {
            storage: storage(&[(1, &[(2, 0), (3, 30)]), (2, &[(1, 1)])]),
            deployed_contracts: map(&[(9, 90)]),
            replaced_classes: map(&[(7, 71), (8, 81), (10, 100)]),
            nonces: map(&[(1, 2), (2, 1)]),
            declared_classes: map(&[(4, 40)]),
            deprecated_declared_classes: [Felt::from(2)].into(),
            migrated_compiled_classes: map(&[(5, 51), (6, 61)]),
        });
        let expected = StateDiff {
            storage: storage(&[(1, &[(1, 10), (2, 0), (3, 30)]), (2, &[(1, 1)])]),
            deployed_contracts: map(&[(7, 71), (9, 90)]),
            replaced_classes: map(&[(8, 81), (10, 100)]),
            nonces: map(&[(1, 2), (2, 1)]),
            declared_classes: map(&[(4, 40), (5, 51)]),
            deprecated_declared_classes: [Felt::from(2), Felt::from(3)].into(),
            migrated_compiled_classes: map(&[(6, 61)]),
        };
        assert_eq!(run, expected);
        assert_eq!(run.len(), 4 + 2 + 2 + 2 + 2 + 2 + 1);
    }

    #[test]
    fn contract_without_entries_changes_nothing() {
        let empty = StateDiff { storage: storage(&[(1, &[])]), ..Default::default() };
        assert!(empty.is_empty());
        assert!(empty.contracts().is_empty());
        assert_eq!(empty.commitment(), StateDiff::default().commitment());
    }
}

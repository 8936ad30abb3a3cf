//! Stateful compression: short aliases of addresses and storage keys, kept in contract 0x2.
//!
//! Data for the settlement layer names a contract or key by its alias. A block allocates the aliases it needs in its
//! own state diff, so that the alias table is state like any other. [spec/starknet.md (d); OS `aliases.cairo`]

use std::collections::BTreeMap;

use starknet_types_core::felt::Felt;

use crate::state_diff::StateDiff;

/// Reserved contract that holds the table: key -> alias, and the counter at key 0.
pub const ALIAS_CONTRACT: Felt = Felt::TWO;
/// Key of the counter: the next alias to be allocated.
pub const ALIAS_COUNTER_KEY: Felt = Felt::ZERO;
/// First alias; addresses and keys below it are their own alias.
pub const ALIAS_FIRST: u64 = 128;
/// Contracts up to this address are left as they are, with all their keys.
pub const ADDRESS_NOT_COMPRESSED_MAX: u64 = 15;

/// The entries of contract 0x2 (ascending by key) that a block with `diff` must add to its own diff.
///
/// `stored` reads the storage of contract 0x2 before the block; 0 where nothing is stored. `diff` holds the block's
/// real changes only: an entry set to the value it had allocates an alias it should not.
/// Contracts in ascending order; of each the changed keys in ascending order, then its address. The first call ever
/// writes the counter even if it allocates nothing.
pub fn allocate_aliases(diff: &StateDiff, stored: impl Fn(&Felt) -> Felt) -> BTreeMap<Felt, Felt> {
    let counter = stored(&ALIAS_COUNTER_KEY);
    let first_time = counter == Felt::ZERO;
    let mut next = if first_time { Felt::from(ALIAS_FIRST) } else { counter };
    let mut entries = BTreeMap::new();
    let mut allocate = |key: &Felt| {
        if *key >= Felt::from(ALIAS_FIRST) && !entries.contains_key(key) && stored(key) == Felt::ZERO {
            entries.insert(*key, next);
            next += Felt::ONE;
        }
    };
    let compressed = |address: &Felt| *address > Felt::from(ADDRESS_NOT_COMPRESSED_MAX);
    for address in diff.contracts().into_iter().filter(compressed) {
        diff.storage.get(&address).into_iter().flatten().for_each(|(key, _)| allocate(key));
        allocate(&address);
    }
    if first_time || !entries.is_empty() {
        entries.insert(ALIAS_COUNTER_KEY, next);
    }
    entries
}

/// The alias of an address or of a storage key of a compressed contract: itself if below 128, else what `stored`
/// (the storage of contract 0x2 after the block) holds; `None` if it has no alias.
pub fn alias_of(key: &Felt, stored: impl Fn(&Felt) -> Felt) -> Option<Felt> {
    if *key < Felt::from(ALIAS_FIRST) {
        return Some(*key);
    }
    Some(stored(key)).filter(|alias| *alias != Felt::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (address, changed keys) of a block; without keys, only the nonce changes.
    type Block<'a> = &'a [(u64, &'a [u64])];

    /// Key and alias.
    type Table<'a> = &'a [(u64, u64)];

    /// Runs blocks and gives the table after each.
    fn tables(blocks: &[Block]) -> Vec<Vec<(u64, u64)>> {
        let mut table: BTreeMap<Felt, Felt> = BTreeMap::new();
        let number = |felt: &Felt| u64::try_from(*felt).unwrap();
        let run = |block: &Block| {
            let mut diff = StateDiff::default();
            for (address, keys) in *block {
                keys.iter().for_each(|key| diff.set_storage(Felt::from(*address), Felt::from(*key), Felt::ONE));
                if keys.is_empty() {
                    diff.nonces.insert(Felt::from(*address), Felt::ONE);
                }
            }
            let new = allocate_aliases(&diff, |key| table.get(key).copied().unwrap_or_default());
            table.extend(new);
            table.iter().map(|(key, alias)| (number(key), number(alias))).collect()
        };
        blocks.iter().map(run).collect()
    }

    #[test]
    fn aliases_are_given_in_the_order_of_the_os() {
        let cases: [(&str, &[Block], Table); 6] = [
            ("counter is written though nothing needs an alias", &[&[]], &[(0, 128)]),
            ("keys first, then the address", &[&[(1000, &[900, 700])]], &[(0, 131), (700, 128), (900, 129), (1000, 130)]),
            ("reserved contracts are skipped whole", &[&[(1, &[5000]), (15, &[6000])]], &[(0, 128)]),
            ("16 to 127: keys get aliases, the address needs none", &[&[(16, &[127, 128])]], &[(0, 129), (128, 128)]),
            (
                "one alias for a key of two contracts",
                &[&[(200, &[500]), (300, &[500])]],
                &[(0, 131), (200, 129), (300, 130), (500, 128)],
            ),
            (
                "a later block goes on counting",
                &[&[(200, &[])], &[(200, &[201])], &[(200, &[])]],
                &[(0, 130), (200, 128), (201, 129)],
            ),
        ];
        for (name, blocks, expected) in cases {
            assert_eq!(tables(blocks).last().unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn small_keys_are_their_own_alias() {
        let stored = |key: &Felt| if *key == Felt::from(500) { Felt::from(130) } else { Felt::ZERO };
        assert_eq!(alias_of(&Felt::from(127), stored), Some(Felt::from(127)));
        assert_eq!(alias_of(&Felt::from(500), stored), Some(Felt::from(130)));
        assert_eq!(alias_of(&Felt::from(501), stored), None);
    }
}

use super::*;
use keel_commitment::aliases::{ALIAS_CONTRACT, alias_of, allocate_aliases};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn felt(value: u64) -> Felt {
    Felt::from(value)
}

#[test]
fn contract_words_have_a_short_and_a_long_form() {
    let word = |nonce, updates, class_changed| ContractWord { nonce, updates, class_changed };
    // madara-alliance/madara, tests of its `da_word`.
    for (word, expected) in [
        (word(0, 15, false), 62),
        (word(0, 1024, false), 4096),
        (word(10, 0, false), 10242),
        (word(15, 2025, false), 1_106_804_644_422_573_105_060u128),
        (word(0, 10, true), 43),
        (word(0, 1000, true), 4001),
        (word(20, 255, true), 21503),
    ] {
        assert_eq!(word.encode(), Felt::from(expected), "{word:?}");
        assert_eq!(ContractWord::decode(&word.encode()), Some(word));
    }
}

#[test]
fn words_that_no_contract_has_are_refused() {
    let two_to = |bits: u32| Felt::TWO.pow(bits);
    for (name, word) in [
        // 5 updates in the form for 256 and more.
        ("long form of a small count", felt(5 << 2)),
        ("131 bits", two_to(130)),
        ("a nonce of 65 bits in the short form", two_to(64 + 8 + 2) + felt(2)),
        ("the largest felt", Felt::ZERO - Felt::ONE),
    ] {
        assert_eq!(ContractWord::decode(&word), None, "{name}");
    }
    let largest = ContractWord { nonce: u64::MAX, updates: u64::MAX, class_changed: true };
    assert_eq!(ContractWord::decode(&largest.encode()), Some(largest));
}

#[test]
fn a_diff_packs_in_the_order_of_the_os() {
    let mut diff = StateDiff::default();
    diff.set_storage(felt(1), felt(900), felt(11));
    diff.set_storage(felt(500), felt(7), felt(1));
    diff.set_storage(felt(500), felt(300), felt(2));
    diff.set_storage(felt(500), felt(200), felt(3));
    diff.set_storage(ALIAS_CONTRACT, felt(500), felt(130));
    diff.deployed_contracts.insert(felt(500), felt(77));
    diff.nonces.insert(felt(20), felt(4));
    diff.declared_classes.insert(felt(77), felt(78));
    let table: BTreeMap<Felt, Felt> = [(200, 141), (300, 140), (500, 130)].map(|(k, a)| (felt(k), felt(a))).into();
    let packed = PackedDiff::of(&diff, |key| table.get(key).copied()).unwrap();
    let word = |nonce, updates, class_changed| ContractWord { nonce, updates, class_changed }.encode();
    let (block_hashes, aliases) = (word(0, 1, false), word(0, 1, false));
    let expected = vec![
        // Reserved contracts stand as they are, keys included.
        felt(4),
        felt(1),
        block_hashes,
        felt(900),
        felt(11),
        felt(2),
        aliases,
        felt(500),
        felt(130),
        // 20 is below 128.
        felt(20),
        word(4, 0, false),
        // Keys in the order of the originals (7, 200, 300), not of the aliases.
        felt(130),
        word(0, 3, true),
        felt(77),
        felt(7),
        felt(1),
        felt(141),
        felt(3),
        felt(140),
        felt(2),
        felt(1),
        felt(77),
        felt(78),
    ];
    assert_eq!(packed.encode(), expected);
    assert_eq!(packed_len(&diff), expected.len());
}

#[test]
fn what_cannot_be_packed_is_said() {
    let mut diff = StateDiff::default();
    diff.set_storage(felt(500), felt(7), felt(1));
    assert_eq!(PackedDiff::of(&diff, |_| None), Err(PackError::NoAlias(felt(500))));
    let nonces = |nonce: Felt| StateDiff { nonces: [(felt(20), nonce)].into(), ..Default::default() };
    for nonce in [Felt::ZERO, Felt::TWO.pow(64u32)] {
        assert_eq!(PackedDiff::of(&nonces(nonce), |_| None), Err(PackError::Nonce { address: felt(20), nonce }));
    }
    let old = StateDiff { deprecated_declared_classes: [felt(3)].into(), ..Default::default() };
    assert_eq!(PackedDiff::of(&old, |_| None), Err(PackError::DeprecatedClass(felt(3))));
}

#[test]
fn words_that_are_no_diff_are_refused() {
    let word = |nonce, updates, class_changed| ContractWord { nonce, updates, class_changed }.encode();
    for (words, error) in [
        (vec![], UnpackError::TooShort(0)),
        (vec![felt(0)], UnpackError::TooShort(1)),
        (vec![felt(0), felt(0), felt(9)], UnpackError::TooLong(1)),
        (vec![felt(u64::MAX), felt(0)], UnpackError::BadCount(0)),
        (vec![Felt::ZERO - Felt::ONE], UnpackError::BadCount(0)),
        (vec![felt(1), felt(20), word(0, 0, false), felt(0)], UnpackError::Empty(felt(20))),
        (vec![felt(1), felt(20), word(0, 9, false), felt(0)], UnpackError::BadCount(2)),
        (vec![felt(1), felt(20), felt(5 << 2), felt(0)], UnpackError::BadContractWord(2)),
        (vec![felt(1), felt(20), word(1, 0, true), felt(8)], UnpackError::TooShort(4)),
        (vec![felt(0), felt(1), felt(8)], UnpackError::BadCount(1)),
    ] {
        assert_eq!(PackedDiff::decode(&words), Err(error), "{words:?}");
    }
    let unaliased = |words: Vec<Felt>| PackedDiff::decode(&words).unwrap().to_diff(&BTreeMap::new(), |_| false);
    let unknown = vec![felt(1), felt(128), word(1, 0, false), felt(0)];
    assert_eq!(unaliased(unknown), Err(UnpackError::UnknownAlias(felt(128))));
    let twice = vec![felt(2), felt(20), word(1, 0, false), felt(20), word(1, 0, false), felt(0)];
    assert_eq!(unaliased(twice), Err(UnpackError::NotAscending(felt(20))));
}

fn any_name() -> impl Strategy<Value = Felt> {
    prop_oneof![(0u64..200).prop_map(Felt::from), any::<[u8; 32]>().prop_map(|bytes| Felt::from_bytes_be(&bytes))]
}

fn any_diff() -> impl Strategy<Value = StateDiff> {
    let address = || prop_oneof![(3u64..200).prop_map(Felt::from), any_name().prop_map(|a| a + Felt::from(3))];
    let wide = || any::<[u8; 32]>().prop_map(|bytes| Felt::from_bytes_be(&bytes));
    // Around 256 the header word changes its form.
    let entries = prop_oneof![9 => btree_map(any_name(), any_name(), 1..8), 1 => btree_map(wide(), wide(), 250..262)];
    (
        btree_map(address(), entries, 0..6),
        btree_map(address(), any_name(), 0..4),
        btree_map(address(), (1u64..).prop_map(Felt::from), 0..4),
        btree_map(any_name(), any_name(), 0..4),
    )
        .prop_map(|(storage, deployed_contracts, nonces, declared_classes)| StateDiff {
            storage,
            deployed_contracts,
            nonces,
            declared_classes,
            ..Default::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn unpacking_inverts_packing_over_a_run_of_batches(diffs in vec(any_diff(), 1..4)) {
        let mut table: BTreeMap<Felt, Felt> = BTreeMap::new();
        let mut learned = BTreeMap::new();
        for mut diff in diffs {
            let new = allocate_aliases(&diff, |key| table.get(key).copied().unwrap_or_default());
            new.iter().for_each(|(key, alias)| diff.set_storage(ALIAS_CONTRACT, *key, *alias));
            table.extend(new);
            let alias = |key: &Felt| alias_of(key, |key| table.get(key).copied().unwrap_or_default());
            let packed = PackedDiff::of(&diff, alias).unwrap();
            let words = packed.encode();
            prop_assert_eq!(words.len(), packed_len(&diff));
            let unpacked = PackedDiff::decode(&words).unwrap();
            prop_assert_eq!(&unpacked, &packed);
            unpacked.learn_aliases(&mut learned);
            prop_assert_eq!(unpacked.to_diff(&learned, |_| false).unwrap(), diff);
        }
    }

    #[test]
    fn every_prefix_and_every_longer_list_is_refused(diff in any_diff(), extra in any_name()) {
        let words = PackedDiff::of(&diff, |key| Some(*key)).unwrap().encode();
        for end in 0..words.len().min(40) {
            prop_assert!(PackedDiff::decode(&words[..end]).is_err());
        }
        let longer = [words, vec![extra]].concat();
        prop_assert!(PackedDiff::decode(&longer).is_err());
    }
}

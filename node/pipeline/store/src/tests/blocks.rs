use super::*;
use crate::{Invoke, L1HandlerCall, RootMismatch, Signature, StateRetention, StoreError, StoredValue};
use keel_commitment::commitments::{Event, MessageToL1};
use keel_commitment::trie::HEIGHT_STATE;
use keel_commitment::{hash, trie};
use proptest::prelude::*;

fn event(key: u64) -> Event {
    Event { from_address: felt(500), keys: vec![felt(key), felt(9)], data: vec![felt(key), Felt::ZERO, -Felt::ONE] }
}

/// Two transactions, one of each kind, with 2 and 1 events.
fn content(salt: u64) -> Vec<(Transaction, Receipt)> {
    let invoke = Invoke { hash: felt(salt), sender: felt(3), nonce: salt, calldata: vec![felt(1), -felt(2)] };
    let call = L1HandlerCall {
        hash: felt(salt + 1),
        contract: felt(500),
        selector: felt(4),
        nonce: 8,
        calldata: vec![felt(5)],
        message_hash: Bytes32([9; 32]),
    };
    let message = MessageToL1 { from_address: felt(500), to_address: felt(6), payload: vec![felt(1), felt(2)] };
    let receipt = |hash, events, messages_sent| Receipt {
        transaction_hash: felt(hash),
        messages_sent,
        events,
        first_seq: Seq(1),
        last_seq: Seq(2),
    };
    vec![
        (Transaction::Invoke(invoke), receipt(salt, vec![event(1), event(2)], vec![message])),
        (Transaction::L1Handler(call), receipt(salt + 1, vec![event(3)], vec![])),
    ]
}

fn full_diff() -> StateDiff {
    let mut diff = storage_diff(500, &[(1, 10), (2, 20)]);
    diff.deployed_contracts.insert(felt(500), felt(99));
    diff.replaced_classes.insert(felt(501), felt(98));
    diff.nonces.insert(felt(3), felt(1));
    diff.declared_classes.insert(felt(99), felt(990));
    diff.migrated_compiled_classes.insert(felt(97), felt(970));
    diff.deprecated_declared_classes.insert(felt(96));
    diff
}

#[test]
fn a_block_comes_back_as_it_was_and_by_every_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!((store.height(), store.tip().unwrap()), (None, None));
    commit(&store, full_diff());
    let mut block = block_on(&store, storage_diff(500, &[(1, 11)]), content(700));
    block.header.signature = Some(Signature { r: felt(1), s: -felt(1) });
    store.commit_block(&block, &store.trie_changes(&block.diff).unwrap()).unwrap();

    assert_eq!(store.height(), Some(height(1)));
    assert_eq!(store.block(height(1)).unwrap().as_ref(), Some(&block));
    assert_eq!(store.block(height(0)).unwrap().unwrap().diff, full_diff());
    assert_eq!(store.height_of_hash(&block.header.hash).unwrap(), Some(height(1)));
    let placed = store.transaction_by_hash(&felt(701)).unwrap().unwrap();
    assert_eq!((placed.height, placed.index, &placed.transaction), (height(1), 1, &block.transactions[1]));
    assert_eq!(store.receipt(height(1), 1).unwrap().as_ref(), Some(&block.receipts[1]));
    let heights = [0, 1, 2, 3].map(|seq| store.height_of_seq(Seq(seq)).unwrap());
    assert_eq!(heights, [Some(height(0)), Some(height(1)), Some(height(1)), None]);
    assert_eq!(store.blocks_seq().unwrap(), Seq(2));
    assert_eq!(store.block(height(2)).unwrap(), None);
    assert_eq!(store.transaction_by_hash(&felt(1)).unwrap(), None);
}

#[test]
fn state_can_be_read_at_any_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    commit(&store, full_diff());
    commit(&store, storage_diff(500, &[(1, 11)]));
    commit(&store, StateDiff { nonces: [(felt(3), felt(2))].into(), ..storage_diff(500, &[(2, 0), (3, 30)]) });
    commit(&store, StateDiff { replaced_classes: [(felt(500), felt(100))].into(), ..storage_diff(500, &[(1, 12)]) });

    let slot = |slot| [0, 1, 2, 3, 9].map(|at| store.storage_at(&felt(500), &felt(slot), height(at)).unwrap());
    assert_eq!(slot(1), [10, 11, 11, 12, 12].map(felt));
    assert_eq!(slot(2), [20, 20, 0, 0, 0].map(felt));
    assert_eq!(slot(3), [0, 0, 30, 30, 30].map(felt));
    assert_eq!(slot(4), [0; 5].map(felt));
    assert_eq!([0, 1, 2].map(|at| store.nonce_at(&felt(3), height(at)).unwrap()), [1, 1, 2].map(felt));
    let class = |contract, at| store.class_hash_at(&felt(contract), height(at)).unwrap();
    assert_eq!([class(500, 0), class(500, 3), class(3, 3)], [Some(felt(99)), Some(felt(100)), None]);
    let entry = store.storage_entry_at(&felt(500), &felt(1), height(2)).unwrap();
    assert_eq!(entry, Some(StoredValue { value: felt(11), height: height(1) }));
    let compiled = store.compiled_class_hash_at(&felt(97), height(3)).unwrap();
    assert_eq!(compiled, Some(StoredValue { value: felt(970), height: height(0) }));
    assert_eq!(store.storage_latest(&felt(500), &felt(1)).unwrap(), felt(12));
    assert_eq!(store.storage_latest(&felt(499), &felt(1)).unwrap(), Felt::ZERO);
}

#[test]
fn a_block_that_does_not_follow_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let genesis = commit(&store, full_diff());
    commit(&store, storage_diff(500, &[(1, 11)]));
    let good = block_on(&store, storage_diff(500, &[(1, 12)]), vec![]);
    let changes = store.trie_changes(&good.diff).unwrap();
    let mut other_parent = good.clone();
    other_parent.header.block.parent_hash = genesis.header.hash;
    let mut ahead = good.clone();
    ahead.header.block.number = 3;
    let mut gap = good.clone();
    gap.header.first_seq = Seq(9);
    for (name, block) in [("again", &genesis), ("other parent", &other_parent), ("ahead", &ahead), ("gap", &gap)] {
        let result = match name {
            "again" => store.commit_block(block, &retarget(changes.clone(), block)),
            _ => store.commit_block(block, &changes),
        };
        assert!(matches!(result, Err(StoreError::NotNext { .. } | StoreError::OtherParent { .. })), "{name}: {result:?}");
        assert_eq!(store.height(), Some(height(1)), "{name}");
        assert_eq!(store.storage_latest(&felt(500), &felt(1)).unwrap(), felt(11), "{name}");
    }
    store.commit_block(&good, &changes).unwrap();
}

/// Trie changes that claim the roots of `block`.
fn retarget(mut changes: crate::TrieChanges, block: &Block) -> crate::TrieChanges {
    changes.contracts.root = block.header.contracts_root;
    changes.classes.root = block.header.classes_root;
    changes
}

#[test]
fn blocks_survive_a_process_that_dies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let blocks: Vec<Block> =
        (0..20).map(|n| commit_with(&store, storage_diff(500, &[(n, 1), (7, n + 1)]), content(1_000 * (n + 1)))).collect();
    // A copy of the directory while the store is open is what is left when the process is killed.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::remove_file(copy.path().join("LOCK")).unwrap();
    let after = open(&copy);
    assert_eq!(after.height(), Some(height(19)));
    for block in &blocks {
        assert_eq!(after.block(block.header.height()).unwrap().as_ref(), Some(block));
    }
    assert_eq!(after.check_roots().unwrap(), None);
}

/// Cuts RocksDB's log at many lengths, as a power loss does: what comes back is a whole block's state, never half of one.
#[test]
fn a_log_cut_anywhere_leaves_a_moment_between_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).with_state_retention(StateRetention { proof_blocks: 2, state_blocks: 0 });
    for n in 0..8 {
        commit_with(&store, storage_diff(500 + n % 2, &[(n, n + 1), (7, n + 1)]), content(1_000 * (n + 1)));
    }
    let log = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap();
    let length = std::fs::metadata(&log).unwrap().len();
    let mut heights = std::collections::BTreeSet::new();
    for step in 0..24 {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "LOCK" {
                std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        let cut = std::fs::OpenOptions::new().write(true).open(copy.path().join(log.file_name().unwrap())).unwrap();
        cut.set_len(length * step / 23).unwrap();
        let after = open(&copy);
        heights.insert(after.height());
        assert_eq!(after.check_roots().unwrap(), None, "cut to {step}/23");
        assert_eq!(after.check_tries().unwrap().fault, None, "cut to {step}/23");
        assert_eq!(after.check_index(1).unwrap().fault, None, "cut to {step}/23");
        let Some(tip) = after.tip().unwrap() else { continue };
        let blocks_seq = after.blocks_seq().unwrap();
        let oldest = after.retained().unwrap().proofs;
        assert_eq!(oldest.0, tip.block.number.saturating_sub(1));
        let (then, key) = (after.state_at(oldest).unwrap(), [felt(500), felt(501)]);
        let root = then.header().unwrap().unwrap().contracts_root;
        assert_eq!(then.prove(crate::TrieId::Contracts, &key).unwrap()[0].0, root);
        assert_eq!((tip.last_seq, after.height()), (blocks_seq, Some(tip.height())));
        assert_eq!(after.block(tip.height()).unwrap().unwrap().receipts.len(), 2);
        assert_eq!(after.storage_latest(&felt(500 + tip.block.number % 2), &felt(7)).unwrap(), felt(tip.block.number + 1));
    }
    assert!(heights.len() > 4, "the cuts fell into different blocks: {heights:?}");
}

#[test]
fn a_changed_flat_value_is_found_by_recomputation() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.check_roots().unwrap(), None);
    commit(&store, full_diff());
    commit(&store, storage_diff(500, &[(1, 11)]));
    assert_eq!(store.check_roots().unwrap(), None);
    let mut batch = store.batch();
    store.put_state(&mut batch, height(1), &storage_diff(500, &[(2, 21)]));
    batch.write().unwrap();
    let RootMismatch { height, header, recomputed } = store.check_roots().unwrap().unwrap();
    assert_eq!((height, header.classes), (Height(1), recomputed.classes));
    assert_ne!(header.contracts, recomputed.contracts);
    assert_ne!(header.state, recomputed.state);
}

/// Storage, nonces and classes of few names, so that entries are overwritten, deleted and made again.
fn diffs() -> impl Strategy<Value = Vec<StateDiff>> {
    let storage = prop::collection::btree_map(0..3u64, prop::collection::btree_map(0..12u64, 0..3u64, 1..6), 0..3);
    let nonces = prop::collection::btree_map(0..4u64, 1..100u64, 0..2);
    let classes = prop::collection::btree_map(0..6u64, 1..100u64, 0..2);
    let diff = (storage, nonces, classes).prop_map(|(storage, nonces, classes)| {
        let mut diff = StateDiff::default();
        let spread = |n: u64| hash::starknet_keccak(&n.to_be_bytes());
        for (contract, entries) in storage {
            entries.into_iter().for_each(|(slot, value)| diff.set_storage(spread(contract), spread(slot), felt(value)));
        }
        diff.nonces = nonces.into_iter().map(|(contract, nonce)| (spread(contract), felt(nonce))).collect();
        diff.deployed_contracts = diff.nonces.keys().map(|contract| (*contract, felt(1))).collect();
        diff.declared_classes = classes.into_iter().map(|(class, compiled)| (spread(class), felt(compiled))).collect();
        diff
    });
    prop::collection::vec(diff, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..Default::default() })]

    #[test]
    fn stored_tries_agree_with_recomputation_at_every_block(diffs in diffs()) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        for diff in diffs {
            let block = commit(&store, diff);
            prop_assert_eq!(store.check_roots().unwrap(), None);
            let contracts = store.contract_state(&hash::starknet_keccak(&0u64.to_be_bytes())).unwrap();
            let trie = store.trie(crate::TrieId::Contracts);
            let key = hash::starknet_keccak(&0u64.to_be_bytes());
            let leaf = trie::get(&trie, block.header.contracts_root, &key);
            prop_assert_eq!(leaf.unwrap(), contracts.leaf());
            prop_assert!(key.bits() <= usize::from(HEIGHT_STATE));
        }
        for at in 0..=store.height().unwrap().0 {
            let roots = store.recompute_roots(height(at)).unwrap();
            prop_assert_eq!(roots.state, store.header(height(at)).unwrap().unwrap().block.state_root);
        }
    }
}

//! Damage that each check finds, and names.

use super::*;
use crate::keys::{BLOCK_HASHES, DIFFS, EVENTS, Key, NODES, NONCES, SEALS, STORAGE, STORAGE_ROOTS, TRANSACTION_HASHES};
use crate::{Invoke, TrieId, codec};
use keel_commitment::commitments::Event;
use keel_commitment::trie::Path;

/// Three blocks with a transaction each.
fn chain(dir: &tempfile::TempDir) -> Store {
    let store = open(dir);
    for n in 0..3 {
        let hash = felt(700 + n);
        let event = Event { from_address: felt(500), keys: vec![felt(1)], data: vec![] };
        let invoke = Invoke { hash, sender: felt(3), nonce: n, calldata: vec![] };
        let receipt = Receipt { transaction_hash: hash, events: vec![event.clone(), event], ..Receipt::default() };
        let mut diff = storage_diff(500, &[(1, n + 10), (8 + n, 20), (1 << 40, 7)]);
        diff.nonces.insert(felt(3), felt(n + 1));
        diff.declared_classes.insert(felt(40 + n), felt(4));
        commit_with(&store, diff, vec![(Transaction::Invoke(invoke), receipt)]);
    }
    store
}

fn damage(table: &str, key: Key, value: Option<Vec<u8>>) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = chain(&dir);
    let mut batch = store.batch();
    match value {
        Some(value) => batch.put(table, key, value),
        None => batch.delete(table, key),
    }
    batch.write().unwrap();
    (dir, store)
}

#[test]
fn a_whole_store_has_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = chain(&dir);
    let tries = store.check_tries().unwrap();
    assert_eq!((tries.height, tries.tries, tries.fault), (Some(height(2)), 3, None));
    assert_eq!(tries.nodes, store.scan(NODES, &[], &[]).count() as u64);
    for (step, blocks) in [(1, 3), (2, 2), (1_000, 2)] {
        let index = store.check_index(step).unwrap();
        assert_eq!((index.height, index.blocks, index.fault), (Some(height(2)), blocks, None), "step {step}");
    }
    let empty = tempfile::tempdir().unwrap();
    let store = open(&empty);
    assert_eq!((store.check_tries().unwrap().fault, store.check_index(1).unwrap().fault), (None, None));
}

#[test]
fn every_lost_changed_or_stray_node_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let nodes: Vec<_> = chain(&dir).scan(NODES, &[], &[]).map(Result::unwrap).collect();
    assert!(nodes.len() > 8, "{} nodes", nodes.len());
    for (key, value) in &nodes {
        let (trie, path) = TrieId::of_key(key).unwrap();
        let at = || Key::new().bytes(key);
        let (_dir, store) = damage(NODES, at(), None);
        let fault = store.check_tries().unwrap().fault.unwrap();
        assert_eq!((fault.trie, fault.path), (trie, path), "lost: {fault:?}");
        // The last byte belongs to a child's hash.
        let mut other = value.to_vec();
        *other.last_mut().unwrap() ^= 1;
        let (_dir, store) = damage(NODES, at(), Some(other));
        let fault = store.check_tries().unwrap().fault.unwrap();
        assert_eq!((fault.trie, fault.path), (trie, path), "changed: {fault:?}");
        // The same node once more where nothing leads.
        let stray = Path::new(&felt(0x77), 250).unwrap();
        let (_dir, store) = damage(NODES, trie.name().bytes(&stray.to_key()), Some(value.to_vec()));
        let fault = store.check_tries().unwrap().fault.unwrap();
        assert_eq!((fault.trie, fault.path, fault.why), (trie, stray, "nothing leads to the node"));
    }
    let stranger = TrieId::Storage(felt(501));
    let (_dir, store) = damage(NODES, stranger.name().bytes(&Path::ROOT.to_key()), Some(nodes[0].1.to_vec()));
    assert_eq!(store.check_tries().unwrap().fault.unwrap().trie, stranger);
    let (_dir, store) = damage(STORAGE_ROOTS, Key::new().felt(&felt(501)).height(height(1)), Some(codec::to_vec(&felt(9))));
    assert_eq!(store.check_tries().unwrap().fault.unwrap().trie, stranger);
    // A nonce that the tries know nothing of.
    let (_dir, store) = damage(NONCES, Key::new().felt(&felt(3)).height(height(2)), Some(codec::to_vec(&felt(9))));
    let fault = store.check_tries().unwrap().fault.unwrap();
    assert_eq!((fault.trie, fault.why), (TrieId::Contracts, "the leaf is not what the flat state says"));
}

#[test]
fn an_index_that_disagrees_with_its_block_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = chain(&dir);
    let header = store.header(height(1)).unwrap().unwrap();
    let at = || Key::new().height(height(1));
    let slot = Key::new().felt(&felt(500)).felt(&felt(1)).height(height(1));
    let other_diff = codec::to_vec(&storage_diff(500, &[(1, 12)]));
    for (table, key, value, why) in [
        (BLOCK_HASHES, Key::new().felt(&header.hash), None, "the hash leads elsewhere"),
        (SEALS, Key::new().u64(header.last_seq.0), None, "the last command leads elsewhere"),
        (DIFFS, at(), None, "no diff"),
        (DIFFS, at(), Some(other_diff), "the diff is not what the header commits to"),
        (STORAGE, slot, None, "the flat state is not what the diff left"),
        (TRANSACTION_HASHES, Key::new().felt(&felt(701)), None, "a transaction's hash leads elsewhere"),
        (EVENTS, at().u32(2), Some(vec![]), "the header, the receipts and the events count differently"),
    ] {
        let (_dir, store) = damage(table, key, value);
        let fault = store.check_index(1).unwrap().fault.unwrap();
        assert_eq!((fault.height, fault.why), (height(1), why), "{table}");
    }
    let (_dir, store) = damage(DIFFS, Key::new().height(height(3)), Some(vec![]));
    assert_eq!(store.check_index(2).unwrap().fault.unwrap().why, "rows above the last block");
    let (_dir, store) = damage(BLOCK_HASHES, Key::new().felt(&felt(1)), Some(vec![]));
    assert_eq!(store.check_index(1).unwrap().fault.unwrap().why, "an index names what is not there");
}

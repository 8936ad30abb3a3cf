//! Incremental updates against recomputation from scratch, and the edges of a trie.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Pedersen, Poseidon};
use keel_commitment::trie::{
    HEIGHT_STATE, MemoryTrie, Node, NodeChange, Path, TrieError, TrieReader, get, root_from_scratch, update,
};
use proptest::prelude::*;

type Leaf = (Felt, Felt);
type Leaves = BTreeMap<Felt, Felt>;

fn key_max() -> Felt {
    Felt::ELEMENT_UPPER_BOUND - 1
}

/// Applies a batch to the trie and to a plain map, and checks everything that must hold between them.
fn check_batch<H: Hasher>(trie: &mut MemoryTrie, leaves: &mut Leaves, batch: &Leaves) {
    let changes: Vec<(Felt, Felt)> = batch.iter().map(|(k, v)| (*k, *v)).collect();
    let update = update::<H>(trie, trie.root(), &changes).unwrap();
    for NodeChange { path, old, new } in &update.nodes {
        assert_eq!(trie.node(path), *old, "{path} was something else");
        assert_ne!(old, new, "{path} did not change");
    }
    trie.apply(&update);
    leaves.extend(batch);
    leaves.retain(|_, value| *value != Felt::ZERO);

    let all = leaves.iter().map(|(k, v)| (*k, *v));
    assert_eq!(trie.root(), root_from_scratch::<H>(HEIGHT_STATE, all.clone()).unwrap());
    for (key, value) in batch {
        assert_eq!(get(trie, trie.root(), key), Ok(*value));
    }
    // The nodes are those of a trie built at once, no more: nothing is left behind by what was there before.
    let mut fresh = MemoryTrie::new();
    fresh.set::<H>(&all.collect::<Vec<_>>()).unwrap();
    assert_eq!(*trie, fresh);
}

/// Keys close together and far apart, so that edges are split, merged and shared.
fn key() -> impl Strategy<Value = Felt> {
    let near = |base: Felt| (0..16u64).prop_map(move |offset| base + Felt::from(offset));
    prop_oneof![
        near(Felt::ZERO),
        near(key_max() - Felt::from(15)),
        near(Felt::TWO.pow(250u32) - Felt::from(8)),
        (0..251u32).prop_map(|bit| Felt::TWO.pow(bit)),
        any::<[u8; 31]>().prop_map(|bytes| Felt::from_bytes_be_slice(&bytes)),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Leaves>> {
    let value = prop_oneof![2 => Just(Felt::ZERO), 3 => (1..4u64).prop_map(Felt::from)];
    prop::collection::vec(prop::collection::btree_map(key(), value, 0..24), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn batches_lead_to_the_root_from_scratch(batches in batches()) {
        let (mut trie, mut leaves) = (MemoryTrie::new(), Leaves::new());
        for batch in &batches {
            check_batch::<Poseidon>(&mut trie, &mut leaves, batch);
        }
        // Deleting everything, and then some, leaves nothing.
        let rest: Leaves = batches.iter().flat_map(|batch| batch.keys()).map(|key| (*key, Felt::ZERO)).collect();
        check_batch::<Poseidon>(&mut trie, &mut leaves, &rest);
        prop_assert_eq!(trie, MemoryTrie::new());
    }

    #[test]
    fn one_batch_or_many_lead_to_the_same_trie(batch in prop::collection::btree_map(key(), (1..9u64).prop_map(Felt::from), 1..24)) {
        let (mut at_once, mut one_by_one) = (MemoryTrie::new(), MemoryTrie::new());
        at_once.set::<Poseidon>(&batch.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>()).unwrap();
        for (key, value) in batch.iter().rev() {
            one_by_one.set::<Poseidon>(&[(*key, *value)]).unwrap();
        }
        prop_assert_eq!(at_once, one_by_one);
    }
}

#[test]
fn edges_of_a_trie_with_both_hashes() {
    let pair = |key: Felt, value: u64| (key, Felt::from(value));
    let max = key_max();
    let top = Felt::TWO.pow(250u32);
    let cases: [(&str, Vec<Vec<Leaf>>); 8] = [
        ("nothing", vec![vec![]]),
        ("single leaf, then deleted", vec![vec![pair(Felt::from(77), 1)], vec![pair(Felt::from(77), 0)]]),
        ("key 0 alone", vec![vec![pair(Felt::ZERO, 5)]]),
        ("largest key alone", vec![vec![pair(max, 5)]]),
        ("both ends, one deleted", vec![vec![pair(Felt::ZERO, 1), pair(max, 2)], vec![pair(Felt::ZERO, 0)]]),
        ("adjacent keys, one deleted", vec![vec![pair(Felt::TWO, 1), pair(Felt::THREE, 2)], vec![pair(Felt::TWO, 0)]]),
        ("halves: root is binary, then an edge again", vec![vec![pair(top - 1, 1), pair(top, 2)], vec![pair(top, 0)]]),
        ("deleting what is not there", vec![vec![pair(Felt::ONE, 1)], vec![pair(Felt::ZERO, 0), pair(max, 0)]]),
    ];
    for (name, batches) in cases {
        println!("{name}");
        let (mut pedersen, mut poseidon) = (MemoryTrie::new(), MemoryTrie::new());
        let (mut leaves, mut leaves_too) = (Leaves::new(), Leaves::new());
        for batch in batches {
            let batch: Leaves = batch.into_iter().collect();
            check_batch::<Pedersen>(&mut pedersen, &mut leaves, &batch);
            check_batch::<Poseidon>(&mut poseidon, &mut leaves_too, &batch);
        }
    }
}

/// A reader that remembers what it was asked for.
struct Watched<'a> {
    trie: &'a MemoryTrie,
    reads: RefCell<Vec<Path>>,
}

impl TrieReader for Watched<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        self.reads.borrow_mut().push(*path);
        self.trie.node(path)
    }
}

/// `count` keys spread over the whole range: multiples of a large odd step, reduced.
fn spread_keys(count: u64) -> Vec<Felt> {
    let step = Felt::from_hex_unchecked("0x1b873593cc9e2d51e6546b64d00b3a7f9e3779b97f4a7c15bf58476d1ce4e5b");
    let key = |i| Felt::from_bytes_be_slice(&(step * Felt::from(i)).to_bytes_be()[1..]);
    (1..=count).map(key).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn an_update_reads_each_node_once_and_only_on_its_way() {
    let keys = spread_keys(20_000);
    let mut trie = MemoryTrie::new();
    trie.set::<Poseidon>(&keys.iter().map(|key| (*key, Felt::ONE)).collect::<Vec<_>>()).unwrap();
    let changed: Vec<Felt> = keys.iter().step_by(200).copied().collect();
    for value in [Felt::TWO, Felt::ZERO] {
        let watched = Watched { trie: &trie, reads: RefCell::default() };
        let changes: Vec<(Felt, Felt)> = changed.iter().map(|key| (*key, value)).collect();
        update::<Poseidon>(&watched, trie.root(), &changes).unwrap();
        let reads = watched.reads.into_inner();
        let distinct: BTreeSet<&Path> = reads.iter().collect();
        assert_eq!(distinct.len(), reads.len(), "no node is read twice");
        let below = |path: &Path| changed.iter().any(|key| Path::new(key, HEIGHT_STATE).unwrap().starts_with(path));
        let aside = reads.iter().filter(|path| !below(path)).count();
        // A deletion may look at the one sibling that moves up; an overwrite never leaves its way.
        let aside_max = if value == Felt::ZERO { changed.len() } else { 0 };
        assert!(aside <= aside_max, "{aside} nodes read beside the changes, at most {aside_max} expected");
    }
}

#[test]
fn bad_changes_are_refused_and_a_damaged_trie_is_noticed() {
    let mut trie = MemoryTrie::new();
    trie.set::<Poseidon>(&[(Felt::ONE, Felt::ONE), (Felt::from(8), Felt::ONE)]).unwrap();
    let before = trie.clone();
    let (one, two) = ((Felt::ONE, Felt::TWO), (Felt::TWO, Felt::TWO));
    let too_large = Felt::ELEMENT_UPPER_BOUND;
    let cases = [
        (vec![two, one], TrieError::KeysNotAscending { key: Felt::ONE }),
        (vec![one, one], TrieError::KeysNotAscending { key: Felt::ONE }),
        (vec![one, (too_large, one.1)], TrieError::KeyOutOfRange { key: too_large, height: HEIGHT_STATE }),
        (vec![(Felt::MAX, one.1)], TrieError::KeyOutOfRange { key: Felt::MAX, height: HEIGHT_STATE }),
    ];
    for (changes, error) in cases {
        assert_eq!(trie.set::<Poseidon>(&changes), Err(error));
        assert_eq!(trie, before);
    }
    assert_eq!(
        root_from_scratch::<Poseidon>(HEIGHT_STATE, [(too_large, Felt::ONE)]),
        Err(TrieError::KeyOutOfRange { key: too_large, height: HEIGHT_STATE })
    );

    struct Damaged(MemoryTrie, Path, Option<Node>);
    impl TrieReader for Damaged {
        fn node(&self, path: &Path) -> Option<Node> {
            if *path == self.1 { self.2 } else { self.0.node(path) }
        }
    }
    let fork = Path::new(&Felt::ZERO, HEIGHT_STATE - 4).unwrap();
    let edge = |len| Node::Edge { path: Path::new(&Felt::ZERO, len).unwrap(), child: Felt::ONE };
    let missing = |path| TrieError::NodeMissing { path };
    let misplaced = |path| TrieError::NodeMisplaced { path };
    let cases = [
        (Path::ROOT, None, missing(Path::ROOT)),
        (fork, None, missing(fork)),
        (fork, Some(edge(1)), misplaced(fork)),
        (fork.child(false), Some(edge(0)), misplaced(fork.child(false))),
        (fork.child(false), Some(edge(4)), misplaced(fork.child(false))),
    ];
    for (path, node, error) in cases {
        let damaged = Damaged(trie.clone(), path, node);
        assert_eq!(update::<Poseidon>(&damaged, trie.root(), &[one]), Err(error), "{path}");
    }
}

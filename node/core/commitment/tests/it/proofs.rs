//! Proofs of random tries: what they prove is what is there, and nothing else verifies.

use std::collections::{BTreeMap, BTreeSet};

use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Pedersen, Poseidon};
use keel_commitment::trie::{HEIGHT_STATE, MemoryTrie, Node, Path, ProofError, TrieError, proof, verify_proof};
use proptest::prelude::*;

type Leaves = BTreeMap<Felt, Felt>;

/// Keys close together and far apart, so that ways are shared, forked and cut short.
fn key() -> impl Strategy<Value = Felt> {
    let near = |base: Felt| (0..16u64).prop_map(move |offset| base + Felt::from(offset));
    prop_oneof![
        near(Felt::ZERO),
        near(Felt::TWO.pow(250u32) - Felt::from(8)),
        (0..251u32).prop_map(|bit| Felt::TWO.pow(bit)),
        any::<[u8; 31]>().prop_map(|bytes| Felt::from_bytes_be_slice(&bytes)),
    ]
}

fn leaves() -> impl Strategy<Value = Leaves> {
    prop::collection::btree_map(key(), (1..4u64).prop_map(Felt::from), 0..24)
}

fn trie_of<H: Hasher>(leaves: &Leaves) -> MemoryTrie {
    let mut trie = MemoryTrie::new();
    trie.set::<H>(&leaves.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>()).unwrap();
    trie
}

/// The node with one of its felts another, for each felt; and with its edge a bit shorter.
fn tampered(node: Node) -> Vec<Node> {
    match node {
        Node::Binary { left, right } => {
            vec![Node::Binary { left: left + 1, right }, Node::Binary { left, right: right + 1 }]
        }
        Node::Edge { path, child } => {
            let flipped = path.prefix(path.len() - 1).child(!path.bit(path.len() - 1));
            vec![
                Node::Edge { path, child: child + 1 },
                Node::Edge { path: flipped, child },
                Node::Edge { path: path.prefix(path.len() - 1), child },
            ]
        }
    }
}

fn check<H: Hasher>(leaves: &Leaves, absent: &[Felt]) {
    let trie = trie_of::<H>(leaves);
    let asked: Vec<Felt> = absent.iter().rev().chain(leaves.keys()).copied().collect();
    let nodes = proof(&trie, trie.root(), &asked).unwrap();
    let by_hash: BTreeMap<Felt, Node> = nodes.iter().copied().collect();
    assert_eq!(by_hash.len(), nodes.len(), "each node once");
    assert_eq!(nodes.first().map(|(hash, _)| *hash), (!leaves.is_empty()).then(|| trie.root()), "the root comes first");
    for key in &asked {
        let expected = leaves.get(key).copied();
        assert_eq!(trie.get(key).unwrap(), expected.unwrap_or_default());
        assert_eq!(verify_proof::<H>(trie.root(), key, &by_hash), Ok(expected), "{key:#x}");
        // The proof of one key is enough for it, and the union has no node that no key needs.
        let alone: BTreeMap<Felt, Node> = proof(&trie, trie.root(), &[*key]).unwrap().into_iter().collect();
        assert_eq!(verify_proof::<H>(trie.root(), key, &alone), Ok(expected), "{key:#x} alone");
        assert!(alone.iter().all(|(hash, node)| by_hash.get(hash) == Some(node)));
    }
    let needed: BTreeSet<Felt> =
        asked.iter().flat_map(|key| proof(&trie, trie.root(), &[*key]).unwrap()).map(|(hash, _)| hash).collect();
    assert_eq!(needed, by_hash.keys().copied().collect());
    for (hash, node) in &by_hash {
        for other in tampered(*node) {
            let mut forged = by_hash.clone();
            forged.insert(*hash, other);
            let refused = |key: &&Felt| verify_proof::<H>(trie.root(), key, &forged).is_err();
            assert!(asked.iter().any(|key| refused(&key)), "{node:?} as {other:?} goes unnoticed");
        }
        let mut torn = by_hash.clone();
        torn.remove(hash);
        let missing = ProofError::NodeMissing { hash: *hash };
        assert!(asked.iter().any(|key| verify_proof::<H>(trie.root(), key, &torn) == Err(missing)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_proof_verifies_to_what_is_there_and_no_tampered_one_does(leaves in leaves(), others in prop::collection::vec(key(), 0..6)) {
        let absent: Vec<Felt> = others.into_iter().filter(|key| !leaves.contains_key(key)).collect();
        check::<Poseidon>(&leaves, &absent);
    }
}

#[test]
fn proofs_of_small_tries_with_the_other_hash() {
    let felts = |values: &[u64]| values.iter().map(|v| Felt::from(*v)).collect::<Vec<_>>();
    let top = Felt::TWO.pow(250u32);
    check::<Pedersen>(&Leaves::new(), &felts(&[0, 1]));
    check::<Pedersen>(&[(Felt::from(77), Felt::ONE)].into(), &felts(&[0, 76, 78]));
    check::<Pedersen>(&[(Felt::ZERO, Felt::ONE), (top, Felt::ONE)].into(), &[Felt::ONE, top + 1]);
    // Equal values under equal ways: the same node hangs in two places.
    let twins: Leaves = [Felt::ZERO, Felt::ONE, top, top + 1].into_iter().map(|key| (key, Felt::TWO)).collect();
    check::<Pedersen>(&twins, &[Felt::TWO, top + 2]);
    let trie = trie_of::<Pedersen>(&twins);
    assert_eq!((trie.nodes().len(), proof(&trie, trie.root(), &[Felt::ZERO, top]).unwrap().len()), (5, 3));
}

#[test]
fn what_is_no_proof_is_refused_with_the_reason() {
    let too_large = Felt::TWO.pow(251u32);
    let trie = trie_of::<Poseidon>(&[(Felt::ONE, Felt::ONE)].into());
    let range = TrieError::KeyOutOfRange { key: too_large, height: HEIGHT_STATE };
    assert_eq!(proof(&trie, trie.root(), &[Felt::ONE, too_large]), Err(range));
    let none = BTreeMap::new();
    assert_eq!(verify_proof::<Poseidon>(trie.root(), &too_large, &none), Err(ProofError::KeyOutOfRange { key: too_large }));
    assert_eq!(verify_proof::<Poseidon>(Felt::ZERO, &Felt::ONE, &none), Ok(None));
    // A trie in itself right, but too high: the forger's root commits to an edge past the leaves.
    let edge = |bits: u8, child| Node::Edge { path: Path::new(&Felt::ZERO, bits).unwrap(), child };
    let low = edge(200, Felt::ONE);
    let high = edge(100, low.hash::<Poseidon>());
    let nodes: BTreeMap<Felt, Node> = [low, high].into_iter().map(|node| (node.hash::<Poseidon>(), node)).collect();
    let misplaced = ProofError::EdgeMisplaced { hash: low.hash::<Poseidon>(), depth: 100 };
    assert_eq!(verify_proof::<Poseidon>(high.hash::<Poseidon>(), &Felt::ZERO, &nodes), Err(misplaced));
}

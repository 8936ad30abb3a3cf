//! Batches of inserts and deletes with the nodes they lead to, from the sequencer's committer
//! (`fetch_patricia_paths` tests): tries of height 10, all nodes before or after the batch given by hash.

use std::collections::{BTreeMap, BTreeSet};

use keel_commitment::Felt;
use keel_commitment::hash::Pedersen;
use keel_commitment::trie::{MemoryTrie, Node, Path, root_from_scratch, update_with_height};
use serde_json::Value;

use crate::fixtures::{self, felt, u64_of};

/// The committer's tests give leaf `i` the value `i + 2^10`.
fn leaf(index: u64) -> (Felt, Felt) {
    (Felt::from(index), Felt::from(index + 1024))
}

fn indices(value: &Value) -> BTreeSet<u64> {
    value.as_array().unwrap().iter().map(u64_of).collect()
}

/// Nodes by hash: two felts are a binary node, three an edge (length, path, bottom).
fn nodes_by_hash(value: &Value) -> BTreeMap<Felt, Node> {
    let node = |felts: &[Felt]| match *felts {
        [left, right] => Node::Binary { left, right },
        [length, path, child] => {
            Node::Edge { path: Path::new(&path, u8::try_from(u64::try_from(length).unwrap()).unwrap()).unwrap(), child }
        }
        _ => panic!("neither binary nor edge: {felts:?}"),
    };
    let object = value.as_object().unwrap();
    object.iter().map(|(hash, felts)| (Felt::from_hex(hash).unwrap(), node(&fixtures::felts(felts)))).collect()
}

fn set(trie: &mut MemoryTrie, height: u8, changes: &[(Felt, Felt)]) {
    let update = update_with_height::<Pedersen>(trie, height, trie.root(), changes).unwrap();
    trie.apply(&update);
}

#[test]
fn insert_and_delete_batches_lead_to_the_nodes_of_the_committer() {
    let Some(folder) = fixtures::folder("insert_and_delete_batches_lead_to_the_nodes_of_the_committer") else { return };
    for name in ["test_10_5_2", "test_10_100_30", "test_delete_leaves_10_5_2", "test_delete_leaves_10_100_30"] {
        let file = fixtures::read(&folder, &format!("patricia/apollo_fetch_patricia_paths_{name}.json"));
        let height = u64_of(&file["height"]) as u8;
        let (present, batch) = (indices(&file["initial_leaves"]), indices(&file["modified_leaves_indices"]));
        let root = felt(&file["root_hash"]);

        // Everything is inserted in one batch, then what does not belong is deleted in another.
        let mut trie = MemoryTrie::new();
        let all: Vec<(Felt, Felt)> = present.union(&batch).map(|index| leaf(*index)).collect();
        set(&mut trie, height, &all);
        let absent: Vec<(Felt, Felt)> = batch.difference(&present).map(|i| (Felt::from(*i), Felt::ZERO)).collect();
        set(&mut trie, height, &absent);
        assert_eq!(trie.root(), root, "{name}");
        assert_eq!(root_from_scratch::<Pedersen>(height, present.iter().map(|i| leaf(*i))), Ok(root), "{name}");

        // And the other way round: from the leaves outside the batch, insert those of the batch that belong.
        let mut other = MemoryTrie::new();
        let outside: Vec<(Felt, Felt)> = present.difference(&batch).map(|i| leaf(*i)).collect();
        set(&mut other, height, &outside);
        let inside: Vec<(Felt, Felt)> = present.intersection(&batch).map(|i| leaf(*i)).collect();
        set(&mut other, height, &inside);
        assert_eq!(other, trie, "{name}: the way to a state leaves no trace");

        let stored: BTreeMap<Felt, Node> = trie.nodes().map(|(_, node)| (node.hash::<Pedersen>(), *node)).collect();
        for (hash, node) in nodes_by_hash(&file["facts_storage"]) {
            // The files also list the leaves' own facts in some cases; only nodes are ours.
            assert_eq!(stored.get(&hash), Some(&node), "{name}: node {hash:#x}");
        }
        println!("{name}: {} leaves, {} changed, {} nodes agree", present.len(), batch.len(), stored.len());
    }
}

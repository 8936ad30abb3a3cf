//! A replica of the settled state: what it holds, what it refuses.

use super::{GENESIS, commit, felt, height, open, storage_diff};
use crate::{Replica, Settled, Store, StoreError, TrieId};
use keel_commitment::Felt;
use keel_commitment::aliases::ALIAS_CONTRACT;
use keel_commitment::hash::Pedersen;
use keel_commitment::trie::verify_proof;
use keel_types::{BatchId, Bytes32};

fn settled(batch: u64, root: Felt) -> Settled {
    Settled {
        batch: BatchId(batch),
        last_block: height(2 * batch + 1),
        root,
        block_hash: felt(900 + batch),
        l1_block: 50 + batch,
        l1_tx_hash: Bytes32([batch as u8; 32]),
    }
}

#[test]
fn a_replica_that_took_the_batches_has_the_roots_and_values_of_the_node() {
    let (node_dir, replica_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = open(&node_dir);
    let mut genesis = storage_diff(500, &[(1, 10), (2, 20)]);
    genesis.deployed_contracts.insert(felt(500), felt(70));
    genesis.declared_classes.insert(felt(70), felt(700));
    genesis.set_storage(ALIAS_CONTRACT, felt(500), felt(128));
    let replica = Replica::open(replica_dir.path(), GENESIS).unwrap();
    assert_eq!(replica.head().unwrap(), None);
    let mut diffs = vec![genesis, storage_diff(500, &[(1, 0), (3, 30)]), storage_diff(600, &[(1, 1)])];
    diffs[2].nonces.insert(felt(500), felt(9));
    for (batch, diff) in (0..).zip(&diffs) {
        let root = commit(&node, diff.clone()).header.block.state_root;
        let head = replica.apply(&settled(batch, root), diff).unwrap();
        assert_eq!((head.root, head.batch, head.last_block), (root, BatchId(batch), height(2 * batch + 1)));
        assert_eq!(replica.recompute_roots().unwrap().state, root);
    }
    let values = [1, 2, 3].map(|slot| replica.storage(&felt(500), &felt(slot)).unwrap());
    assert_eq!(values, [felt(0), felt(20), felt(30)]);
    assert_eq!(replica.contract(&felt(500)).unwrap(), node.contract_state(&felt(500)).unwrap());
    assert_eq!((replica.is_there(&felt(500)).unwrap(), replica.is_there(&felt(600)).unwrap()), (true, false));
    assert!(replica.is_there(&felt(70)).unwrap());
    let names = [128, 129].map(|alias| replica.name_of_alias(&felt(alias)).unwrap());
    assert_eq!(names, [Some(felt(500)), None]);
    let proof = replica.prove(TrieId::Storage(felt(500)), &[felt(3), felt(1)]).unwrap();
    let root = replica.contract(&felt(500)).unwrap().storage_root;
    assert_eq!(verify_proof::<Pedersen>(root, &felt(3), &proof.into_iter().collect()).unwrap(), Some(felt(30)));
    // Opened again, it is the same and goes on.
    let head = replica.head().unwrap();
    drop(replica);
    let again = Replica::open(replica_dir.path(), GENESIS).unwrap();
    assert_eq!((again.head().unwrap(), again.storage_count().unwrap()), (head, 4));
}

#[test]
fn a_batch_with_another_root_or_number_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), GENESIS).unwrap();
    let diff = storage_diff(500, &[(1, 10)]);
    let Err(StoreError::OtherRoot { batch: BatchId(0), found, .. }) = replica.apply(&settled(0, felt(1)), &diff) else {
        panic!("another root")
    };
    let skipped = replica.apply(&settled(1, found), &diff);
    assert!(matches!(skipped, Err(StoreError::NotNext { expected: 0, found: 1, .. })), "{skipped:?}");
    assert_eq!((replica.head().unwrap(), replica.storage(&felt(500), &felt(1)).unwrap()), (None, Felt::ZERO));
    replica.apply(&settled(0, found), &diff).unwrap();
}

#[test]
fn no_node_runs_on_a_replica_and_no_replica_on_a_node() {
    let (node, replica) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(&node));
    drop(Replica::open(replica.path(), GENESIS).unwrap());
    let other_kind = |result: Result<(), StoreError>| matches!(result, Err(StoreError::OtherKind { .. }));
    assert!(other_kind(Store::open(replica.path(), GENESIS).map(drop)));
    assert!(other_kind(Store::open_read_only(replica.path(), GENESIS).map(drop)));
    assert!(other_kind(Replica::open(node.path(), GENESIS).map(drop)));
    assert!(other_kind(Replica::open_read_only(node.path(), GENESIS).map(drop)));
    let other = Replica::open(replica.path(), Bytes32([8; 32])).map(drop);
    assert!(matches!(other, Err(StoreError::OtherGenesis { .. })), "{other:?}");
}

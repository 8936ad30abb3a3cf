//! Proofs of what a trie holds and of what it does not, and their verification.
//!
//! [`verify_proof`] shares no code with [`super::update`] nor with [`proof`]: it knows the definition of a node's hash and nothing of paths
//! as keys of a store.

use std::collections::{BTreeMap, BTreeSet};

use starknet_types_core::felt::Felt;

use super::node::Node;
use super::path::Path;
use super::update::edge_end;
use super::{HEIGHT_STATE, TrieError, TrieReader};
use crate::hash::Hasher;

/// The nodes on the ways from the root of a state trie to `keys` (in any order), each once, as the trie is walked: parents first, left
/// before right.
///
/// The way to an absent key ends in an edge that leads elsewhere; an empty trie has no nodes, and its root 0 says so. The hashes are
/// those that the parents hold: nothing is hashed here.
///
/// # Errors
/// A key not below 2^251; nodes missing from the store or misplaced in it.
pub fn proof(reader: &impl TrieReader, root: Felt, keys: &[Felt]) -> Result<Vec<(Felt, Node)>, TrieError> {
    let height = HEIGHT_STATE;
    let path = |key: &Felt| Path::new(key, height).ok_or(TrieError::KeyOutOfRange { key: *key, height });
    let paths: BTreeSet<Path> = keys.iter().map(path).collect::<Result<_, _>>()?;
    let paths: Vec<Path> = paths.into_iter().collect();
    let (mut nodes, mut seen) = (Vec::new(), BTreeSet::new());
    // Subtrees still to walk, the next one last: where each hangs, its hash, and which keys lead there.
    let mut ahead: Vec<(Path, Felt, &[Path])> = Vec::new();
    if root != Felt::ZERO {
        ahead.push((Path::ROOT, root, &paths));
    }
    while let Some((at, hash, keys)) = ahead.pop() {
        if keys.is_empty() || at.len() == height {
            continue;
        }
        let node = reader.node(&at).ok_or(TrieError::NodeMissing { path: at })?;
        // Equal subtrees in two places are one entry of the proof.
        if seen.insert(hash) {
            nodes.push((hash, node));
        }
        match node {
            Node::Binary { left, right } => {
                let (lower, upper) = keys.split_at(keys.partition_point(|key| !key.bit(at.len())));
                ahead.push((at.child(true), right, upper));
                ahead.push((at.child(false), left, lower));
            }
            Node::Edge { path, child } => {
                let end = edge_end(at, &path, height)?;
                let first = keys.partition_point(|key| *key < end);
                let count = keys[first..].iter().take_while(|key| key.starts_with(&end)).count();
                ahead.push((end, child, &keys[first..first + count]));
            }
        }
    }
    Ok(nodes)
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The key cannot be in a state trie.
    #[error("key {key:#x} is not below 2^251")]
    KeyOutOfRange { key: Felt },
    /// The way to the key needs this node and the proof does not have it.
    #[error("the proof has no node {hash:#x}")]
    NodeMissing { hash: Felt },
    /// The node does not have the hash that it stands under.
    #[error("the node under {hash:#x} has hash {found:#x}")]
    OtherHash { hash: Felt, found: Felt },
    /// An edge of no bits, or one that leads past the leaves.
    #[error("the edge under {hash:#x} cannot stand at depth {depth}")]
    EdgeMisplaced { hash: Felt, depth: u8 },
}

/// What the state trie with root `root` has at `key` by a proof, given as nodes by their hashes: the value, or `None` when absent.
/// Every node on the way is hashed again; nodes beside it are not looked at.
///
/// # Errors
/// The nodes do not prove anything about `key`.
pub fn verify_proof<H: Hasher>(root: Felt, key: &Felt, nodes: &BTreeMap<Felt, Node>) -> Result<Option<Felt>, ProofError> {
    if key.bits() > usize::from(HEIGHT_STATE) {
        return Err(ProofError::KeyOutOfRange { key: *key });
    }
    let bits = key.to_bits_le();
    // The bit after `depth` steps from the root.
    let bit = |depth: u8| bits[usize::from(HEIGHT_STATE - 1 - depth)];
    if root == Felt::ZERO {
        return Ok(None);
    }
    let (mut hash, mut depth) = (root, 0);
    while depth < HEIGHT_STATE {
        let node = nodes.get(&hash).ok_or(ProofError::NodeMissing { hash })?;
        let found = match node {
            Node::Binary { left, right } => H::hash(left, right),
            Node::Edge { path, child } => H::hash(child, &path.value()) + Felt::from(u64::from(path.len())),
        };
        if found != hash {
            return Err(ProofError::OtherHash { hash, found });
        }
        match node {
            Node::Binary { left, right } => {
                hash = if bit(depth) { *right } else { *left };
                depth += 1;
            }
            Node::Edge { path, child } => {
                let length = path.len();
                if length == 0 || length > HEIGHT_STATE - depth {
                    return Err(ProofError::EdgeMisplaced { hash, depth });
                }
                let steps = path.value().to_bits_le();
                if (0..length).any(|step| steps[usize::from(length - 1 - step)] != bit(depth + step)) {
                    return Ok(None);
                }
                hash = *child;
                depth += length;
            }
        }
    }
    Ok(Some(hash))
}

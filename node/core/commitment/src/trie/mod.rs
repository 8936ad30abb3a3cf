//! Binary Patricia tries whose nodes are stored by path.
//!
//! A trie of height `h` maps keys of `h` bits to non-zero felts; zero means absent. A node is found by the path
//! that leads to it, never by its hash: an update overwrites in place, nothing has to be counted or collected,
//! and the nodes of a subtree are neighbours in a key-value store.
//!
//! - binary node: `H(left, right)`; both subtrees are non-empty.
//! - edge node: `H(child, path) + length`; a run of bits with nothing beside it, ending in a binary node or a leaf.
//! - leaf: its value is its hash; it has no node of its own, its parent carries it.
//! - empty trie: root 0, no nodes.
//!
//! [spec/starknet.md (a)]

mod memory;
mod node;
mod path;
mod pending;
mod proof;
mod scratch;
mod update;

pub use memory::MemoryTrie;
pub use node::{Node, NodeError};
pub use path::{PATH_KEY_BYTES, Path, PathError};
pub use proof::{ProofError, proof, verify_proof};
pub use scratch::{root_from_scratch, root_of_list};
pub use update::{NodeChange, TrieUpdate, get, update, update_with_height};

use starknet_types_core::felt::Felt;

/// Height of the storage, contract and class tries: keys are below 2^251.
pub const HEIGHT_STATE: u8 = 251;
/// Height of the commitments of a block (transactions, events, receipts): keys are indices.
pub const HEIGHT_COMMITMENT: u8 = 64;

/// Where the nodes of one trie are read from.
///
/// A reader that can fail (a disk) returns `None` and remembers its error; the update then ends with
/// [`TrieError::NodeMissing`] and the caller asks the reader why.
pub trait TrieReader {
    /// The node at `path`, or `None` if there is none.
    fn node(&self, path: &Path) -> Option<Node>;
}

impl<R: TrieReader + ?Sized> TrieReader for &R {
    fn node(&self, path: &Path) -> Option<Node> {
        (**self).node(path)
    }
}

/// Why a trie could not be read or updated. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// The caller's key has more bits than the trie is high.
    #[error("key {key:#x} does not fit a trie of height {height}")]
    KeyOutOfRange { key: Felt, height: u8 },
    /// Changes must be strictly ascending by key, so that each key is changed once.
    #[error("key {key:#x} is not above the key before it")]
    KeysNotAscending { key: Felt },
    /// Another node refers to `path`, yet the reader has nothing there: the stored trie is damaged or unreadable.
    #[error("no node at {path}, though the trie refers to it")]
    NodeMissing { path: Path },
    /// The node at `path` cannot stand there: an empty edge, an edge that leads to an edge, or one past the leaves.
    #[error("the node at {path} cannot stand there")]
    NodeMisplaced { path: Path },
}

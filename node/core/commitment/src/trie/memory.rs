//! A trie in memory, for tools, benchmarks and tests.

use std::collections::BTreeMap;

use starknet_types_core::felt::Felt;

use super::node::Node;
use super::path::Path;
use super::update::{self, TrieUpdate};
use super::{TrieError, TrieReader};
use crate::hash::Hasher;

/// All nodes of one state trie, and its root.
///
/// A trie of random keys has 2.25 nodes per leaf, each about 200 bytes here: a million leaves take some 450 MB. Fill
/// it in batches: one update of a million leaves needs as much again while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTrie {
    nodes: BTreeMap<Path, Node>,
    root: Felt,
}

impl MemoryTrie {
    /// An empty trie.
    pub fn new() -> Self {
        Self::default()
    }

    /// The root; 0 when empty.
    pub fn root(&self) -> Felt {
        self.root
    }

    /// Every node, ascending by path.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&Path, &Node)> {
        self.nodes.iter()
    }

    /// Applies what [`update::update`] computed from this trie.
    pub fn apply(&mut self, update: &TrieUpdate) {
        for change in &update.nodes {
            match change.new {
                Some(node) => self.nodes.insert(change.path, node),
                None => self.nodes.remove(&change.path),
            };
        }
        self.root = update.root;
    }

    /// Sets `changes` (ascending keys; 0 deletes) and gives the new root.
    ///
    /// # Errors
    /// As [`update::update`]; the trie is then as it was.
    pub fn set<H: Hasher>(&mut self, changes: &[(Felt, Felt)]) -> Result<Felt, TrieError> {
        let update = update::update::<H>(self, self.root, changes)?;
        self.apply(&update);
        Ok(self.root)
    }

    /// The value at `key`; 0 if absent.
    ///
    /// # Errors
    /// Key not below 2^251.
    pub fn get(&self, key: &Felt) -> Result<Felt, TrieError> {
        update::get(self, self.root, key)
    }
}

impl TrieReader for MemoryTrie {
    fn node(&self, path: &Path) -> Option<Node> {
        self.nodes.get(path).copied()
    }
}

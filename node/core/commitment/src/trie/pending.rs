//! Hashes of new nodes, computed when all of them are known: level by level from the leaves, those of a level together.
//!
//! An update only compares new hashes with stored ones to see what did not change, and what did not change keeps the
//! hash it has: nothing needs a new hash before the end.

use starknet_types_core::felt::Felt;

use super::node::Node;
use super::path::Path;
use crate::hash::Hasher;

/// The hash of a subtree. Two that are pending are equal only if they are one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of a leaf, or of a stored subtree that did not change.
    Known(Felt),
    /// Place in [`Hashes`].
    Pending(usize),
}

/// A [`Node`] whose children may have no hash yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum NewNode {
    Binary { left: Hash, right: Hash },
    Edge { path: Path, child: Hash },
}

/// Nodes to be hashed; children before parents.
#[derive(Default)]
pub(super) struct Hashes {
    nodes: Vec<NewNode>,
    /// By level, the places of the nodes there. A node is one level above its highest pending child.
    levels: Vec<Vec<usize>>,
    /// By place, the node's level.
    level_of: Vec<usize>,
}

/// Hashes by place.
pub(super) struct Computed(Vec<Felt>);

impl Hashes {
    /// Asks for the hash of a node whose children are known or already asked for.
    pub(super) fn later(&mut self, node: NewNode) -> Hash {
        let above = |hash: Hash| match hash {
            Hash::Known(_) => 0,
            Hash::Pending(place) => self.level_of[place] + 1,
        };
        let level = match node {
            NewNode::Binary { left, right } => above(left).max(above(right)),
            NewNode::Edge { child, .. } => above(child),
        };
        let place = self.nodes.len();
        self.nodes.push(node);
        self.level_of.push(level);
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(place);
        Hash::Pending(place)
    }

    /// Computes what was asked for.
    pub(super) fn compute<H: Hasher>(&self) -> Computed {
        let mut computed = Computed(vec![Felt::ZERO; self.nodes.len()]);
        for level in &self.levels {
            let nodes: Vec<Node> = level.iter().map(|place| self.nodes[*place].with(&computed)).collect();
            for (place, hash) in level.iter().zip(Node::hash_many::<H>(&nodes)) {
                computed.0[*place] = hash;
            }
        }
        computed
    }
}

impl Hash {
    pub(super) fn with(self, computed: &Computed) -> Felt {
        match self {
            Hash::Known(hash) => hash,
            Hash::Pending(place) => computed.0[place],
        }
    }
}

impl NewNode {
    pub(super) fn with(self, computed: &Computed) -> Node {
        match self {
            NewNode::Binary { left, right } => Node::Binary { left: left.with(computed), right: right.with(computed) },
            NewNode::Edge { path, child } => Node::Edge { path, child: child.with(computed) },
        }
    }
}

impl From<Node> for NewNode {
    fn from(node: Node) -> NewNode {
        match node {
            Node::Binary { left, right } => NewNode::Binary { left: Hash::Known(left), right: Hash::Known(right) },
            Node::Edge { path, child } => NewNode::Edge { path, child: Hash::Known(child) },
        }
    }
}

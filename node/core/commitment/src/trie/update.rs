//! Batch updates of a stored trie.

use std::collections::BTreeMap;

use starknet_types_core::felt::Felt;

use super::node::Node;
use super::path::Path;
use super::pending::{Hash, Hashes, NewNode};
use super::{HEIGHT_STATE, TrieError, TrieReader};
use crate::hash::Hasher;

/// What an update does to a trie. Applied as one write, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieUpdate {
    /// Root after the update; 0 for an empty trie.
    pub root: Felt,
    /// Nodes that differ from the stored ones, ascending by path.
    pub nodes: Vec<NodeChange>,
}

/// A place of a trie whose node an update changes: what was there and what will be, of which at most one is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeChange {
    pub path: Path,
    pub old: Option<Node>,
    pub new: Option<Node>,
}

/// Sets `changes` (key to value, 0 deletes) in the state trie with root `root` that `reader` holds.
///
/// Only what the changes touch is read, and each node that changes is hashed once. Deleting an absent key or
/// writing the value that is there already is allowed and changes nothing.
///
/// # Errors
/// Keys not strictly ascending or not below 2^251; nodes missing from the store or misplaced in it.
pub fn update<H: Hasher>(reader: &impl TrieReader, root: Felt, changes: &[(Felt, Felt)]) -> Result<TrieUpdate, TrieError> {
    update_with_height::<H>(reader, HEIGHT_STATE, root, changes)
}

/// [`update`] of a trie with keys of `height` bits, 1 to 251.
///
/// # Errors
/// As [`update`].
pub fn update_with_height<H: Hasher>(
    reader: &impl TrieReader,
    height: u8,
    root: Felt,
    changes: &[(Felt, Felt)],
) -> Result<TrieUpdate, TrieError> {
    let changes = paths_of(changes, height)?;
    let mut updater = Updater { reader, height, touched: BTreeMap::new(), hashes: Hashes::default() };
    let old = if root == Felt::ZERO { None } else { Some(updater.subtree(Path::ROOT, root)?) };
    let root = match updater.change(old, &changes)? {
        None => Hash::Known(Felt::ZERO),
        Some(new) => updater.place(Path::ROOT, new, old.map(|old| (old, root))),
    };
    let hashes = updater.hashes.compute::<H>();
    let change = |(path, Touched { old, new })| NodeChange { path, old, new: new.map(|node: NewNode| node.with(&hashes)) };
    let nodes = updater.touched.into_iter().map(change).filter(|change| change.old != change.new).collect();
    Ok(TrieUpdate { root: root.with(&hashes), nodes })
}

/// The value at `key` in the state trie with root `root`; 0 if absent.
///
/// # Errors
/// Key not below 2^251; nodes missing from the store or misplaced in it.
pub fn get(reader: &impl TrieReader, root: Felt, key: &Felt) -> Result<Felt, TrieError> {
    let height = HEIGHT_STATE;
    let key = Path::new(key, height).ok_or(TrieError::KeyOutOfRange { key: *key, height })?;
    if root == Felt::ZERO {
        return Ok(Felt::ZERO);
    }
    let (mut at, mut hash) = (Path::ROOT, root);
    while at.len() < height {
        (at, hash) = match reader.node(&at).ok_or(TrieError::NodeMissing { path: at })? {
            Node::Binary { left, right } => match key.bit(at.len()) {
                false => (at.child(false), left),
                true => (at.child(true), right),
            },
            Node::Edge { path, child } => {
                let end = edge_end(at, &path, height)?;
                if !key.starts_with(&end) {
                    return Ok(Felt::ZERO);
                }
                (end, child)
            }
        };
    }
    Ok(hash)
}

/// Where an edge at `at` leads.
pub(super) fn edge_end(at: Path, edge: &Path, height: u8) -> Result<Path, TrieError> {
    let end = at.join(edge).filter(|end| end.len() <= height && !edge.is_empty());
    end.ok_or(TrieError::NodeMisplaced { path: at })
}

/// A leaf and its new value.
type Change = (Path, Felt);

/// The changes by path, checked.
fn paths_of(changes: &[(Felt, Felt)], height: u8) -> Result<Vec<Change>, TrieError> {
    let mut paths: Vec<Change> = Vec::with_capacity(changes.len());
    for (key, value) in changes {
        let path = Path::new(key, height).ok_or(TrieError::KeyOutOfRange { key: *key, height })?;
        if paths.last().is_some_and(|(last, _)| *last >= path) {
            return Err(TrieError::KeysNotAscending { key: *key });
        }
        paths.push((path, *value));
    }
    Ok(paths)
}

/// A non-empty subtree: the binary node or leaf at its bottom, below an edge that may have no bits.
///
/// Seen this way a subtree does not depend on where it hangs: when its sibling disappears it moves up by being
/// handed up, and only the place where it finally hangs gives it an edge.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Subtree {
    bottom: Path,
    hash: Hash,
}

/// One side of a fork after its changes.
enum Side {
    /// No change was below it: the hash its parent holds. Not read.
    Kept(Felt),
    /// What is there now, and what hung at the same place before, with its hash there.
    Changed { new: Option<Subtree>, old: Option<(Subtree, Felt)> },
}

impl Side {
    fn is_empty(&self) -> bool {
        matches!(self, Side::Changed { new: None, .. })
    }
}

/// A node that was read or written: as stored, and as it will be.
struct Touched {
    old: Option<Node>,
    new: Option<NewNode>,
}

struct Updater<'a, R> {
    reader: &'a R,
    height: u8,
    touched: BTreeMap<Path, Touched>,
    hashes: Hashes,
}

impl<R: TrieReader> Updater<'_, R> {
    /// The stored node at `path`; read once.
    fn read(&mut self, path: Path) -> Result<Node, TrieError> {
        if let Some(Touched { old: Some(node), .. }) = self.touched.get(&path) {
            return Ok(*node);
        }
        let node = self.reader.node(&path).ok_or(TrieError::NodeMissing { path })?;
        self.touched.insert(path, Touched { old: Some(node), new: Some(node.into()) });
        Ok(node)
    }

    fn set(&mut self, path: Path, new: Option<NewNode>) {
        self.touched.entry(path).or_insert(Touched { old: None, new: None }).new = new;
    }

    /// The stored subtree that hangs at `at` with hash `hash`. An edge is taken off the trie: [`Self::place`] puts
    /// one back wherever the subtree ends up.
    fn subtree(&mut self, at: Path, hash: Felt) -> Result<Subtree, TrieError> {
        let hash = Hash::Known(hash);
        if at.len() == self.height {
            return Ok(Subtree { bottom: at, hash });
        }
        match self.read(at)? {
            Node::Binary { .. } => Ok(Subtree { bottom: at, hash }),
            Node::Edge { path, child } => {
                let bottom = edge_end(at, &path, self.height)?;
                self.set(at, None);
                Ok(Subtree { bottom, hash: Hash::Known(child) })
            }
        }
    }

    /// Applies `changes` (ascending) to a subtree that hangs above all of them.
    fn change(&mut self, old: Option<Subtree>, changes: &[Change]) -> Result<Option<Subtree>, TrieError> {
        let ([(first, _), ..], [.., (last, value)]) = (changes, changes) else { return Ok(old) };
        let Some(old) = old else { return self.build(changes) };
        let shared = old.bottom.common_prefix_len(first).min(old.bottom.common_prefix_len(last));
        if shared < old.bottom.len() {
            return self.fork_edge(old, shared, changes);
        }
        if shared < self.height {
            return self.change_binary(old, changes);
        }
        Ok((*value != Felt::ZERO).then_some(Subtree { bottom: old.bottom, hash: Hash::Known(*value) }))
    }

    /// Some change leaves the subtree's edge after `shared` bits: the subtree goes to one side, new leaves to the other.
    fn fork_edge(&mut self, old: Subtree, shared: u8, changes: &[Change]) -> Result<Option<Subtree>, TrieError> {
        let fork = old.bottom.prefix(shared);
        let (left, right) = split(changes, shared);
        let (old_left, old_right) = if old.bottom.bit(shared) { (None, Some(old)) } else { (Some(old), None) };
        let left = Side::Changed { new: self.change(old_left, left)?, old: None };
        let right = Side::Changed { new: self.change(old_right, right)?, old: None };
        self.join(fork, left, right, None)
    }

    /// All changes are below the binary node at the subtree's bottom.
    fn change_binary(&mut self, old: Subtree, changes: &[Change]) -> Result<Option<Subtree>, TrieError> {
        let fork = old.bottom;
        let Node::Binary { left, right } = self.read(fork)? else {
            return Err(TrieError::NodeMisplaced { path: fork });
        };
        self.set(fork, None);
        let (changes_left, changes_right) = split(changes, fork.len());
        let new_left = self.change_side(fork.child(false), left, changes_left)?;
        let new_right = self.change_side(fork.child(true), right, changes_right)?;
        self.join(fork, new_left, new_right, Some((Hash::Known(left), Hash::Known(right), old.hash)))
    }

    fn change_side(&mut self, at: Path, hash: Felt, changes: &[Change]) -> Result<Side, TrieError> {
        if changes.is_empty() {
            return Ok(Side::Kept(hash));
        }
        let old = self.subtree(at, hash)?;
        Ok(Side::Changed { new: self.change(Some(old), changes)?, old: Some((old, hash)) })
    }

    /// New leaves where there was nothing. Deletions among them do nothing.
    fn build(&mut self, changes: &[Change]) -> Result<Option<Subtree>, TrieError> {
        let present = |(_, value): &Change| *value != Felt::ZERO;
        let (Some(start), Some(end)) = (changes.iter().position(present), changes.iter().rposition(present)) else {
            return Ok(None);
        };
        let changes = &changes[start..=end];
        let (first, last) = (changes[0], changes[changes.len() - 1]);
        if changes.len() == 1 {
            return Ok(Some(Subtree { bottom: first.0, hash: Hash::Known(first.1) }));
        }
        let fork = first.0.prefix(first.0.common_prefix_len(&last.0));
        let (left, right) = split(changes, fork.len());
        let left = Side::Changed { new: self.build(left)?, old: None };
        let right = Side::Changed { new: self.build(right)?, old: None };
        self.join(fork, left, right, None)
    }

    /// The subtree of two sides at `fork`. `old`: the hashes of both sides and of the binary node, if one was here.
    fn join(
        &mut self,
        fork: Path,
        left: Side,
        right: Side,
        old: Option<(Hash, Hash, Hash)>,
    ) -> Result<Option<Subtree>, TrieError> {
        match (left.is_empty(), right.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => self.lift(fork.child(false), left),
            (true, false) => self.lift(fork.child(true), right),
            (false, false) => {
                let left = self.place_side(fork.child(false), left);
                let right = self.place_side(fork.child(true), right);
                let node = NewNode::Binary { left, right };
                self.set(fork, Some(node));
                let hash = match old {
                    Some((old_left, old_right, hash)) if (old_left, old_right) == (left, right) => hash,
                    _ => self.hashes.later(node),
                };
                Ok(Some(Subtree { bottom: fork, hash }))
            }
        }
    }

    /// The only side left at a fork that goes away.
    fn lift(&mut self, at: Path, side: Side) -> Result<Option<Subtree>, TrieError> {
        match side {
            Side::Kept(hash) => self.subtree(at, hash).map(Some),
            Side::Changed { new, .. } => Ok(new),
        }
    }

    /// Hangs a non-empty side at `at` and gives its hash there.
    fn place_side(&mut self, at: Path, side: Side) -> Hash {
        match side {
            Side::Kept(hash) => Hash::Known(hash),
            Side::Changed { new: Some(new), old } => self.place(at, new, old),
            Side::Changed { new: None, .. } => unreachable!("an empty side is never placed"),
        }
    }

    /// Hangs a subtree at `at`, with an edge if its bottom is further down, and gives its hash there.
    fn place(&mut self, at: Path, new: Subtree, old: Option<(Subtree, Felt)>) -> Hash {
        let unchanged = old.filter(|(old, _)| *old == new).map(|(_, hash)| Hash::Known(hash));
        if new.bottom == at {
            return new.hash;
        }
        let edge = NewNode::Edge { path: new.bottom.suffix(at.len()), child: new.hash };
        self.set(at, Some(edge));
        unchanged.unwrap_or_else(|| self.hashes.later(edge))
    }
}

/// Parts ascending changes by their bit `bit`.
fn split(changes: &[Change], bit: u8) -> (&[Change], &[Change]) {
    changes.split_at(changes.partition_point(|(key, _)| !key.bit(bit)))
}

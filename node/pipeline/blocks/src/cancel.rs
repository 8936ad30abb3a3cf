//! The cancel root of an incident. [spec safe-mode, What it does, in order, 3]
//!
//! - Leaf: Poseidon of the list (`KEEL_CANCEL`, order hash, account, market, remaining size in base quantums, seq of the
//!   safe-mode record).
//! - Leaves stand in the order of cancellation; the list is filled with zeros to the next power of two.
//! - Node: two-to-one Poseidon of left and right. The root of one leaf is that leaf.
//! - An incident that is entered again while reopening cancels more: the record's root is then the node of the root so far
//!   and the root of the new tree, so that earlier receipts stay provable with one more sibling.
//! - An incident that cancelled nothing has no root; the contract stores `NONE`.

use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Poseidon, ascii, poseidon_array};
use keel_store::is_cancelled_by_safe_mode;
use keel_types::Address;
use keel_types::{Event, Executed, MarketId, MessageHash, OrderUpdate, Qty, Seq};

/// First element of every leaf: no other Poseidon hash of the chain begins with it.
const TAG: &str = "KEEL_CANCEL";

/// What a leaf says: an order, and what was left of it when it was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancelledOrder {
    pub order: MessageHash,
    pub account: Address,
    pub market: MarketId,
    /// Base quantums that had not been filled.
    pub remaining: Qty,
    /// Of the safe-mode record.
    pub seq: Seq,
}

impl CancelledOrder {
    /// Of an order's last update.
    pub fn of(update: &OrderUpdate, seq: Seq) -> CancelledOrder {
        let OrderUpdate { order, account, market, .. } = *update;
        CancelledOrder { order, account, market, remaining: update.remaining(), seq }
    }

    /// Its leaf.
    pub fn leaf(&self) -> Felt {
        let CancelledOrder { order, account, market, remaining, seq } = *self;
        poseidon_array(&[ascii(TAG), order.0, account.0, market.0.into(), remaining.0.into(), seq.0.into()])
    }
}

/// The leaf of one cancelled order.
pub fn cancel_leaf(order: &OrderUpdate, seq: Seq) -> Felt {
    CancelledOrder::of(order, seq).leaf()
}

/// The orders that a safe-mode command cancelled, in the order of cancellation.
pub fn cancelled_orders(executed: &Executed) -> Vec<OrderUpdate> {
    let cancelled = |event: &Event| match event {
        Event::Order(update) if is_cancelled_by_safe_mode(update) => Some(*update),
        _ => None,
    };
    executed.events.iter().filter_map(cancelled).collect()
}

/// The root of an incident that had `before` and cancels more.
pub fn join_roots(before: Option<Felt>, more: Option<Felt>) -> Option<Felt> {
    match (before, more) {
        (Some(before), Some(more)) => Some(<Poseidon as Hasher>::hash(&before, &more)),
        (before, more) => before.or(more),
    }
}

/// The tree over one safe-mode command's cancellations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CancelTree {
    /// Leaves first, filled up; the last level is the root. Empty without leaves.
    levels: Vec<Vec<Felt>>,
}

/// What shows that a leaf is under a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CancelPath {
    /// Position of the leaf; its bits say at each level, lowest first, whether the sibling is left (1) or right (0).
    pub index: u64,
    /// From the leaf up.
    pub siblings: Vec<Felt>,
}

impl CancelTree {
    /// Over the leaves in the order of cancellation.
    pub fn new(mut leaves: Vec<Felt>) -> CancelTree {
        if leaves.is_empty() {
            return CancelTree { levels: Vec::new() };
        }
        leaves.resize(leaves.len().next_power_of_two(), Felt::ZERO);
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let level = below.chunks_exact(2).map(|pair| <Poseidon as Hasher>::hash(&pair[0], &pair[1])).collect();
            levels.push(level);
        }
        CancelTree { levels }
    }

    /// Over the orders that a safe-mode command cancelled.
    pub fn of(executed: &Executed) -> CancelTree {
        let orders = cancelled_orders(executed);
        CancelTree::new(orders.iter().map(|order| cancel_leaf(order, executed.seq)).collect())
    }

    /// The root; `None` when nothing was cancelled.
    pub fn root(&self) -> Option<Felt> {
        self.levels.last().map(|level| level[0])
    }

    /// The path of the leaf at `index`; `None` beyond the leaves (filling included).
    pub fn path(&self, index: u64) -> Option<CancelPath> {
        let (_, inner) = self.levels.split_last()?;
        let at = usize::try_from(index).ok().filter(|at| *at < self.levels[0].len())?;
        let siblings = inner.iter().enumerate().map(|(level, nodes)| nodes[(at >> level) ^ 1]).collect();
        Some(CancelPath { index, siblings })
    }
}

impl CancelPath {
    /// The path of a leaf of one record under the root of its incident: `before` is the joined root of the records that cancelled something
    /// before, `after` are the roots of those that did after it.
    #[must_use]
    pub fn joined(mut self, before: Option<Felt>, after: impl IntoIterator<Item = Felt>) -> CancelPath {
        if let Some(before) = before {
            self.index |= 1 << self.siblings.len();
            self.siblings.push(before);
        }
        self.siblings.extend(after);
        self
    }

    /// The root that `leaf` has by this path.
    pub fn root(&self, leaf: Felt) -> Felt {
        let step = |node: Felt, (level, sibling): (usize, &Felt)| match self.index.checked_shr(level as u32).unwrap_or(0) & 1
        {
            0 => <Poseidon as Hasher>::hash(&node, sibling),
            _ => <Poseidon as Hasher>::hash(sibling, &node),
        };
        self.siblings.iter().enumerate().fold(leaf, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u64) -> Vec<Felt> {
        (1..=n).map(Felt::from).collect()
    }
    fn node(left: Felt, right: Felt) -> Felt {
        <Poseidon as Hasher>::hash(&left, &right)
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let f = Felt::from(0);
        let [a, b, c] = [1u64, 2, 3].map(Felt::from);
        let cases: [(u64, Option<Felt>); 4] =
            [(0, None), (1, Some(a)), (2, Some(node(a, b))), (3, Some(node(node(a, b), node(c, f))))];
        for (n, root) in cases {
            assert_eq!(CancelTree::new(leaves(n)).root(), root, "{n} leaves");
        }
    }

    #[test]
    fn every_leaf_is_provable_and_nothing_else() {
        for n in 1..=17 {
            let tree = CancelTree::new(leaves(n));
            for (index, leaf) in (0..).zip(leaves(n)) {
                let path = tree.path(index).unwrap();
                assert_eq!(path.root(leaf), tree.root().unwrap(), "leaf {index} of {n}");
                assert_ne!(path.root(leaf + Felt::ONE), tree.root().unwrap(), "another leaf at {index} of {n}");
                if n > 1 {
                    let other = CancelPath { index: index ^ 1, ..path };
                    assert_ne!(other.root(leaf), tree.root().unwrap(), "leaf {index} of {n} at another place");
                }
            }
        }
        assert_eq!(CancelTree::new(leaves(3)).path(4), None);
        assert_eq!(CancelTree::new(vec![]).path(0), None);
    }

    #[test]
    fn every_leaf_of_every_record_of_an_incident_is_under_its_root() {
        let trees = [3, 1, 4].map(|n| CancelTree::new(leaves(n)));
        let roots = trees.each_ref().map(CancelTree::root);
        let root = roots.into_iter().fold(None, join_roots).unwrap();
        for (record, tree) in trees.iter().enumerate() {
            for (index, leaf) in (0..).zip(&tree.levels[0]).filter(|(_, leaf)| **leaf != Felt::ZERO) {
                let before = roots[..record].iter().copied().fold(None, join_roots);
                let path = tree.path(index).unwrap().joined(before, roots[record + 1..].iter().copied().flatten());
                assert_eq!(path.root(*leaf), root, "leaf {index} of record {record}");
                assert_ne!(path.root(*leaf + Felt::ONE), root);
            }
        }
    }

    #[test]
    fn receipts_of_an_incident_entered_again_stay_provable() {
        let (first, second) = (CancelTree::new(leaves(3)), CancelTree::new(leaves(2)));
        let root = join_roots(first.root(), second.root()).unwrap();
        let mut path = first.path(2).unwrap();
        path.siblings.push(second.root().unwrap());
        assert_eq!(path.root(Felt::from(3)), root);
        assert_eq!(join_roots(first.root(), None), first.root());
        assert_eq!(join_roots(None, second.root()), second.root());
    }
}

use crate::slab::{NIL, Slab};
use keel_types::{Price, Qty, Side};
use std::collections::BTreeMap;

/// Names one resting order. Stale after the order left: the slot's generation has moved on, and every lookup answers `None`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderHandle {
    slot: u32,
    generation: u32,
}

/// A resting order, as the book knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resting {
    pub handle: OrderHandle,
    /// The caller's own key, given at [Book::insert].
    pub key: u64,
    pub side: Side,
    pub price: Price,
    /// What is left; never zero.
    pub remaining: Qty,
}

/// One match made by [Book::take], at the maker's price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    /// The maker's key.
    pub maker: u64,
    pub price: Price,
    pub qty: Qty,
    /// What the maker has left; zero: it left the book.
    pub maker_remaining: Qty,
}

/// One price of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DepthLevel {
    pub price: Price,
    pub qty: Qty128,
    pub orders: u32,
}

/// Sum of sizes at one price: many orders of a large size may exceed 64 bits.
pub type Qty128 = u128;

#[derive(Clone, Debug)]
struct Node {
    key: u64,
    remaining: u64,
    /// Earlier order at the same price.
    prev: u32,
    /// Later order at the same price.
    next: u32,
    level: u32,
    /// Odd while the slot holds a live order, even after it left.
    generation: u32,
}

#[derive(Clone, Debug)]
struct Level {
    price: Price,
    side: Side,
    head: u32,
    tail: u32,
    orders: u32,
    /// The next better price of the same side.
    better: u32,
    /// The next worse price of the same side.
    worse: u32,
    qty: Qty128,
}

#[derive(Clone, Debug)]
struct Half {
    /// Price to level. Searched only when a price appears or vanishes.
    index: BTreeMap<Price, u32>,
    best: u32,
}

/// One market's book.
#[derive(Clone, Debug)]
pub struct Book {
    nodes: Slab<Node>,
    levels: Slab<Level>,
    bids: Half,
    asks: Half,
    len: usize,
}

impl Default for Book {
    fn default() -> Book {
        Book::new()
    }
}

impl Book {
    /// An empty book.
    pub fn new() -> Book {
        let half = || Half { index: BTreeMap::new(), best: NIL };
        Book { nodes: Slab::new(), levels: Slab::new(), bids: half(), asks: half(), len: 0 }
    }

    /// Number of resting orders.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no order rests.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Best price of a side.
    pub fn best_price(&self, side: Side) -> Option<Price> {
        let best = self.half(side).best;
        (best != NIL).then(|| self.levels[best].price)
    }

    /// Whether an order at `price` would match at once.
    pub fn crosses(&self, side: Side, price: Price) -> bool {
        self.best_price(side.opposite()).is_some_and(|best| reaches(side, price, best))
    }

    /// The order of a side that is first in priority.
    pub fn best(&self, side: Side) -> Option<Resting> {
        let best = self.half(side).best;
        (best != NIL).then(|| self.resting(self.levels[best].head))
    }

    /// The order after `handle` in priority: later at the same price, else first at the next worse price. `None` when there is
    /// none, or when `handle` is stale.
    pub fn after(&self, handle: OrderHandle) -> Option<Resting> {
        let node = self.live(handle)?;
        if node.next != NIL {
            return Some(self.resting(node.next));
        }
        let worse = self.levels[node.level].worse;
        (worse != NIL).then(|| self.resting(self.levels[worse].head))
    }

    /// Orders of a side in priority order: best price first, then time.
    pub fn makers(&self, side: Side) -> impl Iterator<Item = Resting> + '_ {
        std::iter::successors(self.best(side), |order| self.after(order.handle))
    }

    /// Orders of a side by rising price, then time: the canonical order of digests and of mass cancels. [spec safe-mode]
    pub fn orders_by_price(&self, side: Side) -> impl Iterator<Item = Resting> + '_ {
        self.half(side).index.values().flat_map(move |level| self.level_orders(*level))
    }

    /// Levels of a side, best first.
    pub fn depth(&self, side: Side) -> impl Iterator<Item = DepthLevel> + '_ {
        let first = self.half(side).best;
        std::iter::successors((first != NIL).then(|| &self.levels[first]), |level| {
            (level.worse != NIL).then(|| &self.levels[level.worse])
        })
        .map(|level| DepthLevel { price: level.price, qty: level.qty, orders: level.orders })
    }

    /// A resting order; `None` when it left.
    pub fn get(&self, handle: OrderHandle) -> Option<Resting> {
        self.live(handle).map(|_| self.resting(handle.slot))
    }

    /// Adds an order behind all others at its price. `qty` must not be zero. Does not match: see [Book::crosses].
    pub fn insert(&mut self, side: Side, price: Price, qty: Qty, key: u64) -> OrderHandle {
        assert!(!qty.is_zero(), "an order of size zero cannot rest");
        let level = match self.half(side).index.get(&price) {
            Some(level) => *level,
            None => self.open_level(side, price),
        };
        let prev = self.levels[level].tail;
        let slot = self.nodes.allocate(|old| Node {
            key,
            remaining: qty.0,
            prev,
            next: NIL,
            level,
            generation: old.map_or(1, |node| node.generation.wrapping_add(1)),
        });
        match prev {
            NIL => self.levels[level].head = slot,
            _ => self.nodes[prev].next = slot,
        }
        let entry = &mut self.levels[level];
        entry.tail = slot;
        entry.orders += 1;
        entry.qty += Qty128::from(qty.0);
        self.len += 1;
        OrderHandle { slot, generation: self.nodes[slot].generation }
    }

    /// Takes `qty` off a resting order, which keeps its place; an order with nothing left leaves. Returns what is left.
    /// Panics when the handle is stale or `qty` is more than rests.
    pub fn fill(&mut self, handle: OrderHandle, qty: Qty) -> Qty {
        let node = self.live(handle).expect("filled an order that left the book");
        let (level, left) = (node.level, node.remaining.checked_sub(qty.0).expect("filled more than rests"));
        if left == 0 {
            self.unlink(handle.slot);
        } else {
            self.nodes[handle.slot].remaining = left;
            self.levels[level].qty -= Qty128::from(qty.0);
        }
        Qty(left)
    }

    /// Removes an order; `None` when it already left.
    pub fn remove(&mut self, handle: OrderHandle) -> Option<Resting> {
        let order = self.get(handle)?;
        self.unlink(handle.slot);
        Some(order)
    }

    /// Removes every order at once, without taking the book apart order by order.
    pub fn clear(&mut self) {
        // Handles go stale: of what left before, they are.
        self.nodes.iter_mut().for_each(|node| node.generation = node.generation.wrapping_add(node.generation % 2));
        self.nodes.release_all();
        self.levels.release_all();
        for half in [&mut self.bids, &mut self.asks] {
            half.index.clear();
            half.best = NIL;
        }
        self.len = 0;
    }

    /// Matches `qty` against the other side, without any policy, down to `limit`, and commits. Returns what is left of `qty`.
    /// For workloads without accounts (`keel bench book`) and for the reference test; the engine plans its own matches.
    pub fn take(&mut self, side: Side, limit: Price, qty: Qty, mut on_match: impl FnMut(Match)) -> Qty {
        let mut left = qty.0;
        while left > 0 {
            let level = self.half(side.opposite()).best;
            if level == NIL || !reaches(side, limit, self.levels[level].price) {
                break;
            }
            let (price, slot) = (self.levels[level].price, self.levels[level].head);
            let node = &mut self.nodes[slot];
            let traded = left.min(node.remaining);
            left -= traded;
            let (maker, maker_left) = (node.key, node.remaining - traded);
            if maker_left == 0 {
                self.unlink(slot);
            } else {
                node.remaining = maker_left;
                self.levels[level].qty -= Qty128::from(traded);
            }
            on_match(Match { maker, price, qty: Qty(traded), maker_remaining: Qty(maker_left) });
        }
        Qty(left)
    }

    fn half(&self, side: Side) -> &Half {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn live(&self, handle: OrderHandle) -> Option<&Node> {
        self.nodes.get(handle.slot).filter(|node| node.generation == handle.generation)
    }

    fn resting(&self, slot: u32) -> Resting {
        let node = &self.nodes[slot];
        let level = &self.levels[node.level];
        Resting {
            handle: OrderHandle { slot, generation: node.generation },
            key: node.key,
            side: level.side,
            price: level.price,
            remaining: Qty(node.remaining),
        }
    }

    fn level_orders(&self, level: u32) -> impl Iterator<Item = Resting> + '_ {
        std::iter::successors(Some(self.levels[level].head), |slot| {
            let next = self.nodes[*slot].next;
            (next != NIL).then_some(next)
        })
        .map(|slot| self.resting(slot))
    }

    /// A new, empty level, linked between its neighbours.
    fn open_level(&mut self, side: Side, price: Price) -> u32 {
        let half = self.half(side);
        let below = || half.index.range(..price).next_back().map_or(NIL, |(_, level)| *level);
        let above = || half.index.range(price..).next().map_or(NIL, |(_, level)| *level);
        // At the touch, where most orders go, no search for the neighbour is needed.
        let (better, worse) = match (half.best, side) {
            (NIL, _) => (NIL, NIL),
            (best, Side::Buy) if price > self.levels[best].price => (NIL, best),
            (best, Side::Sell) if price < self.levels[best].price => (NIL, best),
            (_, Side::Buy) => (above(), below()),
            (_, Side::Sell) => (below(), above()),
        };
        let level = self.levels.allocate(|_| Level { price, side, head: NIL, tail: NIL, orders: 0, better, worse, qty: 0 });
        match better {
            NIL => self.half_mut(side).best = level,
            _ => self.levels[better].worse = level,
        }
        if worse != NIL {
            self.levels[worse].better = level;
        }
        self.half_mut(side).index.insert(price, level);
        level
    }

    fn unlink(&mut self, slot: u32) {
        let node = &mut self.nodes[slot];
        let (prev, next, level, remaining) = (node.prev, node.next, node.level, node.remaining);
        node.generation = node.generation.wrapping_add(1);
        self.nodes.release(slot);
        match prev {
            NIL => self.levels[level].head = next,
            _ => self.nodes[prev].next = next,
        }
        match next {
            NIL => self.levels[level].tail = prev,
            _ => self.nodes[next].prev = prev,
        }
        let entry = &mut self.levels[level];
        entry.orders -= 1;
        entry.qty -= Qty128::from(remaining);
        if entry.orders == 0 {
            self.close_level(level);
        }
        self.len -= 1;
    }

    fn close_level(&mut self, level: u32) {
        let (side, price, better, worse) = {
            let entry = &self.levels[level];
            (entry.side, entry.price, entry.better, entry.worse)
        };
        match better {
            NIL => self.half_mut(side).best = worse,
            _ => self.levels[better].worse = worse,
        }
        if worse != NIL {
            self.levels[worse].better = better;
        }
        self.half_mut(side).index.remove(&price);
        self.levels.release(level);
    }
}

/// Whether an order of `side` with `limit` trades at `price`.
fn reaches(side: Side, limit: Price, price: Price) -> bool {
    match side {
        Side::Buy => limit >= price,
        Side::Sell => limit <= price,
    }
}

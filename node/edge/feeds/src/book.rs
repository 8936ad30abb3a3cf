use keel_types::{Price, Qty, Side};
use std::collections::BTreeMap;

/// A market's resting orders by price: how much, and how many orders, at each level.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Book {
    bids: BTreeMap<Price, Level>,
    asks: BTreeMap<Price, Level>,
}

/// One price level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Level {
    /// Sum of what remains of its orders; u128, since many orders may each be of the largest size.
    pub size: u128,
    pub orders: u32,
}

impl Book {
    /// The best `depth` levels of a side, best first.
    pub fn levels(&self, side: Side, depth: usize) -> Vec<(Price, Level)> {
        let owned = |(price, level): (&Price, &Level)| (*price, *level);
        match side {
            Side::Buy => self.bids.iter().rev().take(depth).map(owned).collect(),
            Side::Sell => self.asks.iter().take(depth).map(owned).collect(),
        }
    }

    /// One level; empty where nothing rests.
    pub fn level(&self, side: Side, price: Price) -> Level {
        let levels = match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        };
        levels.get(&price).copied().unwrap_or_default()
    }

    /// Best price of a side.
    pub fn best(&self, side: Side) -> Option<Price> {
        match side {
            Side::Buy => self.bids.last_key_value().map(|(price, _)| *price),
            Side::Sell => self.asks.first_key_value().map(|(price, _)| *price),
        }
    }

    /// An order rests with `remaining`.
    pub(crate) fn add(&mut self, side: Side, price: Price, remaining: Qty) {
        let level = self.side(side).entry(price).or_default();
        level.size += u128::from(remaining.0);
        level.orders += 1;
    }

    /// Takes back exactly what [Book::add] put there; a difference means that the view lost an event.
    pub(crate) fn remove(&mut self, side: Side, price: Price, remaining: Qty) {
        let levels = self.side(side);
        let level = levels.get_mut(&price).expect("an order that rests has a level");
        level.size -= u128::from(remaining.0);
        level.orders -= 1;
        if level.orders == 0 {
            assert_eq!(level.size, 0, "a level without orders has no size");
            levels.remove(&price);
        }
    }

    fn side(&mut self, side: Side) -> &mut BTreeMap<Price, Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }
}

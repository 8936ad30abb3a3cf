use crate::order::{Order, Turn, fires_above};
use keel_types::*;
use std::collections::BTreeSet;

/// What a time or a mark will set off. An index: it follows from orders, accounts and marks, so no snapshot holds it.
///
/// A mark that moves costs O(log n) and the triggers it passes; what is due next is found without a search.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// Open orders that end by themselves: (good til, turn, slot).
    expiries: BTreeSet<(Ts, Turn, u32)>,
    /// Dead man's switches: (time, account).
    switches: BTreeSet<(Ts, u32)>,
    /// By market.
    triggers: Vec<Triggers>,
}

/// The untriggered orders of one market. Fired is whoever the present mark has reached: an order that could not be placed yet (a held
/// market, a grace) waits again when the mark goes back.
#[derive(PartialEq, Eq, Debug)]
struct Triggers {
    mark: Price,
    /// Those that fire at or above: (trigger price, turn, slot).
    above: BTreeSet<(Price, Turn, u32)>,
    /// Those that fire at or below.
    below: BTreeSet<(Price, Turn, u32)>,
    /// Those of both that `mark` has reached, by turn.
    fired: BTreeSet<(Turn, u32)>,
}

impl Due {
    /// Nothing yet, at these marks.
    pub fn new(marks: impl Iterator<Item = Price>) -> Due {
        let triggers =
            marks.map(|mark| Triggers { mark, above: BTreeSet::new(), below: BTreeSet::new(), fired: BTreeSet::new() });
        Due { expiries: BTreeSet::new(), switches: BTreeSet::new(), triggers: triggers.collect() }
    }

    /// An order that is open from now on.
    pub fn add_order(&mut self, order: &Order, slot: u32) {
        if order.good_til != Ts(0) {
            self.expiries.insert((order.good_til, order.turn, slot));
        }
        if order.untriggered {
            self.triggers[usize::from(order.market.0)].add(order, slot);
        }
    }

    /// One that was open as it is given here.
    pub fn remove_order(&mut self, order: &Order, slot: u32) {
        if order.good_til != Ts(0) {
            self.expiries.remove(&(order.good_til, order.turn, slot));
        }
        if order.untriggered {
            self.triggers[usize::from(order.market.0)].remove(order, slot);
        }
    }

    /// No order is open any more.
    pub fn clear_orders(&mut self) {
        self.expiries.clear();
        for market in &mut self.triggers {
            market.above.clear();
            market.below.clear();
            market.fired.clear();
        }
    }

    pub fn set_mark(&mut self, market: MarketId, mark: Price) {
        self.triggers[usize::from(market.0)].set_mark(mark);
    }

    /// An account's dead man's switch; 0: none.
    pub fn move_switch(&mut self, account: u32, from: Ts, to: Ts) {
        self.switches.remove(&(from, account));
        if to != Ts(0) {
            self.switches.insert((to, account));
        }
    }

    /// Every dead man's switch: its time and account.
    pub fn switches(&self) -> impl Iterator<Item = (Ts, u32)> + '_ {
        self.switches.iter().copied()
    }

    pub fn clear_switches(&mut self) -> BTreeSet<(Ts, u32)> {
        std::mem::take(&mut self.switches)
    }

    /// Slots of orders whose end has come, by (good til, turn).
    pub fn expired(&self, now: Ts) -> impl Iterator<Item = u32> + '_ {
        self.expiries.iter().take_while(move |(good_til, ..)| *good_til <= now).map(|(.., slot)| *slot)
    }

    /// The account whose dead man's switch is due first.
    pub fn switch(&self, now: Ts) -> Option<u32> {
        self.switches.first().filter(|(at, _)| *at <= now).map(|(_, account)| *account)
    }

    /// The first of a market's fired orders.
    pub fn fired(&self, market: MarketId) -> Option<(Turn, u32)> {
        self.triggers[usize::from(market.0)].fired.first().copied()
    }

    /// Number of untriggered orders.
    pub fn untriggered(&self) -> usize {
        self.triggers.iter().map(|market| market.above.len() + market.below.len()).sum()
    }

    /// Slots of a market's untriggered orders, in no order that may be shown.
    pub fn untriggered_of(&self, market: MarketId) -> impl Iterator<Item = u32> + '_ {
        let market = &self.triggers[usize::from(market.0)];
        market.above.iter().chain(&market.below).map(|(.., slot)| *slot)
    }
}

impl Triggers {
    fn side_of(&mut self, order: &Order) -> (&mut BTreeSet<(Price, Turn, u32)>, bool) {
        match fires_above(order.order_type, order.side) {
            true => (&mut self.above, order.trigger_price <= self.mark),
            false => (&mut self.below, order.trigger_price >= self.mark),
        }
    }

    fn add(&mut self, order: &Order, slot: u32) {
        let (waiting, fired) = self.side_of(order);
        waiting.insert((order.trigger_price, order.turn, slot));
        if fired {
            self.fired.insert((order.turn, slot));
        }
    }

    fn remove(&mut self, order: &Order, slot: u32) {
        self.side_of(order).0.remove(&(order.trigger_price, order.turn, slot));
        self.fired.remove(&(order.turn, slot));
    }

    /// Going up from `low` to `high` reaches those above `low` up to `high`, and leaves those from `low` on below `high`; down, the
    /// other way round.
    fn set_mark(&mut self, mark: Price) {
        let (low, high) = (self.mark.min(mark), self.mark.max(mark));
        let from = |price: Price| (price, Turn::FIRST, 0);
        let after = |price: Price| (Price(price.0 + 1), Turn::FIRST, 0);
        let above = self.above.range(after(low)..after(high)).map(|(_, turn, slot)| (*turn, *slot));
        let below = self.below.range(from(low)..from(high)).map(|(_, turn, slot)| (*turn, *slot));
        if mark > self.mark {
            self.fired.extend(above);
            below.for_each(|order| {
                self.fired.remove(&order);
            });
        } else {
            self.fired.extend(below);
            above.for_each(|order| {
                self.fired.remove(&order);
            });
        }
        self.mark = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order_type: OrderType, side: Side, trigger: u64, seq: u64) -> Order {
        Order {
            hash: MessageHash::default(),
            account: 0,
            market: MarketId(0),
            side,
            price: Price(0),
            size: Qty(1),
            filled: Qty(0),
            client_id: 0,
            reduce_only: false,
            order_type,
            time_in_force: TimeInForce::Gtc,
            self_trade: SelfTradeMode::CancelTaker,
            trigger_price: Price(trigger),
            good_til: Ts(0),
            turn: Turn::new(Seq(seq), 0),
            live: false,
            untriggered: true,
            handle: None,
        }
    }

    /// However the mark got there, fired is whoever it has reached.
    #[test]
    fn a_mark_fires_exactly_the_orders_it_has_reached() {
        let mut orders = Vec::new();
        for trigger in 1..12 {
            for (kind, side) in [
                (OrderType::StopMarket, Side::Buy),
                (OrderType::StopMarket, Side::Sell),
                (OrderType::TakeProfitLimit, Side::Buy),
                (OrderType::TakeProfitLimit, Side::Sell),
            ] {
                orders.push(order(kind, side, trigger, orders.len() as u64));
            }
        }
        let mut due = Due::new([Price(6)].into_iter());
        orders.iter().enumerate().for_each(|(slot, order)| due.add_order(order, slot as u32));
        for mark in [6, 7, 12, 3, 3, 4, 1, 11, 5] {
            due.set_mark(MarketId(0), Price(mark));
            let mut fresh = Due::new([Price(mark)].into_iter());
            orders.iter().enumerate().for_each(|(slot, order)| fresh.add_order(order, slot as u32));
            assert_eq!(due, fresh, "at {mark}");
        }
        assert!(fires_above(OrderType::StopLimit, Side::Buy) && fires_above(OrderType::TakeProfitMarket, Side::Sell));
        assert!(!fires_above(OrderType::StopLimit, Side::Sell) && !fires_above(OrderType::TakeProfitMarket, Side::Buy));
    }
}

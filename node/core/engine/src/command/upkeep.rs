use super::cancel::Ending;
use crate::Engine;
use crate::order::Turn;
use keel_types::*;
use std::cmp::Reverse;

impl Engine {
    /// One account with AV < IMR: cancels its orders that add risk, then others whose cancelling helps, each most passive first, until AV >= IMR.
    /// [spec exchange, Perpetuals] A reduction without a loss in it needs no margin: it stays, so that the account can get out.
    pub(crate) fn keep_margin(&mut self, account: u32) {
        let resting = self.order_slots(account).filter(|slot| self.orders.get(*slot).live);
        let mut slots: Vec<_> = resting.map(|slot| (self.rank(slot), slot)).collect();
        slots.sort_unstable();
        for (_, slot) in slots {
            let standing = self.standing(self.holdings.get(account), account);
            if !standing.is_short() {
                break;
            }
            self.cancel_order(slot, Ending::new(Reason::Margin, Initiator::Risk));
        }
    }

    /// What is cancelled first: orders that add risk before those that only reduce, then the farthest from mark, then the latest.
    fn rank(&self, slot: u32) -> (bool, Reverse<u128>, Reverse<Turn>) {
        let order = self.orders.get(slot);
        let mark = u128::from(self.markets.get(u32::from(order.market.0)).mark.0);
        let adds = match self.rules.market(order.market).kind {
            MarketKind::Spot { .. } => order.side == Side::Buy,
            MarketKind::Perpetual(_) => {
                let holding = self.holdings.get(order.account).market(order.market);
                i128::from(order.remaining().0) > holding.reducible(order.side)
            }
        };
        let distance = u128::from(order.price.0).abs_diff(mark) * 1_000_000_000 / mark;
        (!adds, Reverse(distance), Reverse(order.turn))
    }
}

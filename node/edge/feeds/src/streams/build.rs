//! What one record touches, gathered before the view takes it in.

use crate::book::Level;
use crate::orders::OrderView;
use crate::view::{Trade, View};
use keel_store::FillRow;
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet};

/// What may have changed, and what it was before.
#[derive(Default)]
pub(super) struct Touched {
    /// Levels as they were.
    pub levels: BTreeMap<(MarketId, Side, Price), Level>,
    pub trades: BTreeMap<MarketId, Vec<Trade>>,
    /// Prices or funding.
    pub marks: BTreeSet<MarketId>,
    pub positions: BTreeSet<MarketId>,
    pub accounts: BTreeMap<Address, OfAccount>,
}

/// What one account that somebody listens to was told of.
#[derive(Default)]
pub(super) struct OfAccount {
    pub orders: Vec<OrderView>,
    pub fills: Vec<FillRow>,
}

impl Touched {
    /// `watched`: whether anybody listens to an account.
    pub(super) fn by(released: &Released, view: &View, watched: impl Fn(&Address) -> bool) -> Touched {
        let mut touched = Touched::default();
        for executed in &released.executed {
            let at = (executed.seq, released.ts);
            for event in &executed.events {
                match event {
                    Event::Order(update) => touched.order(update, at, view, &watched),
                    Event::Fill(fill) => touched.fill(fill, at, &watched),
                    Event::Price { market, .. } | Event::Funding { market, .. } => {
                        touched.marks.insert(*market);
                    }
                    _ => {}
                }
            }
            executed.writes.iter().for_each(|write| touched.write(write, &watched));
        }
        touched
    }

    fn order(&mut self, update: &OrderUpdate, at: (Seq, Ts), view: &View, watched: &impl Fn(&Address) -> bool) {
        let market = update.market;
        let before = view.orders().get(update.order).map(|order| order.update.price);
        for price in before.into_iter().chain([update.price]) {
            let was = || view.orders().book(market).map_or(Level::default(), |book| book.level(update.side, price));
            self.levels.entry((market, update.side, price)).or_insert_with(was);
        }
        if watched(&update.account) {
            let order = OrderView { update: *update, at: Some(at) };
            self.accounts.entry(update.account).or_default().orders.push(order);
        }
    }

    fn fill(&mut self, fill: &Fill, (seq, ts): (Seq, Ts), watched: &impl Fn(&Address) -> bool) {
        let Fill { market, trade, price, size, taker_side, maker, taker } = *fill;
        self.trades.entry(market).or_default().push(Trade { trade, price, size, taker_side, seq, ts });
        for (party, side, is_maker) in [(maker, taker_side.opposite(), true), (taker, taker_side, false)] {
            if watched(&party.account) {
                let row = FillRow { market, trade, side, maker: is_maker, party, price, size, seq, ts };
                self.accounts.entry(party.account).or_default().fills.push(row);
            }
        }
    }

    fn write(&mut self, write: &StateWrite, watched: &impl Fn(&Address) -> bool) {
        let account = match write {
            StateWrite::Balance { account, .. } => account,
            StateWrite::Position { account, market, .. } => {
                self.positions.insert(*market);
                account
            }
            StateWrite::Price { market, .. } | StateWrite::Funding { market, .. } => {
                self.marks.insert(*market);
                return;
            }
            _ => return,
        };
        if watched(account) {
            self.accounts.entry(*account).or_default();
        }
    }
}

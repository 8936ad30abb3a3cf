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
            let halts = matches!(executed.command, Command::EnterSafeMode(_));
            if halts {
                touched.every_level(view);
            }
            for event in &executed.events {
                match event {
                    Event::Order(update) => {
                        if !halts {
                            touched.levels_of(update, view);
                        }
                        if watched(&update.account) {
                            let order = OrderView { update: *update, at: Some(at) };
                            touched.accounts.entry(update.account).or_default().orders.push(order);
                        }
                    }
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

    /// Where an order was, and where it is.
    fn levels_of(&mut self, update: &OrderUpdate, view: &View) {
        let market = update.market;
        let before = view.orders().get(update.order).map(|order| order.update.price);
        for price in before.into_iter().chain([update.price]) {
            let was = || view.orders().book(market).map_or(Level::default(), |book| book.level(update.side, price));
            self.levels.entry((market, update.side, price)).or_insert_with(was);
        }
    }

    /// Safe mode leaves no level: there are fewer of them than of its orders.
    fn every_level(&mut self, view: &View) {
        for market in (0..view.genesis().markets.len()).map(|i| MarketId(i as u16)) {
            let Some(book) = view.orders().book(market) else { continue };
            for side in [Side::Buy, Side::Sell] {
                let levels = book.levels(side, usize::MAX).into_iter();
                self.levels.extend(levels.map(|(price, level)| ((market, side, price), level)));
            }
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

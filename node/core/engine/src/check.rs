use crate::Engine;
use crate::due::Due;
use keel_ledger::{Holdings, Sums};
use keel_types::*;

/// A rule that must hold after every command and does not. Any one of them is INVARIANT_BROKEN. [spec safe-mode]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// What is held of an asset is not what is owed. [spec exchange, Conservation]
    Conservation { asset: AssetId, held: i128, owed: i128 },
    /// Positions of a market do not add up to zero.
    Positions { market: MarketId, sum: i128 },
    /// The open interest kept is not the sum of long positions.
    OpenInterest { market: MarketId, kept: i128, sum: i128 },
    /// A reservation is not the sum over the account's open orders.
    Reservation { account: Address, asset: AssetId, reserved: i128, orders: i128 },
    /// Open sizes or counts of an account in a market are not those of its orders.
    OpenSize { account: Address, market: MarketId },
    /// More is reserved than held.
    Overdrawn { account: Address, asset: AssetId, available: i128 },
    /// Best bid at or above best ask.
    Crossed { market: MarketId, bid: Price, ask: Price },
    /// An order and its place in the book disagree.
    BookMismatch { order: MessageHash },
    /// An index of what is due, or of an account's orders, is not what they make it.
    Index,
    /// The book holds another number of orders than there are.
    BookLength { market: MarketId, book: u64, orders: u64 },
    /// An account without its quote balance.
    QuoteBalanceMissing { account: Address },
    /// A price in use that is not positive.
    Price { market: MarketId },
    /// An open order in HALTED or READ_ONLY.
    OpenOrders { phase: Phase, count: u64 },
    /// Reduce-only orders larger than the position they reduce.
    ReduceOnly { account: Address, market: MarketId },
    /// The watch does not know that the account is below maintenance or initial margin, or believes that it is.
    Watch { account: Address },
}

impl Engine {
    /// Every violated invariant; empty when all hold. Walks the whole state.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check_money(&mut found);
        self.check_orders(&mut found);
        self.check_books(&mut found);
        self.check_watch(&mut found);
        self.check_indices(&mut found);
        let (phase, count) = (self.globals.phase.phase, self.open_orders() as u64);
        if phase < Phase::Spot && count > 0 {
            found.push(Violation::OpenOrders { phase, count });
        }
        found
    }

    fn check_money(&self, found: &mut Vec<Violation>) {
        let genesis = &self.rules.genesis;
        let mut sums = Sums::new(genesis.assets.len(), genesis.markets.len());
        for (account, holdings) in self.accounts.all().iter().zip(self.holdings.all_installed()) {
            sums.add(holdings);
            let in_a_market = holdings.markets.iter().any(|market| market.listed);
            if in_a_market && !holdings.balance(QUOTE).listed {
                found.push(Violation::QuoteBalanceMissing { account: account.address });
            }
            for (i, balance) in holdings.balances.iter().enumerate() {
                let (asset, available) = (AssetId(i as u16), balance.available());
                // Losses of a position may take the quote balance below zero, before liquidation and after it. Nothing takes any
                // other balance there, nor that of an account that never had a position.
                let may_owe = asset == QUOTE && in_a_market;
                if available < 0 && !may_owe {
                    found.push(Violation::Overdrawn { account: account.address, asset, available });
                }
            }
        }
        self.markets.all_installed().iter().for_each(|market| sums.add_funding_pool(market.funding_pool));
        for (i, totals) in self.totals.all_installed().iter().enumerate() {
            let (asset, owed) = (AssetId(i as u16), totals.liabilities());
            let held = sums.held(asset);
            if held != owed {
                found.push(Violation::Conservation { asset, held, owed });
            }
        }
        for (i, state) in self.markets.all_installed().iter().enumerate() {
            let market = MarketId(i as u16);
            let (sum, long) = (sums.position(market), sums.open_interest(market));
            if sum != 0 {
                found.push(Violation::Positions { market, sum });
            }
            if long != state.open_interest {
                found.push(Violation::OpenInterest { market, kept: state.open_interest, sum: long });
            }
            if state.oracle.0 == 0 || state.mark.0 == 0 {
                found.push(Violation::Price { market });
            }
        }
    }

    /// Reservations, open sizes and counts against the orders they come from.
    fn check_orders(&self, found: &mut Vec<Violation>) {
        let (assets, markets) = (self.rules.genesis.assets.len(), self.rules.genesis.markets.len());
        let mut expected = vec![Holdings::new(assets, markets); self.accounts.len() as usize];
        for order in self.orders.all_installed().iter().filter(|order| order.is_open()) {
            self.count_order(&mut expected[order.account as usize], order);
        }
        for ((account, kept), expected) in self.accounts.all().iter().zip(self.holdings.all_installed()).zip(&expected) {
            for (i, (balance, orders)) in kept.balances.iter().zip(&expected.balances).enumerate() {
                if balance.reserved != orders.reserved {
                    let (asset, reserved, orders) = (AssetId(i as u16), balance.reserved, orders.reserved);
                    found.push(Violation::Reservation { account: account.address, asset, reserved, orders });
                }
            }
            let sizes = |h: &keel_ledger::MarketHolding| (h.open_buy, h.open_sell, h.open_reduce_only, h.orders);
            for (i, (holding, orders)) in kept.markets.iter().zip(&expected.markets).enumerate() {
                let market = MarketId(i as u16);
                if sizes(holding) != sizes(orders) {
                    found.push(Violation::OpenSize { account: account.address, market });
                }
                if holding.open_reduce_only > holding.reducible(Side::Buy) + holding.reducible(Side::Sell) {
                    found.push(Violation::ReduceOnly { account: account.address, market });
                }
            }
        }
    }

    /// What is due and whose orders are whose, computed again.
    fn check_indices(&self, found: &mut Vec<Violation>) {
        let mut due = Due::new(self.markets.all_installed().iter().map(|market| market.mark));
        for (i, account) in self.accounts.all().iter().enumerate() {
            due.move_switch(i as u32, Ts(0), account.cancel_at);
        }
        let mut open = 0;
        let mut lost = false;
        for (slot, order) in self.orders.all_installed().iter().enumerate().filter(|(_, order)| order.is_open()) {
            due.add_order(order, slot as u32);
            open += 1;
            lost |= !self.accounts.get(order.account).orders_like(&order.hash).any(|other| other == slot as u32);
        }
        let listed: usize = self.accounts.all().iter().map(|account| account.orders().count()).sum();
        if lost || listed != open || due != self.due || !self.cancelled.is_sound() {
            found.push(Violation::Index);
        }
    }

    fn check_books(&self, found: &mut Vec<Violation>) {
        let mut counts = vec![0u64; self.books.len()];
        for order in self.orders.all_installed().iter().filter(|order| order.live) {
            let book = &self.books[usize::from(order.market.0)];
            let resting = order.handle.and_then(|handle| book.get(handle));
            let agrees =
                |r: keel_book::Resting| (r.side, r.price, r.remaining) == (order.side, order.price, order.remaining());
            if !resting.is_some_and(agrees) {
                found.push(Violation::BookMismatch { order: order.hash });
            }
            counts[usize::from(order.market.0)] += 1;
        }
        for (i, (book, orders)) in self.books.iter().zip(counts).enumerate() {
            let market = MarketId(i as u16);
            if book.len() as u64 != orders {
                found.push(Violation::BookLength { market, book: book.len() as u64, orders });
            }
            if let (Some(bid), Some(ask)) = (book.best_price(Side::Buy), book.best_price(Side::Sell))
                && bid >= ask
            {
                found.push(Violation::Crossed { market, bid, ask });
            }
        }
    }

    /// Everybody computed anew, against what the watch found without visiting everybody.
    fn check_watch(&self, found: &mut Vec<Violation>) {
        // What a panic left behind until the next command would be seen: margins read what is staged.
        if self.holdings.touched_len() + self.orders.touched_len() + self.markets.touched_len() > 0 {
            return;
        }
        for (i, holdings) in self.holdings.all_installed().iter().enumerate() {
            let account = i as u32;
            let standing = self.standing(holdings, account);
            let at_risk = account != self.insurance_account && standing.is_at_risk();
            let known = (self.watch.is_at_risk(account), self.watch.is_short(account));
            if known != (at_risk, standing.is_short()) {
                found.push(Violation::Watch { account: self.address(account) });
            }
        }
    }
}

use super::cancel::Ending;
use super::place::{Origin, Taker};
use crate::Engine;
use crate::order::{Order, Turn, reaches};
use crate::rules::reserve_ppm;
use keel_book::Resting;
use keel_ledger::{FeeSplit, OpenBuy, OpenOrder, PositionChange};
use keel_types::*;

/// What the walk over the makers came to.
struct Walk {
    /// Size filled.
    filled: Qty,
    /// Quote quantums traded.
    quote: i128,
    stop: Stop,
}

/// Why the walk ended.
enum Stop {
    /// Filled, or nobody left within the limit.
    Done,
    /// The next maker is within the order's own price, but beyond the band.
    Band,
    SelfTrade,
    /// As many fills as one command may make.
    FillLimit,
}

/// One party of a fill, before it is known what it pays.
struct Party {
    account: u32,
    order: OpenOrder,
    /// What its order had left before this fill.
    remaining: Qty,
    fee_ppm: i32,
}

/// What a fill cost and brought one party.
struct Settled {
    fee: FeeSplit,
    realized: i128,
}

impl Engine {
    /// Matches a taker whose whole size is already reserved or counted as open, and settles what is left of it. A FOK that came out
    /// as CANCELLED FILL_OR_KILL has left fills behind: the caller drops them. [Engine::kill]
    pub(super) fn match_order(&mut self, taker: &Taker) -> OutcomeResult {
        let events_before = self.plan.events.len();
        let walk = self.walk_makers(taker);
        let c = taker.command;
        let left = Qty(c.size.0 - walk.filled.0);
        let (mut state, mut reason) = self.fate(taker, &walk, left);
        let rests = matches!(state, OrderState::Open | OrderState::PartiallyFilled);
        let resting = rests.then(|| self.rest(taker, walk.filled));
        if !rests && !left.is_zero() {
            self.release(taker.account, c.market, taker.open_order(), left);
        }
        let by_user = rests && walk.filled.is_zero();
        let initiator = if by_user { Initiator::User } else { Initiator::Engine };
        if matches!(taker.origin, Origin::Modified { .. }) && !by_user {
            // New terms first, then what came of them.
            let modified = Ending::new(Reason::Modified, Initiator::User);
            let update = self.taker_update(taker, Qty(0), OrderState::Received, modified);
            self.plan.events.insert(events_before, Event::Order(update));
        }
        self.taker_event(taker, walk.filled, state, Ending::new(reason, initiator));
        self.keep_reduce_only(c.market);
        // The upkeep may have ended the order that was just placed.
        if resting.is_some_and(|slot| !self.orders.get(slot).live) {
            (state, reason) = (OrderState::Cancelled, Reason::ReduceOnly);
        }
        let (size, filled) = (taker.size_total(), Qty(taker.filled_before().0 + walk.filled.0));
        OutcomeResult::Order { state, reason, size, filled, quote_filled: Amount(walk.quote) }
    }

    /// State and reason of the taker after the walk. [spec exchange, Orders]
    fn fate(&self, taker: &Taker, walk: &Walk, left: Qty) -> (OrderState, Reason) {
        if left.is_zero() {
            return (OrderState::Filled, Reason::Trade);
        }
        let cancelled = match walk.stop {
            _ if taker.command.time_in_force == TimeInForce::Fok => Some(Reason::FillOrKill),
            Stop::SelfTrade => Some(Reason::SelfTrade),
            Stop::FillLimit => Some(Reason::FillLimit),
            Stop::Band => Some(Reason::PriceBand),
            Stop::Done if !taker.rests => Some(Reason::IocRemainder),
            // At the edge of the band with nobody there: it does not rest either.
            Stop::Done if taker.beyond_band => Some(Reason::PriceBand),
            Stop::Done => None,
        };
        match cancelled {
            Some(reason) => (OrderState::Cancelled, reason),
            None if !walk.filled.is_zero() => (OrderState::PartiallyFilled, Reason::Trade),
            None => match taker.origin {
                Origin::New | Origin::Triggered { .. } => (OrderState::Open, Reason::None),
                Origin::Modified { filled: Qty(0), .. } => (OrderState::Open, Reason::Modified),
                Origin::Modified { .. } => (OrderState::PartiallyFilled, Reason::Modified),
            },
        }
    }

    fn walk_makers(&mut self, taker: &Taker) -> Walk {
        let c = taker.command;
        let book = usize::from(c.market.0);
        let fills_max = self.rules.genesis.limits.fills_per_command.saturating_sub(self.plan.fills_spent);
        let (mut filled, mut quote, mut fills) = (0u64, 0i128, 0);
        let mut next = self.books[book].best(c.side.opposite());
        let stop = loop {
            if filled == c.size.0 {
                break Stop::Done;
            }
            let Some(maker) = next else { break Stop::Done };
            if !reaches(c.side, taker.limit, maker.price) {
                // A MARKET order without a worst price would have taken any.
                let wanted = c.price.0 == 0 || reaches(c.side, taker.price, maker.price);
                break if wanted { Stop::Band } else { Stop::Done };
            }
            if fills == fills_max {
                break Stop::FillLimit;
            }
            self.checkpoint();
            next = self.books[book].after(maker.handle);
            let slot = maker.key as u32;
            if self.is_gone(slot) {
                continue;
            }
            if self.orders.get(slot).account == taker.account {
                match self.prevent_self_trade(taker, slot, Qty(filled)) {
                    SelfTrade::GoOn => continue,
                    SelfTrade::Stop => break Stop::SelfTrade,
                }
            }
            // The book shows it as it was before the command.
            let wanted = self.orders.get(slot).remaining().min(Qty(c.size.0 - filled));
            match self.maker_allowance(slot, wanted) {
                Err(reason) => self.cancel_order(slot, Ending::new(reason, Initiator::Risk)),
                Ok(qty) => {
                    self.fill(taker, &maker, qty, Qty(filled));
                    filled += qty.0;
                    quote += maker.price.notional(qty);
                    fills += 1;
                    // A reduce-only maker that has closed its position must not stand in the way of the rest.
                    if qty < wanted {
                        self.cancel_order(slot, Ending::new(Reason::ReduceOnly, Initiator::Risk));
                    }
                }
            }
        };
        Walk { filled: Qty(filled), quote, stop }
    }

    /// Whether an order the book still shows trades no more: ended by this command, or its time has come, which ends it here.
    fn is_gone(&mut self, slot: u32) -> bool {
        let order = self.orders.get(slot);
        let (live, expired) = (order.live, order.is_expired(self.now.ts));
        if live && expired {
            self.expire(slot);
        }
        !live || expired
    }

    /// Whether an order that may not take would.
    pub(super) fn would_cross(&mut self, c: &PlaceOrder) -> bool {
        let book = usize::from(c.market.0);
        let mut next = self.books[book].best(c.side.opposite());
        while let Some(maker) = next.filter(|maker| reaches(c.side, c.price, maker.price)) {
            if !self.is_gone(maker.key as u32) {
                return true;
            }
            next = self.books[book].after(maker.handle);
        }
        false
    }

    /// Two orders of one account meet: an event for each, whoever goes. [spec exchange, Orders: flags]
    fn prevent_self_trade(&mut self, taker: &Taker, maker: u32, filled: Qty) -> SelfTrade {
        let ending = Ending::new(Reason::SelfTrade, Initiator::Engine);
        match taker.command.self_trade {
            SelfTradeMode::CancelTaker => {
                // The maker stays as it is; the taker's own event follows when it is settled.
                let state = self.orders.get(maker).open_state();
                self.order_event(maker, state, ending);
                SelfTrade::Stop
            }
            SelfTradeMode::CancelMaker => {
                self.cancel_order(maker, ending);
                self.taker_event(taker, filled, OrderState::Received, ending);
                SelfTrade::GoOn
            }
            SelfTradeMode::CancelBoth => {
                self.cancel_order(maker, ending);
                SelfTrade::Stop
            }
        }
    }

    /// One match at the maker's price: money first, then the two orders, then the events.
    fn fill(&mut self, taker: &Taker, maker: &Resting, qty: Qty, filled_before: Qty) {
        let c = taker.command;
        let slot = maker.key as u32;
        let spec = self.rules.market(c.market);
        // Where the taker pays nothing there is nothing to rebate.
        let maker_ppm = if taker.fee_ppm == 0 { spec.fee_maker_ppm.max(0) } else { spec.fee_maker_ppm };
        let (kind, reserve_ppm) = (spec.kind, reserve_ppm(spec));
        let order = self.orders.edit(slot);
        let maker_party =
            Party { account: order.account, order: order.open_order(), remaining: order.remaining(), fee_ppm: maker_ppm };
        order.filled.0 += qty.0;
        order.live = !order.remaining().is_zero();
        let (maker_hash, maker_live) = (order.hash, order.live);
        let taker_party = Party {
            account: taker.account,
            order: taker.open_order(),
            remaining: Qty(c.size.0 - filled_before.0),
            fee_ppm: taker.fee_ppm,
        };

        let settle = |engine: &mut Engine, party: &Party| match kind {
            MarketKind::Spot { base } => engine.settle_spot(party, base, qty, maker.price, reserve_ppm),
            MarketKind::Perpetual(_) => engine.settle_perpetual(party, c.market, qty, maker.price),
        };
        let of_maker = settle(self, &maker_party);
        let of_taker = settle(self, &taker_party);

        let market = self.markets.edit(u32::from(c.market.0));
        market.trades += 1;
        market.last_price = maker.price;
        let trade = TradeId(market.trades);
        if !maker_live {
            self.holdings.edit(maker_party.account).market_mut(c.market).orders -= 1;
        }
        let side = |account, order, settled: &Settled| FillSide {
            account,
            order,
            fee: Amount(settled.fee.charged),
            realized_pnl: Amount(settled.realized),
        };
        self.plan.events.push(Event::Fill(Fill {
            market: c.market,
            trade,
            price: maker.price,
            size: qty,
            taker_side: c.side,
            maker: side(self.address(maker_party.account), maker_hash, &of_maker),
            taker: side(c.signed.account, c.signed.hash, &of_taker),
        }));
        let state = if maker_live { OrderState::PartiallyFilled } else { OrderState::Filled };
        self.order_event(slot, state, Ending::new(Reason::Trade, Initiator::Engine));
    }

    fn settle_spot(&mut self, party: &Party, base: AssetId, qty: Qty, price: Price, reserve_ppm: i32) -> Settled {
        let holdings = self.holdings.edit(party.account);
        let fee = match party.order.side {
            Side::Buy => {
                let (limit, remaining) = (party.order.price, party.remaining);
                keel_ledger::buy_fill(holdings, &OpenBuy { base, limit, remaining, reserve_ppm }, qty, price, party.fee_ppm)
            }
            Side::Sell => keel_ledger::sell_fill(holdings, base, qty, price, party.fee_ppm),
        };
        self.collect(fee.collected, fee.rounding);
        Settled { fee, realized: 0 }
    }

    fn settle_perpetual(&mut self, party: &Party, market: MarketId, qty: Qty, price: Price) -> Settled {
        let notional = price.notional(qty);
        let fee = keel_ledger::fee_split(notional, party.fee_ppm);
        let holdings = self.holdings.edit(party.account);
        holdings.market_mut(market).close(party.order, qty);
        holdings.credit(QUOTE, -fee.charged);
        let sign = party.order.side.sign();
        let change = self.book_position(party.account, market, sign * i128::from(qty.0), sign * notional);
        self.collect(fee.collected, fee.rounding + change.rounding);
        Settled { fee, realized: change.realized }
    }

    /// Books `size` at `value`, both signed, in an account's position: what it realises goes to its balance, funding comes out of the market's
    /// pool. The rounding is the caller's to [Engine::collect].
    pub(super) fn book_position(&mut self, account: u32, market: MarketId, size: i128, value: i128) -> PositionChange {
        let index = self.markets.get(u32::from(market.0)).funding_index;
        let holdings = self.holdings.edit(account);
        let holding = holdings.market_mut(market);
        let long_before = holding.position.size.max(0);
        let change = keel_ledger::trade_value(holding.position, index, size, value);
        holding.position = change.after;
        holding.listed = true;
        holdings.credit(QUOTE, change.realized + change.funding);
        let market = self.markets.edit(u32::from(market.0));
        market.open_interest += change.after.size.max(0) - long_before;
        market.funding_pool -= change.funding;
        change
    }

    /// The one place where fees and rounding arrive. [spec exchange, Units]
    pub(super) fn collect(&mut self, fee: i128, rounding: i128) {
        if fee != 0 {
            self.holdings.edit(self.fee_account).credit(QUOTE, fee);
        }
        if rounding != 0 {
            self.holdings.edit(self.insurance_account).credit(QUOTE, rounding);
        }
    }

    /// Stages what is left as a resting order; returns its slot.
    fn rest(&mut self, taker: &Taker, filled: Qty) -> u32 {
        let c = taker.command;
        assert!(taker.limit == taker.price, "an order beyond the band does not rest");
        self.holdings.edit(taker.account).market_mut(c.market).orders += 1;
        if let Some(slot) = taker.origin.slot() {
            let turn = self.turn();
            let order = self.orders.edit(slot);
            order.price = taker.price;
            order.size = taker.size_total();
            order.filled = Qty(taker.filled_before().0 + filled.0);
            order.turn = turn;
            order.live = true;
            return slot;
        }
        let slot = self.add_order(taker.account, c);
        let order = self.orders.edit(slot);
        order.price = taker.price;
        order.filled = filled;
        order.live = true;
        slot
    }

    /// Stages a new order, neither live nor untriggered yet.
    pub(super) fn add_order(&mut self, account: u32, c: &PlaceOrder) -> u32 {
        let order = Order {
            hash: c.signed.hash,
            account,
            market: c.market,
            side: c.side,
            price: c.price,
            size: c.size,
            filled: Qty(0),
            client_id: c.client_id,
            reduce_only: c.reduce_only,
            order_type: c.order_type,
            time_in_force: c.time_in_force,
            self_trade: c.self_trade,
            trigger_price: c.trigger_price,
            good_til: c.good_til,
            turn: self.turn(),
            live: false,
            untriggered: false,
            handle: None,
        };
        let free = self.orders_free.iter().rev().nth(self.plan.orders_new.len()).copied();
        let slot = match free {
            Some(free) => {
                *self.orders.edit(free) = order;
                free
            }
            None => self.orders.add(order),
        };
        self.plan.orders_new.push(slot);
        slot
    }

    /// Of the order that is put somewhere next.
    fn turn(&self) -> Turn {
        Turn::new(self.now.seq, self.plan.orders_new.len())
    }

    /// Gives back what `qty` of an order that will not trade has reserved or open.
    pub(super) fn release(&mut self, account: u32, market: MarketId, order: OpenOrder, qty: Qty) {
        let spec = self.rules.market(market);
        let (kind, reserve_ppm) = (spec.kind, reserve_ppm(spec));
        let holdings = self.holdings.edit(account);
        match (kind, order.side) {
            (MarketKind::Perpetual(_), _) => holdings.market_mut(market).close(order, qty),
            (MarketKind::Spot { .. }, Side::Buy) => keel_ledger::buy_release(holdings, order.price, qty, reserve_ppm),
            (MarketKind::Spot { base }, Side::Sell) => keel_ledger::sell_release(holdings, base, qty),
        }
    }

    /// Gives back what a resting order has reserved or open beyond `left` to fill.
    pub(super) fn release_down_to(&mut self, order: &Order, left: Qty) {
        let spec = self.rules.market(order.market);
        let less = Qty(order.remaining().0 - left.0);
        match (spec.kind, order.side) {
            // A buy's reservation is a function of what is left, rounding included.
            (MarketKind::Spot { .. }, Side::Buy) => {
                let reserve_ppm = reserve_ppm(spec);
                let buyer = self.holdings.edit(order.account);
                keel_ledger::buy_release(buyer, order.price, order.remaining(), reserve_ppm);
                keel_ledger::buy_reserve(buyer, order.price, left, reserve_ppm);
            }
            _ => self.release(order.account, order.market, order.open_order(), less),
        }
    }

    /// `filled`: by this command.
    pub(super) fn taker_event(&mut self, taker: &Taker, filled: Qty, state: OrderState, ending: Ending) {
        let update = self.taker_update(taker, filled, state, ending);
        self.plan.events.push(Event::Order(update));
    }

    fn taker_update(&self, taker: &Taker, filled: Qty, state: OrderState, ending: Ending) -> OrderUpdate {
        let c = taker.command;
        OrderUpdate {
            order: c.signed.hash,
            account: c.signed.account,
            market: c.market,
            side: c.side,
            price: taker.price,
            client_id: c.client_id,
            state,
            reason: ending.reason,
            initiator: ending.initiator,
            size: taker.size_total(),
            filled: Qty(taker.filled_before().0 + filled.0),
            incident: ending.incident,
        }
    }
}

enum SelfTrade {
    /// The maker is gone; the taker goes on.
    GoOn,
    /// The taker ends here.
    Stop,
}

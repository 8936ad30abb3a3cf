use super::signed::Terms;
use crate::Engine;
use crate::rules::{band_edge, reserve_ppm, tighter};
use keel_ledger::OpenOrder;
use keel_types::*;

/// In REDUCE_ONLY a perpetual order that may add risk must be post-only and this near to the oracle. [spec safe-mode, Reopening: 0.5%]
const REDUCE_ONLY_PHASE_BAND_PPM: i128 = 5_000;

/// An order that has passed every check that needs no money.
#[derive(Clone, Copy)]
pub(crate) struct Taker<'a> {
    pub command: &'a PlaceOrder,
    pub account: u32,
    /// As the order will show it: its limit; for MARKET without a worst price the band edge.
    pub price: Price,
    /// Never trades beyond: the limit, or the band edge where that is nearer.
    pub limit: Price,
    /// The band edge is nearer than the limit: what is left at the edge is cancelled, it does not rest.
    pub beyond_band: bool,
    /// Whether what is left may rest.
    pub rests: bool,
    /// What it pays; the engine's own orders pay nothing.
    pub fee_ppm: i32,
}

impl Taker<'_> {
    /// As margin and reservations see it while it is matched.
    pub fn open_order(&self) -> OpenOrder {
        OpenOrder { side: self.command.side, price: self.limit, reduce_only: self.command.reduce_only }
    }
}

impl Engine {
    /// A new order: checked, matched, and what may rest rests. [spec exchange, Orders]
    pub(crate) fn place(&mut self, c: &PlaceOrder) {
        self.signed(&c.signed, Terms::ORDER, |engine, account| {
            let taker = engine.check_order(c, account)?;
            match engine.rules.market(c.market).kind {
                MarketKind::Spot { base } => engine.place_spot(&taker, base),
                MarketKind::Perpetual(_) => engine.place_perpetual(&taker),
            }
        });
    }

    /// Everything that can be said of an order without looking at money, in the order in which a client would fix it:
    /// market, phase, form, numbers, state of the market, limits.
    fn check_order<'a>(&self, c: &'a PlaceOrder, account: u32) -> Result<Taker<'a>, Reject> {
        let spec = self.rules.genesis.market(c.market).ok_or(Reject::UnknownMarket)?;
        let market = self.markets.get(u32::from(c.market.0));
        check_form(c, spec)?;
        if !self.phase_allows(c, spec) {
            return Err(Reject::PhaseForbids);
        }
        check_numbers(c, spec)?;

        let post_only = c.time_in_force == TimeInForce::PostOnly;
        let edge = band_edge(spec, market.mark, c.side);
        let price = if c.price.0 == 0 { edge } else { c.price };
        // A post-only order trades only passively, and passive orders far from mark are allowed.
        let limit = if post_only { price } else { tighter(c.side, price, edge) };
        let rests = c.order_type == OrderType::Limit && c.time_in_force != TimeInForce::Ioc;
        let taker =
            Taker { command: c, account, price, limit, beyond_band: limit != price, rests, fee_ppm: spec.fee_taker_ppm };

        check_notional(c, spec, if c.price.0 == 0 { market.mark } else { c.price })?;
        if !post_only && market.is_restricted(&self.rules.genesis.oracle, self.now.ts) {
            return Err(Reject::MarketHeld);
        }
        if c.client_id != 0 && self.accounts.get(account).order_of_client(c.client_id).is_some() {
            return Err(Reject::DuplicateClientId);
        }
        let holding = self.holdings.get(account).market(c.market);
        if rests && holding.orders >= self.rules.genesis.limits.orders_per_account_market {
            return Err(Reject::TooManyOrders);
        }
        if c.reduce_only && i128::from(c.size.0) > holding.reducible(c.side) {
            return Err(Reject::ReduceOnlyWouldIncrease);
        }
        if post_only && self.books[usize::from(c.market.0)].crosses(c.side, c.price) {
            return Err(Reject::PostOnlyWouldCross);
        }
        Ok(taker)
    }

    /// [spec safe-mode, Reopening]
    fn phase_allows(&self, c: &PlaceOrder, spec: &MarketSpec) -> bool {
        let post_only = c.time_in_force == TimeInForce::PostOnly;
        let spot = matches!(spec.kind, MarketKind::Spot { .. });
        match self.now.phase.phase {
            Phase::Halted | Phase::ReadOnly => false,
            Phase::Open => true,
            Phase::Spot | Phase::ReduceOnly if spot => post_only || self.now.ts >= self.now.phase.post_only_until,
            Phase::Spot => false,
            Phase::ReduceOnly => c.reduce_only || (post_only && self.is_near_oracle(c.market, c.price)),
        }
    }

    fn is_near_oracle(&self, market: MarketId, price: Price) -> bool {
        let oracle = i128::from(self.markets.get(u32::from(market.0)).oracle.0);
        (i128::from(price.0) - oracle).abs() * PPM <= oracle * REDUCE_ONLY_PHASE_BAND_PPM
    }

    /// Sells reserve base, buys reserve quote and the fee, at the limit and before anything is matched. [spec exchange, Spot]
    fn place_spot(&mut self, taker: &Taker, base: AssetId) -> Result<OutcomeResult, Reject> {
        let c = taker.command;
        let reserve_ppm = reserve_ppm(self.rules.market(c.market));
        match c.side {
            Side::Buy => {
                // A spot buy turns collateral into what counts as zero: it adds risk.
                if self.is_held_back(taker.account) {
                    return Err(Reject::MarketHeld);
                }
                let buyer = self.holdings.edit(taker.account);
                keel_ledger::buy_reserve(buyer, taker.limit, c.size, reserve_ppm);
                if buyer.balance(QUOTE).available() < 0 {
                    return Err(Reject::InsufficientBalance);
                }
                if !self.may_add_risk(taker.account) {
                    return Err(Reject::InsufficientMargin);
                }
            }
            Side::Sell => {
                let seller = self.holdings.edit(taker.account);
                keel_ledger::sell_reserve(seller, base, c.size);
                if seller.balance(base).available() < 0 {
                    return Err(Reject::InsufficientBalance);
                }
            }
        }
        Ok(self.match_order(taker))
    }

    /// Matched first, judged after: the account's margin as it would stand. A refusal drops all of it. [spec exchange, Perpetuals]
    fn place_perpetual(&mut self, taker: &Taker) -> Result<OutcomeResult, Reject> {
        let c = taker.command;
        let perpetual = *self.rules.perpetual(c.market);
        let holding = self.holdings.get(taker.account).market(c.market);
        let open = match c.side {
            Side::Buy => holding.open_buy + holding.position.size,
            Side::Sell => holding.open_sell - holding.position.size,
        };
        if !c.reduce_only && open + i128::from(c.size.0) > i128::from(perpetual.position_max.0) {
            return Err(Reject::PositionLimit);
        }
        let before = self.margin(taker.account);
        let open_interest_before = self.markets.get(u32::from(c.market.0)).open_interest;

        self.holdings.edit(taker.account).market_mut(c.market).open(taker.open_order(), c.size);
        let outcome = self.match_order(taker);

        let open_interest = self.markets.get(u32::from(c.market.0)).open_interest;
        if open_interest > open_interest_before && open_interest > i128::from(perpetual.open_interest_max.0) {
            return Err(Reject::OpenInterestCap);
        }
        let OutcomeResult::Order { filled, .. } = outcome else { unreachable!("matching has an order's outcome") };
        self.judge_margin(taker, &before, filled)?;
        Ok(outcome)
    }
}

/// Combinations of fields, and features that come later.
fn check_form(c: &PlaceOrder, spec: &MarketSpec) -> Result<(), Reject> {
    if !matches!(c.order_type, OrderType::Limit | OrderType::Market) {
        return Err(Reject::UnsupportedType);
    }
    if !matches!(c.time_in_force, TimeInForce::Gtc | TimeInForce::Ioc | TimeInForce::PostOnly) {
        return Err(Reject::UnsupportedTimeInForce);
    }
    if c.reduce_only && matches!(spec.kind, MarketKind::Spot { .. }) {
        return Err(Reject::UnsupportedFlag);
    }
    let market_post_only = c.order_type == OrderType::Market && c.time_in_force == TimeInForce::PostOnly;
    if c.trigger_price.0 != 0 || c.good_til.0 != 0 || market_post_only {
        return Err(Reject::InconsistentFields);
    }
    Ok(())
}

fn check_numbers(c: &PlaceOrder, spec: &MarketSpec) -> Result<(), Reject> {
    if c.size.is_zero() {
        return Err(Reject::SizeZero);
    }
    if !c.size.0.is_multiple_of(spec.lot_size.0) {
        return Err(Reject::OffLot);
    }
    if c.size > spec.size_max {
        return Err(Reject::SizeTooLarge);
    }
    if c.price.0 == 0 && c.order_type == OrderType::Limit {
        return Err(Reject::PriceRequired);
    }
    if !c.price.0.is_multiple_of(spec.tick_size.0) {
        return Err(Reject::OffTick);
    }
    if c.price > spec.price_max {
        return Err(Reject::PriceOutOfRange);
    }
    Ok(())
}

/// At the limit, for MARKET without one at mark. A reduce-only order may be small: a position must be closable to the last lot.
fn check_notional(c: &PlaceOrder, spec: &MarketSpec, price: Price) -> Result<(), Reject> {
    let notional = price.value_floor(i128::from(c.size.0));
    if notional < spec.notional_min.0 && !c.reduce_only {
        return Err(Reject::NotionalTooSmall);
    }
    if notional > spec.notional_max.0 {
        return Err(Reject::NotionalTooLarge);
    }
    Ok(())
}

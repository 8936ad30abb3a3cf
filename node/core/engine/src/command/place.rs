use super::cancel::Ending;
use super::signed::{Scope, Terms};
use crate::Engine;
use crate::order::{is_trigger, triggered_type};
use crate::rules::{band_edge, reserve_ppm, tighter};
use keel_ledger::{Margin, OpenOrder};
use keel_types::*;

/// In REDUCE_ONLY a perpetual order that may add risk must be post-only and this near to the oracle. [spec safe-mode, Reopening: 0.5%]
const REDUCE_ONLY_PHASE_BAND_PPM: i128 = 5_000;

/// A GTT order ends at most this far ahead: 90 days. [spec exchange, Signing: two times]
const GOOD_TIL_AHEAD_MS_MAX: u64 = 90 * 86_400_000;

/// Where an order that is about to match comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    New,
    /// Triggered just now; its slot.
    Triggered {
        slot: u32,
    },
    /// A resting order with new terms; its slot and what was filled before.
    Modified {
        slot: u32,
        filled: Qty,
    },
}

impl Origin {
    /// The slot it already has.
    pub fn slot(self) -> Option<u32> {
        match self {
            Origin::New => None,
            Origin::Triggered { slot } | Origin::Modified { slot, .. } => Some(slot),
        }
    }
}

/// An order that has passed every check that needs no money.
#[derive(Clone, Copy)]
pub(crate) struct Taker<'a> {
    /// Its `size` is what may trade now: less than the total when modified.
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
    pub origin: Origin,
}

impl Taker<'_> {
    /// Filled before this command.
    pub fn filled_before(&self) -> Qty {
        match self.origin {
            Origin::Modified { filled, .. } => filled,
            Origin::New | Origin::Triggered { .. } => Qty(0),
        }
    }

    /// As its events show it: fills before included.
    pub fn size_total(&self) -> Qty {
        Qty(self.command.size.0 + self.filled_before().0)
    }

    /// As margin and reservations see it while it is matched.
    pub fn open_order(&self) -> OpenOrder {
        OpenOrder { side: self.command.side, price: self.limit, reduce_only: self.command.reduce_only }
    }
}

impl Engine {
    /// A new order: checked, matched, and what may rest rests; one with a trigger waits. [spec exchange, Orders]
    pub(crate) fn place(&mut self, c: &PlaceOrder) {
        self.signed(&c.signed, Terms::ORDER, |engine, account| {
            let spec = engine.rules.genesis.market(c.market).ok_or(Reject::UnknownMarket)?;
            check_form(c, spec, engine.now.ts)?;
            engine.session_allows(&c.signed, account, Scope::Order(c.market, engine.order_notional(c)))?;
            if is_trigger(c.order_type) {
                return engine.place_untriggered(c, account);
            }
            let taker = engine.check_order(c, account, Origin::New)?;
            let outcome = engine.execute(&taker, None)?;
            Ok(if is_killed(&outcome) { engine.kill(&taker) } else { outcome })
        });
    }

    /// What an order would trade at most, quote quantums: a buy with a limit at that limit; whatever else, a sell above all, may trade at better
    /// prices than it names, so it counts at the highest of limit, trigger price and mark. Of any numbers: a session key's bound is looked
    /// at before the market's.
    pub(super) fn order_notional(&self, c: &PlaceOrder) -> i128 {
        let mark = self.markets.get(u32::from(c.market.0)).mark;
        let price = match c.side {
            Side::Buy if c.price.0 != 0 => c.price,
            _ => c.price.max(c.trigger_price).max(mark),
        };
        let product = u128::from(price.0) * u128::from(c.size.0);
        i128::try_from(product / u128::from(QUANTUMS_PER_UNIT)).expect("2^128 / 10^8 is less than 2^127")
    }

    /// Everything that can be said of an order without looking at money, in the order in which a client would fix it:
    /// phase, numbers, state of the market, limits. Form and market were checked when it came in.
    pub(super) fn check_order<'a>(&self, c: &'a PlaceOrder, account: u32, origin: Origin) -> Result<Taker<'a>, Reject> {
        let spec = self.rules.market(c.market);
        let market = self.markets.get(u32::from(c.market.0));
        if !self.phase_allows(c, spec) {
            return Err(Reject::PhaseForbids);
        }
        check_numbers(c, spec)?;

        let post_only = c.time_in_force == TimeInForce::PostOnly;
        let edge = band_edge(spec, market.mark, c.side);
        let price = if c.price.0 == 0 { edge } else { c.price };
        // A post-only order trades only passively, and passive orders far from mark are allowed.
        let limit = if post_only { price } else { tighter(c.side, price, edge) };
        let at_once = matches!(c.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        let rests = c.order_type == OrderType::Limit && !at_once;
        let beyond_band = limit != price;
        let taker = Taker { command: c, account, price, limit, beyond_band, rests, fee_ppm: spec.fee_taker_ppm, origin };

        check_notional(c, spec, self.order_notional(c))?;
        if !post_only && market.is_restricted(&self.rules.genesis.oracle, self.now.ts) {
            return Err(Reject::MarketHeld);
        }
        self.check_limits(c, account, origin, rests)?;
        let holding = self.holdings.get(account).market(c.market);
        if c.reduce_only && i128::from(c.size.0) > holding.reducible(c.side) {
            return Err(Reject::ReduceOnlyWouldIncrease);
        }
        Ok(taker)
    }

    /// Client ids are unique among open orders, and these are so many. `stays`: whether the order may be one of them.
    pub(super) fn check_limits(&self, c: &PlaceOrder, account: u32, origin: Origin, stays: bool) -> Result<(), Reject> {
        let of_command = |slot: &u32| {
            let order = self.orders.get(*slot);
            order.is_open() && order.account == account && order.client_id == c.client_id
        };
        let used = c.client_id != 0
            && (self.accounts.get(account).order_of_client(c.client_id).is_some()
                || self.plan.orders_new.iter().any(of_command));
        if used && origin == Origin::New {
            return Err(Reject::DuplicateClientId);
        }
        let holding = self.holdings.get(account).market(c.market);
        if stays && holding.orders >= self.rules.genesis.limits.orders_per_account_market {
            return Err(Reject::TooManyOrders);
        }
        Ok(())
    }

    /// Matches a checked order under the rules of its market. `before`: the account's margin where that is not what is staged. A
    /// refusal leaves things staged that the caller drops.
    pub(super) fn execute(&mut self, taker: &Taker, before: Option<Margin>) -> Result<OutcomeResult, Reject> {
        if taker.command.time_in_force == TimeInForce::PostOnly && self.would_cross(taker.command) {
            return Err(Reject::PostOnlyWouldCross);
        }
        match self.rules.market(taker.command.market).kind {
            MarketKind::Spot { base } => self.place_spot(taker, base),
            MarketKind::Perpetual(_) => self.place_perpetual(taker, before),
        }
    }

    /// A FOK that could not trade whole: all it has staged is dropped, and it says so. [spec exchange, Orders]
    pub(super) fn kill(&mut self, taker: &Taker) -> OutcomeResult {
        self.begin(self.now.seq, self.now.ts);
        let ending = Ending::new(Reason::FillOrKill, Initiator::Engine);
        self.taker_event(taker, Qty(0), OrderState::Cancelled, ending);
        let (size, filled) = (taker.size_total(), taker.filled_before());
        OutcomeResult::Order { state: OrderState::Cancelled, reason: ending.reason, size, filled, quote_filled: Amount(0) }
    }

    /// [spec safe-mode, Reopening]
    pub(super) fn phase_allows(&self, c: &PlaceOrder, spec: &MarketSpec) -> bool {
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
    fn place_perpetual(&mut self, taker: &Taker, before: Option<Margin>) -> Result<OutcomeResult, Reject> {
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
        let before = before.unwrap_or_else(|| self.margin(taker.account));
        let open_interest_before = self.markets.get(u32::from(c.market.0)).open_interest;

        self.holdings.edit(taker.account).market_mut(c.market).open(taker.open_order(), c.size);
        let outcome = self.match_order(taker);
        if is_killed(&outcome) {
            return Ok(outcome);
        }

        let open_interest = self.markets.get(u32::from(c.market.0)).open_interest;
        if open_interest > open_interest_before && open_interest > i128::from(perpetual.open_interest_max.0) {
            return Err(Reject::OpenInterestCap);
        }
        let OutcomeResult::Order { filled, .. } = outcome else { unreachable!("matching has an order's outcome") };
        self.judge_margin(taker, &before, Qty(filled.0 - taker.filled_before().0))?;
        Ok(outcome)
    }
}

/// Whether it is the outcome of a FOK that did not trade whole, with what it did trade still staged.
pub(super) fn is_killed(outcome: &OutcomeResult) -> bool {
    matches!(outcome, OutcomeResult::Order { reason: Reason::FillOrKill, .. })
}

/// Combinations of fields.
pub(super) fn check_form(c: &PlaceOrder, spec: &MarketSpec, now: Ts) -> Result<(), Reject> {
    if c.reduce_only && matches!(spec.kind, MarketKind::Spot { .. }) {
        return Err(Reject::UnsupportedFlag);
    }
    let trigger = is_trigger(c.order_type);
    if trigger && c.trigger_price.0 == 0 {
        return Err(Reject::TriggerPriceRequired);
    }
    let at_market = triggered_type(c.order_type) == OrderType::Market;
    let market_post_only = at_market && c.time_in_force == TimeInForce::PostOnly;
    // A market order never rests; one that waits for a trigger may end before that.
    let market_good_til = c.order_type == OrderType::Market && c.time_in_force == TimeInForce::Gtt;
    let good_til_unasked = c.time_in_force != TimeInForce::Gtt && c.good_til.0 != 0;
    if (!trigger && c.trigger_price.0 != 0) || market_post_only || market_good_til || good_til_unasked {
        return Err(Reject::InconsistentFields);
    }
    if c.time_in_force == TimeInForce::Gtt && (c.good_til <= now || c.good_til > now.plus_ms(GOOD_TIL_AHEAD_MS_MAX)) {
        return Err(Reject::BadGoodTil);
    }
    Ok(())
}

/// Size, limit price and trigger price against the market's grid and bounds.
pub(super) fn check_numbers(c: &PlaceOrder, spec: &MarketSpec) -> Result<(), Reject> {
    if c.size.is_zero() {
        return Err(Reject::SizeZero);
    }
    if !c.size.0.is_multiple_of(spec.lot_size.0) {
        return Err(Reject::OffLot);
    }
    if c.size > spec.size_max {
        return Err(Reject::SizeTooLarge);
    }
    if c.price.0 == 0 && triggered_type(c.order_type) == OrderType::Limit {
        return Err(Reject::PriceRequired);
    }
    let off_tick = |price: Price| !price.0.is_multiple_of(spec.tick_size.0);
    if off_tick(c.price) || off_tick(c.trigger_price) {
        return Err(Reject::OffTick);
    }
    if c.price.max(c.trigger_price) > spec.price_max {
        return Err(Reject::PriceOutOfRange);
    }
    Ok(())
}

/// A reduce-only order may be small: a position must be closable to the last lot.
pub(super) fn check_notional(c: &PlaceOrder, spec: &MarketSpec, notional: i128) -> Result<(), Reject> {
    if notional < spec.notional_min.0 && !c.reduce_only {
        return Err(Reject::NotionalTooSmall);
    }
    if notional > spec.notional_max.0 {
        return Err(Reject::NotionalTooLarge);
    }
    Ok(())
}

use crate::Engine;
use crate::command::{Ending, Taker};
use keel_ledger::{Holdings, Margin, MarginTerms, Reduction, imf_scaled_ppm, market_margin};
use keel_types::*;
use std::cmp::Reverse;

/// Margin at one moment, and the rules that hang on it. [spec exchange, Perpetuals: cross margin; Oracle]
impl Engine {
    /// A perpetual's terms at its mark and open interest, both with what is staged.
    pub(crate) fn terms(&self, market: MarketId) -> MarginTerms {
        let (spec, perpetual) = (self.rules.market(market), self.rules.perpetual(market));
        let state = self.markets.get(u32::from(market.0));
        let open_interest = state.mark.value_floor(state.open_interest);
        let mmf = div_ceil(i128::from(perpetual.imf_ppm) * i128::from(perpetual.mmf_factor_ppm), PPM);
        MarginTerms {
            mark: state.mark,
            imf_ppm: imf_scaled_ppm(perpetual, open_interest),
            mmf_ppm: u32::try_from(mmf).expect("a fraction of a fraction"),
            fee_ppm: spec.fee_taker_ppm,
            funding_index: state.funding_index,
        }
    }

    /// The account's margin, with what is staged.
    pub(crate) fn margin(&self, account: u32) -> Margin {
        self.margin_of(self.holdings.get(account), account)
    }

    /// The margin these holdings would have with the account's open orders.
    pub(crate) fn margin_of(&self, holdings: &Holdings, account: u32) -> Margin {
        self.margin_by(holdings, |market| {
            let terms = self.terms(market);
            let holding = holdings.market(market);
            market_margin(
                &terms,
                holding,
                self.open_loss(account, market, holding.may_have_open_loss(terms.mark), terms.mark),
            )
        })
    }

    fn margin_by(&self, holdings: &Holdings, part: impl Fn(MarketId) -> keel_ledger::MarketMargin) -> Margin {
        let mut margin = Margin::of_collateral(holdings.balance(QUOTE).available());
        for market in &self.rules.perpetuals {
            if !holdings.market(*market).is_idle() {
                margin.add(part(*market));
            }
        }
        margin
    }

    /// Sum of the open losses of the account's orders in a market; spares the walk when there can be none.
    pub(crate) fn open_loss(&self, account: u32, market: MarketId, possible: bool, mark: Price) -> i128 {
        if !possible {
            return 0;
        }
        let slots = self.order_slots(account).map(|slot| self.orders.get(slot));
        let orders = slots.filter(|order| order.live && order.market == market);
        orders.map(|order| keel_ledger::open_loss(order.side, order.price, order.remaining(), mark)).sum()
    }

    /// Slots of the account's orders, those being placed included; some may have ended in this command.
    pub(crate) fn order_slots(&self, account: u32) -> impl Iterator<Item = u32> + '_ {
        let known = (account < self.accounts.len()).then(|| self.accounts.get(account).orders());
        let placed = self.plan.orders_new.iter().copied().filter(move |slot| self.orders.get(*slot).account == account);
        known.into_iter().flatten().chain(placed)
    }

    /// Margin as it counts for new risk: until the grace after an incident is over, without profit on paper.
    fn counted(&self, margin: Margin) -> Margin {
        if self.in_grace() { margin.without_profit() } else { margin }
    }

    /// Whether an incident runs, or the grace after one: profit on paper backs nothing then, for no market that made it is known to be
    /// sound. [spec safe-mode, Reopening]
    pub(crate) fn in_grace(&self) -> bool {
        self.now.phase.phase != Phase::Open || self.now.ts < self.now.phase.grace_until
    }

    /// Whether the account covers its initial margin.
    pub(crate) fn may_add_risk(&self, account: u32) -> bool {
        self.counted(self.margin(account)).covers_initial()
    }

    /// Whether the account has a position in a market that is held or stale: then it neither withdraws nor adds risk, in any market.
    pub(crate) fn is_held_back(&self, account: u32) -> bool {
        let holdings = self.holdings.get(account);
        self.rules.perpetuals.iter().any(|market| {
            holdings.market(*market).position.size != 0
                && self.markets.get(u32::from(market.0)).is_restricted(&self.rules.genesis.oracle, self.now.ts)
        })
    }

    /// How much of `wanted` a maker may trade now, or why its order must go instead: a reduce-only order that no longer reduces, or
    /// one that would add risk while its account may not. [spec exchange, Orders]
    pub(crate) fn maker_allowance(&self, slot: u32, wanted: Qty) -> Result<Qty, Reason> {
        let order = self.orders.get(slot);
        if matches!(self.rules.market(order.market).kind, MarketKind::Spot { .. }) {
            // A spot buy turns collateral into what counts as zero: it adds risk, also when it was placed before the loss.
            let adds = order.side == Side::Buy && (self.is_held_back(order.account) || !self.may_add_risk(order.account));
            return if adds { Err(Reason::Margin) } else { Ok(wanted) };
        }
        let reducible = self.holdings.get(order.account).market(order.market).reducible(order.side);
        // Not larger than `wanted`, so it fits.
        let reduces = Qty(reducible.min(i128::from(wanted.0)) as u64);
        if order.reduce_only {
            return if reduces.is_zero() { Err(Reason::ReduceOnly) } else { Ok(reduces) };
        }
        let adds = reduces < wanted;
        if adds && (self.is_held_back(order.account) || !self.may_add_risk(order.account)) {
            return Err(Reason::Margin);
        }
        Ok(wanted)
    }

    /// Whether the order just matched may stand, given the account's margin before it. `traded`: how much of it was filled.
    pub(crate) fn judge_margin(&mut self, taker: &Taker, before: &Margin, traded: Qty) -> Result<(), Reject> {
        let after = self.margin(taker.account);
        if self.is_held_back(taker.account) && (after.initial > before.initial || self.has_opened(taker)) {
            return Err(Reject::MarketHeld);
        }
        if after.initial > before.initial && self.in_grace() {
            self.plan.ungraced = Some(taker.account);
        }
        // The third rule costs a second look, and is needed rarely.
        let stands = |reduction| keel_ledger::accepts(before, &self.counted(after), !traded.is_zero(), reduction);
        if stands(None) {
            return Ok(());
        }
        let at_limit = self.reduction(taker).ok_or(Reject::InsufficientMargin)?;
        // Filled whole: what it really came to is the better word than the limit it might have come to.
        let filled_whole = traded == taker.command.size;
        match stands(Some(at_limit)) || (filled_whole && stands(Some(Reduction { filled: after, ..at_limit }))) {
            true => Ok(()),
            false => Err(Reject::InsufficientMargin),
        }
    }

    /// Whether the order's fills did more than reduce the position: it grew, or turned over. IMR does not show it when an order of the other side
    /// was as large.
    fn has_opened(&self, taker: &Taker) -> bool {
        let size = |holdings: &Holdings| holdings.market(taker.command.market).position.size;
        let before = self.holdings_before(taker.account).map_or(0, size);
        let after = size(self.holdings.get(taker.account));
        after.abs() > before.abs() || after.signum() == -before.signum() && after != 0
    }

    /// An account's holdings before the order at hand.
    fn holdings_before(&self, account: u32) -> Option<&Holdings> {
        match &self.plan.holdings_before {
            Some((of, holdings)) if *of == account => Some(holdings),
            _ => self.holdings.installed(account),
        }
    }

    /// The account as it would be had the order been filled at its limit, when all it can do, with the account's other orders of its
    /// side, is reduce the position.
    fn reduction(&self, taker: &Taker) -> Option<Reduction> {
        let c = taker.command;
        let mut holdings = self.holdings_before(taker.account)?.clone();
        let holding = holdings.market_mut(c.market);
        // A modified order takes the place of itself.
        let replaced = taker.origin.slot().and_then(|slot| self.orders.installed(slot));
        if let Some(old) = replaced.filter(|old| old.live) {
            holding.close(old.open_order(), old.remaining());
        }
        let open = if c.side == Side::Buy { holding.open_buy } else { holding.open_sell };
        let reducible = holding.reducible(c.side);
        if open + i128::from(c.size.0) > reducible {
            return None;
        }
        let terms = self.terms(c.market);
        let change = keel_ledger::trade(holding.position, terms.funding_index, c.side, c.size, taker.limit);
        holding.position = change.after;
        let fee = fee(taker.limit.notional(c.size), self.rules.market(c.market).fee_taker_ppm);
        holdings.credit(QUOTE, change.realized + change.funding - fee);
        Some(Reduction { filled: self.margin_of(&holdings, taker.account), full_close: change.after.size == 0 })
    }

    /// Most quote quantums the account may take out. Before OPEN each market counts at the worse of the mark before the incident and
    /// the oracle of now; until the grace after it is over profit on paper does not count. [spec exchange, Perpetuals; spec safe-mode,
    /// Reopening]
    pub(crate) fn withdrawable(&self, account: u32) -> i128 {
        if self.now.phase.phase == Phase::Open {
            return keel_ledger::withdrawable(&self.margin(account), self.in_grace());
        }
        let holdings = self.holdings.get(account);
        let worst = self.margin_by(holdings, |market| {
            let state = self.markets.get(u32::from(market.0));
            let at = |mark: Price| {
                let terms = MarginTerms { mark, ..self.terms(market) };
                let holding = holdings.market(market);
                market_margin(&terms, holding, self.open_loss(account, market, holding.may_have_open_loss(mark), mark))
            };
            let (last_good, fresh) = (at(state.mark_before_incident), at(state.oracle));
            if last_good.unrealized - last_good.initial < fresh.unrealized - fresh.initial { last_good } else { fresh }
        });
        keel_ledger::withdrawable(&worst, true)
    }

    /// Cancels reduce-only orders in a market beyond what their account can still reduce, most passive first, for every account the
    /// command touched. [spec exchange, Perpetuals]
    pub(crate) fn keep_reduce_only(&mut self, market: MarketId) {
        for n in 0..self.holdings.touched_len() {
            let (account, _, holdings) = self.holdings.touched(n);
            let holding = holdings.market(market);
            if holding.open_reduce_only == 0 {
                continue;
            }
            let room = holding.reducible(Side::Buy) + holding.reducible(Side::Sell);
            let closing = if holding.position.size > 0 { Side::Sell } else { Side::Buy };
            if holding.open_reduce_only > room || self.has_wrong_side(account, market, closing) {
                self.trim_reduce_only(account, market, closing, room);
            }
        }
    }

    fn has_wrong_side(&self, account: u32, market: MarketId, closing: Side) -> bool {
        let mut orders = self.order_slots(account).map(|slot| self.orders.get(slot));
        orders.any(|order| order.live && order.market == market && order.reduce_only && order.side != closing)
    }

    /// Cancels the account's reduce-only orders of the wrong side, then of the others the most passive, until the rest fits `room`.
    /// An order that fits in part is cancelled whole: what it promised is no longer there.
    fn trim_reduce_only(&mut self, account: u32, market: MarketId, closing: Side, room: i128) {
        let wanted = |slot: &u32| {
            let order = self.orders.get(*slot);
            order.live && order.market == market && order.reduce_only
        };
        let mut slots: Vec<u32> = self.order_slots(account).filter(wanted).collect();
        // Wrong side first; then the most passive; of equal prices the later.
        slots.sort_unstable_by_key(|slot| {
            let order = self.orders.get(*slot);
            (order.side == closing, order.side.sign() * i128::from(order.price.0), Reverse(order.turn))
        });
        let mut open: i128 = slots.iter().map(|slot| i128::from(self.orders.get(*slot).remaining().0)).sum();
        for slot in slots {
            let order = self.orders.get(slot);
            if order.side == closing && open <= room {
                break;
            }
            open -= i128::from(order.remaining().0);
            self.cancel_order(slot, Ending::new(Reason::ReduceOnly, Initiator::Risk));
        }
    }
}

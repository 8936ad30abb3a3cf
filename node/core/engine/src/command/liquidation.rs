use super::cancel::Ending;
use super::place::{Origin, Taker};
use crate::Engine;
use crate::engine::Globals;
use crate::rules::{band_edge, edge, tighter};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_ledger::liquidation as rule;
use keel_types::*;

/// Tries at closing on the book before the account is taken over: the first and three more. [spec exchange, Liquidation]
const CLOSE_ATTEMPTS: u8 = 4;
/// "The next mark" is at least this much later: between two tries somebody must be able to bid.
const RETRY_MS: u64 = 1_000;
/// The fund unwinds by orders at most this far from mark: 0.5%, well inside any band.
const UNWIND_REACH_PPM: i128 = 5_000;

/// A liquidation that has begun; it ends when the account is healthy again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Liquidation {
    /// Tries at closing so far.
    pub attempts: u8,
    /// When the last step was: the next waits for a mark at least [RETRY_MS] newer.
    pub ts: Ts,
}

impl Engine {
    /// The account whose turn it is: the exchange is open, and there is a mark since its last step. In a grace only those who took on new risk since
    /// the incident began. [spec safe-mode, Reopening: grace protects positions only as they stood]
    pub(crate) fn first_to_liquidate(&self, now: Ts) -> Option<u32> {
        let Globals { phase, mark_ts, .. } = &self.globals;
        let newest = Ts(mark_ts.0.saturating_sub(RETRY_MS * 1_000_000));
        match (phase.phase == Phase::Open, now >= phase.grace_until) {
            (false, _) => None,
            (true, true) => self.watch.first_at_risk(newest),
            (true, false) => self.ungraced.iter().copied().find(|account| self.watch.is_ready(*account, newest)),
        }
    }

    /// One step for one account. [spec exchange, Liquidation]
    pub(crate) fn liquidate(&mut self, account: u32) {
        let mut state = self.liquidations.get(&account).copied().unwrap_or(Liquidation { attempts: 0, ts: Ts(0) });
        // With a position in a market that is held or stale its price is not known: later.
        if self.is_held_back(account) {
            state.ts = self.now.mark_ts;
            self.plan.liquidation = Some((account, state));
            return;
        }
        let inputs = self.margin_inputs(account);
        let margin = rule::margin_of(&inputs);
        let attempts = state.attempts;
        let cancelled = self.cancel_orders_of(account, None, Ending::new(Reason::Liquidation, Initiator::Liquidation));
        let (fund, decision) = if cancelled > 0 {
            // What they had reserved may already be enough; whatever is left to do follows at once.
            (None, LiquidationDecision::Cancel { count: cancelled })
        } else if margin.value > 0 && (attempts < CLOSE_ATTEMPTS || !rule::is_near_bankruptcy(&margin)) {
            state.attempts = attempts.saturating_add(1);
            state.ts = self.now.mark_ts;
            (None, self.close_on_book(account, &inputs))
        } else {
            let fund = self.margin_inputs(self.insurance_account);
            let decision = match rule::fund_can_take(&fund, &inputs) {
                true => self.take_over(account, &inputs),
                false => self.deleverage(account, &inputs, &fund),
            };
            // Nobody to close against, and the fund cannot: only another mark can help.
            if matches!(decision, LiquidationDecision::Deleverage { size: Qty(0), .. }) {
                state.ts = self.now.mark_ts;
            }
            (Some(fund), decision)
        };
        let receipt = LiquidationReceipt { account: self.address(account), attempts, inputs, fund, decision };
        self.plan.events.push(Event::Liquidation(Box::new(receipt)));
        self.plan.liquidation = Some((account, state));
    }

    /// Everything the account's margin is made of, for a receipt.
    fn margin_inputs(&self, account: u32) -> MarginInputs {
        let holdings = self.holdings.get(account);
        let held = self.rules.perpetuals.iter().filter(|market| holdings.market(**market).position.size != 0);
        let input = |market: &MarketId| {
            let (terms, spec) = (self.terms(*market), self.rules.market(*market));
            let position = holdings.market(*market).position;
            MarketInputs {
                market: *market,
                size: Amount(position.size),
                cost: Amount(position.cost),
                entry_index: Amount(position.funding_index),
                funding_index: Amount(terms.funding_index),
                mark: terms.mark,
                imf_ppm: terms.imf_ppm,
                mmf_ppm: terms.mmf_ppm,
                fee_ppm: terms.fee_ppm,
                liquidation_fee_ppm: self.rules.perpetual(*market).liquidation_fee_ppm,
                tick_size: spec.tick_size,
                lot_size: spec.lot_size,
                price_max: spec.price_max,
            }
        };
        MarginInputs { collateral: Amount(holdings.balance(QUOTE).available()), markets: held.map(input).collect() }
    }

    /// Step 2: closes part of every position, no worse than its bankruptcy price; then charges the fee. The taker fee is not charged on top: the
    /// bankruptcy price leaves nothing for it.
    fn close_on_book(&mut self, account: u32, inputs: &MarginInputs) -> LiquidationDecision {
        let (fifths, closing) = rule::close_plan(inputs);
        let mut orders = Vec::with_capacity(closing.len());
        let mut fees = 0;
        for (n, close) in closing.iter().enumerate() {
            let (filled, quote) = self.close_position(account, close, n as u8);
            let fee_ppm = self.rules.perpetual(close.market).liquidation_fee_ppm;
            fees += rule::liquidation_fee(quote, fee_ppm);
            let rule::Closing { market, side, size, limit } = *close;
            orders.push(CloseOrder { market, side, size, limit, filled, quote: Amount(quote) });
        }
        let equity_left = self.margin(account).value.max(0);
        let fee = fees.min(equity_left);
        self.charge(account, fee);
        LiquidationDecision::Close { fifths, orders, equity_left: Amount(equity_left), fee: Amount(fee) }
    }

    /// An order of the engine's own: immediate, reduce-only, free of charge. Returns size and quote traded.
    fn close_position(&mut self, account: u32, close: &rule::Closing, n: u8) -> (Qty, i128) {
        let spec = self.rules.market(close.market);
        let edge = band_edge(spec, self.markets.get(u32::from(close.market.0)).mark, close.side);
        let hash = self.own_hash(n);
        let command = PlaceOrder {
            signed: Signed {
                account: self.address(account),
                nonce: 0,
                valid_until: self.now.ts,
                hash,
                session_key: StarkKey::default(),
            },
            market: close.market,
            side: close.side,
            order_type: OrderType::Limit,
            size: close.size,
            price: close.limit,
            trigger_price: Price(0),
            time_in_force: TimeInForce::Ioc,
            good_til: Ts(0),
            reduce_only: true,
            self_trade: SelfTradeMode::CancelMaker,
            client_id: 0,
        };
        let limit = tighter(close.side, close.limit, edge);
        let taker = Taker {
            command: &command,
            account,
            price: close.limit,
            limit,
            beyond_band: limit != close.limit,
            rests: false,
            fee_ppm: 0,
            origin: Origin::New,
        };
        self.holdings.edit(account).market_mut(close.market).open(taker.open_order(), close.size);
        match self.match_order(&taker) {
            OutcomeResult::Order { filled, quote_filled, .. } => (filled, quote_filled.0),
            other => unreachable!("matching has an order's outcome, not {other:?}"),
        }
    }

    /// Identity of an order that nobody signed: BLAKE3 of the command's number and `n`, cut to 248 bits so that it is a felt.
    fn own_hash(&self, n: u8) -> MessageHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"KEEL_ENGINE_ORDER").update(&self.now.seq.0.to_le_bytes()).update(&[n]);
        MessageHash(Felt::from_bytes_be_slice(&hasher.finalize().as_bytes()[..31]))
    }

    /// Moves a fee to the insurance fund.
    fn charge(&mut self, account: u32, fee: i128) {
        if fee != 0 {
            self.holdings.edit(account).credit(QUOTE, -fee);
            self.holdings.edit(self.insurance_account).credit(QUOTE, fee);
        }
    }

    /// Step 3: the fund takes every position at mark, its fee, and what the account owes.
    fn take_over(&mut self, account: u32, inputs: &MarginInputs) -> LiquidationDecision {
        let fund = self.insurance_account;
        for market in &inputs.markets {
            self.checkpoint();
            let value = rule::value_at_mark(market);
            self.transfer_position(account, market.market, -market.size.0, -value);
            self.transfer_position(fund, market.market, market.size.0, value);
        }
        let equity = self.holdings.get(account).balance(QUOTE).available();
        let (fee, deficit) = (rule::take_over_fee(inputs), (-equity).max(0));
        self.charge(account, fee);
        self.charge(account, -deficit);
        self.keep_all_reduce_only();
        LiquidationDecision::TakeOver { left: Amount(equity.max(0) - fee), fee: Amount(fee), deficit: Amount(deficit) }
    }

    /// Books `size` at `value`, both signed, in an account that pays no fee. Quote quantums realised.
    fn transfer_position(&mut self, account: u32, market: MarketId, size: i128, value: i128) -> i128 {
        let change = self.book_position(account, market, size, value);
        self.collect(0, change.rounding);
        change.realized
    }

    /// A position that changed hands may have taken the reason from reduce-only orders.
    fn keep_all_reduce_only(&mut self) {
        for n in 0..self.rules.perpetuals.len() {
            self.keep_reduce_only(self.rules.perpetuals[n]);
        }
    }

    /// Step 4: opposite positions are closed against the account at its bankruptcy price, never more than needed.
    fn deleverage(&mut self, account: u32, inputs: &MarginInputs, fund: &MarginInputs) -> LiquidationDecision {
        let (market, side, price) = rule::deleverage_market(inputs).expect("an account at risk has a position");
        let candidates = self.deleverage_candidates(market, side);
        let wanted = rule::deleverage_size(inputs, fund, market, price);
        let (lot, mark) = (self.rules.market(market).lot_size, self.markets.get(u32::from(market.0)).mark);
        let shares = rule::deleverage_shares(wanted, lot, (mark, price), &candidates);
        for (n, share) in shares.iter().enumerate() {
            self.checkpoint();
            self.close_against(account, (market, side, price), share, n);
        }
        // What the rounding of the price left goes to the fund, and the fund owes the same.
        if self.margin_inputs(account).markets.is_empty() {
            let left = self.holdings.get(account).balance(QUOTE).available();
            self.charge(account, left);
        }
        self.keep_reduce_only(market);
        let size = Qty(shares.iter().map(|share| share.size.0).sum());
        LiquidationDecision::Deleverage { market, side, price, size, shares, candidates }
    }

    /// Accounts with a position of `side` (Buy: long) in a market, but the fund, by address: the most that one command may close
    /// with, those with the largest weight. Their numbers are those before the step.
    fn deleverage_candidates(&self, market: MarketId, side: Side) -> Vec<DeleverageCandidate> {
        let mut found: Vec<DeleverageCandidate> = Vec::new();
        for account in 0..self.accounts.len() {
            let position = self.holdings.get(account).market(market).position;
            if account == self.insurance_account || side.sign() * position.size <= 0 {
                continue;
            }
            let terms = self.terms(market);
            let profit = terms.mark.value_floor(position.size) - position.cost
                + keel_ledger::funding_payment(&position, terms.funding_index);
            found.push(DeleverageCandidate {
                account: self.address(account),
                size: Amount(position.size),
                cost: Amount(position.cost),
                profit: Amount(profit),
                value: Amount(self.margin(account).value),
            });
        }
        let mark = self.markets.get(u32::from(market.0)).mark;
        let most = self.rules.genesis.limits.fills_per_command as usize;
        found.sort_by_cached_key(|c| (std::cmp::Reverse(rule::weight(c, mark)), c.account));
        found.truncate(most);
        found.sort_unstable_by_key(|c| c.account);
        found
    }

    /// Two positions are closed against each other at a price, without fees; a fill with orders that nobody signed.
    fn close_against(
        &mut self,
        account: u32,
        (market, side, price): (MarketId, Side, Price),
        share: &DeleverageShare,
        n: usize,
    ) {
        let (counterparty, size) = (self.accounts.find(&share.account).expect("a candidate is an account"), share.size);
        let (signed, value) = (side.sign() * i128::from(size.0), side.sign() * price.notional(size));
        let of_account = self.transfer_position(account, market, signed, value);
        let of_counterparty = self.transfer_position(counterparty, market, -signed, -value);
        let state = self.markets.edit(u32::from(market.0));
        state.trades += 1;
        let trade = TradeId(state.trades);
        let hash = self.own_hash(u8::try_from(n.min(255)).expect("bounded"));
        let party = |account, realized| FillSide { account, order: hash, fee: Amount(0), realized_pnl: Amount(realized) };
        self.plan.events.push(Event::Fill(Fill {
            market,
            trade,
            price,
            size,
            taker_side: side,
            maker: party(self.address(counterparty), of_counterparty),
            taker: party(self.address(account), of_account),
        }));
    }

    /// Where the fund can close part of what it holds: the market, its closing order.
    fn unwinding(&self, now: Ts) -> Option<rule::Closing> {
        let holdings = self.holdings.get(self.insurance_account);
        let candidates = self.rules.perpetuals.iter().filter_map(|market| {
            let size = holdings.market(*market).position.size;
            let state = self.markets.get(u32::from(market.0));
            if size == 0 || state.is_restricted(&self.rules.genesis.oracle, now) {
                return None;
            }
            let side = rule::closing_side(size);
            let limit = self.unwind_limit(*market, side);
            let crosses = self.books[usize::from(market.0)].crosses(side, limit);
            // A slice for each mark: what trades at once at these prices is the impact notional.
            let lot = i128::from(self.rules.market(*market).lot_size.0);
            let impact = self.rules.perpetual(*market).impact_notional.0 * i128::from(QUANTUMS_PER_UNIT);
            let slice = (impact / i128::from(limit.0) / lot).max(1) * lot;
            let size = Qty(u64::try_from(size.abs().min(slice)).expect("a size within the market's bounds"));
            crosses.then_some(rule::Closing { market: *market, side, size, limit })
        });
        candidates.max_by_key(|close| (i128::from(close.size.0) * i128::from(close.limit.0), close.market))
    }

    /// No more than 0.5% worse than mark and than oracle, to the tick, on the near side: a mark that a thin book has moved sells nothing cheaply.
    fn unwind_limit(&self, market: MarketId, side: Side) -> Price {
        let spec = self.rules.market(market);
        let state = self.markets.get(u32::from(market.0));
        let from = tighter(side, state.mark, state.oracle);
        edge(spec, from, UNWIND_REACH_PPM, side).max(spec.tick_size)
    }

    /// What the fund should try to close now: once for each mark, and only when somebody is there to trade with.
    pub(crate) fn due_unwinding(&self, now: Ts) -> Option<rule::Closing> {
        let Globals { phase, marks, fund_marks, .. } = &self.globals;
        if phase.phase != Phase::Open || fund_marks >= marks {
            return None;
        }
        self.unwinding(now)
    }

    /// One reduce-only order of the fund. [spec exchange, Liquidation: step 3]
    pub(crate) fn unwind_fund(&mut self, close: &rule::Closing) {
        self.now.fund_marks = self.now.marks;
        self.close_position(self.insurance_account, close, 0);
    }
}

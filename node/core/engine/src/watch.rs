//! Who must be looked at when a mark or a funding index moves: found without visiting everybody.
//!
//! An account's buffer, AV - MMR (with open orders AV - IMR), can shrink by at most so much for each quantum a mark or an index moves. From that
//! follow, for each of its markets, two marks and two indices within which the buffer cannot be used up; they stand in ordered sets. A
//! market that leaves an account's range has the account computed anew, and only that one. The sets follow from the rest of the state
//! and decide nothing: who is liquidatable is always computed, so two engines with different ranges agree.

use crate::Engine;
use keel_ledger::{Holdings, Margin, MarginTerms, market_margin, mul_div_floor};
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet};

/// Share of a buffer that marks may use up; the rest is for funding, which moves slowly.
const MARK_SHARE_PERCENT: i128 = 90;
/// Quantums a market's value and requirements may be off by rounding.
const ROUNDING_PER_MARKET: i128 = 4;

/// A kept range is renewed when it is this many times narrower than it might be.
const NARROW: i128 = 16;

/// One edge of a range, of all accounts in a market.
type Edge = BTreeSet<(i128, u32)>;

/// The ranges of one market.
#[derive(Debug, Default)]
struct MarketEdges {
    mark_low: Edge,
    mark_high: Edge,
    index_low: Edge,
    index_high: Edge,
}

/// Where one account stands in the edges of one market. The extremes of the type mean no edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    market: MarketId,
    mark_low: i128,
    mark_high: i128,
    index_low: i128,
    index_high: i128,
}

impl Range {
    /// Half as far: what is kept, so that a small change of the account leaves it in its place.
    fn halved(self, (mark, index): (i128, i128)) -> Range {
        let near = |edge: i128, at: i128, nowhere: i128| if edge == nowhere { edge } else { at + (edge - at) / 2 };
        // An edge is never at the mark itself, where it would be left at once.
        Range {
            market: self.market,
            mark_low: near(self.mark_low, mark, i128::MIN).min(self.mark_low.max(mark - 1)),
            mark_high: near(self.mark_high, mark, i128::MAX).max(self.mark_high.min(mark + 1)),
            index_low: near(self.index_low, index, i128::MIN).min(self.index_low.max(index - 1)),
            index_high: near(self.index_high, index, i128::MAX).max(self.index_high.min(index + 1)),
        }
    }

    /// Whether it lies within a range that is safe now, and is not so narrow that it would be left again and again.
    fn still_serves(&self, safe: &Range) -> bool {
        let inside = self.market == safe.market
            && self.mark_low >= safe.mark_low
            && self.mark_high <= safe.mark_high
            && self.index_low >= safe.index_low
            && self.index_high <= safe.index_high;
        let wide = |range: &Range| range.mark_high.saturating_sub(range.mark_low);
        inside && (wide(safe) == i128::MAX || wide(self).saturating_mul(NARROW) >= wide(safe))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    edges: Vec<MarketEdges>,
    ranges: BTreeMap<u32, Vec<Range>>,
    /// Accounts with a position and AV < MMR, by (time of the last step of their liquidation, account).
    at_risk: BTreeSet<(Ts, u32)>,
    /// The same, to find the place.
    at_risk_since: BTreeMap<u32, Ts>,
    /// Accounts with AV < IMR and orders whose cancelling helps.
    short: BTreeSet<u32>,
    /// Accounts whose holdings the running command changes.
    touched: Vec<u32>,
    /// Markets whose mark or index it changes.
    moved: Vec<MarketId>,
    /// Accounts whose range those have left.
    left: BTreeSet<u32>,
    /// Accounts computed anew, ever: what a benchmark shows.
    pub(crate) visits: u64,
}

impl Watch {
    pub fn new(markets: usize) -> Watch {
        Watch {
            edges: (0..markets).map(|_| MarketEdges::default()).collect(),
            ranges: BTreeMap::new(),
            at_risk: BTreeSet::new(),
            at_risk_since: BTreeMap::new(),
            short: BTreeSet::new(),
            touched: Vec::new(),
            moved: Vec::new(),
            left: BTreeSet::new(),
            visits: 0,
        }
    }

    /// The account to liquidate next, if its last step was not after `newest`.
    pub fn first_at_risk(&self, newest: Ts) -> Option<u32> {
        self.at_risk.first().filter(|(since, _)| *since <= newest).map(|(_, account)| *account)
    }

    /// Whether this one may be.
    pub fn is_ready(&self, account: u32, newest: Ts) -> bool {
        self.at_risk_since.get(&account).is_some_and(|since| *since <= newest)
    }

    /// The account whose orders must be cancelled next.
    pub fn first_short(&self) -> Option<u32> {
        self.short.first().copied()
    }

    pub fn is_at_risk(&self, account: u32) -> bool {
        self.at_risk_since.contains_key(&account)
    }

    pub fn is_short(&self, account: u32) -> bool {
        self.short.contains(&account)
    }

    /// Whether the account's ranges need not change: it is neither at risk nor short, and each still serves.
    fn holds(&self, account: u32, safe: &[Range]) -> bool {
        let kept = self.ranges.get(&account).is_some_and(|kept| {
            kept.len() == safe.len() && kept.iter().zip(safe).all(|(kept, safe)| kept.still_serves(safe))
        });
        kept && !self.left.contains(&account)
    }

    fn remove(&mut self, account: u32) {
        for range in self.ranges.remove(&account).unwrap_or_default() {
            let edges = &mut self.edges[usize::from(range.market.0)];
            edges.mark_low.remove(&(range.mark_low, account));
            edges.mark_high.remove(&(range.mark_high, account));
            edges.index_low.remove(&(range.index_low, account));
            edges.index_high.remove(&(range.index_high, account));
        }
        if let Some(since) = self.at_risk_since.remove(&account) {
            self.at_risk.remove(&(since, account));
        }
        self.short.remove(&account);
    }

    fn insert(&mut self, account: u32, ranges: Vec<Range>) {
        for range in &ranges {
            let edges = &mut self.edges[usize::from(range.market.0)];
            // An edge nothing can reach needs no place.
            let add = |edge: &mut Edge, at: i128, nowhere: i128| {
                if at != nowhere {
                    edge.insert((at, account));
                }
            };
            add(&mut edges.mark_low, range.mark_low, i128::MIN);
            add(&mut edges.mark_high, range.mark_high, i128::MAX);
            add(&mut edges.index_low, range.index_low, i128::MIN);
            add(&mut edges.index_high, range.index_high, i128::MAX);
        }
        if !ranges.is_empty() {
            self.ranges.insert(account, ranges);
        }
    }

    /// Accounts whose range a market at this mark and index has left.
    fn outside(&self, market: MarketId, mark: Price, index: i128, found: &mut BTreeSet<u32>) {
        let edges = &self.edges[usize::from(market.0)];
        let mark = i128::from(mark.0);
        found.extend(edges.mark_low.range((mark, 0)..).map(|(_, account)| *account));
        found.extend(edges.mark_high.range(..=(mark, u32::MAX)).map(|(_, account)| *account));
        found.extend(edges.index_low.range((index, 0)..).map(|(_, account)| *account));
        found.extend(edges.index_high.range(..=(index, u32::MAX)).map(|(_, account)| *account));
    }
}

/// What an account's state says about the two rules.
pub(crate) struct Standing {
    /// With positions alone, for MMR.
    pub margin: Margin,
    /// IMR at the base fraction, open orders included: the open interest of others cancels nobody's orders.
    pub initial: i128,
    /// The same without open orders.
    pub initial_of_positions: i128,
    pub has_position: bool,
    pub has_orders: bool,
    /// Spot reservations of the quote balance.
    pub reserved: i128,
}

impl Standing {
    /// AV < MMR, with something to liquidate.
    pub fn is_at_risk(&self) -> bool {
        self.has_position && self.margin.value < self.margin.maintenance
    }

    /// AV < IMR, with an order whose cancelling helps.
    pub fn is_short(&self) -> bool {
        self.margin.value < self.initial && (self.initial > self.initial_of_positions || self.reserved > 0)
    }
}

impl Engine {
    /// Both rules' numbers, with what is staged.
    pub(crate) fn standing(&self, holdings: &Holdings, account: u32) -> Standing {
        let quote = holdings.balance(QUOTE);
        let mut standing = Standing {
            margin: Margin::of_collateral(quote.available()),
            initial: 0,
            initial_of_positions: 0,
            has_position: false,
            has_orders: quote.reserved > 0,
            reserved: quote.reserved,
        };
        for market in &self.rules.perpetuals {
            let holding = holdings.market(*market);
            if holding.is_idle() {
                continue;
            }
            let terms = self.base_terms(*market);
            let loss = self.open_loss(account, *market, holding.may_have_open_loss(terms.mark), terms.mark);
            let part = market_margin(&terms, holding, loss);
            standing.margin.add(part);
            standing.initial += part.initial;
            let alone = keel_ledger::MarketHolding::of_position(holding.position);
            standing.initial_of_positions += market_margin(&terms, &alone, 0).initial;
            standing.has_position |= holding.position.size != 0;
            standing.has_orders |= holding.open_buy + holding.open_sell > 0;
        }
        standing
    }

    /// Whether an account can be at risk or short at all: it has something open in a perpetual, or quote set aside that a loss may have eaten.
    pub(crate) fn is_watched(&self, holdings: &Holdings) -> bool {
        holdings.balance(QUOTE).reserved > 0 || self.rules.perpetuals.iter().any(|m| !holdings.market(*m).is_idle())
    }

    /// Terms with the base imf.
    fn base_terms(&self, market: MarketId) -> MarginTerms {
        MarginTerms { imf_ppm: self.rules.perpetual(market).imf_ppm, ..self.terms(market) }
    }

    /// Before what is staged is installed: which accounts and markets change.
    pub(crate) fn note_watched(&mut self) {
        self.watch.touched.clear();
        self.watch.moved.clear();
        for (account, before, after) in self.holdings.changes() {
            if self.is_watched(after) || before.is_some_and(|before| self.is_watched(before)) {
                self.watch.touched.push(account);
            }
        }
        // A step of a liquidation moves the account behind others, even when it changed nothing.
        self.watch.touched.extend(self.plan.liquidation.map(|(account, _)| account));
        for (market, before, after) in self.markets.changes() {
            let at = |m: &crate::market::MarketState| (m.mark, m.funding_index);
            if before.map(at) != Some(at(after)) {
                self.watch.moved.push(MarketId(market as u16));
            }
        }
    }

    /// After it: whoever was touched, whoever's range was left, and whoever was at risk before a market moved.
    pub(crate) fn look_at_watched(&mut self) {
        if self.watch.touched.is_empty() && self.watch.moved.is_empty() {
            return;
        }
        let mut left = std::mem::take(&mut self.watch.left);
        left.clear();
        for market in &self.watch.moved {
            let state = self.markets.get(u32::from(market.0));
            self.watch.outside(*market, state.mark, state.funding_index, &mut left);
        }
        self.watch.left = left;
        let mut accounts = std::mem::take(&mut self.watch.touched);
        accounts.extend(&self.watch.left);
        if !self.watch.moved.is_empty() {
            accounts.extend(self.watch.at_risk_since.keys());
            accounts.extend(&self.watch.short);
        }
        accounts.sort_unstable();
        accounts.dedup();
        for account in &accounts {
            self.look_at(*account);
        }
        self.watch.touched = accounts;
    }

    /// Computes one account anew: where it stands, and how far the markets may move before it must be looked at again.
    fn look_at(&mut self, account: u32) {
        self.watch.visits += 1;
        let holdings = self.holdings.get(account);
        let standing = self.standing(holdings, account);
        let at_risk = account != self.insurance_account && standing.is_at_risk();
        let short = standing.is_short();
        // Those are looked at whenever a market moves; they need no range.
        let safe = if at_risk || short { Vec::new() } else { self.ranges(holdings, &standing) };
        if !safe.is_empty() && self.watch.holds(account, &safe) {
            return;
        }
        let ranges = safe.iter().map(|range| range.halved(self.mark_of(range.market))).collect();
        self.watch.remove(account);
        self.watch.insert(account, ranges);
        if at_risk {
            let since = self.liquidations.get(&account).map_or(Ts(0), |liquidation| liquidation.ts);
            self.watch.at_risk.insert((since, account));
            self.watch.at_risk_since.insert(account, since);
        } else {
            // Healthy again: the next time begins anew.
            self.liquidations.remove(&account);
        }
        if short {
            self.watch.short.insert(account);
        }
    }

    fn mark_of(&self, market: MarketId) -> (i128, i128) {
        let state = self.markets.get(u32::from(market.0));
        (i128::from(state.mark.0), state.funding_index)
    }

    /// Ranges within which the account's buffer cannot be used up.
    fn ranges(&self, holdings: &Holdings, standing: &Standing) -> Vec<Range> {
        // Also for orders whose cancelling would not help now: a moving mark can give them a loss.
        let required = if standing.has_orders { standing.initial } else { standing.margin.maintenance };
        let markets: Vec<Exposure> = self
            .rules
            .perpetuals
            .iter()
            .filter(|market| !holdings.market(**market).is_idle())
            .map(|market| self.exposure(holdings, *market))
            .collect();
        let count = markets.len() as i128;
        let buffer = (standing.margin.value - required - ROUNDING_PER_MARKET * (count + 1)).max(0);
        let unit = i128::from(QUANTUMS_PER_UNIT);
        // What a relative move of all marks together would cost, quote quantums x 1e8 per whole.
        let weight: i128 = markets.iter().map(|m| m.down.max(m.up) * m.mark).sum();
        let for_marks = buffer * MARK_SHARE_PERCENT / 100 * unit;
        let for_index = (buffer - buffer * MARK_SHARE_PERCENT / 100) / count.max(1) * unit;
        let range = |m: &Exposure| {
            let reach = if weight == 0 { 0 } else { mul_div_floor(m.mark, for_marks, weight) };
            let index_reach = if m.size == 0 { 0 } else { for_index / m.size.abs() };
            Range {
                market: m.market,
                mark_low: if m.down > 0 { m.mark - reach - 1 } else { i128::MIN },
                mark_high: if m.up > 0 { m.mark + reach + 1 } else { i128::MAX },
                index_low: if m.size < 0 { m.index - index_reach - 1 } else { i128::MIN },
                index_high: if m.size > 0 { m.index + index_reach + 1 } else { i128::MAX },
            }
        };
        markets.iter().map(range).collect()
    }

    /// Upper bounds for what a mark moving by one quantum can cost, in base quantums.
    fn exposure(&self, holdings: &Holdings, market: MarketId) -> Exposure {
        let holding = holdings.market(market);
        let terms = self.base_terms(market);
        let size = holding.position.size;
        let open = (holding.open_buy + size).max(holding.open_sell - size).max(size.abs());
        // The larger of both fractions: initial margin's.
        let fraction = i128::from(terms.imf_ppm.max(terms.mmf_ppm)) + i128::from(terms.fee_ppm);
        Exposure {
            market,
            size,
            mark: i128::from(terms.mark.0),
            index: terms.funding_index,
            // Falling marks cost longs, and give open buys a loss.
            down: size.max(0) + holding.open_buy,
            // Rising marks cost shorts, give open sells a loss, and raise what is required.
            up: (-size).max(0) + holding.open_sell + div_ceil(open * fraction, PPM),
        }
    }

    /// Builds all of it: after restoring.
    pub(crate) fn watch_all(&mut self) {
        self.watch = Watch::new(self.rules.genesis.markets.len());
        for account in 0..self.accounts.len() {
            if self.is_watched(self.holdings.get(account)) {
                self.look_at(account);
            }
        }
    }
}

/// See [Engine::exposure].
struct Exposure {
    market: MarketId,
    size: i128,
    mark: i128,
    index: i128,
    down: i128,
    up: i128,
}

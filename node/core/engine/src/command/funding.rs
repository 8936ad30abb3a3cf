use crate::Engine;
use crate::market::MarketState;
use keel_book::Book;
use keel_types::*;

/// Premiums are sampled, and the index accrues, this often. [spec exchange, Oracle, mark, funding]
const SAMPLE_MS: u64 = 5_000;
/// A gap longer than this counts as no time.
const GAP_MS_MAX: u64 = 30_000;
/// The time a rate is for.
const RATE_PERIOD_NS: i128 = 8 * 3_600 * 1_000_000_000;
/// Rates are in 1e-8.
const RATE_UNIT: i128 = 100_000_000;
/// The rate of a market without a premium: 0.01% per 8 hours.
const RATE_INTEREST: i128 = RATE_UNIT / 10_000;
/// How far it gives way to the premium: 0.05%.
const RATE_CLAMP: i128 = RATE_UNIT / 2_000;
/// An index change is rate x price x time in parts of this.
const FUNDING_DIVISOR: i128 = RATE_UNIT * RATE_PERIOD_NS;

impl Engine {
    /// Whether a premium must be sampled: 5 s after the last.
    pub(crate) fn funding_is_due(&self, now: Ts) -> bool {
        let state = |market: &MarketId| self.markets.get(u32::from(market.0));
        self.rules.perpetuals.first().is_some_and(|market| now >= state(market).funding_ts.plus_ms(SAMPLE_MS))
    }

    /// Accrues every perpetual's index at the rate of the last sample, then takes the next sample. Nothing accrues outside OPEN, nor while
    /// the market is held or stale. [spec exchange, Oracle, mark, funding; spec safe-mode, Reopening]
    pub(crate) fn accrue_funding(&mut self) {
        let now = self.now.ts;
        for n in 0..self.rules.perpetuals.len() {
            self.checkpoint();
            let market = self.rules.perpetuals[n];
            let perpetual = *self.rules.perpetual(market);
            let open = self.now.phase.phase == Phase::Open;
            let book = &self.books[usize::from(market.0)];
            let state = self.markets.edit(u32::from(market.0));
            let counts = open && !state.is_restricted(&self.rules.genesis.oracle, now);
            let rate_max = i128::from(perpetual.funding_rate_max_ppm) * (RATE_UNIT / PPM);
            if counts {
                accrue(state, now, rate_max);
                state.funding_rate = rate(state.oracle, book, perpetual.impact_notional, rate_max);
                self.plan.events.push(Event::Funding {
                    market,
                    rate: state.funding_rate,
                    index: Amount(state.funding_index),
                    ts: now,
                });
            }
            state.funding_ts = now;
        }
    }

    /// The exchange opens: time begins to count now, and what the book said before the incident is no rate of today.
    pub(super) fn restart_funding(&mut self) {
        for n in 0..self.rules.perpetuals.len() {
            let state = self.markets.edit(u32::from(self.rules.perpetuals[n].0));
            state.funding_rate = 0;
            state.funding_ts = self.now.ts;
        }
    }
}

/// Moves the index by rate x oracle x time, to the last part of a quantum. A gap over 30 s counts as no time.
fn accrue(state: &mut MarketState, now: Ts, rate_max: i128) {
    let dt = i128::from(now.0 - state.funding_ts.0);
    if dt > i128::from(GAP_MS_MAX) * 1_000_000 {
        return;
    }
    let price = i128::from(state.oracle.0);
    let total = state.funding_rest + i128::from(state.funding_rate) * price * dt;
    let change = total.div_euclid(FUNDING_DIVISOR);
    // Checked, and a violation halts: the index moves everybody's money. One quantum is what the rest may add.
    let bound = rate_max * price * dt / FUNDING_DIVISOR + 1;
    assert!(change.abs() <= bound, "funding index moved by {change}, at most {bound} in {dt} ns");
    state.funding_rest = total.rem_euclid(FUNDING_DIVISOR);
    state.funding_index += change;
}

/// Rate per 8 hours: P + clamp(0.01% - P, +/-0.05%), capped; P = (max(0, impact bid - oracle) - max(0, oracle - impact ask)) / oracle.
/// A side without enough depth for the impact notional adds nothing to P.
fn rate(oracle: Price, book: &Book, impact: Amount, rate_max: i128) -> i64 {
    let base = i128::from(oracle.0);
    let gap = |side: Side| {
        let price = impact_price(book, side, impact.0)?;
        let beyond = if side == Side::Buy { price - base } else { base - price };
        Some(beyond.max(0))
    };
    let premium = (gap(Side::Buy).unwrap_or(0) - gap(Side::Sell).unwrap_or(0)) * RATE_UNIT / base;
    let rate = premium + (RATE_INTEREST - premium).clamp(-RATE_CLAMP, RATE_CLAMP);
    i64::try_from(rate.clamp(-rate_max, rate_max)).expect("a rate within its cap")
}

/// Average price at which `notional` quote quantums trade against a side; `None` when it is not that deep.
fn impact_price(book: &Book, side: Side, notional: i128) -> Option<i128> {
    let unit = i128::from(QUANTUMS_PER_UNIT);
    // Quote x 1e8, and base: both exact.
    let (mut left, mut base) = (notional * unit, 0i128);
    for level in book.depth(side) {
        let (price, size) = (i128::from(level.price.0), i128::try_from(level.qty).expect("a level's size"));
        let value = price * size;
        if value >= left {
            base += left / price;
            return (base > 0).then(|| notional * unit / base);
        }
        left -= value;
        base += size;
    }
    None
}

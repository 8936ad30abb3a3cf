use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::*;

/// What changes about a market, beside its book.
#[derive(PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct MarketState {
    /// Last median taken into use.
    pub oracle: Price,
    /// On spot the oracle.
    pub mark: Price,
    /// EMA over 150 s of mid - oracle, quantums x [MARK_OFFSET_SCALE].
    pub mark_offset: i128,
    /// When it was last brought up to date; zero before the first price.
    pub mark_offset_ts: Ts,
    /// When a quorum last confirmed the price in use; zero before the first.
    pub price_ts: Ts,
    /// Time of the last price written to chain state.
    pub price_written_ts: Ts,
    /// The last report kept of each publisher.
    pub reports: Vec<Option<Report>>,
    /// A median too far away, not yet confirmed.
    pub held: Option<Held>,
    /// Number of fills ever: the last [TradeId].
    pub trades: u64,
    /// Price of the last fill; zero before the first.
    pub last_price: Price,
    /// Sum of long positions, base quantums.
    pub open_interest: i128,
    /// Quote quantums per base unit, accrued since genesis.
    pub funding_index: i128,
    /// What the index has not yet shown, in parts of `FUNDING_DIVISOR` (`command/funding.rs`).
    pub funding_rest: i128,
    /// Rate of the last premium sample, 1e-8 per 8 hours.
    pub funding_rate: i64,
    /// Accrued up to then.
    pub funding_ts: Ts,
    /// F: what longs and shorts have paid into the market and not yet received.
    pub funding_pool: i128,
    /// Mark when the running incident began: withdrawals before OPEN are valued at the worse of it and the oracle. [spec safe-mode]
    pub mark_before_incident: Price,
}

/// Parts of a quantum in which [MarketState::mark_offset] is kept: an average must not lose what a quantum cannot show.
pub(crate) const MARK_OFFSET_SCALE: i128 = 1_000_000;

/// A publisher's last report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Report {
    pub price: Price,
    pub ts: Ts,
}

/// A median that moved more than `max_move`. [spec exchange, Oracle]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Held {
    pub median: Price,
    /// Further medians near it so far; the second releases it.
    pub confirmations: u8,
    /// Time of the last median that counted.
    pub ts: Ts,
}

impl Clone for MarketState {
    fn clone(&self) -> MarketState {
        MarketState { reports: self.reports.clone(), ..*self }
    }
    /// Reuses the allocation: a market is staged by every fill.
    fn clone_from(&mut self, source: &MarketState) {
        let mut reports = std::mem::take(&mut self.reports);
        reports.clone_from(&source.reports);
        *self = MarketState { reports, ..*source };
    }
}

impl MarketState {
    pub fn new(spec: &MarketSpec, genesis: &Genesis) -> MarketState {
        MarketState {
            oracle: spec.initial_price,
            mark: spec.initial_price,
            mark_offset: 0,
            mark_offset_ts: Ts(0),
            price_ts: Ts(0),
            price_written_ts: genesis.ts,
            reports: vec![None; genesis.oracle.publishers.len()],
            held: None,
            trades: 0,
            last_price: Price(0),
            open_interest: 0,
            funding_index: 0,
            funding_rest: 0,
            funding_rate: 0,
            funding_ts: genesis.ts,
            funding_pool: 0,
            mark_before_incident: spec.initial_price,
        }
    }

    /// No quorum price for longer than the limit, or never.
    pub fn is_stale(&self, oracle: &OracleSpec, now: Ts) -> bool {
        self.price_ts == Ts(0) || now > self.price_ts.plus_ms(oracle.stale_ms)
    }

    /// Held or stale: post-only, and nobody with a position in it withdraws or adds risk. [spec exchange, Oracle]
    pub fn is_restricted(&self, oracle: &OracleSpec, now: Ts) -> bool {
        self.held.is_some() || self.is_stale(oracle, now)
    }
}

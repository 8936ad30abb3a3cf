//! Candles: what was traded in one market within one interval.

use crate::error::StoreError;
use crate::history::HistoryPage;
use crate::keys::{CANDLES, Key};
use crate::store::{Store, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{MarketId, Price, Qty, Ts};

/// Length of a candle. Candles begin at multiples of it since the Unix epoch, so a day is a UTC day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub enum CandleInterval {
    Minute,
    FiveMinutes,
    Hour,
    Day,
}

impl CandleInterval {
    /// Every interval, shortest first.
    pub const ALL: [CandleInterval; 4] =
        [CandleInterval::Minute, CandleInterval::FiveMinutes, CandleInterval::Hour, CandleInterval::Day];

    /// `1m`, `5m`, `1h`, `1d`.
    pub fn as_str(self) -> &'static str {
        match self {
            CandleInterval::Minute => "1m",
            CandleInterval::FiveMinutes => "5m",
            CandleInterval::Hour => "1h",
            CandleInterval::Day => "1d",
        }
    }

    /// See [CandleInterval::as_str].
    pub fn parse(text: &str) -> Option<CandleInterval> {
        CandleInterval::ALL.into_iter().find(|interval| interval.as_str() == text)
    }

    /// Milliseconds.
    pub fn ms(self) -> u64 {
        match self {
            CandleInterval::Minute => 60_000,
            CandleInterval::FiveMinutes => 300_000,
            CandleInterval::Hour => 3_600_000,
            CandleInterval::Day => 86_400_000,
        }
    }

    /// Where the candle of a moment begins, milliseconds since the epoch.
    pub fn start_ms(self, ts: Ts) -> u64 {
        ts.ms() - ts.ms() % self.ms()
    }

    /// Whether its candles end with the retention. Hours and days stay: 8,760 rows a year and market.
    pub(crate) fn expires(self) -> bool {
        matches!(self, CandleInterval::Minute | CandleInterval::FiveMinutes)
    }
}

/// Trades of one market within one interval. An interval without a trade has no candle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Candle {
    /// Milliseconds since the epoch.
    pub start_ms: u64,
    pub open: Price,
    pub high: Price,
    pub low: Price,
    pub close: Price,
    /// Base quantums.
    pub volume: u128,
    /// Quote quantums.
    pub quote_volume: u128,
    pub trades: u64,
}

impl Candle {
    /// The candle of a first trade.
    pub fn first(start_ms: u64, price: Price, size: Qty) -> Candle {
        let mut candle =
            Candle { start_ms, open: price, high: price, low: price, close: price, volume: 0, quote_volume: 0, trades: 0 };
        candle.add(price, size);
        candle
    }

    /// Takes the next trade in.
    pub fn add(&mut self, price: Price, size: Qty) {
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.close = price;
        self.volume += u128::from(size.0);
        // A trade's notional is never negative.
        self.quote_volume += price.notional(size).unsigned_abs();
        self.trades += 1;
    }
}

pub(crate) fn candle_key(market: MarketId, interval: CandleInterval, start_ms: u64) -> Key {
    candles_of(market, interval).u64(start_ms)
}

fn candles_of(market: MarketId, interval: CandleInterval) -> Key {
    Key::new().u16(market.0).u8(interval as u8)
}

impl Store {
    /// One candle.
    ///
    /// # Errors
    /// The database.
    pub fn candle(&self, market: MarketId, interval: CandleInterval, start_ms: u64) -> Result<Option<Candle>, StoreError> {
        self.get(CANDLES, candle_key(market, interval, start_ms))
    }

    /// Candles of a market, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn candles(
        &self,
        market: MarketId,
        interval: CandleInterval,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<Candle>, StoreError> {
        self.page(CANDLES, candles_of(market, interval), next, limit, |key, value| decode(CANDLES, key, value).map(Some))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_begins_at_a_multiple_of_its_interval() {
        let noon = Ts::from_ms(1_700_000_123_456);
        for (interval, start) in
            [("1m", 1_700_000_100_000), ("5m", 1_700_000_100_000), ("1h", 1_699_999_200_000), ("1d", 1_699_920_000_000)]
        {
            assert_eq!(CandleInterval::parse(interval).unwrap().start_ms(noon), start, "{interval}");
        }
        assert_eq!(CandleInterval::parse("2m"), None);
    }
}

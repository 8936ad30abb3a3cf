//! What a market's streams know beside the view: its candles, its last 24 hours, what was told last.

use super::{Bbo, Day, MarkPrice, Ticker};
use crate::view::View;
use keel_store::{Candle, CandleInterval, Store, StoreError};
use keel_types::*;
use std::collections::VecDeque;

/// Candles in a snapshot.
pub const CANDLES_IN_SNAPSHOT: usize = 100;
/// Minutes of the ticker's 24 hours.
const DAY_MINUTES: usize = 1_440;

/// What of a market the engine does not hold: read from history, so that a restart does not lose the candle that runs.
#[derive(Clone, Debug, Default)]
pub struct MarketSeed {
    /// Per interval of [CandleInterval::ALL], oldest first.
    candles: [VecDeque<Candle>; 4],
    funding: Option<(i64, Ts)>,
}

impl MarketSeed {
    /// From history, which must have reached the view's command.
    ///
    /// # Errors
    /// The database.
    pub fn read(store: &Store, market: MarketId) -> Result<MarketSeed, StoreError> {
        let mut seed = MarketSeed::default();
        for interval in CandleInterval::ALL {
            let (candles, mut next) = (&mut seed.candles[interval as usize], None);
            while candles.len() < kept(interval) {
                let page = store.candles(market, interval, next.as_deref(), kept(interval) - candles.len())?;
                page.rows.into_iter().for_each(|candle| candles.push_front(candle));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        let funding = store.funding(market, None, 1)?.rows.pop();
        seed.funding = funding.map(|row| (row.rate, row.accrued));
        Ok(seed)
    }
}

fn kept(interval: CandleInterval) -> usize {
    match interval {
        CandleInterval::Minute => DAY_MINUTES + 1,
        CandleInterval::FiveMinutes | CandleInterval::Hour | CandleInterval::Day => CANDLES_IN_SNAPSHOT,
    }
}

/// See the module.
pub(super) struct Market {
    id: MarketId,
    candles: [VecDeque<Candle>; 4],
    funding: Option<(i64, Ts)>,
    last: Option<Price>,
    /// As told last.
    pub(super) bbo: Bbo,
    pub(super) mark: MarkPrice,
    pub(super) ticker: Ticker,
}

impl Market {
    pub(super) fn new(id: MarketId, seed: MarketSeed, view: &View) -> Market {
        let MarketSeed { candles, funding } = seed;
        let last = candles[CandleInterval::Day as usize].back().map(|candle| candle.close);
        let (bbo, mark, ticker) = (Bbo::default(), MarkPrice::default(), Ticker::default());
        let mut market = Market { id, candles, funding, last, bbo, mark, ticker };
        market.bbo = market.bbo_of(view);
        market.mark = market.mark_of(view);
        market.ticker = market.ticker_of(view);
        market
    }

    /// Takes a fill in: the candles it changed are the last of each interval.
    pub(super) fn fill(&mut self, fill: &Fill, ts: Ts) {
        self.last = Some(fill.price);
        for interval in CandleInterval::ALL {
            let (candles, start_ms) = (&mut self.candles[interval as usize], interval.start_ms(ts));
            match candles.back_mut().filter(|candle| candle.start_ms == start_ms) {
                Some(candle) => candle.add(fill.price, fill.size),
                None => {
                    candles.push_back(Candle::first(start_ms, fill.price, fill.size));
                    if candles.len() > kept(interval) {
                        candles.pop_front();
                    }
                }
            }
        }
    }

    pub(super) fn funding(&mut self, rate: i64, accrued: Ts) {
        self.funding = Some((rate, accrued));
    }

    /// The candle that runs, or the last that did.
    pub(super) fn candle(&self, interval: CandleInterval) -> Option<Candle> {
        self.candles[interval as usize].back().copied()
    }

    /// For a snapshot, oldest first.
    pub(super) fn candles(&self, interval: CandleInterval) -> Vec<Candle> {
        let candles = &self.candles[interval as usize];
        candles.iter().skip(candles.len().saturating_sub(CANDLES_IN_SNAPSHOT)).copied().collect()
    }

    pub(super) fn bbo_of(&self, view: &View) -> Bbo {
        let best = |side| {
            let best = view.orders().book(self.id)?.levels(side, 1);
            best.first().map(|(price, level)| (*price, level.size))
        };
        Bbo { bid: best(Side::Buy), ask: best(Side::Sell) }
    }

    pub(super) fn mark_of(&self, view: &View) -> MarkPrice {
        let state = view.market(self.id).copied().unwrap_or_default();
        MarkPrice {
            mark: state.mark,
            oracle: state.oracle,
            price_ts: state.price_ts,
            funding_index: state.funding_index,
            funding: self.funding,
        }
    }

    /// From what was told last of book and mark.
    pub(super) fn ticker_of(&self, view: &View) -> Ticker {
        let open_interest = view.market(self.id).map_or(0, |state| state.open_interest);
        Ticker { last: self.last, mark: self.mark, bbo: self.bbo, open_interest, day: self.day(view.at().ts) }
    }

    fn day(&self, now: Ts) -> Option<Day> {
        let minute = CandleInterval::Minute;
        let from_ms = minute.start_ms(now).saturating_sub((DAY_MINUTES as u64 - 1) * minute.ms());
        let within = self.candles[minute as usize].iter().filter(|candle| candle.start_ms >= from_ms);
        within.fold(None, |day: Option<Day>, candle| {
            let Candle { open, high, low, volume, quote_volume, trades, .. } = *candle;
            Some(day.map_or(Day { open, high, low, volume, quote_volume, trades }, |day| Day {
                open: day.open,
                high: day.high.max(high),
                low: day.low.min(low),
                volume: day.volume + volume,
                quote_volume: day.quote_volume + quote_volume,
                trades: day.trades + trades,
            }))
        })
    }
}

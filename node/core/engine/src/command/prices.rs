use crate::Engine;
use crate::market::{Held, MARK_OFFSET_SCALE, MarketState, Report};
use keel_book::Book;
use keel_types::*;

/// Further medians that must agree with a held one. [spec exchange, Oracle]
const HELD_CONFIRMATIONS: u8 = 2;
/// Medians that confirm are made of reports at least this much newer than those before.
const HELD_SPACING_MS: u64 = 1_000;
/// An unchanged price is written to chain state this often, so that its freshness can be seen there.
const PRICE_WRITE_INTERVAL_MS: u64 = 1_000;

/// Weight of the average in a mark: dt / (dt + 150 s).
const MARK_AVERAGE_MS: i128 = 150_000;
/// Mark stays this near to the oracle: 2%.
const MARK_REACH_PPM: i128 = 20_000;

/// What a new median means for a market.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Taken into use.
    Use,
    /// Too far away, and the first of its kind: held.
    Hold,
    /// One of the confirmations a held median needs, not yet the last.
    Confirms,
    /// Says nothing new about a held median.
    Ignore,
}

impl Engine {
    /// Keeps the reports, and takes a median in every market that got one. [spec exchange, Oracle, mark, funding]
    pub(crate) fn prices(&mut self, reports: &[PriceReport]) {
        let mut reported: Vec<MarketId> = Vec::new();
        for report in reports {
            self.checkpoint();
            match self.keep_report(report) {
                Ok(()) => reported.push(report.market),
                Err(reason) => self.plan.events.push(Event::ReportDiscarded {
                    publisher: report.publisher,
                    market: report.market,
                    price: report.price,
                    ts: report.ts,
                    reason,
                }),
            }
        }
        reported.sort_unstable();
        reported.dedup();
        for market in reported {
            self.take_median(market);
        }
    }

    /// Stores a report as its publisher's last; a bad one is discarded for good and changes nothing.
    fn keep_report(&mut self, report: &PriceReport) -> Result<(), ReportDiscard> {
        let genesis = &self.rules.genesis;
        let spec = genesis.market(report.market).ok_or(ReportDiscard::UnknownMarket)?;
        let publisher = usize::from(report.publisher);
        if publisher >= genesis.oracle.publishers.len() {
            return Err(ReportDiscard::UnknownPublisher);
        }
        if report.price.0 == 0 {
            return Err(ReportDiscard::NotPositive);
        }
        if report.price > spec.price_max {
            return Err(ReportDiscard::AboveMaximum);
        }
        if report.ts > self.now.ts.plus_ms(REPORT_AHEAD_MS_MAX) {
            return Err(ReportDiscard::FromTheFuture);
        }
        let market = u32::from(report.market.0);
        if self.markets.get(market).reports[publisher].is_some_and(|last| report.ts <= last.ts) {
            return Err(ReportDiscard::NotNewer);
        }
        self.markets.edit(market).reports[publisher] = Some(Report { price: report.price, ts: report.ts });
        Ok(())
    }

    fn take_median(&mut self, market: MarketId) {
        let oldest = Ts(self.now.ts.0.saturating_sub(Ts::from_ms(self.rules.genesis.oracle.report_age_max_ms).0));
        let move_max_ppm = self.rules.market(market).oracle_move_max_ppm;
        let quorum = usize::from(self.rules.genesis.oracle.quorum);
        let state = self.markets.get(u32::from(market.0));
        let Some((median, ts)) = median(state, quorum, oldest) else { return };
        let verdict = judge(state, median, ts, move_max_ppm);
        let state = self.markets.edit(u32::from(market.0));
        match verdict {
            Verdict::Use => self.use_price(market, median),
            Verdict::Hold => {
                state.held = Some(Held { median, confirmations: 0, ts });
                self.plan.events.push(Event::PriceHeld { market, median });
            }
            Verdict::Confirms => {
                let held = state.held.as_mut().expect("only a held median is confirmed");
                held.confirmations += 1;
                held.ts = ts;
            }
            Verdict::Ignore => {}
        }
    }

    /// Oracle and mark. Written to chain state when the value changed, or [PRICE_WRITE_INTERVAL_MS] after the last write.
    fn use_price(&mut self, market: MarketId, oracle: Price) {
        let now = self.now.ts;
        // Outside OPEN and in the grace after it the book says nothing yet: the first liquidations are on a mark built from oracle alone.
        // [spec safe-mode, Reopening]
        let trusts_book = !self.in_grace();
        let book = trusts_book.then(|| &self.books[usize::from(market.0)]);
        let perpetual = self.rules.perpetuals.contains(&market);
        let state = self.markets.edit(u32::from(market.0));
        let mark = if perpetual { take_mark(state, oracle, book, now) } else { oracle };
        self.now.marks += 1;
        if perpetual {
            self.now.mark_ts = now;
        }
        let changed = (state.oracle, state.mark) != (oracle, mark);
        state.held = None;
        state.oracle = oracle;
        state.mark = mark;
        state.price_ts = now;
        if changed || now >= state.price_written_ts.plus_ms(PRICE_WRITE_INTERVAL_MS) {
            state.price_written_ts = now;
            self.plan.events.push(Event::Price { market, oracle, mark });
        }
    }
}

/// Mark = median(oracle, oracle + EMA150s(mid - oracle), median(best bid, best ask, last)), within 2% of oracle. [spec exchange, Oracle, mark,
/// funding] What a one-sided or empty book, or a market without a trade, cannot say is taken to be the oracle; without a `book` all of it is.
fn take_mark(state: &mut MarketState, oracle: Price, book: Option<&Book>, now: Ts) -> Price {
    let sides = book.and_then(|book| Some((book.best_price(Side::Buy)?, book.best_price(Side::Sell)?)));
    let base = i128::from(oracle.0);
    if let Some((bid, ask)) = sides {
        let offset = (i128::from(bid.0) + i128::from(ask.0)) * MARK_OFFSET_SCALE / 2 - base * MARK_OFFSET_SCALE;
        // One far quote on a thin side must not stay in the average for minutes.
        let reach = base * MARK_OFFSET_SCALE * MARK_REACH_PPM / PPM;
        let offset = offset.clamp(-reach, reach);
        let dt_ms = i128::from((now.0 - state.mark_offset_ts.0.min(now.0)) / 1_000_000);
        // The first sample has no time before it and starts the average at the oracle.
        if state.mark_offset_ts != Ts(0) {
            state.mark_offset += (offset - state.mark_offset) * dt_ms / (dt_ms + MARK_AVERAGE_MS);
        }
    }
    if book.is_none() {
        state.mark_offset = 0;
    }
    state.mark_offset_ts = now;
    let averaged = base + state.mark_offset.div_euclid(MARK_OFFSET_SCALE);
    let traded = match sides {
        Some((bid, ask)) if state.last_price.0 > 0 => {
            middle([i128::from(bid.0), i128::from(ask.0), i128::from(state.last_price.0)])
        }
        _ => base,
    };
    let reach = base * MARK_REACH_PPM / PPM;
    let mark = middle([base, averaged, traded]).clamp(base - reach, base + reach);
    Price(u64::try_from(mark).expect("within 2% of a price"))
}

fn middle(mut three: [i128; 3]) -> i128 {
    three.sort_unstable();
    three[1]
}

/// Median of the reports that are fresh, when there is a quorum of them, and its time: at least a quorum of them are not older.
/// Of an even number the mean of the middle two, rounded down; it is positive because they are.
fn median(state: &MarketState, quorum: usize, oldest: Ts) -> Option<(Price, Ts)> {
    let fresh = || state.reports.iter().flatten().filter(|report| report.ts >= oldest);
    let mut prices: Vec<u64> = fresh().map(|report| report.price.0).collect();
    if prices.len() < quorum {
        return None;
    }
    let mut times: Vec<Ts> = fresh().map(|report| report.ts).collect();
    times.sort_unstable();
    prices.sort_unstable();
    let (low, high) = (prices[(prices.len() - 1) / 2], prices[prices.len() / 2]);
    Some((Price(low + (high - low) / 2), times[times.len() - quorum]))
}

/// A median near the price in use is used at once, and ends a hold. One further away is held until two further medians, from newer
/// reports at least 1 s apart, lie within `max_move` of it; one that agrees with neither is held in its place.
fn judge(state: &MarketState, median: Price, ts: Ts, move_max_ppm: u32) -> Verdict {
    if is_near(median, state.oracle, move_max_ppm) {
        return Verdict::Use;
    }
    match state.held {
        Some(held) if is_near(median, held.median, move_max_ppm) => {
            if ts < held.ts.plus_ms(HELD_SPACING_MS) {
                Verdict::Ignore
            } else if held.confirmations + 1 == HELD_CONFIRMATIONS {
                Verdict::Use
            } else {
                Verdict::Confirms
            }
        }
        _ => Verdict::Hold,
    }
}

/// Whether `price` lies within `move_max_ppm` of `base`.
fn is_near(price: Price, base: Price, move_max_ppm: u32) -> bool {
    let (price, base) = (i128::from(price.0), i128::from(base.0));
    (price - base).abs() * PPM <= base * i128::from(move_max_ppm)
}

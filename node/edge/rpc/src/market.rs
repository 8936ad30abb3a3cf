//! `market_*`: what everybody may know. Publishing prices is in `trade`, with the other writes.
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::*;
use crate::method::{Call, Method, Param};
use jsonrpsee::types::Params;
use keel_feeds::{Book, MarketState};
use keel_ingress::IngressError;
use keel_types::*;
use serde_json::{Value, json};

const MARKET: Param = Param::required("market", "text", "Name of the market, as in `market_list`.");

/// The read methods.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "market_list",
        summary: "Every market with all its rules, its prices and its best bid and offer.",
        params: &[],
        result: "[Market]",
        errors: &[],
        call: Call::View(list),
    },
    Method {
        name: "market_book",
        summary: "The book by level, best first.",
        params: &[MARKET, Param::optional("depth", "uint", "Levels per side: 1 to 500, else 20.")],
        result: "Book",
        errors: &["UNKNOWN_MARKET"],
        call: Call::View(book),
    },
    Method {
        name: "market_trades",
        summary: "The last trades, newest first.",
        params: &[MARKET, Param::optional("limit", "uint", "1 to 500, else 50.")],
        result: "Trades",
        errors: &["UNKNOWN_MARKET"],
        call: Call::Store(trades),
    },
    Method {
        name: "market_ticker",
        summary: "Mark, oracle, best bid and offer, last trade.",
        params: &[MARKET],
        result: "Ticker",
        errors: &["UNKNOWN_MARKET"],
        call: Call::Store(ticker),
    },
    Method {
        name: "market_funding",
        summary: "Funding of a perpetual: the accrued index, quote per unit of base, and what bounds it.",
        params: &[MARKET],
        result: "Funding",
        errors: &["UNKNOWN_MARKET"],
        call: Call::View(funding),
    },
    Method {
        name: "market_oracle",
        summary: "Where prices come from, how old those in use are, and which markets are stale: post-only, and nobody with a position \
                  in one is liquidated, withdraws or adds risk.",
        params: &[],
        result: "Oracle",
        errors: &[],
        call: Call::View(oracle),
    },
];

/// The engine writes the time of a price that stays the same once in this while; published times may lag so much.
const PRICE_WRITE_INTERVAL_MS: u64 = 1_000;
/// Hours that a funding rate is for. [spec exchange, Oracle, mark, funding]
const FUNDING_RATE_HOURS: &str = "8";

/// A rate in parts per million as decimal text: 250 -> "0.00025".
pub(crate) fn rate(ppm: i64) -> String {
    format_quantums(i128::from(ppm) * i128::from(QUANTUMS_PER_UNIT) / PPM)
}

fn list(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    Fields::read(params)?.finish()?;
    let genesis = &shared.genesis;
    Ok(shared.published.read(|view| {
        let ids = (0..genesis.markets.len()).map(|i| MarketId(i as u16));
        let known = |id| (genesis.market(id), view.market(id), view.orders().book(id));
        let rows = ids.filter_map(|id| match known(id) {
            (Some(spec), Some(state), Some(book)) => Some(market(genesis, spec, state, book)),
            _ => None,
        });
        rows.collect()
    }))
}

fn market(genesis: &Genesis, spec: &MarketSpec, state: &MarketState, book: &Book) -> Value {
    let symbol = |asset| genesis.asset(asset).map_or("", |asset| asset.symbol.as_str());
    let mut row = json!({
        "market": spec.name,
        "quote": symbol(QUOTE),
        "tickSize": spec.tick_size.to_string(),
        "lotSize": spec.lot_size.to_string(),
        "feeMaker": rate(spec.fee_maker_ppm.into()),
        "feeTaker": rate(spec.fee_taker_ppm.into()),
        "band": rate(spec.band_ppm.into()),
        "notionalMin": spec.notional_min.to_string(),
        "notionalMax": spec.notional_max.to_string(),
        "priceMax": spec.price_max.to_string(),
        "oracleMoveMax": rate(spec.oracle_move_max_ppm.into()),
        "sizeMax": spec.size_max.to_string(),
        "oracle": state.oracle.to_string(),
        "mark": state.mark.to_string(),
        "priceTs": state.price_ts.ms().to_string(),
        "bestBid": book.best(Side::Buy).map(|price| price.to_string()),
        "bestAsk": book.best(Side::Sell).map(|price| price.to_string()),
    });
    match spec.kind {
        MarketKind::Spot { base } => {
            row["kind"] = json!("SPOT");
            row["base"] = json!(symbol(base));
        }
        MarketKind::Perpetual(perpetual) => {
            row["kind"] = json!("PERPETUAL");
            row["imf"] = json!(rate(perpetual.imf_ppm.into()));
            row["mmfFactor"] = json!(rate(perpetual.mmf_factor_ppm.into()));
            row["positionMax"] = json!(perpetual.position_max.to_string());
            row["openInterest"] = json!(format_quantums(state.open_interest));
            row["openInterestLower"] = json!(perpetual.open_interest_lower.to_string());
            row["openInterestUpper"] = json!(perpetual.open_interest_upper.to_string());
            row["fundingRateMax"] = json!(rate(perpetual.funding_rate_max_ppm.into()));
            row["liquidationFee"] = json!(rate(perpetual.liquidation_fee_ppm.into()));
            row["impactNotional"] = json!(perpetual.impact_notional.to_string());
            row["openInterestMax"] = json!(perpetual.open_interest_max.to_string());
            row["fundingIndex"] = json!(state.funding_index.to_string());
        }
    }
    row
}

fn book(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    let depth = fields.rows("depth", BOOK_DEPTH_DEFAULT, BOOK_DEPTH_MAX)?;
    fields.finish()?;
    shared.published.read(|view| {
        let book = view.orders().book(market).ok_or(Reject::UnknownMarket)?;
        let side = |side| -> Value {
            let levels = book.levels(side, depth).into_iter();
            levels.map(level_json).collect()
        };
        let at = view.at();
        Ok(json!({
            "market": shared.genesis.market(market).map_or("", |m| m.name.as_str()),
            "seq": at.seq.to_string(),
            "ts": at.ts.ms().to_string(),
            "bids": side(Side::Buy),
            "asks": side(Side::Sell),
        }))
    })
}

fn level_json((price, level): (Price, keel_feeds::Level)) -> Value {
    // A level holds what its orders hold; 2^32 orders of the largest size stay far inside i128.
    json!({"price": price.to_string(), "size": format_quantums(level.size as i128), "orders": level.orders.to_string()})
}

fn trade_json(trade: TradeId, price: Price, size: Qty, taker_side: Side, seq: Seq, ts: Ts) -> Value {
    json!({
        "tradeId": trade.to_string(), "price": price.to_string(), "size": size.to_string(),
        "takerSide": taker_side.as_str(), "seq": seq.to_string(), "ts": ts.ms().to_string(),
    })
}

/// No quorum price yet, or none for `stale_ms`. [spec exchange, Oracle] The engine publishes the time of a price that did not change
/// only now and then: this is true at most that much later than the engine's own judgement, and never before it.
pub(crate) fn is_stale(genesis: &Genesis, state: &MarketState, now: Ts) -> bool {
    state.price_ts == genesis.ts || now > state.price_ts.plus_ms(genesis.oracle.stale_ms + PRICE_WRITE_INTERVAL_MS)
}

/// Newest first. From memory, and from the store's history what is older than this process.
fn trades(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    let limit = fields.rows("limit", TRADES_DEFAULT, TRADES_MAX)?;
    fields.finish()?;
    let (at, mut rows, oldest) = shared.published.read(|view| {
        let trades: Vec<_> = view.trades(market).take(limit).copied().collect();
        let rows =
            trades.iter().map(|t| trade_json(t.trade, t.price, t.size, t.taker_side, t.seq, t.ts)).collect::<Vec<_>>();
        (view.at(), rows, trades.last().map(|t| t.trade))
    });
    if rows.len() < limit {
        let older = shared.store.trades(market, oldest, limit - rows.len())?;
        // History is written after publishing, so nothing in it is newer than the view was, except what came since it was read.
        let older = older.into_iter().filter(|t| t.seq <= at.seq);
        rows.extend(older.map(|t| trade_json(t.fill.trade, t.fill.price, t.fill.size, t.fill.taker_side, t.seq, t.ts)));
    }
    Ok(json!({
        "market": shared.genesis.market(market).map_or("", |m| m.name.as_str()),
        "seq": at.seq.to_string(),
        "ts": at.ts.ms().to_string(),
        "trades": rows,
    }))
}

/// The last trade is the store's when none was since this process started.
fn ticker(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    fields.finish()?;
    let genesis = &shared.genesis;
    let spec = genesis.market(market).ok_or(Reject::UnknownMarket)?;
    let mut answer = shared.published.read(|view| {
        let (state, book) = view.market(market).zip(view.orders().book(market)).ok_or(Reject::UnknownMarket)?;
        let (at, best) = (view.at(), |side| book.levels(side, 1).into_iter().next().map(level_json));
        let last = view.trades(market).next();
        let perpetual = matches!(spec.kind, MarketKind::Perpetual(_));
        Ok::<_, Reject>(json!({
            "market": spec.name,
            "seq": at.seq.to_string(),
            "ts": at.ts.ms().to_string(),
            "oracle": state.oracle.to_string(),
            "mark": state.mark.to_string(),
            "priceTs": state.price_ts.ms().to_string(),
            "stale": is_stale(genesis, state, at.ts),
            "bestBid": best(Side::Buy),
            "bestAsk": best(Side::Sell),
            "lastTrade": last.map(|t| trade_json(t.trade, t.price, t.size, t.taker_side, t.seq, t.ts)),
            "openInterest": perpetual.then(|| format_quantums(state.open_interest)),
            "fundingIndex": perpetual.then(|| state.funding_index.to_string()),
        }))
    })?;
    if answer["lastTrade"].is_null()
        && let Some(t) = shared.store.trades(market, None, 1)?.first()
    {
        answer["lastTrade"] = trade_json(t.fill.trade, t.fill.price, t.fill.size, t.fill.taker_side, t.seq, t.ts);
    }
    Ok(answer)
}

/// A spot market has no funding: it is no value of the field.
fn funding(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    fields.finish()?;
    let spec = shared.genesis.market(market).ok_or(Reject::UnknownMarket)?;
    let MarketKind::Perpetual(perpetual) = spec.kind else {
        return Err(IngressError::UnknownValue("market".into()).into());
    };
    let (at, state) = shared.published.read(|view| (view.at(), view.market(market).copied()));
    let state = state.ok_or(Reject::UnknownMarket)?;
    Ok(json!({
        "market": spec.name,
        "seq": at.seq.to_string(),
        "ts": at.ts.ms().to_string(),
        "index": state.funding_index.to_string(),
        "pool": state.funding_pool.to_string(),
        "rateMax": rate(perpetual.funding_rate_max_ppm.into()),
        "rateHours": FUNDING_RATE_HOURS,
        "impactNotional": perpetual.impact_notional.to_string(),
        "openInterest": format_quantums(state.open_interest),
        "oracle": state.oracle.to_string(),
        "mark": state.mark.to_string(),
    }))
}

fn oracle(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    Fields::read(params)?.finish()?;
    let spec = &shared.genesis.oracle;
    Ok(shared.published.read(|view| {
        let now = view.at().ts;
        let row = |(id, market): (u16, &MarketSpec)| {
            let state = view.market(MarketId(id))?;
            Some(json!({
                "market": market.name,
                "oracle": state.oracle.to_string(),
                "mark": state.mark.to_string(),
                "priceTs": state.price_ts.ms().to_string(),
                "ageMs": now.ms().saturating_sub(state.price_ts.ms()).to_string(),
                "stale": is_stale(&shared.genesis, state, now),
            }))
        };
        json!({
            "seq": view.at().seq.to_string(),
            "ts": now.ms().to_string(),
            "publishers": spec.publishers.iter().map(StarkKey::to_string).collect::<Vec<_>>(),
            "quorum": spec.quorum.to_string(),
            "reportAgeMaxMs": spec.report_age_max_ms.to_string(),
            "staleMs": spec.stale_ms.to_string(),
            "markets": (0..).zip(&shared.genesis.markets).filter_map(row).collect::<Vec<_>>(),
        })
    }))
}

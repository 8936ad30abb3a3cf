//! `market_*`: what everybody may know. Publishing prices is in `trade`, with the other writes.
use crate::context::{Methods, Shared};
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::*;
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use keel_feeds::{Book, MarketState};
use keel_types::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// Adds the read methods.
pub(crate) fn register(module: &mut RpcModule<Arc<Shared>>) {
    let methods = &mut Methods(module);
    methods.view("market_list", list);
    methods.view("market_book", book);
    methods.store("market_trades", trades);
}

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
            levels
                .map(|(price, level)| {
                    // A level holds what its orders hold; 2^32 orders of the largest size stay far inside i128.
                    json!({"price": price.to_string(), "size": format_quantums(level.size as i128), "orders": level.orders.to_string()})
                })
                .collect()
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

/// Newest first. From memory, and from the store's history what is older than this process.
fn trades(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    let limit = fields.rows("limit", TRADES_DEFAULT, TRADES_MAX)?;
    fields.finish()?;
    let row = |trade: TradeId, price: Price, size: Qty, taker_side: Side, seq: Seq, ts: Ts| {
        json!({
            "tradeId": trade.to_string(), "price": price.to_string(), "size": size.to_string(),
            "takerSide": taker_side.as_str(), "seq": seq.to_string(), "ts": ts.ms().to_string(),
        })
    };
    let (at, mut rows, oldest) = shared.published.read(|view| {
        let trades: Vec<_> = view.trades(market).take(limit).copied().collect();
        let rows = trades.iter().map(|t| row(t.trade, t.price, t.size, t.taker_side, t.seq, t.ts)).collect::<Vec<_>>();
        (view.at(), rows, trades.last().map(|t| t.trade))
    });
    if rows.len() < limit {
        let older = shared.store.trades(market, oldest, limit - rows.len())?;
        // History is written after publishing, so nothing in it is newer than the view was, except what came since it was read.
        let older = older.into_iter().filter(|t| t.seq <= at.seq);
        rows.extend(older.map(|t| row(t.fill.trade, t.fill.price, t.fill.size, t.fill.taker_side, t.seq, t.ts)));
    }
    Ok(json!({
        "market": shared.genesis.market(market).map_or("", |m| m.name.as_str()),
        "seq": at.seq.to_string(),
        "ts": at.ts.ms().to_string(),
        "trades": rows,
    }))
}

//! Messages of streams as JSON text. Numbers are decimal strings, as everywhere.

use crate::answers::{fill_row, order_json};
use keel_feeds::Topic;
use keel_feeds::streams::{Bbo, BookLevel, Day, MarkPrice, Payload, Ticker, Update, UpdateKind};
use keel_feeds::{BalanceSummary, PhaseView, Trade};
use keel_store::{Candle, FillRow, IncidentStep};
use keel_types::*;
use serde_json::{Value, json};

/// A snapshot or a delta.
pub(crate) fn update(genesis: &Genesis, update: &Update) -> String {
    let kind = match update.kind {
        UpdateKind::Snapshot => "snapshot",
        UpdateKind::Delta => "delta",
    };
    let mut message = head(genesis, update.topic, kind, update.seq);
    if update.kind == UpdateKind::Delta {
        message["prevSeq"] = json!(update.prev_seq.to_string());
    }
    message["ts"] = json!(update.ts.ms().to_string());
    message["data"] = data(genesis, &update.payload);
    message.to_string()
}

/// The answer to `fromSeq`.
pub(crate) fn resumed(genesis: &Genesis, topic: Topic, resumed: bool, from: Seq, seq: Seq) -> String {
    let mut message = head(genesis, topic, "resumed", seq);
    message["resumed"] = json!(resumed);
    message["fromSeq"] = json!(from.to_string());
    message.to_string()
}

/// The last message. `seq`: of the last that was sent.
pub(crate) fn closed(genesis: &Genesis, topic: Topic, reason: &str, seq: Seq) -> String {
    let mut message = head(genesis, topic, "closed", seq);
    message["reason"] = json!(reason);
    message.to_string()
}

fn head(genesis: &Genesis, topic: Topic, kind: &str, seq: Seq) -> Value {
    let mut head = json!({"channel": channel(topic), "type": kind, "seq": seq.to_string()});
    if let Some(market) = topic.market() {
        head["market"] = json!(market_name(genesis, market));
    }
    if let Some(account) = topic.account() {
        head["account"] = json!(account.to_string());
    }
    if let Topic::Candles(_, interval) = topic {
        head["interval"] = json!(interval.as_str());
    }
    head
}

fn channel(topic: Topic) -> &'static str {
    match topic {
        Topic::Book(_) => "book",
        Topic::Bbo(_) => "bbo",
        Topic::Trades(_) => "trades",
        Topic::Ticker(_) => "ticker",
        Topic::Candles(..) => "candles",
        Topic::Mark(_) => "mark",
        Topic::Orders(_) => "orders",
        Topic::Fills(_) => "fills",
        Topic::Positions(_) => "positions",
        Topic::Balances(_) => "balances",
        Topic::Node => "node",
    }
}

fn data(genesis: &Genesis, payload: &Payload) -> Value {
    match payload {
        Payload::Book { levels, checksum } => book(levels, *checksum),
        Payload::Bbo(best) => bbo(best),
        Payload::Trades(trades) => trades.iter().map(trade).collect(),
        Payload::Ticker(ticker) => ticker_json(ticker),
        Payload::Candles(candles) => candles.iter().map(candle).collect(),
        Payload::Mark(price) => mark(price),
        Payload::Orders(orders) => orders.iter().map(|order| order_json(genesis, order)).collect(),
        Payload::Fills(fills) => fills.iter().map(|row| fill(genesis, row)).collect(),
        Payload::Positions(rows) => rows.iter().map(|(market, row)| position(genesis, *market, row)).collect(),
        Payload::Balances(rows) => rows.iter().map(|row| balance(genesis, row)).collect(),
        Payload::Node { phase, incident, steps } => node(phase, *incident, steps),
    }
}

/// Phase and incident as they are, and the steps that led there.
fn node(phase: &PhaseView, incident: Option<IncidentValue>, steps: &[IncidentStep]) -> Value {
    let reasons: Vec<&str> = phase.reasons.iter().map(LossReason::as_str).collect();
    let report = incident.map(|incident| incident.integrity_report).filter(|report| *report != Bytes32::default());
    json!({
        "phase": phase.phase.as_str(),
        "since": phase.since.ms().to_string(),
        "incident": incident.map(|incident| incident.incident.to_string()),
        "reasons": reasons,
        "observed": incident.map(|incident| incident.observed_ts.ms().to_string()),
        "cancelled": incident.map(|incident| incident.cancelled.to_string()),
        "integrityReport": report.map(|report| report.to_string()),
        "steps": steps.iter().map(crate::incidents::step).collect::<Value>(),
    })
}

/// A market's name.
pub(crate) fn market_name(genesis: &Genesis, market: MarketId) -> &str {
    genesis.market(market).map_or("", |market| market.name.as_str())
}

/// An asset's symbol.
pub(crate) fn asset_name(genesis: &Genesis, asset: AssetId) -> &str {
    genesis.asset(asset).map_or("", |asset| asset.symbol.as_str())
}

/// Sums of sizes and notionals; far inside i128.
fn sum(quantums: u128) -> String {
    format_quantums(quantums as i128)
}

fn book(levels: &[BookLevel], checksum: u32) -> Value {
    let side = |side: Side| -> Value {
        let levels = levels.iter().filter(|level| level.side == side);
        levels
            .map(|level| {
                json!({"price": level.price.to_string(), "size": sum(level.size), "orders": level.orders.to_string()})
            })
            .collect()
    };
    json!({"bids": side(Side::Buy), "asks": side(Side::Sell), "checksum": checksum.to_string()})
}

fn bbo(best: &Bbo) -> Value {
    let level =
        |level: Option<(Price, u128)>| level.map(|(price, size)| json!({"price": price.to_string(), "size": sum(size)}));
    json!({"bid": level(best.bid), "ask": level(best.ask)})
}

fn trade(trade: &Trade) -> Value {
    json!({
        "tradeId": trade.trade.to_string(), "price": trade.price.to_string(), "size": trade.size.to_string(),
        "takerSide": trade.taker_side.as_str(), "seq": trade.seq.to_string(), "ts": trade.ts.ms().to_string(),
    })
}

fn mark(price: &MarkPrice) -> Value {
    json!({
        "mark": price.mark.to_string(),
        "oracle": price.oracle.to_string(),
        "priceTs": price.price_ts.ms().to_string(),
        "fundingIndex": price.funding_index.to_string(),
        "fundingRate": price.funding.map(|(rate, _)| format_quantums(rate.into())),
        "fundingTs": price.funding.map(|(_, ts)| ts.ms().to_string()),
    })
}

fn ticker_json(ticker: &Ticker) -> Value {
    let Ticker { last, mark: price, bbo: best, open_interest, day } = ticker;
    let mut message = mark(price);
    message["last"] = json!(last.map(|price| price.to_string()));
    let best = bbo(best);
    message["bid"] = best["bid"].clone();
    message["ask"] = best["ask"].clone();
    message["openInterest"] = json!(format_quantums(*open_interest));
    message["day"] = json!(day.map(|day| {
        let Day { open, high, low, volume, quote_volume, trades } = day;
        let change = last.map(|last| format_quantums(i128::from(last.0) - i128::from(open.0)));
        json!({
            "open": open.to_string(), "high": high.to_string(), "low": low.to_string(), "change": change,
            "volume": sum(volume), "quoteVolume": sum(quote_volume), "trades": trades.to_string(),
        })
    }));
    message
}

/// A candle, also of history.
pub(crate) fn candle(candle: &Candle) -> Value {
    let Candle { start_ms, open, high, low, close, volume, quote_volume, trades } = candle;
    json!({
        "start": start_ms.to_string(), "open": open.to_string(), "high": high.to_string(), "low": low.to_string(),
        "close": close.to_string(), "volume": sum(*volume), "quoteVolume": sum(*quote_volume), "trades": trades.to_string(),
    })
}

/// An account's fill, also of history.
pub(crate) fn fill(genesis: &Genesis, row: &FillRow) -> Value {
    let mut fill = fill_row(row);
    fill["market"] = json!(market_name(genesis, row.market));
    fill["order"] = json!(row.party.order.to_string());
    fill["side"] = json!(row.side.as_str());
    fill["maker"] = json!(row.maker);
    fill["realizedPnl"] = json!(row.party.realized_pnl.to_string());
    fill["seq"] = json!(row.seq.to_string());
    fill["ts"] = json!(row.ts.ms().to_string());
    fill
}

fn position(genesis: &Genesis, market: MarketId, position: &PositionValue) -> Value {
    json!({
        "market": market_name(genesis, market),
        "size": format_quantums(position.size),
        "cost": format_quantums(position.cost),
        "entryFundingIndex": format_quantums(position.funding_index),
    })
}

fn balance(genesis: &Genesis, balance: &BalanceSummary) -> Value {
    json!({
        "asset": asset_name(genesis, balance.asset),
        "total": format_quantums(balance.total),
        "reserved": format_quantums(balance.reserved),
        "available": format_quantums(balance.total - balance.reserved),
    })
}

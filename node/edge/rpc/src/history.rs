//! `*History`, `trade_liquidations`, `market_candles`: what was, newest first, page by page.
//!
//! Each takes `limit` and `cursor` and answers `{.., next, upTo}`. `next` is the `cursor` of the page after this one, null at the end; it is
//! opaque and stays good while history grows. `upTo`: the last command that history held. How far back it goes is the operator's
//! `history.retention_days`; withdrawals, hour and day candles go back to the beginning.
use crate::answers::order_json;
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::{HISTORY_CURSOR_BYTES_MAX, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX};
use crate::market::rate;
use crate::method::{Call, Method, Param};
use crate::streams::interval;
use crate::streams::render::{asset_name, candle, fill, market_name};
use jsonrpsee::types::Params;
use keel_feeds::OrderView;
use keel_store::{
    CancelledRow, FundingRow, HistoryPage, LiquidationRow, OrderRow, Store, StoreError, TradeRow, TransferRow, WithdrawalRow,
};
use keel_types::*;
use serde_json::{Value, json};

const LIMIT: Param = Param::optional("limit", "uint", "Rows of a page.");
const CURSOR: Param = Param::optional("cursor", "text", "`next` of the page before; without it the newest.");
const OF_ACCOUNT: &[Param] = &[Param::required("account", "Address", "Whose."), LIMIT, CURSOR];
const OF_MARKET: &[Param] = &[Param::required("market", "text", "Its name."), LIMIT, CURSOR];
const OF_CANDLES: &[Param] = &[
    Param::required("market", "text", "Its name."),
    Param::required("interval", "text", "`1m`, `5m`, `1h` or `1d`."),
    LIMIT,
    CURSOR,
];

/// A page of an account's or a market's past.
const fn paged(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    result: &'static str,
    read: fn(&Shared, &Params<'_>) -> Result<Value, RpcError>,
) -> Method {
    Method { name, summary, params, result, errors: &["BAD_CURSOR", "UNKNOWN_MARKET"], call: Call::Store(read) }
}

pub(crate) const METHODS: &[Method] = &[
    paged(
        "trade_orderHistory",
        "Orders that are over, the last to end first.",
        OF_ACCOUNT,
        "OrderHistory",
        |shared, params| of_account(shared, params, "orders", Store::account_orders, order),
    ),
    paged("trade_fillHistory", "The account's fills, newest first.", OF_ACCOUNT, "FillHistory", |shared, params| {
        of_account(shared, params, "fills", Store::account_fills, fill)
    }),
    Method {
        name: "trade_getCancelledOrders",
        summary: "What an incident cancelled of the account, the last one first. `index` is the order's place in its record, `restored` the order \
                  that took its place after `trade_restoreOrders`.",
        params: &[
            Param::required("account", "Address", "Whose."),
            Param::required("incident", "uint", "Which."),
            LIMIT,
            CURSOR,
        ],
        result: "CancelledOrders",
        errors: &["BAD_CURSOR"],
        call: Call::Store(cancelled_orders),
    },
    paged(
        "trade_transferHistory",
        "Transfers from and to the account, newest first.",
        OF_ACCOUNT,
        "TransferHistory",
        |shared, params| of_account(shared, params, "transfers", Store::account_transfers, transfer),
    ),
    paged(
        "trade_withdrawalHistory",
        "The account's withdrawals, newest first.",
        OF_ACCOUNT,
        "WithdrawalHistory",
        |shared, params| of_account(shared, params, "withdrawals", Store::account_withdrawals, withdrawal),
    ),
    paged(
        "trade_liquidations",
        "Receipts of the steps by which the account was liquidated, newest first: everything each was decided on, and the decision.",
        OF_ACCOUNT,
        "LiquidationHistory",
        |shared, params| of_account(shared, params, "liquidations", Store::account_liquidations, liquidation),
    ),
    paged("market_tradeHistory", "The market's trades, newest first.", OF_MARKET, "TradeHistory", |shared, params| {
        of_market(shared, params, "trades", Store::trade_page, trade)
    }),
    paged(
        "market_fundingHistory",
        "The market's funding rates and index, newest first.",
        OF_MARKET,
        "FundingHistory",
        |shared, params| of_market(shared, params, "funding", Store::funding, funding),
    ),
    paged("market_candles", "Candles of the market's trades, newest first.", OF_CANDLES, "CandleHistory", candles),
];

type Read<K, T> = fn(&Store, K, Option<&[u8]>, usize) -> Result<HistoryPage<T>, StoreError>;

/// `limit` and `cursor`.
pub(crate) struct Page {
    pub limit: usize,
    pub cursor: Option<Vec<u8>>,
}

impl Page {
    /// The last fields of a call.
    pub(crate) fn read(mut fields: Fields) -> Result<Page, RpcError> {
        let limit = fields.rows("limit", HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX)?;
        let cursor = fields.optional_text("cursor")?;
        fields.finish()?;
        let parse = |text: String| {
            let bytes = hex::decode(&text).ok().filter(|bytes| (1..=HISTORY_CURSOR_BYTES_MAX).contains(&bytes.len()));
            bytes.ok_or(RpcError::BadCursor)
        };
        Ok(Page { limit, cursor: cursor.map(parse).transpose()? })
    }

    /// One page, once history holds what is published.
    fn answer<T>(
        &self,
        shared: &Shared,
        name: &str,
        read: impl FnOnce(&Store, Option<&[u8]>, usize) -> Result<HistoryPage<T>, StoreError>,
        show: impl Fn(&T) -> Value,
    ) -> Result<Value, RpcError> {
        shared.wait_for_history()?;
        let up_to = shared.store.history_seq()?;
        let page = read(&shared.store, self.cursor.as_deref(), self.limit)?;
        let rows: Value = page.rows.iter().map(show).collect();
        Ok(json!({name: rows, "next": page.next.map(hex::encode), "upTo": up_to.to_string()}))
    }
}

fn cancelled_orders(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let (account, incident) = (fields.account()?, IncidentId(fields.integer("incident")?));
    let page = Page::read(fields)?;
    let read = |store: &Store, next: Option<&[u8]>, limit| store.account_cancelled(account, incident, next, limit);
    page.answer(shared, "orders", read, |CancelledRow { place, update, restored }| {
        let mut order = order_json(&shared.genesis, &OrderView { update: *update, at: None });
        order["seq"] = json!(place.seq.to_string());
        order["index"] = json!(place.index.to_string());
        order["restored"] = json!(restored.map(|order| order.to_string()));
        order
    })
}

fn of_account<T>(
    shared: &Shared,
    params: &Params<'_>,
    name: &str,
    read: Read<Address, T>,
    show: fn(&Genesis, &T) -> Value,
) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let account = fields.account()?;
    let page = Page::read(fields)?;
    page.answer(shared, name, |store, next, limit| read(store, account, next, limit), |row| show(&shared.genesis, row))
}

fn of_market<T>(
    shared: &Shared,
    params: &Params<'_>,
    name: &str,
    read: Read<MarketId, T>,
    show: fn(&Genesis, &T) -> Value,
) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    let page = Page::read(fields)?;
    page.answer(shared, name, |store, next, limit| read(store, market, next, limit), |row| show(&shared.genesis, row))
}

fn candles(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let market = fields.market(&shared.genesis)?;
    let interval = interval(&mut fields)?;
    let page = Page::read(fields)?;
    page.answer(shared, "candles", |store, next, limit| store.candles(market, interval, next, limit), candle)
}

/// As in `trade_openOrders`, at its end, with when it was opened.
fn order(genesis: &Genesis, row: &OrderRow) -> Value {
    let mut order = order_json(genesis, &OrderView { update: row.update, at: Some((row.seq, row.ts)) });
    order["openedSeq"] = json!(row.opened_seq.to_string());
    order["openedTs"] = json!(row.opened_ts.ms().to_string());
    order
}

fn transfer(genesis: &Genesis, row: &TransferRow) -> Value {
    json!({
        "account": row.account.to_string(), "recipient": row.recipient.to_string(), "asset": asset_name(genesis, row.asset),
        "amount": row.amount.to_string(), "hash": row.hash.to_string(), "seq": row.seq.to_string(), "ts": row.ts.ms().to_string(),
    })
}

fn withdrawal(genesis: &Genesis, row: &WithdrawalRow) -> Value {
    let withdrawal = &row.withdrawal;
    json!({
        "id": withdrawal.id.to_string(), "asset": asset_name(genesis, withdrawal.asset),
        "amount": withdrawal.amount.to_string(), "recipient": withdrawal.recipient.to_string(),
        "hash": withdrawal.hash.to_string(), "seq": row.seq.to_string(), "ts": row.ts.ms().to_string(),
    })
}

fn trade(_: &Genesis, row: &TradeRow) -> Value {
    let fill = &row.fill;
    json!({
        "tradeId": fill.trade.to_string(), "price": fill.price.to_string(), "size": fill.size.to_string(),
        "takerSide": fill.taker_side.as_str(), "seq": row.seq.to_string(), "ts": row.ts.ms().to_string(),
    })
}

fn funding(_: &Genesis, row: &FundingRow) -> Value {
    json!({
        "rate": format_quantums(row.rate.into()), "index": row.index.to_string(), "accrued": row.accrued.ms().to_string(),
        "seq": row.seq.to_string(), "ts": row.ts.ms().to_string(),
    })
}

/// A receipt with every number of it: what was decided can be computed again from this alone.
fn liquidation(genesis: &Genesis, row: &LiquidationRow) -> Value {
    let receipt = &row.receipt;
    json!({
        "seq": row.seq.to_string(), "ts": row.ts.ms().to_string(), "account": receipt.account.to_string(),
        "attempts": receipt.attempts.to_string(), "inputs": inputs(genesis, &receipt.inputs),
        "fund": receipt.fund.as_ref().map(|fund| inputs(genesis, fund)), "decision": decision(genesis, &receipt.decision),
    })
}

fn inputs(genesis: &Genesis, inputs: &MarginInputs) -> Value {
    let markets = inputs.markets.iter().map(|m| {
        json!({
            "market": market_name(genesis, m.market), "size": m.size.to_string(), "cost": m.cost.to_string(),
            "entryFundingIndex": m.entry_index.to_string(), "fundingIndex": m.funding_index.to_string(),
            "mark": m.mark.to_string(), "imf": rate(m.imf_ppm.into()), "mmf": rate(m.mmf_ppm.into()),
            "fee": rate(m.fee_ppm.into()), "liquidationFee": rate(m.liquidation_fee_ppm.into()),
            "tickSize": m.tick_size.to_string(), "lotSize": m.lot_size.to_string(), "priceMax": m.price_max.to_string(),
        })
    });
    json!({"collateral": inputs.collateral.to_string(), "markets": markets.collect::<Value>()})
}

fn decision(genesis: &Genesis, decision: &LiquidationDecision) -> Value {
    match decision {
        LiquidationDecision::Cancel { count } => {
            json!({"step": LiquidationStep::Cancel.as_str(), "count": count.to_string()})
        }
        LiquidationDecision::Close { fifths, orders, equity_left, fee } => {
            let orders = orders.iter().map(|order| {
                json!({
                    "market": market_name(genesis, order.market), "side": order.side.as_str(), "size": order.size.to_string(),
                    "limit": order.limit.to_string(), "filled": order.filled.to_string(), "quote": order.quote.to_string(),
                })
            });
            json!({
                "step": LiquidationStep::Close.as_str(), "fifths": fifths.to_string(), "orders": orders.collect::<Value>(),
                "equityLeft": equity_left.to_string(), "fee": fee.to_string(),
            })
        }
        LiquidationDecision::TakeOver { left, fee, deficit } => json!({
            "step": LiquidationStep::TakeOver.as_str(), "left": left.to_string(), "fee": fee.to_string(),
            "deficit": deficit.to_string(),
        }),
        LiquidationDecision::Deleverage { market, side, price, size, shares, candidates } => {
            let shares = shares.iter().map(|s| json!({"account": s.account.to_string(), "size": s.size.to_string()}));
            let candidates = candidates.iter().map(|c| {
                json!({
                    "account": c.account.to_string(), "size": c.size.to_string(), "cost": c.cost.to_string(),
                    "profit": c.profit.to_string(), "value": c.value.to_string(),
                })
            });
            json!({
                "step": LiquidationStep::Deleverage.as_str(), "market": market_name(genesis, *market), "side": side.as_str(),
                "price": price.to_string(), "size": size.to_string(), "shares": shares.collect::<Value>(),
                "candidates": candidates.collect::<Value>(),
            })
        }
    }
}

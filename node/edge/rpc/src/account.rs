//! What an account's owner asks about it.
use crate::answers::{self, order_json};
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::{Fields, OrderName};
use crate::method::{Call, Method, Param};
use jsonrpsee::types::Params;
use keel_feeds::{AccountSummary, OrderView, PositionSummary};
use keel_store::FillRow;
use keel_types::*;
use serde_json::{Value, json};

const ACCOUNT: Param = Param::required("account", "felt", "Address of the account.");

/// The methods.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "trade_account",
        summary: "Balances, positions, margin and session keys of an account, as of the last released command.",
        params: &[ACCOUNT],
        result: "Account",
        errors: &["UNKNOWN_ACCOUNT"],
        call: Call::View(account),
    },
    Method {
        name: "trade_sessionKeys",
        summary: "The account's session keys that are not revoked, expired ones included.",
        params: &[ACCOUNT],
        result: "SessionKeys",
        errors: &["UNKNOWN_ACCOUNT"],
        call: Call::View(session_keys),
    },
    Method {
        name: "trade_openOrders",
        summary: "The account's open orders, the one that has not changed for longest first.",
        params: &[ACCOUNT, Param::optional("market", "text", "Only orders of this market.")],
        result: "OpenOrders",
        errors: &["UNKNOWN_MARKET"],
        call: Call::View(open_orders),
    },
    Method {
        name: "trade_getOrder",
        summary: "One order of the account, live or over, with its fills.",
        params: &[
            ACCOUNT,
            Param::optional("order", "felt", "Its hash. Exactly one of `order` and `clientId`."),
            Param::optional(
                "clientId",
                "uint",
                "The client's own id: the live order that bears it, else the last that did.",
            ),
        ],
        result: "OrderWithFills",
        errors: &["UNKNOWN_ORDER", "ORDER_OR_CLIENT_ID"],
        call: Call::Store(get_order),
    },
];

fn open_orders(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let account = fields.account()?;
    let market = fields.optional_market(&shared.genesis)?;
    fields.finish()?;
    Ok(shared.published.read(|view| {
        let orders = view.open_orders(account, market);
        let orders: Value = orders.iter().map(|order| order_json(&shared.genesis, order)).collect();
        json!({"seq": view.at().seq.to_string(), "ts": view.at().ts.ms().to_string(), "orders": orders})
    }))
}

/// One order, live or over, with its fills. From memory, or from the store's history when it ended long ago.
fn get_order(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let account = fields.account()?;
    let name = fields.order()?;
    fields.finish()?;
    let found = shared.published.read(|view| match name {
        OrderName::Hash(hash) => view.orders().get(hash),
        OrderName::ClientId(id) => view.orders().by_client_id(account, id),
    });
    let stored = |hash| -> Result<Option<OrderView>, RpcError> {
        let row = shared.store.order(hash)?;
        Ok(row.map(|row| OrderView { update: row.update, at: Some((row.seq, row.ts)) }))
    };
    let found = match (found, name) {
        (Some(order), _) => Some(order),
        (None, OrderName::Hash(hash)) => stored(hash)?,
        (None, OrderName::ClientId(_)) => None,
    };
    // Somebody else's order is not found either: an account asks about its own.
    let order = found.filter(|order| order.update.account == account).ok_or(Reject::UnknownOrder)?;
    shared.wait_for_history()?;
    let fills: Vec<FillRow> = shared.store.order_fills(order.update.order, None)?;
    let quote: i128 = fills.iter().map(|fill| fill.price.notional(fill.size)).sum();
    let mut answer = order_json(&shared.genesis, &order);
    answer["fills"] = fills.iter().map(answers::fill_row).collect();
    answer["quoteFilled"] = json!(format_quantums(quote));
    // History is written right behind publishing: `fills` are those up to this command.
    answer["fillsUpTo"] = json!(shared.store.history_seq()?.to_string());
    Ok(answer)
}

fn account(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let account = fields.account()?;
    fields.finish()?;
    let found = shared.published.read(|view| {
        let keys = view.account(account).map(|account| account.session_keys.clone());
        Some((view.at(), view.summary(account)?, keys.unwrap_or_default()))
    });
    let (at, summary, keys) = found.ok_or(Reject::UnknownAccount)?;
    let mut answer = account_json(&shared.genesis, &summary);
    answer["sessionKeys"] = keys.iter().map(|(key, terms)| session_key_json(&shared.genesis, key, terms, at.ts)).collect();
    answer["seq"] = json!(at.seq.to_string());
    answer["ts"] = json!(at.ts.ms().to_string());
    Ok(answer)
}

fn session_keys(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let account = fields.account()?;
    fields.finish()?;
    let found = shared.published.read(|view| Some((view.at(), view.account(account)?.session_keys.clone())));
    let (at, keys) = found.ok_or(Reject::UnknownAccount)?;
    let keys: Value = keys.iter().map(|(key, terms)| session_key_json(&shared.genesis, key, terms, at.ts)).collect();
    Ok(json!({"seq": at.seq.to_string(), "ts": at.ts.ms().to_string(), "sessionKeys": keys}))
}

/// No `markets`: every market. `maxOrderNotional` 0: the market's own bound.
fn session_key_json(genesis: &Genesis, key: &StarkKey, terms: &SessionTerms, now: Ts) -> Value {
    let name = |market: &MarketId| genesis.market(*market).map_or("", |market| market.name.as_str());
    json!({
        "key": key.to_string(),
        "expiry": terms.expiry.ms().to_string(),
        "expired": terms.expiry <= now,
        "scope": keel_ingress::message::SCOPE_TRADE,
        "markets": terms.markets.iter().map(name).collect::<Vec<_>>(),
        "maxOrderNotional": terms.max_order_notional.to_string(),
    })
}

fn account_json(genesis: &Genesis, summary: &AccountSummary) -> Value {
    let balances: Value = summary
        .balances
        .iter()
        .map(|balance| {
            json!({
                "asset": genesis.asset(balance.asset).map_or("", |asset| asset.symbol.as_str()),
                "total": format_quantums(balance.total),
                "reserved": format_quantums(balance.reserved),
                "available": format_quantums(balance.total - balance.reserved),
            })
        })
        .collect();
    let positions: Value = summary.positions.iter().map(|position| position_json(genesis, position)).collect();
    let template = summary.key.and_then(|(_, template)| genesis.account_templates.get(usize::from(template)));
    json!({
        "account": summary.account.to_string(),
        "registered": summary.key.is_some(),
        "key": summary.key.map(|(key, _)| key.to_string()),
        "template": template.map(|template| template.name.as_str()),
        "balances": balances,
        "positions": positions,
        "collateral": format_quantums(summary.margin.collateral),
        "accountValue": format_quantums(summary.margin.value),
        "initialMargin": format_quantums(summary.margin.initial),
        "maintenanceMargin": format_quantums(summary.margin.maintenance),
        "withdrawable": format_quantums(summary.withdrawable),
        "openOrders": summary.open_orders.to_string(),
    })
}

fn position_json(genesis: &Genesis, position: &PositionSummary) -> Value {
    let PositionValue { size, cost, funding_index } = position.position;
    json!({
        "market": genesis.market(position.market).map_or("", |market| market.name.as_str()),
        "size": format_quantums(size),
        "cost": format_quantums(cost),
        "entryPrice": entry_price(size, cost).map(format_quantums),
        "entryFundingIndex": format_quantums(funding_index),
        "mark": position.mark.to_string(),
        "unrealized": format_quantums(position.unrealized),
        "initialMargin": format_quantums(position.initial),
        "maintenanceMargin": format_quantums(position.maintenance),
    })
}

/// Average price paid, rounded towards zero; for show only, `cost` is exact. `None` without a position.
fn entry_price(size: i128, cost: i128) -> Option<i128> {
    (size != 0).then(|| cost * i128::from(QUANTUMS_PER_UNIT) / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_price_is_what_one_unit_cost() {
        assert_eq!(entry_price(0, 5), None);
        assert_eq!(entry_price(200_000_000, 600_000_000_000), Some(300_000_000_000));
        assert_eq!(entry_price(-300_000_000, -100_000_000), Some(33_333_333));
    }
}

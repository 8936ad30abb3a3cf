//! `trade_*`, and `market_publishPrices`: what goes to the engine, and what an account's owner asks about it.
use crate::answers::{self, Executed, order_json};
use crate::context::{Methods, Shared};
use crate::error::RpcError;
use crate::fields::{Fields, OrderName, value};
use crate::limits::WRITE_ANSWER_TIMEOUT;
use crate::server::Client;
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use keel_feeds::{AccountSummary, OrderView, PositionSummary};
use keel_ingress::queue::Answer;
use keel_ingress::{Admitted, ConnectionId, IngressError, MessageKind, decode};
use keel_store::FillRow;
use keel_types::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds the methods.
pub(crate) fn register(module: &mut RpcModule<Arc<Shared>>) {
    let methods = &mut Methods(module);
    for (name, kind) in [
        ("trade_register", MessageKind::Register),
        ("trade_placeOrder", MessageKind::Order),
        ("trade_cancelOrder", MessageKind::CancelOrder),
        ("trade_cancelAll", MessageKind::CancelAll),
        ("trade_withdraw", MessageKind::Withdraw),
    ] {
        methods.write(name, move |shared, params, client| write(shared, kind, params, client));
    }
    methods.write("market_publishPrices", publish_prices);
    methods.view("trade_typedData", |shared, params| Ok(shared.ingress.typed_data(&value(params)?)?));
    methods.view("trade_openOrders", open_orders);
    methods.view("trade_account", account);
    methods.store("trade_getOrder", get_order);
}

/// Wall-clock time: drives budgets and refuses what is long expired. Never reaches the engine.
pub(crate) fn now() -> Ts {
    Ts::from_ms(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

pub(crate) fn budget_of(client: Option<Client>) -> ConnectionId {
    // A call without a peer comes from inside this process.
    client.map_or(ConnectionId(0), |client| ConnectionId::of_peer(client.ip))
}

/// Waits for what may never come. Whatever the reason, the message may be in the journal by then: the outcome is unknown, and
/// the identical message asks for it.
pub(crate) async fn in_time<T>(outcome: impl Future<Output = Result<T, IngressError>>) -> Result<T, IngressError> {
    tokio::time::timeout(WRITE_ANSWER_TIMEOUT, outcome).await.unwrap_or(Err(IngressError::OutcomeUnknown))
}

async fn write(
    shared: Arc<Shared>,
    kind: MessageKind,
    params: Params<'static>,
    client: Option<Client>,
) -> Result<Value, RpcError> {
    let params = value(&params)?;
    let connection = budget_of(client);
    let named = if kind == MessageKind::CancelOrder { named_order(&params) } else { None };
    let (account, hash, answer) = in_time(async {
        let admitted: Admitted = shared.ingress.submit(kind, params, connection, now()).await?;
        let (account, hash) = (admitted.account, admitted.hash);
        Ok((account, hash, admitted.outcome().await?))
    })
    .await?;
    match kind {
        MessageKind::Order => place_answer(shared, hash, answer).await,
        MessageKind::CancelOrder => cancel_answer(&shared, answer, account, named),
        MessageKind::CancelAll => answers::cancelled(&Executed::read(&shared, answer)?),
        MessageKind::Withdraw => answers::withdrawn(&Executed::read(&shared, answer)?),
        MessageKind::Register => Ok(answers::registered(&Executed::read(&shared, answer)?, account)),
        other => unreachable!("no method is registered for {}", other.as_str()),
    }
}

async fn place_answer(shared: Arc<Shared>, hash: MessageHash, answer: Answer) -> Result<Value, RpcError> {
    let executed = Executed::read(&shared, answer)?;
    if executed.replayed.is_none() {
        return answers::placed(&executed, hash, &[]);
    }
    // The outcome of a replay does not hold the fills; history does.
    let read = move |shared: &Shared| {
        shared.wait_for_history()?;
        Ok(shared.store.order_fills(hash, None)?)
    };
    let fills = shared.read_store(read).await?;
    answers::placed(&executed, hash, &fills)
}

/// The order that a cancel names, as far as it can be read; what cannot is refused by ingress.
fn named_order(params: &Value) -> Option<OrderName> {
    let message = params.get("message")?;
    // 0 means absent, as in the signed message.
    let hash = message.get("order").and_then(|hash| decode::felt("order", hash).ok()).filter(|hash| *hash != Felt::ZERO);
    let client_id = message.get("clientId").and_then(|id| id.as_str()?.parse().ok()).filter(|id| *id != 0);
    hash.map(|hash| OrderName::Hash(MessageHash(hash))).or(client_id.map(OrderName::ClientId))
}

/// A cancel that lost the race says what became of the order. [spec exchange, Orders]
pub(crate) fn cancel_answer(
    shared: &Shared,
    answer: Answer,
    account: Address,
    named: Option<OrderName>,
) -> Result<Value, RpcError> {
    let mut result = Executed::read(shared, answer).and_then(|executed| answers::cancelled(&executed));
    if let (Err(RpcError::Rejected { reject: Reject::OrderNotOpen | Reject::UnknownOrder, order, .. }), Some(named)) =
        (&mut result, named)
    {
        *order = shared.published.read(|view| {
            let found = match named {
                OrderName::Hash(hash) => view.orders().get(hash),
                OrderName::ClientId(id) => view.orders().by_client_id(account, id),
            };
            found.filter(|order| order.update.account == account).map(|order| order_json(&shared.genesis, order))
        });
    }
    result
}

async fn publish_prices(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let params = value(&params)?;
    let connection = budget_of(client);
    let answer = in_time(async {
        let reply = shared.ingress.submit_prices(params, connection, now()).await?;
        reply.await.map_err(|_| IngressError::OutcomeUnknown)
    })
    .await?;
    answers::priced(&shared, answer)
}

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
        OrderName::Hash(hash) => view.orders().get(hash).copied(),
        OrderName::ClientId(id) => view.orders().by_client_id(account, id).copied(),
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
    let (at, summary) = shared.published.read(|view| (view.at(), view.summary(account)));
    let summary = summary.ok_or(Reject::UnknownAccount)?;
    let mut answer = account_json(&shared.genesis, &summary);
    answer["seq"] = json!(at.seq.to_string());
    answer["ts"] = json!(at.ts.ms().to_string());
    Ok(answer)
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
    json!({
        "market": genesis.market(position.market).map_or("", |market| market.name.as_str()),
        "size": format_quantums(position.position.size),
        "cost": format_quantums(position.position.cost),
        "mark": position.mark.to_string(),
        "unrealized": format_quantums(position.unrealized),
        "initialMargin": format_quantums(position.initial),
        "maintenanceMargin": format_quantums(position.maintenance),
    })
}

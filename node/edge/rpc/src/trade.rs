//! `trade_*` that goes to the engine, and `market_publishPrices`.
use crate::answers::{self, Executed, order_json};
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::{OrderName, value};
use crate::limits::{TRADE_BATCH_MAX, WRITE_ANSWER_TIMEOUT};
use crate::method::{Call, Method, Param};
use crate::server::Client;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use keel_ingress::queue::Answer;
use keel_ingress::{Admitted, Begun, ConnectionId, IngressError, MessageKind, decode};
use keel_types::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout_at};

const fn signed(name: &'static str, summary: &'static str, kind: MessageKind, result: &'static str) -> Method {
    Method { name, summary, params: &[], result, errors: &[], call: Call::Signed(kind) }
}

/// The methods.
pub(crate) const METHODS: &[Method] = &[
    signed(
        "trade_register",
        "Binds an account address to the Stark key it was computed from.",
        MessageKind::Register,
        "Registered",
    ),
    signed(
        "trade_placeOrder",
        "Places an order; answers with what became of it right away, fills included.",
        MessageKind::Order,
        "Placed",
    ),
    signed(
        "trade_modifyOrder",
        "New limit price and total size of an open order, which keeps its id, and its place in the queue when only the size goes down.",
        MessageKind::ModifyOrder,
        "Placed",
    ),
    signed(
        "trade_cancelOrder",
        "Cancels one order, by its hash or by the client's id.",
        MessageKind::CancelOrder,
        "Cancelled",
    ),
    signed(
        "trade_cancelAll",
        "Cancels every order of the account, in one market or in ALL.",
        MessageKind::CancelAll,
        "Cancelled",
    ),
    signed(
        "trade_scheduleCancel",
        "Dead man's switch: cancels every order of the account at a time, at least one second ahead; 0 takes it back.",
        MessageKind::ScheduleCancel,
        "Scheduled",
    ),
    signed(
        "trade_restoreOrders",
        "Places again what is left of up to 100 orders that an incident cancelled, in the phases that allow them, each as a new order under the rules \
         of now and with an identity of its own: Poseidon of the message's hash and the order's. One that is refused may be tried again. \
         `goodTil` is a new end for those that may have one. `orders` is empty when `replayed`: `trade_getCancelledOrders` tells.",
        MessageKind::RestoreOrders,
        "OrdersRestored",
    ),
    Method {
        name: "trade_batch",
        summary: "Up to 20 places, modifies and cancels, each signed on its own and with its own outcome, which stand in the order of the \
                  requests. Those of one account are executed in that order; one that fails does not stop those after it.",
        params: &[Param::required("requests", "[BatchRequest]", "1 to 20 requests; `type` is the SNIP-12 primary type.")],
        result: "BatchResults",
        errors: &[],
        call: Call::Write(|shared, params, client| Box::pin(batch(shared, params, client))),
    },
    signed(
        "trade_addSessionKey",
        "Lets a key trade for the account until a time, within bounds; granting a key again replaces its terms. Only the main key signs it.",
        MessageKind::SessionKey,
        "SessionKeyChanged",
    ),
    signed(
        "trade_revokeSessionKey",
        "Ends a session key at the answer's sequence number. Only the main key signs it.",
        MessageKind::RevokeSessionKey,
        "SessionKeyChanged",
    ),
    signed(
        "trade_transfer",
        "Moves an amount to another account on this exchange. Only the main key signs it.",
        MessageKind::Transfer,
        "Transferred",
    ),
    signed(
        "trade_withdraw",
        "Takes an amount out to the settlement layer; `bridge_getWithdrawal` follows it by the answer's id. Only the main key signs it.",
        MessageKind::Withdraw,
        "Withdrawn",
    ),
    Method {
        name: "trade_typedData",
        summary: "The SNIP-12 JSON that a wallet signs for a message, of any of the twelve kinds.",
        params: &[
            Param::required("type", "MessageType", "The SNIP-12 primary type."),
            Param::required("message", "Message", "The message, as its method takes it."),
        ],
        result: "TypedData",
        errors: &["UNKNOWN_TEMPLATE"],
        call: Call::View(|shared, params| Ok(shared.ingress.typed_data(&value(params)?)?)),
    },
    Method {
        name: "market_publishPrices",
        summary: "Signed prices of the publishers of genesis, taken all or none; answers with what each came to. A report that is in none \
                  of the lists was taken in and waits for its quorum.",
        params: &[Param::required("reports", "[PriceReport]", "1 to 64 reports.")],
        result: "PricesPublished",
        errors: &[],
        call: Call::Write(|shared, params, client| Box::pin(publish_prices(shared, params, client))),
    },
];

/// What a batch may hold: it is for quotes, not for moving money.
const BATCH_KINDS: [MessageKind; 4] =
    [MessageKind::Order, MessageKind::ModifyOrder, MessageKind::CancelOrder, MessageKind::CancelAll];

/// Names of [BATCH_KINDS].
pub(crate) fn batch_types() -> [&'static str; 4] {
    BATCH_KINDS.map(MessageKind::as_str)
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
async fn by<T>(deadline: Instant, outcome: impl Future<Output = Result<T, IngressError>>) -> Result<T, IngressError> {
    timeout_at(deadline, outcome).await.unwrap_or(Err(IngressError::OutcomeUnknown))
}

/// The same from now on.
pub(crate) async fn in_time<T>(outcome: impl Future<Output = Result<T, IngressError>>) -> Result<T, IngressError> {
    by(Instant::now() + WRITE_ANSWER_TIMEOUT, outcome).await
}

/// A signed message that was sent in, and what of its request the answer needs.
struct Sent {
    kind: MessageKind,
    /// The order it names, as far as that can be read; what cannot is refused by ingress.
    named: Option<OrderName>,
    /// The session key it is about.
    key: Option<StarkKey>,
    begun: Begun,
}

impl Sent {
    fn begin(shared: &Shared, kind: MessageKind, params: Value, connection: ConnectionId) -> Result<Sent, IngressError> {
        let message = params.get("message");
        let named = message.and_then(named_order);
        let key = message.and_then(|m| m.get("key")).and_then(|key| decode::felt("key", key).ok()).map(StarkKey);
        let begun = shared.ingress.begin(kind, params, connection, now())?;
        Ok(Sent { kind, named, key, begun })
    }

    /// The answer of its method.
    async fn answer(self, shared: Arc<Shared>, deadline: Instant) -> Result<Value, RpcError> {
        let Sent { kind, named, key, begun } = self;
        let (account, hash, answer) = by(deadline, async {
            let admitted: Admitted = begun.admitted().await?;
            let (account, hash) = (admitted.account, admitted.hash);
            Ok((account, hash, admitted.outcome().await?))
        })
        .await?;
        match kind {
            MessageKind::Order => placed(shared, hash, answer).await,
            MessageKind::ModifyOrder => modified(shared, answer, account, named).await,
            MessageKind::CancelOrder => {
                let executed = Executed::read(&shared, answer);
                tell_of_order(&shared, executed.and_then(|executed| answers::cancelled(&executed)), account, named)
            }
            MessageKind::CancelAll => answers::cancelled(&Executed::read(&shared, answer)?),
            MessageKind::ScheduleCancel => answers::scheduled(&Executed::read(&shared, answer)?),
            MessageKind::SessionKey | MessageKind::RevokeSessionKey => {
                answers::session_key_changed(&Executed::read(&shared, answer)?, key.unwrap_or_default())
            }
            MessageKind::Transfer => {
                let executed = Executed::read(&shared, answer).map_err(RpcError::of_amount)?;
                answers::transferred(&executed, hash)
            }
            MessageKind::Withdraw => answers::withdrawn(&Executed::read(&shared, answer).map_err(RpcError::of_amount)?),
            MessageKind::RestoreOrders => answers::restored(&Executed::read(&shared, answer)?),
            MessageKind::Register => answers::registered(&Executed::read(&shared, answer)?, account),
            MessageKind::Session => {
                unreachable!("no method is registered for {}", kind.as_str())
            }
        }
    }
}

/// A method that carries one signed message.
pub(crate) async fn write(
    shared: Arc<Shared>,
    kind: MessageKind,
    params: Params<'static>,
    client: Option<Client>,
) -> Result<Value, RpcError> {
    let deadline = Instant::now() + WRITE_ANSWER_TIMEOUT;
    let sent = Sent::begin(&shared, kind, value(&params)?, budget_of(client))?;
    sent.answer(shared, deadline).await
}

/// All are sent in before any is waited for: they may share one journal record.
async fn batch(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let deadline = Instant::now() + WRITE_ANSWER_TIMEOUT;
    let requests = batch_requests(value(&params)?)?;
    let connection = budget_of(client);
    let sent: Vec<_> =
        requests.into_iter().map(|(kind, request)| (kind, Sent::begin(&shared, kind, request, connection))).collect();
    let mut results = Vec::with_capacity(sent.len());
    for (kind, sent) in sent {
        let answer = match sent {
            Ok(sent) => sent.answer(shared.clone(), deadline).await,
            Err(error) => Err(error.into()),
        };
        results.push(match answer {
            Ok(result) => json!({"type": kind.as_str(), "result": result}),
            Err(error) => json!({"type": kind.as_str(), "error": ErrorObjectOwned::from(error)}),
        });
    }
    Ok(json!({ "results": results }))
}

/// The requests of a batch with their kinds, each without its `type`. A batch that is not one is refused as a whole; what is wrong
/// inside a request is the outcome of that request.
fn batch_requests(params: Value) -> Result<Vec<(MessageKind, Value)>, IngressError> {
    let fields = decode::object(&params)?;
    decode::only(fields, &["requests"])?;
    let requests = decode::required(fields, "requests")?.as_array().ok_or(IngressError::WrongType("requests".into()))?;
    if requests.is_empty() {
        return Err(IngressError::OutOfRange("requests".into()));
    }
    if requests.len() > TRADE_BATCH_MAX {
        return Err(IngressError::TooLong("requests".into()));
    }
    let request = |(i, request): (usize, &Value)| {
        let mut fields = request.as_object().ok_or(IngressError::WrongType(format!("requests[{i}]").into()))?.clone();
        let name = || format!("requests[{i}].type").into();
        let of = match fields.remove("type") {
            None => return Err(IngressError::MissingField(name())),
            Some(Value::String(of)) => of,
            Some(_) => return Err(IngressError::WrongType(name())),
        };
        let kind = MessageKind::parse(&of).filter(|kind| BATCH_KINDS.contains(kind));
        Ok((kind.ok_or_else(|| IngressError::UnknownValue(name()))?, Value::Object(fields)))
    };
    requests.iter().enumerate().map(request).collect()
}

async fn placed(shared: Arc<Shared>, hash: MessageHash, answer: Answer) -> Result<Value, RpcError> {
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

/// A modified order keeps its id: the answer is about the order, not about the message.
async fn modified(
    shared: Arc<Shared>,
    answer: Answer,
    account: Address,
    named: Option<OrderName>,
) -> Result<Value, RpcError> {
    let Some(OrderName::Hash(order)) = named else { return Err(RpcError::Internal) };
    let result = placed(shared.clone(), order, answer).await;
    tell_of_order(&shared, result, account, named)
}

/// The order that a message names. 0 means absent, as in the signed message.
fn named_order(message: &Value) -> Option<OrderName> {
    let hash = message.get("order").and_then(|hash| decode::felt("order", hash).ok());
    let client_id = message.get("clientId").and_then(|id| id.as_str()?.parse().ok()).filter(|id| *id != 0);
    let hash = hash.filter(|hash| *hash != Felt::ZERO || client_id.is_none());
    hash.map(|hash| OrderName::Hash(MessageHash(hash))).or(client_id.map(OrderName::ClientId))
}

/// A cancel or modify that lost the race says what became of the order. [spec exchange, Orders]
pub(crate) fn tell_of_order(
    shared: &Shared,
    mut result: Result<Value, RpcError>,
    account: Address,
    named: Option<OrderName>,
) -> Result<Value, RpcError> {
    let lost = |reject| {
        matches!(reject, Reject::OrderNotOpen | Reject::UnknownOrder | Reject::SizeBelowFilled | Reject::NothingToModify)
    };
    if let (Err(RpcError::Rejected { reject, order, .. }), Some(named)) = (&mut result, named)
        && lost(*reject)
    {
        *order = shared.published.read(|view| {
            let found = match named {
                OrderName::Hash(hash) => view.orders().get(hash),
                OrderName::ClientId(id) => view.orders().by_client_id(account, id),
            };
            found.filter(|order| order.update.account == account).map(|order| order_json(&shared.genesis, &order))
        });
    }
    result
}

async fn publish_prices(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let deadline = Instant::now() + WRITE_ANSWER_TIMEOUT;
    let (params, connection) = (value(&params)?, budget_of(client));
    let answer = by(deadline, async {
        let reply = shared.ingress.submit_prices(params, connection, now()).await?;
        reply.await.map_err(|_| IngressError::OutcomeUnknown)
    })
    .await?;
    answers::priced(&shared, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_not_one_is_refused_as_a_whole() {
        let entry = json!({"type": "Order", "message": {}, "signature": []});
        let reason = |params: Value| {
            let error = batch_requests(params).expect_err("refused");
            (error.reason(), error.field().to_owned())
        };
        for (params, expected, field) in [
            (json!({}), "MISSING_FIELD", "requests"),
            (json!([]), "JSON_MALFORMED", ""),
            (json!({"requests": {}}), "WRONG_TYPE", "requests"),
            (json!({"requests": []}), "OUT_OF_RANGE", "requests"),
            (json!({"requests": vec![entry.clone(); 21]}), "TOO_LONG", "requests"),
            (json!({"requests": [entry], "atomic": true}), "UNKNOWN_FIELD", "atomic"),
            (json!({"requests": [7]}), "WRONG_TYPE", "requests[0]"),
            (json!({"requests": [entry, {"message": {}}]}), "MISSING_FIELD", "requests[1].type"),
            (json!({"requests": [{"type": 1}]}), "WRONG_TYPE", "requests[0].type"),
            (json!({"requests": [{"type": "Withdraw"}]}), "UNKNOWN_VALUE", "requests[0].type"),
            (json!({"requests": [{"type": "order"}]}), "UNKNOWN_VALUE", "requests[0].type"),
        ] {
            assert_eq!(reason(params.clone()), (expected, field.to_owned()), "{params}");
        }
        let taken = batch_requests(json!({"requests": vec![entry; 20]})).expect("twenty are taken");
        assert_eq!((taken.len(), &taken[0].1), (20, &json!({"message": {}, "signature": []})));
    }

    #[test]
    fn zero_names_no_order() {
        let named = |message: Value| named_order(&message);
        assert_eq!(named(json!({"order": "0x5"})), Some(OrderName::Hash(MessageHash(Felt::from(5)))));
        assert_eq!(named(json!({"order": "0x0", "clientId": "7"})), Some(OrderName::ClientId(7)));
        assert_eq!(named(json!({"clientId": "0"})), None);
        assert_eq!(named(json!({"order": 5})), None);
    }
}

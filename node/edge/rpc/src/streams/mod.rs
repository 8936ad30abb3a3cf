//! Streams and sessions on the WebSocket.
//!
//! | call | what |
//! |---|---|
//! | `keel_subscribe {channel, market? \| account?, interval?, fromSeq?}` | a subscription id; then notifications `keel_subscription` |
//! | `keel_unsubscribe [id]` | ends one |
//! | `trade_login` | a signed `Session`: from then on this connection may cancel unsigned, see [session] |
//!
//! Channels of a market: `book`, `bbo`, `trades`, `ticker`, `candles` (with `interval` 1m, 5m, 1h or 1d), `mark`. Of an account:
//! `orders`, `fills`, `positions`, `balances`. Of neither: `node`, each step of an incident. Accounts are as public here as in `trade_account`: on this chain they are anyway.
//!
//! Every notification's `params.result` has `channel`, `market` or `account`, `type`, `seq` and `ts`. The types are
//!
//! - `snapshot`: everything, as of the command `seq`;
//! - `delta`: what changed after `prevSeq` up to `seq`. Apply it when `prevSeq <= yours < seq`; anything else is a gap, subscribe again;
//! - `resumed`: first answer to `fromSeq`. With `resumed: true` the missed deltas follow, if there are any; with `false` they are no longer
//!   remembered and a snapshot follows, which replaces what you had;
//! - `closed`: the last one, with a `reason`: `SLOW_CONSUMER` (more than [keel_feeds::streams::SUBSCRIBER_QUEUE_MAX] messages waited; what you
//!   got is whole up to `seq`, resume from there) or `STOPPING`.

pub(crate) mod render;
pub(crate) mod session;

use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::SLOW_NOTICE_TIMEOUT;
use crate::method::{Call, Method, Param};
use jsonrpsee::RpcModule;
use jsonrpsee::core::server::{PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use keel_feeds::Topic;
use keel_feeds::streams::{Closed, Refusal, Start, Subscription};
use keel_ingress::IngressError;
use keel_store::CandleInterval;
use keel_types::{Genesis, Reject, Seq};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Opens a stream.
pub(crate) const SUBSCRIBE: &str = "keel_subscribe";

/// Adds the subscription and the session's methods.
pub(crate) fn register(module: &mut RpcModule<Arc<Shared>>) {
    let added =
        module.register_subscription(SUBSCRIBE, "keel_subscription", "keel_unsubscribe", |params, pending, shared, _| {
            subscribe(params, pending, Arc::clone(&shared))
        });
    added.expect("a subscription is registered once");
}

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: SUBSCRIBE,
        summary: "Opens a stream on this WebSocket: a snapshot, then deltas with contiguous numbers, as `keel_subscription` notifications.",
        params: &[
            Param::required(
                "channel",
                "text",
                "`book`, `bbo`, `trades`, `ticker`, `candles`, `mark` of a market; `orders`, `fills`, `positions`, `balances` of an \
                 account; `node`: phase and incidents.",
            ),
            Param::optional("market", "text", "Of the channels of a market."),
            Param::optional("account", "Address", "Of the channels of an account."),
            Param::optional("interval", "text", "Of `candles`: `1m`, `5m`, `1h` or `1d`."),
            Param::optional(
                "fromSeq",
                "uint",
                "The last `seq` that was seen: resumes after it when the node still has what followed.",
            ),
        ],
        result: "SubscriptionId",
        errors: &[
            "TOO_MANY_SUBSCRIPTIONS",
            "SUBSCRIPTION_IN_BATCH",
            "WEB_SOCKET_ONLY",
            "UNKNOWN_MARKET",
            "OVERLOADED",
            "SHUTTING_DOWN",
        ],
        call: Call::Stream,
    },
    Method {
        name: "keel_unsubscribe",
        summary: "Ends a stream.",
        params: &[Param::required("subscription", "SubscriptionId", "What `keel_subscribe` answered; by position.")],
        result: "bool",
        errors: &["WEB_SOCKET_ONLY"],
        call: Call::Stream,
    },
];

async fn subscribe(params: Params<'static>, pending: PendingSubscriptionSink, shared: Arc<Shared>) {
    let subscription = match open(&params, &shared).await {
        Ok(subscription) => subscription,
        Err(error) => return pending.reject(ErrorObjectOwned::from(error)).await,
    };
    // The client went away before it had its answer.
    let Ok(sink) = pending.accept().await else { return };
    let (topic, from, mut subscription) = subscription;
    let stream = Stream { topic, sink, genesis: shared.genesis.clone() };
    stream.pump(from, &mut subscription).await;
}

async fn open(params: &Params<'_>, shared: &Shared) -> Result<(Topic, Option<Seq>, Subscription), RpcError> {
    let mut fields = Fields::read(params)?;
    let topic = topic(&mut fields, &shared.genesis)?;
    let from = fields.optional_integer("fromSeq")?.map(Seq);
    fields.finish()?;
    let subscription = shared.feeds.subscribe(topic, from).await.map_err(|refusal| match refusal {
        Refusal::UnknownMarket => RpcError::from(Reject::UnknownMarket),
        Refusal::TooMany => RpcError::TooManySubscriptions,
        Refusal::Busy => IngressError::Overloaded.into(),
        Refusal::Stopping => IngressError::ShuttingDown.into(),
    })?;
    Ok((topic, from, subscription))
}

/// `channel` with the field that it needs.
fn topic(fields: &mut Fields, genesis: &Genesis) -> Result<Topic, IngressError> {
    let channel = fields.text("channel")?;
    Ok(match channel.as_str() {
        "book" => Topic::Book(fields.market(genesis)?),
        "bbo" => Topic::Bbo(fields.market(genesis)?),
        "trades" => Topic::Trades(fields.market(genesis)?),
        "ticker" => Topic::Ticker(fields.market(genesis)?),
        "mark" => Topic::Mark(fields.market(genesis)?),
        "candles" => Topic::Candles(fields.market(genesis)?, interval(fields)?),
        "orders" => Topic::Orders(fields.account()?),
        "fills" => Topic::Fills(fields.account()?),
        "positions" => Topic::Positions(fields.account()?),
        "balances" => Topic::Balances(fields.account()?),
        "node" => Topic::Node,
        _ => return Err(IngressError::UnknownValue("channel".into())),
    })
}

/// `interval`: 1m, 5m, 1h or 1d.
pub(crate) fn interval(fields: &mut Fields) -> Result<CandleInterval, IngressError> {
    CandleInterval::parse(&fields.text("interval")?).ok_or(IngressError::UnknownValue("interval".into()))
}

/// One subscriber's side of a stream.
struct Stream {
    topic: Topic,
    sink: SubscriptionSink,
    genesis: Arc<Genesis>,
}

impl Stream {
    /// Sends until either side ends it.
    async fn pump(&self, from: Option<Seq>, subscription: &mut Subscription) {
        let Start { resumed, seq, updates } =
            std::mem::replace(&mut subscription.start, Start { resumed: None, seq: Seq(0), updates: Vec::new() });
        if let (Some(resumed), Some(from)) = (resumed, from)
            && !self.send(&render::resumed(&self.genesis, self.topic, resumed, from, seq)).await
        {
            return;
        }
        for update in &updates {
            if !self.send(&update.text(|update| render::update(&self.genesis, update))).await {
                return;
            }
        }
        drop(updates);
        let mut told = seq;
        let reason = loop {
            let next = tokio::select! {
                () = self.sink.closed() => return,
                next = subscription.next() => next,
            };
            match next {
                Ok(update) => {
                    if !self.send(&update.text(|update| render::update(&self.genesis, update))).await {
                        return;
                    }
                    told = update.seq;
                }
                Err(reason) => break reason,
            }
        };
        let reason = match reason {
            Closed::SlowConsumer => "SLOW_CONSUMER",
            Closed::Stopping => "STOPPING",
        };
        tracing::debug!(topic = ?self.topic, reason, "a subscription is closed");
        if let Some(message) = message(&render::closed(&self.genesis, self.topic, reason, told)) {
            // Whoever does not read has only the end of the connection as a sign.
            let _ = self.sink.send_timeout(message, SLOW_NOTICE_TIMEOUT).await;
        }
    }

    /// `false`: the client is gone.
    async fn send(&self, text: &str) -> bool {
        match message(text) {
            Some(message) => self.sink.send(message).await.is_ok(),
            None => false,
        }
    }
}

fn message(text: &str) -> Option<SubscriptionMessage> {
    let json = RawValue::from_string(text.to_owned());
    json.inspect_err(|error| tracing::error!(%error, "a stream's message is not JSON")).ok().map(SubscriptionMessage::from)
}

//! `bridge_subscribeBatches`: every batch from a number on, with each change of its state.
//!
//! **A subscription is a cursor over the log of changes in the store** ([keel_store::BatchChange]): what was before the call and what comes after
//! it are one path. Nothing is told twice, nothing is left out, and nothing waits in a buffer beyond the socket's: a client that reads slowly lags
//! behind and still gets everything.
//!
//! Each notification's `cursor` names the change. A client that was cut off subscribes again with the last cursor it has and goes on right after
//! that change. A cursor of a log that is not this one any more (the store was deleted and rebuilt) is refused as `BAD_CURSOR`; then the client
//! begins again with the first batch that it does not hold CONFIRMED.

use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::{BATCH_CHANGES_AT_ONCE_MAX, HISTORY_CURSOR_BYTES_MAX, READ_RETRY};
use crate::method::{Call, Method, Param};
use crate::starknet::subscriptions::Chain;
use jsonrpsee::RpcModule;
use jsonrpsee::core::server::{PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use keel_ingress::IngressError;
use keel_store::BatchChange;
use keel_types::BatchId;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Opens a stream.
pub(crate) const SUBSCRIBE: &str = "bridge_subscribeBatches";

pub(crate) const SUBSCRIBE_BATCHES: Method = Method {
    name: SUBSCRIBE,
    summary: "Opens a stream on this WebSocket: each change of each batch from a number on, in order, from the batch's BUILT on, as \
              `bridge_subscriptionBatches` notifications of type BatchChange. It resumes without a gap after any cursor it gave.",
    params: &[
        Param::optional("fromBatch", "uint", "The first batch to tell of, also when it is not made yet. Without it 0."),
        Param::optional(
            "cursor",
            "text",
            "Of the last change that was seen: goes on right after it, with batches from `fromBatch` on.",
        ),
    ],
    result: "SubscriptionId",
    errors: &["BAD_CURSOR", "TOO_MANY_SUBSCRIPTIONS", "SUBSCRIPTION_IN_BATCH", "WEB_SOCKET_ONLY", "OVERLOADED"],
    call: Call::Stream,
};

pub(crate) const UNSUBSCRIBE_BATCHES: Method = Method {
    name: "bridge_unsubscribeBatches",
    summary: "Ends a stream of batches.",
    params: &[Param::required("subscription", "SubscriptionId", "What `bridge_subscribeBatches` answered; by position.")],
    result: "bool",
    errors: &["WEB_SOCKET_ONLY"],
    call: Call::Stream,
};

/// Reads that fail in a row before a stream ends: ten seconds of [READ_RETRY].
const READ_FAILURES_MAX: u32 = 20;

/// Adds the subscription. `chain` counts the subscriptions of the whole node and gives their reads a turn.
pub(crate) fn register(module: &mut RpcModule<Arc<Shared>>, chain: &Arc<Chain>) {
    let chain = chain.clone();
    let added = module.register_subscription(
        SUBSCRIBE,
        "bridge_subscriptionBatches",
        UNSUBSCRIBE_BATCHES.name,
        move |params, pending, shared, _| subscribe(params, pending, Arc::clone(&shared), chain.clone()),
    );
    added.expect("a subscription is registered once");
}

async fn subscribe(params: Params<'static>, pending: PendingSubscriptionSink, shared: Arc<Shared>, chain: Arc<Chain>) {
    let opened = match chain.enter() {
        Err(error) => Err(error),
        Ok(place) => {
            let read = move |shared: &Shared| start(shared, &params);
            shared.clone().read_store(read).await.map(|cursor| (place, cursor))
        }
    };
    let (place, cursor) = match opened {
        Ok(opened) => opened,
        Err(error) => return pending.reject(ErrorObjectOwned::from(error)).await,
    };
    // The client went away before it had its answer.
    let Ok(sink) = pending.accept().await else { return };
    Stream { sink, shared, chain, _place: place }.run(cursor).await;
}

/// Where a stream stands.
#[derive(Clone, Copy)]
struct Cursor {
    /// Number of the next change to look at.
    next: u64,
    /// Batches below it are not told of.
    from_batch: BatchId,
}

fn start(shared: &Shared, params: &Params<'_>) -> Result<Cursor, RpcError> {
    let mut fields = Fields::read(params)?;
    let from_batch = BatchId(fields.optional_integer("fromBatch")?.unwrap_or(0));
    let cursor = fields.optional_text("cursor")?;
    fields.finish()?;
    let next = match cursor {
        Some(text) => after(shared, &text)?,
        None => {
            // Counted first: it may be made between the two looks.
            let end = shared.store.batch_change_count()?;
            // Not made yet: none of its changes is before the end of the log.
            shared.store.first_change_of_batch(from_batch)?.unwrap_or(end)
        }
    };
    Ok(Cursor { next, from_batch })
}

/// The change after the one that a cursor names. It names it with batch and status, so that one of another log is noticed.
fn after(shared: &Shared, text: &str) -> Result<u64, RpcError> {
    if text.len() > HISTORY_CURSOR_BYTES_MAX {
        return Err(RpcError::BadCursor);
    }
    let number = text.split('.').next().and_then(|number| number.parse().ok()).ok_or(RpcError::BadCursor)?;
    let change = shared.store.batch_changes(number, 1)?;
    match change.first() {
        Some(change) if cursor_of(change) == text => Ok(number + 1),
        _ => Err(RpcError::BadCursor),
    }
}

fn cursor_of(change: &BatchChange) -> String {
    format!("{}.{}.{}", change.number, change.header.batch, change.header.status.as_str())
}

/// One subscriber.
struct Stream {
    sink: SubscriptionSink,
    shared: Arc<Shared>,
    chain: Arc<Chain>,
    /// One of those of the node.
    _place: OwnedSemaphorePermit,
}

/// The client is gone, or the log cannot be read.
struct Ended;

impl Stream {
    async fn run(self, mut cursor: Cursor) {
        let mut told = self.shared.store.batch_changes_told();
        loop {
            // Before the log is read, so that no change between goes unseen.
            told.borrow_and_update();
            let Ok(changes) = self.read(cursor.next).await else { return };
            let at_the_end = changes.len() < BATCH_CHANGES_AT_ONCE_MAX;
            for change in changes {
                cursor.next = change.number + 1;
                if change.header.batch >= cursor.from_batch && !self.send(&change).await {
                    return;
                }
            }
            if at_the_end {
                tokio::select! {
                    () = self.sink.closed() => return,
                    // The sender lives in the store.
                    _ = told.changed() => {}
                }
            }
        }
    }

    /// Reads, again while the node is too busy, and [READ_FAILURES_MAX] times when it fails: the cursor stays where it is.
    async fn read(&self, next: u64) -> Result<Vec<BatchChange>, Ended> {
        let mut failures = 0;
        loop {
            let read = move |shared: &Shared| Ok(shared.store.batch_changes(next, BATCH_CHANGES_AT_ONCE_MAX)?);
            let found = tokio::select! {
                () = self.sink.closed() => return Err(Ended),
                found = self.chain.read(&self.shared, read) => found,
            };
            match found {
                Ok(changes) => return Ok(changes),
                Err(RpcError::Ingress(IngressError::Overloaded)) => {}
                Err(error) => {
                    failures += 1;
                    if failures == READ_FAILURES_MAX {
                        tracing::error!(?error, failures, "a stream of batches cannot be read on");
                        return Err(Ended);
                    }
                }
            }
            tokio::time::sleep(READ_RETRY).await;
        }
    }

    /// Waits while the socket's queue is full. `false`: the client is gone.
    async fn send(&self, change: &BatchChange) -> bool {
        let message = to_raw_value(&shown(&self.shared, change)).expect("a JSON value is JSON");
        self.sink.send(SubscriptionMessage::from(message)).await.is_ok()
    }
}

/// `BatchChange` of the document.
fn shown(shared: &Shared, change: &BatchChange) -> Value {
    let mut shown = super::json::with_settlement(&change.header, shared.status.submission(&change.header));
    shown["cursor"] = json!(cursor_of(change));
    shown
}

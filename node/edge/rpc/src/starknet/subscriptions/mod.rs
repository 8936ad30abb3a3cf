//! Starknet's WebSocket API: five subscriptions and `starknet_unsubscribe`, in the wire format of its own document. [OpenRPC, starknet_ws_api]
//!
//! | call | notification | from |
//! |---|---|---|
//! | `starknet_subscribeNewHeads` | `starknet_subscriptionNewHeads` | `block_id`, that block included; `latest` if absent |
//! | `starknet_subscribeEvents` | `starknet_subscriptionEvents` | the same |
//! | `starknet_subscribeTransactionStatus` | `starknet_subscriptionTransactionStatus` | the status now, then each change |
//! | `starknet_subscribeNewTransactions` | `starknet_subscriptionNewTransaction` | the block that is open at the call, with what already stands in it |
//! | `starknet_subscribeNewTransactionReceipts` | `starknet_subscriptionNewTransactionReceipts` | the same |
//!
//! **A subscription is a cursor over the chain.** It reads committed blocks, and the open block where PRE_CONFIRMED is wanted, and keeps only
//! where it stands. What was before the call and what comes after it are one path: nothing is sent twice, nothing is left out, nothing waits in a
//! buffer beyond the socket's ([crate::limits::WS_MESSAGES_BUFFERED_MAX]). A client that reads slowly lags behind the chain and still gets
//! everything; one that reads nothing is cut off ([crate::limits::WRITE_STALL_MAX]), subscribes again from the last block it saw, and has
//! everything too, up to 1,024 blocks back.
//!
//! With PRE_CONFIRMED every transaction of the block that is open at the call, and of those after it, is told as PRE_CONFIRMED once, when it is
//! in the open block, and, where both are wanted, as ACCEPTED_ON_L2 once, when that block is sealed; also when it was sealed before this
//! subscriber looked.
//!
//! Where the document leaves room:
//! - a transaction that is not known is waited for: its first status is told when it has one;
//! - after ACCEPTED_ON_L1 nothing follows, and the subscription stays until the client ends it;
//! - a subscription whose part of the store cannot be read, try after try, ends without a word, as there is none for it: the connection stays,
//!   and `starknet_unsubscribe` does not know the id any more;
//! - CANDIDATE and RECEIVED may be asked for and are never told: here a transaction exists only once it is sequenced and durable;
//! - an L1_HANDLER was sent by nobody of this chain: a `sender_address` filter leaves it out;
//! - empty lists are lists that are absent.
//!
//! **`starknet_subscriptionReorg` is never sent**, because nothing that was told is ever taken back. A block is final when it is sealed. The open
//! block shows only what the journal has, in the order in which the block will have it, and the journal is never cut: after a crash the same
//! commands make the same transactions. A node that came back with another chain would have closed every connection before.
//!
//! The library's own subscriptions have another format and an `unsubscribe` for each kind, so these are registered below it, on the connection's
//! queue of messages. The permits are the same: [crate::limits::SUBSCRIPTIONS_PER_CONNECTION_MAX] counts every kind together;
//! beside it [chain::SUBSCRIPTIONS_MAX] counts those of the whole node. Cursors that catch up leave most of the store's turns to requests
//! ([chain::SUBSCRIPTION_READS_AT_ONCE_MAX]).

mod chain;
mod follow;
mod request;
mod status;

pub use chain::Chain;

use super::methods::{Param, needed, optional};
use super::params::Arguments;
use super::{Dialect, StarknetError};
use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::READ_RETRY;
use jsonrpsee::core::server::{
    ConnectionId, Extensions, MethodCallback, MethodResponse, MethodSink, ResponsePayload, SubscriptionPermit,
};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params, SubscriptionId};
use jsonrpsee::{Methods, RpcModule};
use keel_ingress::IngressError;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A method of Starknet's WebSocket document, as `rpc.discover` lists it.
pub struct SocketMethod {
    pub name: &'static str,
    /// What a caller gets.
    pub summary: &'static str,
    pub params: &'static [Param],
    /// Those it may answer with, besides JSON-RPC's own and this server's.
    pub errors: &'static [StarknetError],
}

impl SocketMethod {
    /// Names of the parameters that the method has in a version, in order.
    fn names(&self, dialect: &Dialect) -> Vec<&'static str> {
        self.params.iter().filter(|param| param.is_in(dialect)).map(|param| param.name).collect()
    }
}

/// One kind of subscription.
struct Kind {
    method: SocketMethod,
    notification: &'static str,
    /// What it follows, from its parameters.
    open: fn(&Shared, &Dialect, Arguments) -> Result<Cursor, RpcError>,
}

const BLOCK: Param = optional("block_id", |_| true);
const FINALITY: Param = optional("finality_status", |_| true);
const SENDERS: Param = optional("sender_address", |_| true);

use StarknetError as E;

static KINDS: [Kind; 5] = [
    Kind {
        method: SocketMethod {
            name: "starknet_subscribeNewHeads",
            summary: "Tells of each block that is sealed, by its header.",
            params: &[BLOCK],
            errors: &[E::TooManyBlocksBack, E::BlockNotFound],
        },
        notification: "starknet_subscriptionNewHeads",
        open: request::new_heads,
    },
    Kind {
        method: SocketMethod {
            name: "starknet_subscribeEvents",
            summary: "Tells of each event that matches a filter.",
            params: &[optional("from_address", |_| true), optional("keys", |_| true), BLOCK, FINALITY],
            errors: &[E::TooManyKeysInFilter, E::TooManyBlocksBack, E::BlockNotFound],
        },
        notification: "starknet_subscriptionEvents",
        open: request::events,
    },
    Kind {
        method: SocketMethod {
            name: "starknet_subscribeTransactionStatus",
            summary: "Tells how final a transaction is, now and whenever that changes.",
            params: &[needed("transaction_hash")],
            errors: &[],
        },
        notification: "starknet_subscriptionTransactionStatus",
        open: request::transaction_status,
    },
    Kind {
        method: SocketMethod {
            name: "starknet_subscribeNewTransactionReceipts",
            summary: "Tells what each transaction left, from the block on that is being built.",
            params: &[FINALITY, SENDERS],
            errors: &[E::TooManyAddressesInFilter],
        },
        notification: "starknet_subscriptionNewTransactionReceipts",
        open: request::receipts,
    },
    Kind {
        method: SocketMethod {
            name: "starknet_subscribeNewTransactions",
            summary: "Tells of each transaction, from the block on that is being built.",
            params: &[FINALITY, SENDERS, optional("tags", |dialect| dialect.response_flags)],
            errors: &[E::TooManyAddressesInFilter],
        },
        notification: "starknet_subscriptionNewTransaction",
        open: request::transactions,
    },
];

static UNSUBSCRIBE: SocketMethod = SocketMethod {
    name: "starknet_unsubscribe",
    summary: "Ends a subscription of this connection.",
    params: &[needed("subscription_id")],
    errors: &[E::InvalidSubscriptionId],
};

/// Every method of Starknet's that is called on a WebSocket only.
pub fn methods() -> impl Iterator<Item = &'static SocketMethod> {
    KINDS.iter().map(|kind| &kind.method).chain([&UNSUBSCRIBE])
}

/// Reads that fail in a row before a subscription ends: ten seconds of [READ_RETRY]. What is damaged stays so, and every try is logged.
const READ_FAILURES_MAX: u32 = 20;

/// Whether a method opens a subscription here.
pub fn opens(method: &str) -> bool {
    KINDS.iter().any(|kind| kind.method.name == method)
}

/// Whether a method ends one here.
pub fn ends(method: &str) -> bool {
    method == UNSUBSCRIBE.name
}

/// Where a subscription stands.
enum Cursor {
    Heads(follow::Heads),
    Blocks(follow::Blocks),
    Status(status::Status),
}

/// What every subscription of one path reads from.
struct Source {
    shared: Arc<Shared>,
    chain: Arc<Chain>,
    dialect: &'static Dialect,
}

/// Adds the subscriptions of `dialect` to the methods of its path.
pub fn register(module: &mut RpcModule<Arc<Shared>>, shared: &Arc<Shared>, chain: &Arc<Chain>, dialect: &'static Dialect) {
    let methods: &mut Methods = module;
    let source = Arc::new(Source { shared: shared.clone(), chain: chain.clone(), dialect });
    let subscribers = Arc::new(Subscribers::default());
    for kind in &KINDS {
        let (source, subscribers) = (source.clone(), subscribers.clone());
        let callback = MethodCallback::Subscription(Arc::new(move |id, params, sink, state, extensions| {
            let subscription = match state.id_provider.next_id() {
                SubscriptionId::Num(number) => number.to_string(),
                SubscriptionId::Str(text) => text.into_owned(),
            };
            let call = Call {
                kind,
                id: id.into_owned(),
                sink,
                key: Key { connection: state.conn_id, subscription },
                permit: state.subscription_permit,
                extensions,
            };
            let (source, subscribers) = (source.clone(), subscribers.clone());
            Box::pin(call.subscribe(params.into_owned(), source, subscribers))
        }));
        methods.verify_and_insert(kind.method.name, callback).expect("a method is registered once");
    }
    let callback = MethodCallback::Unsubscription(Arc::new(move |id, params, connection, _, extensions| {
        let payload = match unsubscribe(&subscribers, connection, &params) {
            Ok(()) => ResponsePayload::success(true),
            Err(error) => ResponsePayload::error(ErrorObjectOwned::from(error)),
        };
        MethodResponse::response(id, payload, usize::MAX).with_extensions(extensions)
    }));
    methods.verify_and_insert(UNSUBSCRIBE.name, callback).expect("a method is registered once");
}

fn unsubscribe(subscribers: &Subscribers, connection: ConnectionId, params: &Params<'_>) -> Result<(), RpcError> {
    let id = Arguments::read(params, &["subscription_id"])?.optional("subscription_id");
    let Some(Value::String(subscription)) = id else {
        return Err(RpcError::params("subscription_id", "expected the text that subscribing answered"));
    };
    let stop = subscribers.lock().remove(&Key { connection, subscription });
    // Dropping its end is what stops it.
    stop.map(drop).ok_or_else(|| StarknetError::InvalidSubscriptionId.into())
}

/// A subscription's name. Ids are random, and of use on their own connection only.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    connection: ConnectionId,
    subscription: String,
}

/// The subscriptions of one path that are open; what ends them is that their sender goes.
#[derive(Default)]
struct Subscribers(Mutex<HashMap<Key, oneshot::Sender<Infallible>>>);

impl Subscribers {
    /// Whole whatever panics: each change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, oneshot::Sender<Infallible>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A subscription that is counted and can be ended, until it is dropped.
struct Open {
    subscribers: Arc<Subscribers>,
    key: Key,
    /// One of those of its connection.
    _permit: SubscriptionPermit,
    /// One of those of the node.
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.subscribers.lock().remove(&self.key);
    }
}

/// A call of one of the subscribe methods.
struct Call {
    kind: &'static Kind,
    id: Id<'static>,
    sink: MethodSink,
    key: Key,
    permit: SubscriptionPermit,
    extensions: Extensions,
}

impl Call {
    /// Answers with the subscription's id, and starts it once that answer is on its way: no notification comes before it.
    async fn subscribe(self, params: Params<'static>, source: Arc<Source>, subscribers: Arc<Subscribers>) -> MethodResponse {
        let Call { kind, id, sink, key, permit, extensions } = self;
        let dialect = source.dialect;
        let refused = |id, error: RpcError, extensions| {
            MethodResponse::error(id, ErrorObjectOwned::from(error)).with_extensions(extensions)
        };
        let place = match source.chain.enter() {
            Ok(place) => place,
            Err(error) => return refused(id, error, extensions),
        };
        let read = move |shared: &Shared| {
            let arguments = Arguments::read(&params, &kind.method.names(dialect))?;
            (kind.open)(shared, dialect, arguments)
        };
        let cursor = match source.shared.clone().read_store(read).await {
            Ok(cursor) => cursor,
            Err(error) => return refused(id, error, extensions),
        };
        let (stop, stopped) = oneshot::channel();
        subscribers.lock().insert(key.clone(), stop);
        let mut line = Line { sink, stopped, notification: kind.notification, subscription: key.subscription.clone() };
        let (payload, answered) = ResponsePayload::success(key.subscription.clone()).notify_on_completion();
        let open = Open { subscribers, key, _permit: permit, _place: place };
        tokio::spawn(async move {
            if answered.await.is_ok() {
                let Err(Ended) = match cursor {
                    Cursor::Heads(heads) => heads.run(&source, &mut line).await,
                    Cursor::Blocks(blocks) => blocks.run(&source, &mut line).await,
                    Cursor::Status(status) => status.run(&source, &mut line).await,
                };
            }
            drop(open);
        });
        MethodResponse::response(id, payload, usize::MAX).with_extensions(extensions)
    }
}

/// The client ended the subscription, or its connection; or what it follows cannot be read.
struct Ended;

/// The way to one subscriber.
struct Line {
    sink: MethodSink,
    stopped: oneshot::Receiver<Infallible>,
    notification: &'static str,
    subscription: String,
}

impl Line {
    /// Sends a notification; waits while the socket's queue is full.
    async fn send(&mut self, result: Value) -> Result<(), Ended> {
        let message = json!({
            "jsonrpc": "2.0",
            "method": self.notification,
            "params": {"subscription_id": self.subscription, "result": result},
        });
        let message = to_raw_value(&message).expect("a JSON value is JSON");
        tokio::select! {
            biased;
            _ = &mut self.stopped => Err(Ended),
            sent = self.sink.send(message) => sent.map_err(|_| Ended),
        }
    }

    /// Waits for something, but no longer than the subscription lives.
    async fn wait<T>(&mut self, done: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            _ = &mut self.stopped => Err(Ended),
            () = self.sink.closed() => Err(Ended),
            done = done => Ok(done),
        }
    }

    /// Reads, again and again while the node is too busy, and [READ_FAILURES_MAX] times when it fails: the cursor stays where it is, so
    /// nothing is lost.
    async fn read<T, F: Future<Output = Result<T, RpcError>>>(&mut self, read: impl Fn() -> F) -> Result<T, Ended> {
        let mut failures = 0;
        loop {
            match self.wait(read()).await? {
                Ok(found) => return Ok(found),
                Err(RpcError::Ingress(IngressError::Overloaded)) => {}
                Err(error) => {
                    failures += 1;
                    if failures == READ_FAILURES_MAX {
                        tracing::error!(
                            ?error,
                            failures,
                            subscription = self.notification,
                            "a subscription cannot be read on"
                        );
                        return Err(Ended);
                    }
                }
            }
            self.wait(tokio::time::sleep(READ_RETRY)).await?;
        }
    }
}

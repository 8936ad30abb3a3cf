use crate::error::RpcError;
use crate::incidents::Observations;
use crate::limits::{HISTORY_LAG_MAX, STORE_READ_QUEUE_TIMEOUT, STORE_READS_AT_ONCE_MAX, UNREAD_ANSWERS_MAX};
use crate::receipts::CancelTrees;
use crate::server::Client;
use crate::streams::session::{Sessions, lost_through};
use jsonrpsee::RpcModule;
use jsonrpsee::core::server::ResponsePayload;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use keel_feeds::{Feeds, PhaseView, Published};
use keel_ingress::{Ingress, IngressError};
use keel_store::{BatchHeader, BatchStatus, Store};
use keel_types::{Bytes32, Genesis, Height, IncidentId, LossReason, LossReasons, Ts};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the servers need from the rest of the node. All of it is shared; nothing of it blocks the engine.
#[derive(Clone)]
pub struct RpcContext {
    pub genesis: Arc<Genesis>,
    pub published: Published,
    pub feeds: Feeds,
    pub ingress: Ingress,
    pub store: Store,
    pub status: Arc<dyn NodeStatus>,
}

/// What only the binary knows: the guard's timings and the settlement watcher. Called from request threads; must answer without the
/// engine and without the settlement layer, from memory or a few rows of the store.
pub trait NodeStatus: Send + Sync + 'static {
    /// The earliest moment at which the next phase may open; `None` when nobody can say (an operator must act, or OPEN).
    fn phase_eta(&self, phase: &PhaseView) -> Option<Ts>;
    /// Monitors of the guard that give no readings, and why.
    fn failing_monitors(&self) -> Vec<(&'static str, String)>;
    /// The settlement layer as last seen.
    fn settlement(&self) -> SettlementStatus;
    /// A deposit seen on the settlement layer that the engine was not told of.
    fn deposit(&self, message_nonce: u64) -> Option<DepositState>;
    /// Where a batch is on the settlement layer, as its header's note says; `None` while it was not submitted.
    fn submission(&self, batch: &BatchHeader) -> Option<Submission>;
    /// What the guard remembers of incidents.
    fn observations(&self) -> &dyn Observations;
    /// A loss that was detected, and when first, while its record is not being written yet. Nothing executes. From memory.
    fn loss(&self) -> Option<(LossReasons, Ts)>;
    /// What the integrity gate said last; `None` before it said anything. From memory.
    fn integrity(&self) -> Option<Integrity>;
    /// Beyond what age something is not healthy. From memory.
    fn ages_max(&self) -> AgesMax;
}

/// See [NodeStatus::ages_max]. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AgesMax {
    /// The last record that was released: there is one with every tick.
    pub released: u64,
    /// The settlement layer's head.
    pub settlement_head: u64,
    /// The oldest batch that is not confirmed.
    pub settlement_backlog: u64,
}

/// What the integrity gate said of an incident. [spec safe-mode, The integrity report]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Integrity {
    pub incident: IncidentId,
    /// When it said so, by the journal's clock; `None` where a process before this one heard it.
    pub at: Option<Ts>,
    pub verdict: IntegrityVerdict,
}

/// See [Integrity].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntegrityVerdict {
    /// The checks are under way.
    Running,
    /// Something it needs could not be had; it tries again. Why is in the log: it may name what is not public.
    NotYet,
    /// The state is the state it should be.
    Passed(IntegrityReport),
    /// It is not, and how.
    Broken(LossReason, String),
}

/// The public part of a signed report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntegrityReport {
    /// The block whose state was checked.
    pub height: Height,
    /// Its state root.
    pub root: String,
    /// What was checked, a sentence each.
    pub checks: Vec<String>,
    /// As chain state holds it once SPOT opened.
    pub hash: Bytes32,
}

/// See [NodeStatus::settlement].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SettlementStatus {
    /// Number of the newest block seen; `None` until one was.
    pub head: Option<u64>,
    /// Milliseconds since the head last advanced.
    pub head_age_ms: Option<u64>,
    /// What the submission loop is doing, in a few words: `idle`, `waiting for confirmations`, `out of funds`.
    pub submitter: String,
    /// Batches that are not confirmed.
    pub backlog_batches: u64,
    /// Chain time of the last block of the oldest of them.
    pub backlog_oldest: Option<Ts>,
    /// Cancellations that were started on messages which were consumed and are not settled.
    pub cancellations: Vec<Cancellation>,
}

/// A message that must be settled before its sender may take it back. [spec safe-mode, SETTLEMENT_CANCELLATION]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancellation {
    pub message_nonce: u64,
    pub started: Ts,
    pub deadline: Ts,
}

/// See [NodeStatus::deposit].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DepositState {
    /// Not final yet, or final and about to be credited.
    Pending(PendingDeposit),
    /// Never will be credited as it stands; its sender may take it back. Why.
    Refused(String),
}

/// See [DepositState::Pending].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingDeposit {
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
    /// Blocks on top of it, and how many make it final (0: the `finalized` tag decides).
    pub depth: u64,
    pub depth_needed: u64,
}

/// See [NodeStatus::submission].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    pub l1_tx_hash: Bytes32,
    /// `None` while it is in no block.
    pub l1_block: Option<u64>,
}

/// The context with what the servers add.
pub struct Shared {
    context: RpcContext,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) cancel_trees: CancelTrees,
    store_reads: Arc<Semaphore>,
}

impl std::ops::Deref for Shared {
    type Target = RpcContext;
    fn deref(&self) -> &RpcContext {
        &self.context
    }
}

impl Shared {
    pub(crate) fn new(context: RpcContext) -> Arc<Shared> {
        let sessions = Sessions::new(lost_through(context.ingress.clone()));
        let store_reads = Arc::new(Semaphore::new(STORE_READS_AT_ONCE_MAX));
        Arc::new(Shared { context, sessions, cancel_trees: CancelTrees::default(), store_reads })
    }

    /// The last block whose batch is CONFIRMED: what `l1_accepted` and ACCEPTED_ON_L1 mean here.
    pub(crate) fn height_on_l1(&self) -> Result<Option<Height>, RpcError> {
        match self.published.read(|view| view.last_confirmed().map(|c| c.confirmed.last_block)) {
            Some(height) => Ok(Some(height)),
            None => Ok(self.store.latest_batch_with(BatchStatus::Confirmed)?.map(|batch| batch.last_block)),
        }
    }

    /// Waits until history holds what is published now, so that a client finds its own writes there too; at most
    /// [HISTORY_LAG_MAX]. On a blocking thread only.
    pub(crate) fn wait_for_history(&self) -> Result<(), RpcError> {
        let (seq, deadline) = (self.published.at().seq, Instant::now() + HISTORY_LAG_MAX);
        while self.store.history_seq()? < seq && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Runs a read of the store on a blocking thread, at most [STORE_READS_AT_ONCE_MAX] together: those whose client has gone, but which
    /// run on, are among them.
    pub(crate) async fn read_store<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Shared) -> Result<T, RpcError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let turn = in_turn(self.store_reads.clone()).await?;
        let read = move || {
            let _turn = turn;
            read(&self)
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| RpcError::Internal)?
    }
}

async fn in_turn(of: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, RpcError> {
    let turn = tokio::time::timeout(STORE_READ_QUEUE_TIMEOUT, of.acquire_owned()).await;
    turn.map_err(|_| RpcError::from(IngressError::Overloaded))?.map_err(|_| IngressError::ShuttingDown.into())
}

/// What a WebSocket has asked the store for and not taken yet: the library would keep any number of finished answers in memory for a client
/// that does not read them. In the extensions of every call on a WebSocket.
#[derive(Clone)]
pub(crate) struct Unread(Arc<Semaphore>);

impl Unread {
    pub(crate) fn new() -> Unread {
        Unread(Arc::new(Semaphore::new(UNREAD_ANSWERS_MAX)))
    }
}

/// Holds what `held` is until the answer has left for the socket.
fn until_sent(answer: Result<Value, RpcError>, held: Option<OwnedSemaphorePermit>) -> ResponsePayload<'static, Value> {
    let payload = match answer {
        Ok(value) => ResponsePayload::success(value),
        Err(error) => ResponsePayload::error(ErrorObjectOwned::from(error)),
    };
    let Some(held) = held else { return payload };
    let (payload, sent) = payload.notify_on_completion();
    tokio::spawn(async move {
        // Sent, or the client is gone: nothing is kept for it either way.
        let _ = sent.await;
        drop(held);
    });
    payload
}

/// Adds methods to a module. A name twice is a bug, found at start.
pub(crate) struct Methods<'a>(pub(crate) &'a mut RpcModule<Arc<Shared>>);

impl Methods<'_> {
    /// A method that reads the store (or is trivial): runs on a blocking thread, in its turn.
    pub(crate) fn store<F>(&mut self, name: &'static str, method: F)
    where
        F: Fn(&Shared, &Params<'_>) -> Result<Value, RpcError> + Send + Sync + Clone + 'static,
    {
        let added = self.0.register_async_method(name, move |params, shared, extensions| {
            let (method, params) = (method.clone(), params.into_owned());
            let shared: Arc<Shared> = Arc::clone(&shared);
            let unread = extensions.get::<Unread>().cloned();
            async move {
                let held = match unread {
                    None => None,
                    Some(Unread(unread)) => match in_turn(unread).await {
                        Ok(held) => Some(held),
                        Err(error) => return until_sent(Err(error), None),
                    },
                };
                until_sent(shared.read_store(move |shared| method(shared, &params)).await, held)
            }
        });
        added.expect("a method is registered once");
    }

    /// A method that answers from the published view.
    pub(crate) fn view<F>(&mut self, name: &'static str, method: F)
    where
        F: Fn(&Shared, &Params<'_>) -> Result<Value, RpcError> + Send + Sync + Clone + 'static,
    {
        let added =
            self.0.register_method(name, move |params, shared, _| method(shared, &params).map_err(ErrorObjectOwned::from));
        added.expect("a method is registered once");
    }

    /// A method that waits for the engine.
    pub(crate) fn write<F, R>(&mut self, name: &'static str, method: F)
    where
        F: Fn(Arc<Shared>, Params<'static>, Option<Client>) -> R + Send + Sync + Clone + 'static,
        R: Future<Output = Result<Value, RpcError>> + Send + 'static,
    {
        let added = self.0.register_async_method(name, move |params, shared, extensions| {
            let answer = method(Arc::clone(&shared), params.into_owned(), extensions.get::<Client>().copied());
            async move { answer.await.map_err(ErrorObjectOwned::from) }
        });
        added.expect("a method is registered once");
    }
}

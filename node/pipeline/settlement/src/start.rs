//! Configuration in, running loops and a handle out.

use crate::attestation::Desk;
use crate::backlog::{Backlog, backlog};
use crate::cancellations::{Cancellation, CancellationWatch};
use crate::config::SettlementConfig;
use crate::deposits::DepositWatcher;
use crate::error::{CheckError, L1Error};
use crate::escrow::{EscrowFigures, EscrowScan};
use crate::layer::{L1, Sender};
use crate::submit::{Building, Submitter};
use crate::view::{DepositState, PendingDeposit, SettlementHealth, SettlementStatus, Submission, View};
use keel_batches::Batcher;
use keel_ingress::Inbox;
use keel_store::Store;
use keel_types::{BatchId, Bytes32, Genesis, Height, LossReason};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// Before a loop that panicked begins again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// Told what lost sync, with the details for the log. Called from the loops: must not block.
pub type OnLoss = Arc<dyn Fn(LossReason, &str) + Send + Sync>;

/// What the loops ask about the engine; answered from published state.
pub struct EngineFacts {
    /// Whether the engine has consumed the message with this nonce.
    pub deposit_consumed: Box<dyn Fn(u64) -> bool + Send + Sync>,
    /// The last batch the engine knows to be confirmed.
    pub last_confirmed: Box<dyn Fn() -> Option<BatchId> + Send + Sync>,
}

/// What the loops work on.
#[derive(Clone)]
pub struct Parts {
    pub genesis: Arc<Genesis>,
    pub store: Store,
    pub inbox: Inbox,
    pub engine: Arc<EngineFacts>,
    pub on_loss: OnLoss,
}

/// The running loops. Clones are one.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    l1: L1,
    view: View,
    store: Store,
    building: Arc<Building>,
    desk: Arc<Desk>,
    engine: Arc<EngineFacts>,
    escrow: tokio::sync::Mutex<EscrowScan>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Compares the settlement layer with genesis and keys, once. For start-up: a [`CheckError`] that is not transient must refuse
/// to start; a transient one need not, the loops ask again before they do anything.
///
/// # Errors
/// The first difference, or that nobody answered.
pub async fn check(config: &SettlementConfig, genesis: &Arc<Genesis>) -> Result<(), CheckError> {
    let l1 = L1::connect(&config.endpoints, config.quorum, genesis.clone())?;
    l1.check().await?;
    l1.check_roles(&config.keys).await
}

/// Starts the loops on `runtime`. The settlement layer need not answer yet.
///
/// # Errors
/// The endpoint is not an address.
pub fn start(config: &SettlementConfig, parts: Parts, runtime: &tokio::runtime::Handle) -> Result<Handle, L1Error> {
    let l1 = L1::connect(&config.endpoints, config.quorum, parts.genesis.clone())?;
    let (view, poll) = (View::new(), config.poll());
    let batcher = Batcher::new(parts.store.clone(), &parts.genesis, config.limits);
    let building = Arc::new(Building::new(batcher));
    let deposits = DepositWatcher {
        l1: l1.clone(),
        inbox: parts.inbox.clone(),
        engine: parts.engine.clone(),
        view: view.clone(),
        on_loss: parts.on_loss.clone(),
        poll,
        next: config.scan_from,
        line: VecDeque::new(),
        anchor: None,
        not_before: None,
        withheld: vec![],
    };
    let cancellations = CancellationWatch {
        l1: l1.clone(),
        engine: parts.engine.clone(),
        view: view.clone(),
        poll,
        next: config.scan_from,
        started: BTreeMap::new(),
    };
    let desk = Arc::new(Desk::new(parts.store.clone(), &parts.genesis));
    let sender = Arc::new(Sender::new(&l1, config)?);
    let submitter = Submitter {
        l1: l1.clone(),
        store: parts.store.clone(),
        building: building.clone(),
        desk: desk.clone(),
        sender,
        keys: config.keys.clone(),
        signatures: config.signatures.clone(),
        protection: Arc::default(),
        view: view.clone(),
        inbox: parts.inbox,
        engine: parts.engine.clone(),
        on_loss: parts.on_loss,
        poll,
        scan_from: config.scan_from,
        checked: false,
    };
    let head = (l1.clone(), view.clone());
    let batches = building.clone();
    let tasks = vec![
        runtime.spawn(supervise("head", move || crate::head::watch(head.0.clone(), head.1.clone(), poll))),
        runtime.spawn(supervise("deposits", move || deposits.clone().run())),
        runtime.spawn(supervise("cancellations", move || cancellations.clone().run())),
        runtime.spawn(supervise("batches", move || batches.clone().run(poll))),
        runtime.spawn(supervise("submitter", move || submitter.clone().run())),
    ];
    let escrow = tokio::sync::Mutex::new(EscrowScan::new(&parts.genesis, config.scan_from));
    let (store, engine, tasks) = (parts.store, parts.engine, Mutex::new(tasks));
    Ok(Handle(Arc::new(Shared { l1, view, store, building, desk, engine, escrow, tasks })))
}

/// Runs a loop, and again when it panicked: everything it does may be cut off anywhere. Over when the loop is.
async fn supervise<F>(name: &'static str, make: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // Aborted with this one, since the set is dropped then.
        let mut running = JoinSet::new();
        running.spawn(make());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(name, %error, "a settlement loop panicked: it begins again");
                tokio::time::sleep(PANIC_PAUSE).await;
            }
            _ => return,
        }
    }
}

impl Handle {
    /// The head, for the guard.
    pub fn health(&self) -> SettlementHealth {
        self.0.view.health()
    }

    /// For `node_status`.
    pub fn status(&self) -> SettlementStatus {
        self.0.view.status()
    }

    /// Batches that are not confirmed, for the guard. A store that cannot be read has none: its own monitors see to that.
    pub fn backlog(&self) -> Backlog {
        backlog(&self.0.store, (self.0.engine.last_confirmed)()).unwrap_or_else(|error| {
            tracing::error!(%error, "the settlement backlog cannot be read");
            Backlog::default()
        })
    }

    /// Cancellations that were started on messages which were consumed and are not settled; for the guard.
    pub fn cancellations(&self) -> Vec<Cancellation> {
        self.0.view.cancellations()
    }

    /// A usable deposit that was seen and not handed over yet.
    pub fn pending_deposit(&self, message_nonce: u64) -> Option<PendingDeposit> {
        match self.0.view.deposit(message_nonce) {
            Some(DepositState::Pending(pending)) => Some(pending),
            Some(DepositState::Refused(_)) | None => None,
        }
    }

    /// A deposit of the bridge that was not handed over: pending, or never to be.
    pub fn deposit(&self, message_nonce: u64) -> Option<DepositState> {
        self.0.view.deposit(message_nonce)
    }

    /// Where a batch is; `None` while it was not submitted, or when its row cannot be read. One row of the store.
    pub fn submission(&self, batch: BatchId) -> Option<Submission> {
        Submission::of(&self.0.store.batch_header(batch).ok()??)
    }

    /// Where attestors' signatures go, and what they are told.
    pub fn desk(&self) -> Arc<Desk> {
        self.0.desk.clone()
    }

    /// Ends the batch that reaches `height` there.
    pub fn close_batch_at(&self, height: Height) {
        self.0.building.close_at(height);
    }

    /// Whether a withdrawal's message ([`crate::withdrawal_claim`]) can be claimed now. Asks the settlement layer.
    ///
    /// # Errors
    /// See [`L1Error`].
    pub async fn claimable(&self, message_hash: Bytes32) -> Result<bool, L1Error> {
        self.0.l1.claimable(message_hash).await
    }

    /// The escrow at the newest block of the settlement layer.
    ///
    /// # Errors
    /// See [`L1Error`].
    pub async fn escrow(&self) -> Result<EscrowFigures, L1Error> {
        self.0.escrow.lock().await.figures(&self.0.l1).await
    }

    /// Ends the loops where they are. Everything they do may be cut off anywhere and is taken up by the next process.
    pub fn stop(&self) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tasks.drain(..).for_each(|task| task.abort());
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keel_settlement::Handle({:?})", self.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_loop_that_panics_begins_again_and_one_that_ends_is_over() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        supervise("test", move || {
            let run = counted.fetch_add(1, Ordering::AcqRel);
            async move { assert!(run == 2, "on purpose") }
        })
        .await;
        assert_eq!(runs.load(Ordering::Acquire), 3);
    }
}

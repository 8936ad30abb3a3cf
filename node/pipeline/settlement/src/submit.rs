//! Batches onto the contract: attest, submit, follow, confirm. One serial loop.
//!
//! Each cycle begins by asking the contract where it is, and does what brings it one step further. A step that was cut
//! off anywhere, by an error, a crash or a reorganisation, is therefore simply done again, or found to be done.

use crate::attestation::{Desk, Gathering};
use crate::backoff::Backoff;
use crate::config::SettlementKeys;
use crate::error::{ATTESTOR, CheckError, L1Error, Refusal, SendError};
use crate::layer::{Cursor, FactSignature, Inclusion, L1, Sender};
use crate::note::{Note, NoteInclusion};
use crate::protection::{Protection, ProtectionError, SignatureFile, Signed};
use crate::start::{EngineFacts, OnLoss};
use crate::view::{SubmitterState, View};
use keel_batches::{Batch, BatchError, Batcher};
use keel_ingress::Inbox;
use keel_ingress::queue::Answer;
use keel_store::{BatchHeader, BatchStatus, Store, StoreError};
use keel_types::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Before the next look after something moved: what the endpoints say may lag behind it.
const AGAIN_PAUSE: Duration = Duration::from_millis(20);
/// Looks at the contract that must all say the same before what it says is a loss.
const LOSS_LOOKS: u32 = 3;
/// Longest wait for the engine's word on a confirmation; then it is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The batcher, shared between the loop that makes new batches and the submitter, which makes again what was lost.
pub(crate) struct Building {
    batcher: Mutex<Batcher>,
    /// Set once every batch that the contract has is in the store. Before that a new batch could end elsewhere than a lost one
    /// that was already submitted.
    open: AtomicBool,
}

impl Building {
    pub(crate) fn new(batcher: Batcher) -> Building {
        Building { batcher: Mutex::new(batcher), open: AtomicBool::new(false) }
    }

    /// The batcher keeps its state consistent over a panic by reading it anew: a poisoned lock is taken over.
    fn with<T>(&self, work: impl FnOnce(&mut Batcher) -> T) -> T {
        work(&mut self.batcher.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(crate) fn close_at(&self, height: Height) {
        self.with(|batcher| batcher.close_at(height));
    }

    /// Makes batches of new blocks, for ever.
    pub(crate) async fn run(self: Arc<Self>, poll: Duration) {
        loop {
            if self.open.load(Ordering::Acquire) {
                let building = self.clone();
                let step = move || while_some(|| building.with(Batcher::step));
                match tokio::task::spawn_blocking(step).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "a batch cannot be made"),
                    Err(error) if error.is_panic() => tracing::error!(%error, "making a batch panicked"),
                    Err(_) => return,
                }
            }
            tokio::time::sleep(poll).await;
        }
    }
}

fn while_some(mut step: impl FnMut() -> Result<Option<BatchHeader>, BatchError>) -> Result<(), BatchError> {
    while step()?.is_some() {}
    Ok(())
}

/// Why a cycle ended early.
#[derive(Debug, thiserror::Error)]
enum CycleError {
    #[error("{0}")]
    L1(#[from] L1Error),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    Check(#[from] CheckError),
    #[error("{0}")]
    Protection(#[from] ProtectionError),
    /// Not wrong, but nothing can be submitted now.
    #[error("{0}")]
    Blocked(String),
    /// Another loop saw something final undone.
    #[error("{0}")]
    Refused(String),
    /// Nothing may be submitted any more.
    #[error("{why}")]
    Loss { reason: LossReason, why: String },
}

/// What a cycle found.
enum Pace {
    /// Something moved: look again at once.
    Again,
    /// Nothing to do until the chain or the node moves.
    Wait(SubmitterState),
}

/// The loop.
#[derive(Clone)]
pub(crate) struct Submitter {
    pub(crate) l1: L1,
    pub(crate) store: Store,
    pub(crate) building: Arc<Building>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) keys: SettlementKeys,
    pub(crate) signatures: SignatureFile,
    /// Opened before the first batch is made or signed.
    pub(crate) protection: Arc<Mutex<Option<Protection>>>,
    pub(crate) view: View,
    pub(crate) inbox: Inbox,
    pub(crate) engine: Arc<EngineFacts>,
    pub(crate) on_loss: OnLoss,
    pub(crate) poll: Duration,
    pub(crate) scan_from: u64,
    /// Contracts and roles were compared with genesis by this process.
    pub(crate) checked: bool,
}

impl Submitter {
    /// Runs for ever, or until the contract shows what is not ours.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.poll);
        loop {
            let pause = match self.cycle().await {
                Ok(Pace::Again) => {
                    backoff.reset();
                    AGAIN_PAUSE
                }
                Ok(Pace::Wait(state)) => {
                    backoff.reset();
                    self.view.submitter(state);
                    self.poll
                }
                Err(CycleError::Loss { reason, why }) => {
                    tracing::error!(%reason, why, "nothing will be submitted any more");
                    (self.on_loss)(reason, &why);
                    self.view.refuse_settlement(why.clone());
                    self.view.submitter(SubmitterState::Stopped(why));
                    return;
                }
                Err(CycleError::Refused(why) | CycleError::Send(SendError::Refused(why))) => {
                    tracing::error!(why, "nothing will be submitted any more");
                    self.view.submitter(SubmitterState::Stopped(why));
                    return;
                }
                Err(error) => {
                    let pause = backoff.next();
                    tracing::warn!(%error, ?pause, "settlement does not advance");
                    self.view.submitter(match &error {
                        CycleError::Send(SendError::OutOfFunds { .. }) => SubmitterState::OutOfFunds,
                        other => SubmitterState::Failing(other.to_string()),
                    });
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn cycle(&mut self) -> Result<Pace, CycleError> {
        if let Some(why) = self.view.refused_settlement() {
            return Err(CycleError::Refused(why));
        }
        if !self.checked {
            self.check().await?;
        }
        let cursor = self.l1.cursor().await?;
        let agreed = match self.agree(&cursor).await {
            Err(CycleError::Loss { why, .. }) if !self.stands(&cursor).await? => {
                return Err(CycleError::Blocked(format!("the settlement layer contradicts itself: {why}")));
            }
            agreed => agreed?,
        };
        let Some(settled) = agreed else { return Ok(Pace::Wait(SubmitterState::CatchingUp)) };
        if !self.keep_ends()? {
            return Ok(Pace::Wait(SubmitterState::CatchingUp));
        }
        self.building.open.store(true, Ordering::Release);
        self.undo_after(&cursor, settled)?;
        let unconfirmed = self.follow(&cursor, settled).await?;
        let next = BatchId(settled.map_or(0, |batch| batch.0 + 1));
        if let Some((header, batch)) = Batch::load(&self.store, next)? {
            return self.bring(&cursor, &header, &batch).await;
        }
        Ok(Pace::Wait(unconfirmed.map_or(SubmitterState::Idle, SubmitterState::WaitingForConfirmations)))
    }

    /// Contracts of another chain are a mismatch; an account without its role can be given it.
    async fn check(&mut self) -> Result<(), CycleError> {
        match self.l1.check().await {
            Ok(()) => {}
            // On the chain that genesis names; found missing at start-up it refuses to start.
            Err(error @ CheckError::Differs { .. }) => {
                return Err(CycleError::Loss { reason: LossReason::SettlementMismatch, why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        self.desk.know(self.l1.attestors().await?);
        match self.l1.check_roles(&self.keys).await {
            // The others may be enough; the count of attestations says whether they are.
            Err(error @ CheckError::NotAllowed { role: ATTESTOR, .. }) => tracing::warn!(%error, "the set was changed"),
            checked => checked?,
        }
        self.checked = true;
        Ok(())
    }

    /// The last batch on the contract, which must be ours to the bit (inner `None`: none yet). Outer `None`: the contract is
    /// ahead of our blocks, which are being rebuilt.
    async fn agree(&self, cursor: &Cursor) -> Result<Option<Option<BatchId>>, CycleError> {
        let mismatch = |why: String| CycleError::Loss { reason: LossReason::SettlementMismatch, why };
        let Some(height) = cursor.height else {
            if cursor.root != Felt::ZERO || cursor.hash != Felt::ZERO {
                return Err(mismatch("the contract is before block 0 with a root that is not 0".into()));
            }
            self.not_before_confirmed(cursor, None)?;
            return Ok(Some(None));
        };
        let Some(header) = self.store.header(height)? else { return Ok(None) };
        if (header.block.state_root, header.hash) != (cursor.root, cursor.hash) {
            return Err(mismatch(format!(
                "block {height} has root {:#x} and hash {:#x} on the contract, {:#x} and {:#x} here",
                cursor.root, cursor.hash, header.block.state_root, header.hash
            )));
        }
        if self.store.batch_of_block(height)?.is_none() {
            self.make_again(cursor).await?;
        }
        let batch = self.store.batch_of_block(height)?;
        let found = batch.map_or(Ok(None), |batch| self.store.batch_header(batch))?;
        match found.filter(|found| found.last_block == height) {
            Some(found) => {
                self.not_before_confirmed(cursor, Some(found.batch))?;
                Ok(Some(Some(found.batch)))
            }
            None => Err(mismatch(format!("a batch ends with block {height} on the contract, and none does here"))),
        }
    }

    /// Whether the contract goes on saying what `cursor` says. It is read by several questions: an endpoint that answers them of different
    /// moments (a pool of nodes, one that was stopped and goes on) must not end settlement.
    async fn stands(&self, cursor: &Cursor) -> Result<bool, CycleError> {
        let said = |cursor: &Cursor| (cursor.height, cursor.root, cursor.hash);
        for _ in 0..LOSS_LOOKS {
            tokio::time::sleep(self.poll).await;
            if said(&self.l1.cursor().await?) != said(cursor) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the engine was told is confirmed must still be on the contract.
    fn not_before_confirmed(&self, cursor: &Cursor, settled: Option<BatchId>) -> Result<(), CycleError> {
        match (self.engine.last_confirmed)() {
            Some(confirmed) if settled.is_none_or(|settled| settled < confirmed) => Err(self.gone(cursor, confirmed)?),
            _ => Ok(()),
        }
    }

    /// A confirmed batch is not on the contract: a node that lags behind shows that too, and is waited for.
    fn gone(&self, cursor: &Cursor, batch: BatchId) -> Result<CycleError, CycleError> {
        let header = self.store.batch_header(batch)?;
        let Some(included) = header.and_then(|header| Note::of(&header).included) else {
            let why = format!(
                "batch {batch}, confirmed, is not on the contract; where it was is lost with the store, so the node that says so may only be behind"
            );
            return Ok(CycleError::Blocked(why));
        };
        let deep = included.l1_block + self.l1.genesis().settlement.confirm_depth;
        if cursor.at < deep {
            let why =
                format!("the node of the settlement layer is at block {}, batch {batch} was confirmed at {deep}", cursor.at);
            return Ok(CycleError::Blocked(why));
        }
        let why = format!("batch {batch}, confirmed, is not on the contract any more");
        Ok(CycleError::Loss { reason: LossReason::SettlementReorg, why })
    }

    /// Batches that the contract has and the store lost: made again from the blocks, ending where the contract's events say.
    async fn make_again(&self, cursor: &Cursor) -> Result<(), CycleError> {
        let updates = self.l1.state_updates(self.scan_from, cursor.at).await?;
        let made = self.store.latest_batch()?.map(|batch| batch.last_block);
        for end in updates.into_keys().filter(|end| made.is_none_or(|made| *end > made)) {
            tracing::warn!(%end, "a batch of the contract is not in the store: making it again");
            self.building.with(|batcher| batcher.build_to(end))?;
        }
        Ok(())
    }

    /// Batches that were signed and are not in the store are made again with the ends that were signed: another batch of that number
    /// could never be. `false`: their blocks are being rebuilt.
    fn keep_ends(&self) -> Result<bool, CycleError> {
        let latest = self.store.latest_batch()?.map(|latest| latest.batch);
        let ends: Vec<Height> = self.protected(|protection| Ok(protection.ends_after(latest).collect()))?;
        for end in ends {
            if self.store.header(end)?.is_none() {
                return Ok(false);
            }
            tracing::warn!(%end, "a batch that was signed is not in the store: making it again");
            self.building.with(|batcher| batcher.build_to(end))?;
        }
        Ok(true)
    }

    /// With the memory of what the key has signed, which one process holds.
    fn protected<T>(&self, work: impl FnOnce(&mut Protection) -> Result<T, ProtectionError>) -> Result<T, CycleError> {
        let mut slot = self.protection.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let protection = match &mut *slot {
            Some(protection) => protection,
            None => slot.insert(self.signatures.open(self.l1.genesis().hash(), self.keys.attestor().id())?),
        };
        Ok(work(protection)?)
    }

    /// Batches after the contract's cursor that were on it before: a reorganisation took them off.
    fn undo_after(&self, cursor: &Cursor, settled: Option<BatchId>) -> Result<(), CycleError> {
        let mut next = BatchId(settled.map_or(0, |batch| batch.0 + 1));
        while let Some(header) = self.store.batch_header(next)? {
            match header.status {
                BatchStatus::Built | BatchStatus::Attested | BatchStatus::Submitted => {}
                BatchStatus::Included => {
                    tracing::warn!(batch = %next, "a reorganisation of the settlement layer took a batch off the contract");
                    let note = Note { included: None, ..Note::of(&header) };
                    self.store.set_batch_status(next, BatchStatus::Submitted, note.encode())?;
                }
                BatchStatus::Confirmed => return Err(self.gone(cursor, next)?),
            }
            next.0 += 1;
        }
        Ok(())
    }

    /// Follows the batches on the contract that are not CONFIRMED; gives the first that is not deep enough.
    async fn follow(&self, cursor: &Cursor, settled: Option<BatchId>) -> Result<Option<BatchId>, CycleError> {
        let Some(settled) = settled else { return Ok(None) };
        let confirmed = self.store.latest_batch_with(BatchStatus::Confirmed)?;
        let first = BatchId(confirmed.as_ref().map_or(0, |header| header.batch.0 + 1));
        if first > settled {
            return Ok(None);
        }
        let from = confirmed.and_then(|header| Note::of(&header).included).map_or(self.scan_from, |at| at.l1_block);
        let updates = self.l1.state_updates(from, cursor.at).await?;
        for id in (first.0..=settled.0).map(BatchId) {
            if !self.follow_one(id, cursor, &updates).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Whether the batch is CONFIRMED now.
    async fn follow_one(
        &self,
        id: BatchId,
        cursor: &Cursor,
        updates: &BTreeMap<Height, Inclusion>,
    ) -> Result<bool, CycleError> {
        let Some(header) = self.store.batch_header(id)? else { return Ok(false) };
        // The chain moved between the cursor and the events: the next cycle sees one of the two.
        let Some(update) = updates.get(&header.last_block) else { return Ok(false) };
        let included = NoteInclusion { l1_tx_hash: update.tx, l1_block: update.block, l1_block_hash: update.block_hash };
        let note = Note { included: Some(included), ..Note::of(&header) };
        if header.status != BatchStatus::Included || header.note != note.encode() {
            self.store.set_batch_status(id, BatchStatus::Included, note.encode())?;
            tracing::info!(batch = %id, l1_block = update.block, "batch included");
        }
        if cursor.at.saturating_sub(update.block) < self.l1.genesis().settlement.confirm_depth {
            return Ok(false);
        }
        if !self.tell_engine(&header, &included).await? {
            return Ok(false);
        }
        self.store.set_batch_status(id, BatchStatus::Confirmed, note.encode())?;
        tracing::info!(batch = %id, last_block = %header.last_block, "batch confirmed");
        Ok(true)
    }

    /// Whether the engine knows that the batch is confirmed.
    async fn tell_engine(&self, header: &BatchHeader, included: &NoteInclusion) -> Result<bool, CycleError> {
        let batch = header.batch;
        let knows = || (self.engine.last_confirmed)().is_some_and(|confirmed| confirmed >= batch);
        if knows() {
            return Ok(true);
        }
        let Some(block) = self.store.header(header.last_block)? else { return Ok(false) };
        let command = Command::BatchConfirmed(BatchConfirmed {
            batch,
            last_block: header.last_block,
            root: FeltBytes(block.block.state_root),
            l1_block: included.l1_block,
            l1_tx_hash: included.l1_tx_hash,
        });
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.inbox.submit(command, Some(reply)) {
            return Err(CycleError::Blocked(format!("the confirmation of batch {batch} was not queued: {error}")));
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Answer::Done { events, .. })) => {
                let told =
                    events.iter().any(|event| matches!(event, Event::BatchConfirmed { batch: told } if *told == batch));
                if told || knows() {
                    return Ok(true);
                }
                Err(CycleError::Blocked(format!("the engine did not take the confirmation of batch {batch}: {events:?}")))
            }
            Ok(Ok(Answer::Shed(_))) | Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Attests the next batch and gets it onto the contract.
    async fn bring(&self, cursor: &Cursor, header: &BatchHeader, batch: &Batch) -> Result<Pace, CycleError> {
        if let Some(gathered) = self.attest(cursor, header, batch).await? {
            return Ok(Pace::Wait(SubmitterState::Attesting { batch: header.batch, gathered }));
        }
        self.submit(header, batch).await?;
        Ok(Pace::Again)
    }

    /// The whole update fails if one message does not wait on the contract. Asked at the cursor's block, at which the batch is not on
    /// the contract: nothing but a loss can have taken a message from there.
    async fn messages_wait(&self, cursor: &Cursor, header: &BatchHeader, batch: &Batch) -> Result<(), CycleError> {
        for message in &batch.content.to_l2 {
            if self.l1.message(message.hash(self.l1.genesis().settlement.layer), cursor.at_hash).await?.waits {
                continue;
            }
            let (nonce, id) = (message.nonce, header.batch);
            let why = format!("message {nonce} was consumed in batch {id} and is not there any more: undone, or cancelled");
            // Reported and not given up: a shallow reorganisation may bring it back.
            (self.on_loss)(LossReason::SettlementReorg, &why);
            return Err(CycleError::Blocked(why));
        }
        Ok(())
    }

    /// Brings k signatures to the registry; gives how far they are while there are fewer.
    /// What it brings could be settled: every message waits.
    async fn attest(&self, cursor: &Cursor, header: &BatchHeader, batch: &Batch) -> Result<Option<Gathered>, CycleError> {
        let (id, fact) = (header.batch, batch.fact);
        let mut to_bring = None;
        if !self.l1.is_attested(fact).await? {
            // The set may have changed since the last batch.
            self.desk.know(self.l1.attestors().await?);
            // The node's own key is one of n: where its memory keeps it from signing, the others may be enough.
            let kept = match self.sign(header, batch) {
                Ok(()) => None,
                Err(error @ CycleError::Protection(_)) => Some(error),
                Err(error) => return Err(error),
            };
            match self.desk.gather(id, fact)? {
                Some(Gathering::Enough(attestations)) => to_bring = Some(attestations),
                Some(Gathering::Missing(gathered)) => return kept.map_or(Ok(Some(gathered)), Err),
                None => return Err(CycleError::Blocked("the attestors are not known yet".into())),
            }
        }
        self.messages_wait(cursor, header, batch).await?;
        if let Some(attestations) = to_bring {
            let gathered = Gathered { have: attestations.len(), need: attestations.len() };
            self.view.submitter(SubmitterState::Attesting { batch: id, gathered });
            let signature = |a: Attestation| FactSignature { attestor: a.attestor.0, bytes: a.signature };
            let signatures: Vec<_> = attestations.into_iter().map(signature).collect();
            self.sender.attest(fact, &signatures, &mut |_| self.may_send()).await?;
        }
        if header.status == BatchStatus::Built {
            self.store.set_batch_status(id, BatchStatus::Attested, header.note.clone())?;
            tracing::info!(batch = %id, fact = %batch.fact, "batch attested");
        }
        Ok(None)
    }

    /// With the node's own key: remembered on disk first.
    fn sign(&self, header: &BatchHeader, batch: &Batch) -> Result<(), CycleError> {
        let (id, fact, own) = (header.batch, batch.fact, self.keys.attestor());
        let root = FeltBytes(batch.content.after.root);
        let unconfirmed_from = self.desk.unconfirmed_from()?;
        let asked = Signed { batch: id, block: header.last_block, root, fact };
        self.protected(|protection| protection.allow(asked, unconfirmed_from))?;
        let signature = own.sign_fact(self.desk.scheme(), fact).map_err(|error| SendError::Sign(error.to_string()))?;
        Ok(self.desk.keep_own(Attestation { batch: id, fact, attestor: own.id(), signature })?)
    }

    async fn submit(&self, header: &BatchHeader, batch: &Batch) -> Result<(), CycleError> {
        let id = header.batch;
        self.view.submitter(SubmitterState::Submitting(id));
        let before = Note::of(header).submit_tx;
        let mut note = |tx: Bytes32| {
            self.may_send()?;
            let note = Note { submit_tx: Some(tx), included: None };
            tracing::info!(batch = %id, %tx, "submitting batch");
            Ok(self.store.set_batch_status(id, BatchStatus::Submitted, note.encode())?)
        };
        match self.sender.submit(batch, before, &mut note).await {
            Ok(_) => Ok(()),
            // It got there by an earlier transaction, or by somebody else's hand: the next cycle sees it.
            Err(SendError::L1(L1Error::Refused(Refusal::PrevBlockNumber))) if self.moved(header).await? => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Asked before each sending: what is refused meanwhile is not sent again, whatever waits.
    fn may_send(&self) -> Result<(), SendError> {
        self.view.refused_settlement().map_or(Ok(()), |why| Err(SendError::Refused(why)))
    }

    /// Whether the contract has left the state that the batch begins with.
    async fn moved(&self, header: &BatchHeader) -> Result<bool, CycleError> {
        Ok(self.l1.cursor().await?.height >= Some(header.last_block))
    }
}

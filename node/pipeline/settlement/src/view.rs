//! What others may know of the loops, from memory.

use crate::cancellations::Cancellation;
use crate::deposits::nonce;
use crate::layer::DepositLog;
use keel_types::{BatchId, Bytes32, Gathered};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// The head of the settlement layer, as the guard judges it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettlementHealth {
    /// Number of the newest block seen; `None` until one was.
    pub head: Option<u64>,
    /// When it last advanced; the start of the process before that.
    pub head_advanced: Instant,
}

impl SettlementHealth {
    /// Milliseconds since the head last advanced, or since the start.
    pub fn head_age_ms(&self) -> u64 {
        u64::try_from(self.head_advanced.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// For `node_status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettlementStatus {
    pub head: Option<u64>,
    /// `None` until a head was seen.
    pub head_age_ms: Option<u64>,
    /// What the submission loop is doing, in a few words.
    pub submitter: SubmitterState,
}

/// What the submission loop is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubmitterState {
    /// Contracts and cursor were not compared yet.
    Starting,
    /// Everything built is on the contract and confirmed.
    Idle,
    /// Waits for attestors to sign a batch, or brings their signatures to the registry.
    Attesting {
        batch: BatchId,
        gathered: Gathered,
    },
    Submitting(BatchId),
    WaitingForConfirmations(BatchId),
    /// The contract is ahead of the blocks in our store, which are being rebuilt.
    CatchingUp,
    /// The submitter's account cannot pay. Goes on when it can.
    OutOfFunds,
    /// Tries again after a pause.
    Failing(String),
    /// Will not submit again: an operator must act.
    Stopped(String),
}

impl fmt::Display for SubmitterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubmitterState::Starting => f.write_str("starting"),
            SubmitterState::Idle => f.write_str("idle"),
            SubmitterState::Attesting { batch, gathered: Gathered { have, need } } => {
                write!(f, "{have} of {need} attestations for batch {batch}")
            }
            SubmitterState::Submitting(batch) => write!(f, "submitting batch {batch}"),
            SubmitterState::WaitingForConfirmations(batch) => write!(f, "waiting for confirmations of batch {batch}"),
            SubmitterState::CatchingUp => f.write_str("waiting for blocks that the contract already has"),
            SubmitterState::OutOfFunds => f.write_str("out of funds"),
            SubmitterState::Failing(why) => write!(f, "failing: {why}"),
            SubmitterState::Stopped(why) => write!(f, "stopped: {why}"),
        }
    }
}

/// A deposit that was not handed to the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DepositState {
    /// Not final yet, or final and about to be handed over.
    Pending(PendingDeposit),
    /// Never will be; it stays on the settlement contract, refundable there. Why.
    Refused(String),
}

/// See [`DepositState::Pending`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingDeposit {
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
    /// Blocks on top of it, and how many make it final (0: the `finalized` tag decides).
    pub depth: u64,
    pub depth_needed: u64,
}

/// Where a batch is on the settlement layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Submission {
    pub l1_tx_hash: Bytes32,
    /// `None` while it is in no block.
    pub l1_block: Option<u64>,
}

/// Shared between the loops and the handle. Locks are held for a copy.
#[derive(Clone)]
pub(crate) struct View(Arc<Mutex<Inner>>);

struct Inner {
    head: Option<u64>,
    head_advanced: Instant,
    submitter: SubmitterState,
    /// By message nonce: seen in blocks that are not final, or final and in line.
    pending: BTreeMap<u64, PendingDeposit>,
    refused: BTreeMap<u64, String>,
    /// Of messages that were consumed and are not settled.
    cancellations: Vec<Cancellation>,
    /// Why nothing is settled and no deposit is taken any more, for the life of the process. [spec settlement: halt, refuse settlement]
    settlement_refused: Option<String>,
}

impl View {
    pub(crate) fn new() -> View {
        View(Arc::new(Mutex::new(Inner {
            head: None,
            head_advanced: Instant::now(),
            submitter: SubmitterState::Starting,
            pending: BTreeMap::new(),
            refused: BTreeMap::new(),
            cancellations: vec![],
            settlement_refused: None,
        })))
    }

    /// Plain values, which no panic can leave half-changed: a poisoned lock is taken over.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A lower head (a reorganisation, a node behind) is no advance.
    pub(crate) fn head(&self, head: u64, now: Instant) {
        let mut inner = self.lock();
        if inner.head.is_none_or(|before| head > before) {
            inner.head = Some(head);
            inner.head_advanced = now;
        }
    }

    pub(crate) fn submitter(&self, state: SubmitterState) {
        self.lock().submitter = state;
    }

    /// Replaces the pending deposits.
    pub(crate) fn pending<'a>(&self, head: u64, depth_needed: u64, logs: impl Iterator<Item = &'a DepositLog>) {
        let pending = logs.filter_map(|log| {
            let (nonce, l1_block, l1_tx_hash) = (nonce(log)?, log.block, log.tx);
            Some((nonce, PendingDeposit { l1_block, l1_tx_hash, depth: head.saturating_sub(log.block), depth_needed }))
        });
        self.lock().pending = pending.collect();
    }

    pub(crate) fn refuse(&self, nonce: u64, why: String) {
        self.lock().refused.insert(nonce, why);
    }

    /// The first reason stays.
    pub(crate) fn refuse_settlement(&self, why: String) {
        self.lock().settlement_refused.get_or_insert(why);
    }

    pub(crate) fn refused_settlement(&self) -> Option<String> {
        self.lock().settlement_refused.clone()
    }

    pub(crate) fn set_cancellations(&self, cancellations: Vec<Cancellation>) {
        self.lock().cancellations = cancellations;
    }

    pub(crate) fn cancellations(&self) -> Vec<Cancellation> {
        self.lock().cancellations.clone()
    }

    pub(crate) fn health(&self) -> SettlementHealth {
        let inner = self.lock();
        SettlementHealth { head: inner.head, head_advanced: inner.head_advanced }
    }

    pub(crate) fn status(&self) -> SettlementStatus {
        let health = self.health();
        let head_age_ms = health.head.map(|_| health.head_age_ms());
        SettlementStatus { head: health.head, head_age_ms, submitter: self.lock().submitter.clone() }
    }

    pub(crate) fn deposit(&self, nonce: u64) -> Option<DepositState> {
        let inner = self.lock();
        let pending = inner.pending.get(&nonce).copied().map(DepositState::Pending);
        pending.or_else(|| inner.refused.get(&nonce).cloned().map(DepositState::Refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_a_higher_head_is_an_advance() {
        let view = View::new();
        assert_eq!(view.status().head_age_ms, None);
        let start = Instant::now();
        view.head(5, start);
        view.head(5, start + Duration::from_secs(1));
        view.head(4, start + Duration::from_secs(2));
        assert_eq!(view.health(), SettlementHealth { head: Some(5), head_advanced: start });
        view.head(6, start + Duration::from_secs(3));
        assert_eq!(view.health().head_advanced, start + Duration::from_secs(3));
    }
}

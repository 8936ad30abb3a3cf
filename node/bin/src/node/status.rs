use super::incidents::Recorder;
use super::integrity::LastIntegrity;
use super::sources::Failing;
use keel_feeds::PhaseView;
use keel_guard::Config;
use keel_rpc::incidents::Observations;
use keel_rpc::{AgesMax, Cancellation, DepositState, Integrity, NodeStatus, PendingDeposit, SettlementStatus, Submission};
use keel_sequencer::Halt;
use keel_settlement::Handle;
use keel_store::BatchHeader;
use keel_types::{LossReasons, Phase, Ts};
use std::sync::Arc;

/// What only the wiring knows, for `node_status`, `bridge_*` and the status page.
pub struct Status {
    pub settlement: Handle,
    pub guard: Config,
    pub failing: Failing,
    pub halt: Arc<Halt>,
    pub integrity: LastIntegrity,
    pub recorder: Recorder,
}

impl NodeStatus for Status {
    fn phase_eta(&self, phase: &PhaseView) -> Option<Ts> {
        let lasts_ms = match phase.phase {
            Phase::Open => return None,
            Phase::Halted if phase.reasons.needs_operator() => return None,
            Phase::Halted => 0,
            Phase::ReadOnly => self.guard.phases.spot_oracle_fresh_ms,
            Phase::Spot => self.guard.phases.spot_ms.max(self.guard.phases.spot_post_only_ms),
            Phase::ReduceOnly => self.guard.phases.reduce_only_ms,
        };
        Some(phase.since.plus_ms(lasts_ms))
    }

    fn failing_monitors(&self) -> Vec<(&'static str, String)> {
        self.failing.list()
    }

    fn settlement(&self) -> SettlementStatus {
        let (status, backlog) = (self.settlement.status(), self.settlement.backlog());
        let cancellations = self.settlement.cancellations().into_iter();
        SettlementStatus {
            head: status.head,
            head_age_ms: status.head_age_ms,
            submitter: status.submitter.to_string(),
            backlog_batches: backlog.batches,
            backlog_oldest: backlog.oldest,
            cancellations: cancellations
                .map(|c| Cancellation { message_nonce: c.message_nonce, started: c.started, deadline: c.deadline })
                .collect(),
        }
    }

    fn deposit(&self, message_nonce: u64) -> Option<DepositState> {
        Some(match self.settlement.deposit(message_nonce)? {
            keel_settlement::DepositState::Pending(pending) => DepositState::Pending(PendingDeposit {
                l1_block: pending.l1_block,
                l1_tx_hash: pending.l1_tx_hash,
                depth: pending.depth,
                depth_needed: pending.depth_needed,
            }),
            keel_settlement::DepositState::Refused(why) => DepositState::Refused(why),
        })
    }

    fn submission(&self, batch: &BatchHeader) -> Option<Submission> {
        let submission = keel_settlement::Submission::of(batch)?;
        Some(Submission { l1_tx_hash: submission.l1_tx_hash, l1_block: submission.l1_block })
    }

    fn observations(&self) -> &dyn Observations {
        &self.recorder
    }

    fn loss(&self) -> Option<(LossReasons, Ts)> {
        self.halt.waiting()
    }

    fn integrity(&self) -> Option<Integrity> {
        self.integrity.get()
    }

    fn ages_max(&self) -> AgesMax {
        let limits = self.guard.thresholds;
        AgesMax {
            released: limits.engine_stalled_ms,
            settlement_head: limits.settlement_head_stale_ms,
            settlement_backlog: limits.settlement_backlog_ms,
        }
    }
}

use super::incidents::Recorder;
use super::sources::Failing;
use keel_feeds::PhaseView;
use keel_guard::PhaseTimings;
use keel_rpc::incidents::Observations;
use keel_rpc::{Cancellation, DepositState, NodeStatus, PendingDeposit, SettlementStatus, Submission};
use keel_settlement::Handle;
use keel_store::BatchHeader;
use keel_types::{Phase, Ts};

/// What only the wiring knows, for `node_status` and `bridge_*`.
pub struct Status {
    settlement: Handle,
    phases: PhaseTimings,
    failing: Failing,
    recorder: Recorder,
}

impl Status {
    pub fn new(settlement: Handle, phases: PhaseTimings, failing: Failing, recorder: Recorder) -> Status {
        Status { settlement, phases, failing, recorder }
    }
}

impl NodeStatus for Status {
    fn phase_eta(&self, phase: &PhaseView) -> Option<Ts> {
        let lasts_ms = match phase.phase {
            Phase::Open => return None,
            Phase::Halted if phase.reasons.needs_operator() => return None,
            Phase::Halted => 0,
            Phase::ReadOnly => self.phases.spot_oracle_fresh_ms,
            Phase::Spot => self.phases.spot_ms.max(self.phases.spot_post_only_ms),
            Phase::ReduceOnly => self.phases.reduce_only_ms,
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
}

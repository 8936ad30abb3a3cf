use crate::order::text_enum;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

text_enum! {
    /// Phases of reopening, in order; each allows what stands in its row and above it. [spec safe-mode, Reopening]
    Phase {
        Halted = "HALTED",
        ReadOnly = "READ_ONLY",
        Spot = "SPOT",
        ReduceOnly = "REDUCE_ONLY",
        Open = "OPEN",
    }
}

text_enum! {
    /// What lost sync. Closed; the discriminant is the bit in an incident's reason set. [spec safe-mode, What can lose sync]
    LossReason {
        JournalStalled = "JOURNAL_STALLED",
        JournalFailed = "JOURNAL_FAILED",
        SettlementHeadStale = "SETTLEMENT_HEAD_STALE",
        SettlementReorg = "SETTLEMENT_REORG",
        SettlementMismatch = "SETTLEMENT_MISMATCH",
        SettlementCancellation = "SETTLEMENT_CANCELLATION",
        SettlementBacklog = "SETTLEMENT_BACKLOG",
        OracleStale = "ORACLE_STALE",
        OracleImplausible = "ORACLE_IMPLAUSIBLE",
        StateDiverged = "STATE_DIVERGED",
        InvariantBroken = "INVARIANT_BROKEN",
        ClockStep = "CLOCK_STEP",
        EngineStalled = "ENGINE_STALLED",
        DiskLow = "DISK_LOW",
        Restart = "RESTART",
        Maintenance = "MAINTENANCE",
        Operator = "OPERATOR",
    }
}

impl LossReason {
    /// Whether HALTED holds until `admin_resume`.
    pub fn needs_operator(self) -> bool {
        matches!(
            self,
            LossReason::SettlementReorg
                | LossReason::SettlementMismatch
                | LossReason::StateDiverged
                | LossReason::InvariantBroken
        )
    }
}

/// A set of reasons: bit `1 << discriminant`.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[serde(transparent)]
pub struct LossReasons(pub u32);

impl LossReasons {
    /// The set of one reason.
    pub fn of(reason: LossReason) -> LossReasons {
        LossReasons(1 << reason as u32)
    }
    /// Both sets together.
    pub fn with(self, other: LossReasons) -> LossReasons {
        LossReasons(self.0 | other.0)
    }
    /// Whether the reason is in the set.
    pub fn contains(self, reason: LossReason) -> bool {
        self.0 & (1 << reason as u32) != 0
    }
    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The reasons, in the order of the specification's table.
    pub fn iter(self) -> impl Iterator<Item = LossReason> {
        LossReason::ALL.iter().copied().filter(move |reason| self.contains(*reason))
    }
    /// Whether any reason holds HALTED until an operator resumes.
    pub fn needs_operator(self) -> bool {
        self.iter().any(LossReason::needs_operator)
    }
}

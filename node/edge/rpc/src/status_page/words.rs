//! What the page says, in sentences for people who have money on the exchange.
use keel_types::{LossReason, Phase};

/// Of one reason.
pub(super) struct ReasonWords {
    pub what: &'static str,
    /// What somebody who trades here should expect or do.
    pub traders: &'static str,
    /// What who runs the node should look at.
    pub operators: &'static str,
}

const BY_ITSELF: &str = "It reopens by itself, phase by phase, once this has passed.";
const UNANSWERED: &str = "Everything you had an answer for is recorded. A request without an answer may have been executed: send the \
                          identical message again, and you get its outcome, never a second order.";
const DECIDES: &str = "An operator must find out what happened and decide. Nobody can say yet how long that takes.";

/// Explains a reason. [spec safe-mode, What can lose sync]
pub(super) fn reason(reason: LossReason) -> ReasonWords {
    let (what, traders, operators) = match reason {
        LossReason::JournalStalled => (
            "The journal, where every command is recorded before it counts, took too long to confirm a write.",
            UNANSWERED,
            "Look at the disk of the journal. It goes on by itself when appends are fast again.",
        ),
        LossReason::JournalFailed => (
            "A write to the journal failed, and the node was started again from what it holds.",
            UNANSWERED,
            "Look at the disk of the journal before anything else.",
        ),
        LossReason::SettlementHeadStale => (
            "No new block of the settlement layer has been seen for too long.",
            BY_ITSELF,
            "Look at the endpoints of the settlement layer, and at the layer itself.",
        ),
        LossReason::SettlementReorg => (
            "The settlement layer took back something that was final and had been counted here.",
            DECIDES,
            "Settlement is refused. Find what was undone, then resume the incident.",
        ),
        LossReason::SettlementMismatch => (
            "What the contract on the settlement layer holds is not what this chain settled.",
            DECIDES,
            "Compare root, block number and hash with the contract's, then resume the incident.",
        ),
        LossReason::SettlementCancellation => (
            "A deposit that was credited here is being taken back on the settlement layer, and half of the time to settle it first is over.",
            BY_ITSELF,
            "Get the batch with that message settled before its deadline.",
        ),
        LossReason::SettlementBacklog => (
            "Batches have waited too long to be confirmed on the settlement layer.",
            BY_ITSELF,
            "Look at the submitter: its funds, its fees, its endpoints, the attestors.",
        ),
        LossReason::OracleStale => (
            "At least half of the markets had no price from enough publishers for too long.",
            BY_ITSELF,
            "Look at the price publishers.",
        ),
        LossReason::OracleImplausible => (
            "In at least half of the markets the newest price moved further than is plausible and waits to be confirmed.",
            BY_ITSELF,
            "Compare the publishers with the outside market.",
        ),
        LossReason::StateDiverged => (
            "The same commands, executed a second time, came to another state.",
            DECIDES,
            "Find out which state is right, and why, before you resume the incident.",
        ),
        LossReason::InvariantBroken => (
            "Something that must always hold did not: money neither made nor lost, positions that sum to zero, or a command that could not be executed.",
            "Two operators must find out what happened and decide. Nobody can say yet how long that takes.",
            "Find the cause first. Two different operators must resume the incident.",
        ),
        LossReason::ClockStep => (
            "The clock of the node's machine jumped.",
            BY_ITSELF,
            "Look at time synchronisation; a suspended machine jumps too.",
        ),
        LossReason::EngineStalled => (
            "The matching engine, or the whole process, made no progress for too long.",
            UNANSWERED,
            "Look at the load and the memory of the machine, and at the log.",
        ),
        LossReason::DiskLow => ("The disk of the node is nearly full.", BY_ITSELF, "Free space where the data folder is."),
        LossReason::Restart => (
            "The node was started: after a stop that was not clean, after more than a moment down, or for the first time.",
            UNANSWERED,
            "Nothing, if you restarted it. Else read the log of the process before.",
        ),
        LossReason::Maintenance => ("Announced maintenance.", BY_ITSELF, "It goes on with the next start."),
        LossReason::Operator => {
            ("An operator stopped the exchange.", BY_ITSELF, "It reopens without another word of yours.")
        }
    };
    ReasonWords { what, traders, operators }
}

/// Of one phase.
pub(super) struct PhaseWords {
    pub lead: &'static str,
    /// What works now.
    pub can: &'static [&'static str],
    /// What does not.
    pub cannot: &'static [&'static str],
    /// What the next phase waits for.
    pub next: &'static str,
}

/// Explains a phase. [spec safe-mode, Reopening]
pub(super) fn phase(phase: Phase) -> PhaseWords {
    match phase {
        Phase::Halted => PhaseWords {
            lead: "Nothing is traded. Every open order was cancelled in one record; balances and positions stand as they were.",
            can: &["Look at balances, positions, orders and history"],
            cannot: &[
                "Trade or cancel: no order is open",
                "Deposits are not credited yet; none is lost",
                "Withdraw, transfer",
            ],
            next: "READ ONLY opens as soon as the halt is on record and no order is open.",
        },
        Phase::ReadOnly => PhaseWords {
            lead: "Nothing is traded yet. Every balance, position and root is checked before anything reopens.",
            can: &["Look at balances, positions, orders and history", "Deposits are credited", "Revoke session keys"],
            cannot: &["Trade", "Withdraw, transfer"],
            next: "SPOT opens when the integrity report has passed, the settlement layer is followed again, and every market has had fresh \
                   prices for a while.",
        },
        Phase::Spot => PhaseWords {
            lead: "Spot markets are open. Perpetuals are still closed, and nobody is liquidated.",
            can: &["Trade spot", "Cancel", "Deposit, withdraw, transfer"],
            cannot: &["Trade perpetuals, not even to reduce a position"],
            next: "REDUCE ONLY opens when everything has been healthy in this phase for a while.",
        },
        Phase::ReduceOnly => PhaseWords {
            lead: "Spot markets are open. Positions in perpetuals can be reduced, and nobody is liquidated yet.",
            can: &[
                "Trade spot",
                "Reduce positions",
                "Quote perpetuals post-only close to the oracle price",
                "Deposit, withdraw, transfer",
            ],
            cannot: &["Open or increase positions"],
            next: "OPEN comes when everything has been healthy in this phase for a while.",
        },
        Phase::Open => PhaseWords { lead: "All markets are open.", can: &["Everything"], cannot: &[], next: "" },
    }
}

/// Instead of a phase's sentence while nothing executes.
pub(super) const STOPPED_LEAD: &str = "The node has stopped executing. Nothing is traded, and no request is accepted.";
/// And what follows.
pub(super) const STOPPED_LOSS: &str =
    "A loss was detected. The first record that can be written cancels every open order; nothing executes before it.";
/// While no loss was detected, yet nothing moves.
pub(super) const STOPPED_SILENT: &str =
    "Nothing was recorded for longer than is normal. What you see is the last state that was recorded.";
/// In OPEN, after an incident.
pub(super) const GRACE: &str = "Positions that stood through the incident are not liquidated at once: there is a grace as long as the exchange \
                                was closed, at least 2 and at most 30 minutes after opening.";

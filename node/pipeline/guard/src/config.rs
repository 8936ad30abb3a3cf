use serde::{Deserialize, Serialize};

/// Everything an operator can set about safe mode. All times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub thresholds: Thresholds,
    pub phases: PhaseTimings,
}

/// When a signal counts as lost, and when as regained. [spec safe-mode, What can lose sync]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// The settlement layer's head did not advance for this long.
    pub settlement_head_stale_ms: u64,
    /// The oldest batch that is not confirmed on the settlement layer was made this long ago.
    pub settlement_backlog_ms: u64,
    /// This many batches are not confirmed.
    pub settlement_backlog_batches: u64,
    /// A market without a quorum price for this long is stale; half the markets stale is a loss.
    pub oracle_stale_ms: u64,
    /// An append to the journal that takes this long stops admission; its end resumes it.
    pub journal_pause_ms: u64,
    /// One that takes this long is a loss.
    pub journal_stalled_ms: u64,
    /// The engine, or the whole process, did nothing for this long. There is always work: a tick is due every 100 ms.
    pub engine_stalled_ms: u64,
    /// The wall clock moved this much against the monotonic one.
    pub clock_step_ms: u64,
    /// Free space of the data folder's file system below either is a loss.
    pub disk_free_bytes_min: u64,
    pub disk_free_percent_min: u64,
    /// A down time longer than this is a RESTART even after a clean stop.
    pub downtime_max_ms: u64,
    /// A signal must be healthy for this long before it counts as regained, so that one that flaps does not reopen anything.
    pub regain_ms: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            settlement_head_stale_ms: 60_000,
            settlement_backlog_ms: 1_800_000,
            // A batch takes two blocks of Ethereum, 24 s: 500 are more than three hours of settling.
            settlement_backlog_batches: 500,
            oracle_stale_ms: 10_000,
            journal_pause_ms: 500,
            journal_stalled_ms: 3_000,
            engine_stalled_ms: 2_000,
            clock_step_ms: 1_000,
            disk_free_bytes_min: 2 << 30,
            disk_free_percent_min: 5,
            downtime_max_ms: 5_000,
            regain_ms: 5_000,
        }
    }
}

/// How long each phase lasts at least. [spec safe-mode, Reopening]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhaseTimings {
    /// Oracle fresh for this long before SPOT.
    pub spot_oracle_fresh_ms: u64,
    /// SPOT opens post-only for this long.
    pub spot_post_only_ms: u64,
    /// Healthy SPOT before REDUCE_ONLY.
    pub spot_ms: u64,
    /// Healthy REDUCE_ONLY before OPEN.
    pub reduce_only_ms: u64,
    /// From 10% of the rate of orders, at OPEN, to all of it.
    pub ramp_ms: u64,
}

impl Default for PhaseTimings {
    fn default() -> Self {
        PhaseTimings {
            spot_oracle_fresh_ms: 60_000,
            spot_post_only_ms: 60_000,
            spot_ms: 60_000,
            reduce_only_ms: 120_000,
            ramp_ms: 60_000,
        }
    }
}

impl Config {
    /// Short timings for development and tests: the same walk, in seconds.
    pub fn short() -> Config {
        Config {
            thresholds: Thresholds {
                settlement_head_stale_ms: 5_000,
                oracle_stale_ms: 3_000,
                // A machine that builds and tests at once is slow, and its disk may be nearly full.
                engine_stalled_ms: 5_000,
                disk_free_bytes_min: 64 << 20,
                disk_free_percent_min: 0,
                regain_ms: 500,
                ..Thresholds::default()
            },
            phases: PhaseTimings {
                spot_oracle_fresh_ms: 1_000,
                spot_post_only_ms: 1_000,
                spot_ms: 1_500,
                reduce_only_ms: 1_500,
                ramp_ms: 3_000,
            },
        }
    }
}

use crate::{Config, Thresholds};
use keel_types::{Bytes32, IncidentId, LossReason, LossReasons, Phase, SetPhase, Ts};
use std::collections::BTreeMap;

/// What the guard sees at one moment. Published state only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    pub now: Ts,
    /// Since the settlement layer's head last advanced, or since start.
    pub settlement_head_age_ms: u64,
    /// Batches that are not confirmed on the settlement layer, and since the oldest of them was made.
    pub settlement_backlog_batches: u64,
    pub settlement_backlog_ms: u64,
    /// Half of the time is over in which a message that we consumed must be settled, before its sender may take it back.
    pub settlement_cancellation_due: bool,
    /// Per market: since the last quorum price, or since start.
    pub oracle_age_ms: Vec<u64>,
    /// Markets whose newest median moved too far and is held until it is confirmed.
    pub oracle_held: usize,
    /// Every market had a quorum price since start. Silence right after a start is no loss yet, and no reason to reopen either.
    pub oracle_heard: bool,
    pub phase: Phase,
    pub incident: IncidentId,
    pub reasons: LossReasons,
    /// Since the current phase began.
    pub phase_since: Ts,
    /// An operator resumed this incident.
    pub resumed: bool,
    /// Open orders in the book; none may be left before anything reopens.
    pub open_orders: usize,
    pub gate: Gate,
    pub divergence: Divergence,
    pub vitals: Vitals,
}

/// What the process and its machine show of themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vitals {
    /// Since the append to the journal that is under way began; 0 while none is.
    pub append_ms: u64,
    /// Since the engine's loop last began a turn, but for one that waits for an append; or since the guard last looked, if that is longer.
    pub engine_idle_ms: u64,
    /// How far the wall clock moved against the monotonic one since the last sample.
    pub clock_step_ms: u64,
    /// Where the data folder is; `None` while nobody could say.
    pub disk: Option<DiskSpace>,
}

/// Of a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// What this process may still use.
    pub free: u64,
    pub total: u64,
}

impl DiskSpace {
    fn is_low(self, limits: &Thresholds) -> bool {
        let percent = u128::from(self.total) * u128::from(limits.disk_free_percent_min);
        self.free < limits.disk_free_bytes_min || u128::from(self.free) * 100 < percent
    }
}

/// Signed reports of enrolled attestors that the state is another. [spec safe-mode, STATE_DIVERGED]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Divergence {
    /// Our own replay came to another state too.
    pub confirmed: bool,
    /// Attestors whose report stands.
    pub attestors: usize,
}

impl Divergence {
    /// One report that is not confirmed only alerts: a lone attestor cannot halt the venue.
    fn is_loss(self) -> bool {
        self.confirmed || self.attestors >= DIVERGED_ATTESTORS_MIN
    }
}

/// Attestors whose reports are a loss without our own replay's word.
const DIVERGED_ATTESTORS_MIN: usize = 2;

/// The integrity gate before SPOT. [spec safe-mode, The integrity report]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Not asked for since the last HALTED.
    Idle,
    Running,
    /// The signed report's hash.
    Passed(Bytes32),
    /// Could not be established now (settlement layer unreachable); asked again.
    NotYet,
    /// The state is not the state it should be.
    Broken(LossReason),
}

/// What the guard wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Stop executing now; the next record is `EnterSafeMode`.
    Lose(LossReasons),
    RunGate,
    SetPhase(SetPhase),
}

/// One signal with hysteresis: reported once when lost, and again only after it was regained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signal {
    Healthy,
    Lost,
    /// Healthy again since then, not yet long enough.
    Regaining(Ts),
}

/// Remembers what was lost. Everything else is in the sample.
pub struct Guard {
    config: Config,
    /// Of every reason that is judged here, once it was seen.
    signals: BTreeMap<LossReason, Signal>,
    /// Since when the oracle is fresh in every market.
    oracle_fresh_since: Option<Ts>,
    /// What was told of last: reports that stand must not take back an operator's word, more of them must.
    diverged: Divergence,
    /// The phase step last asked for, so that it is not asked twice while its record is under way.
    asked: Option<(IncidentId, Phase, Ts)>,
}

/// A phase step whose record did not appear in this time is asked for again.
const ASK_AGAIN_MS: u64 = 2_000;

impl Guard {
    /// A guard that has seen no loss yet.
    pub fn new(config: Config) -> Guard {
        Guard { config, signals: BTreeMap::new(), oracle_fresh_since: None, diverged: Divergence::default(), asked: None }
    }

    /// Decides. Call every 100 ms or so; a loss is detected at most that much after its threshold.
    pub fn decide(&mut self, sample: &Sample) -> Vec<Action> {
        let mut lost = self.watch(sample);
        if let Gate::Broken(reason) = sample.gate
            && !sample.reasons.contains(reason)
        {
            lost = lost.with(LossReasons::of(reason));
        }
        if self.diverges(sample) {
            lost = lost.with(LossReasons::of(LossReason::StateDiverged));
        }
        if !lost.is_empty() {
            self.asked = None;
            return vec![Action::Lose(lost)];
        }
        self.reopen(sample).into_iter().collect()
    }

    /// Whether users' commands are taken at all: not while the journal hangs, so that nobody waits for an answer that may not come.
    pub fn admits(&self, sample: &Sample) -> bool {
        sample.vitals.append_ms <= self.config.thresholds.journal_pause_ms
    }

    /// Whether reports of a difference have become a loss, or a greater one, since the last sample.
    fn diverges(&mut self, sample: &Sample) -> bool {
        let before = std::mem::replace(&mut self.diverged, sample.divergence);
        let greater = sample.divergence > before || !before.is_loss();
        let known = sample.phase != Phase::Open && sample.reasons.contains(LossReason::StateDiverged) && !sample.resumed;
        sample.divergence.is_loss() && greater && !known
    }

    /// The reasons lost at this sample and not before.
    fn watch(&mut self, sample: &Sample) -> LossReasons {
        let (limits, now, vitals) = (self.config.thresholds, sample.now, sample.vitals);
        let settlement_stale = sample.settlement_head_age_ms > limits.settlement_head_stale_ms;
        let backlog = sample.settlement_backlog_ms > limits.settlement_backlog_ms
            || sample.settlement_backlog_batches > limits.settlement_backlog_batches;
        let stale_markets = sample.oracle_age_ms.iter().filter(|age| **age > limits.oracle_stale_ms).count();
        let oracle_stale = stale_markets > 0 && stale_markets * 2 >= sample.oracle_age_ms.len();
        let oracle_held = sample.oracle_held > 0 && sample.oracle_held * 2 >= sample.oracle_age_ms.len();
        let fresh = stale_markets == 0 && sample.oracle_heard;
        self.oracle_fresh_since = fresh.then(|| self.oracle_fresh_since.unwrap_or(now));
        let mut lost = LossReasons::default();
        for (reason, stale) in [
            (LossReason::SettlementHeadStale, settlement_stale),
            (LossReason::SettlementBacklog, backlog),
            (LossReason::SettlementCancellation, sample.settlement_cancellation_due),
            (LossReason::OracleStale, oracle_stale),
            (LossReason::OracleImplausible, oracle_held),
            (LossReason::JournalStalled, vitals.append_ms > limits.journal_stalled_ms),
            (LossReason::EngineStalled, vitals.engine_idle_ms > limits.engine_stalled_ms),
            (LossReason::ClockStep, vitals.clock_step_ms > limits.clock_step_ms),
            (LossReason::DiskLow, vitals.disk.is_some_and(|disk| disk.is_low(&limits))),
        ] {
            let signal = self.signals.entry(reason).or_insert(Signal::Healthy);
            if signal.update(stale, now, limits.regain_ms) {
                lost = lost.with(LossReasons::of(reason));
            }
        }
        lost
    }

    /// The next step of reopening, if its gate is open. [spec safe-mode, Reopening]
    fn reopen(&mut self, sample: &Sample) -> Option<Action> {
        let timings = self.config.phases;
        let healthy = self.signals.values().all(|signal| *signal == Signal::Healthy);
        let in_phase_ms = sample.now.ms().saturating_sub(sample.phase_since.ms());
        let oracle_fresh_ms = self.oracle_fresh_since.map_or(0, |since| sample.now.ms().saturating_sub(since.ms()));
        let (next, post_only_until, integrity_report) = match sample.phase {
            Phase::Halted => {
                let waits = sample.reasons.needs_operator() && !sample.resumed;
                let ready = sample.incident.0 > 0 && sample.open_orders == 0 && !waits;
                (ready.then_some(Phase::ReadOnly)?, Ts(0), Bytes32::default())
            }
            Phase::ReadOnly => {
                let ready = healthy && oracle_fresh_ms >= timings.spot_oracle_fresh_ms;
                match (ready, &sample.gate) {
                    (true, Gate::Idle | Gate::NotYet) => return Some(Action::RunGate),
                    (true, Gate::Passed(report)) => (Phase::Spot, sample.now.plus_ms(timings.spot_post_only_ms), *report),
                    _ => return None,
                }
            }
            Phase::Spot => {
                let ready = healthy && in_phase_ms >= timings.spot_ms.max(timings.spot_post_only_ms);
                (ready.then_some(Phase::ReduceOnly)?, Ts(0), Bytes32::default())
            }
            Phase::ReduceOnly => {
                let ready = healthy && in_phase_ms >= timings.reduce_only_ms;
                (ready.then_some(Phase::Open)?, Ts(0), Bytes32::default())
            }
            Phase::Open => return None,
        };
        let asked_already = self.asked.is_some_and(|(incident, phase, at)| {
            (incident, phase) == (sample.incident, next) && sample.now < at.plus_ms(ASK_AGAIN_MS)
        });
        if asked_already {
            return None;
        }
        self.asked = Some((sample.incident, next, sample.now));
        Some(Action::SetPhase(SetPhase { incident: sample.incident, phase: next, post_only_until, integrity_report }))
    }
}

impl Signal {
    /// Takes one observation; `true` when this one is the loss.
    fn update(&mut self, stale: bool, now: Ts, regain_ms: u64) -> bool {
        let before = *self;
        *self = match (before, stale) {
            (Signal::Healthy | Signal::Regaining(_) | Signal::Lost, true) => Signal::Lost,
            (Signal::Healthy, false) => Signal::Healthy,
            (Signal::Lost, false) => Signal::Regaining(now),
            (Signal::Regaining(since), false) if now >= since.plus_ms(regain_ms) => Signal::Healthy,
            (Signal::Regaining(since), false) => Signal::Regaining(since),
        };
        before == Signal::Healthy && *self == Signal::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node after a restart that lacks nothing.
    fn healthy() -> Sample {
        Sample {
            now: Ts::from_ms(1_000_000),
            settlement_head_age_ms: 0,
            settlement_backlog_batches: 0,
            settlement_backlog_ms: 0,
            settlement_cancellation_due: false,
            oracle_age_ms: vec![0; 4],
            oracle_held: 0,
            oracle_heard: true,
            phase: Phase::Halted,
            incident: IncidentId(1),
            reasons: LossReasons::of(LossReason::Restart),
            phase_since: Ts::from_ms(1_000_000),
            resumed: false,
            open_orders: 0,
            gate: Gate::Idle,
            divergence: Divergence::default(),
            vitals: Vitals::default(),
        }
    }

    /// Runs one sample every 100 ms; `script(ms, &mut sample)` shapes it, and the guard's phase steps are obeyed as the engine would.
    fn walk(total_ms: u64, script: impl Fn(u64, &mut Sample)) -> Vec<String> {
        let mut guard = Guard::new(Config::short());
        let mut sample = healthy();
        let mut log = vec![];
        for step in 0..total_ms / 100 {
            sample.now = Ts::from_ms(1_000_000 + step * 100);
            script(step * 100, &mut sample);
            for action in guard.decide(&sample) {
                match action {
                    Action::Lose(reasons) => {
                        log.push(format!("{} lose {:?}", step * 100, reasons.iter().collect::<Vec<_>>()));
                        (sample.phase, sample.phase_since) = (Phase::Halted, sample.now);
                        sample.reasons = sample.reasons.with(reasons);
                        sample.gate = Gate::Idle;
                    }
                    Action::RunGate => {
                        log.push(format!("{} gate", step * 100));
                        sample.gate = Gate::Passed(Bytes32([1; 32]));
                    }
                    Action::SetPhase(set) => {
                        log.push(format!("{} {}", step * 100, set.phase));
                        (sample.phase, sample.phase_since) = (set.phase, sample.now);
                    }
                }
            }
        }
        log
    }

    fn lines(log: Vec<String>) -> String {
        log.join("\n")
    }

    #[test]
    fn a_restart_walks_to_open_by_itself() {
        let log = walk(10_000, |_, _| {});
        expect_test::expect![[r#"
            0 READ_ONLY
            1000 gate
            1100 SPOT
            2600 REDUCE_ONLY
            4100 OPEN"#]]
        .assert_eq(&lines(log));
    }

    #[test]
    fn a_stale_settlement_head_is_reported_once_and_reopens_only_when_regained() {
        let log = walk(20_000, |ms, sample| {
            sample.settlement_head_age_ms = if (6_000..12_000).contains(&ms) { ms - 500 } else { 0 };
        });
        expect_test::expect![[r#"
            0 READ_ONLY
            1000 gate
            1100 SPOT
            2600 REDUCE_ONLY
            4100 OPEN
            6000 lose [SettlementHeadStale]
            6100 READ_ONLY
            12500 gate
            12600 SPOT
            14100 REDUCE_ONLY
            15600 OPEN"#]]
        .assert_eq(&lines(log));
    }

    #[test]
    fn a_backlog_too_old_or_too_long_or_one_that_may_be_taken_back_is_a_loss_until_it_is_settled() {
        type Shape = fn(&mut Sample);
        let cases: [(&str, Shape, &str); 3] = [
            ("30 minutes", |sample| sample.settlement_backlog_ms = 1_800_001, "SettlementBacklog"),
            ("500 batches", |sample| sample.settlement_backlog_batches = 501, "SettlementBacklog"),
            ("half a cancellation", |sample| sample.settlement_cancellation_due = true, "SettlementCancellation"),
        ];
        for (name, shape, reason) in cases {
            let log = walk(20_000, |ms, sample| {
                (sample.settlement_backlog_ms, sample.settlement_backlog_batches) = (1_800_000, 500);
                sample.settlement_cancellation_due = false;
                if (6_000..12_000).contains(&ms) {
                    shape(sample);
                }
            });
            let after = lines(log).split_off("0 READ_ONLY\n1000 gate\n1100 SPOT\n2600 REDUCE_ONLY\n4100 OPEN\n".len());
            let expected = format!("6000 lose [{reason}]\n6100 READ_ONLY\n12500 gate\n12600 SPOT\n");
            assert!(after.starts_with(&expected), "over {name}: {after}");
        }
    }

    #[test]
    fn a_hanging_journal_a_stuck_engine_a_stepped_clock_and_a_full_disk_are_losses_until_they_have_passed() {
        type Shape = fn(&mut Vitals);
        let disk = |free, total| Some(DiskSpace { free, total });
        let cases: [(&str, Shape, Shape, &str); 5] = [
            ("journal", |v| v.append_ms = 3_000, |v| v.append_ms = 3_001, "JournalStalled"),
            ("engine", |v| v.engine_idle_ms = 5_000, |v| v.engine_idle_ms = 5_001, "EngineStalled"),
            ("clock", |v| v.clock_step_ms = 1_000, |v| v.clock_step_ms = 1_001, "ClockStep"),
            (
                "disk",
                |v| v.disk = Some(DiskSpace { free: 64 << 20, total: 1 << 40 }),
                |v| v.disk = Some(DiskSpace { free: (64 << 20) - 1, total: 1 << 40 }),
                "DiskLow",
            ),
            ("unknown disk", |v| v.disk = None, |v| v.disk = Some(DiskSpace { free: 0, total: 0 }), "DiskLow"),
        ];
        for (name, at_most, more, reason) in cases {
            let log = walk(20_000, |ms, sample| {
                let shape = if (6_000..12_000).contains(&ms) { more } else { at_most };
                shape(&mut sample.vitals);
            });
            let after = lines(log).split_off("0 READ_ONLY\n1000 gate\n1100 SPOT\n2600 REDUCE_ONLY\n4100 OPEN\n".len());
            let expected = format!("6000 lose [{reason}]\n6100 READ_ONLY\n12500 gate\n12600 SPOT\n");
            assert!(after.starts_with(&expected), "{name}: {after}");
        }
        let limits = Thresholds::default();
        for (free, total, low) in [
            (5 << 30, 100 << 30, false),
            (5 << 30, 101 << 30, true),
            (2 << 30, 3 << 30, false),
            ((2 << 30) - 1, 3 << 30, true),
        ] {
            assert_eq!(disk(free, total).unwrap().is_low(&limits), low, "{free} of {total}");
        }
    }

    #[test]
    fn an_append_that_takes_long_stops_admission_before_it_is_a_loss() {
        let guard = Guard::new(Config::default());
        let admits = |append_ms| guard.admits(&Sample { vitals: Vitals { append_ms, ..Vitals::default() }, ..healthy() });
        assert_eq!([0, 500, 501, 3_001].map(admits), [true, true, false, false]);
    }

    #[test]
    fn nothing_reopens_before_a_price_was_heard_since_the_start() {
        let log = walk(5_000, |ms, sample| sample.oracle_heard = ms >= 2_000);
        expect_test::expect![[r#"
            0 READ_ONLY
            3000 gate
            3100 SPOT
            4600 REDUCE_ONLY"#]]
        .assert_eq(&lines(log));
    }

    #[test]
    fn one_stale_or_held_market_of_four_is_no_loss_and_two_are() {
        let one = walk(8_000, |ms, sample| sample.oracle_age_ms[0] = if ms >= 5_000 { 3_001 } else { 0 });
        assert!(!lines(one).contains("lose"));
        let two = walk(8_000, |ms, sample| {
            for market in 0..2 {
                sample.oracle_age_ms[market] = if ms >= 5_000 { 3_001 } else { 0 };
            }
        });
        assert!(lines(two).contains("5000 lose [OracleStale]"));
        let held = |count| walk(8_000, move |ms, sample| sample.oracle_held = if ms >= 5_000 { count } else { 0 });
        assert!(!lines(held(1)).contains("lose"));
        assert!(lines(held(2)).contains("5000 lose [OracleImplausible]"));
    }

    #[test]
    fn a_loss_in_the_middle_of_reopening_returns_to_halted() {
        let log = walk(9_000, |ms, sample| {
            sample.settlement_head_age_ms = if (3_000..3_300).contains(&ms) { 5_001 } else { 0 };
        });
        assert!(lines(log).contains("3000 lose [SettlementHeadStale]\n3100 READ_ONLY"));
    }

    #[test]
    fn a_broken_gate_is_a_loss_that_waits_for_the_operator() {
        let log = walk(6_000, |ms, sample| {
            if ms == 1_100 {
                sample.gate = Gate::Broken(LossReason::InvariantBroken);
            }
            sample.resumed = ms >= 4_000;
        });
        expect_test::expect![[r#"
            0 READ_ONLY
            1000 gate
            1100 lose [InvariantBroken]
            4000 READ_ONLY
            4100 gate
            4200 SPOT
            5700 REDUCE_ONLY"#]]
        .assert_eq(&lines(log));
    }

    #[test]
    fn one_unconfirmed_report_of_a_difference_is_no_loss_two_attestors_or_our_own_replay_are() {
        let reports = |script: &'static [(u64, bool, usize)]| {
            let log = walk(20_000, move |ms, sample| {
                let now = script.iter().rfind(|(from, ..)| ms >= *from).copied().unwrap_or_default();
                sample.divergence = Divergence { confirmed: now.1, attestors: now.2 };
                sample.resumed = ms >= 10_000 || !sample.reasons.contains(LossReason::StateDiverged);
            });
            log.into_iter().filter(|line| line.contains("lose") || line.contains("OPEN")).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(reports(&[(5_000, false, 1)]), "4100 OPEN");
        // Reports that stand do not undo what the operator then says; a third attestor does.
        assert_eq!(reports(&[(5_000, false, 1), (6_000, false, 2)]), "4100 OPEN, 6000 lose [StateDiverged], 13200 OPEN");
        assert_eq!(reports(&[(5_000, true, 1)]), "4100 OPEN, 5000 lose [StateDiverged], 13200 OPEN");
        let third = reports(&[(5_000, false, 2), (18_000, false, 3)]);
        assert_eq!(third, "4100 OPEN, 5000 lose [StateDiverged], 13200 OPEN, 18000 lose [StateDiverged]");
    }

    #[test]
    fn nothing_reopens_over_an_order_that_is_still_open() {
        let log = walk(1_000, |_, sample| sample.open_orders = 1);
        assert_eq!(log, Vec::<String>::new());
    }
}

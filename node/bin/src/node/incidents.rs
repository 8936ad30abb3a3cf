//! What is known of incidents besides the journal: in memory for who asks, and as files for the report after the next start.
//!
//! | file of `incidents/` | what |
//! |---|---|
//! | `detection-<observed, ns>.json` | [Detection] |
//! | `gate-<incident>.json` | outcomes of the integrity gate, without the report |
//! | `integrity-<incident>-<seq>.json` | a report that passed, as it was signed; written by the gate itself |
//!
//! The files are written by a thread of their own: a disk that is full or hangs holds up neither the guard nor the sequencer. A report
//! never needs them: it says what is missing.

use anyhow::{Context, Result};
use keel_guard::{Sample, Thresholds};
use keel_rpc::incidents::{Crossing, Detection, GateFound, GateOutcome, GateRecord, Observations, SampleOf};
use keel_sequencer::Clock;
use keel_types::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Detections that are kept, the newest, in memory and as files; each has up to some KiB.
const DETECTIONS_KEPT: usize = 1_000;
/// Incidents whose gate is kept, the newest.
const GATES_KEPT: usize = 1_000;
/// Outcomes kept of one gate, the newest.
const OUTCOMES_KEPT: usize = 32;
/// Files that may wait to be written. One that finds no room is written with its next change.
const WRITES_WAITING_MAX: usize = 256;
/// Samples shown of a signal that crossed its threshold, that one included: a second.
const SAMPLES_SHOWN: usize = 10;
/// Longest text of an operator or a gate that is kept.
const WHY_BYTES_MAX: usize = 4_096;

/// Everything that is remembered.
#[derive(Default)]
pub struct Memory {
    detections: BTreeMap<Ts, Detection>,
    gates: BTreeMap<IncidentId, GateRecord>,
    /// The last safe-mode record of this process: when it was appended, and published.
    last: Recorded,
}

#[derive(Clone, Copy, Default)]
struct Recorded {
    ts: Ts,
    durable: Option<Ts>,
    announced: Option<Ts>,
}

impl Memory {
    /// From the files of a folder. What cannot be read is left out, and named.
    pub fn load(folder: &Path) -> (Memory, Vec<String>) {
        let (mut memory, mut unread) = (Memory::default(), Vec::new());
        let names = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
        let mut names: Vec<_> = names.unwrap_or_default();
        names.sort();
        let mut reports: BTreeMap<(IncidentId, u64), PathBuf> = BTreeMap::new();
        for name in names {
            let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
            let Some(stem) = name.strip_suffix(".json") else { continue };
            let read = if stem.starts_with("detection-") {
                read(&path).map(|detection: Detection| drop(memory.detections.insert(detection.observed, detection)))
            } else if let Some(incident) = stem.strip_prefix("gate-").and_then(|n| n.parse().ok()) {
                read(&path).map(|outcomes: Vec<GateOutcome>| memory.gate_mut(IncidentId(incident)).outcomes = outcomes)
            } else if let Some((incident, seq)) = stem.strip_prefix("integrity-").and_then(|rest| rest.split_once('-')) {
                if let (Ok(incident), Ok(seq)) = (incident.parse(), seq.parse()) {
                    reports.insert((IncidentId(incident), seq), path);
                }
                Ok(())
            } else {
                Ok(())
            };
            unread.extend(read.err().map(|error| format!("{error:#}")));
        }
        // The last of each incident wins.
        for ((incident, _), path) in reports {
            match read(&path) {
                Ok(report) => memory.gate_mut(incident).report = Some(report),
                Err(error) => unread.push(format!("{error:#}")),
            }
        }
        memory.bound();
        (memory, unread)
    }

    fn gate_mut(&mut self, incident: IncidentId) -> &mut GateRecord {
        self.gates.entry(incident).or_default()
    }

    /// Forgets the oldest; gives the detections that went.
    fn bound(&mut self) -> Vec<Ts> {
        let mut gone = Vec::new();
        while self.detections.len() > DETECTIONS_KEPT
            && let Some((observed, _)) = self.detections.pop_first()
        {
            gone.push(observed);
        }
        while self.gates.len() > GATES_KEPT {
            self.gates.pop_first();
        }
        gone
    }

    /// A safe-mode record got on: it holds everything observed up to its time that no record held. Gives what changed.
    fn recorded(&mut self, ts: Ts, durable: Option<Ts>, announced: Option<Ts>) -> Vec<Ts> {
        if self.last.ts != ts {
            self.last = Recorded { ts, ..Recorded::default() };
        }
        self.last = Recorded { ts, durable: self.last.durable.or(durable), announced: self.last.announced.or(announced) };
        let last = self.last;
        let changed =
            self.detections.range_mut(..=ts).filter_map(|(observed, found)| take(found, last).then_some(*observed));
        changed.collect()
    }
}

/// Takes times that a detection does not have; whether there were any.
fn take(detection: &mut Detection, recorded: Recorded) -> bool {
    let before = (detection.durable, detection.announced);
    detection.durable = detection.durable.or(recorded.durable);
    detection.announced = detection.announced.or(recorded.announced);
    (detection.durable, detection.announced) != before
}

impl Observations for Memory {
    fn detections(&self, after: Ts, until: Ts, limit: usize) -> Vec<Detection> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(until));
        if after >= until {
            return vec![];
        }
        self.detections.range(range).take(limit).map(|(_, detection)| detection.clone()).collect()
    }

    fn gate(&self, incident: IncidentId) -> Option<GateRecord> {
        self.gates.get(&incident).cloned()
    }
}

/// A file that is due.
enum Write {
    Detection(Ts),
    Gate(IncidentId),
    Delete(Ts),
}

/// Takes in what is observed. Cheap to clone; nothing here waits for a disk.
#[derive(Clone)]
pub struct Recorder {
    memory: Arc<Mutex<Memory>>,
    clock: Arc<Clock>,
    writes: crossbeam_channel::Sender<Write>,
}

impl Recorder {
    /// Loads what the folder has, and starts the thread that writes.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(folder: PathBuf, clock: Arc<Clock>) -> Result<Recorder> {
        let (memory, unread) = Memory::load(&folder);
        for why in unread {
            tracing::warn!(why, "a file about an incident is passed over");
        }
        let memory = Arc::new(Mutex::new(memory));
        let (writes, due) = crossbeam_channel::bounded(WRITES_WAITING_MAX);
        let shared = memory.clone();
        let run = move || {
            for write in due {
                if let Err(error) = carry_out(&folder, &shared, &write) {
                    tracing::error!(error = format!("{error:#}"), "what is known of an incident cannot be written");
                }
            }
        };
        std::thread::Builder::new().name("incidents".into()).spawn(run).context("start the incidents' thread")?;
        Ok(Recorder { memory, clock, writes })
    }

    /// A loss that samples showed.
    pub fn sampled(&self, observed: Ts, reasons: LossReasons, crossings: Vec<Crossing>) {
        self.detected(observed, reasons, None, crossings);
    }

    /// A loss that somebody said.
    pub fn told(&self, observed: Ts, reasons: LossReasons, why: &str) {
        self.detected(observed, reasons, Some(cut(why)), vec![]);
    }

    fn detected(&self, observed: Ts, reasons: LossReasons, why: Option<String>, crossings: Vec<Crossing>) {
        let mut memory = lock(&self.memory);
        // Two at one moment: the file is named by it.
        let mut observed = observed;
        while memory.detections.contains_key(&observed) {
            observed.0 += 1;
        }
        let reasons = reasons.iter().collect();
        let mut detection = Detection { observed, reasons, why, crossings, durable: None, announced: None };
        // Its record may have been faster than this call.
        if observed <= memory.last.ts {
            take(&mut detection, memory.last);
        }
        memory.detections.insert(observed, detection);
        let gone = memory.bound();
        drop(memory);
        self.due(Write::Detection(observed));
        gone.into_iter().for_each(|observed| self.due(Write::Delete(observed)));
    }

    /// What the integrity gate found.
    pub fn found(&self, incident: IncidentId, outcome: GateFound, why: &str, report: Option<serde_json::Value>) {
        let (now, why) = (self.clock.now(), cut(why));
        let mut memory = lock(&self.memory);
        let gate = memory.gate_mut(incident);
        gate.report = report.or(gate.report.take());
        match gate.outcomes.last_mut() {
            Some(last) if (last.outcome, &last.why) == (outcome, &why) => (last.last, last.times) = (now, last.times + 1),
            _ => gate.outcomes.push(GateOutcome { outcome, why, first: now, last: now, times: 1 }),
        }
        let surplus = gate.outcomes.len().saturating_sub(OUTCOMES_KEPT);
        gate.outcomes.drain(..surplus);
        memory.bound();
        drop(memory);
        self.due(Write::Gate(incident));
    }

    /// Called when a record's append has returned, before anything of it leaves.
    pub fn durable(&self, released: &Released) {
        self.recorded(released, |now| (Some(now), None));
    }

    /// Called when a record is published.
    pub fn announced(&self, released: &Released) {
        self.recorded(released, |now| (None, Some(now)));
    }

    fn recorded(&self, released: &Released, times: impl Fn(Ts) -> (Option<Ts>, Option<Ts>)) {
        // It is alone in its record.
        let Some(Command::EnterSafeMode(_)) = released.executed.first().map(|executed| &executed.command) else { return };
        let (durable, announced) = times(self.clock.now());
        let changed = lock(&self.memory).recorded(released.ts, durable, announced);
        changed.into_iter().for_each(|observed| self.due(Write::Detection(observed)));
    }

    fn due(&self, write: Write) {
        if self.writes.try_send(write).is_err() {
            tracing::warn!("files about incidents wait for the disk; one is not written");
        }
    }
}

impl Observations for Recorder {
    fn detections(&self, after: Ts, until: Ts, limit: usize) -> Vec<Detection> {
        lock(&self.memory).detections(after, until, limit)
    }

    fn gate(&self, incident: IncidentId) -> Option<GateRecord> {
        Observations::gate(&*lock(&self.memory), incident)
    }
}

/// Values that no panic leaves half-changed: a poisoned lock is taken over.
fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn cut(why: &str) -> String {
    why.chars().take(WHY_BYTES_MAX / 4).collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

fn carry_out(folder: &Path, memory: &Mutex<Memory>, write: &Write) -> Result<()> {
    let named = |observed: &Ts| folder.join(format!("detection-{observed}.json"));
    match write {
        Write::Detection(observed) => {
            let detection = lock(memory).detections.get(observed).cloned();
            detection.map_or(Ok(()), |detection| write_durably(&named(observed), &detection))
        }
        Write::Gate(incident) => {
            let outcomes = lock(memory).gates.get(incident).map(|gate| gate.outcomes.clone());
            let path = folder.join(format!("gate-{incident}.json"));
            outcomes.map_or(Ok(()), |outcomes| write_durably(&path, &outcomes))
        }
        Write::Delete(observed) => std::fs::remove_file(named(observed)).context("remove an old detection"),
    }
}

/// Under its name the file is whole and on the disk, or as it was before.
pub fn write_durably(path: &Path, content: &impl Serialize) -> Result<()> {
    let failed = || format!("write {}", path.display());
    let folder = path.parent().context("a file about an incident has a folder")?;
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished).with_context(failed)?;
    serde_json::to_writer_pretty(&mut file, content).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    std::fs::rename(&unfinished, path).with_context(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
}

/// The signals of lost reasons with the samples up to the one that crossed. `samples`: oldest first, the last is that one.
pub fn crossings(reasons: LossReasons, samples: &VecDeque<Sample>, limits: &Thresholds, genesis: &Genesis) -> Vec<Crossing> {
    let crossing = |reason: LossReason| {
        let (signal, threshold) = describe(reason, limits, genesis)?;
        let from = samples.len().saturating_sub(SAMPLES_SHOWN);
        let shown = samples.iter().skip(from).map(|s| SampleOf { ts: s.now, value: measured(reason, s, genesis) });
        Some(Crossing { reason, signal: signal.into(), threshold, samples: shown.collect() })
    };
    reasons.iter().filter_map(crossing).collect()
}

/// What a reason is judged by, and its limit; `None` of one that no sample shows.
fn describe(reason: LossReason, limits: &Thresholds, genesis: &Genesis) -> Option<(&'static str, String)> {
    let markets = genesis.markets.len();
    Some(match reason {
        LossReason::SettlementHeadStale => (
            "milliseconds since the settlement layer's head advanced",
            format!("more than {}", limits.settlement_head_stale_ms),
        ),
        LossReason::SettlementBacklog => (
            "batches that are not confirmed, and milliseconds since the oldest was made",
            format!("more than {} or {} ms", limits.settlement_backlog_batches, limits.settlement_backlog_ms),
        ),
        LossReason::SettlementCancellation => ("half of a cancellation's time is over", "true".into()),
        LossReason::OracleStale => (
            "milliseconds since the last quorum price, by market",
            format!("more than {} in at least half of {markets} markets", limits.oracle_stale_ms),
        ),
        LossReason::OracleImplausible => {
            ("markets whose price is held", format!("at least half of {markets}, and at least one"))
        }
        LossReason::JournalStalled => {
            ("milliseconds of the append under way", format!("more than {}", limits.journal_stalled_ms))
        }
        LossReason::EngineStalled => (
            "milliseconds since the engine, or the whole process, did something",
            format!("more than {}", limits.engine_stalled_ms),
        ),
        LossReason::ClockStep => (
            "milliseconds that the wall clock moved against the monotonic one",
            format!("more than {}", limits.clock_step_ms),
        ),
        LossReason::DiskLow => (
            "bytes free of all, where the data folder is",
            format!("less than {}, or than {} %", limits.disk_free_bytes_min, limits.disk_free_percent_min),
        ),
        LossReason::StateDiverged => {
            ("attestors that report another state", "two, or one that our own replay confirms".into())
        }
        LossReason::JournalFailed
        | LossReason::SettlementReorg
        | LossReason::SettlementMismatch
        | LossReason::InvariantBroken
        | LossReason::Restart
        | LossReason::Maintenance
        | LossReason::Operator => return None,
    })
}

fn measured(reason: LossReason, sample: &Sample, genesis: &Genesis) -> String {
    let vitals = &sample.vitals;
    match reason {
        LossReason::SettlementHeadStale => sample.settlement_head_age_ms.to_string(),
        LossReason::SettlementBacklog => {
            format!("{}, {} ms", sample.settlement_backlog_batches, sample.settlement_backlog_ms)
        }
        LossReason::SettlementCancellation => sample.settlement_cancellation_due.to_string(),
        LossReason::OracleStale => {
            let ages = genesis.markets.iter().zip(&sample.oracle_age_ms);
            ages.map(|(market, age)| format!("{} {age}", market.name)).collect::<Vec<_>>().join(", ")
        }
        LossReason::OracleImplausible => sample.oracle_held.to_string(),
        LossReason::JournalStalled => vitals.append_ms.to_string(),
        LossReason::EngineStalled => vitals.engine_idle_ms.to_string(),
        LossReason::ClockStep => vitals.clock_step_ms.to_string(),
        LossReason::DiskLow => vitals.disk.map_or("unknown".into(), |disk| format!("{} of {}", disk.free, disk.total)),
        LossReason::StateDiverged => {
            let confirmed = if sample.divergence.confirmed { ", confirmed" } else { "" };
            format!("{}{confirmed}", sample.divergence.attestors)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn entered(ts: Ts) -> Released {
        let command = Command::EnterSafeMode(EnterSafeMode {
            incident: IncidentId(1),
            reasons: LossReasons::of(LossReason::DiskLow),
            observed_ts: ts,
        });
        let executed = vec![Executed { seq: Seq(1), command, events: vec![], writes: vec![] }];
        Released { record_hash: Bytes32::default(), ts, executed }
    }

    fn wait_until(mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < Duration::from_secs(30), "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn recorder(folder: &Path) -> Recorder {
        Recorder::start(folder.to_owned(), Arc::new(Clock::start(None, true).unwrap())).unwrap()
    }

    #[test]
    fn what_is_recorded_is_there_after_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path());
        let low = LossReasons::of(LossReason::DiskLow);
        recorder.told(Ts(100), low, "first");
        recorder.told(Ts(100), low, "at the same moment");
        recorder.told(Ts(300), low, "after the record");
        recorder.durable(&Released { executed: vec![], ..entered(Ts(400)) });
        recorder.durable(&entered(Ts(200)));
        recorder.announced(&entered(Ts(200)));
        recorder.told(Ts(150), low, "told late");
        recorder.found(IncidentId(1), GateFound::NotYet, "no head", None);
        recorder.found(IncidentId(1), GateFound::NotYet, "no head", None);
        recorder.found(IncidentId(1), GateFound::Passed, "", Some(serde_json::json!({"height": 7})));
        write_durably(&folder.path().join("integrity-1-9.json"), &serde_json::json!({"height": 7})).unwrap();
        let shown = |of: &dyn Observations| {
            let detections = of.detections(Ts(0), Ts(u64::MAX), 9);
            let detections: Vec<_> = detections
                .into_iter()
                .map(|d| (d.observed.0, d.why.unwrap(), d.durable.is_some(), d.announced.is_some()))
                .collect();
            let gate = of.gate(IncidentId(1)).unwrap_or_default();
            let outcomes: Vec<_> = gate.outcomes.into_iter().map(|found| (found.outcome, found.times)).collect();
            (detections, outcomes, gate.report)
        };
        let expected = (
            vec![
                (100, "first".to_owned(), true, true),
                (101, "at the same moment".to_owned(), true, true),
                (150, "told late".to_owned(), true, true),
                (300, "after the record".to_owned(), false, false),
            ],
            vec![(GateFound::NotYet, 2), (GateFound::Passed, 1)],
            Some(serde_json::json!({"height": 7})),
        );
        assert_eq!(shown(&recorder), expected);
        wait_until(|| shown(&Memory::load(folder.path()).0) == expected);
        assert_eq!(Memory::load(folder.path()).1, Vec::<String>::new());
        assert_eq!(recorder.detections(Ts(100), Ts(300), 9).len(), 3, "after one moment, up to another");
        assert!(recorder.detections(Ts(300), Ts(300), 9).is_empty());
        assert_eq!(recorder.gate(IncidentId(2)), None);
    }

    #[test]
    fn a_torn_file_is_named_and_the_others_are_read_and_no_folder_is_nothing_known() {
        let folder = tempfile::tempdir().unwrap();
        let good = GateOutcome { outcome: GateFound::Broken, why: "x".into(), first: Ts(1), last: Ts(1), times: 1 };
        write_durably(&folder.path().join("gate-4.json"), &vec![good.clone()]).unwrap();
        std::fs::write(folder.path().join("detection-5.json"), "{\"observed\": 5").unwrap();
        std::fs::write(folder.path().join("detection-6.tmp"), "half").unwrap();
        let (memory, unread) = Memory::load(folder.path());
        assert_eq!(Observations::gate(&memory, IncidentId(4)).unwrap().outcomes, [good]);
        assert!(unread.len() == 1 && unread[0].contains("detection-5.json"), "{unread:?}");
        let (memory, unread) = Memory::load(&folder.path().join("gone"));
        assert!(memory.detections.is_empty() && memory.gates.is_empty() && unread.is_empty());
    }

    #[test]
    fn a_disk_that_hangs_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        // Whoever opens it to write waits until somebody reads.
        let pipe = folder.path().join("detection-0.tmp");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let recorder = recorder(folder.path());
        let low = LossReasons::of(LossReason::DiskLow);
        let many = DETECTIONS_KEPT as u64 - 100;
        (0..many).for_each(|n| recorder.told(Ts(n), low, "again"));
        assert_eq!(recorder.detections(Ts(0), Ts(u64::MAX), usize::MAX).len() as u64, many - 1, "after the first moment");
        let written = || Memory::load(folder.path()).0.detections.len();
        assert_eq!(written(), 0, "it hangs");
        // It is back: what happens from now on is written.
        std::fs::read(&pipe).unwrap();
        let mut n = many;
        wait_until(|| {
            n += 1;
            recorder.told(Ts(n), low, "again");
            written() > 1
        });
    }

    #[test]
    fn memory_stays_bounded_also_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let recorder = recorder(&gone);
        for n in 0..DETECTIONS_KEPT as u64 + 500 {
            recorder.told(Ts(n), LossReasons::of(LossReason::DiskLow), "again");
        }
        let kept = recorder.detections(Ts(0), Ts(u64::MAX), usize::MAX);
        assert_eq!((kept.len(), kept[0].observed), (DETECTIONS_KEPT, Ts(500)));
        assert!(!gone.exists());
    }

    #[test]
    fn each_reason_that_a_sample_shows_is_told_with_its_limit_and_the_samples_before() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../genesis/dev.json")).unwrap();
        let genesis = keel_contracts::genesis::load(&text).unwrap();
        let sample = |n: u64| Sample {
            now: Ts(n),
            settlement_head_age_ms: n,
            settlement_backlog_batches: 1,
            settlement_backlog_ms: 2,
            settlement_cancellation_due: false,
            oracle_age_ms: vec![n; genesis.markets.len()],
            oracle_heard: true,
            oracle_held: 0,
            phase: Phase::Open,
            incident: IncidentId(0),
            reasons: LossReasons::default(),
            phase_since: Ts(0),
            resumed: false,
            open_orders: 0,
            gate: keel_guard::Gate::Idle,
            divergence: keel_guard::Divergence::default(),
            vitals: keel_guard::Vitals::default(),
        };
        let samples: VecDeque<Sample> = (0..30).map(sample).collect();
        let every = LossReason::ALL.iter().fold(LossReasons::default(), |all, r| all.with(LossReasons::of(*r)));
        let told = crossings(every, &samples, &Thresholds::default(), &genesis);
        assert_eq!(told.len(), 10, "all that the guard judges");
        for crossing in &told {
            assert_eq!(crossing.samples.len(), SAMPLES_SHOWN);
            assert!(crossing.samples.iter().all(|sample| !sample.value.is_empty()), "{crossing:?}");
        }
        let head = told.iter().find(|crossing| crossing.reason == LossReason::SettlementHeadStale).unwrap();
        assert_eq!((head.threshold.as_str(), head.samples[9].value.as_str()), ("more than 60000", "29"));
        assert_eq!(head.samples[0].ts, Ts(20));
    }
}

//! The guard's eyes and hands: samples published state, carries out what the guard decides.

use super::attest::Divergences;
use super::data::DataDir;
use super::incidents::{Recorder, crossings, write_durably};
use super::integrity::LastIntegrity;
use super::sources::{self, Failing, Source};
use crate::config::Config;
use crate::gate::{self, GateParts, Verdict};
use anyhow::Result;
use keel_feeds::Published;
use keel_guard::{Action, DiskSpace, Divergence, Gate, Guard, Sample, Thresholds, Vitals};
use keel_ingress::Inbox;
use keel_rpc::incidents::GateFound;
use keel_types::*;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Between two samples: the most that detection adds to a threshold.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Between two tries of a gate that could not be established.
const GATE_RETRY: Duration = Duration::from_secs(1);
/// Between two looks at the reports of attestors, which stand in the store.
const DIVERGENCE_INTERVAL: Duration = Duration::from_millis(200);
/// Longest the guard waits for the engine's word on an operator's resume.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Samples that are remembered, so that a loss can be shown with what led to it.
const SAMPLES_KEPT: usize = 10;

/// The running monitor.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Monitor {
    /// Whether nobody watches any more.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops sampling. A gate under way is left behind.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

struct World {
    parts: Arc<GateParts>,
    published: Published,
    inbox: Inbox,
    settlement: keel_settlement::Handle,
    divergence: Source<Divergence>,
    last_divergence: Divergence,
    disk: Source<DiskSpace>,
    started: Ts,
    /// When the last sample was taken, by both clocks.
    looked: (Instant, SystemTime),
    gate: Arc<Mutex<(Gate, Instant)>>,
    /// The phase for which the gate was last reset, by incident and beginning: a verdict given for one does not open another.
    gate_for: Arc<Mutex<(IncidentId, Ts)>>,
    incidents: PathBuf,
    recorder: Recorder,
    thresholds: Thresholds,
    /// The last ones, oldest first.
    samples: VecDeque<Sample>,
    integrity: LastIntegrity,
}

/// What is watched, and where phase steps go.
pub struct Watched {
    pub published: Published,
    pub inbox: Inbox,
    pub settlement: keel_settlement::Handle,
    pub divergences: Divergences,
    pub recorder: Recorder,
    /// Where the gate's word goes besides.
    pub integrity: LastIntegrity,
}

/// Starts the monitor's thread.
pub fn start(config: &Config, parts: GateParts, watched: Watched, data: &DataDir, failing: Failing) -> Result<Monitor> {
    let Watched { published, inbox, settlement, divergences, recorder, integrity } = watched;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let mut guard = Guard::new(config.guard.config());
    let divergence =
        Source::start("divergence", DIVERGENCE_INTERVAL, stop.clone(), failing.clone(), move || divergences.sample())?;
    let mut world = World {
        started: parts.control.clock.now(),
        parts: Arc::new(parts),
        published,
        inbox,
        settlement,
        divergence,
        last_divergence: Divergence::default(),
        disk: sources::disk(data.path().to_owned(), stop.clone(), failing)?,
        looked: (Instant::now(), SystemTime::now()),
        gate: Arc::new(Mutex::new((Gate::Idle, Instant::now()))),
        gate_for: Arc::new(Mutex::new((IncidentId(0), Ts(0)))),
        incidents: data.incidents(),
        recorder,
        thresholds: config.guard.config().thresholds,
        samples: VecDeque::new(),
        integrity,
    };
    let thread = std::thread::Builder::new().name("guard".into()).spawn(move || {
        while !stopped.load(Ordering::Acquire) {
            let sample = world.sample();
            world.inbox.admit(guard.admits(&sample));
            world.remember(&sample);
            for action in guard.decide(&sample) {
                world.act(action, &sample);
            }
            std::thread::park_timeout(SAMPLE_INTERVAL);
        }
    })?;
    Ok(Monitor { stop, thread })
}

impl World {
    fn sample(&mut self) -> Sample {
        let now = self.parts.control.clock.now();
        let markets = self.parts.genesis.markets.len() as u16;
        let (phase, open_orders, oracle_held, prices) = self.published.read(|view| {
            let prices: Vec<Ts> = (0..markets).filter_map(|m| view.market(MarketId(m))).map(|m| m.price_ts).collect();
            (view.phase(), view.orders().open_count(), view.held_markets().len(), prices)
        });
        let age = |ts: Ts| now.ms().saturating_sub(ts.max(self.started).ms());
        let oracle_heard = prices.iter().all(|ts| *ts > self.started);
        let oracle_age_ms = prices.into_iter().map(age).collect();
        // Only an operator's word is not in published state; it matters only while one is waited for.
        let resumed = phase.reasons.needs_operator()
            && self.parts.control.inspect(|engine| engine.phase().resumed, INSPECT_TIMEOUT).unwrap_or(false);
        let backlog = self.settlement.backlog();
        Sample {
            now,
            settlement_head_age_ms: self.settlement.health().head_age_ms(),
            settlement_backlog_batches: backlog.batches,
            settlement_backlog_ms: backlog.oldest.map_or(0, |made| now.ms().saturating_sub(made.ms())),
            settlement_cancellation_due: self.settlement.cancellations().iter().any(|found| found.is_due(now)),
            oracle_age_ms,
            oracle_heard,
            oracle_held,
            phase: phase.phase,
            incident: phase.incident,
            reasons: phase.reasons,
            phase_since: phase.since,
            resumed,
            open_orders,
            gate: self.gate(phase.incident, phase.since),
            divergence: self.diverged(),
            vitals: self.vitals(),
        }
    }

    /// A report that was heard stands while its source fails.
    fn diverged(&mut self) -> Divergence {
        self.last_divergence = self.divergence.read().unwrap_or(self.last_divergence);
        self.last_divergence
    }

    fn vitals(&mut self) -> Vitals {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (looked, looked_wall) = std::mem::replace(&mut self.looked, (now, wall));
        let gap = now.duration_since(looked);
        let step = match wall.duration_since(looked_wall) {
            Ok(passed) => passed.abs_diff(gap),
            Err(back) => back.duration() + gap,
        };
        let append = self.parts.control.vitals.since_append();
        // A turn that waits for an append is the journal's. While the whole process stood still, nobody looked either.
        let turn = if append.is_some() { Duration::ZERO } else { self.parts.control.vitals.since_turn() };
        let idle = turn.max(gap);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Vitals { append_ms: append.map_or(0, ms), engine_idle_ms: ms(idle), clock_step_ms: ms(step), disk: self.disk.read() }
    }

    /// The gate counts only for the phase in which it was run.
    fn gate(&mut self, incident: IncidentId, since: Ts) -> Gate {
        let mut gate = self.gate.lock().unwrap_or_else(|e| e.into_inner());
        let mut gate_for = self.gate_for.lock().unwrap_or_else(|e| e.into_inner());
        if *gate_for != (incident, since) {
            *gate = (Gate::Idle, Instant::now());
            *gate_for = (incident, since);
        }
        match &gate.0 {
            // Not yet: asked again after a pause.
            Gate::NotYet if gate.1.elapsed() < GATE_RETRY => Gate::Running,
            other => other.clone(),
        }
    }

    fn remember(&mut self, sample: &Sample) {
        self.samples.push_back(sample.clone());
        if self.samples.len() > SAMPLES_KEPT {
            self.samples.pop_front();
        }
    }

    fn act(&mut self, action: Action, sample: &Sample) {
        match action {
            Action::Lose(reasons) => {
                let names: Vec<&str> = reasons.iter().map(LossReason::as_str).collect();
                tracing::error!(?names, settlement_head_age_ms = sample.settlement_head_age_ms, oracle_age_ms = ?sample.oracle_age_ms, vitals = ?sample.vitals, "loss detected: entering safe mode");
                let observed = self.parts.control.halt.report(reasons, &self.parts.control.clock);
                let crossings = crossings(reasons, &self.samples, &self.thresholds, &self.parts.genesis);
                self.recorder.sampled(observed, reasons, crossings);
            }
            Action::SetPhase(set) => {
                tracing::warn!(incident = %set.incident, phase = %set.phase, "opening the next phase");
                if let Err(error) = self.inbox.submit(Command::SetPhase(set), None) {
                    tracing::error!(%error, "the phase step was not queued");
                }
            }
            Action::RunGate => self.run_gate(sample.incident),
        }
    }

    fn run_gate(&self, incident: IncidentId) {
        let (parts, slot, folder) = (self.parts.clone(), self.gate.clone(), self.incidents.clone());
        let recorder = self.recorder.clone();
        let gate_for = self.gate_for.clone();
        let asked_for = *gate_for.lock().unwrap_or_else(|e| e.into_inner());
        // A verdict for a phase that is over is dropped: a loss came in between.
        let set = move |slot: &Mutex<(Gate, Instant)>, gate| {
            let mut slot = slot.lock().unwrap_or_else(|e| e.into_inner());
            if *gate_for.lock().unwrap_or_else(|e| e.into_inner()) == asked_for {
                *slot = (gate, Instant::now());
            }
        };
        set(&slot, Gate::Running);
        let integrity = self.integrity.clone();
        integrity.running(incident, parts.control.clock.now());
        let run = move || {
            let mut verdict = gate::run(&parts, incident);
            if let Verdict::Passed(report) = &verdict
                && let Err(error) = write_report(&folder, report)
            {
                tracing::error!(%error, "the integrity report cannot be written");
                verdict = Verdict::NotYet("the report cannot be written".into());
            }
            integrity.said(incident, parts.control.clock.now(), &verdict);
            let gate = match verdict {
                Verdict::Passed(report) => {
                    tracing::info!(seq = report.seq, hash = report.hash, "integrity gate passed");
                    recorder.found(incident, GateFound::Passed, "", serde_json::to_value(&report).ok());
                    Gate::Passed(report.hash_bytes())
                }
                Verdict::NotYet(why) => {
                    tracing::warn!(why, "the integrity gate could not be established");
                    recorder.found(incident, GateFound::NotYet, &why, None);
                    Gate::NotYet
                }
                Verdict::Broken(reason, why) => {
                    tracing::error!(%reason, why, "the integrity gate found a difference");
                    recorder.found(incident, GateFound::Broken, &format!("{reason}: {why}"), None);
                    Gate::Broken(reason)
                }
            };
            set(&slot, gate);
        };
        if let Err(error) = std::thread::Builder::new().name("gate".into()).spawn(run) {
            tracing::error!(%error, "the integrity gate could not start");
            *self.gate.lock().unwrap_or_else(|e| e.into_inner()) = (Gate::NotYet, Instant::now());
        }
    }
}

fn write_report(folder: &Path, report: &gate::Report) -> Result<()> {
    write_durably(&folder.join(format!("integrity-{}-{}.json", report.incident, report.seq)), report)
}

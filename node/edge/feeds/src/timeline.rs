use keel_types::*;
use std::collections::{BTreeMap, VecDeque};

/// Steps kept; older ones are in the journal and in the incident reports. An incident without a relapse has six.
pub const TIMELINE_STEPS_MAX: usize = 32;

/// What happened to the phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PhaseChange {
    /// The phase this process found when it started; it began at the step's `ts`, by a record before `seq`.
    Found,
    /// A loss: everything was cancelled, and the phase is HALTED.
    Lost {
        /// Orders that this loss cancelled.
        cancelled: u32,
    },
    /// The next phase opened.
    Opened,
    /// An operator's word that the incident may go on.
    Resumed { operator: u8 },
}

/// One step of the phases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhaseStep {
    pub seq: Seq,
    pub ts: Ts,
    pub change: PhaseChange,
    /// After the step.
    pub phase: Phase,
    pub incident: IncidentId,
    /// Of the incident, all losses up to this step included.
    pub reasons: LossReasons,
}

/// The phase steps since this process started, and what the newest incident cancelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timeline {
    /// Newest last, never empty.
    steps: VecDeque<PhaseStep>,
    incident: IncidentId,
    cancelled: BTreeMap<MarketId, u32>,
}

impl Timeline {
    pub(crate) fn new(found: PhaseStep) -> Timeline {
        Timeline { steps: VecDeque::from([found]), incident: found.incident, cancelled: BTreeMap::new() }
    }

    /// Takes one command in.
    pub(crate) fn apply(&mut self, executed: &Executed, ts: Ts) {
        let last = *self.steps.back().expect("never empty");
        let mut by_market = BTreeMap::new();
        for event in &executed.events {
            let change = match *event {
                Event::Order(ref update) if update.initiator == Initiator::SafeMode => {
                    *by_market.entry(update.market).or_default() += 1;
                    continue;
                }
                // Behind the orders it counts.
                Event::SafeModeEntered { incident, reasons, cancelled } => {
                    self.lost(incident, &by_market);
                    PhaseStep { change: PhaseChange::Lost { cancelled }, phase: Phase::Halted, incident, reasons, ..last }
                }
                Event::PhaseChanged { to, .. } if to != Phase::Halted => {
                    PhaseStep { change: PhaseChange::Opened, phase: to, ..last }
                }
                Event::Resumed { operator, .. } => PhaseStep { change: PhaseChange::Resumed { operator }, ..last },
                _ => continue,
            };
            if self.steps.len() >= TIMELINE_STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back(PhaseStep { seq: executed.seq, ts, ..change });
        }
    }

    /// A relapse adds to its incident.
    fn lost(&mut self, incident: IncidentId, by_market: &BTreeMap<MarketId, u32>) {
        if self.incident != incident {
            (self.incident, self.cancelled) = (incident, BTreeMap::new());
        }
        for (market, cancelled) in by_market {
            *self.cancelled.entry(*market).or_default() += cancelled;
        }
    }

    /// The steps, newest first; at most [TIMELINE_STEPS_MAX], at least one.
    pub fn steps(&self) -> impl Iterator<Item = &PhaseStep> {
        self.steps.iter().rev()
    }

    /// Orders that the newest incident cancelled in each market since this process started.
    pub fn cancelled(&self) -> &BTreeMap<MarketId, u32> {
        &self.cancelled
    }
}

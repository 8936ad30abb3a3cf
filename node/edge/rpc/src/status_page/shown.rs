use super::Settlement;
use crate::context::{AgesMax, Integrity, IntegrityVerdict, Shared};
use crate::limits::{STATUS_MARKETS_MAX, STATUS_TEXT_CHARS_MAX};
use crate::market::is_stale;
use crate::node::short_string;
use crate::trade::now;
use keel_feeds::{MarketState, PhaseStep, PhaseView, Position, View};
use keel_types::*;
use std::time::Duration;

/// Everything the page shows, as of one moment.
pub(super) struct Shown {
    /// Wall clock; never before what is published.
    pub now: Ts,
    pub chain_id: String,
    pub layer: &'static str,
    pub at: Position,
    pub phase: PhaseView,
    pub eta: Option<Ts>,
    /// Nothing executes, whatever phase is published.
    pub stuck: Option<Stuck>,
    /// The newest one, as the chain stores it.
    pub incident: Option<IncidentValue>,
    /// Newest first.
    pub steps: Vec<PhaseStep>,
    /// Orders that the newest incident cancelled since this process started, by market.
    pub cancelled: Vec<(String, u32)>,
    pub integrity: Option<IntegrityShown>,
    pub markets: Vec<MarketShown>,
    pub oracle: OracleShown,
    pub settlement: Option<SettlementShown>,
    pub failing: Vec<(&'static str, String)>,
    pub ages_max: AgesMax,
    pub open_orders: usize,
}

/// Why nothing executes.
pub(super) struct Stuck {
    /// What was detected, and when first; `None` while nothing was.
    pub loss: Option<(LossReasons, Ts)>,
    /// Since the last record that was released.
    pub silent_ms: u64,
}

pub(super) struct IntegrityShown {
    pub said: Integrity,
    /// It is about the newest incident as it stands, not about an earlier one or about before a relapse.
    pub current: bool,
}

pub(super) struct MarketShown {
    pub name: String,
    pub state: MarketState,
    pub age_ms: u64,
    pub stale: bool,
    pub held: bool,
}

/// Over all markets, those left out of the list included.
pub(super) struct OracleShown {
    pub markets: usize,
    pub fresh: usize,
    pub held: usize,
    pub quorum: usize,
    pub publishers: usize,
}

pub(super) struct SettlementShown {
    pub read_ms_ago: u64,
    pub head: Option<u64>,
    pub head_age_ms: Option<u64>,
    /// What the submission loop does; without the cause of a failure, which may name an endpoint.
    pub submitter: String,
    pub confirmed: Option<ConfirmedShown>,
    pub backlog_batches: u64,
    pub backlog_age_ms: Option<u64>,
    pub cancellations: usize,
}

pub(super) struct ConfirmedShown {
    pub batch: BatchId,
    pub last_block: Height,
    /// `None` where a process before this one saw it.
    pub ts: Option<Ts>,
}

impl Shown {
    pub fn read(shared: &Shared, settlement: Option<Settlement>) -> Shown {
        let (genesis, status) = (&shared.genesis, &shared.status);
        let (loss, ages_max, said) = (status.loss(), status.ages_max(), status.integrity());
        let wall = now();
        let mut shown = shared.published.read(|view| {
            let (at, phase) = (view.at(), view.phase());
            let now = wall.max(at.ts);
            let incident = view.state().incidents.get(&phase.incident).copied();
            Shown {
                now,
                chain_id: short_string(&genesis.chain_id.0),
                layer: match genesis.settlement.layer {
                    SettlementLayer::Ethereum { .. } => "Ethereum",
                    SettlementLayer::Starknet { .. } => "Starknet",
                },
                at,
                phase,
                eta: None,
                stuck: stuck(loss, ms_between(at.ts, now), &ages_max),
                incident,
                steps: view.timeline().steps().copied().collect(),
                cancelled: cancelled(genesis, view),
                integrity: said.map(|said| IntegrityShown { current: is_current(&said, &phase, incident.as_ref()), said }),
                markets: markets(genesis, view, now),
                oracle: oracle(genesis, view, now),
                settlement: settlement.map(|settlement| settled(settlement, view, now)),
                failing: vec![],
                ages_max,
                open_orders: view.orders().open_count(),
            }
        });
        shown.eta = status.phase_eta(&shown.phase);
        shown.failing = status.failing_monitors().into_iter().map(|(name, why)| (name, shortened(&why))).collect();
        if let Some(IntegrityShown { said: Integrity { verdict: IntegrityVerdict::Broken(_, why), .. }, .. }) =
            &mut shown.integrity
        {
            *why = shortened(why);
        }
        shown
    }

    /// The next phase of reopening.
    pub fn next(&self) -> Option<Phase> {
        let at = Phase::ALL.iter().position(|phase| *phase == self.phase.phase)?;
        Phase::ALL.get(at + 1).copied()
    }

    /// Whether spot takes post-only orders alone.
    pub fn is_post_only(&self) -> bool {
        self.phase.phase == Phase::Spot && self.phase.post_only_until > self.now
    }

    /// Orders of the newest incident that a process before this one cancelled: nobody here knows in which markets.
    pub fn cancelled_before(&self) -> u32 {
        let known: u32 = self.cancelled.iter().map(|(_, orders)| orders).sum();
        self.incident.map_or(0, |incident| incident.cancelled.saturating_sub(known))
    }
}

pub(super) fn ms_between(from: Ts, to: Ts) -> u64 {
    to.ms().saturating_sub(from.ms())
}

fn stuck(loss: Option<(LossReasons, Ts)>, silent_ms: u64, ages_max: &AgesMax) -> Option<Stuck> {
    (loss.is_some() || silent_ms > ages_max.released).then_some(Stuck { loss, silent_ms })
}

fn name(genesis: &Genesis, market: MarketId) -> String {
    genesis.market(market).map_or_else(|| market.0.to_string(), |spec| spec.name.clone())
}

fn cancelled(genesis: &Genesis, view: &View) -> Vec<(String, u32)> {
    view.timeline().cancelled().iter().map(|(market, orders)| (name(genesis, *market), *orders)).collect()
}

/// A relapse takes the report's hash out of chain state; until the next one stands there, what was said since the phase began counts.
fn is_current(said: &Integrity, phase: &PhaseView, incident: Option<&IncidentValue>) -> bool {
    let named = incident.map(|incident| incident.integrity_report).filter(|hash| *hash != Bytes32::default());
    said.incident == phase.incident
        && match (&said.verdict, named) {
            (IntegrityVerdict::Passed(report), Some(hash)) => report.hash == hash,
            (IntegrityVerdict::Broken(reason, _), _) => phase.reasons.contains(*reason),
            _ => phase.phase == Phase::ReadOnly && said.at.is_some_and(|at| at >= phase.since),
        }
}

fn markets(genesis: &Genesis, view: &View, now: Ts) -> Vec<MarketShown> {
    let row = |(id, spec): (u16, &MarketSpec)| {
        let state = *view.market(MarketId(id))?;
        Some(MarketShown {
            name: spec.name.clone(),
            state,
            age_ms: ms_between(state.price_ts, now),
            stale: is_stale(genesis, &state, now),
            held: view.held_markets().contains(&MarketId(id)),
        })
    };
    (0..).zip(&genesis.markets).take(STATUS_MARKETS_MAX).filter_map(row).collect()
}

fn oracle(genesis: &Genesis, view: &View, now: Ts) -> OracleShown {
    let markets = &view.state().markets;
    OracleShown {
        markets: markets.len(),
        fresh: markets.iter().filter(|state| !is_stale(genesis, state, now)).count(),
        held: view.held_markets().len(),
        quorum: usize::from(genesis.oracle.quorum),
        publishers: genesis.oracle.publishers.len(),
    }
}

fn settled(settlement: Settlement, view: &View, now: Ts) -> SettlementShown {
    let Settlement { read, status, confirmed } = settlement;
    let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let read_ms_ago = ms(read.elapsed());
    let stored = confirmed.map(|batch| ConfirmedShown { batch: batch.batch, last_block: batch.last_block, ts: None });
    let published = view.last_confirmed().map(|confirmed| ConfirmedShown {
        batch: confirmed.confirmed.batch,
        last_block: confirmed.confirmed.last_block,
        ts: Some(confirmed.ts),
    });
    SettlementShown {
        read_ms_ago,
        head: status.head,
        // Older by now than when it was read.
        head_age_ms: status.head_age_ms.map(|age| age.saturating_add(read_ms_ago)),
        submitter: shortened(status.submitter.split_once(": ").map_or(status.submitter.as_str(), |(what, _)| what)),
        confirmed: published.or(stored),
        backlog_batches: status.backlog_batches,
        backlog_age_ms: status.backlog_oldest.map(|made| ms_between(made, now)),
        cancellations: status.cancellations.len(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(STATUS_TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

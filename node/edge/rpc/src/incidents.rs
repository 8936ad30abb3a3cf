//! `node_getIncidents`, `node_getIncident` and its pages by account: what happened, from the store, which is rebuilt from the journal, and
//! from what the guard remembers. Answered also when nothing is executed.
//!
//! What shows an incident is public, so that `keel incident` says of a data folder what a running node says of itself.
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::history::Page;
use crate::limits::INCIDENT_DETECTIONS_MAX;
use crate::method::{Call, Method, Param};
use crate::streams::render::{fill, market_name};
use jsonrpsee::types::Params;
use keel_store::{AccountLossRow, FillRow, IncidentRow, IncidentStep, StepKind, Store, StoreError, UNHEARD_FILLS_MS};
use keel_types::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const INCIDENT: Param = Param::required("incident", "uint", "Its number; the first is 1.");
const LIMIT: Param = Param::optional("limit", "uint", "Rows of a page.");
const CURSOR: Param = Param::optional("cursor", "text", "`next` of the page before; without it the first.");

/// The methods.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "node_getIncidents",
        summary: "Incidents in short, newest first, by page; and the losses that were detected since and are in no record yet.",
        params: &[LIMIT, CURSOR],
        result: "Incidents",
        errors: &["BAD_CURSOR"],
        call: Call::Store(incidents),
    },
    Method {
        name: "node_getIncident",
        summary: "An incident: its steps, what it cancelled by market, the samples that crossed a threshold, the integrity report.",
        params: &[INCIDENT],
        result: "IncidentDetail",
        errors: &["WRONG_INCIDENT"],
        call: Call::Store(incident),
    },
    Method {
        name: "node_getIncidentAccounts",
        summary: "What an incident took from each account: how many orders it cancelled, how many fills it may not have heard of.",
        params: &[INCIDENT, LIMIT, CURSOR],
        result: "IncidentAccounts",
        errors: &["BAD_CURSOR", "WRONG_INCIDENT"],
        call: Call::Store(accounts),
    },
    Method {
        name: "node_getIncidentFills",
        summary: "The account's fills before an incident that it may not have heard of, newest first.",
        params: &[INCIDENT, Param::required("account", "Address", "Whose."), LIMIT, CURSOR],
        result: "FillHistory",
        errors: &["BAD_CURSOR"],
        call: Call::Store(fills),
    },
];

/// A loss as the guard, an operator or the start saw it. The journal has its reasons and its time alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Detection {
    /// Journal time. It belongs to the first safe-mode record at or after it.
    pub observed: Ts,
    pub reasons: Vec<LossReason>,
    /// What an operator said, or why a start begins with safe mode.
    pub why: Option<String>,
    pub crossings: Vec<Crossing>,
    /// When the append of its record had returned.
    pub durable: Option<Ts>,
    /// When its record was published, in views and to streams.
    pub announced: Option<Ts>,
}

/// A signal that crossed its threshold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Crossing {
    pub reason: LossReason,
    /// What was measured, with its unit.
    pub signal: String,
    pub threshold: String,
    /// Oldest first; the last one is the one that crossed.
    pub samples: Vec<SampleOf>,
}

/// One sample of a signal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SampleOf {
    pub ts: Ts,
    pub value: String,
}

/// What the integrity gate found; the same again in a row is counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GateOutcome {
    pub outcome: GateFound,
    /// What differed, or what could not be established; empty of one that passed.
    pub why: String,
    pub first: Ts,
    pub last: Ts,
    pub times: u32,
}

/// See [GateOutcome].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GateFound {
    Passed,
    /// Could not be established; asked again.
    NotYet,
    /// The state is not the state it should be.
    Broken,
}

impl GateFound {
    /// Every value.
    pub const ALL: &'static [GateFound] = &[GateFound::Passed, GateFound::NotYet, GateFound::Broken];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            GateFound::Passed => "PASSED",
            GateFound::NotYet => "NOT_YET",
            GateFound::Broken => "BROKEN",
        }
    }
}

/// Of one incident: what the gate found, and the last report that passed, as it was signed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GateRecord {
    /// Oldest first.
    pub outcomes: Vec<GateOutcome>,
    pub report: Option<Value>,
}

/// What is known of incidents besides the journal. Answers from memory.
pub trait Observations {
    /// Losses observed after one moment and not after another, oldest first, at most `limit` of the oldest.
    fn detections(&self, after: Ts, until: Ts, limit: usize) -> Vec<Detection>;
    /// What the integrity gate found in an incident; `None` when nothing is known of it.
    fn gate(&self, incident: IncidentId) -> Option<GateRecord>;
}

fn incidents(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let page = Page::read(Fields::read(params)?)?;
    shared.wait_for_history()?;
    Ok(list(&shared.store, shared.status.observations(), page.cursor.as_deref(), page.limit)?)
}

fn incident(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let incident = IncidentId(fields.integer("incident")?);
    fields.finish()?;
    shared.wait_for_history()?;
    let found = detail(&shared.genesis, &shared.store, shared.status.observations(), incident)?;
    Ok(found.ok_or(Reject::WrongIncident)?)
}

fn accounts(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let incident = IncidentId(fields.integer("incident")?);
    let page = Page::read(fields)?;
    shared.wait_for_history()?;
    let found = accounts_of(&shared.genesis, &shared.store, incident, page.cursor.as_deref(), page.limit)?;
    Ok(found.ok_or(Reject::WrongIncident)?)
}

fn fills(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let (incident, account) = (IncidentId(fields.integer("incident")?), fields.account()?);
    let page = Page::read(fields)?;
    shared.wait_for_history()?;
    let (cursor, limit) = (page.cursor.as_deref(), page.limit);
    Ok(fills_of(&shared.genesis, &shared.store, incident, account, cursor, limit)?)
}

/// `Incidents` of the document.
///
/// # Errors
/// The database.
pub fn list(
    store: &Store,
    observations: &dyn Observations,
    cursor: Option<&[u8]>,
    limit: usize,
) -> Result<Value, StoreError> {
    let (up_to, now) = (store.history_seq()?, store.history_ts()?);
    let page = store.incidents(cursor, limit)?;
    let newest = store.incidents(None, 1)?.rows.first().map_or(Ts(0), |newest| newest.entered_ts);
    let pending = observations.detections(newest, Ts(u64::MAX), INCIDENT_DETECTIONS_MAX);
    Ok(json!({
        "incidents": page.rows.iter().map(|row| brief(row, now)).collect::<Value>(),
        "pending": pending.iter().map(detection).collect::<Value>(),
        "next": page.next.map(hex::encode),
        "upTo": up_to.to_string(),
    }))
}

/// `IncidentDetail` of the document; `None` if there is no such incident.
///
/// # Errors
/// The database.
pub fn detail(
    genesis: &Genesis,
    store: &Store,
    observations: &dyn Observations,
    incident: IncidentId,
) -> Result<Option<Value>, StoreError> {
    let now = store.history_ts()?;
    let Some(row) = store.incident(incident)? else { return Ok(None) };
    let steps = store.incident_steps(incident)?;
    // What was observed after the last safe-mode record before this incident, and not after its own last.
    let before = match incident.0.checked_sub(1) {
        Some(before) => store.incident(IncidentId(before))?.map_or(Ts(0), |before| before.entered_ts),
        None => Ts(0),
    };
    let detections = observations.detections(before, row.entered_ts, INCIDENT_DETECTIONS_MAX);
    let gate = observations.gate(incident);
    let mut missing = Vec::new();
    if detections.is_empty() {
        missing.push("how the loss was detected: no file tells it");
    }
    if gate.as_ref().is_none_or(|gate| gate.report.is_none()) && row.integrity_report != Bytes32::default() {
        missing.push("the integrity report that opened SPOT: no file holds it; its hash is of the journal");
    }
    let gate = gate.unwrap_or_default();
    let mut shown = brief(&row, now);
    let more = json!({
        "markets": by_market(genesis, &row.cancelled),
        "timeline": steps.iter().map(step).collect::<Value>(),
        "timelineOmitted": (row.steps as usize - steps.len().min(row.steps as usize)).to_string(),
        "unheardFillsMs": UNHEARD_FILLS_MS.to_string(),
        "unheardFillsCut": row.fills_cut,
        "detections": detections.iter().map(detection).collect::<Value>(),
        "gate": gate.outcomes.iter().map(outcome).collect::<Value>(),
        "report": gate.report,
        "missing": missing,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    Ok(Some(shown))
}

/// `IncidentAccounts` of the document; `None` if there is no such incident.
///
/// # Errors
/// The database.
pub fn accounts_of(
    genesis: &Genesis,
    store: &Store,
    incident: IncidentId,
    cursor: Option<&[u8]>,
    limit: usize,
) -> Result<Option<Value>, StoreError> {
    let (up_to, now) = (store.history_seq()?, store.history_ts()?);
    let Some(row) = store.incident(incident)? else { return Ok(None) };
    let page = store.incident_accounts(incident, cursor, limit)?;
    let closed = row.closed_ms(now).to_string();
    let account = |AccountLossRow { account, loss }: &AccountLossRow| {
        json!({
            "account": account.to_string(),
            "cancelled": loss.cancelled.values().map(|count| u64::from(*count)).sum::<u64>().to_string(),
            "markets": by_market(genesis, &loss.cancelled),
            "unheardFills": loss.fills.to_string(),
            "closedMs": closed,
        })
    };
    Ok(Some(json!({
        "accounts": page.rows.iter().map(account).collect::<Value>(),
        "next": page.next.map(hex::encode),
        "upTo": up_to.to_string(),
    })))
}

/// `FillHistory` of the document.
///
/// # Errors
/// The database.
pub fn fills_of(
    genesis: &Genesis,
    store: &Store,
    incident: IncidentId,
    account: Address,
    cursor: Option<&[u8]>,
    limit: usize,
) -> Result<Value, StoreError> {
    let up_to = store.history_seq()?;
    let page = store.incident_fills(account, incident, cursor, limit)?;
    let rows = page.rows.iter().map(|row: &FillRow| fill(genesis, row));
    Ok(json!({"fills": rows.collect::<Value>(), "next": page.next.map(hex::encode), "upTo": up_to.to_string()}))
}

/// `Incident` of the document. `now`: up to when an incident that runs has lasted.
fn brief(row: &IncidentRow, now: Ts) -> Value {
    json!({
        "incident": row.incident.to_string(),
        "phase": row.phase.as_str(),
        "reasons": names(row.reasons),
        "observed": row.observed_ts.ms().to_string(),
        "seq": row.seq.to_string(),
        "ts": row.ts.ms().to_string(),
        "endedSeq": row.ended.map(|(seq, _)| seq.to_string()),
        "ended": row.ended.map(|(_, ts)| ts.ms().to_string()),
        "cancelled": row.cancelled_count().to_string(),
        "accounts": row.accounts.to_string(),
        "unheardFills": row.fills.to_string(),
        "closedMs": row.closed_ms(now).to_string(),
        "integrityReport": (row.integrity_report != Bytes32::default()).then(|| row.integrity_report.to_string()),
    })
}

/// `IncidentStep` of the document: also what a stream and a webhook tell.
pub fn step(step: &IncidentStep) -> Value {
    let IncidentStep { incident, seq, ts, what } = step;
    let mut shown = json!({"incident": incident.to_string(), "seq": seq.to_string(), "ts": ts.ms().to_string()});
    let more = match what {
        StepKind::Entered { reasons, observed_ts, cancelled } => json!({
            "step": "ENTERED", "reasons": names(*reasons), "observed": observed_ts.ms().to_string(),
            "cancelled": cancelled.to_string(),
        }),
        StepKind::Phase { from, to, integrity_report } => {
            let mut phase = json!({"step": "PHASE", "from": from.as_str(), "phase": to.as_str()});
            if *integrity_report != Bytes32::default() {
                phase["integrityReport"] = json!(integrity_report.to_string());
            }
            phase
        }
        StepKind::Resumed { operator } => json!({"step": "RESUMED", "operator": operator.to_string()}),
    };
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

fn names(reasons: LossReasons) -> Vec<&'static str> {
    reasons.iter().map(LossReason::as_str).collect()
}

fn by_market(genesis: &Genesis, counts: &BTreeMap<MarketId, u32>) -> Value {
    let counts = counts.iter();
    counts.map(|(market, count)| json!({"market": market_name(genesis, *market), "cancelled": count.to_string()})).collect()
}

fn detection(detection: &Detection) -> Value {
    let ms = |ts: Option<Ts>| ts.map(|ts| ts.ms().to_string());
    let crossing = |crossing: &Crossing| {
        let samples = crossing.samples.iter();
        json!({
            "reason": crossing.reason.as_str(),
            "signal": crossing.signal,
            "threshold": crossing.threshold,
            "samples": samples.map(|s| json!({"ts": s.ts.ms().to_string(), "value": s.value})).collect::<Value>(),
        })
    };
    json!({
        "observed": detection.observed.ms().to_string(),
        "reasons": detection.reasons.iter().map(|reason| reason.as_str()).collect::<Value>(),
        "why": detection.why,
        "crossings": detection.crossings.iter().map(crossing).collect::<Value>(),
        "durable": ms(detection.durable),
        "announced": ms(detection.announced),
    })
}

fn outcome(outcome: &GateOutcome) -> Value {
    json!({
        "outcome": outcome.outcome.as_str(),
        "why": outcome.why,
        "first": outcome.first.ms().to_string(),
        "last": outcome.last.ms().to_string(),
        "times": outcome.times.to_string(),
    })
}

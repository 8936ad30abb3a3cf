use super::shown::{ConfirmedShown, IntegrityShown, SettlementShown, Shown, Stuck};
use super::words;
use crate::context::{Integrity, IntegrityVerdict};
use crate::error::phase_fields;
use keel_feeds::{PhaseChange, PhaseStep};
use keel_types::{IncidentId, LossReason, LossReasons, Ts};
use serde_json::{Value, json};

/// What the page shows, as data: numbers are decimal strings, times milliseconds since 1970, as everywhere in Keel's own methods.
pub(super) fn json(shown: &Shown) -> Value {
    let mut document = phase_fields(&shown.phase, shown.eta);
    let others = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "chainId": shown.chain_id,
        "now": ms(shown.now),
        "seq": shown.at.seq.to_string(),
        "ts": ms(shown.at.ts),
        "height": shown.at.height.to_string(),
        "openOrders": shown.open_orders.to_string(),
        "executing": shown.stuck.is_none(),
        "stuck": shown.stuck.as_ref().map(|Stuck { loss, silent_ms }| json!({
            "silentMs": silent_ms.to_string(),
            "reasons": loss.map(|(reasons, _)| names(reasons)),
            "since": loss.map(|(_, since)| ms(since)),
        })),
        "explained": explained(shown.stuck.as_ref().and_then(|stuck| stuck.loss).map_or(shown.phase.reasons, |(reasons, _)| reasons)),
        "timeline": shown.steps.iter().map(step).collect::<Value>(),
        "cancelled": shown.incident.map(|incident| json!({
            "incident": incident.incident.to_string(),
            "seq": incident.seq.to_string(),
            "orders": incident.cancelled.to_string(),
            "markets": shown.cancelled.iter().map(|(market, orders)| json!({
                "market": market, "orders": orders.to_string(),
            })).collect::<Value>(),
        })),
        "integrity": shown.integrity.as_ref().map(integrity),
        "markets": shown.markets.iter().map(|market| json!({
            "market": market.name,
            "mark": market.state.mark.to_string(),
            "oracle": market.state.oracle.to_string(),
            "priceTs": ms(market.state.price_ts),
            "ageMs": market.age_ms.to_string(),
            "stale": market.stale,
            "held": market.held,
        })).collect::<Value>(),
        "oracle": {
            "markets": shown.oracle.markets.to_string(),
            "fresh": shown.oracle.fresh.to_string(),
            "held": shown.oracle.held.to_string(),
            "quorum": shown.oracle.quorum.to_string(),
            "publishers": shown.oracle.publishers.to_string(),
        },
        "settlement": shown.settlement.as_ref().map(|settlement| self::settlement(shown, settlement)),
        "failingMonitors": shown.failing.iter().map(|(monitor, why)| json!({"monitor": monitor, "why": why})).collect::<Value>(),
    });
    if let (Value::Object(document), Value::Object(others)) = (&mut document, others) {
        document.extend(others);
    }
    document
}

fn ms(ts: Ts) -> String {
    ts.ms().to_string()
}

fn names(reasons: LossReasons) -> Vec<&'static str> {
    reasons.iter().map(LossReason::as_str).collect()
}

fn explained(reasons: LossReasons) -> Value {
    let one = |reason: LossReason| {
        let words = words::reason(reason);
        json!({"reason": reason.as_str(), "what": words.what, "traders": words.traders, "operators": words.operators})
    };
    reasons.iter().map(one).collect()
}

fn step(step: &PhaseStep) -> Value {
    let (change, cancelled, operator) = match step.change {
        PhaseChange::Found => ("FOUND", None, None),
        PhaseChange::Lost { cancelled } => ("LOST", Some(cancelled), None),
        PhaseChange::Opened => ("OPENED", None, None),
        PhaseChange::Resumed { operator } => ("RESUMED", None, Some(operator)),
    };
    json!({
        "seq": step.seq.to_string(),
        "ts": ms(step.ts),
        "change": change,
        "phase": step.phase.as_str(),
        "incident": (step.incident != IncidentId(0)).then(|| step.incident.to_string()),
        "reasons": names(step.reasons),
        "cancelled": cancelled.map(|orders| orders.to_string()),
        "operator": operator.map(|operator| operator.to_string()),
    })
}

fn integrity(IntegrityShown { said: Integrity { incident, at, verdict }, current }: &IntegrityShown) -> Value {
    let (verdict, more) = match verdict {
        IntegrityVerdict::Running => ("RUNNING", json!({})),
        IntegrityVerdict::NotYet => ("NOT_YET", json!({})),
        IntegrityVerdict::Broken(reason, why) => ("FAILED", json!({"reason": reason.as_str(), "why": why})),
        IntegrityVerdict::Passed(report) => (
            "PASSED",
            json!({
                "height": report.height.to_string(), "root": report.root, "hash": report.hash.to_string(), "checks": report.checks,
            }),
        ),
    };
    let mut document = json!({
        "incident": incident.to_string(), "current": current, "ts": at.map(ms), "verdict": verdict,
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

fn settlement(shown: &Shown, settlement: &SettlementShown) -> Value {
    json!({
        "layer": shown.layer,
        "readMsAgo": settlement.read_ms_ago.to_string(),
        "head": settlement.head.map(|head| head.to_string()),
        "headAgeMs": settlement.head_age_ms.map(|age| age.to_string()),
        "headAgeMaxMs": shown.ages_max.settlement_head.to_string(),
        "submitter": settlement.submitter,
        "confirmed": settlement.confirmed.as_ref().map(|ConfirmedShown { batch, last_block, ts }| json!({
            "batch": batch.to_string(), "lastBlock": last_block.to_string(), "ts": ts.map(ms),
        })),
        "backlog": {
            "batches": settlement.backlog_batches.to_string(),
            "ageMs": settlement.backlog_age_ms.map(|age| age.to_string()),
            "ageMaxMs": shown.ages_max.settlement_backlog.to_string(),
        },
        "cancellations": settlement.cancellations.to_string(),
    })
}

//! What came of a drill: how long each step took, and whether what safe mode promises was kept.

use super::faults::Drill;
use super::network::Network;
use super::traders::{Answer, Sent, Traders};
use crate::incident::{list, number, text};
use anyhow::{Context, Result};
use keel_types::IncidentId;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The last record before an incident is at most this much older than its own.
const MARGIN_MS: u64 = 1_000;
/// Rows asked for at once.
const PAGE: &str = "500";

/// Figures and promises of one drill. Times in milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub drill: String,
    pub reason: String,
    pub incident: u32,
    pub note: String,
    /// From the fault to its detection: the threshold of the signal, and what looking for it adds.
    pub detected_ms: Option<u64>,
    /// From the detection until everything is cancelled and the record is durable.
    pub durable_ms: Option<u64>,
    /// From the detection until the record is published to reads, and on its way to streams.
    pub announced_ms: Option<u64>,
    /// From the fault until a client that asks all the time saw it.
    pub seen_ms: u64,
    /// From the fault until it is OPEN again; `null` where it waits for people.
    pub open_ms: Option<u64>,
    pub orders_cancelled: u64,
    pub orders_sent: usize,
    pub orders_acknowledged: usize,
    /// Orders whose answer was lost: how many of them are durable, and their fills.
    pub unanswered: usize,
    pub unanswered_durable: usize,
    pub unanswered_fills: usize,
    pub promises: Vec<Promise>,
}

/// Something that must be so.
#[derive(Serialize)]
pub struct Promise {
    pub what: &'static str,
    pub kept: bool,
    /// What was found instead.
    pub found: String,
}

/// What was seen while it went on.
pub struct Seen {
    /// When the fault was made, and when a client saw the venue closed for it.
    pub fault: u64,
    pub closed: u64,
    pub status: Value,
    pub note: String,
    pub resting: Vec<String>,
    pub sent: Vec<Sent>,
    pub incident: IncidentId,
}

impl Outcome {
    /// Reads what the node tells, while the venue is still closed.
    pub async fn read(drill: Drill, network: &Network, traders: &Traders, seen: &Seen, detail: &Value) -> Result<Outcome> {
        let reason = drill.reason().as_str();
        let detection =
            detection(detail, reason).with_context(|| format!("the report has no detection of {reason}: {detail}"))?;
        let observed = number(&detection["observed"]);
        let since = |at: &Value| at.as_str()?.parse::<u64>().ok()?.checked_sub(observed);
        let (durable_ms, announced_ms) = (since(&detection["durable"]), since(&detection["announced"]));
        // The journal's clock and ours are one, less a millisecond of rounding.
        let detected_ms = (observed + 1).checked_sub(seen.fault).map(|ms| ms.saturating_sub(1));
        let entered = number(&detail["seq"]);

        let mut fills: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        let mut unheard = BTreeSet::new();
        let mut known = BTreeSet::new();
        for account in traders.takers() {
            for fill in pages(network, "trade_fillHistory", "fills", json!({ "account": account })).await? {
                fills.entry(text(&fill["order"]).to_owned()).or_default().push((number(&fill["seq"]), number(&fill["ts"])));
            }
            let of = json!({ "account": account, "incident": seen.incident.to_string() });
            unheard.extend(
                pages(network, "node_getIncidentFills", "fills", of)
                    .await?
                    .iter()
                    .map(|fill| text(&fill["order"]).to_owned()),
            );
            for order in pages(network, "trade_orderHistory", "orders", json!({ "account": account })).await? {
                known.insert(text(&order["order"]).to_owned());
            }
        }
        let of = json!({ "account": traders.maker(), "incident": seen.incident.to_string() });
        let cancelled: BTreeSet<String> = pages(network, "trade_getCancelledOrders", "orders", of)
            .await?
            .iter()
            .map(|row| text(&row["order"]).to_owned())
            .collect();

        let silent: Vec<&Sent> = seen.sent.iter().filter(|sent| sent.answer == Answer::Silence).collect();
        let silent_durable: Vec<&&Sent> = silent.iter().filter(|sent| known.contains(&sent.order)).collect();
        let silent_fills: Vec<&String> =
            silent_durable.iter().map(|sent| &sent.order).filter(|order| fills.contains_key(*order)).collect();
        // The report has those of the last seconds before the record: who waits longer asks.
        let recent = number(&detail["ts"]).saturating_sub(number(&detail["unheardFillsMs"]) - MARGIN_MS);
        let is_recent = |order: &String| fills[order].iter().all(|(_, ts)| *ts >= recent);
        let acknowledged: Vec<&Sent> = seen.sent.iter().filter(|sent| sent.answer == Answer::Acknowledged).collect();
        let all = || fills.values().flatten();

        let mut promises = vec![];
        let mut promise = |what, kept: bool, found: String| promises.push(Promise { what, kept, found });
        promise(
            "the reason is named",
            list(&seen.status["reasons"]).contains(&json!(reason)),
            seen.status["reasons"].to_string(),
        );
        promise("no order is open", seen.status["openOrders"] == "0", seen.status["openOrders"].to_string());
        let missing: Vec<&String> = seen.resting.iter().filter(|order| !cancelled.contains(*order)).collect();
        promise("every order that rested is told as cancelled by the incident", missing.is_empty(), format!("{missing:?}"));
        let late: Vec<_> = all().filter(|(seq, _)| *seq > entered).collect();
        promise("nothing traded after the record", late.is_empty(), format!("{late:?} after {entered}"));
        // Of the first detection of the incident: what follows it in the same incident finds the venue closed.
        let first = list(&detail["detections"]).iter().map(|found| number(&found["observed"])).min().unwrap_or(observed);
        let after: Vec<_> = all().filter(|(_, ts)| *ts > first).collect();
        promise("nothing executed after the detection", after.is_empty(), format!("{after:?} after {first}"));
        let lost: Vec<&String> =
            acknowledged.iter().map(|sent| &sent.order).filter(|order| !known.contains(*order)).collect();
        promise("nothing acknowledged is lost", lost.is_empty(), format!("{} of {}", lost.len(), acknowledged.len()));
        let untold: Vec<&&String> =
            silent_fills.iter().filter(|order| is_recent(order) && !unheard.contains(**order)).collect();
        promise("fills whose answer was lost are told by the report", untold.is_empty(), format!("{untold:?}"));
        promise("somebody traded until then", !fills.is_empty(), "no fill".into());
        let measured = [detected_ms, durable_ms, announced_ms];
        promise("every step was noted, in its order", measured.iter().all(Option::is_some), format!("{measured:?}"));
        let at_once = durable_ms.is_some_and(|ms| ms <= drill.durable_ms_max());
        promise("it was cancelled and durable at once", at_once, format!("{durable_ms:?} ms"));

        Ok(Outcome {
            drill: drill.name(),
            reason: reason.to_owned(),
            incident: seen.incident.0,
            note: seen.note.clone(),
            detected_ms,
            durable_ms,
            announced_ms,
            seen_ms: seen.closed.saturating_sub(seen.fault),
            open_ms: None,
            orders_cancelled: number(&detail["cancelled"]),
            orders_sent: seen.sent.len(),
            orders_acknowledged: acknowledged.len(),
            unanswered: silent.len(),
            unanswered_durable: silent_durable.len(),
            unanswered_fills: silent_fills.len(),
            promises,
        })
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut out = format!("# Drill: {}\n\n", self.drill);
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}.\n", self.note);
        }
        let open = self.open_ms.map_or("it waits for people".to_owned(), |ms| format!("{ms} ms"));
        for (what, value) in [
            ("from the fault to its detection", told(self.detected_ms)),
            ("from the detection to cancelled and durable", told(self.durable_ms)),
            ("from the detection to announced", told(self.announced_ms)),
            ("from the fault until a client saw it", format!("{} ms", self.seen_ms)),
            ("from the fault until it is open again", open),
            ("orders cancelled", self.orders_cancelled.to_string()),
            ("orders sent, acknowledged", format!("{}, {}", self.orders_sent, self.orders_acknowledged)),
            (
                "orders without an answer: durable, with fills",
                format!("{}: {}, {}", self.unanswered, self.unanswered_durable, self.unanswered_fills),
            ),
        ] {
            let _ = writeln!(out, "- {what}: {value}");
        }
        out.push('\n');
        for promise in &self.promises {
            match promise.kept {
                true => drop(writeln!(out, "- kept: {}", promise.what)),
                false => drop(writeln!(out, "- **BROKEN**: {}: {}", promise.what, promise.found)),
            }
        }
        out
    }
}

/// The detection of a reason in an incident's detail.
pub fn detection<'a>(detail: &'a Value, reason: &str) -> Option<&'a Value> {
    list(&detail["detections"]).iter().find(|found| list(&found["reasons"]).contains(&json!(reason)))
}

fn told(ms: Option<u64>) -> String {
    ms.map_or("not known".to_owned(), |ms| format!("{ms} ms"))
}

/// Every row of a paged method.
async fn pages(network: &Network, method: &str, rows: &str, params: Value) -> Result<Vec<Value>> {
    let (mut all, mut params) = (vec![], params);
    params["limit"] = json!(PAGE);
    loop {
        let mut page = network.call(method, params.clone()).await?;
        match page[rows].take() {
            Value::Array(found) => all.extend(found),
            _ => anyhow::bail!("{method} answers without {rows}"),
        }
        match page["next"].take() {
            Value::Null => return Ok(all),
            next => params["cursor"] = next,
        }
    }
}

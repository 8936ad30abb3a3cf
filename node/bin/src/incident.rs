//! `keel incident`: what happened, as the factual half of a post-mortem. The journal's part is derived from the journal alone and is there
//! also after the store was made again; what no file tells any more is named as missing.

use crate::config::Config;
use crate::node::incidents::Memory;
use crate::wiring::request;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use keel_rpc::incidents as shown;
use keel_store::Store;
use keel_types::{Address, Felt, Genesis, IncidentId, Ts};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// Rows asked for at once.
const PAGE: usize = 500;
/// Accounts in a report.
const ACCOUNTS: usize = 1_000;
/// Fills of one account in a report; `node_getIncidentFills` has the others.
const FILLS_PER_ACCOUNT: usize = 50;
/// What the fills of a report are.
const RULE_FILLS: &str = "A fill is listed when its record is at most 10 s older than the last record before EnterSafeMode: a client waits \
                          that long for an answer. It is durable and counts, whether its owners heard of it or not.";
/// What the time of a report is.
const RULE_CLOSED: &str = "The time in which no market took an order: HALTED and READ_ONLY. Spot opens with SPOT, reducing positions with \
                           REDUCE_ONLY, everything with OPEN.";

/// Incidents: those of the configured data folder, also beside the node that writes it, or those of a running node.
#[derive(Subcommand)]
pub enum IncidentCommand {
    /// Every incident in a line, newest first; then losses that were detected and are in no record yet.
    List {
        #[command(flatten)]
        from: From,
        #[arg(long, value_enum, default_value_t = Format::Markdown)]
        format: Format,
    },
    /// Timeline, reasons with the samples that crossed a threshold, what was cancelled, phases, the integrity report, and what each account
    /// lost.
    Report {
        /// Its number.
        incident: u32,
        #[arg(long, value_enum, default_value_t = Format::Markdown)]
        format: Format,
        /// Accounts in the report at most.
        #[arg(long, default_value_t = ACCOUNTS)]
        accounts: usize,
        #[command(flatten)]
        from: From,
    },
}

/// Whose incidents.
#[derive(Args)]
pub struct From {
    /// JSON-RPC of a node, instead of a data folder.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    node: Option<String>,
    /// Data folder, instead of the configured one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    Markdown,
    Json,
}

impl IncidentCommand {
    /// Prints.
    pub async fn run(self, config: &Config) -> Result<()> {
        match self {
            IncidentCommand::List { from, format } => {
                let source = from.open(config)?;
                let (mut incidents, mut pending, mut cursor) = (Vec::new(), Value::Null, None);
                loop {
                    let mut page = source.list(cursor.as_deref()).await?;
                    incidents.extend(rows(&mut page, "incidents"));
                    pending = if cursor.is_none() { page["pending"].take() } else { pending };
                    cursor = page["next"].as_str().map(str::to_owned);
                    if cursor.is_none() {
                        break;
                    }
                }
                match format {
                    Format::Json => {
                        println!("{:#}", json!({ "incidents": incidents, "pending": pending, "unread": source.unread() }))
                    }
                    Format::Markdown => print!("{}", list_markdown(&incidents, &pending, source.unread())),
                }
            }
            IncidentCommand::Report { incident, format, accounts, from } => {
                let report = Report::read(&from.open(config)?, IncidentId(incident), accounts).await?;
                match format {
                    Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
                    Format::Markdown => print!("{}", report.markdown()),
                }
            }
        }
        Ok(())
    }
}

/// Where incidents are read.
enum Source {
    Node(String),
    Folder(Box<Folder>),
}

struct Folder {
    genesis: Genesis,
    store: Store,
    memory: Memory,
    /// Files that cannot be read.
    unread: Vec<String>,
}

impl From {
    fn open(self, config: &Config) -> Result<Source> {
        if let Some(url) = self.node {
            return Ok(Source::Node(url));
        }
        let genesis = crate::genesis(&config.genesis)?;
        let data = self.data.unwrap_or_else(|| config.data_dir.clone());
        let store = Store::open_read_only(&data.join("store"), genesis.hash()).context("look at the store")?;
        let (memory, unread) = Memory::load(&data.join("incidents"));
        Ok(Source::Folder(Box::new(Folder { genesis, store, memory, unread })))
    }
}

/// A cursor as the node writes it.
fn bytes(cursor: Option<&str>) -> Result<Option<Vec<u8>>> {
    cursor.map(|text| hex::decode(text).context("a cursor is hex")).transpose()
}

impl Source {
    fn unread(&self) -> &[String] {
        match self {
            Source::Node(_) => &[],
            Source::Folder(folder) => &folder.unread,
        }
    }

    /// `node_getIncidents`.
    async fn list(&self, cursor: Option<&str>) -> Result<Value> {
        match self {
            Source::Node(url) => request(url, "node_getIncidents", paged(json!({}), cursor)).await,
            Source::Folder(folder) => Ok(shown::list(&folder.store, &folder.memory, bytes(cursor)?.as_deref(), PAGE)?),
        }
    }

    /// `node_getIncident`.
    async fn detail(&self, incident: IncidentId) -> Result<Value> {
        match self {
            Source::Node(url) => request(url, "node_getIncident", json!({ "incident": incident.to_string() })).await,
            Source::Folder(folder) => shown::detail(&folder.genesis, &folder.store, &folder.memory, incident)?
                .with_context(|| format!("there is no incident {incident}")),
        }
    }

    /// `node_getIncidentAccounts`.
    async fn accounts(&self, incident: IncidentId, cursor: Option<&str>) -> Result<Value> {
        match self {
            Source::Node(url) => {
                let params = paged(json!({ "incident": incident.to_string() }), cursor);
                request(url, "node_getIncidentAccounts", params).await
            }
            Source::Folder(folder) => {
                let cursor = bytes(cursor)?;
                shown::accounts_of(&folder.genesis, &folder.store, incident, cursor.as_deref(), PAGE)?
                    .with_context(|| format!("there is no incident {incident}"))
            }
        }
    }

    /// The first page of `node_getIncidentFills`.
    async fn fills(&self, incident: IncidentId, account: &str) -> Result<Value> {
        match self {
            Source::Node(url) => {
                let limit = FILLS_PER_ACCOUNT.to_string();
                let params = json!({ "incident": incident.to_string(), "account": account, "limit": limit });
                request(url, "node_getIncidentFills", params).await
            }
            Source::Folder(folder) => {
                let account = Address(Felt::from_hex(account).context("an account's address")?);
                let Folder { genesis, store, .. } = &**folder;
                Ok(shown::fills_of(genesis, store, incident, account, None, FILLS_PER_ACCOUNT)?)
            }
        }
    }
}

fn paged(mut params: Value, cursor: Option<&str>) -> Value {
    params["limit"] = json!(PAGE.to_string());
    if let Some(cursor) = cursor {
        params["cursor"] = json!(cursor);
    }
    params
}

fn rows(page: &mut Value, name: &str) -> Vec<Value> {
    match page[name].take() {
        Value::Array(rows) => rows,
        _ => vec![],
    }
}

/// The report of a running node's incident.
pub async fn of_node(rpc: &str, incident: IncidentId) -> Result<Report> {
    Report::read(&Source::Node(rpc.to_owned()), incident, ACCOUNTS).await
}

/// What is reported, in either format. Values are those of the RPC: `IncidentDetail`, `IncidentAccount`, `AccountFill`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    incident: Value,
    phases: Vec<Span>,
    accounts: Vec<AccountPart>,
    /// Accounts that lost something and are not shown.
    accounts_omitted: u64,
    rules: Rules,
    /// Files that cannot be read.
    unread: Vec<String>,
}

/// A phase from its step to the next. Milliseconds since the Unix epoch.
#[derive(Serialize, PartialEq, Eq, Debug)]
struct Span {
    phase: String,
    from: u64,
    /// `null` while it lasts.
    until: Option<u64>,
    ms: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountPart {
    #[serde(flatten)]
    account: Value,
    fills: Vec<Value>,
    fills_omitted: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    unheard_fills: &'static str,
    closed_ms: &'static str,
}

impl Report {
    async fn read(source: &Source, incident: IncidentId, accounts_max: usize) -> Result<Report> {
        let detail = source.detail(incident).await?;
        let (mut accounts, mut cursor) = (Vec::new(), None);
        while accounts.len() < accounts_max {
            let mut page = source.accounts(incident, cursor.as_deref()).await?;
            accounts.extend(rows(&mut page, "accounts"));
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        accounts.truncate(accounts_max);
        let accounts_omitted = number(&detail["accounts"]).saturating_sub(accounts.len() as u64);
        let mut parts = Vec::new();
        for account in accounts {
            let count = number(&account["unheardFills"]);
            let fills = match count {
                0 => vec![],
                _ => rows(&mut source.fills(incident, text(&account["account"])).await?, "fills"),
            };
            let fills_omitted = count.saturating_sub(fills.len() as u64);
            parts.push(AccountPart { account, fills, fills_omitted });
        }
        Ok(Report {
            phases: spans(&detail["timeline"]),
            incident: detail,
            accounts: parts,
            accounts_omitted,
            rules: Rules { unheard_fills: RULE_FILLS, closed_ms: RULE_CLOSED },
            unread: source.unread().to_vec(),
        })
    }

    /// What the node tells of it: `IncidentDetail`.
    pub fn detail(&self) -> &Value {
        &self.incident
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let of = &self.incident;
        let mut out = format!("# Incident {}: {}\n\n", text(&of["incident"]), names(&of["reasons"]));
        let mut line = |name: &str, value: String| out += &format!("- {name}: {value}\n");
        line("observed", time(&of["observed"]));
        line("safe mode", format!("{}, record {}", time(&of["ts"]), text(&of["seq"])));
        match &of["ended"] {
            Value::Null => line("over", format!("not yet; the phase is {}", text(&of["phase"]))),
            ended => line("over", format!("{}, record {}", time(ended), text(&of["endedSeq"]))),
        }
        line("no market took an order for", duration(number(&of["closedMs"])));
        line("orders cancelled", text(&of["cancelled"]).to_owned());
        line("accounts that lost something", text(&of["accounts"]).to_owned());
        for missing in list(&of["missing"]) {
            line("missing", text(missing).to_owned());
        }
        for unread in &self.unread {
            line("cannot be read", unread.clone());
        }
        self.timeline(&mut out);
        self.detections(&mut out);
        self.cancelled(&mut out);
        self.integrity(&mut out);
        self.per_account(&mut out);
        out
    }

    fn timeline(&self, out: &mut String) {
        table(out, "Timeline", &["time (UTC)", "record", "what"]);
        let omitted = number(&self.incident["timelineOmitted"]);
        if omitted > 0 {
            row(out, &["".into(), "".into(), format!("{omitted} earlier steps")]);
        }
        for step in list(&self.incident["timeline"]) {
            let what = match text(&step["step"]) {
                "ENTERED" => {
                    format!("safe mode ({}): {} orders cancelled", names(&step["reasons"]), text(&step["cancelled"]))
                }
                "PHASE" => format!("{} to {}", text(&step["from"]), text(&step["phase"])),
                "RESUMED" => format!("resumed by operator {}", text(&step["operator"])),
                other => other.to_owned(),
            };
            row(out, &[time(&step["ts"]), text(&step["seq"]).into(), what]);
        }
        table(out, "Phases", &["phase", "from (UTC)", "lasted"]);
        for span in &self.phases {
            row(out, &[span.phase.clone(), utc(span.from), span.ms.map_or("until now".into(), duration)]);
        }
    }

    fn detections(&self, out: &mut String) {
        *out += "\n## How it was detected\n";
        for found in list(&self.incident["detections"]) {
            let observed = number(&found["observed"]);
            let after = |at: &Value| match at {
                Value::Null => "unknown".to_owned(),
                at => format!("{} ms", number(at).saturating_sub(observed)),
            };
            let _ = writeln!(
                out,
                "\n### {} at {}\n\nDurable after {}, announced after {}.",
                names(&found["reasons"]),
                utc(observed),
                after(&found["durable"]),
                after(&found["announced"])
            );
            if let Some(why) = found["why"].as_str() {
                let _ = writeln!(out, "\n> {}", inline(why));
            }
            for crossing in list(&found["crossings"]) {
                let title = format!("{}: {}", text(&crossing["reason"]), text(&crossing["signal"]));
                let _ = writeln!(out, "\n{title}; a loss when {}.", text(&crossing["threshold"]));
                head(out, &["time (UTC)", "value"]);
                for sample in list(&crossing["samples"]) {
                    row(out, &[time(&sample["ts"]), text(&sample["value"]).into()]);
                }
            }
        }
    }

    fn cancelled(&self, out: &mut String) {
        table(out, "What was cancelled", &["market", "orders"]);
        for market in list(&self.incident["markets"]) {
            row(out, &[text(&market["market"]).into(), text(&market["cancelled"]).into()]);
        }
    }

    fn integrity(&self, out: &mut String) {
        *out += "\n## Integrity report\n\n";
        for found in list(&self.incident["gate"]) {
            let (outcome, why) = (text(&found["outcome"]), inline(text(&found["why"])));
            let _ = writeln!(
                out,
                "- {} to {}, {} times: {outcome} {why}",
                time(&found["first"]),
                time(&found["last"]),
                text(&found["times"])
            );
        }
        let _ = writeln!(out, "- hash in the journal: {}", self.incident["integrityReport"].as_str().unwrap_or("none yet"));
        if let Value::Object(_) = self.incident["report"] {
            let _ = writeln!(out, "\n```json\n{:#}\n```", self.incident["report"]);
        }
    }

    fn per_account(&self, out: &mut String) {
        let columns = ["account", "orders cancelled", "by market", "fills it may not have heard of", "could not trade for"];
        table(out, "What each account lost", &columns);
        for AccountPart { account, .. } in &self.accounts {
            let markets = list(&account["markets"]).iter();
            let markets: Vec<String> =
                markets.map(|m| format!("{} {}", text(&m["market"]), text(&m["cancelled"]))).collect();
            let closed = duration(number(&account["closedMs"]));
            let [name, count, fills] =
                ["account", "cancelled", "unheardFills"].map(|field| text(&account[field]).to_owned());
            row(out, &[name, count, markets.join(", "), fills, closed]);
        }
        if self.accounts_omitted > 0 {
            let _ = writeln!(out, "\n{} more accounts are not shown (`--accounts`).", self.accounts_omitted);
        }
        let _ = writeln!(
            out,
            "\n{RULE_FILLS}\n\n{RULE_CLOSED}\n\nThe orders themselves: `trade_getCancelledOrders`; their proof: `node_getCancelReceipt`."
        );
        if self.incident["unheardFillsCut"] == true {
            *out += "\nOf a market that traded more than 10,000 times in those 10 s, the newest are listed.\n";
        }
        for AccountPart { account, fills, fills_omitted } in self.accounts.iter().filter(|part| !part.fills.is_empty()) {
            let _ = writeln!(out, "\n### Fills of {}", text(&account["account"]));
            head(out, &["time (UTC)", "record", "market", "trade", "side", "price", "size", "order"]);
            for fill in fills {
                let mut cells = vec![time(&fill["ts"])];
                cells.extend(
                    ["seq", "market", "tradeId", "side", "price", "size", "order"].map(|name| text(&fill[name]).to_owned()),
                );
                row(out, &cells);
            }
            if *fills_omitted > 0 {
                let _ = writeln!(out, "\n{fills_omitted} older ones are not shown (`node_getIncidentFills`).");
            }
        }
    }
}

fn list_markdown(incidents: &[Value], pending: &Value, unread: &[String]) -> String {
    let mut out = String::new();
    head(&mut out, &["incident", "safe mode (UTC)", "over (UTC)", "reasons", "orders cancelled", "no market for"]);
    for of in incidents {
        let over = if of["ended"].is_null() { text(&of["phase"]).to_owned() } else { time(&of["ended"]) };
        let closed = duration(number(&of["closedMs"]));
        let [number, cancelled] = ["incident", "cancelled"].map(|field| text(&of[field]).to_owned());
        row(&mut out, &[number, time(&of["ts"]), over, names(&of["reasons"]), cancelled, closed]);
    }
    for found in list(pending) {
        let _ = writeln!(out, "\ndetected, in no record yet: {} at {}", names(&found["reasons"]), time(&found["observed"]));
    }
    for unread in unread {
        let _ = writeln!(out, "\ncannot be read: {unread}");
    }
    out
}

/// Each phase of the timeline; OPEN ends the last.
fn spans(timeline: &Value) -> Vec<Span> {
    let steps = list(timeline).iter().filter(|step| step["step"] == "PHASE");
    let steps: Vec<(&str, u64)> = steps.map(|step| (text(&step["phase"]), number(&step["ts"]))).collect();
    let span = |(at, (phase, from)): (usize, &(&str, u64))| {
        let until = steps.get(at + 1).map(|(_, until)| *until);
        Span { phase: (*phase).to_owned(), from: *from, until, ms: until.map(|until| until.saturating_sub(*from)) }
    };
    steps.iter().enumerate().filter(|(_, (phase, _))| *phase != "OPEN").map(span).collect()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn number(value: &Value) -> u64 {
    text(value).parse().unwrap_or_default()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(reasons: &Value) -> String {
    list(reasons).iter().map(text).collect::<Vec<_>>().join(", ")
}

fn time(ms: &Value) -> String {
    utc(number(ms))
}

/// `2026-11-23 21:05:09.012`.
fn utc(ms: u64) -> String {
    let (date, time) = keel_rpc::utc(Ts::from_ms(ms));
    format!("{date} {time}")
}

fn duration(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1_000 % 60);
    match minutes {
        0 => format!("{seconds}.{:03} s", ms % 1_000),
        _ => format!("{minutes} min {seconds}.{:03} s", ms % 1_000),
    }
}

fn table(out: &mut String, title: &str, columns: &[&str]) {
    let _ = writeln!(out, "\n## {title}");
    head(out, columns);
}

fn head(out: &mut String, columns: &[&str]) {
    let _ = writeln!(out, "\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn row(out: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| inline(cell)).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Text of others on one line, that cannot end a cell.
fn inline(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_millisecond() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (1_795_467_909_012, "2026-11-23 21:05:09.012"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(utc(ms), expected);
        }
        assert_eq!([duration(59_007), duration(3_661_250)], ["59.007 s", "61 min 1.250 s"]);
    }

    #[test]
    fn phases_last_until_the_next_step_and_the_last_until_it_is_open() {
        let step = |phase: &str, ts: u64| json!({"step": "PHASE", "from": "X", "phase": phase, "ts": ts.to_string()});
        let mut timeline = vec![
            json!({"step": "ENTERED", "ts": "5"}),
            step("HALTED", 5),
            step("READ_ONLY", 8),
            json!({"step": "RESUMED", "ts": "9"}),
        ];
        let shown = |timeline: &[Value]| {
            spans(&json!(timeline)).into_iter().map(|span| (span.phase, span.from, span.ms)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&timeline), [("HALTED".into(), 5, Some(3)), ("READ_ONLY".into(), 8, None)]);
        timeline.push(step("OPEN", 20));
        assert_eq!(shown(&timeline), [("HALTED".into(), 5, Some(3)), ("READ_ONLY".into(), 8, Some(12))]);
    }

    #[test]
    fn a_report_says_everything_in_both_formats_and_a_strangers_text_breaks_no_table() {
        let incident = json!({
            "incident": "3", "phase": "OPEN", "reasons": ["DISK_LOW"], "observed": "1000", "seq": "7", "ts": "1040",
            "endedSeq": "9", "ended": "61040", "cancelled": "4", "accounts": "2", "unheardFills": "1", "closedMs": "30000",
            "integrityReport": "0xabc", "markets": [{"market": "ETH-USDC", "cancelled": "4"}],
            "timeline": [
                {"step": "ENTERED", "seq": "7", "ts": "1040", "reasons": ["DISK_LOW"], "cancelled": "4"},
                {"step": "PHASE", "seq": "7", "ts": "1040", "from": "OPEN", "phase": "HALTED"},
                {"step": "PHASE", "seq": "9", "ts": "61040", "from": "HALTED", "phase": "OPEN"},
            ],
            "timelineOmitted": "0", "unheardFillsCut": false,
            "detections": [{
                "observed": "1000", "reasons": ["DISK_LOW"], "why": "a | b\nc", "durable": "1045", "announced": null,
                "crossings": [{"reason": "DISK_LOW", "signal": "bytes free", "threshold": "less than 5",
                    "samples": [{"ts": "1000", "value": "4 of 9"}]}],
            }],
            "gate": [{"outcome": "PASSED", "why": "", "first": "2000", "last": "2000", "times": "1"}],
            "report": {"height": 12}, "missing": ["something"],
        });
        let fill = json!({"ts": "900", "seq": "6", "market": "ETH-USDC", "tradeId": "8", "side": "BUY", "price": "3", "size": "1", "order": "0x9"});
        let account = json!({"account": "0x1", "cancelled": "4", "markets": [{"market": "ETH-USDC", "cancelled": "4"}],
            "unheardFills": "3", "closedMs": "30000"});
        let report = Report {
            phases: spans(&incident["timeline"]),
            incident,
            accounts: vec![AccountPart { account, fills: vec![fill], fills_omitted: 2 }],
            accounts_omitted: 1,
            rules: Rules { unheard_fills: RULE_FILLS, closed_ms: RULE_CLOSED },
            unread: vec!["read gate-3.json".into()],
        };
        let markdown = report.markdown();
        for told in [
            "# Incident 3: DISK_LOW",
            "- safe mode: 1970-01-01 00:00:01.040, record 7",
            "- no market took an order for: 30.000 s",
            "- missing: something",
            "- cannot be read: read gate-3.json",
            "| 1970-01-01 00:00:01.040 | 7 | safe mode (DISK_LOW): 4 orders cancelled |",
            "| HALTED | 1970-01-01 00:00:01.040 | 1 min 0.000 s |",
            "Durable after 45 ms, announced after unknown.",
            "> a \\| b c",
            "| 1970-01-01 00:00:01.000 | 4 of 9 |",
            "| ETH-USDC | 4 |",
            "PASSED",
            "\"height\": 12",
            "| 0x1 | 4 | ETH-USDC 4 | 3 | 30.000 s |",
            "1 more accounts are not shown",
            "| 1970-01-01 00:00:00.900 | 6 | ETH-USDC | 8 | BUY | 3 | 1 | 0x9 |",
            "2 older ones are not shown",
        ] {
            assert!(markdown.contains(told), "{told:?} is missing:\n{markdown}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["accounts"][0]["account"], &json["accounts"][0]["fillsOmitted"]), (&json!("0x1"), &json!(2)));
        assert_eq!((&json["phases"][0]["ms"], &json["accountsOmitted"]), (&json!(60_000), &json!(1)));
    }
}

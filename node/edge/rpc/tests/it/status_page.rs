//! The page a trader opens on the worst day of the year.
use crate::chain::Story;
use crate::http::{get, post, read};
use crate::node::{Node, now_ms};
use keel_rpc::{Integrity, IntegrityReport, IntegrityVerdict, limits};
use keel_types::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const REPORT: Bytes32 = Bytes32([7; 32]);

fn enter_safe_mode(node: &Node, incident: u32, reasons: &[LossReason]) {
    let reasons = reasons.iter().fold(LossReasons::default(), |all, reason| all.with(LossReasons::of(*reason)));
    let observed_ts = Ts::from_ms(now_ms());
    node.system(Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(incident), reasons, observed_ts }));
}

fn set_phase(node: &Node, incident: u32, phase: Phase, post_only_until: Ts) {
    let integrity_report = if phase == Phase::Spot { REPORT } else { Bytes32::default() };
    let set = SetPhase { incident: IncidentId(incident), phase, post_only_until, integrity_report };
    let events = node.system(Command::SetPhase(set));
    assert!(events.iter().any(|event| matches!(event, Event::PhaseChanged { .. })), "{events:?}");
}

fn passed(incident: u32) -> Integrity {
    let report = IntegrityReport {
        height: Height(41),
        root: "0x5007".into(),
        checks: vec!["value conserved per asset".into(), "state root recomputed".into()],
        hash: REPORT,
    };
    Integrity { incident: IncidentId(incident), at: Some(Ts::from_ms(now_ms())), verdict: IntegrityVerdict::Passed(report) }
}

/// The data, and then the page, once the data is as it should be: both are drawn anew only now and then.
fn shown(node: &Node, is_so: impl Fn(&Value) -> bool) -> (Value, String) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, _, body) = get(node.public, "GET", "/status.json");
        assert_eq!(status, 200, "{body}");
        let data: Value = serde_json::from_str(&body).expect("JSON");
        if is_so(&data) {
            let (status, _, page) = get(node.public, "GET", "/status");
            assert_eq!(status, 200, "{page}");
            return (data, page);
        }
        assert!(Instant::now() < deadline, "it never was so: {data}");
    }
}

fn in_phase(phase: Phase) -> impl Fn(&Value) -> bool {
    move |data| data["phase"] == phase.as_str()
}

fn assert_says(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
}

fn heading(page: &str) -> &str {
    page.split_once("role=\"status\">").and_then(|(_, rest)| rest.split_once('<')).expect("a heading").0
}

#[test]
fn every_phase_is_named_with_its_cause_what_works_and_what_comes_next() {
    let Story { node, .. } = Story::tell();
    let (data, page) = shown(&node, |data| data["openOrders"] == "2");
    assert_eq!((heading(&page), &data["incident"], &data["executing"]), ("OPEN", &json!(null), &json!(true)));
    assert_says(&page, &["All markets are open.", "there was no incident to come back from"]);
    assert!(!page.contains("id=\"why\"") && !page.contains("Next:"), "{page}");

    enter_safe_mode(&node, 1, &[LossReason::SettlementHeadStale, LossReason::DiskLow]);
    let (data, page) = shown(&node, in_phase(Phase::Halted));
    assert_eq!((heading(&page), &data["reasons"]), ("HALTED", &json!(["SETTLEMENT_HEAD_STALE", "DISK_LOW"])));
    let orders = |market: &str| json!({"market": market, "orders": "1"});
    assert_eq!(data["cancelled"]["markets"], json!([orders("ETH-USDC"), orders("ETH-USDC-PERP")]));
    assert_eq!((&data["cancelled"]["orders"], &data["nextPhase"]), (&json!("2"), &json!("READ_ONLY")));
    assert_says(
        &page,
        &[
            "Nothing is traded.",
            "No new block of the settlement layer has been seen for too long.",
            "The disk of the node is nearly full.",
            "<b>2</b> orders.",
            "<tr><td>ETH-USDC-PERP</td><td>1</td></tr>",
            "Next: READ ONLY",
            "Not made yet. Nothing trades before it has passed.",
            "no answer for 7 s",
        ],
    );

    set_phase(&node, 1, Phase::ReadOnly, Ts(0));
    *node.status.integrity.lock().expect("unpoisoned") = Some(passed(1));
    let (data, page) = shown(&node, |data| data["phase"] == "READ_ONLY" && data["integrity"]["current"] == true);
    assert_eq!((heading(&page), &data["integrity"]["verdict"]), ("READ ONLY", &json!("PASSED")));
    assert_says(&page, &["Next: SPOT", "value conserved per asset", "0x5007", "<dd>41</dd>", "Deposits are credited"]);

    set_phase(&node, 1, Phase::Spot, Ts::from_ms(now_ms() + 3_600_000));
    let (data, page) = shown(&node, in_phase(Phase::Spot));
    assert_eq!((heading(&page), &data["integrity"]["current"]), ("SPOT", &json!(true)));
    assert_says(&page, &["spot takes post-only orders alone", "Trade perpetuals, not even to reduce a position"]);

    set_phase(&node, 1, Phase::ReduceOnly, Ts(0));
    let (_, page) = shown(&node, in_phase(Phase::ReduceOnly));
    assert_eq!(heading(&page), "REDUCE ONLY");
    assert_says(&page, &["Reduce positions", "Open or increase positions", "Next: OPEN"]);

    set_phase(&node, 1, Phase::Open, Ts(0));
    let (data, page) = shown(&node, in_phase(Phase::Open));
    assert_eq!(heading(&page), "OPEN");
    assert_says(&page, &["The last incident", "are not liquidated at once"]);
    let steps: Vec<_> = data["timeline"].as_array().expect("steps").iter().map(|step| step["phase"].clone()).collect();
    assert_eq!(json!(steps), json!(["OPEN", "REDUCE_ONLY", "SPOT", "READ_ONLY", "HALTED", "OPEN"]));
}

#[test]
fn a_relapse_says_that_the_report_before_it_no_longer_counts_and_who_must_act() {
    let node = Node::start();
    enter_safe_mode(&node, 1, &[LossReason::Restart]);
    set_phase(&node, 1, Phase::ReadOnly, Ts(0));
    *node.status.integrity.lock().expect("unpoisoned") = Some(passed(1));
    set_phase(&node, 1, Phase::Spot, Ts(0));
    shown(&node, |data| data["phase"] == "SPOT" && data["integrity"]["current"] == true);
    enter_safe_mode(&node, 1, &[LossReason::InvariantBroken]);
    let (data, page) = shown(&node, in_phase(Phase::Halted));
    assert_eq!((&data["integrity"]["current"], &data["reasons"]), (&json!(false), &json!(["INVARIANT_BROKEN", "RESTART"])));
    assert_says(&page, &["Not made yet since the last halt.", "The one before:", "until two different operators"]);
    assert!(!page.contains("READ ONLY opens as soon as"), "{page}");

    node.system(Command::Resume(Resume { incident: IncidentId(1), operator: 3 }));
    let (_, page) = shown(&node, |data| data["timeline"][0]["change"] == "RESUMED");
    assert_says(&page, &["Operator 3 said that incident 1 may go on"]);
}

#[test]
fn the_page_is_served_while_nothing_executes_and_the_disk_hangs() {
    let Story { node, .. } = Story::tell();
    node.status.silence_max_ms.store(50, Ordering::Relaxed);
    node.executing.store(false, Ordering::Release);
    let disk = node.status.disk.lock().expect("unpoisoned");
    // What it was about to take from the queue is still executed.
    let mut answer = loop {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        node.inbox.submit(Command::Tick, Some(reply)).expect("the queue has room");
        std::thread::sleep(Duration::from_millis(500));
        if answer.try_recv().is_err() {
            break answer;
        }
    };

    let (data, page) = shown(&node, |data| data["executing"] == false);
    assert_eq!((heading(&page), &data["phase"], &data["settlement"]), ("STOPPED", &json!("OPEN"), &json!(null)));
    assert_says(&page, &["Nothing was recorded for longer than is normal", "last recorded phase is <b>OPEN</b>"]);
    assert_says(&page, &["No figures yet"]);
    assert!(!page.contains("Works now") && !page.contains("class=\"ladder\""), "{page}");

    let since = Ts::from_ms(now_ms());
    *node.status.loss.lock().expect("unpoisoned") = Some((LossReasons::of(LossReason::JournalStalled), since));
    let (data, page) = shown(&node, |data| !data["stuck"]["reasons"].is_null());
    assert_eq!((heading(&page), &data["explained"][0]["reason"]), ("STOPPED", &json!("JOURNAL_STALLED")));
    assert_says(&page, &["took too long to confirm a write", "send the identical message again"]);
    assert!(answer.try_recv().is_err(), "the engine was meant to be stuck");

    *node.status.loss.lock().expect("unpoisoned") = None;
    node.status.silence_max_ms.store(u64::MAX, Ordering::Relaxed);
    node.executing.store(true, Ordering::Release);
    drop(disk);
    answer.blocking_recv().expect("executed now");
    let (data, page) = shown(&node, |data| data["executing"] == true && !data["settlement"].is_null());
    assert_eq!((heading(&page), &data["settlement"]["head"]), ("OPEN", &json!("17")));
}

#[test]
fn what_monitors_and_reports_say_cannot_become_markup() {
    let node = Node::start();
    let evil = "</dd><script>alert(1)</script><img src=x onerror='alert(2)'>\"";
    *node.status.failing.lock().expect("unpoisoned") = vec![("disk", evil.into())];
    let broken = IntegrityVerdict::Broken(LossReason::StateDiverged, evil.repeat(100));
    *node.status.integrity.lock().expect("unpoisoned") = Some(Integrity { verdict: broken, ..passed(1) });
    let (data, page) = shown(&node, |data| data["failingMonitors"][0]["why"] == evil);
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    assert_says(
        &page,
        &["&lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&#39;alert(2)&#39;&gt;&quot;"],
    );
    let why = data["integrity"]["why"].as_str().expect("text");
    assert_eq!(why.chars().count(), limits::STATUS_TEXT_CHARS_MAX + 1);
}

#[test]
fn only_get_and_head_are_allowed_and_nothing_may_be_loaded_embedded_or_kept() {
    let node = Node::start();
    for (path, content_type) in [("/status", "text/html; charset=utf-8"), ("/status.json", "application/json")] {
        let (status, head, body) = get(node.public, "GET", path);
        assert_eq!(status, 200);
        for header in [
            &format!("content-type: {content_type}"),
            &format!("content-length: {}", body.len()),
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "connection: close",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
        ] {
            assert!(head.contains(header), "{path}: {header:?} is not in {head}");
        }
        assert!(!head.contains("unsafe-") && !head.contains("access-control"), "{head}");
        let (status, head, body) = get(node.public, "HEAD", path);
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(head.contains(&format!("content-type: {content_type}")) && head.contains("content-length: "), "{head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
            let (status, head, _) = get(node.public, method, path);
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get, head"), "{method} {path}: {head}");
        }
    }
    let page = get(node.public, "GET", "/status?lang=en").2;
    let linked = page.matches("href=").count();
    assert_eq!(linked, page.matches("href=\"/status.json\"").count() + page.matches("href=\"data:image/svg+xml,").count());
    assert!(!page.contains(" src=") && !page.contains("@import") && !page.contains("url("), "the page loads something");
    for path in ["/status/", "/status.html", "/Status", "/status.json/"] {
        assert_eq!(get(node.public, "GET", &format!("{path} HTTP/1.1\r\nConnection: close\r\nX-Rest:")).0, 404, "{path}");
    }
    let (status, _) = post(node.admin, "/status", &[], "{}");
    assert_eq!(status, 404, "the admin port has no page");
    // The methods beside it are as they were.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "node_status", "params": {}}).to_string();
    assert_eq!(read(&post(node.public, "/rpc", &[], &body).1).map(|status| status["phase"].clone()), Ok(json!("OPEN")));
}

#[test]
fn however_many_ask_the_page_is_drawn_and_the_settlement_read_only_now_and_then() {
    let node = Node::start();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(get(node.public, "GET", "/status").0, 200)));
        }
    });
    let most = |every: Duration| (start.elapsed().as_millis() / every.as_millis()) as u64 + 2;
    let (settlement, drawn) = (&node.status.asked.0, &node.status.asked.1);
    assert!(drawn.load(Ordering::Relaxed) <= most(limits::STATUS_DRAWN_EVERY), "drawn {drawn:?} times");
    assert!(settlement.load(Ordering::Relaxed) <= most(limits::STATUS_SETTLEMENT_READ_EVERY), "read {settlement:?} times");
}

/// What an alarm reads: each line of the format, by its name and labels.
fn metrics(node: &Node) -> std::collections::BTreeMap<String, f64> {
    let (status, headers, body) = get(node.public, "GET", "/metrics");
    assert_eq!(status, 200, "{body}");
    assert!(headers.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{headers}");
    let mut told = String::new();
    let mut values = std::collections::BTreeMap::new();
    for line in body.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => told = family.strip_suffix(" gauge").expect("a gauge").to_owned(),
            None if line.starts_with("# HELP ") => {}
            None => {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                assert_eq!(name.split('{').next(), Some(told.as_str()), "{line} is not of {told}");
                assert!(values.insert(name.to_owned(), value.parse().expect("a number")).is_none(), "twice: {line}");
            }
        }
    }
    values
}

#[test]
fn an_alarm_reads_the_phase_the_reasons_and_the_ages() {
    let Story { node, .. } = Story::tell();
    shown(&node, |data| data["openOrders"] == "2");
    let open = metrics(&node);
    let value = |name: &str| *open.get(name).unwrap_or_else(|| panic!("{name} is not in {open:?}"));
    assert_eq!((value("keel_phase{phase=\"OPEN\"}"), value("keel_phase{phase=\"HALTED\"}")), (1.0, 0.0));
    assert_eq!((value("keel_open_orders"), value("keel_executing"), value("keel_incident")), (2.0, 1.0, 0.0));
    assert!(open.iter().filter(|(name, _)| name.starts_with("keel_loss{")).all(|(_, lost)| *lost == 0.0), "{open:?}");
    assert!(value("keel_market_price_age_seconds{market=\"ETH-USDC\"}") >= 0.0);

    enter_safe_mode(&node, 1, &[LossReason::SettlementHeadStale, LossReason::DiskLow]);
    shown(&node, in_phase(Phase::Halted));
    let halted = metrics(&node);
    for (name, expected) in [
        ("keel_phase{phase=\"HALTED\"}", 1.0),
        ("keel_phase{phase=\"OPEN\"}", 0.0),
        ("keel_incident", 1.0),
        ("keel_loss{reason=\"DISK_LOW\"}", 1.0),
        ("keel_loss{reason=\"SETTLEMENT_HEAD_STALE\"}", 1.0),
        ("keel_loss{reason=\"ORACLE_STALE\"}", 0.0),
        ("keel_incident_cancelled_orders", 2.0),
        ("keel_integrity_passed", 0.0),
        ("keel_open_orders", 0.0),
    ] {
        assert_eq!(halted.get(name), Some(&expected), "{name} of {halted:?}");
    }
    assert_eq!(open.keys().collect::<Vec<_>>(), halted.keys().collect::<Vec<_>>(), "no series comes or goes");
}

//! `node_getIncidents`, `node_getIncident`, what each account lost, and the channel `node`.
use crate::chain::Story;
use crate::node::Node;
use crate::ws::Ws;
use keel_rpc::incidents::{Crossing, Detection, GateFound, GateOutcome, GateRecord, SampleOf};
use keel_types::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn lose(node: &Node, reason: LossReason, observed_ts: Ts) {
    let reasons = LossReasons::of(reason);
    node.system(Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(1), reasons, observed_ts }));
}

fn open(node: &Node, phase: Phase) {
    let integrity_report = if phase == Phase::Spot { Bytes32([7; 32]) } else { Bytes32::default() };
    let incident = node.published.phase().incident;
    node.system(Command::SetPhase(SetPhase { incident, phase, post_only_until: Ts(0), integrity_report }));
}

const PHASES: [Phase; 4] = [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open];

fn detection(observed: Ts) -> Detection {
    let samples = vec![SampleOf { ts: observed, value: "1 of 2".into() }];
    let crossing =
        Crossing { reason: LossReason::DiskLow, signal: "bytes free".into(), threshold: "less than 2".into(), samples };
    Detection {
        observed,
        reasons: vec![LossReason::DiskLow],
        why: None,
        crossings: vec![crossing],
        durable: Some(observed.plus_ms(3)),
        announced: Some(observed.plus_ms(4)),
    }
}

#[test]
fn an_incident_is_told_with_its_timeline_its_samples_and_what_each_account_lost() {
    let Story { node, maker, taker, .. } = Story::tell();
    let observed = node.published.at().ts;
    lose(&node, LossReason::DiskLow, observed);
    *node.status.remembered.detections.lock().unwrap() = vec![detection(observed)];
    let pending = || node.call("node_getIncidents", json!({})).expect("listed")["pending"].clone();
    assert_eq!(pending(), json!([]), "it is in a record");
    PHASES.iter().for_each(|phase| open(&node, *phase));
    let outcome = GateOutcome { outcome: GateFound::NotYet, why: "no head".into(), first: Ts(1), last: Ts(2), times: 3 };
    let report = Some(json!({"height": 9}));
    *node.status.remembered.gate.lock().unwrap() = Some((IncidentId(1), GateRecord { outcomes: vec![outcome], report }));

    let incident = node.call("node_getIncident", json!({"incident": "1"})).expect("told");
    let steps = incident["timeline"].as_array().expect("steps").iter();
    let steps: Vec<(&str, &str)> =
        steps.map(|step| (step["step"].as_str().expect("text"), step["phase"].as_str().unwrap_or_default())).collect();
    let expected = ["HALTED", "READ_ONLY", "SPOT", "REDUCE_ONLY", "OPEN"].map(|phase| ("PHASE", phase));
    assert_eq!((steps[0], &steps[1..]), (("ENTERED", ""), &expected[..]));
    assert_eq!(incident["timeline"][3]["integrityReport"], json!(Bytes32([7; 32]).to_string()));
    assert_eq!((&incident["phase"], &incident["reasons"]), (&json!("OPEN"), &json!(["DISK_LOW"])));
    assert_eq!((&incident["cancelled"], &incident["accounts"]), (&json!("2"), &json!("2")));
    assert_eq!(
        incident["markets"],
        json!([{"market": "ETH-USDC", "cancelled": "1"}, {"market": "ETH-USDC-PERP", "cancelled": "1"}])
    );
    assert!(incident["ended"].is_string() && incident["timelineOmitted"] == "0", "{incident:#}");
    let told = &incident["detections"][0];
    assert_eq!((&told["crossings"][0]["samples"][0]["value"], told["durable"].is_string()), (&json!("1 of 2"), true));
    assert_eq!((&incident["gate"][0]["times"], &incident["report"]["height"]), (&json!("3"), &json!(9)));
    assert_eq!(incident["missing"], json!([]));

    let params = json!({"incident": "1", "limit": "1"});
    let first = node.call("node_getIncidentAccounts", params).expect("a page");
    let params = json!({"incident": "1", "cursor": first["next"]});
    let second = node.call("node_getIncidentAccounts", params).expect("a page");
    assert_eq!(second["next"], Value::Null);
    let rows = [&first["accounts"][0], &second["accounts"][0]];
    let of = |account: Address| *rows.iter().find(|row| row["account"] == json!(account.to_string())).expect("listed");
    // Both traded right before; only the maker had orders left.
    assert_eq!((&of(maker.account)["cancelled"], &of(maker.account)["unheardFills"]), (&json!("2"), &json!("2")));
    assert_eq!((&of(taker.account)["cancelled"], &of(taker.account)["unheardFills"]), (&json!("0"), &json!("2")));
    let listed = node.call("trade_getCancelledOrders", json!({"account": maker.account.to_string(), "incident": "1"}));
    assert_eq!(listed.expect("listed")["orders"].as_array().map(Vec::len), Some(2));
    let fills = |account: Address| {
        let params = json!({"incident": "1", "account": account.to_string()});
        let fills = node.call("node_getIncidentFills", params).expect("listed")["fills"].clone();
        fills.as_array().expect("rows").iter().map(|fill| fill["maker"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((fills(maker.account), fills(taker.account)), (vec![json!(true); 2], vec![json!(false); 2]));
}

#[test]
fn a_loss_that_no_record_holds_yet_is_pending_and_what_nobody_remembers_is_said_to_be_missing() {
    let node = Node::start();
    assert_eq!(node.call("node_getIncidents", json!({})).expect("listed")["incidents"], json!([]));
    for params in [json!({"incident": "1"}), json!({"incident": "0"})] {
        let error = node.call("node_getIncident", params.clone()).expect_err("there is none");
        assert_eq!(error.data["reason"], "WRONG_INCIDENT");
        let error = node.call("node_getIncidentAccounts", params).expect_err("there is none");
        assert_eq!(error.data["reason"], "WRONG_INCIDENT");
    }
    for reason in [LossReason::DiskLow, LossReason::ClockStep] {
        lose(&node, reason, Ts(1));
        PHASES.iter().for_each(|phase| open(&node, *phase));
    }
    let observed = node.published.at().ts.plus_ms(1);
    *node.status.remembered.detections.lock().unwrap() = vec![detection(observed)];
    let first = node.call("node_getIncidents", json!({"limit": "1"})).expect("a page");
    let second = node.call("node_getIncidents", json!({"limit": "1", "cursor": first["next"]})).expect("a page");
    assert_eq!((&first["incidents"][0]["incident"], &second["incidents"][0]["incident"]), (&json!("2"), &json!("1")));
    assert_eq!((first["pending"].as_array().map(Vec::len), &second["next"]), (Some(1), &Value::Null));
    let missing = node.call("node_getIncident", json!({"incident": "1"})).expect("told")["missing"].clone();
    assert_eq!(missing.as_array().map(Vec::len), Some(2), "{missing:#}");
}

#[test]
fn incidents_are_told_while_nothing_is_executed() {
    let node = Node::start();
    lose(&node, LossReason::EngineStalled, Ts(1));
    node.executing.store(false, Ordering::Release);
    let mut ws = Ws::open_with(node.public, "/rpc", &[]);
    ws.call("keel_subscribe", json!({"channel": "node"})).expect("subscribed");
    let snapshot = ws.next_message()["params"]["result"].take();
    node.document().assert_is("NodeUpdate", &snapshot["data"]);
    assert_eq!((&snapshot["type"], &snapshot["data"]["phase"]), (&json!("snapshot"), &json!("HALTED")));
    for (method, params) in [("node_getIncidents", json!({})), ("node_getIncident", json!({"incident": "1"}))] {
        node.call(method, params).expect(method);
    }
}

#[test]
fn each_step_is_pushed_on_the_channel_node_and_a_lost_connection_misses_none() {
    let node = Node::start();
    let mut ws = Ws::open_with(node.public, "/rpc", &[]);
    ws.call("keel_subscribe", json!({"channel": "node"})).expect("subscribed");
    let take = |ws: &mut Ws| {
        let message = ws.next_message()["params"]["result"].take();
        if message["type"] != "resumed" {
            node.document().assert_is("NodeUpdate", &message["data"]);
        }
        assert_eq!(message["channel"], "node");
        message
    };
    let snapshot = take(&mut ws);
    assert_eq!((&snapshot["data"]["phase"], &snapshot["data"]["incident"]), (&json!("OPEN"), &Value::Null));
    lose(&node, LossReason::DiskLow, Ts(1));
    let entered = take(&mut ws);
    let steps = entered["data"]["steps"].as_array().expect("steps");
    assert_eq!((steps.len(), &steps[0]["step"], &steps[1]["phase"]), (2, &json!("ENTERED"), &json!("HALTED")));
    assert_eq!(entered["prevSeq"], snapshot["seq"]);
    drop(ws);
    PHASES.iter().for_each(|phase| open(&node, *phase));
    let mut ws = Ws::open_with(node.public, "/rpc", &[]);
    ws.call("keel_subscribe", json!({"channel": "node", "fromSeq": entered["seq"]})).expect("subscribed");
    assert_eq!(take(&mut ws)["resumed"], true);
    let walked: Vec<Value> = PHASES.iter().map(|_| take(&mut ws)["data"]["phase"].clone()).collect();
    assert_eq!(walked, PHASES.map(|phase| json!(phase.as_str())));
    let error = ws.call("keel_subscribe", json!({"channel": "node", "market": "ETH-USDC"})).expect_err("of no market");
    assert_eq!(error.data["reason"], "UNKNOWN_FIELD");
}

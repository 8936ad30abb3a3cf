//! A second node, and a node whose store was deleted, arrive at the same bytes.

use keel_ingress::MessageKind;
use keel_tests::{Load, Node, NodeOptions, Trader, World, run_keel, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What the last incident cancelled of the traders is placed again; how many orders were.
fn restore(node: &Node, traders: &[Trader]) -> u64 {
    let incident = node.status()["incident"].clone();
    let restored = traders.iter().map(|trader| {
        let params = json!({"account": trader.account.to_string(), "incident": incident, "limit": "100"});
        let listed = node.call("trade_getCancelledOrders", params).done();
        let orders: Vec<_> = listed["orders"].as_array().expect("a list").iter().map(|o| o["order"].clone()).collect();
        if orders.is_empty() {
            return 0;
        }
        let (request, _) = trader.sign(MessageKind::RestoreOrders, 900, json!({"incident": incident, "orders": orders}));
        let answer = node.call("trade_restoreOrders", request).done();
        answer["restored"].as_str().and_then(|count| count.parse::<u64>().ok()).expect("a number")
    });
    restored.sum()
}

#[test]
fn a_second_node_from_the_same_journal_is_equal_to_the_byte() {
    let mut world = World::start();
    let options = NodeOptions { name: "node".into(), sets: vec!["ingress.budget_factor=100".into()] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    let traders: Vec<Trader> = (0..4).map(|i| Trader::new(0xbeef + i, &world.genesis)).collect();
    node.wait_for_phase("OPEN", TIMEOUT);
    world.fund(&node, &traders, &[("USDC", "100000"), ("BTC", "5")]);
    let load = Load::start(&node, &traders[..2], "BTC-USDC", 60_000, "0.001", 1_000);
    let perpetual = Load::start(&node, &traders[2..], "ETH-USDC-PERP", 3_000, "0.1", 1_000);
    wait_for("orders to be acknowledged", TIMEOUT, || (load.acknowledged() + perpetual.acknowledged() >= 200).then_some(()));
    // An incident in the middle: stop publishing prices until every market is stale.
    world.stop_publishing();
    wait_for("safe mode", TIMEOUT, || (node.status()["phase"] != "OPEN").then_some(()));
    world.publish_to(&node);
    load.finish();
    perpetual.finish();
    node.wait_for_phase("OPEN", TIMEOUT);
    assert_ne!(restore(&node, &traders), 0, "the incident cancelled nothing that could be restored");
    let data = format!("data_dir={}", node.data.display());
    let stats = |exact: &[&str]| {
        let arguments = [&["--set", &data, "db", "stats", "--json"], exact].concat();
        serde_json::from_str::<Value>(&run_keel(&arguments)).expect("JSON")
    };
    let beside = stats(&[]);
    assert_eq!(beside["rowsExact"], false, "{beside}");
    assert_ne!(beside["blocks"], "0", "the store is looked at beside the node that writes it: {beside}");
    let rehearse =
        || serde_json::from_str::<Value>(&run_keel(&["--set", &data, "rehearse", "--batches", "3"])).expect("JSON");
    let rehearsed = rehearse();
    assert_eq!(rehearsed["equal"], true, "beside the node that made the batches: {rehearsed}");
    assert_ne!(rehearsed["commands"], "0", "{rehearsed}");
    let stop = |node: &mut keel_tests::Node| {
        node.process.signal("TERM");
        let status = wait_for("a clean stop", TIMEOUT, || node.process.ended());
        assert!(status.success(), "the node stopped with {status}: {}", node.log_tail());
    };
    stop(&mut node);
    let verify = || serde_json::from_str::<Value>(&run_keel(&["--set", &data, "verify"])).expect("a JSON report");
    let first = verify();
    assert_eq!(first["equal"], true, "{first}");
    assert_ne!(first["snapshotsEqual"], 0, "{first}");
    let rows_of = |report: &Value, table: &Value| {
        let tables = report["tables"].as_array().unwrap();
        tables.iter().find(|row| row["table"] == *table).map(|row| row["rows"].clone())
    };
    let trades = first["tables"].as_array().unwrap().iter().find(|t| t["table"] == "trades").unwrap();
    assert_ne!(trades["rows"], 0, "nothing was traded: {first}");
    assert_ne!(rows_of(&first, &"restored".into()), Some(0.into()), "{first}");
    let exact = stats(&["--exact"]);
    assert_eq!(exact["height"], first["height"]);
    for table in first["tables"].as_array().unwrap() {
        assert_eq!(rows_of(&exact, &table["table"]).as_ref(), Some(&table["rows"]), "{}: {exact}", table["table"]);
    }
    // Looking changes nothing, whatever the settings of who looks.
    let seen = run_keel(&["--set", &data, "--set", "history.proof_blocks=8", "--set", "history.state_blocks=8", "verify"]);
    let seen: Value = serde_json::from_str(&seen).expect("a JSON report");
    assert_eq!(
        (&seen["equal"], &seen["retainedFrom"], &seen["tables"]),
        (&Value::Bool(true), &first["retainedFrom"], &first["tables"])
    );
    assert_eq!(first["retainedFrom"]["proofs"], "0");
    assert!(run_keel(&["--set", &data, "db", "stats"]).contains("headers"), "the table for people has every table");

    std::fs::remove_dir_all(node.data.join("store")).expect("the store can be deleted");
    let mut node = world.node(&options);
    stop(&mut node);
    let rebuilt = verify();
    assert_eq!(rebuilt["equal"], true, "{rebuilt}");
}

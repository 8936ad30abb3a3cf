//! A second node, and a node whose store was deleted, arrive at the same bytes.

use keel_tests::{Load, NodeOptions, Trader, World, run_keel, wait_for};
use serde_json::Value;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

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
    let data = format!("data_dir={}", node.data.display());
    let stats = |exact: &[&str]| {
        let arguments = [&["--set", &data, "db", "stats", "--json"], exact].concat();
        serde_json::from_str::<Value>(&run_keel(&arguments)).expect("JSON")
    };
    let beside = stats(&[]);
    assert_eq!(beside["rowsExact"], false, "{beside}");
    assert_ne!(beside["blocks"], "0", "the store is looked at beside the node that writes it: {beside}");
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
    let trades = first["tables"].as_array().unwrap().iter().find(|t| t["table"] == "trades").unwrap();
    assert_ne!(trades["rows"], 0, "nothing was traded: {first}");
    let exact = stats(&["--exact"]);
    assert_eq!(exact["height"], first["height"]);
    let rows_of = |report: &Value, table: &Value| {
        let tables = report["tables"].as_array().unwrap();
        tables.iter().find(|row| row["table"] == *table).map(|row| row["rows"].clone())
    };
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

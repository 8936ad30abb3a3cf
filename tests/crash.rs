//! Ten crashes under load, each as if the power had failed: SIGKILL, then the journal is cut back to its last synced length.
//!
//! `KEEL_CRASH_NO_SYNC=1` turns syncing off, to show that the test notices; `KEEL_CRASH_ROUNDS` changes the number of rounds.

use keel_tests::{Ack, Load, Node, NodeOptions, Sent, Trader, World, run_keel, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
const MARKET: &str = "ETH-USDC";

#[test]
fn acknowledged_orders_survive_ten_crashes_exactly_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("KEEL_CRASH_ROUNDS").unwrap_or(10);
    let sync = number("KEEL_CRASH_NO_SYNC").is_none();

    let mut world = World::start();
    let options = NodeOptions {
        name: "node".into(),
        sets: vec![
            format!("sequencer.journal_sync={sync}"),
            "sequencer.journal_note_synced=true".into(),
            "ingress.budget_factor=100".into(),
            "log.format=json".into(),
        ],
    };
    let mut node = world.node(&options);
    world.publish_to(&node);
    let traders: Vec<Trader> = (0..4).map(|i| Trader::new(0xc0ffee + i, &world.genesis)).collect();
    node.wait_for_phase("OPEN", OPEN_TIMEOUT);
    world.fund(&node, &traders, &[("USDC", "1000000"), ("ETH", "500")]);

    let (mut acknowledged, mut delivered_late) = (0, 0);
    for round in 0..rounds {
        node.wait_for_phase("OPEN", OPEN_TIMEOUT);
        let load = Load::start(&node, &traders, MARKET, 3_000, "0.01", 1_000_000 * (round + 1));
        wait_for("orders to be acknowledged", Duration::from_secs(30), || (load.acknowledged() >= 40).then_some(()));
        // A different moment of the block in every round.
        std::thread::sleep(Duration::from_millis(137 * (round + 1) % 700));
        node.process.kill();
        let sent = load.finish();
        let lost_bytes = keel_journal::SyncedLength::cut_back(&node.data.join("journal")).expect("the journal can be cut");

        let second = node.data.join(format!("second-{round}"));
        let from_scratch = replay(&node, &second);
        node = world.node(&options);
        // Without prices nothing reopens: what is asked for again below can only be answered, not executed.
        assert_safe_mode_after_restart(&node);
        assert_recovered_state_equals(&node, &from_scratch);
        let late = assert_every_order_once(&node, &sent);
        world.publish_to(&node);
        acknowledged += sent.iter().filter(|s| matches!(s.ack, Ack::Done(_))).count();
        delivered_late += late;
        println!("round {round}: {} sent, {late} of unknown fate found executed, {lost_bytes} bytes lost", sent.len());
    }
    println!(
        "crashes: {rounds} rounds, {acknowledged} acknowledged orders all present, {delivered_late} outcomes delivered after the crash"
    );
    assert!(acknowledged >= rounds as usize * 40);

    node.wait_for_phase("OPEN", OPEN_TIMEOUT);
    node.process.signal("TERM");
    wait_for("a clean stop", Duration::from_secs(60), || node.process.ended());
    let verified: Value =
        serde_json::from_str(&run_keel(&["--set", &format!("data_dir={}", node.data.display()), "verify"])).unwrap();
    assert_eq!(verified["equal"], true);
}

/// A second node from the journal alone.
fn replay(node: &Node, out: &std::path::Path) -> Value {
    let data = format!("data_dir={}", node.data.display());
    let text = run_keel(&["--set", &data, "replay", "--out", &out.display().to_string()]);
    std::fs::remove_dir_all(out).expect("the second node's folder");
    serde_json::from_str(&text).expect("a JSON summary")
}

/// What the node recovered to, from its log, against the second node: digest; then block hash and root by its RPC.
fn assert_recovered_state_equals(node: &Node, from_scratch: &Value) {
    let log = std::fs::read_to_string(&node.log).expect("the node's log");
    let recovered = log.lines().rev().find(|l| l.contains("\"recovered\"")).expect("the node logs its recovery");
    let recovered: Value = serde_json::from_str(recovered).expect("a JSON log line");
    assert_eq!(recovered["fields"]["digest"], from_scratch["engineDigest"], "engine digest after the restart");
    let height: u64 = from_scratch["height"].as_str().unwrap().parse().unwrap();
    let block = wait_for("the last block", Duration::from_secs(20), || {
        match node.call("starknet_getBlockWithTxHashes", json!({ "block_id": { "block_number": height } })) {
            Ack::Done(block) => Some(block),
            _ => None,
        }
    });
    assert_eq!(block["block_hash"], from_scratch["blockHash"], "block hash at {height}");
    assert_eq!(block["new_root"], from_scratch["stateRoot"], "state root at {height}");
}

fn assert_safe_mode_after_restart(node: &Node) {
    let status = node.status();
    assert_ne!(status["phase"], "OPEN", "{status}");
    assert!(status["reasons"].to_string().contains("RESTART"), "{status}");
    assert_eq!(status["openOrders"], "0", "{status}");
}

/// The identical message, as a client sends it that wants to know: again while the node answers that it did not look at it (a command
/// that waited when safe mode was entered is answered unexecuted, and prices going stale enter it once more here).
fn send_again(node: &Node, request: &Value) -> Ack {
    wait_for("an executed answer", Duration::from_secs(10), || {
        let answer = node.call("trade_placeOrder", request.clone());
        let unexecuted = matches!(&answer, Ack::Refused(e) if e["code"] == -32050 && e["data"]["nonceConsumed"] == false);
        (!unexecuted).then_some(answer)
    })
}

/// Every acknowledged order is there with its acknowledged outcome, by sending the identical message again and by asking for it.
/// Returns how many orders whose acknowledgement was lost turn out to be executed.
fn assert_every_order_once(node: &Node, sent: &[Sent]) -> usize {
    let mut late = 0;
    for Sent { account, order, request, ack } in sent {
        let again = send_again(node, request);
        let found = node.call("trade_getOrder", json!({ "account": account, "order": order }));
        match (ack, again) {
            (Ack::Done(first), Ack::Done(again)) => {
                assert_eq!(again["replayed"], true, "a second order came of {order}");
                for field in ["seq", "state", "filled", "quoteFilled", "size"] {
                    assert_eq!(again[field], first[field], "{field} of {order}: acknowledged {first}, now {again}");
                }
                let now = found.done();
                let number = |v: &Value| v.as_str().unwrap().parse::<f64>().unwrap();
                assert!(number(&now["filled"]) >= number(&first["filled"]), "{order} lost fills: {first} -> {now}");
                let over = ["FILLED", "CANCELLED"].contains(&now["state"].as_str().unwrap());
                assert!(over, "{order} is {} after safe mode", now["state"]);
                if first["state"] == "FILLED" {
                    assert_eq!(now["state"], "FILLED", "{order}");
                }
            }
            (Ack::Refused(first), Ack::Refused(again)) => assert_eq!(first["code"], again["code"], "{order}"),
            (Ack::Unknown(_), Ack::Done(again)) => {
                // Durable, its acknowledgement lost: the outcome comes now, and it was not executed anew (nothing opens orders here).
                assert_eq!(again["replayed"], true, "{order}");
                found.done();
                late += 1;
            }
            (Ack::Unknown(_), Ack::Refused(error)) => {
                assert_eq!(error["code"], -32050, "an order that never was: refused by the phase, got {error}");
            }
            (first, again) => panic!("{order}: first {first:?}, again {again:?}"),
        }
    }
    late
}

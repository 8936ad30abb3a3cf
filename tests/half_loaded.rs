//! A venue that comes back with half of its state: funding indices gone, prices zero. Nobody is liquidated, nothing of it is shown, nothing
//! opens, and the reason says so; with the store rebuilt from the journal it opens again.

use keel_contracts::starknet::Layout;
use keel_ingress::MessageKind;
use keel_rpc::JwtSecret;
use keel_tests::{Ack, Node, NodeOptions, Trader, World, call, wait_for};
use keel_types::*;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(90);
const MARKET: &str = "ETH-USDC-PERP";

#[test]
fn a_store_without_funding_indices_and_with_prices_of_zero_opens_nothing() {
    let mut world = World::start();
    let options = NodeOptions { name: "node".into(), sets: vec![] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let traders: Vec<Trader> = (0..2).map(|i| Trader::new(0x0a1f_0000 + i, &world.genesis)).collect();
    world.fund(&node, &traders, &[("USDC", "10000")]);
    for (trader, side) in traders.iter().zip(["BUY", "SELL"]) {
        // At a price of zero the buyer owes more than it has.
        let fields = json!({"market": MARKET, "side": side, "type": "LIMIT", "size": "5", "price": "3000"});
        node.call("trade_placeOrder", trader.sign(MessageKind::Order, 2, fields).0).done();
    }
    let index = wait_for("funding to accrue", PATIENCE, || {
        let index = market(&node)["fundingIndex"].as_str()?.to_owned();
        (index != "0").then_some(index)
    });
    let held = positions(&node, &traders);
    assert!(held.iter().all(|position| !position.is_null()), "{held:?}");
    let height = node.status()["height"].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a height");
    wait_for("the block to be built", PATIENCE, || {
        let built = node.status()["block"]["height"].as_str()?.parse::<u64>().ok()?;
        (built > height).then_some(())
    });
    node.process.kill();
    assert!(half_load(&node.data.join("store"), &world.genesis) > 0, "nothing was there to lose");
    let mut rehearsal = world.command();
    rehearsal.args(["--set", &format!("data_dir={}", node.data.display()), "rehearse", "--batches", "1"]);
    let rehearsed = rehearsal.output().expect("keel runs");
    let why = String::from_utf8_lossy(&rehearsed.stderr);
    assert!(!rehearsed.status.success() && why.contains("the engine says"), "an upgrade is not taken for it: {why}");

    let node = world.node(&options);
    assert_ne!(node.status()["phase"], "OPEN", "served before the restart's record");
    world.publish_to(&node);
    wait_for(&format!("STATE_DIVERGED: {}", node.log.display()), PATIENCE, || {
        let status = node.status();
        let reasons = status["reasons"].as_array()?;
        (status["phase"] == "HALTED" && reasons.contains(&json!("STATE_DIVERGED"))).then_some(())
    });
    for _ in 0..30 {
        assert_eq!(node.status()["phase"], "HALTED", "it waits for an operator");
        let shown = market(&node);
        assert_eq!(shown["fundingIndex"], index.as_str());
        for price in ["mark", "oracle"] {
            assert!(shown[price].as_str().is_some_and(|price| price.starts_with("3")), "{price} of {shown}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(positions(&node, &traders), held);
    for trader in &traders {
        let page = node.call("trade_liquidations", json!({"account": trader.account.to_string()})).done();
        assert_eq!(page["liquidations"], json!([]));
    }

    // What the operator does: the store goes, the journal makes it again, and the word to resume is given.
    let mut node = node;
    node.process.signal("TERM");
    let status = wait_for("a clean stop", PATIENCE, || node.process.ended());
    assert!(status.success(), "the node stopped with {status}: {}", node.log_tail());
    std::fs::remove_dir_all(node.data.join("store")).expect("the store is there");
    let node = world.node(&options);
    world.publish_to(&node);
    assert_eq!(node.status()["phase"], "HALTED", "a restart is no operator's word");
    let incident = node.status()["incident"].clone();
    let secret = std::fs::read_to_string(node.data.join("jwt.hex")).expect("the operator's secret");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let token = JwtSecret::from_hex(secret.trim()).expect("a secret").sign(now);
    let resumed = call(node.admin_port, "/", Some(&token), "admin_resume", &json!({"incident": incident}));
    assert!(matches!(resumed, Ack::Done(_)), "{resumed:?}");
    node.wait_for_phase("OPEN", PATIENCE);
    assert_eq!(positions(&node, &traders), held);
}

fn market(node: &Node) -> Value {
    let list = node.call("market_list", json!({})).done();
    let markets = list.as_array().expect("a list");
    markets.iter().find(|row| row["market"] == MARKET).expect("listed").clone()
}

fn positions(node: &Node, traders: &[Trader]) -> Vec<Value> {
    let position = |trader: &Trader| {
        let account = node.call("trade_account", json!({"account": trader.account.to_string()})).done();
        let position = account["positions"].as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
        // What it cost, without what it is worth by today's price.
        if position.is_null() { position } else { json!([position["market"], position["size"], position["cost"]]) }
    };
    traders.iter().map(position).collect()
}

/// What a loader that stopped half way leaves: every row of the funding indices missing, every price zero. The number of rows.
fn half_load(store: &Path, genesis: &Genesis) -> usize {
    let options = rocksdb::Options::default();
    let tables = rocksdb::DB::list_cf(&options, store).expect("a store");
    let db = rocksdb::DB::open_cf(&options, store, tables).expect("the node is not running");
    let table = db.cf_handle("storage").expect("flat state");
    let markets = 0..genesis.markets.len() as u16;
    let of =
        |write: StateWrite| Layout::new().storage(genesis, &write).into_iter().map(|(slot, _)| slot).collect::<Vec<_>>();
    let funding = |market| StateWrite::Funding { market, index: Amount(1), pool: Amount(1) };
    let price = |market| StateWrite::Price { market, oracle: Price(1), mark: Price(1), ts: Ts(1) };
    let mut rows = 0;
    for market in markets.map(MarketId) {
        for (slots, missing) in [(of(funding(market)), true), (of(price(market)), false)] {
            for slot in slots {
                let prefix = [genesis.exchange.0.to_bytes_be(), slot.to_bytes_be()].concat();
                let found: Vec<Box<[u8]>> = db
                    .prefix_iterator_cf(table, &prefix)
                    .map(|row| row.expect("a row").0)
                    .take_while(|key| key.starts_with(&prefix))
                    .collect();
                rows += found.len();
                for key in found {
                    match missing {
                        true => db.delete_cf(table, key),
                        false => db.put_cf(table, key, [0; 32]),
                    }
                    .expect("written");
                }
            }
        }
    }
    db.flush().expect("flushed");
    rows
}

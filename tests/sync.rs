//! The settled state of an exchange at work on Starknet, rebuilt from there alone by `keel sync --from-settlement`.

use keel_contracts::starknet::settlement::ContractCall;
use keel_tests::{Ack, Load, Node, NodeOptions, Trader, World, keel_binary, root, wait_for};
use keel_types::Felt;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// The newest batch that the node knows to be confirmed.
fn confirmed(node: &Node) -> Option<u64> {
    let Ack::Done(status) = node.call("node_status", json!({})) else { return None };
    status["settlement"]["confirmed"]["batch"].as_str()?.parse().ok()
}

/// Balances by asset as the node tells them, those that are not zero.
fn balances(node: &Node, trader: &Trader) -> Value {
    let account = node.call("trade_account", json!({ "account": trader.account.to_string() })).done();
    let listed = account["balances"].as_array().expect("balances").iter().filter(|balance| balance["total"] != "0");
    listed.map(|balance| (balance["asset"].as_str().expect("a symbol").to_owned(), balance["total"].clone())).collect()
}

/// How a run of `keel sync` ended.
enum Ended {
    /// Killed, after it had told of this batch.
    Killed(u64),
    /// By itself, with what it says it holds.
    Whole(Value),
}

/// Runs `keel sync` and kills it `after` the first batch that it tells of.
fn sync(world: &World, replica: &str, after: Duration) -> Ended {
    let mut command = Command::new(keel_binary());
    command.args(world.settings()).args(["sync", "--from-settlement", "--data", replica]).current_dir(root());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("keel runs");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    let first = lines.next().unwrap_or_default();
    if let Some((batch, _)) = first.strip_prefix("batch ").and_then(|rest| rest.split_once(':')) {
        std::thread::sleep(after);
        process.kill().expect("it was started");
        // What it told of before it died, and the last line may be torn.
        let told = lines.filter_map(|line| line.strip_prefix("batch ")?.split_once(':')?.0.parse().ok()).last();
        if !process.wait().expect("it was started").success() {
            return Ended::Killed(told.unwrap_or_else(|| batch.parse().expect("a number")));
        }
        return sync(world, replica, after);
    }
    let text: String = std::iter::once(first).chain(lines).collect();
    assert!(process.wait().expect("it was started").success(), "{text}");
    Ended::Whole(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn the_state_of_an_exchange_at_work_is_rebuilt_from_devnet_alone_however_often_it_is_killed() {
    let Some((mut world, devnet)) = World::start_on_devnet() else { return };
    let options = NodeOptions { name: "node".into(), sets: vec![] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let traders: Vec<Trader> = (0..4).map(|i| Trader::new(0x57a7e + i, &world.genesis)).collect();
    world.fund(&node, &traders, &[("USDC", "100000"), ("ETH", "50")]);
    let load = Load::start(&node, &traders, "ETH-USDC", 3_000, "0.01", 1_000_000);
    wait_for("batches of a market at work", PATIENCE, || confirmed(&node).filter(|batch| *batch >= 10));
    let sent = load.finish();
    assert!(sent.len() > 100, "{} orders", sent.len());
    // Everything up to here, settled.
    let height = node.call("starknet_blockNumber", json!([])).done().as_u64().expect("a number");
    wait_for("the last block to be settled", PATIENCE, || {
        let batch = node.call("bridge_getBatchByBlock", json!({ "block": (height + 1).to_string() }));
        matches!(batch, Ack::Done(batch) if batch["status"] == "CONFIRMED").then_some(())
    });
    let expected: Vec<Value> = traders.iter().map(|trader| balances(&node, trader)).collect();
    node.process.kill();

    // No new batches come, and the last one is as deep as it must be.
    let deep = devnet.head() + world.genesis.settlement.confirm_depth;
    wait_for("blocks on top of the last batch", PATIENCE, || (devnet.head() >= deep).then_some(()));
    let core = world.genesis.settlement.core;
    let state = devnet.view(&ContractCall::new(core, "get_state", vec![]), &json!("latest"));
    let [root, number, hash] = state[..] else { panic!("{state:?}") };

    let folder = world.dir.path().join("replica");
    let replica = folder.to_str().expect("text");
    let (mut kills, mut reached) = (0, None);
    let held = loop {
        match sync(&world, replica, Duration::from_millis(7 * (kills % 5))) {
            Ended::Whole(held) => break held,
            Ended::Killed(batch) => {
                assert!(Some(batch) > reached, "it told of batch {batch} after {reached:?}");
                (kills, reached) = (kills + 1, Some(batch));
            }
        }
    };
    assert!(kills >= 3, "killed {kills} times");
    println!("sync: {} batches, killed {kills} times, {held}", held["batch"]);
    let hex = |felt: Felt| format!("{felt:#x}");
    let place = (held["root"].clone(), held["lastBlock"].clone(), held["blockHash"].clone());
    let number = u64::try_from(number).expect("a block number");
    assert_eq!(place, (json!(hex(root)), json!(number.to_string()), json!(hex(hash))), "the contract's");
    // Without the stored tries as well: the flat state makes that root.
    let status: Value = serde_json::from_str(&world.keel(&["sync", "status", "--check", "--data", replica])).expect("JSON");
    assert_eq!(status["recomputedRoot"], hex(root));
    for (trader, expected) in traders.iter().zip(&expected) {
        let account = trader.account.to_string();
        let found: Value =
            serde_json::from_str(&world.keel(&["state", "balances", "--data", replica, &account])).expect("JSON");
        assert_eq!(found["balances"], *expected, "{account}");
    }

    let node = world.node(&options);
    let block = json!([{ "block_number": number }]);
    let header = node.call("starknet_getBlockWithTxHashes", block).done();
    assert_eq!((&header["new_root"], &header["block_hash"]), (&json!(hex(root)), &json!(hex(hash))), "the node's");
}

//! What the settlement layer can do to a venue that is open, and how it comes back.

use alloy::primitives::{Address as L1Account, Bytes, U256};
use alloy::sol_types::SolCall;
use keel_contracts::ethereum::{AppchainCore, Bridge};
use keel_tests::{Node, NodeOptions, Trader, World, wait_for};
use keel_types::L1Address;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Accounts of anvil, which signs for them: who owns the contracts, who submits, who deposits. [genesis/dev-keys.json]
const OWNER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const SUBMITTER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
const DEPOSITOR: &str = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc";

fn send(world: &World, from: &str, to: L1Address, data: Vec<u8>) {
    let to = L1Account::from_word(to.0.to_bytes_be().into());
    let call = json!([{ "from": from, "to": to, "data": Bytes::from(data), "gas": "0x4c4b40" }]);
    let hash = world.l1_call("eth_sendTransaction", call).done();
    let receipt = wait_for("a receipt", PATIENCE, || {
        let receipt = world.l1_call("eth_getTransactionReceipt", json!([hash])).done();
        receipt.is_object().then_some(receipt)
    });
    assert_eq!(receipt["status"], "0x1", "{receipt}");
}

fn number(value: &Value) -> u64 {
    value.as_str().expect("a number as text").parse().expect("a number")
}

fn settlement(node: &Node) -> Value {
    node.status()["settlement"].clone()
}

#[test]
fn a_credited_deposit_that_its_sender_takes_back_closes_the_venue_at_half_time_until_it_is_settled() {
    let mut world = World::start();
    let node = world.node(&NodeOptions { name: "node".into(), sets: vec![] });
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let delay_s = 16;
    let call = AppchainCore::setMessageCancellationDelayCall { delayInSeconds: U256::from(delay_s) };
    send(&world, OWNER, world.genesis.settlement.core, call.abi_encode());

    // Nothing is settled any more: the submitter has spent its money.
    world.l1_call("anvil_setBalance", json!([SUBMITTER, "0x0"])).done();
    let trader = Trader::new(0x0505_0000, &world.genesis);
    world.fund(&node, std::slice::from_ref(&trader), &[("USDC", "1000")]);
    wait_for("the submitter to say why", PATIENCE, || (settlement(&node)["submitter"] == "out of funds").then_some(()));
    assert_eq!(settlement(&node)["cancellations"], json!([]));

    let call = Bridge::startDepositCancellationCall { nonce: U256::ZERO };
    send(&world, DEPOSITOR, world.genesis.settlement.bridge, call.abi_encode());
    let alert = wait_for("the alert", PATIENCE, || settlement(&node)["cancellations"].get(0).cloned());
    assert_eq!(alert["messageNonce"], "0");
    assert_eq!(number(&alert["deadline"]) - number(&alert["started"]), 1_000 * delay_s);
    assert_eq!(node.status()["phase"], "OPEN", "an alert is no loss");

    let asked = Instant::now();
    wait_for("safe mode", PATIENCE, || (node.status()["phase"] != "OPEN").then_some(()));
    let status = node.status();
    assert_eq!(status["reason"], "SETTLEMENT_CANCELLATION", "{status}");
    assert!(asked.elapsed() > Duration::from_secs(delay_s / 4), "not before half of the time: {:?}", asked.elapsed());
    assert!(number(&status["since"]) >= number(&alert["started"]) + 500 * delay_s, "{status}");
    assert!(number(&settlement(&node)["backlog"]["batches"]) > 0);

    // With money again it settles, in time, and the venue reopens by itself.
    world.l1_call("anvil_setBalance", json!([SUBMITTER, "0x56bc75e2d63100000"])).done();
    wait_for("the alert to be over", PATIENCE, || (settlement(&node)["cancellations"] == json!([])).then_some(()));
    node.wait_for_phase("OPEN", PATIENCE);
    let account = node.call("trade_account", json!({ "account": trader.account.to_string() })).done();
    assert_eq!(account["balances"][0]["total"], "1000", "{account}");
}

//! One story that most tests read: deposits, trades on a spot and a perpetual market, a withdrawal, two batches.
use crate::node::{Node, Wallet};
use keel_batches::{BatchLimits, Batcher};
use keel_ingress::MessageKind;
use keel_types::*;
use serde_json::{Value, json};

pub struct Story {
    pub node: Node,
    pub maker: Wallet,
    pub taker: Wallet,
    /// Answers of the writes.
    pub rested: Value,
    pub matched: Value,
    pub withdrawn: Value,
}

/// An order's fields without what every test has the same.
pub fn order(market: &str, side: &str, size: &str, price: &str) -> Value {
    json!({"market": market, "side": side, "type": "LIMIT", "size": size, "price": price})
}

impl Story {
    pub fn tell() -> Story {
        let node = Node::start();
        let (maker, taker) = (node.wallet(1), node.wallet(2));
        node.publish_prices();
        node.fund(&maker, 1);
        node.fund(&taker, 3);
        node.seal();
        let place = |wallet: &Wallet, fields: Value| {
            let request = node.sign(wallet, MessageKind::Order, fields);
            node.call("trade_placeOrder", request).expect("placed")
        };
        let rested = place(&maker, order("ETH-USDC", "SELL", "2", "3000"));
        let matched = place(&taker, order("ETH-USDC", "BUY", "0.5", "3001.5"));
        place(&maker, order("ETH-USDC-PERP", "SELL", "3", "3000"));
        place(&taker, order("ETH-USDC-PERP", "BUY", "1", "3000"));
        let fields = json!({"asset": "USDC", "amount": "12.5", "recipient": format!("0x{}", "ab".repeat(20))});
        let request = node.sign(&taker, MessageKind::Withdraw, fields);
        let withdrawn = node.call("trade_withdraw", request).expect("withdrawn");
        node.seal();
        Story { node, maker, taker, rested, matched, withdrawn }
    }

    /// Two batches, `0..=1` and `2`; the first is confirmed.
    pub fn settle(&self) {
        let mut batcher = Batcher::new(self.node.store().clone(), &self.node.genesis, BatchLimits::default());
        for last in [1, 2] {
            batcher.build_to(Height(last)).expect("a batch");
        }
        self.node.store().set_batch_status(BatchId(0), keel_store::BatchStatus::Confirmed, vec![]).expect("stored");
    }
}

#[test]
fn the_story_is_what_the_engine_did() {
    let Story { rested, matched, withdrawn, node, maker, .. } = Story::tell();
    assert_eq!((&rested["state"], &rested["remaining"], &rested["replayed"]), (&json!("OPEN"), &json!("2"), &json!(false)));
    assert_eq!(
        (&matched["state"], &matched["filled"], &matched["remaining"]),
        (&json!("FILLED"), &json!("0.5"), &json!("0"))
    );
    assert_eq!(matched["quoteFilled"], "1500");
    assert_eq!(matched["fills"], json!([{"tradeId": "1", "price": "3000", "size": "0.5", "fee": "0.6"}]));
    assert_eq!(withdrawn["id"], "1");
    let account = node.call("trade_account", json!({"account": maker.account.to_string()})).expect("known");
    assert_eq!(account["balances"][1], json!({"asset": "ETH", "total": "49.5", "reserved": "1.5", "available": "48"}));
    assert_eq!((&account["positions"][0]["size"], &account["openOrders"]), (&json!("-1"), &json!("2")));
}

use crate::chain::{Story, order};
use crate::http::{call, post, read};
use crate::node::Node;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ObjectParams;
use jsonrpsee::ws_client::WsClientBuilder;
use keel_ingress::MessageKind;
use serde_json::{Value, json};

#[test]
fn only_the_three_paths_exist() {
    let node = Node::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "starknet_specVersion", "params": []}).to_string();
    for (path, version) in [("/rpc", "0.10.2"), ("/rpc/v0_10", "0.10.2"), ("/rpc/v0_9", "0.9.0")] {
        assert_eq!(call(node.public, path, "starknet_specVersion", json!([])), Ok(json!(version)));
        assert_eq!(call(node.public, path, "node_status", json!({})).map(|s| s["phase"].clone()), Ok(json!("OPEN")));
    }
    for path in ["/", "/rpc/", "/rpc/v0_8", "/rpc/v0_9/x", "/admin", "/RPC"] {
        assert_eq!(post(node.public, path, &[], &body).0, 404, "{path}");
    }
}

#[test]
fn a_body_over_the_limit_has_an_error_of_its_own() {
    let node = Node::start();
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"trade_placeOrder","params":{{"x":"{}"}}}}"#, "y".repeat(300_000));
    let (status, answer) = post(node.public, "/rpc", &[], &body);
    let error = read(&answer).expect_err("too big");
    assert_eq!((status, error.code), (413, i64::from(keel_rpc::error::REQUEST_TOO_BIG)));
    assert_eq!(error.data["reason"], "REQUEST_TOO_BIG");
}

#[test]
fn batches_are_short_and_hold_no_writes() {
    let Story { node, taker, .. } = Story::tell();
    let entry =
        |id: usize, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let before = node.published.at();
    let order = node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    let batch = json!([entry(1, "starknet_blockNumber", json!([])), entry(2, "trade_placeOrder", order)]);
    let (_, answer) = post(node.public, "/rpc", &[], &batch.to_string());
    let answers: Vec<Value> = serde_json::from_str(&answer).expect("an array");
    assert_eq!(answers[0]["result"], 2);
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["data"]["reason"]), (&json!(2), &json!("WRITE_IN_BATCH")));
    assert_eq!(node.published.at(), before);

    let many = |n: usize| (0..n).map(|id| entry(id, "starknet_chainId", json!([]))).collect::<Value>().to_string();
    let (_, answer) = post(node.public, "/rpc", &[], &many(20));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&answer).map(|answers| answers.len()).ok(), Some(20));
    let (_, answer) = post(node.public, "/rpc", &[], &many(21));
    assert_eq!(read(&answer).expect_err("too long").data["reason"], "BATCH_TOO_LONG");
}

#[test]
fn the_same_methods_are_served_over_websocket() {
    let Story { node, maker, .. } = Story::tell();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = |path: &str| format!("ws://{}{path}", node.public);
    let cancel = node.sign(&maker, MessageKind::CancelAll, json!({"market": "ALL"}));
    runtime.block_on(async {
        let client = WsClientBuilder::default().build(url("/rpc/v0_9")).await.expect("connects");
        let version: Value = client.request("starknet_specVersion", ObjectParams::new()).await.expect("answered");
        assert_eq!(version, "0.9.0");
        let mut params = ObjectParams::new();
        for (name, value) in cancel.as_object().expect("an object") {
            params.insert(name, value).expect("a JSON value");
        }
        let answer: Value = client.request("trade_cancelAll", params).await.expect("cancelled");
        assert_eq!(answer["count"], "2");
        assert!(WsClientBuilder::default().build(url("/elsewhere")).await.is_err());
    });
}

#[test]
fn what_is_not_json_rpc_is_told_so() {
    let node = Node::start();
    let (_, answer) = post(node.public, "/rpc", &[], "{not json");
    assert_eq!(read(&answer).expect_err("not JSON").code, -32700);
    assert_eq!(call(node.public, "/rpc", "trade_steal", json!({})).expect_err("no such method").code, -32601);
    let (status, _) = post(node.public, "/rpc", &[("Origin", "https://elsewhere.example")], "{}");
    assert_eq!(status, 200);
}

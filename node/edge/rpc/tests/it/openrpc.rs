//! The document that the node serves of itself, against the node.
use crate::chain::{Story, order};
use crate::http::{Error, call, call_raw};
use crate::node::{Node, now_ms};
use keel_ingress::{IngressError, MessageKind};
use keel_types::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What `rpc.discover` answered.
pub struct Document(pub Value);

impl Document {
    fn method(&self, name: &str) -> Option<&Value> {
        self.0["methods"].as_array().expect("a list").iter().find(|method| method["name"] == name)
    }

    /// An answer of one of Keel's own methods is of the documented type, an error is one of the documented ones.
    pub fn assert_documented(&self, method: &str, answer: &Result<Value, Error>) {
        let Some(described) = self.method(method) else { return };
        match answer {
            Ok(value) => {
                let errors = self.differences(&described["result"]["schema"], value);
                assert!(errors.is_empty(), "{method}: {}\n{value:#}", errors.join("\n"));
            }
            Err(error) => {
                let listed = described["errors"].as_array().expect("a list").iter();
                let mut known = listed.filter_map(|e| self.0.pointer(e["$ref"].as_str()?.trim_start_matches('#')));
                assert!(known.any(|known| known["code"] == error.code), "{method} may not answer {error:?}");
            }
        }
    }

    /// A value is of a documented type.
    pub fn assert_is(&self, name: &str, value: &Value) {
        let errors = self.differences(&json!({"$ref": format!("#/components/schemas/{name}")}), value);
        assert!(errors.is_empty(), "{name}: {}\n{value:#}", errors.join("\n"));
    }

    fn differences(&self, schema: &Value, value: &Value) -> Vec<String> {
        let schema = json!({"allOf": [schema], "components": self.0["components"]});
        let validator = jsonschema::options().build(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// What is wrong with the parameters of a call.
    fn wrong_params(&self, method: &str, params: &Value) -> Vec<String> {
        let described = self.method(method).unwrap_or_else(|| panic!("{method} is not documented"));
        let mut wrong = Vec::new();
        let known = described["params"].as_array().expect("a list");
        let names: Vec<&str> = known.iter().filter_map(|param| param["name"].as_str()).collect();
        let fields = params.as_object().expect("parameters are by name");
        wrong.extend(fields.keys().filter(|name| !names.contains(&name.as_str())).map(|name| format!("{name} is unknown")));
        for param in known {
            let name = param["name"].as_str().expect("a name");
            match fields.get(name) {
                Some(value) => wrong.extend(self.differences(&param["schema"], value)),
                None if param["required"] == true => wrong.push(format!("{name} is missing")),
                None => {}
            }
        }
        wrong
    }
}

#[test]
fn what_is_registered_is_what_is_documented() {
    let node = Node::start();
    let registered: BTreeSet<&str> = node.methods().iter().map(String::as_str).collect();
    let methods = node.document().0["methods"].as_array().expect("a list");
    let documented: BTreeSet<&str> = methods.iter().filter_map(|method| method["name"].as_str()).collect();
    assert_eq!(registered, documented);
    for path in ["/rpc", "/rpc/v0_9", "/rpc/v0_10"] {
        assert_eq!(call(node.public, path, "rpc.discover", json!({})).as_ref(), Ok(&node.document().0), "{path}");
    }
    let error = call_raw(node.public, "/rpc", "rpc.discover", r#"{"verbose":true}"#).expect_err("no such field");
    assert_eq!(error.data["reason"], "UNKNOWN_FIELD");
}

/// Each `starknet_*` method is listed with the paths that have it, and those that this node cannot carry out say so.
#[test]
fn starknets_methods_are_listed_with_their_paths_and_whether_they_are_executed() {
    let node = Node::start();
    let methods = node.document().0["methods"].as_array().expect("a list").iter();
    let listed: Vec<&Value> = methods.filter(|method| method.get("x-keel-execution").is_some()).collect();
    assert!(listed.len() >= 31, "{}", listed.len());
    for method in &listed {
        let name = method["name"].as_str().expect("a name");
        assert!(name.starts_with("starknet_"), "{name}");
        for (path, version) in method["x-keel-paths"].as_object().expect("paths") {
            assert_eq!(call(node.public, path, "starknet_specVersion", json!([])).as_ref(), Ok(version));
            let error = call(node.public, path, name, json!({"no such parameter": 1})).expect_err(name);
            assert_eq!(error.code, -32602, "{path} {name}: {error:?}");
        }
    }
    let unavailable = listed.iter().filter(|method| method["x-keel-execution"] == "unavailable");
    let names: BTreeSet<&str> = unavailable.filter_map(|method| method["name"].as_str()).collect();
    let expected = [
        "starknet_addDeclareTransaction",
        "starknet_addDeployAccountTransaction",
        "starknet_addInvokeTransaction",
        "starknet_call",
        "starknet_estimateFee",
        "starknet_estimateMessageFee",
        "starknet_simulateTransactions",
        "starknet_traceBlockTransactions",
        "starknet_traceTransaction",
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

/// Starknet's subscriptions are listed with the paths that have them, and say that they need a WebSocket.
#[test]
fn starknets_subscriptions_are_listed_with_their_transport_and_parameters() {
    let node = Node::start();
    let methods = node.document().0["methods"].as_array().expect("a list").iter();
    let mut listed = BTreeSet::new();
    for method in methods.filter(|method| method["x-keel-transport"] == "websocket") {
        let name = method["name"].as_str().expect("a name");
        let paths: Vec<&String> = method["x-keel-paths"].as_object().expect("paths").keys().collect();
        assert_eq!(paths, ["/rpc", "/rpc/v0_10", "/rpc/v0_9"], "{name}");
        for path in paths {
            let error = call(node.public, path, name, json!([])).expect_err(name);
            let errors = method["errors"].as_array().expect("a list").iter();
            let mut known = errors.filter_map(|e| node.document().0.pointer(e["$ref"].as_str()?.trim_start_matches('#')));
            assert!(error.code == -32066 && known.any(|known| known["code"] == error.code), "{path} {name}: {error:?}");
        }
        let params = method["params"].as_array().expect("a list").iter();
        let params: Vec<String> = params.map(|param| format!("{}{}", param["name"], param["x-starknet-versions"])).collect();
        listed.insert((name, params.join(" ").replace('"', "")));
    }
    let (events, both) = ("from_address keys block_id finality_status", "finality_status sender_address");
    let expected = [
        ("starknet_subscribeEvents", events, ""),
        ("starknet_subscribeNewHeads", "block_id", ""),
        ("starknet_subscribeNewTransactionReceipts", both, ""),
        ("starknet_subscribeNewTransactions", both, " tags[0.10.2]"),
        ("starknet_subscribeTransactionStatus", "transaction_hash", ""),
        ("starknet_unsubscribe", "subscription_id", ""),
    ];
    let expected = expected.map(|(name, params, newer)| {
        let params: Vec<String> = params.split(' ').map(|param| format!("{param}[0.9.0,0.10.2]")).collect();
        (name, params.join(" ") + newer)
    });
    assert_eq!(listed, BTreeSet::from(expected));
}

#[test]
fn every_error_is_documented_with_its_code() {
    let node = Node::start();
    let documented = &node.document().0["components"]["errors"];
    let rejects = Reject::ALL.iter().map(|reject| (reject.code(), reject.as_str()));
    let others = IngressError::TABLE.iter().chain(keel_rpc::error::TABLE).map(|(code, reason, _)| (*code, *reason));
    let all: Vec<(i32, &str)> = rejects.chain(others).collect();
    for (code, reason) in &all {
        assert_eq!(documented[reason]["code"], *code, "{reason}");
        assert!(documented[reason]["message"].as_str().is_some_and(|text| !text.is_empty()), "{reason}");
    }
    assert_eq!(documented.as_object().map(|errors| errors.len()), Some(all.len()));
    assert_eq!(all.iter().map(|(code, _)| code).collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn the_check_finds_what_is_wrong() {
    let node = Node::start();
    let document = node.document();
    let level = json!({"$ref": "#/components/schemas/Level"});
    let good = json!({"price": "3000.5", "size": "1", "orders": "2"});
    assert!(document.differences(&level, &good).is_empty());
    for bad in [
        json!({"price": "3000.5", "size": "1"}),
        json!({"price": 3000.5, "size": "1", "orders": "2"}),
        json!({"price": "1e3", "size": "1", "orders": "2"}),
        json!({"price": "3000.5", "size": "1", "orders": "02"}),
        json!({"price": "3000.5", "size": "1", "orders": "2", "more": "1"}),
    ] {
        assert!(!document.differences(&level, &bad).is_empty(), "{bad}");
    }
    assert_eq!(
        document.wrong_params("market_book", &json!({"depth": "5", "x": "1"})),
        ["x is unknown", "market is missing"]
    );
}

/// Every method of the document is called with parameters that fit it, and [Node::call] checks the answer.
#[test]
fn every_method_takes_and_answers_what_is_documented() {
    let story = Story::tell();
    story.settle();
    let Story { node, maker, taker, rested, .. } = &story;
    let account = json!({"account": maker.account.to_string()});
    let market = json!({"market": "ETH-USDC-PERP"});
    let newcomer = node.wallet(3);
    let session = node.wallet(4);
    let signed = |kind, fields| node.sign(maker, kind, fields);
    let entry = |of: &str, kind, fields| {
        let mut request = signed(kind, fields);
        request["type"] = json!(of);
        request
    };
    let grant = json!({
        "key": session.key.to_string(), "expiry": (now_ms() + 3_600_000).to_string(), "scope": "TRADE",
        "markets": ["ETH-USDC"], "maxOrderNotional": "10000",
    });
    let calls = [
        ("market_list", json!({})),
        ("market_book", json!({"market": "ETH-USDC", "depth": "5"})),
        ("market_trades", json!({"market": "ETH-USDC", "limit": "5"})),
        ("market_ticker", market.clone()),
        ("market_ticker", json!({"market": "BTC-USDC-PERP"})),
        ("market_funding", market.clone()),
        ("market_oracle", json!({})),
        ("trade_account", account.clone()),
        ("trade_openOrders", account.clone()),
        ("trade_getOrder", json!({"account": account["account"], "order": rested["order"]})),
        ("trade_typedData", json!({"type": "Session", "message": signed(MessageKind::Session, json!({}))["message"]})),
        (
            "trade_register",
            node.sign(&newcomer, MessageKind::Register, json!({"key": newcomer.key.to_string(), "template": "keel"})),
        ),
        ("trade_placeOrder", node.sign(taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"))),
        (
            "trade_modifyOrder",
            signed(MessageKind::ModifyOrder, json!({"order": rested["order"], "price": "3001", "size": "1.9"})),
        ),
        (
            "trade_batch",
            json!({"requests": [
                entry("Order", MessageKind::Order, order("ETH-USDC", "SELL", "0.1", "3100")),
                entry("CancelOrder", MessageKind::CancelOrder, json!({"clientId": "77"})),
                entry("CancelAll", MessageKind::CancelAll, json!({"market": "ETH-USDC-PERP"})),
            ]}),
        ),
        ("trade_cancelOrder", signed(MessageKind::CancelOrder, json!({"order": rested["order"]}))),
        ("trade_scheduleCancel", signed(MessageKind::ScheduleCancel, json!({"at": (now_ms() + 60_000).to_string()}))),
        ("trade_addSessionKey", signed(MessageKind::SessionKey, grant)),
        ("trade_sessionKeys", account.clone()),
        ("trade_account", account.clone()),
        ("trade_revokeSessionKey", signed(MessageKind::RevokeSessionKey, json!({"key": session.key.to_string()}))),
        (
            "trade_transfer",
            signed(MessageKind::Transfer, json!({"recipient": taker.account.to_string(), "asset": "USDC", "amount": "1.5"})),
        ),
        (
            "trade_withdraw",
            signed(
                MessageKind::Withdraw,
                json!({"asset": "USDC", "amount": "1.5", "recipient": format!("0x{}", "ab".repeat(20))}),
            ),
        ),
        ("trade_cancelAll", signed(MessageKind::CancelAll, json!({"market": "ALL"}))),
        // There was no incident: the engine says so.
        ("trade_restoreOrders", signed(MessageKind::RestoreOrders, json!({"incident": "1", "orders": [rested["order"]]}))),
        ("market_publishPrices", json!({"reports": [node.price_report(0, "ETH-USDC", 3_000)]})),
        ("bridge_getLatest", json!({})),
        ("bridge_getBatch", json!({"batch": "1"})),
        ("bridge_getBatches", json!({"from": "1", "limit": "5"})),
        ("bridge_getBatchByBlock", json!({"block": "1"})),
        ("bridge_getBatchData", json!({"batch": "0"})),
        ("bridge_getDeposit", json!({"messageNonce": "1"})),
        ("bridge_getWithdrawal", json!({"id": "1"})),
        ("node_status", json!({})),
        ("rpc.discover", json!({})),
        ("trade_orderHistory", account.clone()),
        ("trade_fillHistory", json!({"account": account["account"], "limit": "5"})),
        ("trade_transferHistory", account.clone()),
        ("trade_withdrawalHistory", account.clone()),
        ("trade_liquidations", account.clone()),
        ("market_tradeHistory", json!({"market": "ETH-USDC"})),
        ("market_fundingHistory", json!({"market": "ETH-USDC-PERP"})),
        ("market_candles", json!({"market": "ETH-USDC", "interval": "1m"})),
    ];
    let mut called = BTreeSet::new();
    for (method, params) in calls {
        assert_eq!(node.document().wrong_params(method, &params), Vec::<String>::new(), "{method} {params:#}");
        if let Err(error) = node.call(method, params) {
            // Documented, which was checked; and of the engine, so that nothing before it stood in the way.
            assert!(error.data["nonceConsumed"] == true, "{method}: {error:?}");
            assert!(!ALWAYS_ANSWERED.contains(&method), "{method}: {error:?}");
        }
        called.insert(method);
    }
    // The venue closes while an order rests.
    let resting = node.call("trade_placeOrder", signed(MessageKind::Order, order("ETH-USDC", "SELL", "0.1", "3100")));
    let resting = resting.expect("it rests")["order"].clone();
    node.system(Command::EnterSafeMode(EnterSafeMode {
        incident: IncidentId(1),
        reasons: LossReasons::of(LossReason::Operator),
        observed_ts: Ts(1),
    }));
    let cancelled = [
        ("trade_getCancelledOrders", json!({"account": maker.account.to_string(), "incident": "1"})),
        ("node_getCancelReceipt", json!({"order": resting})),
    ];
    for (method, params) in [
        ("node_getIncidents", json!({"limit": "5"})),
        ("node_getIncident", json!({"incident": "1"})),
        ("node_getIncidentAccounts", json!({"incident": "1", "limit": "5"})),
        ("node_getIncidentFills", json!({"incident": "1", "account": account["account"], "limit": "5"})),
    ] {
        assert_eq!(node.document().wrong_params(method, &params), Vec::<String>::new(), "{method} {params:#}");
        node.call(method, params).expect(method);
        called.insert(method);
    }
    for (method, params) in cancelled {
        assert_eq!(node.document().wrong_params(method, &params), Vec::<String>::new(), "{method} {params:#}");
        let answer = node.call(method, params).expect(method);
        let order = if method == "node_getCancelReceipt" { &answer["order"] } else { &answer["orders"][0]["order"] };
        assert_eq!(*order, resting, "{answer:#}");
        called.insert(method);
    }
    let documented = node.document().0["methods"].as_array().expect("a list");
    // Starknet's are called where its documents are checked.
    let names = documented.iter().filter_map(|m| m["name"].as_str()).filter(|name| !name.starts_with("starknet_"));
    let names = names.filter(|name| !SOCKET_ONLY.contains(name));
    let missed: Vec<_> = names.filter(|m| !called.contains(m)).collect();
    assert!(missed.is_empty(), "not called: {missed:?}");
}

/// What the engine carries out in this story.
const ALWAYS_ANSWERED: [&str; 6] =
    ["trade_register", "trade_placeOrder", "trade_batch", "trade_cancelOrder", "trade_cancelAll", "trade_withdraw"];

/// Not over HTTP, which this test speaks; the clients' tests call them on a WebSocket.
const SOCKET_ONLY: [&str; 8] = [
    "trade_login",
    "trade_sessionCancel",
    "trade_sessionCancelAll",
    "trade_setCancelOnDisconnect",
    "keel_subscribe",
    "keel_unsubscribe",
    "bridge_subscribeBatches",
    "bridge_unsubscribeBatches",
];

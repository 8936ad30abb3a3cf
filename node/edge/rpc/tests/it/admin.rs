use crate::chain::{Story, order};
use crate::http::{Error, call, post, read};
use crate::node::{FOLLOWER_SECRET, Node, SECOND_SECRET, SECRET, now_ms};
use keel_ingress::MessageKind;
use keel_rpc::JwtSecret;
use keel_types::*;
use serde_json::{Value, json};

fn admin(node: &Node, method: &str, params: Value) -> Result<Value, Error> {
    admin_with(SECRET, node, method, params)
}

fn admin_with(secret: &str, node: &Node, method: &str, params: Value) -> Result<Value, Error> {
    let token = JwtSecret::from_hex(secret).expect("a good secret").sign(now_ms() / 1_000);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let (status, answer) = post(node.admin, "/", &[("Authorization", &format!("Bearer {token}"))], &body);
    assert_eq!(status, 200, "{answer}");
    read(&answer)
}

#[test]
fn safe_mode_is_entered_and_every_write_gets_the_phase_error() {
    let Story { node, maker, taker, rested, .. } = Story::tell();
    let entered = admin(&node, "admin_enterSafeMode", json!({"reason": "drill"})).expect("entered");
    assert_eq!((&entered["incident"], &entered["cancelled"]), (&json!("1"), &json!("2")));

    let open = node.call("trade_openOrders", json!({"account": maker.account.to_string()})).expect("orders");
    assert_eq!(open["orders"], json!([]));
    let params = json!({"account": maker.account.to_string(), "order": rested["order"]});
    let order_now = node.call("trade_getOrder", params).expect("known");
    let ended = (&order_now["state"], &order_now["reason"], &order_now["initiator"], &order_now["incident"]);
    assert_eq!(ended, (&json!("CANCELLED"), &json!("SAFE_MODE"), &json!("SAFE_MODE"), &json!("1")));

    let request = node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    let error = node.call("trade_placeOrder", request).expect_err("HALTED");
    assert_eq!(error.code, -32050);
    let data = &error.data;
    assert_eq!((&data["phase"], &data["incident"], &data["reason"]), (&json!("HALTED"), &json!("1"), &json!("OPERATOR")));
    let since: u64 = data["since"].as_str().and_then(|text| text.parse().ok()).expect("milliseconds");
    assert_eq!((&data["nextPhase"], &data["eta"]), (&json!("READ_ONLY"), &json!((since + 1_000).to_string())));
    assert_eq!(data["nonceConsumed"], false);

    node.system(Command::SetPhase(SetPhase {
        incident: IncidentId(1),
        phase: Phase::ReadOnly,
        post_only_until: Ts(0),
        integrity_report: Bytes32::default(),
    }));
    let request = node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    let error = node.call("trade_placeOrder", request).expect_err("READ_ONLY");
    assert_eq!(
        (error.code, &error.data["phase"], &error.data["nonceConsumed"]),
        (-32050, &json!("READ_ONLY"), &json!(true))
    );
    assert_eq!(error.data["seq"], json!(node.published.at().seq.to_string()));
    let status = node.call("node_status", json!({})).expect("a status");
    assert_eq!((&status["phase"], &status["nextPhase"]), (&json!("READ_ONLY"), &json!("SPOT")));
}

#[test]
fn what_an_incident_cancelled_comes_back_by_one_message_and_is_listed_with_what_took_its_place() {
    let Story { node, maker, taker, rested, .. } = Story::tell();
    admin(&node, "admin_enterSafeMode", json!({"reason": "drill"})).expect("entered");
    let list = || {
        let params = json!({"account": maker.account.to_string(), "incident": "1"});
        node.call("trade_getCancelledOrders", params).expect("listed")["orders"].as_array().expect("orders").clone()
    };
    let orders: Vec<Value> = list().iter().map(|order| order["order"].clone()).collect();
    // The perpetual's first: the last to be cancelled.
    assert_eq!((orders.len(), &orders[1]), (2, &rested["order"]));
    let restore = |wallet, orders: Value| {
        let fields = json!({"incident": "1", "orders": orders});
        let request = node.sign(wallet, MessageKind::RestoreOrders, fields);
        (request.clone(), node.call("trade_restoreOrders", request))
    };
    let error = restore(&maker, json!(orders)).1.expect_err("HALTED");
    assert_eq!((error.code, &error.data["nonceConsumed"]), (-32050, &json!(false)));
    for phase in [Phase::ReadOnly, Phase::Spot] {
        let integrity_report = Bytes32([u8::from(phase == Phase::Spot); 32]);
        let (incident, post_only_until) = (IncidentId(1), Ts(0));
        node.system(Command::SetPhase(SetPhase { incident, phase, post_only_until, integrity_report }));
        if phase == Phase::ReadOnly {
            let error = restore(&maker, json!(orders)).1.expect_err("READ_ONLY");
            assert_eq!((error.code, &error.data["nonceConsumed"]), (-32050, &json!(true)));
        }
    }

    let (request, answer) = restore(&maker, json!([orders[0], orders[1], "0x1"]));
    let answer = answer.expect("answered");
    assert_eq!((&answer["restored"], &answer["refused"], &answer["replayed"]), (&json!("1"), &json!("2"), &json!(false)));
    let refused = |order: &Value, reason: &str| json!({"order": order, "restored": null, "refused": reason});
    assert_eq!(answer["orders"][0], refused(&orders[0], "PHASE_FORBIDS"));
    assert_eq!(answer["orders"][2], refused(&json!("0x1"), "NOT_RESTORABLE"));
    let placed = &answer["orders"][1]["restored"];
    assert_eq!((&placed["state"], &placed["size"], &placed["filled"]), (&json!("OPEN"), &json!("1.5"), &json!("0")));

    let open = node.call("trade_openOrders", json!({"account": maker.account.to_string()})).expect("orders");
    assert_eq!((open["orders"].as_array().map(Vec::len), &open["orders"][0]["order"]), (Some(1), &placed["order"]));
    let shown: Vec<Value> = list().iter().map(|order| order["restored"].clone()).collect();
    assert_eq!(shown, [Value::Null, placed["order"].clone()]);
    let again = node.call("trade_restoreOrders", request).expect("answered");
    assert_eq!((&again["restored"], &again["refused"], &again["replayed"]), (&json!("1"), &json!("2"), &json!(true)));

    let theirs = restore(&taker, json!([orders[0]])).1.expect("answered");
    assert_eq!(theirs["orders"][0], refused(&orders[0], "NOT_RESTORABLE"));
    // Filled like any other, with a transaction on chain.
    let bought = node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "1.5", "3000"));
    assert_eq!(node.call("trade_placeOrder", bought).expect("placed")["filled"], "1.5");
    node.seal();
}

#[test]
fn what_broke_an_invariant_goes_on_by_the_word_of_two_operators_and_not_by_that_of_one_twice() {
    let node = Node::start();
    let halt = |reason| {
        let reasons = LossReasons::of(reason);
        node.system(Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: Ts(0) }));
    };
    let opens = || {
        let (incident, phase) = (IncidentId(1), Phase::ReadOnly);
        let set = SetPhase { incident, phase, post_only_until: Ts(0), integrity_report: Bytes32::default() };
        let events = node.system(Command::SetPhase(set));
        events.iter().any(|event| matches!(event, Event::PhaseChanged { .. }))
    };
    let resume = |secret: &str| {
        let answer = admin_with(secret, &node, "admin_resume", json!({"incident": "1"}));
        answer.map(|answer| answer["operator"].clone()).map_err(|error| error.data["reason"].clone())
    };
    halt(LossReason::InvariantBroken);
    assert!(!opens());
    assert_eq!((resume(SECRET), resume(SECRET)), (Ok(json!("0")), Ok(json!("0"))));
    assert!(!opens(), "one operator is not two");
    assert_eq!(resume(FOLLOWER_SECRET), Err(json!("ROLE_FORBIDS")));
    assert!(!opens());
    // A new loss takes their word back.
    halt(LossReason::DiskLow);
    assert_eq!(resume(SECOND_SECRET), Ok(json!("1")));
    assert!(!opens(), "what was said before the new loss does not count");
    assert_eq!(resume(SECRET), Ok(json!("0")));
    assert!(opens());
}

#[test]
fn an_operators_command_that_cannot_apply_says_why() {
    let node = Node::start();
    let error = admin(&node, "admin_resume", json!({"incident": "3"})).expect_err("there is no incident");
    assert_eq!(error.data["reason"], "WRONG_INCIDENT");
    for (params, reason, field) in [
        (json!({"incident": 3}), "NUMBER_NOT_STRING", "incident"),
        (json!({}), "MISSING_FIELD", "incident"),
        (json!({"incident": "1", "force": "yes"}), "UNKNOWN_FIELD", "force"),
    ] {
        let error = admin(&node, "admin_resume", params).expect_err(reason);
        assert_eq!((&error.data["reason"], &error.data["field"]), (&json!(reason), &json!(field)));
    }
    let long = "x".repeat(300);
    assert_eq!(admin(&node, "admin_enterSafeMode", json!({"reason": long})).expect_err("long").data["reason"], "TOO_LONG");
    assert_eq!(node.published.phase().phase, Phase::Open);
}

#[test]
fn without_a_fresh_token_nothing_is_even_read() {
    let node = Node::start();
    let secret = JwtSecret::from_hex(SECRET).expect("a good secret");
    let now = now_ms() / 1_000;
    let other = JwtSecret::from_hex(&"77".repeat(32)).expect("a good secret");
    // {"alg":"none"} . {"iat": now} . nothing
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", secret.sign(now).split('.').nth(1).expect("claims"));
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "admin_enterSafeMode", "params": {"reason": "attack"}}).to_string();
    for (name, header) in [
        ("no header", None),
        ("another scheme", Some(format!("Basic {}", secret.sign(now)))),
        ("another secret", Some(format!("Bearer {}", other.sign(now)))),
        ("old", Some(format!("Bearer {}", secret.sign(now - 120)))),
        ("from the future", Some(format!("Bearer {}", secret.sign(now + 120)))),
        ("alg none", Some(format!("Bearer {unsigned}"))),
    ] {
        let headers: Vec<(&str, &str)> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let (status, answer) = post(node.admin, "/", &headers, &body);
        assert_eq!(status, 401, "{name}: {answer}");
    }
    assert_eq!(node.published.phase().phase, Phase::Open);
    // The public port has no admin method at all.
    let error = call(node.public, "/rpc", "admin_enterSafeMode", json!({"reason": "attack"})).expect_err("not here");
    assert_eq!(error.code, -32601);
}

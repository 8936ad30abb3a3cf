//! `trade_*`, `market_*`, `node_status`.
use crate::chain::{Story, order};
use crate::http::call_raw;
use crate::node::{Node, now_ms};
use keel_ingress::MessageKind;
use keel_types::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

#[test]
fn queries_show_the_story() {
    let Story { node, maker, taker, rested, .. } = Story::tell();
    let book = node.call("market_book", json!({"market": "ETH-USDC", "depth": "5"})).expect("a book");
    assert_eq!(book["asks"], json!([{"price": "3000", "size": "1.5", "orders": "1"}]));
    assert_eq!(book["bids"], json!([]));
    let trades = node.call("market_trades", json!({"market": "ETH-USDC"})).expect("trades");
    assert_eq!(trades["trades"].as_array().map(Vec::len), Some(1));
    assert_eq!(trades["trades"][0]["takerSide"], "BUY");

    let list = node.call("market_list", json!({})).expect("markets");
    let markets = list.as_array().expect("a list");
    assert_eq!(markets.len(), node.genesis.markets.len());
    assert_eq!(
        (&markets[0]["market"], &markets[0]["tickSize"], &markets[0]["feeTaker"]),
        (&json!("ETH-USDC"), &json!("0.01"), &json!("0.0004"))
    );
    assert_eq!(
        (&markets[2]["kind"], &markets[2]["openInterest"], &markets[2]["feeMaker"]),
        (&json!("PERPETUAL"), &json!("1"), &json!("-0.00005"))
    );

    let open =
        node.call("trade_openOrders", json!({"account": maker.account.to_string(), "market": "ETH-USDC"})).expect("orders");
    assert_eq!(open["orders"].as_array().map(Vec::len), Some(1));
    assert_eq!(open["orders"][0]["order"], rested["order"]);
    assert_eq!(open["orders"][0]["state"], "PARTIALLY_FILLED");

    let params = json!({"account": maker.account.to_string(), "order": rested["order"]});
    let mine = node.call("trade_getOrder", params).expect("known");
    assert_eq!((&mine["filled"], &mine["market"]), (&json!("0.5"), &json!("ETH-USDC")));
    let others = json!({"account": taker.account.to_string(), "order": rested["order"]});
    assert_eq!(node.call("trade_getOrder", others).expect_err("not the taker's").data["reason"], "UNKNOWN_ORDER");

    let status = node.call("node_status", json!({})).expect("a status");
    assert_eq!((&status["phase"], &status["chainId"], &status["height"]), (&json!("OPEN"), &json!("KEEL_DEV"), &json!("2")));
    assert_eq!((&status["openOrders"], &status["settlement"]["head"]), (&json!("2"), &json!("17")));
    assert_eq!((&status["incident"], &status["nextPhase"], &status["eta"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[test]
fn no_answer_holds_a_number_that_is_not_text() {
    fn check(method: &str, value: &Value) {
        match value {
            Value::Number(number) => panic!("{method} answers with the bare number {number}"),
            Value::Array(items) => items.iter().for_each(|item| check(method, item)),
            Value::Object(fields) => fields.values().for_each(|item| check(method, item)),
            _ => {}
        }
    }
    let story = Story::tell();
    story.settle();
    let account = json!({"account": story.maker.account.to_string()});
    for (method, params) in [
        ("market_list", json!({})),
        ("market_book", json!({"market": "ETH-USDC"})),
        ("market_trades", json!({"market": "ETH-USDC"})),
        ("trade_account", account.clone()),
        ("trade_openOrders", account),
        ("node_status", json!({})),
        ("bridge_getLatest", json!({})),
        ("bridge_getBatch", json!({"batch": "1"})),
        ("bridge_getBatchData", json!({"batch": "0"})),
        ("bridge_getDeposit", json!({"messageNonce": "1"})),
        ("bridge_getWithdrawal", json!({"id": "1"})),
    ] {
        check(method, &story.node.call(method, params).unwrap_or_else(|error| panic!("{method}: {error:?}")));
    }
    for answer in [&story.rested, &story.matched, &story.withdrawn] {
        check("a write", answer);
    }
}

#[test]
fn the_identical_message_again_returns_the_recorded_outcome() {
    let Story { node, taker, maker, .. } = Story::tell();
    let request = node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    let first = node.call("trade_placeOrder", request.clone()).expect("placed");
    // Changes the book, so that a second execution would show.
    let cancel = node.sign(&maker, MessageKind::CancelAll, json!({"market": "ALL"}));
    assert_eq!(node.call("trade_cancelAll", cancel).expect("cancelled")["count"], "2");
    let mut again = node.call("trade_placeOrder", request).expect("answered");
    assert_eq!(again["replayed"], true);
    // History is written a moment after the first answer; its fills are the first answer's.
    again["replayed"] = json!(false);
    assert_eq!(again, first);
}

#[test]
fn a_cancel_that_lost_the_race_says_what_became_of_the_order() {
    let Story { node, taker, matched, .. } = Story::tell();
    let cancel = node.sign(&taker, MessageKind::CancelOrder, json!({"order": matched["order"]}));
    let error = node.call("trade_cancelOrder", cancel).expect_err("it is filled");
    assert_eq!(error.code, i64::from(Reject::OrderNotOpen.code()));
    assert_eq!((&error.data["reason"], &error.data["nonceConsumed"]), (&json!("ORDER_NOT_OPEN"), &json!(true)));
    assert_eq!((&error.data["order"]["state"], &error.data["order"]["filled"]), (&json!("FILLED"), &json!("0.5")));
}

#[test]
fn typed_data_is_ready_for_a_wallet() {
    let node = Node::start();
    let mut message = order("ETH-USDC", "BUY", "0.25", "3000");
    message["account"] = json!(node.wallet(1).account.to_string());
    (message["nonce"], message["validUntil"]) = (json!("7"), json!("1760000000000"));
    let typed = node.call("trade_typedData", json!({"type": "Order", "message": message})).expect("typed data");
    assert_eq!((&typed["primaryType"], &typed["domain"]["name"]), (&json!("Order"), &json!("Keel")));
    assert!(typed["types"]["Order"].as_array().is_some_and(|fields| fields.len() == 14), "{typed}");
}

/// Each with the code and field it must have; none changes anything.
#[test]
fn each_bad_request_has_its_own_code_and_names_its_field() {
    let Story { node, taker, maker, .. } = Story::tell();
    let before = (node.published.at(), node.call("trade_account", json!({"account": taker.account.to_string()})));
    let good = || node.sign(&taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    let with = |field: &str, value: Value| {
        let mut request = good();
        request["message"][field] = value;
        request.to_string()
    };
    let foreign = {
        let mut request = good();
        request["signature"] =
            node.sign(&maker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"))["signature"].clone();
        request.to_string()
    };
    let mut unknown_outside = good();
    unknown_outside["memo"] = json!("x");
    let twice = good().to_string().replacen(r#""size":"0.25""#, r#""size":"0.25","size":"0.25""#, 1);
    let late = with("validUntil", json!((now_ms() - 3_600_000).to_string()));
    let mut codes = std::collections::BTreeMap::new();
    for (name, params, reason, field) in [
        ("a float instead of text", with("size", json!(0.25)), "NUMBER_NOT_STRING", "size"),
        ("too many decimals", with("price", json!("3000.123456789")), "TOO_MANY_DECIMALS", "price"),
        ("not a number", with("price", json!("1e3")), "DECIMAL_MALFORMED", "price"),
        ("an unknown field in the message", with("leverage", json!("5")), "UNKNOWN_FIELD", "leverage"),
        ("an unknown market", with("market", json!("DOGE-USDC")), "UNKNOWN_MARKET", "market"),
        ("an unknown side", with("side", json!("HOLD")), "UNKNOWN_VALUE", "side"),
        ("a field of another type", with("reduceOnly", json!("no")), "WRONG_TYPE", "reduceOnly"),
        ("a changed field under an old signature", with("size", json!("0.26")), "INVALID_SIGNATURE", "signature"),
        ("somebody else's signature", foreign, "INVALID_SIGNATURE", "signature"),
        ("a field twice", twice, "DUPLICATE_FIELD", "size"),
        ("long expired", late, "EXPIRED", "validUntil"),
        ("by position", "[1]".into(), "JSON_MALFORMED", ""),
        ("nothing", "{}".into(), "MISSING_FIELD", "message"),
    ] {
        let error = call_raw(node.public, "/rpc", "trade_placeOrder", &params).expect_err(name);
        assert_eq!((&error.data["reason"], &error.data["field"]), (&json!(reason), &json!(field)), "{name}: {error:?}");
        assert_eq!(error.data["nonceConsumed"], false, "{name}");
        let known = codes.insert(reason, error.code);
        assert!(known.is_none_or(|code| code == error.code), "{name}");
    }
    let distinct: std::collections::BTreeSet<_> = codes.values().collect();
    assert_eq!(distinct.len(), codes.len(), "{codes:?}");
    let error = call_raw(node.public, "/rpc", "trade_placeOrder", &unknown_outside.to_string()).expect_err("memo");
    assert_eq!((&error.data["reason"], &error.data["field"]), (&json!("UNKNOWN_FIELD"), &json!("memo")));
    let after = (node.published.at(), node.call("trade_account", json!({"account": taker.account.to_string()})));
    assert_eq!(before, after);
}

#[test]
fn what_the_engine_refuses_says_so_with_its_seq_and_nonce() {
    let Story { node, taker, .. } = Story::tell();
    let request = node.sign(&taker, MessageKind::Order, order("ETH-USDC-PERP", "BUY", "1500", "2990"));
    node.call("trade_placeOrder", request).expect("within margin");
    for (fields, reject) in [
        (order("ETH-USDC", "BUY", "0.25", "2999.999"), Reject::OffTick),
        (order("ETH-USDC", "BUY", "0.00015", "3000"), Reject::OffLot),
        (order("ETH-USDC", "BUY", "900", "3000"), Reject::InsufficientBalance),
        (order("ETH-USDC-PERP", "BUY", "1500", "2990"), Reject::InsufficientMargin),
    ] {
        let request = node.sign(&taker, MessageKind::Order, fields);
        let error = node.call("trade_placeOrder", request.clone()).expect_err(reject.as_str());
        assert_eq!(error.code, i64::from(reject.code()), "{reject}: {error:?}");
        assert_eq!((&error.data["reason"], &error.data["field"]), (&json!(reject.as_str()), &json!(reject.field())));
        assert_eq!((&error.data["nonceConsumed"], &error.data["replayed"]), (&json!(true), &json!(false)));
        assert_eq!(error.data["seq"], json!(node.published.at().seq.to_string()));
        // Asking again: the recorded refusal, not a second execution.
        let again = node.call("trade_placeOrder", request).expect_err(reject.as_str());
        assert_eq!(
            (again.code, &again.data["replayed"], &again.data["seq"]),
            (error.code, &json!(true), &error.data["seq"])
        );
    }
}

#[test]
fn bad_queries_are_refused_by_name() {
    let node = Node::start();
    for (method, params, reason, field) in [
        ("market_book", r#"{"market":"ETH-USDC","depth":5}"#, "NUMBER_NOT_STRING", "depth"),
        ("market_book", r#"{"market":"ETH-USDC","depth":"501"}"#, "OUT_OF_RANGE", "depth"),
        ("market_book", r#"{"market":"NO"}"#, "UNKNOWN_MARKET", "market"),
        ("market_book", r#"{"market":"ETH-USDC","x":"1"}"#, "UNKNOWN_FIELD", "x"),
        ("market_book", r#"["ETH-USDC"]"#, "JSON_MALFORMED", ""),
        ("market_list", r#"{"market":"ETH-USDC"}"#, "UNKNOWN_FIELD", "market"),
        ("market_ticker", "{}", "MISSING_FIELD", "market"),
        ("market_ticker", r#"{"market":"NO"}"#, "UNKNOWN_MARKET", "market"),
        ("market_funding", r#"{"market":"ETH-USDC"}"#, "UNKNOWN_VALUE", "market"),
        ("market_oracle", r#"{"market":"ETH-USDC"}"#, "UNKNOWN_FIELD", "market"),
        ("trade_sessionKeys", r#"{"account":"0x1234"}"#, "UNKNOWN_ACCOUNT", "account"),
        ("trade_batch", r#"{"requests":[]}"#, "OUT_OF_RANGE", "requests"),
        ("trade_modifyOrder", "{}", "MISSING_FIELD", "message"),
        ("trade_transfer", r#"{"message":{}}"#, "MISSING_FIELD", "account"),
        ("trade_account", r#"{"account":"0x0"}"#, "ADDRESS_OUT_OF_RANGE", "account"),
        ("trade_account", r#"{"account":"0x1234"}"#, "UNKNOWN_ACCOUNT", "account"),
        ("trade_account", "{}", "MISSING_FIELD", "account"),
        ("trade_getOrder", r#"{"account":"0x1"}"#, "ORDER_OR_CLIENT_ID", "order"),
        ("trade_getOrder", r#"{"account":"0x1","order":"0x1","clientId":"1"}"#, "ORDER_OR_CLIENT_ID", "order"),
        ("trade_getOrder", r#"{"account":"0x1","order":"0x1"}"#, "UNKNOWN_ORDER", "order"),
        ("bridge_getBatch", r#"{"batch":"0"}"#, "UNKNOWN_BATCH", "batch"),
        ("bridge_getBatch", r#"{"batch":0}"#, "NUMBER_NOT_STRING", "batch"),
        ("bridge_getDeposit", r#"{"messageNonce":"9"}"#, "UNKNOWN_DEPOSIT", "messageNonce"),
        ("bridge_getWithdrawal", r#"{"id":"9"}"#, "UNKNOWN_WITHDRAWAL", "id"),
        ("node_status", r#"{"verbose":true}"#, "UNKNOWN_FIELD", "verbose"),
    ] {
        let error = call_raw(node.public, "/rpc", method, params).expect_err(method);
        assert_eq!(
            (&error.data["reason"], &error.data["field"]),
            (&json!(reason), &json!(field)),
            "{method} {params}: {error:?}"
        );
    }
}

#[test]
fn a_publisher_is_told_what_its_reports_came_to() {
    let node = Node::start();
    let report = |publisher: u8, price: u64| node.price_report(publisher, "ETH-USDC", price);
    let answer = node.call("market_publishPrices", json!({"reports": [report(0, 3_010), report(1, 3_010)]})).expect("taken");
    assert_eq!(answer["prices"], json!([{"market": "ETH-USDC", "oracle": "3010", "mark": "3010"}]));
    let mut forged = report(2, 1);
    forged["price"] = json!("2");
    let error = node.call("market_publishPrices", json!({"reports": [forged]})).expect_err("forged");
    assert_eq!(error.data["reason"], "INVALID_SIGNATURE");
}

#[test]
fn a_batch_is_executed_in_its_order_and_each_request_has_its_own_outcome() {
    let Story { node, maker, taker, .. } = Story::tell();
    let entry = |of: &str, kind, fields| {
        let mut request = node.sign(&taker, kind, fields);
        request["type"] = json!(of);
        request
    };
    let mut quote = order("ETH-USDC", "BUY", "0.25", "2900");
    quote["clientId"] = json!("41");
    let mut forged = entry("Order", MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "2901"));
    forged["message"]["size"] = json!("0.5");
    let mut malformed = entry("Order", MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "2902"));
    malformed["message"]["price"] = json!(2902);
    let again = entry("Order", MessageKind::Order, order("ETH-USDC", "BUY", "0.3", "2903"));
    let requests = json!([
        entry("Order", MessageKind::Order, quote.clone()),
        forged,
        entry("CancelOrder", MessageKind::CancelOrder, json!({"clientId": "41"})),
        malformed,
        entry("Order", MessageKind::Order, quote),
        entry("Order", MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "2999.999")),
        again,
        again,
    ]);
    let answer = node.call("trade_batch", json!({"requests": requests})).expect("taken");
    let results = answer["results"].as_array().expect("a list");
    let outcome = |result: &Value| match result.get("error") {
        Some(error) => error["data"]["reason"].as_str().expect("a reason").to_owned(),
        None => {
            result["result"].get("state").or(result["result"].get("count")).and_then(Value::as_str).expect("one").to_owned()
        }
    };
    // The cancel is sent in the same batch as the order it names, and follows it; the client's id is then free again.
    assert_eq!(
        results.iter().map(outcome).collect::<Vec<_>>(),
        ["OPEN", "INVALID_SIGNATURE", "1", "NUMBER_NOT_STRING", "OPEN", "OFF_TICK", "OPEN", "OPEN"]
    );
    assert_eq!((&results[6]["result"]["replayed"], &results[7]["result"]["replayed"]), (&json!(false), &json!(true)));
    assert_eq!(results[6]["result"]["order"], results[7]["result"]["order"]);
    let seqs: Vec<u64> = results
        .iter()
        .filter_map(|result| result["result"]["seq"].as_str().or(result["error"]["data"]["seq"].as_str())?.parse().ok())
        .collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    // The whole is refused when it is no batch, and nothing of it is executed.
    let before = node.published.at();
    let withdraw = entry("Withdraw", MessageKind::Withdraw, json!({"asset": "USDC", "amount": "1", "recipient": "0x1"}));
    let first = node.sign(&maker, MessageKind::CancelAll, json!({"market": "ALL"}));
    let mut first = first;
    first["type"] = json!("CancelAll");
    let error =
        node.call("trade_batch", json!({"requests": [first, withdraw]})).expect_err("money does not move in batches");
    assert_eq!((&error.data["reason"], &error.data["field"]), (&json!("UNKNOWN_VALUE"), &json!("requests[1].type")));
    assert_eq!(node.published.at(), before);
}

#[test]
fn a_ticker_and_the_oracle_show_what_is_published() {
    let Story { node, .. } = Story::tell();
    let ticker = node.call("market_ticker", json!({"market": "ETH-USDC-PERP"})).expect("a ticker");
    assert_eq!(
        (&ticker["bestAsk"], &ticker["bestBid"]),
        (&json!({"price": "3000", "size": "2", "orders": "1"}), &Value::Null)
    );
    assert_eq!((&ticker["lastTrade"]["price"], &ticker["lastTrade"]["takerSide"]), (&json!("3000"), &json!("BUY")));
    assert_eq!((&ticker["openInterest"], &ticker["stale"]), (&json!("1"), &json!(false)));
    let spot = node.call("market_ticker", json!({"market": "ETH-USDC"})).expect("a ticker");
    assert_eq!((&spot["openInterest"], &spot["fundingIndex"]), (&Value::Null, &Value::Null));
    let funding = node.call("market_funding", json!({"market": "ETH-USDC-PERP"})).expect("funding");
    assert_eq!((&funding["index"], &funding["rateHours"]), (&json!("0"), &json!("8")));
    let oracle = node.call("market_oracle", json!({})).expect("the oracle");
    assert_eq!((&oracle["quorum"], oracle["publishers"].as_array().map(Vec::len)), (&json!("2"), Some(3)));
    assert!(oracle["markets"].as_array().is_some_and(|rows| rows.iter().all(|row| row["stale"] == false)), "{oracle}");
    let unpriced = Node::start().call("market_oracle", json!({})).expect("the oracle");
    assert!(unpriced["markets"].as_array().is_some_and(|rows| rows.iter().all(|row| row["stale"] == true)), "{unpriced}");
}

#[test]
fn a_session_key_that_is_not_granted_or_may_not_sign_is_refused_before_the_engine() {
    let Story { node, taker, maker, .. } = Story::tell();
    let before = node.published.at();
    let fields = json!({"recipient": maker.account.to_string(), "asset": "USDC", "amount": "1"});
    for (method, kind, fields, reason) in [
        ("trade_placeOrder", MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "2900"), "UNKNOWN_SESSION_KEY"),
        ("trade_transfer", MessageKind::Transfer, fields, "SESSION_KEY_FORBIDDEN"),
    ] {
        let mut request = node.sign(&taker, kind, fields);
        request["sessionKey"] = json!(maker.key.to_string());
        let error = node.call(method, request).expect_err(reason);
        assert_eq!((&error.data["reason"], &error.data["nonceConsumed"]), (&json!(reason), &json!(false)));
    }
    assert_eq!(node.published.at(), before);
}

#[test]
fn a_write_whose_answer_does_not_come_has_an_unknown_outcome_and_can_be_asked_for() {
    let Story { node, maker, .. } = Story::tell();
    node.executing.store(false, Ordering::Release);
    // The drain that is under way may still take something.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let request = node.sign(&maker, MessageKind::CancelAll, json!({"market": "ALL"}));
    let started = std::time::Instant::now();
    let error = node.call("trade_cancelAll", request.clone()).expect_err("nobody executes");
    assert!(started.elapsed() >= keel_rpc::limits::WRITE_ANSWER_TIMEOUT);
    assert_eq!((&error.data["reason"], &error.data["nonceConsumed"]), (&json!("OUTCOME_UNKNOWN"), &Value::Null));
    assert!(error.message.contains("send it again"), "{}", error.message);
    // Reads go on.
    assert_eq!(node.call("node_status", json!({})).expect("a status")["phase"], "OPEN");
    node.executing.store(true, Ordering::Release);
    let answer = node.call("trade_cancelAll", request).expect("executed by now");
    assert_eq!((&answer["count"], &answer["replayed"]), (&json!("2"), &json!(true)));
}

//! Starknet's WebSocket subscriptions in both versions, on a socket of the test's own; [Ws] checks every answer and every notification.
use crate::chain::{Story, order};
use crate::http::{Error, call, post};
use crate::node::{Node, Wallet};
use crate::ws::Ws;
use keel_ingress::MessageKind;
use keel_rpc::limits::SUBSCRIPTIONS_PER_CONNECTION_MAX;
use keel_types::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const VERSIONS: [(&str, &str); 2] = [("/rpc/v0_9", "v0.9.0"), ("/rpc/v0_10", "v0.10.2")];
const SILENCE: Duration = Duration::from_millis(150);

fn connect(node: &Node, (path, version): (&str, &'static str)) -> Ws {
    Ws::open(node.public, path, version)
}

fn hex(felt: Felt) -> Value {
    json!(format!("{felt:#x}"))
}

fn ask(node: &Node, path: &str, method: &str, params: Value) -> Value {
    call(node.public, path, method, params).expect(method)
}

fn tip(node: &Node) -> u64 {
    node.store().height().expect("genesis is sealed").0
}

/// `block_id` of a height.
fn at(height: u64) -> Value {
    json!({"block_number": height})
}

/// The header that `getBlock` has.
fn header(node: &Node, path: &str, height: u64) -> Value {
    let mut block = ask(node, path, "starknet_getBlockWithTxHashes", json!([at(height)]));
    let fields = block.as_object_mut().expect("an object");
    fields.remove("transactions");
    fields.remove("status");
    block
}

/// All events of the chain from a height on, as `getEvents` has them.
fn events(node: &Node, path: &str, from: u64) -> Vec<Value> {
    let filter = json!([{"from_block": at(from), "chunk_size": 1024}]);
    let page = ask(node, path, "starknet_getEvents", filter);
    assert!(page.get("continuation_token").is_none(), "more than a page");
    page["events"].as_array().expect("a list").clone()
}

/// Takes `finality_status` off, which must be this.
fn without_finality(mut value: Value, finality: &str) -> Value {
    let found = value.as_object_mut().expect("an object").remove("finality_status");
    assert_eq!(found, Some(json!(finality)), "{value}");
    value
}

/// A block with a trade: an INVOKE.
fn trade(node: &Node, maker: &Wallet, taker: &Wallet) -> u64 {
    for (wallet, side) in [(maker, "SELL"), (taker, "BUY")] {
        let request = node.sign(wallet, MessageKind::Order, order("ETH-USDC", side, "0.01", "3000"));
        node.call("trade_placeOrder", request).expect("placed");
    }
    node.seal().0
}

#[test]
fn heads_begin_with_the_block_that_is_named_and_are_what_get_block_has() {
    let story = Story::tell();
    let node = &story.node;
    for version in VERSIONS {
        let mut ws = connect(node, version);
        let hash = header(node, version.0, 1)["block_hash"].clone();
        for (params, first) in [
            (json!({}), None),
            (json!([]), None),
            (json!({"block_id": "latest"}), None),
            (json!({"block_id": {"block_hash": hash}}), Some(1)),
            (json!([at(0)]), Some(0)),
        ] {
            let latest = tip(node);
            let id = ws.subscribe("starknet_subscribeNewHeads", params);
            for height in first.unwrap_or(latest)..=latest {
                assert_eq!(ws.next_of(&id), header(node, version.0, height));
            }
            ws.assert_silent_for(SILENCE);
            let height = node.seal().0;
            assert_eq!(ws.next_of(&id), header(node, version.0, height));
            assert_eq!(ws.call("starknet_unsubscribe", json!({"subscription_id": id})), Ok(json!(true)));
            node.seal();
            ws.assert_silent_for(SILENCE);
        }
    }
}

#[test]
fn events_are_what_get_events_has_for_every_filter() {
    let story = Story::tell();
    story.settle();
    let (node, exchange) = (&story.node, hex(story.node.genesis.exchange.0));
    for version in VERSIONS {
        let whole = events(node, version.0, 0);
        let key = whole[whole.len() / 2]["keys"][0].clone();
        let all = |_: &Value| true;
        let first = |event: &Value| event["keys"][0] == key;
        let in_latest = |event: &Value| event["block_number"] == tip(node);
        for (params, wanted) in [
            (json!({"block_id": at(0)}), &all as &dyn Fn(&Value) -> bool),
            (json!({"block_id": at(0), "keys": [[key]]}), &first),
            (json!({"block_id": at(0), "keys": [[], []]}), &all),
            (json!([null, [[key, "0x1"]], at(1)]), &(|event: &Value| first(event) && event["block_number"] != 0)),
            (json!({"block_id": at(0), "from_address": exchange}), &(|event: &Value| event["from_address"] == exchange)),
            (json!({"block_id": at(0), "from_address": "0x1234"}), &(|_: &Value| false)),
            (json!({}), &in_latest),
        ] {
            let mut ws = connect(node, version);
            let id = ws.subscribe("starknet_subscribeEvents", params.clone());
            for event in whole.iter().filter(|event| wanted(event)) {
                // Blocks 0 and 1 are in a batch that is confirmed.
                let finality = if event["block_number"] == 2 { "ACCEPTED_ON_L2" } else { "ACCEPTED_ON_L1" };
                assert_eq!(without_finality(ws.next_of(&id), finality), *event, "{params}");
            }
            ws.assert_silent_for(SILENCE / 3);
        }
        let mut ws = connect(node, version);
        let list = ws.call("starknet_subscribeEvents", json!({"from_address": [exchange, "0x2"], "block_id": at(0)}));
        match version.0 {
            "/rpc/v0_9" => assert_eq!(list.expect_err("a list is of 0.10").code, -32602),
            _ => {
                let id = list.expect("a list");
                let event = without_finality(ws.next_of(id.as_str().expect("text")), "ACCEPTED_ON_L1");
                assert_eq!(Some(&event), whole.iter().find(|event| event["from_address"] == exchange));
            }
        }
    }
}

#[test]
fn transactions_and_receipts_are_those_of_the_blocks_that_come() {
    let story = Story::tell();
    let (node, operator) = (&story.node, hex(story.node.genesis.operator.0));
    for (round, version) in VERSIONS.into_iter().enumerate() {
        let mut connections: Vec<(Ws, String, bool, &str)> = Vec::new();
        for (params, l1_handlers) in
            [(json!({}), true), (json!({"sender_address": [operator, "0x7"], "finality_status": ["ACCEPTED_ON_L2"]}), false)]
        {
            for method in ["starknet_subscribeNewTransactions", "starknet_subscribeNewTransactionReceipts"] {
                let mut ws = connect(node, version);
                let id = ws.subscribe(method, params.clone());
                connections.push((ws, id, l1_handlers, method));
            }
        }
        let mut other = connect(node, version);
        other.subscribe("starknet_subscribeNewTransactions", json!({"sender_address": ["0x7"]}));
        other.subscribe("starknet_subscribeNewTransactions", json!({"finality_status": ["RECEIVED", "CANDIDATE"]}));
        let token = node.genesis.assets[0].token;
        node.system(node.deposit(100 + round as u64, token, story.maker.account, 5));
        let height = trade(node, &story.maker, &story.taker);
        let block = ask(node, version.0, "starknet_getBlockWithTxs", json!([at(height)]));
        let sent = block["transactions"].as_array().expect("a list");
        assert!(sent.iter().any(|tx| tx["type"] == "L1_HANDLER") && sent.iter().any(|tx| tx["type"] == "INVOKE"));
        for (ws, id, l1_handlers, method) in &mut connections {
            for tx in sent.iter().filter(|tx| *l1_handlers || tx["type"] != "L1_HANDLER") {
                let expected = match *method {
                    "starknet_subscribeNewTransactions" => {
                        let mut tx = tx.clone();
                        tx["finality_status"] = json!("ACCEPTED_ON_L2");
                        tx
                    }
                    _ => ask(node, version.0, "starknet_getTransactionReceipt", json!([tx["transaction_hash"]])),
                };
                assert_eq!(ws.next_of(id), expected);
            }
            ws.assert_silent_for(SILENCE / 3);
        }
        other.assert_silent_for(SILENCE);
    }
}

#[test]
fn tags_are_of_the_newer_version_and_add_the_field_to_invokes() {
    let story = Story::tell();
    let [mut old, mut new] = VERSIONS.map(|version| connect(&story.node, version));
    let params = json!({"tags": ["INCLUDE_PROOF_FACTS"]});
    let refused = old.call("starknet_subscribeNewTransactions", params.clone()).expect_err("no tags in 0.9");
    assert_eq!((refused.code, &refused.data["field"]), (-32602, &json!("tags")));
    let id = new.subscribe("starknet_subscribeNewTransactions", params);
    trade(&story.node, &story.maker, &story.taker);
    let transaction = new.next_of(&id);
    assert_eq!((&transaction["type"], &transaction["proof_facts"]), (&json!("INVOKE"), &json!([])));
}

fn make_deposits(node: &Node, nonces: std::ops::RangeInclusive<u64>) {
    let (token, wallet) = (node.genesis.assets[0].token, node.wallet(1));
    for nonce in nonces {
        node.system(node.deposit(nonce, token, wallet.account, 5));
    }
}

/// Hashes of the transactions that deposits 1 and 2 become, from another node: they have nothing of their surroundings.
fn hashes_of_deposits() -> [Value; 2] {
    let other = Node::start();
    make_deposits(&other, 1..=2);
    let transactions = other.store().transactions(other.seal()).expect("readable");
    [0, 1].map(|index: usize| hex(transactions[index].hash()))
}

#[test]
fn what_is_open_is_told_as_pre_confirmed_and_when_it_is_sealed_as_accepted() {
    for version in VERSIONS {
        let node = Node::start();
        let both = json!({"finality_status": ["PRE_CONFIRMED", "ACCEPTED_ON_L2"]});
        let subscribe = |method: &str, params: Value| {
            let mut ws = connect(&node, version);
            let id = ws.subscribe(method, params);
            (ws, id)
        };
        let (mut receipts, receipts_id) = subscribe("starknet_subscribeNewTransactionReceipts", both.clone());
        let (mut transactions, transactions_id) = subscribe("starknet_subscribeNewTransactions", both);
        let (mut only, only_id) =
            subscribe("starknet_subscribeNewTransactions", json!({"finality_status": ["PRE_CONFIRMED"]}));
        let (mut emitted, emitted_id) =
            subscribe("starknet_subscribeEvents", json!({"finality_status": "PRE_CONFIRMED", "block_id": at(0)}));
        for event in events(&node, version.0, 0) {
            let told = emitted.next_of(&emitted_id);
            assert_eq!(without_finality(told, "ACCEPTED_ON_L2"), event, "history has no PRE_CONFIRMED");
        }

        // Two are looked at while they are open; the third is sealed as soon as it is there.
        make_deposits(&node, 1..=2);
        let open = node.open();
        assert_eq!(open.transactions.len(), 2);
        for (transaction, receipt) in open.transactions.iter().zip(&open.receipts) {
            let hash = hex(transaction.hash());
            for told in [transactions.next_of(&transactions_id), only.next_of(&only_id)] {
                assert_eq!((&told["transaction_hash"], &told["finality_status"]), (&hash, &json!("PRE_CONFIRMED")));
            }
            let told = receipts.next_of(&receipts_id);
            assert_eq!(told, ask(&node, version.0, "starknet_getTransactionReceipt", json!([hash])));
            assert_eq!((told.get("block_hash"), &told["block_number"]), (None, &json!(1)));
            for event in &receipt.events {
                let told = emitted.next_of(&emitted_id);
                assert_eq!((&told["transaction_hash"], &told["finality_status"]), (&hash, &json!("PRE_CONFIRMED")));
                assert_eq!((&told["keys"][0], told.get("block_hash")), (&hex(event.keys[0]), None));
            }
        }
        make_deposits(&node, 3..=3);
        let height = node.seal();
        let block = node.store().block(height).expect("readable").expect("sealed");
        let hashes: Vec<Value> = block.transactions.iter().map(|transaction| hex(transaction.hash())).collect();
        assert_eq!(hashes.len(), 3);
        assert_eq!(only.next_of(&only_id)["transaction_hash"], hashes[2]);
        only.assert_silent_for(SILENCE);

        // Every one is accepted once, in order, and the third was told as pre-confirmed before.
        for (ws, id) in [(&mut transactions, &transactions_id), (&mut receipts, &receipts_id)] {
            let told: Vec<Value> = (0..4).map(|_| ws.next_of(id)).collect();
            ws.assert_silent_for(SILENCE);
            let (accepted, before): (Vec<_>, Vec<_>) =
                told.iter().enumerate().partition(|(_, told)| told["finality_status"] == "ACCEPTED_ON_L2");
            assert_eq!(accepted.iter().map(|(_, told)| told["transaction_hash"].clone()).collect::<Vec<_>>(), hashes);
            assert_eq!((&before[0].1["transaction_hash"], before.len()), (&hashes[2], 1));
            assert!(before[0].0 < accepted[2].0, "{told:?}");
        }
        let late = block.receipts[2].events.len();
        let expected = events(&node, version.0, height.0);
        let told: Vec<Value> = (0..expected.len() + late).map(|_| emitted.next_of(&emitted_id)).collect();
        emitted.assert_silent_for(SILENCE);
        let (accepted, before): (Vec<Value>, Vec<Value>) =
            told.into_iter().partition(|told| told["finality_status"] == "ACCEPTED_ON_L2");
        assert!(before.len() == late && before.iter().all(|told| told["transaction_hash"] == hashes[2]));
        let accepted: Vec<Value> = accepted.into_iter().map(|told| without_finality(told, "ACCEPTED_ON_L2")).collect();
        assert_eq!(accepted, expected);
    }
}

#[test]
fn a_transaction_is_told_of_from_unknown_to_the_settlement_layer() {
    let hashes = hashes_of_deposits();
    for version in VERSIONS {
        let node = Node::start();
        let [seen, unseen] = &hashes;
        let subscribe = |hash: &Value| {
            let mut ws = connect(&node, version);
            let id = ws.subscribe("starknet_subscribeTransactionStatus", json!({"transaction_hash": hash}));
            (ws, id)
        };
        let next = |ws: &mut Ws, id: &str, hash: &Value| {
            let told = ws.next_of(id);
            assert_eq!((&told["transaction_hash"], &told["status"]["execution_status"]), (hash, &json!("SUCCEEDED")));
            told["status"]["finality_status"].as_str().expect("text").to_owned()
        };
        let (mut ws, id) = subscribe(seen);
        let (mut waits, waits_id) = subscribe(unseen);
        ws.assert_silent_for(SILENCE);
        make_deposits(&node, 1..=1);
        node.open();
        assert_eq!(next(&mut ws, &id, seen), "PRE_CONFIRMED");
        ws.assert_silent_for(SILENCE);
        let (mut late, late_id) = subscribe(seen);
        assert_eq!(next(&mut late, &late_id, seen), "PRE_CONFIRMED");
        // Sealed as soon as it is there: what it had been is told all the same.
        make_deposits(&node, 2..=2);
        node.seal();
        assert_eq!(next(&mut ws, &id, seen), "ACCEPTED_ON_L2");
        assert_eq!(next(&mut late, &late_id, seen), "ACCEPTED_ON_L2");
        assert_eq!([0, 1].map(|_| next(&mut waits, &waits_id, unseen)), ["PRE_CONFIRMED", "ACCEPTED_ON_L2"]);
        let mut batcher =
            keel_batches::Batcher::new(node.store().clone(), &node.genesis, keel_batches::BatchLimits::default());
        batcher.build_to(Height(1)).expect("a batch");
        ws.assert_silent_for(SILENCE);
        node.store().set_batch_status(BatchId(0), keel_store::BatchStatus::Confirmed, vec![]).expect("stored");
        assert_eq!(next(&mut ws, &id, seen), "ACCEPTED_ON_L1");
        ws.assert_silent_for(SILENCE);
        assert_eq!(ws.call("starknet_unsubscribe", json!([id])), Ok(json!(true)), "it was open still");
        let (mut last, last_id) = subscribe(unseen);
        assert_eq!(next(&mut last, &last_id, unseen), "ACCEPTED_ON_L1", "only what it is now");
    }
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
}

#[test]
fn history_of_1024_blocks_is_there_and_waits_for_a_slow_reader_outside_of_memory() {
    let node = Node::start();
    while tip(&node) < 1_025 {
        node.seal();
    }
    let version = VERSIONS[1];
    let mut ws = connect(&node, version);
    for method in ["starknet_subscribeNewHeads", "starknet_subscribeEvents"] {
        let error = ws.call(method, json!({"block_id": at(0)})).expect_err("1,025 back");
        assert_eq!((error.code, error.message.as_str()), (68, "Cannot go back more than 1024 blocks"));
    }
    // On another connection: 60 subscribers of the same history, none of which is read.
    const SUBSCRIBERS: usize = 60;
    let mut slow = connect(&node, version);
    let before = memory();
    for _ in 0..SUBSCRIBERS {
        slow.send("starknet_subscribeNewHeads", &json!([at(1)]));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    let header_bytes = header(&node, version.0, 1_025).to_string().len();
    let all = (SUBSCRIBERS * 1_025 * header_bytes) as u64;
    let grown = memory().saturating_sub(before);
    assert!(all > 40_000_000 && grown < all / 4, "{grown} bytes grown, {all} wait");

    let id = ws.subscribe("starknet_subscribeNewHeads", json!([at(1)]));
    for height in 1..=1_025 {
        assert_eq!(ws.next_of(&id)["block_number"], height);
    }
    node.seal();
    assert_eq!(ws.next_of(&id)["block_number"], 1_026);
    // The slow one reads at last, and has lost nothing.
    slow.leave_unchecked();
    let mut next = std::collections::BTreeMap::new();
    let began = Instant::now();
    for _ in 0..SUBSCRIBERS * 1_026 {
        let (_, id, head) = slow.next_beside_answers();
        let next = next.entry(id).or_insert(1u64);
        assert_eq!(head["block_number"], *next);
        *next += 1;
    }
    println!("{} heads in {:?}, {grown} bytes grown", SUBSCRIBERS * 1_026, began.elapsed());
    assert_eq!(next.into_values().collect::<Vec<_>>(), [1_027; SUBSCRIBERS]);
}

#[test]
fn history_joins_what_is_new_without_gap_or_duplicate() {
    let story = Story::tell();
    let node = &story.node;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trading = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                trade(node, &story.maker, &story.taker);
            }
        });
        for version in VERSIONS {
            for round in 0..8 {
                let mut ws = connect(node, version);
                let from = (tip(node) / 2).max(1);
                let method = ["starknet_subscribeNewHeads", "starknet_subscribeEvents"][round % 2];
                let id = ws.subscribe(method, json!({"block_id": at(from)}));
                let (mut told, end) = (Vec::new(), tip(node) + 5);
                loop {
                    let next = ws.next_of(&id);
                    if next["block_number"] == end {
                        break;
                    }
                    told.push(next);
                }
                let expected: Vec<Value> = match round % 2 {
                    0 => (from..end).map(|height| header(node, version.0, height)).collect(),
                    _ => events(node, version.0, from)
                        .into_iter()
                        .take_while(|event| event["block_number"].as_u64() < Some(end))
                        .collect(),
                };
                let told: Vec<Value> = told
                    .into_iter()
                    .map(|told| if round % 2 == 0 { told } else { without_finality(told, "ACCEPTED_ON_L2") })
                    .collect();
                assert_eq!(told.len(), expected.len(), "{version:?} {method} from {from} to {end}");
                assert_eq!(told, expected);
            }
        }
        stop.store(true, Ordering::Release);
        trading.join().expect("traded");
    });
}

#[test]
fn a_subscription_ends_once_and_only_on_its_own_connection() {
    let node = Node::start();
    for version in VERSIONS {
        let [mut ws, mut other] = [(); 2].map(|()| connect(&node, version));
        let id = ws.subscribe("starknet_subscribeNewTransactions", json!({}));
        let kept = ws.subscribe("starknet_subscribeNewHeads", json!({}));
        assert_eq!(ws.next_of(&kept)["block_number"], tip(&node));
        let unsubscribe = |ws: &mut Ws, params: Value| ws.call("starknet_unsubscribe", params);
        let unknown = |answer: Result<Value, Error>| {
            let error = answer.expect_err("not open");
            assert_eq!((error.code, error.message.as_str()), (66, "Invalid subscription id"));
        };
        unknown(unsubscribe(&mut other, json!([id])));
        assert_eq!(unsubscribe(&mut ws, json!([id])), Ok(json!(true)));
        unknown(unsubscribe(&mut ws, json!({"subscription_id": id})));
        unknown(unsubscribe(&mut ws, json!(["no such"])));
        for params in [json!([]), json!({"subscription_id": 7}), json!({"subscription": id})] {
            assert_eq!(unsubscribe(&mut ws, params).expect_err("no id").code, -32602);
        }
        let height = node.seal().0;
        assert_eq!(ws.next_of(&kept)["block_number"], height, "the other one goes on");
    }
}

#[test]
fn all_kinds_of_subscriptions_count_together() {
    let node = Node::start();
    let version = VERSIONS[1];
    let mut ws = connect(&node, version);
    let method = "starknet_subscribeNewTransactions";
    let ids: Vec<String> = (1..SUBSCRIPTIONS_PER_CONNECTION_MAX).map(|_| ws.subscribe(method, json!({}))).collect();
    let own = json!({"channel": "trades", "market": "ETH-USDC"});
    ws.send("keel_subscribe", &own);
    let answer = ws.receive_answer();
    assert!(answer["result"].is_u64(), "{answer}");
    let refused = ws.call(method, json!({})).expect_err("one too many");
    assert_eq!(refused.data["reason"], "TOO_MANY_SUBSCRIPTIONS");
    ws.send("keel_subscribe", &own);
    assert_eq!(ws.receive_answer()["error"]["data"]["reason"], "TOO_MANY_SUBSCRIPTIONS");
    assert_eq!(ws.call("starknet_unsubscribe", json!([ids[0]])), Ok(json!(true)));
    // Its task gives the place back when it has ended.
    let end = Instant::now() + Duration::from_secs(5);
    while ws.call(method, json!({})).is_err() {
        assert!(Instant::now() < end, "the place was not given back");
    }
    // One that is refused takes none.
    assert_eq!(connect(&node, version).call("starknet_subscribeNewHeads", json!([at(99)])).expect_err("none").code, 24);
}

#[test]
fn a_subscription_needs_a_connection_that_stays_and_a_call_of_its_own() {
    let node = Node::start();
    let subscribe = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "starknet_subscribeNewHeads", "params": []});
    for method in [
        "starknet_subscribeNewHeads",
        "starknet_subscribeEvents",
        "starknet_unsubscribe",
        "keel_subscribe",
        "keel_unsubscribe",
    ] {
        let error = call(node.public, "/rpc", method, json!([])).expect_err("plain HTTP");
        assert_eq!((error.code, &error.data["reason"]), (-32066, &json!("WEB_SOCKET_ONLY")), "{method}");
    }
    let batch = json!([subscribe(1), {"jsonrpc": "2.0", "id": 2, "method": "starknet_blockNumber"}]).to_string();
    let (_, answer) = post(node.public, "/rpc", &[], &batch);
    let answers: Vec<Value> = serde_json::from_str(&answer).expect("an array");
    assert_eq!((&answers[0]["error"]["code"], &answers[1]["result"]), (&json!(-32066), &json!(0)));
    let mut ws = connect(&node, VERSIONS[1]);
    let answers = ws.send_text(&batch);
    assert_eq!(answers[0]["error"]["data"]["reason"], "SUBSCRIPTION_IN_BATCH");
    assert_eq!((&answers[0]["id"], &answers[1]["result"]), (&json!(1), &json!(0)));
    ws.assert_silent_for(SILENCE);
}

#[test]
fn bad_parameters_of_subscriptions_have_the_errors_of_the_document() {
    let story = Story::tell();
    let many = |count: usize| (0..count).map(|i| json!(format!("{i:#x}"))).collect::<Vec<Value>>();
    let (heads, events) = ("starknet_subscribeNewHeads", "starknet_subscribeEvents");
    let (transactions, receipts) = ("starknet_subscribeNewTransactions", "starknet_subscribeNewTransactionReceipts");
    for version in VERSIONS {
        let mut ws = connect(&story.node, version);
        for (method, params, code) in [
            (heads, json!([at(3)]), 24),
            (heads, json!([{"block_hash": "0x99"}]), 24),
            (heads, json!(["pre_confirmed"]), -32602),
            (heads, json!(["l1_accepted"]), -32602),
            (heads, json!(["pending"]), -32602),
            (heads, json!({"block": "latest"}), -32602),
            (events, json!({"block_id": at(u64::MAX)}), 24),
            (events, json!({"block_id": "l1_accepted"}), -32602),
            (events, json!({"keys": [many(256)]}), 34),
            (events, json!({"keys": ["0x1"]}), -32602),
            (events, json!({"from_address": 7}), -32602),
            (events, json!({"finality_status": "ACCEPTED_ON_L1"}), -32602),
            (events, json!({"finality_status": ["PRE_CONFIRMED"]}), -32602),
            (transactions, json!({"sender_address": many(1_025)}), 67),
            (transactions, json!({"sender_address": "0x1"}), -32602),
            (transactions, json!({"finality_status": ["ACCEPTED_ON_L1"]}), -32602),
            (transactions, json!({"finality_status": "PRE_CONFIRMED"}), -32602),
            (receipts, json!({"sender_address": many(1_025)}), 67),
            (receipts, json!({"finality_status": ["CANDIDATE"]}), -32602),
            (receipts, json!({"block_id": "latest"}), -32602),
            ("starknet_subscribeTransactionStatus", json!([]), -32602),
            ("starknet_subscribeTransactionStatus", json!(["0xzz"]), -32602),
        ] {
            let error = ws.call(method, params.clone()).expect_err(method);
            assert_eq!(error.code, code, "{method} {params}: {error:?}");
        }
        ws.subscribe(transactions, json!({"sender_address": many(1_024)}));
        ws.subscribe(events, json!({"keys": [many(255)]}));
        assert!(ws.checked.get() >= 24 || std::env::var("KEEL_FIXTURES").is_err());
    }
}

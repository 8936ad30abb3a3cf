//! What `starknet_*` answers in both versions, against the store and the block being built. Its shapes are in `conformance`.
use crate::chain::{Story, order};
use crate::http::{Error, call, call_raw};
use crate::node::{L1_TX_HASH, Opened};
use keel_contracts::starknet::{classes, exchange_class};
use keel_ingress::MessageKind;
use keel_types::*;
use serde_json::{Value, json};

const VERSIONS: [(&str, &str); 2] = [("/rpc/v0_9", "v0.9.0"), ("/rpc/v0_10", "v0.10.2")];

/// A deposit of 1 USDC, a trade and a withdrawal after the last block of the story: they are in the open block, which is
/// returned.
fn go_on(story: &Story) -> Opened {
    let Story { node, taker, .. } = story;
    node.system(node.deposit(5, node.genesis.assets[0].token, taker.account, 1_000_000));
    let buy = node.sign(taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    node.call("trade_placeOrder", buy).expect("placed");
    let fields = json!({"asset": "USDC", "amount": "2.5", "recipient": format!("0x{}", "cd".repeat(20))});
    node.call("trade_withdraw", node.sign(taker, MessageKind::Withdraw, fields)).expect("withdrawn");
    node.open()
}

fn on(story: &Story, path: &str, method: &str, params: Value) -> Result<Value, Error> {
    call(story.node.public, path, method, params)
}

fn hex(felt: Felt) -> Value {
    json!(format!("{felt:#x}"))
}

#[test]
fn the_versions_differ_exactly_where_the_specification_does() {
    let story = Story::tell();
    let [old, new] =
        VERSIONS.map(|(path, _)| on(&story, path, "starknet_getBlockWithTxHashes", json!(["latest"])).expect("a block"));
    let names =
        |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let added: Vec<String> = names(&new).difference(&names(&old)).cloned().collect();
    assert_eq!(
        added,
        [
            "event_commitment",
            "event_count",
            "receipt_commitment",
            "state_diff_commitment",
            "state_diff_length",
            "transaction_commitment",
            "transaction_count"
        ]
    );
    assert!(names(&old).is_subset(&names(&new)));
    let [old, new] =
        VERSIONS.map(|(path, _)| on(&story, path, "starknet_getStateUpdate", json!(["latest"])).expect("an update"));
    assert_eq!(
        (old["state_diff"].get("migrated_compiled_classes"), &new["state_diff"]["migrated_compiled_classes"]),
        (None, &json!([]))
    );
    let events =
        |path| on(&story, path, "starknet_getEvents", json!([{"chunk_size": 1}])).expect("a page")["events"][0].clone();
    let [old, new] = VERSIONS.map(|(path, _)| events(path));
    assert_eq!((old.get("event_index"), &new["event_index"], &new["transaction_index"]), (None, &json!(0), &json!(0)));
    // Flags, filters and lists of addresses are parameters of 0.10 only.
    let exchange = hex(story.node.genesis.exchange.0);
    for (method, params) in [
        ("starknet_getBlockWithTxs", json!(["latest", ["INCLUDE_PROOF_FACTS"]])),
        ("starknet_getStorageAt", json!([exchange, "0x5", "latest", ["INCLUDE_LAST_UPDATE_BLOCK"]])),
        ("starknet_getStateUpdate", json!(["latest", [exchange]])),
        ("starknet_getEvents", json!([{"chunk_size": 1, "address": [exchange]}])),
        ("starknet_simulateTransactions", json!(["latest", [], ["RETURN_INITIAL_READS"]])),
        ("starknet_traceBlockTransactions", json!([{"block_number": 0}, ["RETURN_INITIAL_READS"]])),
    ] {
        assert_eq!(on(&story, "/rpc/v0_9", method, params.clone()).expect_err(method).code, -32602);
        assert!(on(&story, "/rpc/v0_10", method, params).is_ok(), "{method}");
    }
}

#[test]
fn blocks_are_what_the_store_holds_whatever_they_are_named_by() {
    let story = Story::tell();
    let header = story.node.store().header(Height(2)).expect("readable").expect("sealed");
    let get = |id: Value| on(&story, "/rpc", "starknet_getBlockWithTxHashes", json!({"block_id": id}));
    let block = get(json!("latest")).expect("a block");
    assert_eq!((&block["block_hash"], &block["new_root"]), (&hex(header.hash), &hex(header.block.state_root)));
    assert_eq!((&block["block_number"], &block["status"]), (&json!(2), &json!("ACCEPTED_ON_L2")));
    assert_eq!(get(json!({"block_number": 2})), Ok(block.clone()));
    assert_eq!(get(json!({"block_hash": hex(header.hash)})), Ok(block.clone()));
    let parent = get(json!({"block_number": 1})).expect("a block");
    assert_eq!(block["parent_hash"], parent["block_hash"]);
    assert_eq!(get(json!("l1_accepted")).expect_err("nothing is settled").code, 24);

    let building = get(json!("pre_confirmed")).expect("a block");
    assert_eq!((&building["block_number"], &building["transactions"]), (&json!(3), &json!([])));
    assert!(building.get("block_hash").is_none());

    story.settle();
    assert_eq!(get(json!("l1_accepted")).map(|b| b["block_number"].clone()), Ok(json!(1)));
    let status = |height: u64| get(json!({"block_number": height})).expect("a block")["status"].clone();
    assert_eq!([0, 1, 2].map(status), [json!("ACCEPTED_ON_L1"), json!("ACCEPTED_ON_L1"), json!("ACCEPTED_ON_L2")]);
    let deposit = story.node.store().block(Height(1)).expect("readable").expect("sealed").transactions[0].hash();
    let receipt = on(&story, "/rpc", "starknet_getTransactionReceipt", json!([hex(deposit)])).expect("a receipt");
    assert_eq!((&receipt["finality_status"], &receipt["block_number"]), (&json!("ACCEPTED_ON_L1"), &json!(1)));
}

#[test]
fn state_is_read_at_its_block() {
    let story = Story::tell();
    let (node, operator) = (&story.node, hex(story.node.genesis.operator.0));
    let nonce = |id: Value| on(&story, "/rpc", "starknet_getNonce", json!([id, operator])).expect("a nonce");
    let at = |height: u64| nonce(json!({"block_number": height}));
    assert_ne!(at(1), at(2));
    assert_eq!((nonce(json!("latest")), nonce(json!("pre_confirmed"))), (at(2), at(2)));
    let diff = node.store().diff(Height(2)).expect("readable").expect("sealed");
    let exchange = node.genesis.exchange.0;
    let (slot, value) = diff.storage[&exchange].iter().next().expect("a trade changes balances");
    let read = |id: Value| {
        on(&story, "/rpc/v0_10", "starknet_getStorageAt", json!([hex(exchange), hex(*slot), id])).expect("a value")
    };
    assert_eq!(read(json!("latest")), hex(*value));
    assert_eq!(
        read(json!({"block_number": 1})),
        hex(node.store().storage_at(&exchange, slot, Height(1)).expect("readable"))
    );
    let params = json!([hex(exchange), hex(*slot), "latest", ["INCLUDE_LAST_UPDATE_BLOCK"]]);
    let with_block = on(&story, "/rpc/v0_10", "starknet_getStorageAt", params).expect("a value");
    assert_eq!(with_block, json!({"value": hex(*value), "last_update_block": 2}));
}

#[test]
fn pages_of_events_add_up_to_all_events() {
    let story = Story::tell();
    let all = |filter: Value| {
        let (mut events, mut token, mut pages) = (Vec::new(), Value::Null, 0);
        loop {
            let mut filter = filter.clone();
            filter["continuation_token"] = token.clone();
            let mut page = on(&story, "/rpc/v0_10", "starknet_getEvents", json!({"filter": filter})).expect("a page");
            events.extend(page["events"].as_array().expect("a list").clone());
            pages += 1;
            token = page["continuation_token"].take();
            if token.is_null() {
                return (events, pages);
            }
        }
    };
    let (whole, pages) = all(json!({"chunk_size": 1024}));
    assert!(whole.len() >= 8 && pages == 1, "{} events in {pages} pages", whole.len());
    let (paged, pages) = all(json!({"chunk_size": 3}));
    assert_eq!(paged, whole);
    assert_eq!(pages, whole.len().div_ceil(3));

    let count: u64 = (0..=2)
        .map(|h| story.node.store().header(Height(h)).expect("readable").expect("sealed").block.content.event_count)
        .sum();
    assert_eq!(whole.len() as u64, count);
    // Places are counted inside the transaction, as receipts list them.
    for event in &whole {
        let receipt =
            on(&story, "/rpc", "starknet_getTransactionReceipt", json!([event["transaction_hash"]])).expect("a receipt");
        let place = event["event_index"].as_u64().expect("an index") as usize;
        assert_eq!((&receipt["events"][place]["keys"], &receipt["events"][place]["data"]), (&event["keys"], &event["data"]));
    }
    let first_key = &whole[0]["keys"][0];
    let (filtered, _) = all(json!({"chunk_size": 1024, "keys": [[first_key]]}));
    let expected: Vec<Value> = whole.iter().filter(|event| event["keys"][0] == *first_key).cloned().collect();
    assert_eq!(filtered, expected);
    let (late, _) = all(json!({"chunk_size": 1024, "from_block": {"block_number": 2}}));
    assert!(!late.is_empty() && late.iter().all(|event| event["block_number"] == 2));
    assert_eq!(all(json!({"chunk_size": 5, "from_block": "pre_confirmed"})).0, Vec::<Value>::new());
    assert_eq!(all(json!({"chunk_size": 5, "address": "0x1234"})).0, Vec::<Value>::new());
}

#[test]
fn what_is_sequenced_stands_in_the_open_block_as_sealing_leaves_it() {
    let story = Story::tell();
    let open = go_on(&story);
    let ask = |method: &str, params: Value| on(&story, "/rpc/v0_10", method, params).expect(method);
    let hashes: Vec<Value> = open.transactions.iter().map(|tx| hex(tx.hash())).collect();
    assert_eq!(hashes.len(), 3);

    let block = ask("starknet_getBlockWithTxHashes", json!(["pre_confirmed"]));
    assert_eq!((&block["block_number"], &block["transactions"]), (&json!(3), &json!(hashes)));
    assert!(["block_hash", "parent_hash", "new_root", "status"].iter().all(|name| block.get(name).is_none()));
    let ts = story.node.store().open_block(|open| open.ts);
    assert_eq!(block["timestamp"], ts.secs());
    assert_eq!(ask("starknet_getBlockTransactionCount", json!(["pre_confirmed"])), 3);
    let update = ask("starknet_getStateUpdate", json!(["pre_confirmed"]));
    let latest = ask("starknet_getBlockWithTxHashes", json!(["latest"]));
    assert_eq!(update["old_root"], latest["new_root"]);
    let nonces = json!([{"contract_address": hex(story.node.genesis.operator.0), "nonce": hex(open.diff.nonces[&story.node.genesis.operator.0])}]);
    assert_eq!(update["state_diff"]["nonces"], nonces);
    let nobody = ask("starknet_getStateUpdate", json!(["pre_confirmed", ["0x1234"]]));
    assert_eq!((&nobody["state_diff"]["nonces"], &nobody["state_diff"]["storage_diffs"]), (&json!([]), &json!([])));

    let shown: Vec<Value> = hashes.iter().map(|hash| ask("starknet_getTransactionByHash", json!([hash]))).collect();
    let receipts: Vec<Value> = hashes.iter().map(|hash| ask("starknet_getTransactionReceipt", json!([hash]))).collect();
    for (index, receipt) in receipts.iter().enumerate() {
        assert_eq!(ask("starknet_getTransactionByBlockIdAndIndex", json!(["pre_confirmed", index])), shown[index]);
        assert_eq!((&receipt["finality_status"], &receipt["block_number"]), (&json!("PRE_CONFIRMED"), &json!(3)));
        assert!(receipt.get("block_hash").is_none());
        let status = ask("starknet_getTransactionStatus", json!([hashes[index]]));
        assert_eq!(status, json!({"finality_status": "PRE_CONFIRMED", "execution_status": "SUCCEEDED"}));
    }

    assert_eq!(story.node.seal(), Height(3));
    let sealed = ask("starknet_getBlockWithTxHashes", json!([{"block_number": 3}]));
    assert_eq!(sealed["transactions"], json!(hashes));
    for (hash, (shown, mut receipt)) in hashes.iter().zip(shown.into_iter().zip(receipts)) {
        assert_eq!(ask("starknet_getTransactionByHash", json!([hash])), shown);
        receipt["finality_status"] = json!("ACCEPTED_ON_L2");
        receipt["block_hash"] = sealed["block_hash"].clone();
        assert_eq!(ask("starknet_getTransactionReceipt", json!([hash])), receipt);
    }
    let emptied = ask("starknet_getBlockWithTxHashes", json!(["pre_confirmed"]));
    assert_eq!((&emptied["block_number"], &emptied["transactions"]), (&json!(4), &json!([])));
}

#[test]
fn a_transaction_once_seen_is_found_at_every_moment_of_sealing_and_its_status_only_grows() {
    let story = Story::tell();
    let node = &story.node;
    let levels = ["PRE_CONFIRMED", "ACCEPTED_ON_L2"];
    let (mut seen, mut asked) = (std::collections::BTreeSet::new(), 0);
    for nonce in 5..15 {
        node.system(node.deposit(nonce, node.genesis.assets[0].token, story.taker.account, 1_000_000));
        let hash = hex(node.open().transactions[0].hash());
        let sealed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let (mut reached, mut reads) = (0, 0);
                // Once more after it was sealed.
                let mut last = false;
                while !last {
                    last = sealed.load(std::sync::atomic::Ordering::Acquire);
                    for method in ["starknet_getTransactionStatus", "starknet_getTransactionReceipt"] {
                        let answer = on(&story, "/rpc", method, json!([hash])).expect("it was seen before");
                        let level = levels.iter().position(|level| answer["finality_status"] == *level).expect("a status");
                        assert!(level >= reached, "{method}: back to {}", levels[level]);
                        reached = level;
                        reads += 1;
                    }
                    on(&story, "/rpc", "starknet_getTransactionByHash", json!([hash])).expect("it was seen before");
                }
                (reached, reads)
            });
            node.seal();
            sealed.store(true, std::sync::atomic::Ordering::Release);
            let (reached, reads) = watcher.join().expect("never lost");
            seen.insert(levels[reached]);
            asked += reads;
        });
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ACCEPTED_ON_L2"]);
    assert!(asked > 20, "{asked} reads");
}

#[test]
fn state_of_the_open_block_is_its_changes_over_the_sealed_state() {
    let story = Story::tell();
    let exchange = story.node.genesis.exchange.0;
    let read = |slot: &Felt, id: &str| {
        let params = json!([hex(exchange), hex(*slot), id, ["INCLUDE_LAST_UPDATE_BLOCK"]]);
        let with_block = on(&story, "/rpc/v0_10", "starknet_getStorageAt", params).expect("a value");
        let params = json!([hex(exchange), hex(*slot), id]);
        assert_eq!(on(&story, "/rpc/v0_9", "starknet_getStorageAt", params).as_ref(), Ok(&with_block["value"]));
        with_block
    };
    let before = story.node.store().diff(Height(2)).expect("readable").expect("sealed");
    let open = go_on(&story);
    let changed = &open.diff.storage[&exchange];
    assert!(changed.len() > 3);
    for (slot, value) in changed {
        assert_eq!(read(slot, "pre_confirmed"), json!({"value": hex(*value), "last_update_block": 3}));
        let old = story.node.store().storage_at(&exchange, slot, Height(2)).expect("readable");
        assert_eq!(read(slot, "latest")["value"], hex(old));
    }
    let (slot, value) =
        before.storage[&exchange].iter().find(|(slot, _)| !changed.contains_key(slot)).expect("not all change again");
    assert_eq!(read(slot, "pre_confirmed"), json!({"value": hex(*value), "last_update_block": 2}));
    let operator = story.node.genesis.operator.0;
    let nonce = |id: &str| on(&story, "/rpc", "starknet_getNonce", json!([id, hex(operator)])).expect("a nonce");
    assert_eq!(nonce("pre_confirmed"), hex(open.diff.nonces[&operator]));
    assert_ne!(nonce("latest"), nonce("pre_confirmed"));
    story.node.seal();
    assert_eq!(nonce("latest"), hex(open.diff.nonces[&operator]));
}

#[test]
fn pages_of_events_lose_nothing_and_repeat_nothing_when_the_block_is_sealed_between_them() {
    let story = Story::tell();
    let open = go_on(&story);
    let page = |from: &Value, chunk: usize, token: &Value| {
        let filter =
            json!({"from_block": from, "to_block": "pre_confirmed", "chunk_size": chunk, "continuation_token": token});
        let mut page = on(&story, "/rpc/v0_10", "starknet_getEvents", json!([filter])).expect("a page");
        let events = page["events"].as_array().expect("a list").clone();
        (events, page["continuation_token"].take())
    };
    let place = |event: &Value| (event["transaction_hash"].clone(), event["event_index"].clone());
    let genesis = json!({"block_number": 0});
    for from in [genesis, json!("pre_confirmed")] {
        let (whole, end) = page(&from, 1024, &Value::Null);
        assert_eq!(end, Value::Null);
        let opened = whole.iter().filter(|event| event.get("block_hash").is_none());
        assert!(opened.clone().all(|event| event["block_number"] == 3));
        assert_eq!(opened.count(), open.receipts.iter().map(|receipt| receipt.events.len()).sum::<usize>());
        assert_eq!(
            whole.len(),
            open.receipts.iter().map(|r| r.events.len()).sum::<usize>()
                + if from == "pre_confirmed" { 0 } else { sealed_events(&story) }
        );
        // Without a seal in between.
        for chunk in 1..=whole.len() {
            let (mut events, mut token) = page(&from, chunk, &Value::Null);
            while !token.is_null() {
                let (more, next) = page(&from, chunk, &token);
                events.extend(more);
                token = next;
            }
            assert_eq!(events, whole, "{chunk} a page");
        }
    }
    let begun: Vec<_> = [json!({"block_number": 0}), json!("pre_confirmed")]
        .into_iter()
        .flat_map(|from| {
            let (whole, _) = page(&from, 1024, &Value::Null);
            (1..whole.len())
                .map(|chunk| (page(&from, chunk, &Value::Null), whole.clone(), chunk, from.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    story.node.seal();
    // The next block has begun as well.
    let (node, taker) = (&story.node, &story.taker);
    node.system(node.deposit(6, node.genesis.assets[0].token, taker.account, 1_000_000));
    node.open();
    for ((mut events, mut token), whole, chunk, from) in begun {
        assert!(!token.is_null());
        while !token.is_null() {
            let (more, next) = page(&from, chunk, &token);
            events.extend(more);
            token = next;
        }
        let (first, later) = events.split_at(whole.len());
        assert_eq!(first.iter().map(place).collect::<Vec<_>>(), whole.iter().map(place).collect::<Vec<_>>(), "{chunk}");
        assert!(!later.is_empty() && later.iter().all(|event| event["block_number"] == 4), "{chunk} a page from {from}");
    }
}

fn sealed_events(story: &Story) -> usize {
    let header = |height| story.node.store().header(Height(height)).expect("readable").expect("sealed");
    (0..=2).map(|height| header(height).block.content.event_count as usize).sum()
}

#[test]
fn the_tag_of_an_end_decides_whether_events_of_the_open_block_are_found() {
    let story = Story::tell();
    go_on(&story);
    let heights = |filter: Value| {
        let page = on(&story, "/rpc/v0_10", "starknet_getEvents", json!([filter])).expect("a page");
        let events = page["events"].as_array().expect("a list").iter();
        events.filter_map(|event| event["block_number"].as_u64()).collect::<std::collections::BTreeSet<_>>()
    };
    for (from, to, expected) in [
        (json!(null), json!(null), vec![1, 2]),
        (json!(null), json!("latest"), vec![1, 2]),
        (json!(null), json!("pre_confirmed"), vec![1, 2, 3]),
        (json!("pre_confirmed"), json!("pre_confirmed"), vec![3]),
        (json!("pre_confirmed"), json!(null), vec![3]),
        (json!("pre_confirmed"), json!("latest"), vec![]),
        (json!("latest"), json!("pre_confirmed"), vec![2, 3]),
        (json!({"block_number": 2}), json!({"block_number": 99}), vec![2]),
        (json!({"block_number": 3}), json!(null), vec![]),
        (json!({"block_number": 2}), json!({"block_number": 1}), vec![]),
    ] {
        let found = heights(json!({"from_block": from, "to_block": to, "chunk_size": 1024}));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{from} to {to}");
    }
}

#[test]
fn the_messages_of_an_l1_transaction_are_listed_in_the_order_of_sending() {
    let story = Story::tell();
    let node = &story.node;
    let ask = |path: &str, hash: Bytes32| on(&story, path, "starknet_getMessagesStatus", json!([hash.to_string()]));
    let finalities = |answer: &Value| {
        let statuses = answer.as_array().expect("a list").iter();
        statuses.map(|status| status["finality_status"].as_str().expect("a status").to_owned()).collect::<Vec<_>>()
    };
    let handlers = |height| {
        let block = node.store().block(Height(height)).expect("readable").expect("sealed");
        let handlers = block.transactions.iter().filter(|tx| matches!(tx, keel_store::Transaction::L1Handler(_)));
        handlers.map(|tx| hex(tx.hash())).collect::<Vec<_>>()
    };
    let listed = ask("/rpc/v0_9", L1_TX_HASH).expect("listed");
    let hashes: Vec<Value> = listed.as_array().expect("a list").iter().map(|s| s["transaction_hash"].clone()).collect();
    assert_eq!((hashes.len(), &hashes), (4, &handlers(1)));
    assert_eq!(finalities(&listed), ["ACCEPTED_ON_L2"; 4]);
    let open = go_on(&story);
    // One that is refused has no transaction.
    let refused = node.system(node.deposit(7, L1Address::ethereum([0x99; 20]), story.taker.account, 5));
    assert!(refused.iter().any(|event| matches!(event, Event::DepositRefused { .. })), "{refused:?}");
    story.settle();
    for (path, _) in VERSIONS {
        let listed = ask(path, L1_TX_HASH).expect("listed");
        let [before @ .., last] = &finalities(&listed)[..] else { panic!("nothing listed") };
        assert_eq!((before, last.as_str()), (&["ACCEPTED_ON_L1"; 4].map(String::from)[..], "PRE_CONFIRMED"));
        assert_eq!(listed[4]["transaction_hash"], hex(open.transactions[0].hash()));
        assert_eq!(listed[4]["execution_status"], "SUCCEEDED");
        // As Ethereum writes hashes, and without leading zeros; one that nobody sent is not known.
        assert_eq!(ask(path, Bytes32([0x99; 32])).expect_err("unknown").code, 29);
    }
    // Seen on the settlement layer and not final there: nothing is known of it here.
    let pending = keel_rpc::PendingDeposit { l1_block: 1, l1_tx_hash: Bytes32([8; 32]), depth: 1, depth_needed: 3 };
    let pending = keel_rpc::DepositState::Pending(pending);
    *node.status.deposit.lock().expect("nobody panics") = Some((8, pending));
    assert_eq!(ask("/rpc", Bytes32([8; 32])).expect_err("pending").code, 29);
}

#[test]
fn every_status_follows_the_settlement_of_the_block() {
    let story = Story::tell();
    let ask = |path: &str, method: &str, params: Value| on(&story, path, method, params).expect(method);
    let statuses = |path: &str, height: u64| {
        let id = json!([{"block_number": height}]);
        let block = ask(path, "starknet_getBlockWithReceipts", id.clone());
        let hashes = ask(path, "starknet_getBlockWithTxHashes", id.clone());
        let transactions = ask(path, "starknet_getBlockWithTxs", id);
        let mut statuses = vec![block["status"].clone(), hashes["status"].clone(), transactions["status"].clone()];
        for (content, hash) in
            block["transactions"].as_array().expect("a list").iter().zip(hashes["transactions"].as_array().expect("a list"))
        {
            statuses.push(content["receipt"]["finality_status"].clone());
            statuses.push(ask(path, "starknet_getTransactionReceipt", json!([hash]))["finality_status"].clone());
            statuses.push(ask(path, "starknet_getTransactionStatus", json!([hash]))["finality_status"].clone());
        }
        if height == 1 {
            let listed = ask(path, "starknet_getMessagesStatus", json!([L1_TX_HASH.to_string()]));
            statuses.extend(listed.as_array().expect("a list").iter().map(|status| status["finality_status"].clone()));
        }
        assert!(statuses.len() > 6, "{height}");
        statuses.dedup();
        statuses
    };
    for (path, _) in VERSIONS {
        assert_eq!(
            [1, 2].map(|height| statuses(path, height)),
            [vec![json!("ACCEPTED_ON_L2")], vec![json!("ACCEPTED_ON_L2")]]
        );
    }
    story.settle();
    for (path, _) in VERSIONS {
        assert_eq!(
            [1, 2].map(|height| statuses(path, height)),
            [vec![json!("ACCEPTED_ON_L1")], vec![json!("ACCEPTED_ON_L2")]]
        );
    }
}

#[test]
fn classes_are_served_as_they_were_declared() {
    let story = Story::tell();
    let exchange = hex(story.node.genesis.exchange.0);
    let class = on(&story, "/rpc", "starknet_getClassAt", json!(["latest", exchange])).expect("a class");
    let hash = on(&story, "/rpc", "starknet_getClassHashAt", json!(["latest", exchange])).expect("a hash");
    assert_eq!(hash, hex(exchange_class().class_hash));
    assert_eq!(on(&story, "/rpc", "starknet_getClass", json!(["latest", hash])), Ok(class.clone()));
    // The ABI is the text that is hashed, not what it says.
    assert_eq!(class["abi"], exchange_class().abi);
    for class in classes() {
        let sierra: Value = serde_json::from_str(class.sierra).expect("JSON");
        let casm: Value = serde_json::from_str(class.casm).expect("JSON");
        let shown =
            on(&story, "/rpc", "starknet_getClass", json!([{"block_number": 0}, hex(class.class_hash)])).expect("known");
        assert_eq!(
            (&shown["sierra_program"], &shown["entry_points_by_type"]),
            (&sierra["sierra_program"], &sierra["entry_points_by_type"])
        );
        let compiled = on(&story, "/rpc", "starknet_getCompiledCasm", json!([hex(class.class_hash)])).expect("known");
        assert_eq!((&compiled["bytecode"], &compiled["hints"]), (&casm["bytecode"], &casm["hints"]));
    }
}

#[test]
fn bad_parameters_are_invalid_params_with_the_field() {
    let story = Story::tell();
    for (method, params, field) in [
        ("starknet_getBlockWithTxs", "[]", "block_id"),
        ("starknet_getBlockWithTxs", r#"["pending"]"#, "block_id"),
        ("starknet_getBlockWithTxs", r#"[{"block_number":-1}]"#, "block_id"),
        ("starknet_getBlockWithTxs", r#"[{"block_number":1,"block_hash":"0x1"}]"#, "block_id"),
        ("starknet_getBlockWithTxs", r#"{"block":"latest"}"#, "block"),
        ("starknet_getBlockWithTxHashes", r#"["latest",1]"#, ""),
        ("starknet_getNonce", r#"["latest",7]"#, "contract_address"),
        ("starknet_getNonce", r#"["latest","0x"]"#, "contract_address"),
        (
            "starknet_getNonce",
            r#"["latest","0x800000000000011000000000000000000000000000000000000000000000001"]"#,
            "contract_address",
        ),
        ("starknet_getEvents", r#"[{"chunk_size":0}]"#, "chunk_size"),
        ("starknet_getEvents", r#"[{"chunk_size":"10"}]"#, "chunk_size"),
        ("starknet_getEvents", r#"[{"chunk_size":10,"topics":[]}]"#, "topics"),
        ("starknet_getEvents", r#"[{"chunk_size":10,"keys":["0x1"]}]"#, "keys"),
        ("starknet_getStorageAt", r#"["0x1","0x1","latest",["EVERYTHING"]]"#, "response_flags"),
        ("starknet_chainId", r#"["0x1"]"#, ""),
        ("starknet_getMessagesStatus", r#"[7]"#, "transaction_hash"),
        ("starknet_getMessagesStatus", r#"{"l1_transaction_hash":"0x1"}"#, "l1_transaction_hash"),
        ("starknet_getClass", r#"["latest"]"#, "class_hash"),
        ("starknet_getCompiledCasm", r#"["latest","0x1"]"#, ""),
        ("starknet_traceBlockTransactions", r#"["pre_confirmed"]"#, "block_id"),
        ("starknet_call", r#"[{"contract_address":"0x1","entry_point_selector":"0x1"},"latest"]"#, "calldata"),
        ("starknet_estimateFee", r#"[[],["SKIP_FEE_CHARGE"],"latest"]"#, "simulation_flags"),
        ("starknet_estimateFee", r#"{"request":[],"block_id":"latest"}"#, "simulation_flags"),
        ("starknet_estimateFee", r#"[[{"type":"INVOKE","version":"0x1"}],[],"latest"]"#, "version"),
        ("starknet_simulateTransactions", r#"["latest",[{"type":"PAY"}],[]]"#, "type"),
        ("starknet_addInvokeTransaction", r#"[{"type":"DECLARE","version":"0x3"}]"#, "type"),
        ("starknet_addInvokeTransaction", r#"[{"type":"INVOKE","version":"0x3"}]"#, "sender_address"),
        ("starknet_estimateMessageFee", r#"[{"from_address":"0x1"},"latest"]"#, "from_address"),
    ] {
        let error = call_raw(story.node.public, "/rpc/v0_10", method, params).expect_err(method);
        assert_eq!((error.code, &error.data["field"]), (-32602, &json!(field)), "{method} {params}: {error:?}");
    }
    // Padded felts are accepted from clients, and never sent.
    let padded = format!("0x{:0>64}", format!("{:x}", story.node.genesis.exchange.0));
    assert!(on(&story, "/rpc", "starknet_getClassHashAt", json!(["latest", padded])).is_ok());
}

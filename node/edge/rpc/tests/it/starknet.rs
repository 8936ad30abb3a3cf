//! `starknet_*` in both versions, against the specification's schemas and against the store.
use crate::chain::Story;
use crate::http::{Error, call, call_raw};
use crate::schema::Spec;
use keel_types::*;
use serde_json::{Value, json};

const VERSIONS: [(&str, &str); 2] = [("/rpc/v0_9", "v0.9.0"), ("/rpc/v0_10", "v0.10.2")];

fn on(story: &Story, path: &str, method: &str, params: Value) -> Result<Value, Error> {
    call(story.node.public, path, method, params)
}

fn hex(felt: Felt) -> Value {
    json!(format!("{felt:#x}"))
}

#[test]
fn every_answer_fits_the_schema_of_its_version() {
    let story = Story::tell();
    story.settle();
    let (node, exchange) = (&story.node, hex(story.node.genesis.exchange.0));
    for (path, version) in VERSIONS {
        let Some(spec) = Spec::open(version, "every_answer_fits_the_schema_of_its_version") else { return };
        let ask = |method: &str, params: Value| {
            on(&story, path, method, params).unwrap_or_else(|error| panic!("{path} {method}: {error:?}"))
        };
        for height in 0..=2 {
            let id = json!([{"block_number": height}]);
            spec.assert_is("BLOCK_WITH_TX_HASHES", &ask("starknet_getBlockWithTxHashes", id.clone()));
            spec.assert_is("BLOCK_WITH_TXS", &ask("starknet_getBlockWithTxs", id.clone()));
            spec.assert_is("BLOCK_WITH_RECEIPTS", &ask("starknet_getBlockWithReceipts", id.clone()));
            spec.assert_result("starknet_getStateUpdate", &ask("starknet_getStateUpdate", id.clone()));
            spec.assert_result("starknet_getBlockTransactionCount", &ask("starknet_getBlockTransactionCount", id));
        }
        let building = json!(["pre_confirmed"]);
        spec.assert_is("PRE_CONFIRMED_BLOCK_WITH_TX_HASHES", &ask("starknet_getBlockWithTxHashes", building.clone()));
        spec.assert_is("PRE_CONFIRMED_BLOCK_WITH_TXS", &ask("starknet_getBlockWithTxs", building.clone()));
        spec.assert_is("PRE_CONFIRMED_BLOCK_WITH_RECEIPTS", &ask("starknet_getBlockWithReceipts", building.clone()));
        spec.assert_result("starknet_getStateUpdate", &ask("starknet_getStateUpdate", building));

        let mut kinds = std::collections::BTreeSet::new();
        for block in [1, 2].map(|height| node.store().block(Height(height)).expect("readable").expect("sealed")) {
            for (index, transaction) in block.transactions.iter().enumerate() {
                let by_hash = json!([hex(transaction.hash())]);
                let shown = ask("starknet_getTransactionByHash", by_hash.clone());
                spec.assert_result("starknet_getTransactionByHash", &shown);
                kinds.insert(shown["type"].as_str().expect("a type").to_owned());
                let place = json!({"block_id": {"block_hash": hex(block.header.hash)}, "index": index});
                assert_eq!(ask("starknet_getTransactionByBlockIdAndIndex", place), shown);
                spec.assert_result(
                    "starknet_getTransactionReceipt",
                    &ask("starknet_getTransactionReceipt", by_hash.clone()),
                );
                spec.assert_result("starknet_getTransactionStatus", &ask("starknet_getTransactionStatus", by_hash));
            }
        }
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["INVOKE", "L1_HANDLER"]);

        for (method, params) in [
            ("starknet_specVersion", json!([])),
            ("starknet_chainId", json!([])),
            ("starknet_blockNumber", json!([])),
            ("starknet_blockHashAndNumber", json!([])),
            ("starknet_syncing", json!([])),
            ("starknet_getStorageAt", json!([exchange, "0x5", "latest"])),
            ("starknet_getNonce", json!(["latest", hex(node.genesis.operator.0)])),
            ("starknet_getClassHashAt", json!(["latest", exchange])),
            ("starknet_getEvents", json!([{"chunk_size": 3}])),
            ("starknet_getEvents", json!([{"chunk_size": 1000, "from_block": {"block_number": 1}, "to_block": "latest"}])),
        ] {
            spec.assert_result(method, &ask(method, params));
        }
    }
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
fn errors_have_the_codes_and_texts_of_the_specification() {
    let story = Story::tell();
    let spec = Spec::open("v0.10.2", "the texts of errors_have_the_codes_and_texts_of_the_specification");
    let exchange = hex(story.node.genesis.exchange.0);
    let keys: Vec<Value> = (0..300).map(|_| json!([])).collect();
    for (method, params, code) in [
        ("starknet_getBlockWithTxs", json!([{"block_number": 99}]), 24),
        ("starknet_getBlockWithTxs", json!([{"block_hash": "0x99"}]), 24),
        ("starknet_getBlockWithTxHashes", json!(["l1_accepted"]), 24),
        ("starknet_getStateUpdate", json!([{"block_number": 99}]), 24),
        ("starknet_getStorageAt", json!(["0x99", "0x1", "latest"]), 20),
        ("starknet_getStorageAt", json!([exchange, "0x1", {"block_number": 99}]), 24),
        ("starknet_getNonce", json!(["latest", "0x99"]), 20),
        ("starknet_getClassHashAt", json!(["latest", "0x99"]), 20),
        ("starknet_getTransactionByHash", json!(["0x99"]), 29),
        ("starknet_getTransactionReceipt", json!(["0x99"]), 29),
        ("starknet_getTransactionStatus", json!(["0x99"]), 29),
        ("starknet_getTransactionByBlockIdAndIndex", json!(["latest", 999]), 27),
        ("starknet_getTransactionByBlockIdAndIndex", json!(["pre_confirmed", 0]), 27),
        ("starknet_getEvents", json!([{"chunk_size": 1025}]), 31),
        ("starknet_getEvents", json!([{"chunk_size": 10, "continuation_token": "soon"}]), 33),
        ("starknet_getEvents", json!([{"chunk_size": 10, "continuation_token": "1-2-3"}]), 33),
        ("starknet_getEvents", json!([{"chunk_size": 10, "keys": keys}]), 34),
    ] {
        let error = on(&story, "/rpc/v0_10", method, params.clone()).expect_err(method);
        assert_eq!(error.code, code, "{method} {params}: {error:?}");
        if let Some(spec) = &spec {
            spec.assert_error(method, &error);
        }
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
    ] {
        let error = call_raw(story.node.public, "/rpc/v0_10", method, params).expect_err(method);
        assert_eq!((error.code, &error.data["field"]), (-32602, &json!(field)), "{method} {params}: {error:?}");
    }
    // Padded felts are accepted from clients, and never sent.
    let padded = format!("0x{:0>64}", format!("{:x}", story.node.genesis.exchange.0));
    assert!(on(&story, "/rpc", "starknet_getClassHashAt", json!(["latest", padded])).is_ok());
}

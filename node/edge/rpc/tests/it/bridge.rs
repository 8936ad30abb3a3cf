use crate::chain::Story;
use crate::ws::Ws;
use keel_rpc::{DepositState, PendingDeposit};
use keel_store::BatchStatus;
use keel_types::*;
use serde_json::{Value, json};
use std::time::Duration;

const SILENCE: Duration = Duration::from_millis(150);

/// What the settlement loop would keep beside a batch.
fn note(tx: u8, block: Option<u64>) -> Vec<u8> {
    [vec![tx; 32], block.map_or(vec![], |block| block.to_be_bytes().to_vec())].concat()
}

#[test]
fn a_batch_is_served_whole_and_its_data_in_pages() {
    let story = Story::tell();
    let node = &story.node;
    assert_eq!(node.call("bridge_getLatest", json!({})).expect("an answer")["built"], json!(null));
    story.settle();
    let latest = node.call("bridge_getLatest", json!({})).expect("an answer");
    assert_eq!((&latest["built"]["batch"], &latest["confirmed"]["batch"]), (&json!("1"), &json!("0")));

    node.store().set_batch_status(BatchId(1), BatchStatus::Built, note(5, Some(99))).expect("stored");
    let batch = node.call("bridge_getBatch", json!({"batch": "1"})).expect("a batch");
    let header = |height: u64| node.store().header(Height(height)).expect("readable").expect("sealed");
    assert_eq!((&batch["firstBlock"], &batch["lastBlock"], &batch["status"]), (&json!("2"), &json!("2"), &json!("BUILT")));
    assert_eq!(batch["before"]["root"], json!(format!("{:#x}", header(1).block.state_root)));
    assert_eq!(batch["after"]["blockHash"], json!(format!("{:#x}", header(2).hash)));
    assert_eq!(batch["settlement"], json!({"transactionHash": Bytes32([5; 32]).to_string(), "block": "99"}));
    assert_eq!(batch["messagesToL1"].as_array().map(Vec::len), Some(1));
    assert_eq!(batch["programOutput"][0], batch["before"]["root"]);
    assert_eq!(node.call("bridge_getBatchByBlock", json!({"block": "2"})), Ok(batch.clone()));

    let genesis = node.call("bridge_getBatch", json!({"batch": "0"})).expect("a batch");
    assert_eq!(genesis["before"], json!({"height": null, "root": "0x0", "blockHash": "0x0"}));
    assert_eq!(genesis["messagesToL2"].as_array().map(Vec::len), Some(4));
    let data = node.call("bridge_getBatchData", json!({"batch": "0"})).expect("data");
    assert_eq!(
        data["words"].as_array().map(Vec::len).map(|n| n.to_string()),
        genesis["data"]["words"].as_str().map(str::to_owned)
    );
    let error = node.call("bridge_getBatchData", json!({"batch": "0", "page": "1"})).expect_err("one page");
    assert_eq!(error.data["reason"], "PAGE_OUT_OF_RANGE");
}

#[test]
fn a_deposit_is_pending_or_refused_with_the_reason_then_credited() {
    let story = Story::tell();
    let node = &story.node;
    let pending = PendingDeposit { l1_block: 40, l1_tx_hash: Bytes32([6; 32]), depth: 1, depth_needed: 3 };
    *node.status.deposit.lock().expect("free") = Some((8, DepositState::Pending(pending)));
    let seen = node.call("bridge_getDeposit", json!({"messageNonce": "8"})).expect("seen");
    assert_eq!((&seen["status"], &seen["depth"], &seen["depthNeeded"]), (&json!("PENDING"), &json!("1"), &json!("3")));
    *node.status.deposit.lock().expect("free") = Some((7, DepositState::Refused("its cancellation was started".into())));
    let withheld = node.call("bridge_getDeposit", json!({"messageNonce": "7"})).expect("seen");
    assert_eq!(withheld, json!({"messageNonce": "7", "status": "REFUSED", "reason": "its cancellation was started"}));
    let credited = node.call("bridge_getDeposit", json!({"messageNonce": "1"})).expect("known");
    assert_eq!(
        (&credited["status"], &credited["asset"], &credited["amount"]),
        (&json!("CREDITED"), &json!("USDC"), &json!("100000"))
    );
    assert_eq!((&credited["l1Amount"], &credited["block"]), (&json!("100000000000"), &json!("1")));
    node.system(node.deposit(9, L1Address::ethereum([0xee; 20]), story.maker.account, 5));
    let refused = node.call("bridge_getDeposit", json!({"messageNonce": "9"})).expect("known");
    assert_eq!(refused["status"], "REFUSED");
}

#[test]
fn a_withdrawal_shows_its_message_and_is_claimable_when_its_batch_is_confirmed() {
    let story = Story::tell();
    let node = &story.node;
    let get = || node.call("bridge_getWithdrawal", json!({"id": "1"})).expect("known");
    let sealed = get();
    assert_eq!(
        (&sealed["status"], &sealed["claimable"], &sealed["amount"]),
        (&json!("SEALED"), &json!(false), &json!("12.5"))
    );
    assert_eq!((&sealed["l1Amount"], &sealed["block"]), (&json!("12500000"), &json!("2")));
    story.settle();
    assert_eq!(get()["status"], "BUILT");
    // The message is the one that the block carries and the batch proves.
    let batch = node.call("bridge_getBatch", json!({"batch": "1"})).expect("a batch");
    assert_eq!(get()["message"], batch["messagesToL1"][0]);
    assert_eq!(get()["messageHash"], batch["messagesToL1"][0]["hash"]);
    node.store().set_batch_status(BatchId(1), keel_store::BatchStatus::Confirmed, vec![]).expect("stored");
    let confirmed = get();
    assert_eq!((&confirmed["status"], &confirmed["claimable"]), (&json!("CONFIRMED"), &json!(true)));
    let data = confirmed["claim"]["data"].as_str().expect("call data");
    assert!(data.starts_with("0x7bfe950c") && data.len() == 2 + 8 + 4 * 64, "{data}");
}

#[test]
fn batches_are_listed_newest_first_in_pages() {
    let story = Story::tell();
    let list = |params: Value| {
        let page = story.node.call("bridge_getBatches", params).expect("a page");
        let found: Vec<Value> = page["batches"].as_array().expect("a list").iter().map(|b| b["batch"].clone()).collect();
        (found, page["next"].clone())
    };
    assert_eq!(list(json!({})), (vec![], json!(null)));
    story.settle();
    assert_eq!(list(json!({})), (vec![json!("1"), json!("0")], json!(null)));
    assert_eq!(list(json!({"limit": "1"})), (vec![json!("1")], json!("0")));
    assert_eq!(list(json!({"from": "0", "limit": "1"})), (vec![json!("0")], json!(null)), "nothing is below 0");
    for (params, reason) in [(json!({"limit": "0"}), "OUT_OF_RANGE"), (json!({"form": "1"}), "UNKNOWN_FIELD")] {
        let error = story.node.call("bridge_getBatches", params).expect_err(reason);
        assert_eq!(error.data["reason"], reason);
    }
}

/// A stream of batches on a connection of its own.
struct Batches {
    ws: Ws,
    id: Value,
}

impl Batches {
    fn open(node: &crate::node::Node, params: Value) -> Batches {
        let mut ws = Ws::open(node.public, "/rpc", "v0.10.2");
        ws.leave_unchecked();
        let id = ws.call("bridge_subscribeBatches", params).expect("a subscription");
        Batches { ws, id }
    }

    /// The next change, which is of the documented type.
    fn next(&mut self, node: &crate::node::Node) -> Value {
        let message = self.ws.next_message();
        assert_eq!(
            (&message["method"], &message["params"]["subscription"]),
            (&json!("bridge_subscriptionBatches"), &self.id)
        );
        let change = message["params"]["result"].clone();
        node.document().assert_is("BatchChange", &change);
        change
    }

    /// The next `count` changes as (batch, status).
    fn take(&mut self, node: &crate::node::Node, count: usize) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (0..count).map(|_| self.next(node)).map(|change| (text(&change["batch"]), text(&change["status"]))).collect()
    }
}

fn told(changes: &[(u64, &str)]) -> Vec<(String, String)> {
    changes.iter().map(|(batch, status)| (batch.to_string(), (*status).to_owned())).collect()
}

#[test]
fn a_stream_tells_every_change_of_every_batch_from_a_number_on() {
    let story = Story::tell();
    let node = &story.node;
    let mut early = Batches::open(node, json!({"fromBatch": "1"}));
    early.ws.assert_silent_for(SILENCE);
    story.settle();
    let history = [(0, "BUILT"), (1, "BUILT"), (0, "CONFIRMED")];
    let mut all = Batches::open(node, json!({}));
    assert_eq!(all.take(node, 3), told(&history));
    assert_eq!(early.take(node, 1), told(&history[1..2]), "batch 0 is not asked for");
    let set = |status, note| node.store().set_batch_status(BatchId(1), status, note).expect("stored");
    // As it goes on the settlement layer: another transaction, a block, a reorganisation, another block.
    for (status, note) in [
        (BatchStatus::Submitted, note(1, None)),
        (BatchStatus::Submitted, note(2, None)),
        (BatchStatus::Included, note(2, Some(7))),
        (BatchStatus::Submitted, note(2, None)),
        (BatchStatus::Included, note(2, Some(8))),
        (BatchStatus::Included, note(2, Some(8))),
    ] {
        set(status, note);
    }
    for stream in [&mut early, &mut all] {
        let seen: Vec<Value> = (0..5).map(|_| stream.next(node)).collect();
        let settlement: Vec<Value> = seen.iter().map(|change| change["settlement"].clone()).collect();
        let of = |tx: u8, block: Option<&str>| json!({"transactionHash": Bytes32([tx; 32]).to_string(), "block": block});
        assert_eq!(settlement, [of(1, None), of(2, None), of(2, Some("7")), of(2, None), of(2, Some("8"))]);
        assert_eq!((&seen[0]["firstBlock"], &seen[4]["status"]), (&json!("2"), &json!("INCLUDED")));
        stream.ws.assert_silent_for(SILENCE);
    }
}

#[test]
fn a_stream_resumes_after_any_cursor_without_gap_or_duplicate() {
    let story = Story::tell();
    story.settle();
    let node = &story.node;
    let mut whole = Batches::open(node, json!({"fromBatch": "0"}));
    let first: Vec<Value> = (0..3).map(|_| whole.next(node)).collect();
    drop(whole);
    node.store().set_batch_status(BatchId(1), BatchStatus::Attested, vec![]).expect("stored");
    for (seen, missed) in [(0, 3), (1, 2), (2, 1)] {
        let mut resumed = Batches::open(node, json!({"cursor": first[seen]["cursor"]}));
        let rest: Vec<Value> = (0..missed).map(|_| resumed.next(node)).collect();
        assert_eq!(rest[..missed - 1], first[seen + 1..]);
        assert_eq!((&rest[missed - 1]["batch"], &rest[missed - 1]["status"]), (&json!("1"), &json!("ATTESTED")));
        resumed.ws.assert_silent_for(SILENCE);
    }
    let only = Batches::open(node, json!({"cursor": first[0]["cursor"], "fromBatch": "1"})).take(node, 2);
    assert_eq!(only, told(&[(1, "BUILT"), (1, "ATTESTED")]));
    let mut ws = Ws::open(node.public, "/rpc", "v0.10.2");
    for cursor in ["", "x", "0", "0.0.ATTESTED", "0.1.BUILT", "9.1.BUILT", "18446744073709551615.0.BUILT", &"0".repeat(49)] {
        let error = ws.call("bridge_subscribeBatches", json!({"cursor": cursor})).expect_err(cursor);
        assert_eq!(error.data["reason"], "BAD_CURSOR", "{cursor}");
    }
    let error = ws.call("bridge_subscribeBatches", json!({"from": "0"})).expect_err("no such field");
    assert_eq!(error.data["reason"], "UNKNOWN_FIELD");
    let error = node.call("bridge_subscribeBatches", json!({})).expect_err("plain HTTP");
    assert_eq!(error.data["reason"], "WEB_SOCKET_ONLY");
}

#[test]
fn a_stream_that_is_not_read_loses_nothing() {
    let story = Story::tell();
    story.settle();
    let node = &story.node;
    let mut slow = Batches::open(node, json!({}));
    const CHANGES: u64 = 20_000;
    for n in 0..CHANGES {
        node.store().set_batch_status(BatchId(1), BatchStatus::Submitted, note(1, Some(n))).expect("stored");
    }
    let mut seen = 0;
    slow.take(node, 3);
    while seen < CHANGES {
        let message = slow.ws.next_message();
        assert_eq!(message["params"]["result"]["settlement"]["block"], json!(seen.to_string()));
        seen += 1;
    }
    slow.ws.assert_silent_for(SILENCE);
}

#[test]
fn a_batch_in_blobs_is_served_blob_by_blob_with_all_that_binds_them() {
    use keel_batches::blob::Blob;
    use keel_batches::kzg::{Commitment, Evaluation, commit, prove};
    let story = Story::tell();
    let node = &story.node;
    let mut genesis = (*node.genesis).clone();
    genesis.settlement.layer = SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs };
    let limits = keel_batches::BatchLimits::default();
    keel_batches::Batcher::new(node.store().clone(), &genesis, limits).build_to(Height(1)).expect("a batch");
    let batch = node.call("bridge_getBatch", json!({"batch": "0"})).expect("a batch");
    assert_eq!(
        (&batch["data"]["kind"], &batch["data"]["chunks"], &batch["programOutput"][8]),
        (&json!("BLOBS"), &json!([]), &json!("0x1"))
    );
    let page = node.call("bridge_getBatchData", json!({"batch": "0"})).expect("data");
    assert_eq!((&page["kind"], &page["pages"], &page["chunkHash"]), (&json!("BLOBS"), &json!("1"), &json!(null)));
    let blob = &page["blob"];
    let bytes = |field: &str| hex::decode(&blob[field].as_str().expect("text")[2..]).expect("hex");
    let of_blob = Blob::from_bytes(&bytes("data")).expect("a blob");
    let commitment = Commitment(bytes("commitment").try_into().expect("48 bytes"));
    assert_eq!(commit(&of_blob).expect("a commitment"), commitment);
    assert_eq!(blob["versionedHash"], json!(commitment.versioned_hash().to_string()));
    assert_eq!(batch["data"]["blobs"], json!([{"versionedHash": blob["versionedHash"], "commitment": blob["commitment"]}]));
    let z = Felt::from_hex(blob["z"].as_str().expect("text")).expect("a felt");
    let value = Evaluation(bytes("value").try_into().expect("32 bytes"));
    assert_eq!(prove(&of_blob, &z).expect("a proof").0, value);
    let data = keel_batches::DataAvailability::from_blobs(&[of_blob]).expect("data");
    let words: Vec<Value> = data.words().iter().map(|word| json!(format!("{word:#x}"))).collect();
    assert_eq!(page["words"], json!(words));
}

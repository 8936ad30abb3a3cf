use crate::chain::Story;
use keel_rpc::{PendingDeposit, Submission};
use keel_types::*;
use serde_json::json;

#[test]
fn a_batch_is_served_whole_and_its_data_in_pages() {
    let story = Story::tell();
    let node = &story.node;
    assert_eq!(node.call("bridge_getLatest", json!({})).expect("an answer")["built"], json!(null));
    story.settle();
    let latest = node.call("bridge_getLatest", json!({})).expect("an answer");
    assert_eq!((&latest["built"]["batch"], &latest["confirmed"]["batch"]), (&json!("1"), &json!("0")));

    node.status
        .submissions
        .lock()
        .expect("free")
        .push((BatchId(1), Submission { l1_tx_hash: Bytes32([5; 32]), l1_block: Some(99) }));
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
fn a_deposit_is_pending_then_credited() {
    let story = Story::tell();
    let node = &story.node;
    let pending = PendingDeposit { l1_block: 40, l1_tx_hash: Bytes32([6; 32]), depth: 1, depth_needed: 3 };
    *node.status.pending.lock().expect("free") = Some((8, pending));
    let seen = node.call("bridge_getDeposit", json!({"messageNonce": "8"})).expect("seen");
    assert_eq!((&seen["status"], &seen["depth"], &seen["depthNeeded"]), (&json!("PENDING"), &json!("1"), &json!("3")));
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

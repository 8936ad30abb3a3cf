//! Real blocks: every commitment and the hash, from the content.

use keel_commitment::Felt;
use keel_commitment::aliases::{ALIAS_CONTRACT, allocate_aliases};
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, HashRule, L1DaMode};
use keel_commitment::commitments::{
    Event, MessageToL1, Receipt, event_commitment, receipt_commitment, transaction_commitment,
};
use serde_json::Value;

use crate::fixtures::{self, felt, felts, u64_of, u128_of};

const BLOCKS: [(&str, &str); 2] = [
    (
        "blocks/pathfinder_0.13.2_block_sepolia_integration_35748.json",
        "state_updates/pathfinder_0.13.2_state_update_sepolia_integration_35748.json",
    ),
    (
        "blocks/pathfinder_0.13.4_block_sepolia_integration_63881.json",
        "state_updates/pathfinder_0.13.4_state_update_sepolia_integration_63881.json",
    ),
];

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn event(value: &Value) -> Event {
    Event { from_address: felt(&value["from_address"]), keys: felts(&value["keys"]), data: felts(&value["data"]) }
}

fn message(value: &Value) -> MessageToL1 {
    MessageToL1 {
        from_address: felt(&value["from_address"]),
        to_address: felt(&value["to_address"]),
        payload: felts(&value["payload"]),
    }
}

fn receipt(value: &Value) -> Receipt {
    let gas = &value["execution_resources"]["total_gas_consumed"];
    Receipt {
        transaction_hash: felt(&value["transaction_hash"]),
        actual_fee: felt(&value["actual_fee"]),
        messages_sent: list(&value["l2_to_l1_messages"]).iter().map(message).collect(),
        revert_reason: value["revert_error"].as_str().map(str::to_owned),
        l1_gas: u64_of(&gas["l1_gas"]),
        l1_data_gas: u64_of(&gas["l1_data_gas"]),
    }
}

fn content(block: &Value, rule: HashRule, state_diff: &Value) -> BlockContent {
    let transactions: Vec<(Felt, Vec<Felt>)> =
        list(&block["transactions"]).iter().map(|tx| (felt(&tx["transaction_hash"]), felts(&tx["signature"]))).collect();
    let receipts: Vec<Receipt> = list(&block["transaction_receipts"]).iter().map(receipt).collect();
    let events: Vec<(Felt, Event)> = list(&block["transaction_receipts"])
        .iter()
        .flat_map(|receipt| list(&receipt["events"]).iter().map(|e| (felt(&receipt["transaction_hash"]), event(e))))
        .collect();
    let diff = fixtures::state_diff(state_diff);
    BlockContent {
        transaction_count: transactions.len() as u64,
        event_count: events.len() as u64,
        state_diff_length: diff.len() as u64,
        transaction_commitment: transaction_commitment(rule, transactions.iter().map(|(hash, sig)| (hash, sig.as_slice()))),
        event_commitment: event_commitment(events.iter().map(|(hash, event)| (hash, event))),
        receipt_commitment: receipt_commitment(&receipts),
        state_diff_commitment: diff.commitment(),
    }
}

/// A missing price (L2 gas before 0.13.4) is not hashed by that version's rule.
fn price(value: &Value) -> GasPrice {
    let of = |name: &str| value.get(name).map_or(0, u128_of);
    GasPrice { wei: of("price_in_wei"), fri: of("price_in_fri") }
}

#[test]
fn real_blocks_have_the_commitments_and_hash_we_compute() {
    let Some(folder) = fixtures::folder("real_blocks_have_the_commitments_and_hash_we_compute") else { return };
    for (block_name, update_name) in BLOCKS {
        let block = fixtures::read(&folder, block_name);
        let update = fixtures::read(&folder, update_name);
        let starknet_version = block["starknet_version"].as_str().unwrap().to_owned();
        let content = content(&block, HashRule::of_version(&starknet_version).unwrap(), &update["state_diff"]);
        assert_eq!(content.transaction_commitment, felt(&block["transaction_commitment"]), "{block_name}");
        assert_eq!(content.event_commitment, felt(&block["event_commitment"]), "{block_name}");
        assert_eq!(content.receipt_commitment, felt(&block["receipt_commitment"]), "{block_name}");
        assert_eq!(content.state_diff_commitment, felt(&block["state_diff_commitment"]), "{block_name}");
        assert_eq!(content.state_diff_length, u64_of(&block["state_diff_length"]), "{block_name}");
        let header = BlockHeader {
            number: u64_of(&block["block_number"]),
            parent_hash: felt(&block["parent_block_hash"]),
            state_root: felt(&block["state_root"]),
            sequencer_address: felt(&block["sequencer_address"]),
            timestamp: u64_of(&block["timestamp"]),
            l1_da_mode: match block["l1_da_mode"].as_str().unwrap() {
                "BLOB" => L1DaMode::Blob,
                _ => L1DaMode::Calldata,
            },
            gas_prices: GasPrices {
                l1_gas: price(&block["l1_gas_price"]),
                l1_data_gas: price(&block["l1_data_gas_price"]),
                l2_gas: price(&block["l2_gas_price"]),
            },
            starknet_version,
            content,
        };
        assert_eq!(header.hash(), Ok(felt(&block["block_hash"])), "{block_name}");
        println!("block {} ({}): 4 commitments and the hash agree", header.number, header.starknet_version);
    }
}

/// Block 63881 of the integration chain is the first with aliases: its own diff shows what the OS allocated.
#[test]
fn first_block_with_aliases_allocates_what_the_os_did() {
    let Some(folder) = fixtures::folder("first_block_with_aliases_allocates_what_the_os_did") else { return };
    let mut diff = fixtures::state_diff(&fixtures::read(&folder, BLOCKS[1].1)["state_diff"]);
    let expected = diff.storage.remove(&ALIAS_CONTRACT).unwrap();
    assert_eq!(expected.len(), 8);
    assert_eq!(allocate_aliases(&diff, |_| Felt::ZERO), expected);
    let again = allocate_aliases(&diff, |key| expected.get(key).copied().unwrap_or_default());
    assert!(again.is_empty(), "every key of the block has its alias now");
}

/// Key of the integration chain's sequencer at that block. [eqlabs/pathfinder: crates/gateway-client, sequencer public keys]
const SEQUENCER_KEY: &str = "0x4e4856eb36dbd5f4a7dca29f7bb5232974ef1fb7eb5b597c58077174c294da1";

#[test]
fn the_sequencer_signed_the_block_hash_we_compute() {
    let Some(folder) = fixtures::folder("the_sequencer_signed_the_block_hash_we_compute") else { return };
    let signed = fixtures::read(&folder, "blocks/pathfinder_0.13.2_signature_35748.json");
    let block = fixtures::read(&folder, BLOCKS[0].0);
    // `real_blocks_have_the_commitments_and_hash_we_compute` computes this hash from the block's content.
    let hash = felt(&block["block_hash"]);
    assert_eq!(felt(&signed["block_hash"]), hash);
    let [r, s] = felts(&signed["signature"])[..] else { panic!("a signature is a pair") };
    let key = Felt::from_hex_unchecked(SEQUENCER_KEY);
    assert!(starknet_crypto::verify(&key, &hash, &r, &s).unwrap());
    assert!(!starknet_crypto::verify(&key, &(hash + Felt::ONE), &r, &s).unwrap());
}

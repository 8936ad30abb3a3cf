//! JSON of the Starknet objects, in what 0.9 and 0.10 share. Where they differ, see the siblings `v09` and `v10`.
//!
//! Rules of the specification kept here: a felt has no leading zeros; counts, block numbers, timestamps and resources are JSON
//! integers; everything else that is a number is a hex string. [spec starknet (g)]
use keel_commitment::StateDiff;
use keel_commitment::block_hash::{GasPrice, L1DaMode};
use keel_commitment::commitments::{Event, MessageToL1};
use keel_store::{Header, Invoke, L1HandlerCall, Receipt, Transaction};
use keel_types::{Bytes32, Felt};
use serde_json::{Map, Value, json};

/// Where a block or transaction stands. There is no other status on this chain: what is sequenced was executed, and blocks are final
/// when they are sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finality {
    /// Sequenced and durable, in the block that is being built.
    PreConfirmed,
    /// Sealed and durable here.
    AcceptedOnL2,
    /// Its batch is CONFIRMED on the settlement layer.
    AcceptedOnL1,
}

impl Finality {
    /// The name of the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Finality::PreConfirmed => "PRE_CONFIRMED",
            Finality::AcceptedOnL2 => "ACCEPTED_ON_L2",
            Finality::AcceptedOnL1 => "ACCEPTED_ON_L1",
        }
    }
}

/// `0x` and no leading zeros.
pub fn felt(value: &Felt) -> Value {
    Value::String(format!("{value:#x}"))
}

/// Felts in a JSON array.
pub fn felts<'a>(values: impl IntoIterator<Item = &'a Felt>) -> Value {
    values.into_iter().map(felt).collect()
}

/// An unsigned number as hex without leading zeros.
pub fn hex(value: u128) -> Value {
    Value::String(format!("{value:#x}"))
}

fn price(price: GasPrice) -> Value {
    json!({"price_in_wei": hex(price.wei), "price_in_fri": hex(price.fri)})
}

/// Adds the fields of `other` to `map`.
pub fn extend(map: &mut Map<String, Value>, other: Value) {
    let Value::Object(other) = other else { unreachable!("only objects are merged") };
    map.extend(other);
}

/// What the header of a sealed and of a pre-confirmed block share. `timestamp` in seconds.
fn header_common(header: &Header, number: u64, timestamp: u64) -> Map<String, Value> {
    let block = &header.block;
    let Value::Object(map) = json!({
        "block_number": number,
        "timestamp": timestamp,
        "sequencer_address": felt(&block.sequencer_address),
        "l1_gas_price": price(block.gas_prices.l1_gas),
        "l2_gas_price": price(block.gas_prices.l2_gas),
        "l1_data_gas_price": price(block.gas_prices.l1_data_gas),
        "l1_da_mode": match block.l1_da_mode {
            L1DaMode::Blob => "BLOB",
            L1DaMode::Calldata => "CALLDATA",
        },
        "starknet_version": block.starknet_version,
    }) else {
        unreachable!("json! of braces is an object")
    };
    map
}

/// The header of a sealed block as 0.9 has it; 0.10 adds to it.
pub fn header(header: &Header) -> Map<String, Value> {
    let mut map = header_common(header, header.block.number, header.block.timestamp);
    extend(
        &mut map,
        json!({
            "block_hash": felt(&header.hash),
            "parent_hash": felt(&header.block.parent_hash),
            "new_root": felt(&header.block.state_root),
        }),
    );
    map
}

/// The header of the block being built on `latest`: prices and version do not change between blocks of this chain. `timestamp` in seconds.
pub fn pre_confirmed_header(latest: &Header, timestamp: u64) -> Map<String, Value> {
    header_common(latest, latest.block.number + 1, timestamp.max(latest.block.timestamp))
}

/// A transaction, without its hash.
pub fn transaction(transaction: &Transaction) -> Map<String, Value> {
    let value = match transaction {
        Transaction::Invoke(invoke) => invoke_v3(invoke),
        Transaction::L1Handler(call) => l1_handler(call),
    };
    let Value::Object(map) = value else { unreachable!("json! of braces is an object") };
    map
}

/// A transaction with `transaction_hash`.
pub fn transaction_with_hash(tx: &Transaction) -> Value {
    let mut map = transaction(tx);
    map.insert("transaction_hash".into(), felt(&tx.hash()));
    Value::Object(map)
}

/// What every INVOKE of this chain shares is filled in here. [spec settlement, Blocks]
fn invoke_v3(invoke: &Invoke) -> Value {
    let none = json!({"max_amount": "0x0", "max_price_per_unit": "0x0"});
    json!({
        "type": "INVOKE",
        "version": "0x3",
        "sender_address": felt(&invoke.sender),
        "calldata": felts(&invoke.calldata),
        "signature": [],
        "nonce": hex(invoke.nonce.into()),
        "resource_bounds": {"l1_gas": none, "l1_data_gas": none, "l2_gas": none},
        "tip": "0x0",
        "paymaster_data": [],
        "account_deployment_data": [],
        "nonce_data_availability_mode": "L1",
        "fee_data_availability_mode": "L1",
    })
}

fn l1_handler(call: &L1HandlerCall) -> Value {
    json!({
        "type": "L1_HANDLER",
        "version": "0x0",
        "nonce": hex(call.nonce.into()),
        "contract_address": felt(&call.contract),
        "entry_point_selector": felt(&call.selector),
        "calldata": felts(&call.calldata),
    })
}

/// A 256-bit hash of the settlement layer.
pub fn bytes32(bytes: &Bytes32) -> Value {
    Value::String(bytes.to_string())
}

fn event(event: &Event) -> Value {
    json!({"from_address": felt(&event.from_address), "keys": felts(&event.keys), "data": felts(&event.data)})
}

fn message(message: &MessageToL1) -> Value {
    json!({
        "from_address": felt(&message.from_address),
        "to_address": felt(&message.to_address),
        "payload": felts(&message.payload),
    })
}

/// A receipt, without its block. Every transaction of this chain succeeded and cost nothing.
pub fn receipt(transaction: &Transaction, receipt: &Receipt, finality: Finality) -> Map<String, Value> {
    let (kind, unit) = match transaction {
        Transaction::Invoke(_) => ("INVOKE", "FRI"),
        Transaction::L1Handler(_) => ("L1_HANDLER", "WEI"),
    };
    let Value::Object(mut map) = json!({
        "type": kind,
        "transaction_hash": felt(&receipt.transaction_hash),
        "actual_fee": {"amount": "0x0", "unit": unit},
        "finality_status": finality.as_str(),
        "execution_status": "SUCCEEDED",
        "messages_sent": receipt.messages_sent.iter().map(message).collect::<Value>(),
        "events": receipt.events.iter().map(event).collect::<Value>(),
        "execution_resources": {"l1_gas": 0, "l1_data_gas": 0, "l2_gas": 0},
    }) else {
        unreachable!("json! of braces is an object")
    };
    if let Transaction::L1Handler(call) = transaction {
        map.insert("message_hash".into(), bytes32(&call.message_hash));
    }
    map
}

/// What a block response lists of its transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    TxHashes,
    Txs,
    Receipts,
}

/// The transactions of a block, each with its receipt.
pub fn body<'a>(content: impl Iterator<Item = (&'a Transaction, &'a Receipt)>, finality: Finality, body: Body) -> Value {
    match body {
        Body::TxHashes => content.map(|(tx, _)| felt(&tx.hash())).collect(),
        Body::Txs => content.map(|(tx, _)| transaction_with_hash(tx)).collect(),
        Body::Receipts => content
            .map(|(tx, left)| json!({"transaction": transaction(tx), "receipt": receipt(tx, left, finality)}))
            .collect(),
    }
}

/// What INCLUDE_PROOF_FACTS adds to a transaction: an empty list, since no transaction of this chain has any. [OpenRPC 0.10,
/// TXN_RESPONSE_FLAG]
pub fn add_proof_facts(transaction: &mut Value) {
    if transaction["type"] == "INVOKE" {
        transaction["proof_facts"] = json!([]);
    }
}

/// A state diff as 0.9 has it.
pub fn state_diff(diff: &StateDiff) -> Map<String, Value> {
    let storage: Value = diff
        .storage
        .iter()
        .filter(|(_, entries)| !entries.is_empty())
        .map(|(address, entries)| {
            let entries: Value =
                entries.iter().map(|(key, value)| json!({"key": felt(key), "value": felt(value)})).collect();
            json!({"address": felt(address), "storage_entries": entries})
        })
        .collect();
    let Value::Object(map) = json!({
        "storage_diffs": storage,
        "deprecated_declared_classes": felts(&diff.deprecated_declared_classes),
        "declared_classes": pairs(&diff.declared_classes, "class_hash", "compiled_class_hash"),
        "deployed_contracts": pairs(&diff.deployed_contracts, "address", "class_hash"),
        "replaced_classes": pairs(&diff.replaced_classes, "contract_address", "class_hash"),
        "nonces": pairs(&diff.nonces, "contract_address", "nonce"),
    }) else {
        unreachable!("json! of braces is an object")
    };
    map
}

/// A map as a list of two-field objects.
pub fn pairs<'a>(map: impl IntoIterator<Item = (&'a Felt, &'a Felt)>, key: &str, value: &str) -> Value {
    map.into_iter().map(|(k, v)| json!({key: felt(k), value: felt(v)})).collect()
}

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventPlace {
    pub height: u64,
    /// `None` while its block is being built.
    pub block_hash: Option<Felt>,
    pub transaction_hash: Felt,
    /// Index of the transaction in the block.
    pub transaction_index: u32,
    /// Index among the events of the transaction.
    pub index_in_transaction: u64,
}

/// An event with its place, as 0.9 has it.
pub fn emitted_event(from: &Event, place: &EventPlace) -> Map<String, Value> {
    let Value::Object(mut map) = event(from) else { unreachable!("an event is an object") };
    extend(&mut map, json!({"block_number": place.height, "transaction_hash": felt(&place.transaction_hash)}));
    if let Some(hash) = &place.block_hash {
        map.insert("block_hash".into(), felt(hash));
    }
    map
}

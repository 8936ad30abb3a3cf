//! Starknet JSON-RPC 0.9.0: everything is as `dto` has it.
use super::{Dialect, dto};
use keel_commitment::StateDiff;
use keel_store::{FoundEvent, Header};
use serde_json::{Map, Value};

/// 0.9.0.
pub const DIALECT: Dialect = Dialect {
    spec_version: "0.9.0",
    header,
    state_diff,
    emitted_event,
    response_flags: false,
    contract_filter: false,
    address_lists: false,
};

fn header(header: &Header) -> Map<String, Value> {
    dto::header(header)
}

fn state_diff(diff: &StateDiff) -> Value {
    Value::Object(dto::state_diff(diff))
}

fn emitted_event(found: &FoundEvent, _index_in_transaction: u64) -> Value {
    Value::Object(dto::emitted_event(&found.event, found.height.0, &found.block_hash, &found.transaction_hash))
}

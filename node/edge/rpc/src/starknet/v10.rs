//! Starknet JSON-RPC 0.10.2: commitments and counts in the header, places in events, migrated classes, response flags, a contract
//! filter for state updates and lists of addresses in event filters. [spec starknet (g)]
use super::dto::{self, EventPlace};
use super::{Dialect, StarknetError};
use keel_commitment::StateDiff;
use keel_commitment::commitments::Event;
use keel_store::Header;
use serde_json::{Map, Value, json};

/// 0.10.2.
pub const DIALECT: Dialect = Dialect {
    spec_version: "0.10.2",
    header,
    state_diff,
    emitted_event,
    response_flags: true,
    contract_filter: true,
    address_lists: true,
    initial_reads: true,
    proofs: true,
    estimates_need_the_sender: true,
    entry_point_not_found: StarknetError::EntryPointNotFound,
};

fn header(header: &Header) -> Map<String, Value> {
    let content = &header.block.content;
    let mut map = dto::header(header);
    dto::extend(
        &mut map,
        json!({
            "transaction_commitment": dto::felt(&content.transaction_commitment),
            "event_commitment": dto::felt(&content.event_commitment),
            "receipt_commitment": dto::felt(&content.receipt_commitment),
            "state_diff_commitment": dto::felt(&content.state_diff_commitment),
            "transaction_count": content.transaction_count,
            "event_count": content.event_count,
            "state_diff_length": content.state_diff_length,
        }),
    );
    map
}

fn state_diff(diff: &StateDiff) -> Value {
    let mut map = dto::state_diff(diff);
    let migrated = dto::pairs(&diff.migrated_compiled_classes, "class_hash", "compiled_class_hash");
    map.insert("migrated_compiled_classes".into(), migrated);
    Value::Object(map)
}

fn emitted_event(event: &Event, place: &EventPlace) -> Value {
    let mut map = dto::emitted_event(event, place);
    let (transaction_index, event_index) = (place.transaction_index, place.index_in_transaction);
    dto::extend(&mut map, json!({"transaction_index": transaction_index, "event_index": event_index}));
    Value::Object(map)
}

//! Starknet JSON-RPC 0.9.0: everything is as `dto` has it.
use super::dto::{self, EventPlace};
use super::{Dialect, StarknetError};
use keel_commitment::StateDiff;
use keel_commitment::commitments::Event;
use keel_store::Header;
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
    initial_reads: false,
    proofs: false,
    estimates_need_the_sender: false,
    entry_point_not_found: StarknetError::EntryPointNotFoundV09,
};

fn header(header: &Header) -> Map<String, Value> {
    dto::header(header)
}

fn state_diff(diff: &StateDiff) -> Value {
    Value::Object(dto::state_diff(diff))
}

fn emitted_event(event: &Event, place: &EventPlace) -> Value {
    Value::Object(dto::emitted_event(event, place))
}

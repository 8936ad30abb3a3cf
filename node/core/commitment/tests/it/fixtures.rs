//! Access to the public chain data that `KEEL_FIXTURES` points to.

use std::path::PathBuf;

use keel_commitment::{Felt, StateDiff};
use serde_json::Value;

/// The fixtures folder, or `None` after saying that `test` was skipped.
pub fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KEEL_FIXTURES").map(PathBuf::from);
    if folder.is_none() {
        println!("SKIPPED: {test}: KEEL_FIXTURES is not set");
    }
    folder
}

/// A JSON file of the fixtures folder.
pub fn read(folder: &std::path::Path, name: &str) -> Value {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path:?}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("parse {path:?}: {e}"))
}

/// A felt written as a hex string or as a number.
pub fn felt(value: &Value) -> Felt {
    match value {
        Value::String(text) if text.starts_with("0x") => Felt::from_hex(text).unwrap(),
        Value::String(text) => Felt::from_dec_str(text).unwrap(),
        Value::Number(number) => Felt::from_dec_str(&number.to_string()).unwrap(),
        other => panic!("not a felt: {other}"),
    }
}

pub fn felts(value: &Value) -> Vec<Felt> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).iter().map(felt).collect()
}

pub fn u64_of(value: &Value) -> u64 {
    u64::try_from(felt(value)).unwrap()
}

pub fn u128_of(value: &Value) -> u128 {
    u128::try_from(felt(value)).unwrap()
}

/// The state diff of a feeder gateway's state update.
pub fn state_diff(value: &Value) -> StateDiff {
    let items = |name: &str| value[name].as_array().unwrap().iter();
    let pairs = |name: &str, a: &str, b: &str| items(name).map(|i| (felt(&i[a]), felt(&i[b]))).collect();
    let by_key = |name: &str| value[name].as_object().unwrap().iter().map(|(k, v)| (Felt::from_hex(k).unwrap(), v));
    let entries = |list: &Value| list.as_array().unwrap().iter().map(|e| (felt(&e["key"]), felt(&e["value"]))).collect();
    StateDiff {
        storage: by_key("storage_diffs").map(|(address, list)| (address, entries(list))).collect(),
        deployed_contracts: pairs("deployed_contracts", "address", "class_hash"),
        replaced_classes: pairs("replaced_classes", "address", "class_hash"),
        nonces: by_key("nonces").map(|(address, nonce)| (address, felt(nonce))).collect(),
        declared_classes: pairs("declared_classes", "class_hash", "compiled_class_hash"),
        deprecated_declared_classes: items("old_declared_contracts").map(felt).collect(),
        migrated_compiled_classes: Default::default(),
    }
}

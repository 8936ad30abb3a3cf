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

/// Folders of which every file is data about commitments; the others belong to other crates.
const FOLDERS: [&str; 6] = ["blocks", "patricia", "state_updates", "state_updates/sepolia_chain", "tx_hashes", "vectors"];

/// Which test reads a file: the end of the file's name without `.json`, as it stands in the test's source.
const SOURCES: [&str; 5] = [
    include_str!("blocks.rs"),
    include_str!("patricia.rs"),
    include_str!("sepolia_chain.rs"),
    include_str!("transactions.rs"),
    include_str!("vectors.rs"),
];

#[test]
fn every_fixture_about_commitments_is_read_by_a_test() {
    let Some(root) = folder("every_fixture_about_commitments_is_read_by_a_test") else { return };
    let mut read = 0;
    for folder in FOLDERS {
        for entry in std::fs::read_dir(root.join(folder)).unwrap_or_else(|e| panic!("list {folder}: {e}")) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                assert!(FOLDERS.iter().any(|folder| root.join(folder) == path), "{path:?} is not looked into");
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap();
            let phrase = match folder {
                // Read in a loop over 0..=7, and over the names of the committer's tests.
                "state_updates/sepolia_chain" if ("0"..="7").contains(&name) => "state_updates/sepolia_chain/{number}.json",
                "patricia" => name.trim_start_matches("apollo_fetch_patricia_paths_"),
                _ => name,
            };
            let places = SOURCES.iter().filter(|source| source.contains(phrase)).count();
            assert!(places > 0, "no test reads {folder}/{name}.json");
            read += 1;
        }
    }
    assert!(read >= 28, "{read} files are not all of them");
}

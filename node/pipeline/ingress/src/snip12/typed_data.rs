//! Hash of any SNIP-12 revision 1 typed data, from the JSON that a wallet gets.
//!
//! For clients that build their own messages, and the second opinion on [super::message_hash]. Not on the admission path.
//! Enums and Merkle trees are not here: no message of Keel has one, and typed data with one is refused.

use super::{DOMAIN_TYPE, hash_in_domain, short_string, starknet_keccak, type_text};
use crate::decode::felt_of_hex;
use keel_types::{Address, Felt, MessageHash};
use serde_json::Value;
use starknet_types_core::hash::{Poseidon, StarkHash};
use std::collections::{BTreeMap, BTreeSet};

/// Nested types and arrays deeper than this are refused; real messages have two or three levels.
const DEPTH_MAX: usize = 16;
/// Bytes in a word of a `string`.
const STRING_WORD_LEN: usize = 31;

/// Types that revision 1 defines itself.
const PRESETS: [(&str, &[(&str, &str)]); 3] = [
    ("u256", &[("low", "u128"), ("high", "u128")]),
    ("TokenAmount", &[("token_address", "ContractAddress"), ("amount", "u256")]),
    ("NftId", &[("collection_address", "ContractAddress"), ("token_id", "u256")]),
];

/// Why typed data has no hash.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TypedDataError {
    #[error("typed data lacks {0}, or it has the wrong shape")]
    Shape(&'static str),
    #[error("only revision 1 is supported")]
    Revision,
    #[error("type {0:?} is not declared or not supported")]
    Type(String),
    #[error("field {0:?} is missing in the message")]
    Missing(String),
    #[error("a value is not a {0}")]
    Value(String),
    #[error("types are nested deeper than 16 levels")]
    TooDeep,
}

type Fields = Vec<(String, String)>;

/// Typed data, parsed but not yet checked against its types.
#[derive(Clone, PartialEq, Debug)]
pub struct TypedData {
    types: BTreeMap<String, Fields>,
    primary_type: String,
    domain: Value,
    message: Value,
}

impl TypedData {
    /// From `{types, primaryType, domain, message}` of revision 1.
    pub fn parse(json: &Value) -> Result<TypedData, TypedDataError> {
        let declared = json["types"].as_object().ok_or(TypedDataError::Shape("types"))?;
        let mut types: BTreeMap<String, Fields> =
            PRESETS.iter().map(|(name, fields)| (name.to_string(), own(fields))).collect();
        for (name, fields) in declared {
            types.insert(name.clone(), parse_fields(fields).ok_or(TypedDataError::Shape("types"))?);
        }
        let domain = json["domain"].clone();
        let revision = number(&domain["revision"]).map(|revision| revision.to_string());
        if revision.as_deref() != Some("1") || !types.contains_key(DOMAIN_TYPE) {
            return Err(TypedDataError::Revision);
        }
        let primary_type = json["primaryType"].as_str().ok_or(TypedDataError::Shape("primaryType"))?.to_string();
        Ok(TypedData { types, primary_type, domain, message: json["message"].clone() })
    }

    /// The hash that `account` signs.
    pub fn message_hash(&self, account: &Address) -> Result<MessageHash, TypedDataError> {
        let domain = self.struct_hash(DOMAIN_TYPE, &self.domain, 0)?;
        let message = self.struct_hash(&self.primary_type, &self.message, 0)?;
        Ok(hash_in_domain(domain, account.0, message))
    }

    /// Hash of the type's own text followed by those of the types it refers to, sorted by name.
    pub fn type_hash(&self, name: &str) -> Result<Felt, TypedDataError> {
        let mut referred = BTreeSet::new();
        self.collect_types(name, &mut referred)?;
        referred.remove(name);
        let text = |name: &str| -> Result<String, TypedDataError> {
            Ok(type_text(name, self.fields(name)?.iter().map(|(field, of)| (field.as_str(), of.as_str()))))
        };
        let mut all = text(name)?;
        for other in &referred {
            all.push_str(&text(other)?);
        }
        Ok(starknet_keccak(all.as_bytes()))
    }

    fn collect_types(&self, name: &str, into: &mut BTreeSet<String>) -> Result<(), TypedDataError> {
        if !into.insert(name.to_string()) {
            return Ok(());
        }
        for (_, of) in self.fields(name)? {
            let of = of.trim_end_matches('*');
            if self.types.contains_key(of) {
                self.collect_types(of, into)?;
            }
        }
        Ok(())
    }

    fn fields(&self, name: &str) -> Result<&Fields, TypedDataError> {
        self.types.get(name).ok_or_else(|| TypedDataError::Type(name.to_string()))
    }

    fn struct_hash(&self, name: &str, value: &Value, depth: usize) -> Result<Felt, TypedDataError> {
        let mut words = vec![self.type_hash(name)?];
        for (field, of) in self.fields(name)? {
            let value = value.get(field).ok_or_else(|| TypedDataError::Missing(field.clone()))?;
            words.push(self.encode(of, value, depth + 1)?);
        }
        Ok(Poseidon::hash_array(&words))
    }

    fn encode(&self, of: &str, value: &Value, depth: usize) -> Result<Felt, TypedDataError> {
        if depth > DEPTH_MAX {
            return Err(TypedDataError::TooDeep);
        }
        if let Some(item) = of.strip_suffix('*') {
            let items = value.as_array().ok_or_else(|| TypedDataError::Value(of.to_string()))?;
            let words: Result<Vec<Felt>, _> = items.iter().map(|value| self.encode(item, value, depth + 1)).collect();
            return Ok(Poseidon::hash_array(&words?));
        }
        if self.types.contains_key(of) {
            return self.struct_hash(of, value, depth);
        }
        let encoded = match of {
            "felt" | "shortstring" | "ContractAddress" | "ClassHash" => number(value),
            "u128" | "timestamp" => number(value).filter(|felt| *felt <= Felt::from(u128::MAX)),
            "i128" => signed_number(value),
            "bool" => value.as_bool().map(Felt::from),
            "string" => value.as_str().map(string_hash),
            "selector" => value.as_str().map(|text| {
                number(value).filter(|_| text.starts_with("0x")).unwrap_or_else(|| starknet_keccak(text.as_bytes()))
            }),
            _ => return Err(TypedDataError::Type(of.to_string())),
        };
        encoded.ok_or_else(|| TypedDataError::Value(of.to_string()))
    }
}

fn own(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, of)| (name.to_string(), of.to_string())).collect()
}

fn parse_fields(json: &Value) -> Option<Fields> {
    let field = |field: &Value| Some((field["name"].as_str()?.to_string(), field["type"].as_str()?.to_string()));
    json.as_array()?.iter().map(field).collect()
}

/// A felt written as a JSON number, a decimal or hex string, or short text.
fn number(value: &Value) -> Option<Felt> {
    match value {
        Value::Number(number) => Felt::from_dec_str(&number.to_string()).ok(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => felt_of_hex(digits),
            None => short_string(text),
        },
        _ => None,
    }
}

/// Negative values are negative modulo the field prime.
fn signed_number(value: &Value) -> Option<Felt> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    text.parse::<i128>().ok().map(Felt::from)
}

/// Poseidon(full words, words.., last word, its length), 31 bytes to a word.
fn string_hash(text: &str) -> Felt {
    let chunks = text.as_bytes().chunks_exact(STRING_WORD_LEN);
    let pending = chunks.remainder();
    let mut words = vec![Felt::from(chunks.len())];
    words.extend(chunks.map(Felt::from_bytes_be_slice));
    words.extend([Felt::from_bytes_be_slice(pending), Felt::from(pending.len())]);
    Poseidon::hash_array(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn fixture(name: &str) -> Option<Value> {
        let Some(root) = std::env::var_os("KEEL_FIXTURES") else {
            println!("SKIPPED: typed_data/{name}: KEEL_FIXTURES is not set");
            return None;
        };
        let path = PathBuf::from(root).join("typed_data").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path:?}: {e}"));
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("parse {path:?}: {e}")))
    }

    fn check(name: &str) {
        let (Some(expected), Some(json)) = (fixture("expected.json"), fixture(name)) else { return };
        let hex = |value: &Value| number(value).expect("expected.json holds hex");
        let typed = TypedData::parse(&json).expect("the fixture is revision 1");
        let answers = &expected[name];
        assert_eq!(typed.type_hash(&typed.primary_type), Ok(hex(&answers["type_hash"])), "{name}: type hash");
        if let Some(domain) = answers.get("domain_hash") {
            assert_eq!(typed.struct_hash(DOMAIN_TYPE, &typed.domain, 0), Ok(hex(domain)), "{name}: domain hash");
        }
        let hash = typed.message_hash(&Address(hex(&expected["account"])));
        assert_eq!(hash, Ok(MessageHash(hex(&answers["message_hash"]))), "{name}: message hash");
    }

    #[test]
    fn starknetpy_rev_1_mail() {
        check("starknetpy_typed_data_rev_1_mail.json");
    }
    #[test]
    fn starknetjs_base_types_single_selector() {
        check("starknetjs_example_baseTypes_singleselector.json");
    }
    #[test]
    fn starknetjs_base_types_two_selectors() {
        check("starknetjs_example_baseTypes_2selectors.json");
    }
    #[test]
    fn starknetjs_preset_types() {
        check("starknetjs_example_presetTypes.json");
    }
    #[test]
    fn revision_0_is_refused() {
        let Some(json) = fixture("starknetjs_baseExample_rev0_mail.json") else { return };
        assert_eq!(TypedData::parse(&json), Err(TypedDataError::Revision));
    }

    #[test]
    fn unknown_types_missing_fields_and_endless_types_are_refused() {
        let typed = |fields: Value, message: Value| {
            let domain = json!({ "revision": "1" });
            let types = json!({ "StarknetDomain": [{ "name": "revision", "type": "shortstring" }], "M": fields });
            TypedData::parse(&json!({ "types": types, "primaryType": "M", "domain": domain, "message": message }))
                .expect("well-formed")
                .message_hash(&Address(Felt::ONE))
        };
        let field = |of: &str| json!([{ "name": "f", "type": of }]);
        assert_eq!(typed(field("merkletree"), json!({ "f": [] })), Err(TypedDataError::Type("merkletree".into())));
        assert_eq!(typed(field("felt"), json!({})), Err(TypedDataError::Missing("f".into())));
        assert_eq!(typed(field("u128"), json!({ "f": Felt::MAX.to_string() })), Err(TypedDataError::Value("u128".into())));
        let nested = (0..40).fold(json!({}), |inner, _| json!({ "f": inner }));
        assert_eq!(typed(field("M"), nested), Err(TypedDataError::TooDeep));
    }
}

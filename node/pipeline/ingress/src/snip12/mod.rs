//! SNIP-12 revision 1: what a wallet signs. [spec starknet (h); spec exchange, Signing]
//!
//! [message_hash] is the fast path for the messages of [crate::message]; [typed_data] hashes any typed data from its JSON and
//! shares only the primitives below, so that one checks the other.

pub mod typed_data;

use crate::message::{Message, MessageKind};
use keel_types::{Address, Felt, MessageHash};
use serde_json::{Value, json};
use sha3::{Digest, Keccak256};
use starknet_types_core::hash::{Poseidon, StarkHash};
use std::sync::LazyLock;

/// Name in every domain of Keel.
const DOMAIN_NAME: &str = "Keel";
/// Version of the message set; a change of any message's fields changes it.
const DOMAIN_VERSION: &str = "1";
/// Revision of SNIP-12. As a short string it is the number 1.
const DOMAIN_REVISION: &str = "1";
const DOMAIN_TYPE: &str = "StarknetDomain";
const DOMAIN_FIELDS: [&str; 4] = ["name", "version", "chainId", "revision"];
/// Longest short string.
pub const SHORT_STRING_LEN_MAX: usize = 31;

static MESSAGE_PREFIX: LazyLock<Felt> = LazyLock::new(|| Felt::from_bytes_be_slice(b"StarkNet Message"));
static DOMAIN_TYPE_HASH: LazyLock<Felt> =
    LazyLock::new(|| type_hash(DOMAIN_TYPE, DOMAIN_FIELDS.iter().map(|name| (*name, "shortstring"))));

/// Keccak-256 with its top six bits cleared.
pub fn starknet_keccak(bytes: &[u8]) -> Felt {
    let mut digest: [u8; 32] = Keccak256::digest(bytes).into();
    digest[0] &= 0b0000_0011;
    Felt::from_bytes_be(&digest)
}

/// Hash of a type without references: `"Name"("field":"type",...)`.
pub fn type_hash<'a>(name: &str, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Felt {
    starknet_keccak(type_text(name, fields).as_bytes())
}

fn type_text<'a>(name: &str, fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let fields: Vec<String> = fields.map(|(field, of)| format!("\"{field}\":\"{of}\"")).collect();
    format!("\"{name}\"({})", fields.join(","))
}

/// Felt of a short string as the SDKs encode it: text that parses as a number is that number. `None` when it is no felt.
pub fn short_string(text: &str) -> Option<Felt> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Felt::from_dec_str(text).ok();
    }
    if let Some(digits) = text.strip_prefix("0x")
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return crate::decode::felt_of_hex(digits);
    }
    (text.len() <= SHORT_STRING_LEN_MAX && text.is_ascii()).then(|| Felt::from_bytes_be_slice(text.as_bytes()))
}

/// Text of a short string, or its number in hex when [short_string] would not lead back to it.
fn short_string_text(felt: &Felt) -> String {
    let bytes = felt.to_bytes_be();
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[start..].to_vec())
        .ok()
        .filter(|text| text.chars().all(|c| c.is_ascii_graphic()) && short_string(text) == Some(*felt))
        .unwrap_or_else(|| format!("{felt:#x}"))
}

/// The domain of one chain, `{name: "Keel", version: "1", chainId, revision: "1"}`, with its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain {
    chain_id: Felt,
    hash: Felt,
}

impl Domain {
    /// Of a chain id as genesis has it: a short string as a felt.
    pub fn new(chain_id: Felt) -> Domain {
        let text = |text| short_string(text).expect("the constants are short strings");
        let fields = [*DOMAIN_TYPE_HASH, text(DOMAIN_NAME), text(DOMAIN_VERSION), chain_id, text(DOMAIN_REVISION)];
        Domain { chain_id, hash: Poseidon::hash_array(&fields) }
    }

    /// The chain id that every signature of this domain is bound to.
    pub fn chain_id(&self) -> Felt {
        self.chain_id
    }

    fn json(&self) -> Value {
        let chain_id = short_string_text(&self.chain_id);
        json!({ "name": DOMAIN_NAME, "version": DOMAIN_VERSION, "chainId": chain_id, "revision": DOMAIN_REVISION })
    }
}

/// What the signature covers: Poseidon("StarkNet Message", domain, account, struct).
pub fn message_hash(domain: &Domain, account: &Address, message: &Message) -> MessageHash {
    let mut words = vec![message.kind().type_hash()];
    words.extend(message.encoded());
    hash_in_domain(domain.hash, account.0, Poseidon::hash_array(&words))
}

fn hash_in_domain(domain: Felt, account: Felt, message: Felt) -> MessageHash {
    MessageHash(Poseidon::hash_array(&[*MESSAGE_PREFIX, domain, account, message]))
}

/// The JSON that a wallet's `signMessage` takes: `{types, primaryType, domain, message}`.
pub fn typed_data_json(domain: &Domain, message: &Message) -> Value {
    let list = |fields: Vec<(&str, &str)>| -> Value {
        fields.into_iter().map(|(name, of)| json!({ "name": name, "type": of })).collect()
    };
    let kind = message.kind();
    json!({
        "types": {
            DOMAIN_TYPE: list(DOMAIN_FIELDS.iter().map(|name| (*name, "shortstring")).collect()),
            kind.as_str(): list(kind.schema().to_vec()),
        },
        "primaryType": kind.as_str(),
        "domain": domain.json(),
        "message": message.typed_json(),
    })
}

/// Computes the type hash of a message kind. Called once per kind and remembered there.
pub(crate) fn type_hash_of(kind: MessageKind) -> Felt {
    type_hash(kind.as_str(), kind.schema().iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_strings_that_parse_as_numbers_are_those_numbers() {
        let text = |t: &str| Felt::from_bytes_be_slice(t.as_bytes());
        for (input, expected) in [
            ("", Some(Felt::ZERO)),
            ("1", Some(Felt::ONE)),
            ("007", Some(Felt::from(7))),
            ("0x1f", Some(Felt::from(31))),
            ("0x", Some(text("0x"))),
            ("0xyz", Some(text("0xyz"))),
            ("-1", Some(text("-1"))),
            ("ETH-USDC", Some(text("ETH-USDC"))),
            ("1INCH", Some(text("1INCH"))),
            ("a text of more than thirty-one bytes", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(short_string(input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_chain_id_is_written_as_text_only_if_the_text_leads_back_to_it() {
        for (felt, text) in [
            (Felt::from_bytes_be_slice(b"KEEL_DEV"), "KEEL_DEV"),
            (Felt::from_bytes_be_slice(b"1"), "0x31"),
            (Felt::from(5), "0x5"),
            (Felt::MAX, "0x800000000000011000000000000000000000000000000000000000000000000"),
        ] {
            assert_eq!(short_string_text(&felt), text);
            assert_eq!(short_string(text), Some(felt));
        }
    }

    #[test]
    fn the_domain_type_hash_is_the_published_one() {
        // spec starknet (h), and fixtures typed_data expected.json.
        assert_eq!(
            *DOMAIN_TYPE_HASH,
            Felt::from_hex_unchecked("0x1ff2f602e42168014d405a94f75e8a93d640751d71d16311266e140d8b0a210")
        );
    }
}

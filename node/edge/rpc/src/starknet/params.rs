//! Parameters of `starknet_*`: by name or by position, as the specification allows; anything else is -32602 with the field named.
use crate::error::RpcError;
use jsonrpsee::types::Params;
use keel_types::{Bytes32, Felt};
use serde_json::Value;

/// A block as a client names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockId {
    Hash(Felt),
    Number(u64),
    Latest,
    L1Accepted,
    PreConfirmed,
}

/// The parameters of one call, taken by name in any order.
pub struct Arguments {
    values: Vec<(&'static str, Option<Value>)>,
}

impl Arguments {
    /// Reads what was sent against the method's parameter names, in order. Unknown names and surplus positions are refused.
    pub fn read(params: &Params<'_>, names: &[&'static str]) -> Result<Arguments, RpcError> {
        let mut values: Vec<(&'static str, Option<Value>)> = names.iter().map(|name| (*name, None)).collect();
        let sent: Value = match params.as_str() {
            None => Value::Null,
            Some(text) => serde_json::from_str(text).map_err(|_| RpcError::params("", "not JSON"))?,
        };
        match sent {
            Value::Null => {}
            Value::Array(sent) => {
                if sent.len() > values.len() {
                    return Err(RpcError::params("", "too many parameters"));
                }
                for (slot, value) in values.iter_mut().zip(sent) {
                    slot.1 = Some(value).filter(|value| !value.is_null());
                }
            }
            Value::Object(sent) => {
                for (name, value) in sent {
                    let slot = values.iter_mut().find(|(known, _)| *known == name);
                    slot.ok_or_else(|| RpcError::params(&name, "unknown parameter"))?.1 =
                        Some(value).filter(|v| !v.is_null());
                }
            }
            _ => return Err(RpcError::params("", "expected an object or an array")),
        }
        Ok(Arguments { values })
    }

    /// A parameter that may be absent.
    pub fn optional(&mut self, name: &'static str) -> Option<Value> {
        self.values.iter_mut().find(|(known, _)| *known == name).and_then(|(_, value)| value.take())
    }

    /// Whether a parameter was sent.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, value)| *known == name && value.is_some())
    }

    /// A parameter that must be there.
    pub fn required(&mut self, name: &'static str) -> Result<Value, RpcError> {
        self.optional(name).ok_or_else(|| RpcError::params(name, "missing"))
    }

    /// A field element: `0x`, 1 to 64 hex digits, below the prime.
    pub fn felt(&mut self, name: &'static str) -> Result<Felt, RpcError> {
        let value = self.required(name)?;
        felt(name, &value)
    }

    /// A block id.
    pub fn block_id(&mut self, name: &'static str) -> Result<BlockId, RpcError> {
        let value = self.required(name)?;
        block_id(name, &value)
    }

    /// A hash of the settlement layer: `0x` and 1 to 64 hex digits.
    pub fn bytes32(&mut self, name: &'static str) -> Result<Bytes32, RpcError> {
        let value = self.required(name)?;
        digits(name, &value).map(Bytes32)
    }

    /// An array of field elements.
    pub fn felts(&mut self, name: &'static str) -> Result<Vec<Felt>, RpcError> {
        let value = self.required(name)?;
        felt_list(name, &value)
    }

    /// An array.
    pub fn list(&mut self, name: &'static str) -> Result<Vec<Value>, RpcError> {
        match self.required(name)? {
            Value::Array(list) => Ok(list),
            _ => Err(RpcError::params(name, "expected an array")),
        }
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Result<String, RpcError> {
        match self.required(name)? {
            Value::String(text) => Ok(text),
            _ => Err(RpcError::params(name, "expected a text")),
        }
    }

    /// A non-negative integer.
    pub fn integer(&mut self, name: &'static str) -> Result<u64, RpcError> {
        self.required(name)?.as_u64().ok_or_else(|| RpcError::params(name, "expected a non-negative integer"))
    }

    /// An object with known fields.
    pub fn object(&mut self, name: &'static str, fields: &[&'static str]) -> Result<Arguments, RpcError> {
        Arguments::of(name, self.required(name)?, fields)
    }

    /// The known fields of an object.
    pub fn of(name: &str, value: Value, fields: &[&'static str]) -> Result<Arguments, RpcError> {
        let Value::Object(sent) = value else { return Err(RpcError::params(name, "expected an object")) };
        let mut values: Vec<(&'static str, Option<Value>)> = fields.iter().map(|field| (*field, None)).collect();
        for (field, value) in sent {
            let slot = values.iter_mut().find(|(known, _)| *known == field);
            slot.ok_or_else(|| RpcError::params(&field, "unknown field"))?.1 = Some(value).filter(|v| !v.is_null());
        }
        Ok(Arguments { values })
    }

    /// A list of flags, each one of `known`; absent means none. Returns which of `known` were set.
    pub fn flags<const N: usize>(&mut self, name: &'static str, known: [&str; N]) -> Result<[bool; N], RpcError> {
        let mut set = [false; N];
        let Some(value) = self.optional(name) else { return Ok(set) };
        for flag in value.as_array().ok_or_else(|| RpcError::params(name, "expected an array of flags"))? {
            let at = known.iter().position(|k| Some(*k) == flag.as_str());
            set[at.ok_or_else(|| RpcError::params(name, "unknown flag"))?] = true;
        }
        Ok(set)
    }
}

/// See [Arguments::felt].
pub fn felt(name: &str, value: &Value) -> Result<Felt, RpcError> {
    let bytes = digits(name, value)?;
    let felt = Felt::from_bytes_be(&bytes);
    if felt.to_bytes_be() != bytes {
        return Err(RpcError::params(name, "not below the field prime"));
    }
    Ok(felt)
}

/// See [Arguments::felts].
pub fn felt_list(name: &str, value: &Value) -> Result<Vec<Felt>, RpcError> {
    let list = value.as_array().ok_or_else(|| RpcError::params(name, "expected an array of field elements"))?;
    list.iter().map(|value| felt(name, value)).collect()
}

/// Up to 256 bits in hex. Leading zeros never leave this node, but padded hashes and addresses are common in what clients send: up to
/// 64 digits.
fn digits(name: &str, value: &Value) -> Result<[u8; 32], RpcError> {
    let malformed = || RpcError::params(name, "expected 0x, then 1 to 64 hex digits");
    let text = value.as_str().ok_or_else(malformed)?;
    let digits = text.strip_prefix("0x").ok_or_else(malformed)?;
    if !(1..=64).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(format!("{digits:0>64}"), &mut bytes).map_err(|_| malformed())?;
    Ok(bytes)
}

/// See [Arguments::block_id].
pub fn block_id(name: &str, value: &Value) -> Result<BlockId, RpcError> {
    let malformed =
        || RpcError::params(name, "expected {block_hash}, {block_number}, or latest, l1_accepted, pre_confirmed");
    match value {
        Value::String(tag) => match tag.as_str() {
            "latest" => Ok(BlockId::Latest),
            "l1_accepted" => Ok(BlockId::L1Accepted),
            "pre_confirmed" => Ok(BlockId::PreConfirmed),
            _ => Err(malformed()),
        },
        Value::Object(object) if object.len() == 1 => match (object.get("block_hash"), object.get("block_number")) {
            (Some(hash), None) => Ok(BlockId::Hash(felt(name, hash)?)),
            (None, Some(number)) => Ok(BlockId::Number(number.as_u64().ok_or_else(malformed)?)),
            _ => Err(malformed()),
        },
        _ => Err(malformed()),
    }
}

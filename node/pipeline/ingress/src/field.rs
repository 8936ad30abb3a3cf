//! The types a field of a signed message can have: how each is written on the wire, in typed data, and as a felt.

use crate::decimal::{parse_integer, parse_quantums};
use crate::decode::{address, felt};
use crate::error::IngressError;
use crate::snip12::{SHORT_STRING_LEN_MAX, short_string};
use keel_types::{
    Address, Felt, IncidentId, L1Address, MessageHash, OrderType, Price, Qty, SelfTradeMode, Side, StarkKey, TimeInForce,
    Ts, format_quantums,
};
use serde_json::{Value, json};
use starknet_types_core::hash::{Poseidon, StarkHash};

/// Most items of a list field: 1,000 order hashes are 68 kB, well inside a request body.
pub const LIST_LEN_MAX: usize = 1_000;

/// A field's type.
pub trait FieldValue: Sized {
    /// SNIP-12 type.
    const TYPE: &'static str;
    /// The felt inside the signature.
    fn encode(&self) -> Felt;
    /// The value in typed data: what a wallet encodes to [FieldValue::encode].
    fn typed(&self) -> Value;
    /// The value in a request.
    fn wire(&self) -> Value;
    /// JSON schema of the value in a request.
    fn wire_schema() -> Value;
    /// From a request. `name` is the field that the error names.
    fn decode(name: &'static str, value: &Value) -> Result<Self, IngressError>;
}

/// Used once per account. A u128 in the signature; the engine keeps 64 bits, so larger ones are out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce(pub u64);

/// Milliseconds since the epoch; 0 where a time is optional and absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Millis(pub u64);

/// A non-negative amount in quantums; a decimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quantums(pub u128);

/// 1 to 31 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShortText(String);

impl Millis {
    /// Latest time that nanoseconds can express: a later one would be cut silently.
    const MAX: u64 = u64::MAX / 1_000_000;

    /// As journal time.
    pub fn ts(self) -> Ts {
        Ts::from_ms(self.0)
    }
}

impl ShortText {
    /// `None` unless it has 1 to 31 printable ASCII characters without blanks.
    pub fn new(text: &str) -> Option<ShortText> {
        let fits = !text.is_empty() && text.len() <= SHORT_STRING_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| ShortText(text.to_string()))
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The string of a field that must be one; a JSON number gets an error of its own.
pub(crate) fn text<'a>(name: &'static str, value: &'a Value) -> Result<&'a str, IngressError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) => Err(IngressError::NumberNotString(name.into())),
        _ => Err(IngressError::WrongType(name.into())),
    }
}

fn integer(name: &'static str, value: &Value) -> Result<u128, IngressError> {
    parse_integer(text(name, value)?).map_err(|error| IngressError::decimal(name, error))
}

fn quantums(name: &'static str, value: &Value) -> Result<u128, IngressError> {
    let value = parse_quantums(text(name, value)?).map_err(|error| IngressError::decimal(name, error))?;
    u128::try_from(value).map_err(|_| IngressError::OutOfRange(name.into()))
}

fn narrow<T: TryFrom<u128>>(name: &'static str, value: u128) -> Result<T, IngressError> {
    T::try_from(value).map_err(|_| IngressError::OutOfRange(name.into()))
}

fn digits(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn hex(felt: &Felt) -> Value {
    Value::String(format!("{felt:#x}"))
}

/// One of the schemas that every document of this API has under `components`.
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

macro_rules! field {
    ($of:ty, $snip:literal, |$this:ident| encode $encode:expr, typed $typed:expr, wire $wire:expr, schema $schema:expr, |$name:ident, $value:ident| $decode:expr) => {
        impl FieldValue for $of {
            const TYPE: &'static str = $snip;
            fn encode(&self) -> Felt {
                let $this = self;
                $encode
            }
            fn typed(&self) -> Value {
                let $this = self;
                $typed
            }
            fn wire(&self) -> Value {
                let $this = self;
                $wire
            }
            fn wire_schema() -> Value {
                $schema
            }
            fn decode($name: &'static str, $value: &Value) -> Result<Self, IngressError> {
                $decode
            }
        }
    };
}

field!(Address, "ContractAddress", |v| encode v.0, typed hex(&v.0), wire hex(&v.0), schema reference("Address"), |name, value| address(name, value));
field!(StarkKey, "felt", |v| encode v.0, typed hex(&v.0), wire hex(&v.0), schema reference("Felt"), |name, value| felt(name, value).map(StarkKey));
field!(MessageHash, "felt", |v| encode v.0, typed hex(&v.0), wire hex(&v.0), schema reference("Felt"), |name, value| felt(name, value).map(MessageHash));
field!(L1Address, "felt", |v| encode v.0, typed hex(&v.0), wire digits(v), schema reference("L1Address"), |name, value| {
    felt(name, value).map(L1Address)
});
field!(Qty, "u128", |v| encode v.0.into(), typed digits(v.0), wire digits(v), schema reference("Decimal"), |name, value| {
    narrow(name, quantums(name, value)?).map(Qty)
});
field!(Price, "u128", |v| encode v.0.into(), typed digits(v.0), wire digits(v), schema reference("Decimal"), |name, value| {
    narrow(name, quantums(name, value)?).map(Price)
});
field!(Quantums, "u128", |v| encode v.0.into(), typed digits(v.0), wire match i128::try_from(v.0) {
    Ok(value) => digits(format_quantums(value)),
    Err(_) => digits(v.0),
}, schema reference("Decimal"), |name, value| quantums(name, value).map(Quantums));
field!(u128, "u128", |v| encode (*v).into(), typed digits(v), wire digits(v), schema reference("Integer"), |name, value| integer(name, value));
field!(Nonce, "u128", |v| encode v.0.into(), typed digits(v.0), wire digits(v.0), schema reference("Integer"), |name, value| {
    narrow(name, integer(name, value)?).map(Nonce)
});
field!(IncidentId, "u128", |v| encode v.0.into(), typed digits(v.0), wire digits(v.0), schema reference("Integer"), |name, value| {
    narrow(name, integer(name, value)?).map(IncidentId)
});
field!(Millis, "timestamp", |v| encode v.0.into(), typed digits(v.0), wire digits(v.0), schema reference("Milliseconds"), |name, value| {
    let ms: u64 = narrow(name, integer(name, value)?)?;
    if ms > Millis::MAX { Err(IngressError::OutOfRange(name.into())) } else { Ok(Millis(ms)) }
});
field!(bool, "bool", |v| encode Felt::from(*v), typed Value::Bool(*v), wire Value::Bool(*v), schema json!({ "type": "boolean" }), |name, value| {
    value.as_bool().ok_or(IngressError::WrongType(name.into()))
});
field!(ShortText, "shortstring", |v| encode short_string(&v.0).expect("31 ASCII characters are a felt"), typed digits(&v.0), wire digits(&v.0), schema json!({ "type": "string", "minLength": 1, "maxLength": SHORT_STRING_LEN_MAX }), |name, value| {
    let text = text(name, value)?;
    if text.len() > SHORT_STRING_LEN_MAX {
        return Err(IngressError::TooLong(name.into()));
    }
    ShortText::new(text).ok_or(IngressError::UnknownValue(name.into()))
});

macro_rules! enum_field {
    ($($of:ty),+) => { $(
        field!($of, "shortstring", |v| encode Felt::from_bytes_be_slice(v.as_str().as_bytes()), typed digits(v), wire digits(v), schema json!({ "enum": <$of>::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>() }), |name, value| {
            <$of>::parse(text(name, value)?).ok_or(IngressError::UnknownValue(name.into()))
        });
    )+ };
}
enum_field!(Side, OrderType, TimeInForce, SelfTradeMode);

macro_rules! list_field {
    ($of:ty, $snip:literal) => {
        field!(Vec<$of>, $snip, |v| encode Poseidon::hash_array(&v.iter().map(FieldValue::encode).collect::<Vec<_>>()),
            typed v.iter().map(FieldValue::typed).collect(), wire v.iter().map(FieldValue::wire).collect(), schema json!({
                "type": "array", "maxItems": LIST_LEN_MAX, "items": <$of as FieldValue>::wire_schema(),
            }), |name, value| {
            let items = value.as_array().ok_or(IngressError::WrongType(name.into()))?;
            if items.len() > LIST_LEN_MAX {
                return Err(IngressError::TooLong(name.into()));
            }
            items.iter().map(|item| <$of as FieldValue>::decode(name, item)).collect()
        });
    };
}
list_field!(ShortText, "shortstring*");
list_field!(MessageHash, "felt*");

//! Strict decoding of requests. Nothing is guessed: every field is known, of its type and in its range, or the request is refused
//! with the field's name. How large a body may be is the RPC server's to limit; the limits of single fields are here and in [crate::field].

use crate::decimal::{parse_integer, parse_quantums};
use crate::error::IngressError;
use crate::field::{FieldValue, Millis, text};
use crate::message::{Message, MessageKind};
use crate::verify::Signature;
use keel_types::{Address, Felt, Genesis, MarketId, Price, PriceReport, Reject, StarkKey, Ts, address_bound};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// Hex digits of a felt, leading zeros included.
const FELT_DIGITS_MAX: usize = 64;
/// Felts of a signature: r and s.
const SIGNATURE_LEN: usize = 2;
/// Reports in one call: a publisher reports all its markets together, and a market list beyond 64 is not near.
pub const PRICE_REPORTS_MAX: usize = 64;

/// A signed request, well-formed; the signature is not yet checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRequest {
    pub message: Message,
    pub signature: Signature,
    /// The key that the client says it signed with, for an error of its own when that is not the key that must have.
    pub key: Option<StarkKey>,
    /// The session key that signed; absent means the account's main key.
    ///
    /// It stands outside the signed message, and that is safe: the signature verifies under this key alone, and the key must be a
    /// live one of the account. Whoever changes or drops the field makes the signature invalid and nothing else. The message's
    /// identity does not depend on who signed it, so the same message under two keys is still one message.
    pub session_key: Option<StarkKey>,
}

/// A price report as a publisher sent it; the signature is not yet checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedReport {
    pub report: PriceReport,
    pub signature: Signature,
}

/// `{message, signature, key?, sessionKey?}`. `template_default` stands in for an absent `template` of a Register.
pub fn signed_request(
    kind: MessageKind,
    params: &Value,
    template_default: Option<&str>,
) -> Result<SignedRequest, IngressError> {
    let fields = object(params)?;
    only(fields, &["message", "signature", "key", "sessionKey"])?;
    let message = message(kind, required(fields, "message")?, template_default)?;
    let signature = signature(required(fields, "signature")?)?;
    let key = |name| fields.get(name).map(|value| felt(name, value).map(StarkKey)).transpose();
    Ok(SignedRequest { message, signature, key: key("key")?, session_key: key("sessionKey")? })
}

/// The `message` object of a request.
pub fn message(kind: MessageKind, value: &Value, template_default: Option<&str>) -> Result<Message, IngressError> {
    let fields = value.as_object().ok_or(IngressError::WrongType("message".into()))?;
    match template_default {
        Some(template) if kind == MessageKind::Register && !fields.contains_key("template") => {
            let mut fields = fields.clone();
            fields.insert("template".into(), template.into());
            Message::decode(kind, &fields)
        }
        _ => Message::decode(kind, fields),
    }
}

/// `{type, message}` of `trade_typedData`.
pub fn typed_data_request(params: &Value, template_default: Option<&str>) -> Result<Message, IngressError> {
    let fields = object(params)?;
    only(fields, &["type", "message"])?;
    let kind = MessageKind::parse(text("type", required(fields, "type")?)?);
    message(kind.ok_or(IngressError::UnknownValue("type".into()))?, required(fields, "message")?, template_default)
}

/// `{reports: [{publisher, market, price, ts, signature}]}` of `market_publishPrices`.
pub fn price_reports(params: &Value, genesis: &Genesis) -> Result<Vec<SignedReport>, IngressError> {
    let fields = object(params)?;
    only(fields, &["reports"])?;
    let reports = required(fields, "reports")?.as_array().ok_or(IngressError::WrongType("reports".into()))?;
    if reports.is_empty() || reports.len() > PRICE_REPORTS_MAX {
        return Err(IngressError::TooManyReports);
    }
    let report = |(i, report)| price_report(report, genesis).map_err(|error| error.within(&format!("reports[{i}]")));
    reports.iter().enumerate().map(report).collect()
}

fn price_report(value: &Value, genesis: &Genesis) -> Result<SignedReport, IngressError> {
    let fields = value.as_object().ok_or(IngressError::WrongType("report".into()))?;
    only(fields, &["publisher", "market", "price", "ts", "signature"])?;
    let get = |name| text(name, required(fields, name)?);
    let publisher = parse_integer(get("publisher")?).map_err(|error| IngressError::decimal("publisher", error))?;
    let publisher = u8::try_from(publisher).ok().filter(|index| usize::from(*index) < genesis.oracle.publishers.len());
    let market: MarketId = genesis.market_id(get("market")?).ok_or(IngressError::Rejected(Reject::UnknownMarket))?;
    let price = parse_quantums(get("price")?).map_err(|error| IngressError::decimal("price", error))?;
    let ts: Ts = Millis::decode("ts", required(fields, "ts")?)?.ts();
    Ok(SignedReport {
        report: PriceReport {
            publisher: publisher.ok_or(IngressError::UnknownPublisher)?,
            market,
            // Zero goes through: the engine discards it for good and records that. [spec exchange, Oracle]
            price: Price(u64::try_from(price).map_err(|_| IngressError::OutOfRange("price".into()))?),
            ts,
        },
        signature: signature(required(fields, "signature")?)?,
    })
}

/// The parameters as an object; parameters by position are refused.
pub fn object(params: &Value) -> Result<&Map<String, Value>, IngressError> {
    params.as_object().ok_or(IngressError::JsonMalformed)
}

/// Refuses any field that is not in `known`.
pub fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), IngressError> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(IngressError::unknown_field(unknown)),
        None => Ok(()),
    }
}

/// A field that must be there.
pub fn required<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, IngressError> {
    fields.get(name).ok_or(IngressError::MissingField(name.into()))
}

/// `["0xr", "0xs"]`.
pub fn signature(value: &Value) -> Result<Signature, IngressError> {
    let malformed = || IngressError::SignatureMalformed("signature".into());
    let felts = value.as_array().filter(|felts| felts.len() == SIGNATURE_LEN).ok_or_else(malformed)?;
    let element = |value: &Value| felt("signature", value).map_err(|_| malformed());
    Ok(Signature { r: element(&felts[0])?, s: element(&felts[1])? })
}

/// A felt: `0x` and 1 to 64 hex digits, below the field prime. Leading zeros are fine: wallets pad addresses.
pub fn felt(name: &'static str, value: &Value) -> Result<Felt, IngressError> {
    let digits = text(name, value)?.strip_prefix("0x").unwrap_or_default();
    if digits.is_empty() || digits.len() > FELT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(IngressError::FeltMalformed(name.into()));
    }
    felt_of_hex(digits).ok_or(IngressError::FeltOutOfRange(name.into()))
}

/// A felt in 1..2^251 - 256.
pub fn address(name: &'static str, value: &Value) -> Result<Address, IngressError> {
    let felt = felt(name, value)?;
    if felt == Felt::ZERO || felt >= address_bound() {
        return Err(IngressError::AddressOutOfRange(name.into()));
    }
    Ok(Address(felt))
}

/// Felt of hex digits without prefix; `None` unless they are 1 to 64 and below the prime.
pub(crate) fn felt_of_hex(digits: &str) -> Option<Felt> {
    if digits.is_empty() || digits.len() > FELT_DIGITS_MAX {
        return None;
    }
    let mut bytes = [0u8; 32];
    // From the right, two digits to a byte.
    for (byte, pair) in bytes.iter_mut().rev().zip(digits.as_bytes().rchunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    let felt = Felt::from_bytes_be(&bytes);
    (felt.to_bytes_be() == bytes).then_some(felt)
}

/// JSON text to a value, refusing a field that stands twice in its object: which of the two was signed would be a guess.
/// Depth is limited by the parser, to 128.
pub fn parse_json(text: &str) -> Result<Value, IngressError> {
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict(&duplicate).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|_| match duplicate.take() {
        Some(name) => IngressError::duplicate_field(&name),
        None => IngressError::JsonMalformed,
    })
}

/// Builds a [Value]; remembers the name of a duplicate field.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// How serde_json hands a number to a visitor when it keeps the digits: as a map with this one key.
const NUMBER_KEY: &str = "$serde_json::private::Number";

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name == NUMBER_KEY {
                // A client can send this key too; it then gets a number, which no field accepts.
                let digits: String = entries.next_value()?;
                return serde_json::from_str(&digits).map(Value::Number).map_err(A::Error::custom);
            }
            if fields.contains_key(&name) {
                *self.0.borrow_mut() = Some(name);
                return Err(A::Error::custom("duplicate field"));
            }
            fields.insert(name, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(fields))
    }
}

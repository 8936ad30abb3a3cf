//! Strict reading of the parameters of Keel's own read methods: one object, by name; numbers are decimal strings; a field that is
//! unknown, sent twice, or of another type is refused with its name.
use jsonrpsee::types::Params;
use keel_ingress::{IngressError, decode};
use keel_types::{Address, Felt, Genesis, MarketId, MessageHash};
use serde_json::{Map, Value};

/// Longest field name that an error repeats.
const FIELD_NAME_CHARS_MAX: usize = 64;

/// The fields of one call, taken out by name; what is left at [Fields::finish] is unknown.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads an object. No parameters, `null`, `[]` and `{}` are the same: no fields.
    pub fn read(params: &Params<'_>) -> Result<Fields, IngressError> {
        match value(params)? {
            Value::Null => Ok(Fields(Map::new())),
            Value::Array(none) if none.is_empty() => Ok(Fields(Map::new())),
            Value::Object(fields) => Ok(Fields(fields)),
            _ => Err(IngressError::JsonMalformed),
        }
    }

    /// Refuses what was not asked for. Call it before acting on anything.
    pub fn finish(self) -> Result<(), IngressError> {
        self.0.keys().next().map_or(Ok(()), |name| Err(IngressError::UnknownField(field(name))))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A string that may be absent.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, IngressError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(_)) => Err(IngressError::NumberNotString(field(name))),
            Some(_) => Err(IngressError::WrongType(field(name))),
        }
    }

    /// A string.
    pub fn text(&mut self, name: &str) -> Result<String, IngressError> {
        self.optional_text(name)?.ok_or_else(|| IngressError::MissingField(field(name)))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Result<bool, IngressError> {
        match self.take(name) {
            None => Err(IngressError::MissingField(field(name))),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(IngressError::WrongType(field(name))),
        }
    }

    /// An unsigned integer in decimal text that may be absent: digits only, no sign, no leading zero.
    pub fn optional_integer<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, IngressError> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
        if text.is_empty() || !plain {
            return Err(IngressError::DecimalMalformed(field(name)));
        }
        text.parse().map(Some).map_err(|_| IngressError::OutOfRange(field(name)))
    }

    /// An unsigned integer in decimal text.
    pub fn integer<T: std::str::FromStr>(&mut self, name: &str) -> Result<T, IngressError> {
        self.optional_integer(name)?.ok_or_else(|| IngressError::MissingField(field(name)))
    }

    /// A count of rows: absent means `default`; 0 or more than `max` is refused.
    pub fn rows(&mut self, name: &str, default: usize, max: usize) -> Result<usize, IngressError> {
        match self.optional_integer(name)? {
            None => Ok(default),
            Some(rows) if (1..=max).contains(&rows) => Ok(rows),
            Some(_) => Err(IngressError::OutOfRange(field(name))),
        }
    }

    /// A field element: `0x` and 1 to 64 hex digits, below the prime.
    pub fn felt(&mut self, name: &'static str) -> Result<Option<Felt>, IngressError> {
        self.take(name).map(|value| decode::felt(name, &value)).transpose()
    }

    /// An account address.
    pub fn account(&mut self) -> Result<Address, IngressError> {
        let account = self.take("account").ok_or_else(|| IngressError::MissingField(field("account")))?;
        decode::address("account", &account)
    }

    /// An order by its hash, or else by the client's id: exactly one of the two fields.
    pub fn order(&mut self) -> Result<OrderName, IngressError> {
        match (self.felt("order")?, self.optional_integer("clientId")?) {
            (Some(hash), None) => Ok(OrderName::Hash(MessageHash(hash))),
            (None, Some(client_id)) if client_id != 0 => Ok(OrderName::ClientId(client_id)),
            (None, Some(_)) => Err(IngressError::OutOfRange(field("clientId"))),
            _ => Err(IngressError::OrderOrClientId),
        }
    }

    /// A market by its name.
    pub fn market(&mut self, genesis: &Genesis) -> Result<MarketId, IngressError> {
        self.optional_market(genesis)?.ok_or_else(|| IngressError::MissingField(field("market")))
    }

    /// A market by its name, that may be absent.
    pub fn optional_market(&mut self, genesis: &Genesis) -> Result<Option<MarketId>, IngressError> {
        let Some(name) = self.optional_text("market")? else { return Ok(None) };
        genesis.market_id(&name).map(Some).ok_or(IngressError::Rejected(keel_types::Reject::UnknownMarket))
    }
}

/// How a client names an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderName {
    Hash(MessageHash),
    ClientId(u128),
}

/// A field's name for an error; one that the client made up is cut before it is repeated.
fn field(name: &str) -> keel_ingress::error::Field {
    name.chars().take(FIELD_NAME_CHARS_MAX).collect::<String>().into()
}

/// The parameters as ingress reads JSON: a field that stands twice is refused.
pub fn value(params: &Params<'_>) -> Result<Value, IngressError> {
    params.as_str().map_or(Ok(Value::Null), decode::parse_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(), IngressError> {
        let mut fields = Fields::read(&Params::new(Some(json)))?;
        fields.text("market")?;
        fields.rows("depth", 20, 500)?;
        fields.finish()
    }

    #[test]
    fn each_bad_shape_has_its_fault_and_names_its_field() {
        for (json, expected) in [
            (r#"{"market":"A"}"#, Ok(())),
            (r#"{"market":"A","depth":"500"}"#, Ok(())),
            (r#"["A"]"#, Err(IngressError::JsonMalformed)),
            (r#""A""#, Err(IngressError::JsonMalformed)),
            ("{}", Err(IngressError::MissingField(field("market")))),
            (r#"{"market":7}"#, Err(IngressError::NumberNotString(field("market")))),
            (r#"{"market":1.5}"#, Err(IngressError::NumberNotString(field("market")))),
            (r#"{"market":null}"#, Err(IngressError::WrongType(field("market")))),
            (r#"{"market":"A","depth":20}"#, Err(IngressError::NumberNotString(field("depth")))),
            (r#"{"market":"A","deep":"20"}"#, Err(IngressError::UnknownField(field("deep")))),
            (r#"{"market":"A","market":"B"}"#, Err(IngressError::DuplicateField(field("market")))),
            (r#"{"market":"A","depth":"020"}"#, Err(IngressError::DecimalMalformed(field("depth")))),
            (r#"{"market":"A","depth":"-1"}"#, Err(IngressError::DecimalMalformed(field("depth")))),
            (r#"{"market":"A","depth":""}"#, Err(IngressError::DecimalMalformed(field("depth")))),
            (r#"{"market":"A","depth":"501"}"#, Err(IngressError::OutOfRange(field("depth")))),
            (r#"{"market":"A","depth":"0"}"#, Err(IngressError::OutOfRange(field("depth")))),
            (r#"{"market":"A""#, Err(IngressError::JsonMalformed)),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }
}

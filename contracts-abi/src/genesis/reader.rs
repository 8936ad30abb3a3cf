//! A strict reader of JSON values: every error names its field by path (`markets[2].tick_size`), and nothing is converted silently.

use super::{GenesisError, Problem};
use keel_types::{Address, FeltBytes, L1Address, SettlementLayer, StarkKey, address_bound};
use serde_json::{Map, Value};
use starknet_types_core::curve::AffinePoint;
use starknet_types_core::felt::Felt;

/// A value of the document with its path.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub path: String,
    value: &'a Value,
}

/// An object whose fields are known.
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object's field, which must be there.
    pub fn get(&self, name: &str) -> Result<Node<'a>, GenesisError> {
        let path = join(&self.path, name);
        match self.map.get(name) {
            Some(value) => Ok(Node { path, value }),
            None => Err(GenesisError::Field { field: path, problem: Problem::Missing }),
        }
    }
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Node<'a> {
        Node { path: String::new(), value }
    }

    /// The value is there and of its type, but wrong.
    pub fn wrong(&self, why: impl Into<String>) -> GenesisError {
        GenesisError::Field { field: self.path.clone(), problem: Problem::Value(why.into()) }
    }

    fn expected(&self, what: &'static str) -> GenesisError {
        GenesisError::Field { field: self.path.clone(), problem: Problem::Type(what) }
    }

    /// An object with these fields and no others.
    pub fn fields(&self, known: &[&str]) -> Result<Fields<'a>, GenesisError> {
        let map = self.value.as_object().ok_or_else(|| self.expected("an object"))?;
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(GenesisError::Field { field: join(&self.path, unknown), problem: Problem::Unknown }),
            None => Ok(Fields { path: self.path.clone(), map }),
        }
    }

    /// The elements of a list.
    pub fn list(&self) -> Result<Vec<Node<'a>>, GenesisError> {
        let list = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value };
        Ok(list.iter().enumerate().map(node).collect())
    }

    pub fn text(&self) -> Result<&'a str, GenesisError> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    /// One of the listed texts; its index.
    pub fn choice(&self, choices: &[&str]) -> Result<usize, GenesisError> {
        let text = self.text()?;
        let found = choices.iter().position(|choice| *choice == text);
        found.ok_or_else(|| self.wrong(format!("must be one of {}", choices.join(", "))))
    }

    /// A short string that no SDK takes for a number: a letter, then letters, digits, `-` or `_`; at most 31 characters.
    pub fn name(&self) -> Result<&'a str, GenesisError> {
        let text = self.text()?;
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !starts || !rest || text.len() > 31 {
            return Err(self.wrong("must be a letter, then letters, digits, - or _; at most 31 characters"));
        }
        Ok(text)
    }

    /// A JSON integer within the range.
    pub fn integer<T: TryFrom<u64>>(&self, min: u64, max: u64) -> Result<T, GenesisError> {
        let value = self.value.as_u64().ok_or_else(|| self.expected("an integer"))?;
        let in_range = if value < min || value > max { None } else { T::try_from(value).ok() };
        in_range.ok_or_else(|| self.wrong(format!("must be between {min} and {max}")))
    }

    /// A decimal string as an integer in 10^-`decimals`; more decimals are refused, never truncated.
    pub fn decimal<T: TryFrom<i128>>(&self, decimals: u32) -> Result<T, GenesisError> {
        let text = self.text().map_err(|_| self.expected("a decimal string"))?;
        let value = parse_decimal(text, decimals).map_err(|why| self.wrong(why))?;
        T::try_from(value).map_err(|_| self.wrong("out of range"))
    }

    /// A felt: `0x` and hex digits without leading zeros.
    pub fn felt(&self) -> Result<Felt, GenesisError> {
        let text = self.text()?;
        let digits = text.strip_prefix("0x").filter(|digits| {
            let canonical = *digits == "0" || !digits.starts_with('0');
            canonical && (1..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        });
        let digits = digits.ok_or_else(|| self.wrong("must be 0x and hex digits without leading zeros"))?;
        let bytes = (0..64).map(|i| digits.as_bytes().get((digits.len() + i).wrapping_sub(64)).map_or(b'0', |b| *b));
        let nibbles: Vec<u8> = bytes.map(|b| (b as char).to_digit(16).expect("checked above") as u8).collect();
        let bytes: Vec<u8> = nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let felt = Felt::from_bytes_be_slice(&bytes);
        if felt.to_bytes_be().as_slice() != bytes {
            return Err(self.wrong("must be below the field prime"));
        }
        Ok(felt)
    }

    pub fn non_zero_felt(&self) -> Result<FeltBytes, GenesisError> {
        let felt = self.felt()?;
        if felt == Felt::ZERO { Err(self.wrong("must not be zero")) } else { Ok(FeltBytes(felt)) }
    }

    /// An address that a contract can have. 0x0 to 0x3 are the protocol's own. [spec starknet (a)]
    pub fn address(&self) -> Result<Address, GenesisError> {
        let felt = self.felt()?;
        if felt <= Felt::THREE || felt >= address_bound() {
            return Err(self.wrong("must be above 0x3 and below 2^251 - 256"));
        }
        Ok(Address(felt))
    }

    /// A Stark key: the x coordinate of a point of the curve.
    pub fn stark_key(&self) -> Result<StarkKey, GenesisError> {
        let x = self.felt()?;
        if x == Felt::ZERO || AffinePoint::new_from_x(&x, false).is_none() {
            return Err(self.wrong("must be the x coordinate of a point on the Stark curve"));
        }
        Ok(StarkKey(x))
    }

    /// An address of the settlement layer.
    pub fn l1_address(&self, layer: &SettlementLayer) -> Result<L1Address, GenesisError> {
        layer.parse_address(self.text()?).map_err(|why| self.wrong(why))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// `-?digits[.digits]`, without leading zeros, as an integer in 10^-`decimals`.
pub(super) fn parse_decimal(text: &str, decimals: u32) -> Result<i128, String> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let (whole, fraction) = match magnitude.split_once('.') {
        Some((_, "")) => return Err("must be a decimal number".into()),
        Some(parts) => parts,
        None => (magnitude, ""),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let canonical = !whole.is_empty() && (whole == "0" || !whole.starts_with('0'));
    if !canonical || !digits(whole) || !digits(fraction) {
        return Err("must be a decimal number without leading zeros".into());
    }
    if fraction.len() > decimals as usize {
        return Err(format!("must have at most {decimals} decimals"));
    }
    let scaled = format!("{whole}{fraction:0<width$}", width = decimals as usize);
    let value: i128 = scaled.parse().map_err(|_| "out of range".to_string())?;
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let cases = [
            ("0", 8, Ok(0)),
            ("101.25", 8, Ok(10_125_000_000)),
            ("-0.00005", 6, Ok(-50)),
            ("0.00000001", 8, Ok(1)),
            ("1000000000000", 8, Ok(100_000_000_000_000_000_000)),
            ("0.000000001", 8, Err("must have at most 8 decimals")),
            ("0.0000001", 6, Err("must have at most 6 decimals")),
            ("", 8, Err("must be a decimal number without leading zeros")),
            ("-", 8, Err("must be a decimal number without leading zeros")),
            ("01", 8, Err("must be a decimal number without leading zeros")),
            ("+1", 8, Err("must be a decimal number without leading zeros")),
            (".5", 8, Err("must be a decimal number without leading zeros")),
            ("1.", 8, Err("must be a decimal number")),
            ("1e3", 8, Err("must be a decimal number without leading zeros")),
            ("1.2.3", 8, Err("must be a decimal number without leading zeros")),
            ("١", 8, Err("must be a decimal number without leading zeros")),
            ("9999999999999999999999999999999999999999", 8, Err("out of range")),
        ];
        for (text, decimals, expected) in cases {
            assert_eq!(parse_decimal(text, decimals), expected.map_err(String::from), "{text:?}");
        }
    }
}

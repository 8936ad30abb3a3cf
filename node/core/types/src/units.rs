use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Quantums in one unit: every price, size and amount is an integer in 1e-8. [spec exchange, Units]
pub const QUANTUMS_PER_UNIT: u64 = 100_000_000;
/// Parts in one: rates (fees, margin fractions, bands) are integers in 1e-6.
pub const PPM: i128 = 1_000_000;

/// Price: quote quantums for one base unit (1e8 base quantums).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[serde(transparent)]
pub struct Price(pub u64);

/// Size: base quantums.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[serde(transparent)]
pub struct Qty(pub u64);

/// Amount of one asset: signed quantums.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[serde(transparent)]
pub struct Amount(pub i128);

impl Price {
    /// Quote quantums of `qty` at this price.
    ///
    /// Exact when price is on tick and qty on lot, since `tick * lot` is a multiple of one quote quantum. [spec exchange, Units]
    /// Panics when it is not: an inexact product would lose money silently.
    pub fn notional(self, qty: Qty) -> i128 {
        let product = i128::from(self.0) * i128::from(qty.0);
        assert_eq!(product % i128::from(QUANTUMS_PER_UNIT), 0, "price {self:?} x size {qty:?} is not a whole quote quantum");
        product / i128::from(QUANTUMS_PER_UNIT)
    }

    /// Quote quantums of a signed size at this price, rounded towards minus infinity: against the account that holds it.
    pub fn value_floor(self, size: i128) -> i128 {
        (i128::from(self.0) * size).div_euclid(i128::from(QUANTUMS_PER_UNIT))
    }
}

impl Qty {
    /// Whether nothing is left.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// `numerator / denominator` rounded up, for charges: rounding goes against the account. `denominator` > 0.
pub fn div_ceil(numerator: i128, denominator: i128) -> i128 {
    assert!(denominator > 0);
    -((-numerator).div_euclid(denominator))
}

/// The fee of `notional` at `rate_ppm`, rounded up (a rebate, negative, is rounded towards zero). [spec exchange, Units]
pub fn fee(notional: i128, rate_ppm: i32) -> i128 {
    div_ceil(notional * i128::from(rate_ppm), PPM)
}

/// Decimal text of quantums: at most 8 decimals, no trailing zeros, `-` when negative. The wire form of every number.
pub fn format_quantums(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    let whole = magnitude / u128::from(QUANTUMS_PER_UNIT);
    let fraction = magnitude % u128::from(QUANTUMS_PER_UNIT);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:08}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Why a decimal text is not a number of quantums. [spec exchange, Units]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecimalError {
    /// Not `-?digits[.digits]`.
    Malformed,
    /// More than 8 decimals: rejected, never truncated.
    TooManyDecimals,
    /// Beyond what the type can hold.
    OutOfRange,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecimalError::Malformed => "not a decimal number",
            DecimalError::TooManyDecimals => "more than 8 decimals",
            DecimalError::OutOfRange => "out of range",
        })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_quantums(i128::from(self.0)))
    }
}
impl fmt::Display for Qty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_quantums(i128::from(self.0)))
    }
}
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_quantums(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantums_print_without_trailing_zeros() {
        for (value, text) in
            [(0, "0"), (100_000_000, "1"), (10_125_000_000, "101.25"), (-1, "-0.00000001"), (-150_000_000, "-1.5")]
        {
            assert_eq!(format_quantums(value), text);
        }
    }

    #[test]
    fn fees_round_against_the_account() {
        assert_eq!(fee(1, 250), 1);
        assert_eq!(fee(4_000, 250), 1);
        assert_eq!(fee(4_001, 250), 2);
        assert_eq!(fee(4_001, -250), -1);
    }

    #[test]
    #[should_panic(expected = "not a whole quote quantum")]
    fn an_inexact_notional_is_refused() {
        Price(1).notional(Qty(1));
    }
}

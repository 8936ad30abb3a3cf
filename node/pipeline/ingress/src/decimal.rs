//! Decimal strings of the wire <-> quantums of 1e-8. [spec exchange, Units]

use keel_types::DecimalError;
use rust_decimal::Decimal;

/// Decimals of a quantum.
const DECIMALS_MAX: usize = 8;
/// Longest text that is looked at. The largest amount has 21 digits, a sign, a point and 8 decimals; u128 has 39 digits.
pub const NUMBER_LEN_MAX: usize = 40;

/// `-?digits[.digits]`, both parts non-empty, nothing else: no sign `+`, no exponent, no blanks, no separators.
fn check_grammar(text: &str) -> Result<(), DecimalError> {
    if text.len() > NUMBER_LEN_MAX {
        return Err(DecimalError::OutOfRange);
    }
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match magnitude.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (magnitude, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return Err(DecimalError::Malformed);
    }
    if fraction.is_some_and(|f| f.len() > DECIMALS_MAX) {
        return Err(DecimalError::TooManyDecimals);
    }
    Ok(())
}

/// Quantums of a decimal text. Exact: more than 8 decimals are refused even when they are zeros, never cut.
pub fn parse_quantums(text: &str) -> Result<i128, DecimalError> {
    check_grammar(text)?;
    let mut value = Decimal::from_str_exact(text).map_err(|_| DecimalError::OutOfRange)?;
    let scale = value.scale();
    // The grammar admits at most 8 decimals, so that this only shifts the point.
    value.set_scale(0).map_err(|_| DecimalError::OutOfRange)?;
    let shift = 10i128.pow(DECIMALS_MAX as u32 - scale);
    value.mantissa().checked_mul(shift).ok_or(DecimalError::OutOfRange)
}

/// Whole number in decimal digits: ids, nonces, times.
pub fn parse_integer(text: &str) -> Result<u128, DecimalError> {
    check_grammar(text)?;
    match text {
        fraction if fraction.contains('.') => Err(DecimalError::TooManyDecimals),
        negative if negative.starts_with('-') => Err(DecimalError::OutOfRange),
        digits => digits.parse().map_err(|_| DecimalError::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DecimalError::{Malformed, OutOfRange, TooManyDecimals};
    use keel_types::format_quantums;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let cases: &[(&str, Result<i128, DecimalError>)] = &[
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1", Ok(100_000_000)),
            ("101.25", Ok(10_125_000_000)),
            ("0.00000001", Ok(1)),
            ("-1.5", Ok(-150_000_000)),
            ("007.50", Ok(750_000_000)),
            ("184467440737.09551615", Ok(u64::MAX as i128)),
            ("1000000000000", Ok(100_000_000_000_000_000_000)),
            ("0.000000001", Err(TooManyDecimals)),
            ("1.000000000", Err(TooManyDecimals)),
            ("99999999999999999999999999999999", Err(OutOfRange)),
            ("9999999999999999999999999999999999999999999999999", Err(OutOfRange)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_quantums(text), *expected, "{text}");
        }
        for text in
            ["", "-", ".", "1.", ".5", "+1", "1e3", "0x10", "1_000", "1,5", " 1", "1 ", "NaN", "inf", "--1", "1.2.3", "١"]
        {
            assert_eq!(parse_quantums(text), Err(Malformed), "{text:?}");
            assert_eq!(parse_integer(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn integers_have_no_decimals_and_no_sign() {
        assert_eq!(parse_integer("340282366920938463463374607431768211455"), Ok(u128::MAX));
        assert_eq!(parse_integer("340282366920938463463374607431768211456"), Err(OutOfRange));
        assert_eq!(parse_integer("1.0"), Err(TooManyDecimals));
        assert_eq!(parse_integer("-1"), Err(OutOfRange));
    }

    proptest! {
        #[test]
        fn every_amount_survives_print_and_parse(value in -(10i128.pow(24))..10i128.pow(24)) {
            prop_assert_eq!(parse_quantums(&format_quantums(value)), Ok(value));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,50}") {
            if let Ok(value) = parse_quantums(&text) {
                prop_assert_eq!(parse_quantums(&format_quantums(value)), Ok(value));
            }
        }
    }
}

use std::cmp::Ordering;

/// Compares `a x b` with `c x d` exactly, for factors that are not negative: products of two amounts exceed 128 bits.
pub(crate) fn compare_products(a: i128, b: i128, c: i128, d: i128) -> Ordering {
    wide_product(a, b).cmp(&wide_product(c, d))
}

/// `floor(a x b / divisor)` without overflow on the way, for `b` not negative and `divisor` positive. Panics when the result does
/// not fit: the caller's amounts are bounded so that it does.
pub fn mul_div_floor(a: i128, b: i128, divisor: i128) -> i128 {
    let (quotient, rest) = mul_div_rem(a.abs(), b, divisor);
    match (a < 0, rest == 0) {
        (false, _) => quotient,
        (true, true) => -quotient,
        (true, false) => -quotient - 1,
    }
}

/// Quotient and rest of `a x b / divisor`, all of them not negative, `divisor` positive. Panics as [mul_div_floor].
pub fn mul_div_rem(a: i128, b: i128, divisor: i128) -> (i128, i128) {
    assert!(divisor > 0, "divides by a positive amount");
    let (high, low) = wide_product(a, b);
    let (quotient, rest) = wide_divide(high, low, divisor.unsigned_abs());
    let fits = |n: u128| i128::try_from(n).expect("a quotient of bounded amounts");
    (fits(quotient), fits(rest))
}

/// Quotient and rest of a 256-bit number, bit by bit. Panics when the quotient has more than 128 bits.
fn wide_divide(high: u128, low: u128, divisor: u128) -> (u128, u128) {
    if high == 0 {
        return (low / divisor, low % divisor);
    }
    assert!(high < divisor, "a quotient of bounded amounts");
    let (mut quotient, mut rest) = (0u128, high);
    for bit in (0..128).rev() {
        // `rest` stays below `divisor` < 2^127, so that doubling it cannot overflow.
        rest = rest << 1 | (low >> bit & 1);
        quotient <<= 1;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// 256-bit product as (high, low).
fn wide_product(a: i128, b: i128) -> (u128, u128) {
    let unsigned = |n: i128| u128::try_from(n).expect("compares products of amounts that are not negative");
    let (a, b) = (unsigned(a), unsigned(b));
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a0 * b0;
    let (middle_1, middle_2) = (a1 * b0, a0 * b1);
    let carry = ((low >> 64) + (middle_1 & LOW) + (middle_2 & LOW)) >> 64;
    let high = a1 * b1 + (middle_1 >> 64) + (middle_2 >> 64) + carry;
    (high, a.wrapping_mul(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn products_beyond_128_bits_compare() {
        let big = i128::MAX;
        assert_eq!(compare_products(big, big, big, big), Ordering::Equal);
        assert_eq!(compare_products(big, big - 1, big, big), Ordering::Less);
        assert_eq!(wide_product(i128::MAX, i128::MAX), ((1 << 126) - 1, 1));
    }

    #[test]
    fn a_wide_quotient_is_exact_and_rounds_down() {
        for (a, b, divisor, quotient) in [
            (7, 3, 2, 10),
            (-7, 3, 2, -11),
            (-6, 3, 2, -9),
            (i128::MAX, i128::MAX, i128::MAX, i128::MAX),
            (1 << 100, 1 << 100, (1 << 100) + 1, (1 << 100) - 1),
        ] {
            assert_eq!(mul_div_floor(a, b, divisor), quotient, "{a} x {b} / {divisor}");
        }
    }

    proptest! {
        #[test]
        fn a_product_divided_by_a_factor_is_the_other(a in -(i128::MAX)..i128::MAX, b in 1i128..i128::MAX) {
            prop_assert_eq!(mul_div_floor(a, b, b), a);
        }
        #[test]
        fn small_quotients_agree_with_plain_division(a in -(1i128 << 62)..1 << 62, b in 0i128..1 << 62, c in 1i128..1 << 62) {
            prop_assert_eq!(mul_div_floor(a, b, c), (a * b).div_euclid(c));
        }
        #[test]
        fn small_products_agree_with_plain_multiplication(a in 0i128..1 << 62, b in 0i128..1 << 62, c in 0i128..1 << 62, d in 0i128..1 << 62) {
            prop_assert_eq!(compare_products(a, b, c, d), (a * b).cmp(&(c * d)));
        }
        /// `(a x 2^40) x (b x 2^40)` against `(c x 2^40) x (d x 2^40)`: the same order.
        #[test]
        fn scaling_both_sides_keeps_the_order(a in 0i128..1 << 62, b in 0i128..1 << 62, c in 0i128..1 << 62, d in 0i128..1 << 62) {
            prop_assert_eq!(compare_products(a << 40, b << 40, c << 40, d << 40), (a * b).cmp(&(c * d)));
        }
    }
}

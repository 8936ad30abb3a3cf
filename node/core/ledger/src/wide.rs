use std::cmp::Ordering;

/// Compares `a x b` with `c x d` exactly, for factors that are not negative: products of two amounts exceed 128 bits.
pub(crate) fn compare_products(a: i128, b: i128, c: i128, d: i128) -> Ordering {
    wide_product(a, b).cmp(&wide_product(c, d))
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

    proptest! {
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

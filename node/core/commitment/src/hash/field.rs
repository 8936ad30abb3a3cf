//! Arithmetic of the STARK field for [`super::pedersen`], which spends all of its time here.
//!
//! The prime is 2^251 + 17 * 2^192 + 1: its lowest limb is 1 and its middle limbs are 0, so that a step of Montgomery
//! reduction is one multiplication instead of four. That, and a representation shared with [`Felt`], is the whole reason
//! for this module.

use starknet_types_core::felt::Felt;

/// Limbs of the prime, least significant first.
const PRIME: [u64; 4] = [1, 0, 0, PRIME_TOP];
const PRIME_TOP: u64 = 0x0800_0000_0000_0011;

/// A field element: `value * 2^256` modulo the prime, always below the prime; least significant limb first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Element([u64; 4]);

impl Element {
    pub(super) const ZERO: Element = Element([0; 4]);
    /// 2^256 modulo the prime: 32 times the prime is 2^256 + 544 * 2^192 + 32.
    pub(super) const ONE: Element = Element([u64::MAX - 30, u64::MAX, u64::MAX, 0x07ff_ffff_ffff_fdf0]);

    pub(super) fn of(felt: &Felt) -> Element {
        Element(felt.to_raw_reversed())
    }

    pub(super) fn to_felt(self) -> Felt {
        let [a, b, c, d] = self.0;
        Felt::from_raw([d, c, b, a])
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    #[inline(always)]
    pub(super) fn add(&self, other: &Element) -> Element {
        // Both are below the prime, which has 4 bits to spare: nothing is carried out.
        let (sum, _) = add_limbs(&self.0, &other.0);
        Element(below_prime(sum))
    }

    #[inline(always)]
    pub(super) fn double(&self) -> Element {
        self.add(self)
    }

    #[inline(always)]
    pub(super) fn sub(&self, other: &Element) -> Element {
        let (difference, borrow) = sub_limbs(&self.0, &other.0);
        Element(not_negative(difference, borrow))
    }

    /// Montgomery product.
    #[inline(always)]
    pub(super) fn mul(&self, other: &Element) -> Element {
        let (a, b) = (&self.0, &other.0);
        let (t0, t1, t2, t3, t4) = mul_row(a[0], b, [0; 4]);
        let (t1, t2, t3, t4, t5) = mul_row(a[1], b, [t1, t2, t3, t4]);
        let (t2, t3, t4, t5, t6) = mul_row(a[2], b, [t2, t3, t4, t5]);
        let (t3, t4, t5, t6, t7) = mul_row(a[3], b, [t3, t4, t5, t6]);
        Element(reduce([t0, t1, t2, t3], [t4, t5, t6, t7]))
    }

    #[inline(always)]
    pub(super) fn square(&self) -> Element {
        let [a, b, c, d] = self.0;
        // Products of different limbs, to be doubled, then the squares on the diagonal.
        let (t1, carry) = a.carrying_mul(b, 0);
        let (t2, carry) = a.carrying_mul(c, carry);
        let (t3, t4) = a.carrying_mul(d, carry);
        let (t3, carry) = b.carrying_mul_add(c, t3, 0);
        let (t4, t5) = b.carrying_mul_add(d, t4, carry);
        let (t5, t6) = c.carrying_mul(d, t5);
        let (t7, t6, t5) = (t6 >> 63, t6 << 1 | t5 >> 63, t5 << 1 | t4 >> 63);
        let (t4, t3, t2, t1) = (t4 << 1 | t3 >> 63, t3 << 1 | t2 >> 63, t2 << 1 | t1 >> 63, t1 << 1);
        let (t0, high_a) = a.carrying_mul(a, 0);
        let (low_b, high_b) = b.carrying_mul(b, 0);
        let (low_c, high_c) = c.carrying_mul(c, 0);
        let (low_d, high_d) = d.carrying_mul(d, 0);
        let (t1, carry) = t1.carrying_add(high_a, false);
        let (t2, carry) = t2.carrying_add(low_b, carry);
        let (t3, carry) = t3.carrying_add(high_b, carry);
        let (t4, carry) = t4.carrying_add(low_c, carry);
        let (t5, carry) = t5.carrying_add(high_c, carry);
        let (t6, carry) = t6.carrying_add(low_d, carry);
        let (t7, _) = t7.carrying_add(high_d, carry);
        Element(reduce([t0, t1, t2, t3], [t4, t5, t6, t7]))
    }

    fn square_times(self, times: usize) -> Element {
        (0..times).fold(self, |x, _| x.square())
    }

    /// The inverse, `self^(P - 2)`; 0 for 0.
    pub(super) fn inverse(&self) -> Element {
        // P - 2 = 2^251 + 2^196 + (2^192 - 1). First self^(2^12 - 1), then the exponent from its top bit down: a one, 54
        // zeros, a one, four zeros, and sixteen times twelve ones.
        let ones_2 = self.square().mul(self);
        let ones_3 = ones_2.square().mul(self);
        let ones_6 = ones_3.square_times(3).mul(&ones_3);
        let ones_12 = ones_6.square_times(6).mul(&ones_6);
        let top = self.square_times(55).mul(self).square_times(4);
        (0..16).fold(top, |x, _| x.square_times(12).mul(&ones_12))
    }
}

/// `a * b + t`, five limbs.
#[inline(always)]
fn mul_row(a: u64, b: &[u64; 4], t: [u64; 4]) -> (u64, u64, u64, u64, u64) {
    let (t0, carry) = a.carrying_mul_add(b[0], t[0], 0);
    let (t1, carry) = a.carrying_mul_add(b[1], t[1], carry);
    let (t2, carry) = a.carrying_mul_add(b[2], t[2], carry);
    let (t3, carry) = a.carrying_mul_add(b[3], t[3], carry);
    (t0, t1, t2, t3, carry)
}

/// A product of two elements, divided by 2^256 modulo the prime.
///
/// With m = `low` / P modulo 2^256 the difference `product - m * P` is a multiple of 2^256 between -P * 2^256 and
/// P * 2^256. P is 1 modulo 2^192: the three lower limbs of m are those of `low`, the fourth lacks what the first
/// contributes through the top limb of P, and `m * P = m + m * PRIME_TOP * 2^192`.
#[inline(always)]
fn reduce(low: [u64; 4], high: [u64; 4]) -> [u64; 4] {
    let (x0, carry) = low[0].carrying_mul(PRIME_TOP, 0);
    let (x1, carry) = low[1].carrying_mul(PRIME_TOP, carry);
    let (x2, carry) = low[2].carrying_mul(PRIME_TOP, carry);
    let (m3, borrow) = low[3].borrowing_sub(x0, false);
    let (x3, x4) = m3.carrying_mul(PRIME_TOP, carry);
    let (r0, borrow) = high[0].borrowing_sub(x1, borrow);
    let (r1, borrow) = high[1].borrowing_sub(x2, borrow);
    let (r2, borrow) = high[2].borrowing_sub(x3, borrow);
    let (r3, borrow) = high[3].borrowing_sub(x4, borrow);
    not_negative([r0, r1, r2, r3], borrow)
}

/// Adds the prime to a number that went below zero; its carry cancels the borrow.
#[inline(always)]
fn not_negative(r: [u64; 4], borrow: bool) -> [u64; 4] {
    let mask = u64::from(borrow).wrapping_neg();
    let (r0, carry) = r[0].carrying_add(u64::from(borrow), false);
    let (r1, carry) = r[1].carrying_add(0, carry);
    let (r2, carry) = r[2].carrying_add(0, carry);
    let (r3, _) = r[3].carrying_add(PRIME_TOP & mask, carry);
    [r0, r1, r2, r3]
}

#[inline(always)]
fn add_limbs(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (s0, carry) = a[0].carrying_add(b[0], false);
    let (s1, carry) = a[1].carrying_add(b[1], carry);
    let (s2, carry) = a[2].carrying_add(b[2], carry);
    let (s3, carry) = a[3].carrying_add(b[3], carry);
    ([s0, s1, s2, s3], carry)
}

#[inline(always)]
fn sub_limbs(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (d0, borrow) = a[0].borrowing_sub(b[0], false);
    let (d1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (d2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (d3, borrow) = a[3].borrowing_sub(b[3], borrow);
    ([d0, d1, d2, d3], borrow)
}

/// A number below twice the prime, reduced.
#[inline(always)]
fn below_prime(t: [u64; 4]) -> [u64; 4] {
    let (reduced, borrow) = sub_limbs(&t, &PRIME);
    let keep = u64::from(borrow).wrapping_neg();
    std::array::from_fn(|i| reduced[i] ^ ((reduced[i] ^ t[i]) & keep))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edges() -> Vec<Felt> {
        let powers = [63u32, 64, 127, 128, 191, 192, 196, 248, 250, 251].map(|bit| Felt::TWO.pow(bit));
        let small = [Felt::ZERO, Felt::ONE, Felt::TWO, Felt::MAX, Felt::MAX - 1, Felt::from_raw([0, 0, 0, 1])];
        let around = powers.iter().flat_map(|power| [*power - 1, *power, *power + 1]);
        small.into_iter().chain(around).collect()
    }

    fn check(a: &Felt, b: &Felt) {
        let (x, y) = (Element::of(a), Element::of(b));
        assert_eq!(x.to_felt(), *a);
        assert_eq!(x.add(&y).to_felt(), *a + *b, "{a:#x} + {b:#x}");
        assert_eq!(x.sub(&y).to_felt(), *a - *b, "{a:#x} - {b:#x}");
        assert_eq!(x.mul(&y).to_felt(), *a * *b, "{a:#x} * {b:#x}");
        assert_eq!(x.square().to_felt(), *a * *a, "{a:#x}^2");
        assert_eq!(x.double().to_felt(), *a + *a);
        assert_eq!(x.inverse().to_felt(), a.inverse().unwrap_or_default(), "1 / {a:#x}");
        assert_eq!(x.is_zero(), *a == Felt::ZERO);
    }

    #[test]
    fn the_arithmetic_is_that_of_felt_at_every_pair_of_edges() {
        assert_eq!((Element::ONE.to_felt(), Element::ZERO.to_felt()), (Felt::ONE, Felt::ZERO));
        for a in edges() {
            edges().iter().for_each(|b| check(&a, b));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]
        #[test]
        fn the_arithmetic_is_that_of_felt(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            check(&Felt::from_bytes_be(&a), &Felt::from_bytes_be(&b));
        }
        /// Every stored form below the prime, also those near it in single limbs.
        #[test]
        fn the_arithmetic_is_that_of_felt_for_sparse_limbs(a in limbs(), b in limbs()) {
            check(&a, &b);
        }
    }

    fn limbs() -> impl Strategy<Value = Felt> {
        let limb = || prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()];
        let top = prop_oneof![Just(0), Just(PRIME_TOP - 1), Just(PRIME_TOP - 17), 0..PRIME_TOP];
        (top, limb(), limb(), limb()).prop_map(|(d, c, b, a)| Felt::from_raw([d, c, b, a]))
    }
}

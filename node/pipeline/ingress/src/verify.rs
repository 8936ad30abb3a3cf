//! The one safe way to check a signature of the Stark curve, and to make one.
//!
//! `starknet_crypto::verify` 0.8.1 unwraps the affine form of its last sum, which is the point at infinity for signatures that
//! anybody can craft with a key of their own, and then panics. Nothing else in Keel may call it. [DESIGN, Rules that hold everywhere]

use keel_types::{Felt, MessageHash, StarkKey};
use starknet_types_core::curve::{AffinePoint, ProjectivePoint};
use starknet_types_core::felt::NonZeroFelt;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex};

/// Order of the curve's group.
pub const CURVE_ORDER: Felt = Felt::from_hex_unchecked("0x800000000000010ffffffffffffffffb781126dcae7b2321e66a241adc64d2f");
/// Exclusive bound of message hash, r and s: 2^251, as the verifier of Starknet has it.
pub const ELEMENT_BOUND: Felt =
    Felt::from_hex_unchecked("0x800000000000000000000000000000000000000000000000000000000000000");
/// Keys whose y coordinate is remembered: a square root in this field costs more than the rest of a check. 65,536 keys are 10 MB.
pub const KEYS_REMEMBERED_MAX: usize = 65_536;

/// Bits of a scalar that one addition consumes.
const WINDOW_BITS: usize = 4;
/// Windows in a scalar of 252 bits.
const WINDOWS: usize = 63;
/// Multiples in one window, zero left out.
const WINDOW_MULTIPLES: usize = (1 << WINDOW_BITS) - 1;

/// A signature as it came. Never an identifier: `(r, n - s)` is as valid as `(r, s)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    pub r: Felt,
    pub s: Felt,
}

/// Why a public key can never be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key is zero")]
    Zero,
    #[error("the key is not the x coordinate of a point of the curve")]
    NotOnCurve,
}

/// Why a signature was refused. What exactly was wrong is of no use to anyone but an attacker; clients see INVALID_SIGNATURE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("the message hash is not below 2^251")]
    HashOutOfRange,
    #[error("r or s is zero or not below 2^251")]
    ElementOutOfRange,
    #[error("the signature does not match")]
    Mismatch,
    #[error("the arithmetic failed")]
    Fault,
}

/// Checks signatures; remembers the points of keys that have signed validly. Shared by all workers.
#[derive(Default)]
pub struct Verifier {
    points: Mutex<HashMap<Felt, AffinePoint>>,
}

impl Verifier {
    /// A verifier that has seen no key yet.
    pub fn new() -> Verifier {
        Verifier::default()
    }

    /// Whether `signature` is one of `key` over `hash`. Never panics, whatever the input.
    pub fn verify(&self, key: &StarkKey, hash: &MessageHash, signature: &Signature) -> Result<(), SignatureError> {
        // Belt and braces: the curve arithmetic is somebody else's.
        catch_unwind(AssertUnwindSafe(|| self.verify_inner(&key.0, &hash.0, signature)))
            .unwrap_or(Err(SignatureError::Fault))
    }

    fn verify_inner(&self, key: &Felt, hash: &Felt, signature: &Signature) -> Result<(), SignatureError> {
        let Signature { r, s } = *signature;
        if *hash >= ELEMENT_BOUND {
            return Err(SignatureError::HashOutOfRange);
        }
        if r == Felt::ZERO || s == Felt::ZERO || r >= ELEMENT_BOUND || s >= ELEMENT_BOUND {
            return Err(SignatureError::ElementOutOfRange);
        }
        let known = self.points().get(key).cloned();
        let was_known = known.is_some();
        let point = match known {
            Some(point) => point,
            None => point_of(key)?,
        };
        if !matches(&point, hash, &r, &s) {
            return Err(SignatureError::Mismatch);
        }
        if !was_known {
            self.remember(*key, point);
        }
        Ok(())
    }

    /// Only keys that signed validly come here, so that nobody fills the map with points of no use.
    fn remember(&self, key: Felt, point: AffinePoint) {
        let mut points = self.points();
        if points.len() >= KEYS_REMEMBERED_MAX {
            points.clear();
        }
        points.insert(key, point);
    }

    fn points(&self) -> std::sync::MutexGuard<'_, HashMap<Felt, AffinePoint>> {
        self.points.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether the key may be registered: not zero, and on the curve. [spec exchange, Accounts and keys]
pub fn validate_key(key: &StarkKey) -> Result<(), KeyError> {
    point_of(&key.0).map(|_| ())
}

/// Either of the two points with this x; keys are x-only, and a check accepts both.
fn point_of(key: &Felt) -> Result<AffinePoint, KeyError> {
    if *key == Felt::ZERO {
        return Err(KeyError::Zero);
    }
    AffinePoint::new_from_x(key, false).ok_or(KeyError::NotOnCurve)
}

/// ECDSA: with w = 1/s, whether x(zwG + rwQ) or x(zwG - rwQ) is r.
fn matches(key: &AffinePoint, hash: &Felt, r: &Felt, s: &Felt) -> bool {
    let order = NonZeroFelt::try_from(CURVE_ORDER).expect("the order is not zero");
    let Some(w) = s.mod_inverse(&order) else { return false };
    let zw_g = times_generator(&hash.mul_mod(&w, &order));
    let rw_q = times(key, &r.mul_mod(&w, &order));
    has_x(&(&zw_g + &rw_q), r) || has_x(&(&zw_g - &rw_q), r)
}

/// Whether the point is finite and its x coordinate is `r`; without dividing.
fn has_x(point: &ProjectivePoint, r: &Felt) -> bool {
    point.z() != Felt::ZERO && point.x() == *r * point.z()
}

/// Windows of a scalar, the lowest first; each below 2^[WINDOW_BITS].
fn windows(scalar: &Felt) -> [usize; WINDOWS] {
    let digits = scalar.to_le_digits();
    std::array::from_fn(|i| {
        let bit = i * WINDOW_BITS;
        (digits[bit / 64] >> (bit % 64)) as usize & WINDOW_MULTIPLES
    })
}

/// `[i][j]` = (j + 1) 2^(4i) G.
static GENERATOR_MULTIPLES: LazyLock<Vec<Vec<AffinePoint>>> = LazyLock::new(|| {
    let mut base = ProjectivePoint::try_from(AffinePoint::generator()).expect("the generator is on the curve");
    (0..WINDOWS)
        .map(|_| {
            let multiples = multiples(&base);
            (0..WINDOW_BITS).for_each(|_| base = base.double());
            // The group's order is prime and above 15, so no multiple is the identity.
            multiples.iter().map(|m| m.to_affine().expect("a small multiple of a point is finite")).collect()
        })
        .collect()
});

fn multiples(base: &ProjectivePoint) -> Vec<ProjectivePoint> {
    let mut multiples = vec![base.clone(), base.double()];
    while multiples.len() < WINDOW_MULTIPLES {
        let next = &multiples[multiples.len() - 1] + base;
        multiples.push(next);
    }
    multiples
}

/// scalar x G, 63 additions.
fn times_generator(scalar: &Felt) -> ProjectivePoint {
    let mut sum = ProjectivePoint::identity();
    for (window, multiples) in windows(scalar).into_iter().zip(GENERATOR_MULTIPLES.iter()) {
        if window != 0 {
            sum += &multiples[window - 1];
        }
    }
    sum
}

/// scalar x point, 248 doublings and 63 additions.
fn times(point: &AffinePoint, scalar: &Felt) -> ProjectivePoint {
    let base = ProjectivePoint::from_affine_unchecked(point.x(), point.y());
    let multiples = multiples(&base);
    let mut product = ProjectivePoint::identity();
    for window in windows(scalar).into_iter().rev() {
        (0..WINDOW_BITS).for_each(|_| product = product.double());
        if window != 0 {
            product += &multiples[window - 1];
        }
    }
    product
}

/// Why nothing was signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    #[error("the message hash is not below 2^251")]
    HashOutOfRange,
    #[error("the private key is zero or not below the order of the curve")]
    BadKey,
}

/// Public key of a private key in 1..n.
pub fn public_key(secret: &Felt) -> Result<StarkKey, SignError> {
    if *secret == Felt::ZERO || *secret >= CURVE_ORDER {
        return Err(SignError::BadKey);
    }
    Ok(StarkKey(starknet_crypto::get_public_key(secret)))
}

/// Signs deterministically (RFC 6979). For clients and price publishers; the node itself signs no orders.
pub fn sign(secret: &Felt, hash: &MessageHash) -> Result<Signature, SignError> {
    public_key(secret)?;
    if hash.0 >= ELEMENT_BOUND {
        return Err(SignError::HashOutOfRange);
    }
    let mut seed = None;
    loop {
        let k = starknet_crypto::rfc6979_generate_k(&hash.0, secret, seed.as_ref());
        // Fails about once in 2^55, then the next k is taken.
        if let Ok(signature) = starknet_crypto::sign(secret, &hash.0, &k) {
            return Ok(Signature { r: signature.r, s: signature.s });
        }
        seed = Some(seed.unwrap_or(Felt::ZERO) + Felt::ONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order() -> NonZeroFelt {
        NonZeroFelt::try_from(CURVE_ORDER).expect("not zero")
    }
    fn felt(bytes: [u8; 32]) -> Felt {
        Felt::from_bytes_be(&bytes)
    }
    fn secret_of(bytes: [u8; 32]) -> Felt {
        // mod_floor(n) is below n; 0 would need the bytes of a multiple of n.
        felt(bytes).mod_floor(&order()) + Felt::from(u8::from(felt(bytes).mod_floor(&order()) == Felt::ZERO))
    }
    fn hash_of(mut bytes: [u8; 32]) -> MessageHash {
        bytes[0] &= 0x07;
        MessageHash(felt(bytes))
    }
    /// r = -z/d mod n makes zwG + rwQ the point at infinity, whatever s is.
    fn crafted(secret: &Felt, hash: &MessageHash, s: Felt) -> Signature {
        let inverse = secret.mod_inverse(&order()).expect("n is prime");
        let r = CURVE_ORDER - hash.0.mul_mod(&inverse, &order());
        Signature { r, s }
    }

    #[test]
    fn the_crafted_signature_that_panics_starknet_crypto_is_rejected() {
        let secret = Felt::from_hex_unchecked("0x1234567890abcdef1234567890abcdef");
        let key = public_key(&secret).expect("the secret is in range");
        let mut panics = 0;
        for i in 0..8u8 {
            let hash = MessageHash(
                Felt::from_hex_unchecked("0x3deadbeef0000000000000000000000000000000000000000000000000cafe") + Felt::from(i),
            );
            let s = sign(&secret, &hash).expect("in range").s;
            let signature = crafted(&secret, &hash, s);
            let theirs = catch_unwind(|| starknet_crypto::verify(&key.0, &hash.0, &signature.r, &signature.s));
            panics += usize::from(theirs.is_err());
            assert_eq!(Verifier::new().verify_inner(&key.0, &hash.0, &signature), Err(SignatureError::Mismatch));
            assert_eq!(Verifier::new().verify(&key, &hash, &signature), Err(SignatureError::Mismatch));
        }
        assert!(panics > 0, "starknet_crypto no longer panics: the warning on top of this file is out of date");
    }

    #[test]
    fn a_signature_of_starknet_crypto_verifies_and_so_does_its_malleated_twin_for_the_same_hash() {
        let secret = Felt::from(77);
        let key = public_key(&secret).expect("in range");
        let hash = MessageHash(Felt::from(123_456_789));
        let signature = sign(&secret, &hash).expect("in range");
        let twin = Signature { r: signature.r, s: CURVE_ORDER - signature.s };
        assert_ne!(signature, twin);
        let verifier = Verifier::new();
        assert_eq!(verifier.verify(&key, &hash, &signature), Ok(()));
        assert_eq!(verifier.verify(&key, &hash, &twin), Ok(()));
    }

    #[test]
    fn keys_zero_and_off_the_curve_are_rejected() {
        assert_eq!(validate_key(&StarkKey(Felt::ZERO)), Err(KeyError::Zero));
        let (good, bad): (Vec<u64>, Vec<u64>) = (1..100).partition(|x| validate_key(&StarkKey(Felt::from(*x))).is_ok());
        // About half of all x are on the curve.
        assert!(good.len() > 20 && bad.len() > 20);
        let hash = MessageHash(Felt::ONE);
        let signature = Signature { r: Felt::ONE, s: Felt::ONE };
        for x in bad {
            let key = StarkKey(Felt::from(x));
            assert_eq!(validate_key(&key), Err(KeyError::NotOnCurve));
            assert_eq!(Verifier::new().verify(&key, &hash, &signature), Err(SignatureError::Key(KeyError::NotOnCurve)));
        }
    }

    #[test]
    fn elements_out_of_range_are_rejected() {
        let key = public_key(&Felt::from(5)).expect("in range");
        let hash = MessageHash(Felt::from(9));
        let good = sign(&Felt::from(5), &hash).expect("in range");
        let verifier = Verifier::new();
        for bad in [Felt::ZERO, ELEMENT_BOUND, CURVE_ORDER, Felt::MAX] {
            for signature in [Signature { r: bad, ..good }, Signature { s: bad, ..good }] {
                assert_eq!(verifier.verify(&key, &hash, &signature), Err(SignatureError::ElementOutOfRange));
            }
        }
        assert_eq!(verifier.verify(&key, &MessageHash(ELEMENT_BOUND), &good), Err(SignatureError::HashOutOfRange));
        assert_eq!(sign(&Felt::from(5), &MessageHash(ELEMENT_BOUND)), Err(SignError::HashOutOfRange));
        assert_eq!(public_key(&CURVE_ORDER), Err(SignError::BadKey));
    }

    #[test]
    fn scalar_multiplication_agrees_with_the_library() {
        let generator = AffinePoint::generator();
        for scalar in [Felt::ZERO, Felt::ONE, Felt::from(15), Felt::from(16), Felt::from(u128::MAX), CURVE_ORDER - Felt::ONE]
        {
            let expected = &ProjectivePoint::try_from(generator.clone()).expect("on the curve") * scalar;
            assert_eq!(times_generator(&scalar), expected, "{scalar:#x} G");
            assert_eq!(times(&generator, &scalar), expected, "{scalar:#x} G");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_signed_verifies_and_nothing_else_does(
            secret: [u8; 32], hash: [u8; 32], other: [u8; 32], flip in 0usize..250
        ) {
            let (secret, hash, other) = (secret_of(secret), hash_of(hash), hash_of(other));
            let key = public_key(&secret).expect("in range");
            let signature = sign(&secret, &hash).expect("in range");
            let verifier = Verifier::new();
            prop_assert_eq!(verifier.verify(&key, &hash, &signature), Ok(()));
            // Known key, second look.
            prop_assert_eq!(verifier.verify(&key, &hash, &signature), Ok(()));
            if other != hash {
                prop_assert!(verifier.verify(&key, &other, &signature).is_err());
            }
            let bit = Felt::TWO.pow(flip as u32);
            let (r, s) = (signature.r + bit, signature.s + bit);
            for changed in [Signature { r, ..signature }, Signature { s, ..signature }] {
                let answer = verifier.verify(&key, &hash, &changed);
                prop_assert!(answer.is_err(), "bit {} of {:?}", flip, changed);
            }
        }

        #[test]
        fn any_bytes_get_the_answer_of_starknet_crypto_and_never_a_panic(
            secret: [u8; 32], key: [u8; 32], hash: [u8; 32], r: [u8; 32], s: [u8; 32], own: bool, craft: bool
        ) {
            let secret = secret_of(secret);
            let key = if own { public_key(&secret).expect("in range") } else { StarkKey(felt(key)) };
            let hash = hash_of(hash);
            let signature = if craft { crafted(&secret, &hash, felt(s)) } else { Signature { r: felt(r), s: felt(s) } };
            let ours = Verifier::new().verify_inner(&key.0, &hash.0, &signature).is_ok();
            let theirs = catch_unwind(|| starknet_crypto::verify(&key.0, &hash.0, &signature.r, &signature.s));
            prop_assert_eq!(ours, matches!(theirs, Ok(Ok(true))));
        }
    }

    /// Prints microseconds per check; run with `--ignored --nocapture`. Asserts nothing about time: machines differ.
    #[test]
    #[ignore = "a measurement, not a claim"]
    fn measure_microseconds_per_check() {
        let secret = Felt::from(0xabcdef_u64);
        let key = public_key(&secret).expect("in range");
        let signed: Vec<_> = (1..=200u64)
            .map(|i| {
                let hash = MessageHash(starknet_crypto::poseidon_hash_single(Felt::from(i)));
                (hash, sign(&secret, &hash))
            })
            .filter_map(|(hash, signature)| signature.ok().map(|signature| (hash, signature)))
            .collect();
        // The median of single calls, so that other load on the machine shows little.
        let micros = |work: &dyn Fn(&MessageHash, &Signature)| {
            let mut times: Vec<f64> = signed
                .iter()
                .map(|(hash, signature)| {
                    let start = std::time::Instant::now();
                    work(hash, signature);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let verifier = Verifier::new();
        assert_eq!(verifier.verify(&key, &signed[0].0, &signed[0].1), Ok(()));
        println!("known key: {:.0} us", micros(&|h, s| assert_eq!(verifier.verify(&key, h, s), Ok(()))));
        println!("new key: {:.0} us", micros(&|h, s| assert_eq!(Verifier::new().verify(&key, h, s), Ok(()))));
        println!(
            "starknet_crypto: {:.0} us",
            micros(&|h, s| assert!(starknet_crypto::verify(&key.0, &h.0, &s.r, &s.s).is_ok_and(|valid| valid)))
        );
    }
}

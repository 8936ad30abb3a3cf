//! Words as EIP-4844 blobs, and back. [spec starknet (d); sequencer `kzg/utils.rs`]
//!
//! Words are coefficients of polynomials over the scalar field of BLS12-381, 4,096 to a blob, lowest first, the last blob
//! filled up with zeros. A blob holds the values of its polynomial at the 4,096 roots of unity in bit-reversed order, 32
//! bytes each, big-endian: what the protocol commits to.

use keel_types::Felt;
use lambdaworks_math::elliptic_curve::short_weierstrass::curves::bls12_381::default_types::{FrConfig, FrElement};
use lambdaworks_math::fft::cpu::bit_reversing::in_place_bit_reverse_permute;
use lambdaworks_math::fft::cpu::fft::{in_place_nr_2radix_fft, in_place_rn_2radix_fft};
use lambdaworks_math::field::fields::montgomery_backed_prime_fields::IsModulus;
use lambdaworks_math::unsigned_integer::element::U256;
use std::sync::LazyLock;

/// Words of a blob.
pub const BLOB_WORDS: usize = 4_096;
/// Bytes of a blob.
pub const BLOB_BYTES: usize = 32 * BLOB_WORDS;
/// Blobs of one transaction. [EIP-7594; `MAX_N_BLOBS_PER_TX` of the OS]
pub const BLOBS_MAX: usize = 6;

/// Generator of the 4,096 roots of unity: 7^((r - 1) / 4096), in decimal
/// 39033254847818212395286706435128746857159659164139250548781411570340225835782. [EIP-4844]
const ROOT_OF_UNITY: &str = "564c0a11a0f704f4fc3e8acfe0f8245f0ad1347b378fbf96e206da11a5d36306";

/// The bytes of one blob.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(Box<[u8; BLOB_BYTES]>);

/// Why bytes are not blobs of words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlobError {
    #[error("a blob has {BLOB_BYTES} bytes, not {0}")]
    Length(usize),
    #[error("value {value} of blob {blob} is not below the order of BLS12-381")]
    Value { blob: usize, value: usize },
    #[error("coefficient {coefficient} of blob {blob} is not below the field's prime")]
    Coefficient { blob: usize, coefficient: usize },
}

impl Blob {
    /// The bytes, values of the polynomial.
    pub fn as_bytes(&self) -> &[u8; BLOB_BYTES] {
        &self.0
    }

    /// Takes any bytes of the right number.
    ///
    /// # Errors
    /// Their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Blob, BlobError> {
        let boxed: Box<[u8]> = bytes.into();
        boxed.try_into().map(Blob).map_err(|_| BlobError::Length(bytes.len()))
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({:02x?}..)", &self.0[..32])
    }
}

/// The blobs of `words`; none of no words.
pub fn to_blobs(words: &[Felt]) -> Vec<Blob> {
    words.chunks(BLOB_WORDS).map(|words| evaluations(words.iter().map(scalar).collect())).collect()
}

/// The coefficients, 4,096 for each blob: the words with the zeros that fill the last blob.
///
/// # Errors
/// A blob that no words have.
pub fn from_blobs(blobs: &[Blob]) -> Result<Vec<Felt>, BlobError> {
    let mut words = Vec::with_capacity(blobs.len() * BLOB_WORDS);
    for (index, blob) in blobs.iter().enumerate() {
        for (coefficient, value) in coefficients(index, blob)?.into_iter().enumerate() {
            let word = felt(&value).ok_or(BlobError::Coefficient { blob: index, coefficient })?;
            words.push(word);
        }
    }
    Ok(words)
}

/// Value at `z` of the polynomial with coefficients `words`, lowest first; 32 bytes, big-endian.
pub(crate) fn evaluate(words: &[Felt], z: &Felt) -> [u8; 32] {
    let z = scalar(z);
    bytes(&words.iter().rev().fold(FrElement::zero(), |sum, word| &sum * &z + scalar(word)))
}

/// The blob of a polynomial's coefficients.
pub(crate) fn evaluations(mut values: Vec<FrElement>) -> Blob {
    values.resize(BLOB_WORDS, FrElement::zero());
    in_place_nr_2radix_fft(&mut values, &TWIDDLES.forward);
    let mut blob = Blob(vec![0; BLOB_BYTES].try_into().expect("of a blob's length"));
    for (to, value) in blob.0.chunks_exact_mut(32).zip(&values) {
        to.copy_from_slice(&bytes(value));
    }
    blob
}

/// The coefficients of blob number `index`.
pub(crate) fn coefficients(index: usize, blob: &Blob) -> Result<Vec<FrElement>, BlobError> {
    let values = blob.0.chunks_exact(32).enumerate().map(|(value, bytes)| {
        let limb = |at: usize| u64::from_be_bytes(bytes[8 * at..8 * at + 8].try_into().expect("8 bytes"));
        let integer = U256::from_limbs(std::array::from_fn(limb));
        if integer < FrConfig::MODULUS { Ok(FrElement::new(integer)) } else { Err(BlobError::Value { blob: index, value }) }
    });
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    in_place_rn_2radix_fft(&mut values, &TWIDDLES.inverse);
    values.iter_mut().for_each(|value| *value = &*value * &TWIDDLES.inverse_of_size);
    Ok(values)
}

fn scalar(word: &Felt) -> FrElement {
    FrElement::new(U256::from_limbs(word.to_be_digits()))
}

fn bytes(value: &FrElement) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, limb) in bytes.chunks_exact_mut(8).zip(value.representative().limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

/// `None` from the field's prime up.
fn felt(value: &FrElement) -> Option<Felt> {
    let bytes = bytes(value);
    let felt = Felt::from_bytes_be(&bytes);
    (felt.to_bytes_be() == bytes).then_some(felt)
}

/// Powers of the root of unity, in the order that the transforms take them.
struct Twiddles {
    /// Of the root, bit-reversed.
    forward: Vec<FrElement>,
    /// Of its inverse, ascending.
    inverse: Vec<FrElement>,
    inverse_of_size: FrElement,
}

static TWIDDLES: LazyLock<Twiddles> = LazyLock::new(|| {
    let root = FrElement::new(U256::from_hex_unchecked(ROOT_OF_UNITY));
    let invert = |value: &FrElement| value.inv().expect("not zero");
    let powers = |root: FrElement| -> Vec<FrElement> {
        std::iter::successors(Some(FrElement::one()), |power| Some(power * &root)).take(BLOB_WORDS / 2).collect()
    };
    let inverse = powers(invert(&root));
    let mut forward = powers(root);
    in_place_bit_reverse_permute(&mut forward);
    Twiddles { forward, inverse, inverse_of_size: invert(&FrElement::from(BLOB_WORDS as u64)) }
});

/// A decimal number of any size, taken below the order: what vectors of others are made of.
#[cfg(test)]
pub(crate) fn scalar_of_decimal(text: &str) -> FrElement {
    let ten = FrElement::from(10u64);
    text.bytes().fold(FrElement::zero(), |sum, digit| &sum * &ten + FrElement::from(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;

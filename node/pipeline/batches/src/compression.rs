//! Stateless compression of field elements, version 0: both ways. [spec starknet (d); OS `compression.cairo`]
//!
//! Compressed words, in this order:
//! 1. Header: nine numbers of 20 bits, least significant first: version, number of elements, number of distinct values in each of six
//!    buckets, number of repetitions.
//! 2. Distinct values by bucket, the largest bucket first, in the order of their first appearance: 252, 125, 83, 62, 31 or 15
//!    bits each, as many to a word as 251 bits hold (those of 252 bits: one).
//! 3. For each repetition the index of its value among the distinct values, in a base of their number.
//! 4. For each element its bucket, the seventh being "repetition", in base 7.
//!
//! Digits are packed least significant first, `251 / ceil(log2(base))` to a word. That is the rule of the Cairo program;
//! the sequencer's Rust takes a bit more where the base is a power of two, and then fewer digits to a word.

use keel_types::Felt;
use lambdaworks_math::unsigned_integer::element::U256;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most elements that can be compressed: their number must fit the header.
pub const COMPRESSIBLE_MAX: usize = (1 << HEADER_BITS) - 1;

const VERSION: u64 = 0;
const HEADER_BITS: usize = 20;
const HEADER_LEN: usize = 9;
/// Bits of packed values and digits in a word. Any such number is below the field's prime.
const WORD_BITS: usize = 251;
/// Bits of a bucket's values, largest first.
const BUCKET_BITS: [usize; 6] = [252, 125, 83, 62, 31, 15];
/// Bucket of an element whose value appeared before.
const REPETITION: u32 = 6;
/// Six buckets and the repetitions.
const BUCKETS: u64 = 7;

/// Too many elements for the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} words are more than compression can count, which is 2^20 - 1")]
pub struct TooManyWords(pub usize);

/// Why words are not what [`compress`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecompressError {
    #[error("there is no header word")]
    Empty,
    #[error("the header word has more than nine numbers of 20 bits")]
    Header,
    #[error("compression version {0} is not known")]
    Version(u64),
    #[error("the header counts {elements} elements, but {distinct} distinct values and {repetitions} repetitions")]
    Counts { elements: usize, distinct: usize, repetitions: usize },
    #[error("{found} words where the header tells of {expected}")]
    Length { expected: usize, found: usize },
    #[error("word {0} holds more than the digits packed in it")]
    Digits(usize),
    #[error("element {0} is of a bucket that has no further value")]
    Bucket(usize),
    #[error("the words stand for data that compresses to other words")]
    NotCanonical,
}

/// The compressed words of `words`.
///
/// Never more than [`compressed_len_max`] of their number.
///
/// # Errors
/// More than [`COMPRESSIBLE_MAX`] words.
pub fn compress(words: &[Felt]) -> Result<Vec<Felt>, TooManyWords> {
    if words.len() > COMPRESSIBLE_MAX {
        return Err(TooManyWords(words.len()));
    }
    let sorted = Sorted::of(words);
    let header = sorted.header();
    let mut packed = Vec::with_capacity(header.words());
    packed.push(header.encode());
    for (values, bits) in sorted.distinct.iter().zip(BUCKET_BITS) {
        packed.extend(values.chunks(per_word(bits)).map(|values| pack_values(values, bits)));
    }
    let offsets = header.offsets();
    let pointers: Vec<u32> = sorted.repetitions.iter().map(|(bucket, index)| offsets[*bucket as usize] + index).collect();
    packed.extend(pack_digits(&pointers, header.distinct_total() as u64));
    packed.extend(pack_digits(&sorted.buckets, BUCKETS));
    Ok(packed)
}

/// Most words that `words`, or any part of them, together with `others` further words, whatever these are, compress to;
/// `usize::MAX` where there are too many. Costs as much as sorting them.
///
/// A word left out takes nothing but room away, and no word takes more than one that is large and appears once.
pub fn compressed_len_at_most(words: &[Felt], others: usize) -> usize {
    let mut header = Sorted::of(words).header();
    header.elements += others;
    header.distinct[0] += others;
    if header.elements > COMPRESSIBLE_MAX { usize::MAX } else { header.words() }
}

/// Most words that any `words` words compress to: all of them distinct and large.
pub fn compressed_len_max(words: usize) -> usize {
    1 + words + words.div_ceil(digits_per_word(BUCKETS))
}

/// From exactly the words that [`compress`] gives. Allocates no more than 251 times what it is given, whatever the header says.
///
/// # Errors
/// Anything else: see [`DecompressError`].
pub fn decompress(compressed: &[Felt]) -> Result<Vec<Felt>, DecompressError> {
    let header = Header::decode(compressed.first().ok_or(DecompressError::Empty)?)?;
    if header.words() != compressed.len() {
        return Err(DecompressError::Length { expected: header.words(), found: compressed.len() });
    }
    let mut reader = Reader { words: compressed, at: 1 };
    let mut values = Vec::with_capacity(header.elements);
    for (count, bits) in header.distinct.into_iter().zip(BUCKET_BITS) {
        reader.values(count, bits, &mut values)?;
    }
    for pointer in reader.digits(header.repetitions, header.distinct_total() as u64)? {
        values.push(values[pointer as usize]);
    }
    // The next value of each bucket, and where they end.
    let mut next: Vec<usize> = header.offsets().iter().map(|offset| *offset as usize).collect();
    let ends: Vec<usize> = next[1..].iter().copied().chain([values.len()]).collect();
    let mut words = Vec::with_capacity(header.elements);
    for bucket in reader.digits(header.elements, BUCKETS)? {
        let (next, end) = (&mut next[bucket as usize], ends[bucket as usize]);
        if *next == end {
            return Err(DecompressError::Bucket(words.len()));
        }
        words.push(values[*next]);
        *next += 1;
    }
    // A value in a bucket too large, named twice, or repeated before it appears: readable, but not what the encoder writes.
    match compress(&words) {
        Ok(again) if again == compressed => Ok(words),
        _ => Err(DecompressError::NotCanonical),
    }
}

/// Words that belong to `header`, itself among them.
///
/// # Errors
/// It is no header.
pub fn compressed_len(header: &Felt) -> Result<usize, DecompressError> {
    Header::decode(header).map(|header| header.words())
}

/// Elements by bucket.
struct Sorted {
    distinct: [Vec<U256>; BUCKET_BITS.len()],
    /// Of each repetition, where its value stands: bucket, and index in it.
    repetitions: Vec<(u32, u32)>,
    /// Of each element.
    buckets: Vec<u32>,
}

impl Sorted {
    fn of(words: &[Felt]) -> Sorted {
        let mut sorted =
            Sorted { distinct: Default::default(), repetitions: vec![], buckets: Vec::with_capacity(words.len()) };
        let mut seen: HashMap<Felt, (u32, u32)> = HashMap::with_capacity(words.len());
        for word in words {
            match seen.entry(*word) {
                Entry::Occupied(place) => {
                    sorted.repetitions.push(*place.get());
                    sorted.buckets.push(REPETITION);
                }
                Entry::Vacant(place) => {
                    let value = integer(word);
                    let bucket = bucket(&value);
                    let values = &mut sorted.distinct[bucket];
                    place.insert((bucket as u32, values.len() as u32));
                    values.push(value);
                    sorted.buckets.push(bucket as u32);
                }
            }
        }
        sorted
    }

    fn header(&self) -> Header {
        Header {
            elements: self.buckets.len(),
            distinct: self.distinct.each_ref().map(Vec::len),
            repetitions: self.repetitions.len(),
        }
    }
}

/// All that the first word says.
struct Header {
    elements: usize,
    distinct: [usize; BUCKET_BITS.len()],
    repetitions: usize,
}

impl Header {
    fn encode(&self) -> Felt {
        let counts = [VERSION as usize, self.elements].into_iter().chain(self.distinct).chain([self.repetitions]);
        pack_values(&counts.map(|count| U256::from(count as u64)).collect::<Vec<_>>(), HEADER_BITS)
    }

    fn decode(word: &Felt) -> Result<Header, DecompressError> {
        let word = integer(word);
        if bits_of(&word) > HEADER_LEN * HEADER_BITS {
            return Err(DecompressError::Header);
        }
        let number = |index: usize| low_bits(word >> (index * HEADER_BITS), HEADER_BITS).limbs[3];
        if number(0) != VERSION {
            return Err(DecompressError::Version(number(0)));
        }
        let count = |index: usize| number(index) as usize;
        let header =
            Header { elements: count(1), distinct: std::array::from_fn(|bucket| count(2 + bucket)), repetitions: count(8) };
        let Header { elements, repetitions, .. } = header;
        let distinct = header.distinct_total();
        if distinct + repetitions != elements || (distinct == 0 && repetitions != 0) {
            return Err(DecompressError::Counts { elements, distinct, repetitions });
        }
        Ok(header)
    }

    fn distinct_total(&self) -> usize {
        self.distinct.iter().sum()
    }

    /// Index of each bucket's first value, the repetitions' last.
    fn offsets(&self) -> [u32; BUCKETS as usize] {
        std::array::from_fn(|bucket| self.distinct[..bucket].iter().sum::<usize>() as u32)
    }

    /// Length of the whole.
    fn words(&self) -> usize {
        let values = self.distinct.iter().zip(BUCKET_BITS).map(|(count, bits)| count.div_ceil(per_word(bits)));
        let pointers = self.repetitions.div_ceil(digits_per_word(self.distinct_total() as u64));
        1 + values.sum::<usize>() + pointers + self.elements.div_ceil(digits_per_word(BUCKETS))
    }
}

/// Index in [`BUCKET_BITS`] of the smallest bucket that holds `value`.
fn bucket(value: &U256) -> usize {
    let bits = bits_of(value);
    BUCKET_BITS.iter().rposition(|max| bits <= *max).expect("a felt has at most 252 bits")
}

/// Values of `bits` bits in one word.
fn per_word(bits: usize) -> usize {
    (WORD_BITS / bits).max(1)
}

/// Bits that hold any digit of `base`, 1 at least.
fn digit_bits(base: u64) -> usize {
    (u64::BITS - base.saturating_sub(1).leading_zeros()).max(1) as usize
}

fn digits_per_word(base: u64) -> usize {
    WORD_BITS / digit_bits(base)
}

/// Digits that are handled together in 64-bit arithmetic, and `base` to their number.
fn digit_group(base: u64) -> (usize, u64) {
    let group = 63 / digit_bits(base);
    (group, base.pow(group as u32))
}

fn pack_values(values: &[U256], bits: usize) -> Felt {
    felt(values.iter().rev().fold(U256::from(0u64), |word, value| (word << bits) | *value))
}

fn pack_digits(digits: &[u32], base: u64) -> impl Iterator<Item = Felt> {
    let (group, scale) = digit_group(base);
    digits.chunks(digits_per_word(base)).map(move |digits| {
        let groups =
            digits.chunks(group).map(|digits| digits.iter().rev().fold(0, |sum, digit| sum * base + u64::from(*digit)));
        let mut limbs = [0u64; 4];
        for mut carry in groups.rev() {
            for limb in limbs.iter_mut().rev() {
                let product = u128::from(*limb) * u128::from(scale) + u128::from(carry);
                (*limb, carry) = (product as u64, (product >> 64) as u64);
            }
        }
        felt(U256::from_limbs(limbs))
    })
}

/// Takes words one after the other; [`Header::words`] says that they are there.
struct Reader<'a> {
    words: &'a [Felt],
    at: usize,
}

impl Reader<'_> {
    fn word(&mut self) -> U256 {
        self.at += 1;
        integer(&self.words[self.at - 1])
    }

    fn values(&mut self, count: usize, bits: usize, to: &mut Vec<Felt>) -> Result<(), DecompressError> {
        let mut left = count;
        while left > 0 {
            let mut word = self.word();
            let here = left.min(per_word(bits));
            if bits_of(&word) > here * bits {
                return Err(DecompressError::Digits(self.at - 1));
            }
            for _ in 0..here {
                to.push(felt(low_bits(word, bits)));
                word >>= bits;
            }
            left -= here;
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, base: u64) -> Result<Vec<u32>, DecompressError> {
        let (group, scale) = digit_group(base);
        let mut digits = Vec::with_capacity(count);
        while digits.len() < count {
            let mut limbs = self.word().limbs;
            let end = count.min(digits.len() + digits_per_word(base));
            let mut rest = 0;
            while digits.len() < end {
                rest = divide(&mut limbs, scale);
                for _ in 0..group.min(end - digits.len()) {
                    digits.push((rest % base) as u32);
                    rest /= base;
                }
            }
            if rest != 0 || limbs != [0; 4] {
                return Err(DecompressError::Digits(self.at - 1));
            }
        }
        Ok(digits)
    }
}

/// Divides a number of limbs, most significant first; gives the remainder.
fn divide(limbs: &mut [u64; 4], by: u64) -> u64 {
    limbs.iter_mut().fold(0, |rest, limb| {
        let value = (u128::from(rest) << 64) | u128::from(*limb);
        *limb = (value / u128::from(by)) as u64;
        (value % u128::from(by)) as u64
    })
}

fn integer(felt: &Felt) -> U256 {
    U256::from_limbs(felt.to_be_digits())
}

/// `value` is below the field's prime.
fn felt(value: U256) -> Felt {
    let mut bytes = [0; 32];
    for (bytes, limb) in bytes.chunks_exact_mut(8).zip(value.limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Felt::from_bytes_be(&bytes)
}

fn bits_of(value: &U256) -> usize {
    value.bits_le()
}

fn low_bits(value: U256, bits: usize) -> U256 {
    value & ((U256::from(1u64) << bits) - U256::from(1u64))
}

#[cfg(test)]
mod tests;

//! Positions in a trie.

use std::fmt;

use starknet_types_core::felt::Felt;

/// Length of [`Path::to_key`], bytes.
pub const PATH_KEY_BYTES: usize = 33;

/// Up to 251 bits, most significant first: the way from the root of a trie to a node, or the bits of an edge.
///
/// Paths are ordered as a trie is walked: a node before everything below it, left before right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Left-aligned, most significant limb first; bits past `len` are zero. First field: it leads the order.
    bits: [u64; 4],
    len: u8,
}

/// Bytes that are not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a path: at most 251 bits, then zeros, then the number of bits")]
pub struct PathError;

impl Path {
    /// The root of a trie: no bits.
    pub const ROOT: Path = Path { bits: [0; 4], len: 0 };
    /// Longest path: a key of a state trie.
    pub const LEN_MAX: u8 = 251;

    /// The path of `len` bits whose value is `value`; `None` if it has more bits than that.
    pub fn new(value: &Felt, len: u8) -> Option<Path> {
        if len > Self::LEN_MAX {
            return None;
        }
        let digits = value.to_be_digits();
        if shr(digits, len) != [0; 4] {
            return None;
        }
        let bits = if len == 0 { [0; 4] } else { shl(digits, (256 - u16::from(len)) as u8) };
        Some(Path { bits, len })
    }

    /// Number of bits, 0 to 251.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// True for [`Path::ROOT`].
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits as an integer; for a full path, the key.
    pub fn value(&self) -> Felt {
        if self.len == 0 {
            return Felt::ZERO;
        }
        let digits = shr(self.bits, (256 - u16::from(self.len)) as u8);
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(digits) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        Felt::from_bytes_be(&bytes)
    }

    /// Bit `i`, counted from the root; `i < len`.
    pub fn bit(&self, i: u8) -> bool {
        debug_assert!(i < self.len);
        self.bits[usize::from(i / 64)] >> (63 - i % 64) & 1 == 1
    }

    /// One step down: left for `false`, right for `true`. The path must be shorter than [`Path::LEN_MAX`].
    #[must_use]
    pub fn child(&self, right: bool) -> Path {
        assert!(self.len < Self::LEN_MAX);
        let mut child = *self;
        child.bits[usize::from(self.len / 64)] |= u64::from(right) << (63 - self.len % 64);
        child.len += 1;
        child
    }

    /// The first `len` bits; `len` at most [`Path::len`].
    #[must_use]
    pub fn prefix(&self, len: u8) -> Path {
        assert!(len <= self.len);
        let mut bits = [0; 4];
        for (i, limb) in bits.iter_mut().enumerate() {
            let kept = u32::from(len).saturating_sub(64 * i as u32).min(64);
            *limb = self.bits[i] & !u64::MAX.checked_shr(kept).unwrap_or(0);
        }
        Path { bits, len }
    }

    /// What is left after the first `from` bits; `from` at most [`Path::len`].
    #[must_use]
    pub fn suffix(&self, from: u8) -> Path {
        assert!(from <= self.len);
        Path { bits: shl(self.bits, from), len: self.len - from }
    }

    /// This path and then `more`; `None` past [`Path::LEN_MAX`] bits.
    pub fn join(&self, more: &Path) -> Option<Path> {
        let len = self.len.checked_add(more.len).filter(|len| *len <= Self::LEN_MAX)?;
        let low = shr(more.bits, self.len);
        let mut bits = self.bits;
        for (limb, more) in bits.iter_mut().zip(low) {
            *limb |= more;
        }
        Some(Path { bits, len })
    }

    /// How many leading bits two paths share.
    pub fn common_prefix_len(&self, other: &Path) -> u8 {
        let len_max = self.len.min(other.len);
        let mut same = 0;
        for (a, b) in self.bits.iter().zip(other.bits) {
            let zeros = (a ^ b).leading_zeros();
            same += zeros;
            if zeros < 64 {
                break;
            }
        }
        same.min(u32::from(len_max)) as u8
    }

    /// True if this path starts with `prefix`.
    pub fn starts_with(&self, prefix: &Path) -> bool {
        self.common_prefix_len(prefix) == prefix.len
    }

    /// Key for a store: the bits left-aligned in 32 bytes, then their number in one byte.
    ///
    /// Bytes compare as paths do, so a scan of all keys walks the trie, and the subtree under `p` is the range
    /// from `p.to_key()` up to, not including, `p.subtree_end()`.
    pub fn to_key(&self) -> [u8; PATH_KEY_BYTES] {
        let mut key = [0; PATH_KEY_BYTES];
        for (chunk, limb) in key.chunks_exact_mut(8).zip(self.bits) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        key[32] = self.len;
        key
    }

    /// First key above every key of the subtree under this path (see [`Path::to_key`]).
    pub fn subtree_end(&self) -> [u8; PATH_KEY_BYTES] {
        let mut end = [0xff; PATH_KEY_BYTES];
        let key = self.to_key();
        let whole = usize::from(self.len / 8);
        end[..whole].copy_from_slice(&key[..whole]);
        end[whole] = key[whole] | 0xff >> (self.len % 8);
        end
    }

    /// Reads [`Path::to_key`] back.
    ///
    /// # Errors
    /// [`PathError`] if the bytes are not what `to_key` writes.
    pub fn from_key(key: &[u8]) -> Result<Path, PathError> {
        let key: &[u8; PATH_KEY_BYTES] = key.try_into().map_err(|_| PathError)?;
        Path::from_bits(&key[..32], key[32]).ok_or(PathError)
    }

    /// `len` bits, left-aligned in `bytes`; every bit past `len` must be zero.
    pub(super) fn from_bits(bytes: &[u8], len: u8) -> Option<Path> {
        if len > Self::LEN_MAX || bytes.len() > 32 {
            return None;
        }
        let mut padded = [0; 32];
        padded[..bytes.len()].copy_from_slice(bytes);
        let mut bits = [0; 4];
        for (limb, chunk) in bits.iter_mut().zip(padded.chunks_exact(8)) {
            *limb = chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
        }
        (shl(bits, len) == [0; 4]).then_some(Path { bits, len })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {:#x}/{}", self.value(), self.len)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shifts a 256-bit integer left; limbs most significant first, `n < 256`.
fn shl(limbs: [u64; 4], n: u8) -> [u64; 4] {
    let (skip, bits) = (usize::from(n / 64), n % 64);
    let at = |i: usize| limbs.get(i).copied().unwrap_or(0);
    std::array::from_fn(|i| match bits {
        0 => at(i + skip),
        _ => at(i + skip) << bits | at(i + skip + 1) >> (64 - bits),
    })
}

/// Shifts a 256-bit integer right; limbs most significant first, `n < 256`.
fn shr(limbs: [u64; 4], n: u8) -> [u64; 4] {
    let (skip, bits) = (usize::from(n / 64), n % 64);
    let at = |i: usize| if i >= skip { limbs[i - skip] } else { 0 };
    std::array::from_fn(|i| match bits {
        0 => at(i),
        _ if i == 0 => at(0) >> bits,
        _ => at(i) >> bits | at(i - 1) << (64 - bits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(bits: &str) -> Path {
        bits.bytes().fold(Path::ROOT, |path, bit| path.child(bit == b'1'))
    }

    fn bit_string() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('0'), Just('1')], 0..=251).prop_map(|bits| bits.into_iter().collect())
    }

    proptest! {
        #[test]
        fn paths_behave_like_strings_of_bits(a in bit_string(), b in bit_string(), cut in 0..=251usize) {
            let (pa, pb) = (path(&a), path(&b));
            let cut = cut.min(a.len());
            prop_assert_eq!(pa.prefix(cut as u8), path(&a[..cut]));
            prop_assert_eq!(pa.suffix(cut as u8), path(&a[cut..]));
            prop_assert_eq!(path(&a[..cut]).join(&path(&a[cut..])), Some(pa));
            prop_assert_eq!(pa.starts_with(&pb), a.starts_with(&b));
            let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(usize::from(pa.common_prefix_len(&pb)), same);
            prop_assert_eq!(Path::new(&pa.value(), pa.len()), Some(pa));
            prop_assert_eq!(Path::from_key(&pa.to_key()), Ok(pa));
        }

        #[test]
        fn keys_sort_as_paths_and_a_subtree_is_one_range(a in bit_string(), b in bit_string(), tail in bit_string()) {
            let (pa, pb) = (path(&a), path(&b));
            prop_assert_eq!(pa.cmp(&pb), pa.to_key().cmp(&pb.to_key()));
            let below = path(&format!("{a}{tail}")[..(a.len() + tail.len()).min(251)]);
            for p in [pa, pb, below] {
                let in_range = p.to_key() >= pa.to_key() && p.to_key() < pa.subtree_end();
                prop_assert_eq!(in_range, p.starts_with(&pa));
            }
        }
    }

    #[test]
    fn a_key_of_a_path_with_stray_bits_is_refused() {
        let mut key = path("101").to_key();
        key[31] = 1;
        assert_eq!(Path::from_key(&key), Err(PathError));
        key = Path::ROOT.to_key();
        key[32] = 252;
        assert_eq!(Path::from_key(&key), Err(PathError));
        assert_eq!(Path::from_key(&[0; 32]), Err(PathError));
    }

    #[test]
    fn a_value_with_too_many_bits_is_no_path() {
        assert_eq!(Path::new(&Felt::from(4), 2), None);
        assert_eq!(Path::new(&Felt::from(3), 2), Some(path("11")));
        assert_eq!(Path::new(&Felt::ELEMENT_UPPER_BOUND, 251), None);
        assert!(Path::new(&(Felt::ELEMENT_UPPER_BOUND - 1), 251).is_some());
    }
}

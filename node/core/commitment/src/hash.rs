//! The hash functions of Starknet, under the names this crate uses.

use sha3::{Digest, Keccak256};
use starknet_crypto::PoseidonHasher;
use starknet_types_core::felt::Felt;
pub use starknet_types_core::hash::Poseidon;
use starknet_types_core::hash::StarkHash;

mod curve;
mod field;
mod pedersen;

/// The Pedersen hash of Starknet. The first hash of a process builds its tables.
pub struct Pedersen;

/// Two-to-one hash of a Patricia trie: [`Pedersen`] for storage and contracts, [`Poseidon`] for classes and
/// for the commitments of a block.
pub trait Hasher {
    /// Hash of an ordered pair.
    fn hash(left: &Felt, right: &Felt) -> Felt;

    /// Hashes of pairs that do not depend on each other, in their order. Cheaper than one by one where the function allows it.
    fn hash_many(pairs: &[(Felt, Felt)]) -> Vec<Felt> {
        pairs.iter().map(|(left, right)| Self::hash(left, right)).collect()
    }
}

impl Hasher for Pedersen {
    fn hash(left: &Felt, right: &Felt) -> Felt {
        pedersen::hash(left, right)
    }

    fn hash_many(pairs: &[(Felt, Felt)]) -> Vec<Felt> {
        pedersen::hash_many(pairs)
    }
}

impl Hasher for Poseidon {
    fn hash(left: &Felt, right: &Felt) -> Felt {
        <Poseidon as StarkHash>::hash(left, right)
    }
}

/// Pedersen hash of a list: folded from 0, then hashed with its length.
pub fn pedersen_array(felts: &[Felt]) -> Felt {
    let folded = felts.iter().fold(Felt::ZERO, |hash, felt| Pedersen::hash(&hash, felt));
    Pedersen::hash(&folded, &Felt::from(felts.len()))
}

/// Poseidon hash of a list (sponge with padding).
pub fn poseidon_array(felts: &[Felt]) -> Felt {
    Poseidon::hash_array(felts)
}

/// Poseidon hash of a list written in pieces; the same as [`poseidon_array`] of all pieces.
#[derive(Default)]
pub(crate) struct PoseidonList(PoseidonHasher);

impl PoseidonList {
    pub(crate) fn put(&mut self, felt: impl Into<Felt>) {
        self.0.update(felt.into());
    }

    pub(crate) fn put_all(&mut self, felts: &[Felt]) {
        felts.iter().for_each(|felt| self.0.update(*felt));
    }

    /// The length, then the elements.
    pub(crate) fn put_counted(&mut self, felts: &[Felt]) {
        self.put(felts.len());
        self.put_all(felts);
    }

    pub(crate) fn finish(self) -> Felt {
        self.0.finalize()
    }
}

/// Keccak-256 as Ethereum has it, 32 bytes.
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Keccak-256 with its top six bits cleared, so that it fits a felt.
pub fn starknet_keccak(bytes: &[u8]) -> Felt {
    let mut digest = keccak256(bytes);
    digest[0] &= 0b0000_0011;
    Felt::from_bytes_be(&digest)
}

/// Selector of an entry point, event or storage variable. The two default entry points have selector 0.
pub fn selector(name: &str) -> Felt {
    match name {
        "__default__" | "__l1_default__" => Felt::ZERO,
        _ => starknet_keccak(name.as_bytes()),
    }
}

/// `ascii("X")` of the specification: the big-endian integer of the bytes of a constant.
///
/// # Panics
/// When `text` is longer than 31 bytes; it is meant for the tags and names of the formats, all shorter.
pub fn ascii(text: &str) -> Felt {
    assert!(text.len() <= 31, "{text:?} does not fit a felt");
    Felt::from_bytes_be_slice(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_written_in_pieces_hashes_like_the_whole() {
        for n in 0..6u64 {
            let felts: Vec<Felt> = (0..n).map(Felt::from).collect();
            let mut list = PoseidonList::default();
            list.put_all(&felts);
            assert_eq!(list.finish(), poseidon_array(&felts));
        }
    }

    #[test]
    fn selector_of_transfer_is_the_known_one() {
        let known = "0x83afd3f4caedc6eebf44246fe54e38c95e3179a5ec9ea81740eca5b482d12e";
        assert_eq!(selector("transfer"), Felt::from_hex_unchecked(known));
        assert_eq!(selector("__default__"), Felt::ZERO);
    }
}

//! Roots straight from the definition: no stored nodes, no paths, no code shared with the updates they check.

use std::collections::BTreeMap;

use starknet_types_core::felt::Felt;

use super::{HEIGHT_COMMITMENT, TrieError};
use crate::hash::{Hasher, Poseidon};

/// The triple of Starknet's definition: a bottom value under `length` bits of value `path`; all zero when empty.
#[derive(Clone, Copy)]
struct Triple {
    length: u8,
    path: Felt,
    bottom: Felt,
}

const EMPTY: Triple = Triple { length: 0, path: Felt::ZERO, bottom: Felt::ZERO };

/// Root of the trie of `height` bits that holds `leaves`, computed level by level from nothing.
///
/// Leaves of value 0 are absent. Of two leaves with one key the later counts.
///
/// # Errors
/// [`TrieError::KeyOutOfRange`] for a key of more than `height` bits.
pub fn root_from_scratch<H: Hasher>(height: u8, leaves: impl IntoIterator<Item = (Felt, Felt)>) -> Result<Felt, TrieError> {
    let mut by_key = BTreeMap::new();
    for (key, value) in leaves {
        if key.bits() > usize::from(height) {
            return Err(TrieError::KeyOutOfRange { key, height });
        }
        by_key.insert(key.to_bytes_be(), value);
    }
    by_key.retain(|_, value| *value != Felt::ZERO);
    let leaves: Vec<([u8; 32], Felt)> = by_key.into_iter().collect();
    Ok(hash::<H>(&triple::<H>(&leaves, height)))
}

/// Commitment to a list: the Poseidon trie of height 64 whose keys are the indices. Empty list: 0.
/// [spec/starknet.md (b)]
pub fn root_of_list(leaves: &[Felt]) -> Felt {
    let leaves: Vec<([u8; 32], Felt)> =
        (0..).zip(leaves).map(|(i, leaf): (u64, _)| (Felt::from(i).to_bytes_be(), *leaf)).collect();
    hash::<Poseidon>(&triple::<Poseidon>(&leaves, HEIGHT_COMMITMENT))
}

/// The subtree of `height` levels that holds `leaves` (ascending, same bits above `height`).
fn triple<H: Hasher>(leaves: &[([u8; 32], Felt)], height: u8) -> Triple {
    if leaves.is_empty() {
        return EMPTY;
    }
    if height == 0 {
        return Triple { bottom: leaves[0].1, ..EMPTY };
    }
    let bit = height - 1;
    let ones = leaves.partition_point(|(key, _)| key[31 - usize::from(bit / 8)] >> (bit % 8) & 1 == 0);
    let (left, right) = leaves.split_at(ones);
    match (triple::<H>(left, bit), triple::<H>(right, bit)) {
        (left, right) if right.bottom == Felt::ZERO => longer(left, Felt::ZERO),
        (left, right) if left.bottom == Felt::ZERO => longer(right, Felt::TWO.pow(right.length)),
        (left, right) => Triple { bottom: H::hash(&hash::<H>(&left), &hash::<H>(&right)), ..EMPTY },
    }
}

/// One more bit above a subtree that has no sibling.
fn longer(subtree: Triple, bit: Felt) -> Triple {
    if subtree.bottom == Felt::ZERO {
        return EMPTY;
    }
    Triple { length: subtree.length + 1, path: subtree.path + bit, ..subtree }
}

fn hash<H: Hasher>(triple: &Triple) -> Felt {
    match triple.length {
        0 => triple.bottom,
        length => H::hash(&triple.bottom, &triple.path) + Felt::from(length),
    }
}

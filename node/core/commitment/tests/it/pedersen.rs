//! The Pedersen hash against the one of `starknet-types-core`, which works digit by digit and shares no code with ours.

use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Pedersen, pedersen_array};
use proptest::prelude::*;
use starknet_types_core::hash::{Pedersen as Reference, StarkHash};

const RANDOM_PAIRS: usize = 20_000;

fn reference(pair: &(Felt, Felt)) -> Felt {
    Reference::hash(&pair.0, &pair.1)
}

/// Felts from a fixed seed: chained hashes of another function, so that every bit of them varies.
fn random_felts(count: usize) -> Vec<Felt> {
    let next =
        |felt: &Felt| Some(felt.square() * Felt::from_hex_unchecked("0x9e3779b97f4a7c15f39cc0605cedc834") + Felt::THREE);
    let first = Felt::from_hex_unchecked("0x5a17d3b2c4e6f80917a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7");
    std::iter::successors(Some(first), next).take(count).collect()
}

/// Numbers at the ends of the ranges that the hash treats differently: 0, 2^248 (second generator), 2^251, P; and
/// numbers whose windows are all zero but one, or all ones, for windows of 4 to 10 bits.
fn edges() -> Vec<Felt> {
    let mut edges = vec![Felt::ZERO, Felt::ONE, Felt::TWO, Felt::THREE, Felt::MAX, Felt::MAX - 1];
    for bit in [4u32, 8, 9, 63, 64, 128, 192, 240, 247, 248, 249, 250, 251] {
        let power = Felt::TWO.pow(bit);
        edges.extend([power - 1, power, power + 1]);
    }
    edges.extend((1..8).map(|high| Felt::from(high) * Felt::TWO.pow(248u32)));
    edges.push(Felt::from_hex_unchecked("0x100000000000000000000000000000000000000000000000000000000000000"));
    edges.push(Felt::from_hex_unchecked("0x0101010101010101010101010101010101010101010101010101010101010101"));
    edges.push(Felt::from_hex_unchecked("0x0000ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00"));
    edges
}

#[test]
fn twenty_thousand_random_pairs_hash_like_the_reference() {
    let felts = random_felts(2 * RANDOM_PAIRS);
    let pairs: Vec<(Felt, Felt)> = felts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let many = Pedersen::hash_many(&pairs);
    assert_eq!((pairs.len(), many.len()), (RANDOM_PAIRS, RANDOM_PAIRS));
    for (pair, many) in pairs.iter().zip(many) {
        let expected = reference(pair);
        assert_eq!(many, expected, "{pair:x?} in a batch");
        assert_eq!(<Pedersen as Hasher>::hash(&pair.0, &pair.1), expected, "{pair:x?}");
    }
}

#[test]
fn edges_hash_like_the_reference_in_every_combination() {
    let edges = edges();
    let pairs: Vec<(Felt, Felt)> = edges.iter().flat_map(|a| edges.iter().map(|b| (*a, *b))).collect();
    assert!(pairs.len() > 2_000);
    for (pair, many) in pairs.iter().zip(Pedersen::hash_many(&pairs)) {
        let expected = reference(pair);
        assert_eq!(many, expected, "{pair:x?} in a batch");
        assert_eq!(<Pedersen as Hasher>::hash(&pair.0, &pair.1), expected, "{pair:x?}");
    }
}

#[test]
fn a_batch_of_any_size_hashes_like_one_by_one() {
    let felts = random_felts(64);
    for size in [0, 1, 2, 3, 4, 5, 63, 64, 65, 67, 128, 1_000] {
        // 31 and 37 make pairs repeat within a batch, also as neighbours when they are equal.
        let pairs: Vec<(Felt, Felt)> = (0..size).map(|i| (felts[i / 2 % 31], felts[i / 2 % 37])).collect();
        let one_by_one: Vec<Felt> = pairs.iter().map(|(a, b)| <Pedersen as Hasher>::hash(a, b)).collect();
        assert_eq!(Pedersen::hash_many(&pairs), one_by_one, "{size} pairs");
        assert_eq!(one_by_one, pairs.iter().map(reference).collect::<Vec<_>>());
    }
    let equal = vec![(felts[0], felts[0]); 130];
    assert_eq!(Pedersen::hash_many(&equal), vec![reference(&equal[0]); 130]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Numbers of runs of equal bits: empty and full windows at every place.
    #[test]
    fn sparse_numbers_hash_like_the_reference(bytes in prop::collection::vec((prop_oneof![Just(0u8), Just(0xff), Just(1), Just(0x80)], prop_oneof![Just(0u8), Just(0xff), Just(0x10)]), 31)) {
        let (a, b): (Vec<u8>, Vec<u8>) = bytes.into_iter().unzip();
        let pair = (Felt::from_bytes_be_slice(&a), Felt::from_bytes_be_slice(&b));
        prop_assert_eq!(<Pedersen as Hasher>::hash(&pair.0, &pair.1), reference(&pair));
        prop_assert_eq!(Pedersen::hash_many(&[pair; 5]), vec![reference(&pair); 5]);
    }
}

/// [starkware-libs/cairo-lang: fast_pedersen_hash tests; xJonathanLEI/starknet-rs: pedersen_hash.rs; docs.starknet.io]
#[test]
fn published_vectors_hold() {
    let hex = Felt::from_hex_unchecked;
    let vectors = [
        ("0x0", "0x0", "0x49ee3eba8c1600700ee1b87eb599f16716b0b1022947733551fde4050ca6804"),
        ("0x1", "0x2", "0x5bb9440e27889a364bcb678b1f679ecd1347acdedcbf36e83494f857cc58026"),
        (
            "0x3d937c035c878245caf64531a5756109c53068da139362728feb561405371cb",
            "0x208a0a10250e382e1e4bbe2880906c2791bf6275695e02fbbc6aeff9cd8b31a",
            "0x30e480bed5fe53fa909cc0f8c4d99b8f9f2c016be4c41e13a4848797979c662",
        ),
        (
            "0x58f580910a6ca59b28927c08fe6c43e2e303ca384badc365795fc645d479d45",
            "0x78734f65a067be9bdb39de18434d71e79f7b6466a4b66bbd979ab9e7515fe0b",
            "0x68cc0b76cddd1dd4ed2301ada9b7c872b23875d5ff837b3a87993e0d9996b87",
        ),
    ];
    for (a, b, expected) in vectors {
        assert_eq!(<Pedersen as Hasher>::hash(&hex(a), &hex(b)), hex(expected));
        assert_eq!(Pedersen::hash_many(&[(hex(a), hex(b)); 4]), [hex(expected); 4]);
    }
    // The hash of (0, 0) is the shift point's x: nothing is added to it.
    let list = [hex("0xaa"), hex("0xbb"), hex("0xcc")];
    assert_eq!(pedersen_array(&list), hex("0x10808e8929644950878c4f71326e47c6b584d9cfea2de0415daf8def0f5e89f"));
    assert_eq!(pedersen_array(&[]), Reference::hash_array(&[]));
}

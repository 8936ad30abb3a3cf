use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn value(blob: &Blob, index: usize) -> [u8; 32] {
    blob.as_bytes()[32 * index..32 * index + 32].try_into().unwrap()
}

/// The naive way: each value by itself.
fn value_at(words: &[Felt], root: &FrElement) -> [u8; 32] {
    bytes(&words.iter().rev().fold(FrElement::zero(), |sum, word| &sum * root + scalar(word)))
}

#[test]
fn a_constant_is_the_same_everywhere() {
    let blobs = to_blobs(&[Felt::from(5u64)]);
    assert_eq!(blobs.len(), 1);
    let five = [vec![0; 31], vec![5]].concat();
    assert!(blobs[0].as_bytes().chunks(32).all(|value| value == five));
}

#[test]
fn values_stand_at_the_roots_of_unity_in_bit_reversed_order() {
    let words: Vec<Felt> = (0..BLOB_WORDS as u64).map(|n| Felt::from(n * n + 1) * Felt::TWO.pow(180u32)).collect();
    let blob = &to_blobs(&words)[0];
    let root = FrElement::new(U256::from_hex_unchecked(ROOT_OF_UNITY));
    assert_eq!(root.pow(BLOB_WORDS as u64), FrElement::one());
    assert_eq!(root.pow(BLOB_WORDS as u64 / 2), -FrElement::one());
    // Index 1 reversed in 12 bits is 2,048, 2 is 1,024, 3 is 3,072.
    for (index, power) in [(0, 0u64), (1, 2_048), (2, 1_024), (3, 3_072), (4_094, 2_047), (4_095, 4_095)] {
        assert_eq!(value(blob, index), value_at(&words, &root.pow(power)), "{index}");
    }
}

#[test]
fn words_beyond_a_blob_go_to_the_next() {
    let words: Vec<Felt> = (0..2 * BLOB_WORDS as u64 + 1).map(Felt::from).collect();
    let blobs = to_blobs(&words);
    assert_eq!(blobs.len(), 3);
    assert_eq!(blobs[1], to_blobs(&words[BLOB_WORDS..2 * BLOB_WORDS])[0]);
    let back = from_blobs(&blobs).unwrap();
    assert_eq!((back.len(), &back[..words.len()]), (3 * BLOB_WORDS, &words[..]));
    assert!(back[words.len()..].iter().all(|word| *word == Felt::ZERO));
    assert_eq!(to_blobs(&[]), []);
}

#[test]
fn blobs_that_no_words_have_are_refused() {
    assert_eq!(Blob::from_bytes(&[0; 5]), Err(BlobError::Length(5)));
    let whole = to_blobs(&[Felt::ONE]).remove(0);
    let mut order = whole.clone();
    let modulus: Vec<u8> = FrConfig::MODULUS.limbs.iter().flat_map(|limb| limb.to_be_bytes()).collect();
    order.0[32 * 7..32 * 8].copy_from_slice(&modulus);
    assert_eq!(from_blobs(&[whole.clone(), order]), Err(BlobError::Value { blob: 1, value: 7 }));
    // The field's prime is below the order, so it can be a coefficient, but never a word.
    let prime = &scalar(&(Felt::ZERO - Felt::ONE)) + FrElement::one();
    let blob = evaluations(vec![FrElement::one(), FrElement::one(), prime]);
    assert_eq!(from_blobs(&[blob]), Err(BlobError::Coefficient { blob: 0, coefficient: 2 }));
    // A value changed changes all coefficients.
    let mut other = whole;
    other.0[31] ^= 1;
    assert_ne!(from_blobs(&[other]).ok().map(|words| words[0]), Some(Felt::ONE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn reading_inverts_writing(words in vec(any::<[u8; 32]>().prop_map(|bytes| Felt::from_bytes_be(&bytes)), 1..9_000)) {
        let mut padded = from_blobs(&to_blobs(&words)).unwrap();
        prop_assert!(padded.split_off(words.len()).iter().all(|word| *word == Felt::ZERO));
        prop_assert_eq!(padded, words);
    }
}

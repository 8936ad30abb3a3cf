use super::*;
use crate::blob::to_blobs;

fn words(count: u64) -> Vec<Felt> {
    (0..count).map(|n| Felt::from(n + 3) * Felt::TWO.pow(100u32) - Felt::ONE).collect()
}

#[test]
fn the_empty_blobs_commitment_is_the_point_at_infinity() {
    let commitment = commit(&to_blobs(&[Felt::ZERO])[0]).unwrap();
    let infinity: [u8; POINT_BYTES] = std::array::from_fn(|at| if at == 0 { 0xc0 } else { 0 });
    assert_eq!(commitment.0, infinity);
    // Known to every client: the versioned hash of an empty blob.
    let hash = hex::decode("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014").unwrap();
    assert_eq!(commitment.versioned_hash().0[..], hash);
}

#[test]
fn points_and_values_are_cut_into_words_low_half_first() {
    let point: [u8; POINT_BYTES] = std::array::from_fn(|at| if at == 23 { 2 } else { u8::from(at == 47) });
    assert_eq!(Commitment(point).words(), [Felt::ONE, Felt::TWO]);
    let value: [u8; 32] = std::array::from_fn(|at| if at == 15 { 2 } else { u8::from(at == 31) });
    assert_eq!(Evaluation(value).words(), [Felt::ONE, Felt::TWO]);
}

#[test]
fn every_blob_opens_at_the_point_of_the_batch_with_the_value_of_its_coefficients() {
    let words = words(BLOB_WORDS as u64 + 10);
    let blobs = to_blobs(&words);
    let commitments: Vec<Commitment> = blobs.iter().map(|blob| commit(blob).unwrap()).collect();
    let z = opening_point(&words, &commitments);
    let values = evaluations(&words, &z);
    assert_eq!(values.len(), 2);
    for (blob, (commitment, value)) in blobs.iter().zip(commitments.iter().zip(&values)) {
        let (opened, proof) = prove(blob, &z).unwrap();
        assert_eq!(opened, *value);
        assert!(verify(commitment, &z, value, &proof));
        assert!(!verify(commitment, &(z + Felt::ONE), value, &proof));
    }
    let (_, proof) = prove(&blobs[0], &z).unwrap();
    assert!(!verify(&commitments[1], &z, &values[1], &proof), "a swapped blob's proof");
}

#[test]
fn the_point_depends_on_every_word_and_on_the_commitments_order() {
    let (words, commitments) = (words(5), [Commitment([1; POINT_BYTES]), Commitment([2; POINT_BYTES])]);
    let z = opening_point(&words, &commitments);
    assert_ne!(z, opening_point(&words[..4], &commitments));
    assert_ne!(z, opening_point(&words, &[commitments[1], commitments[0]]));
}

#[test]
fn a_blob_whose_values_are_too_large_has_no_commitment() {
    let blob = Blob::from_bytes(&[0xff; crate::blob::BLOB_BYTES]).unwrap();
    assert!(commit(&blob).is_err());
    assert!(prove(&blob, &Felt::ONE).is_err());
}

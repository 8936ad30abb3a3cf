use super::*;
use crate::packed::ContractUpdate;
use keel_types::FeltBytes;

const BLOBS: SettlementLayer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Blobs };
const CALLDATA: SettlementLayer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Calldata };
const STARKNET: SettlementLayer = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::THREE) };

/// A diff of one contract whose values hardly compress: some `entries` and more words.
fn diff(entries: u64) -> PackedDiff {
    let value = |n: u64| Felt::ZERO - Felt::from(n * n + 1);
    let storage = (0..entries).map(|n| (Felt::from(1_000 + n), value(n))).collect();
    let contract = ContractUpdate { address: Felt::from(130u64), nonce: 7, class_hash: None, storage };
    PackedDiff { contracts: vec![contract], classes: vec![(Felt::from(70u64), Felt::from(71u64))] }
}

#[test]
fn every_form_gives_the_state_diff_back() {
    for layer in [CALLDATA, BLOBS, STARKNET] {
        for entries in [0, 1, 500] {
            let data = DataAvailability::of(layer, &diff(entries)).unwrap();
            assert_eq!(data.decode().unwrap(), diff(entries), "{layer}");
            assert_eq!(DataAvailability::of_words(layer, data.words().to_vec()).unwrap(), data);
            data.check().unwrap();
        }
    }
}

#[test]
fn only_blobs_have_blobs_and_only_chunks_have_chunks() {
    let [calldata, blobs, chunks] = [CALLDATA, BLOBS, STARKNET].map(|layer| DataAvailability::of(layer, &diff(9)).unwrap());
    for (data, blob_count, chunk_count) in [(calldata, 0, 0), (blobs, 1, 0), (chunks, 0, 1)] {
        let found = (data.blobs().len(), data.commitments().len(), data.point_proofs().unwrap().len());
        assert_eq!(found, (blob_count, blob_count, blob_count));
        assert_eq!((data.chunks().count(), data.chunk_hashes().len()), (chunk_count, chunk_count));
        assert_eq!(data.use_kzg_da(), Felt::from(blob_count as u64));
    }
}

#[test]
fn words_are_cut_into_chunks_the_last_of_which_is_shorter() {
    let chunks = |words: usize| {
        let words: Vec<Felt> = (0..words as u64).map(Felt::from).collect();
        let data = DataAvailability::of_words(STARKNET, words.clone()).unwrap();
        let chunks: Vec<Vec<Felt>> = data.chunks().map(<[Felt]>::to_vec).collect();
        assert_eq!(chunks.concat(), words);
        assert_eq!(data.chunk_hashes(), chunks.iter().map(|chunk| poseidon_array(chunk)).collect::<Vec<_>>());
        chunks.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(chunks(0), [0usize; 0]);
    assert_eq!(chunks(4_500), [4_500]);
    assert_eq!(chunks(9_001), [4_500, 4_500, 1]);
}

#[test]
fn blobs_of_several_are_read_together_and_only_in_their_order() {
    let data = DataAvailability::of(BLOBS, &diff(5_000)).unwrap();
    let blobs = data.blobs();
    assert_eq!(blobs.len(), 2);
    assert_eq!(DataAvailability::from_blobs(&blobs).unwrap(), data);
    assert_eq!(DataAvailability::from_blobs(&blobs).unwrap().decode().unwrap(), diff(5_000));

    let words = data.words().len();
    let swapped = [blobs[1].clone(), blobs[0].clone()];
    assert!(DataAvailability::from_blobs(&swapped).is_err());
    let one = DataAvailability::from_blobs(&blobs[..1]);
    assert_eq!(one, Err(DataError::BlobCount { blobs: 1, words }));
    let three = [&blobs[..], &blobs[..1]].concat();
    assert_eq!(DataAvailability::from_blobs(&three), Err(DataError::BlobCount { blobs: 3, words }));
    assert_eq!(DataAvailability::from_blobs(&[]), Err(DataError::Decompress(DecompressError::Empty)));
    assert_eq!(DataAvailability::from_blobs(&vec![blobs[0].clone(); 7]), Err(DataError::TooManyBlobs(7)));
}

#[test]
fn what_stands_in_a_blob_after_the_data_is_refused() {
    let data = DataAvailability::of(BLOBS, &diff(3)).unwrap();
    let length = data.words().len();
    let more = [data.words(), &[Felt::ZERO, Felt::TWO]].concat();
    assert_eq!(DataAvailability::from_blobs(&to_blobs(&more)), Err(DataError::NotZero(length + 1)));
}

#[test]
fn words_of_no_state_diff_are_refused_by_name() {
    let of_words = |words: &[Felt]| DataAvailability::of_words(CALLDATA, words.to_vec()).unwrap().decode();
    assert_eq!(of_words(&[]), Err(DataError::Decompress(DecompressError::Empty)));
    let three_words = compress(&[Felt::ZERO, Felt::ZERO, Felt::ONE]).unwrap();
    assert_eq!(of_words(&three_words), Err(DataError::Unpack(UnpackError::TooLong(1))));
    // Packed, but not compressed.
    assert!(matches!(of_words(&diff(3).encode()), Err(DataError::Decompress(_))));
}

#[test]
fn seven_blobs_are_no_batch() {
    let words = vec![Felt::ONE; 6 * BLOB_WORDS + 1];
    assert_eq!(DataAvailability::of_words(BLOBS, words), Err(DataError::TooManyBlobs(7)));
}

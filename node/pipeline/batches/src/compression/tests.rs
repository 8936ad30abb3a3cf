use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn felts(values: &[u64]) -> Vec<Felt> {
    values.iter().copied().map(Felt::from).collect()
}

fn hex(words: &[&str]) -> Vec<Felt> {
    words.iter().map(|word| Felt::from_hex(word).unwrap()).collect()
}

/// starkware-libs/sequencer, tests of its stateless compression; the values are those of cairo-lang's `compression.py`.
#[test]
fn small_vectors_of_the_os() {
    for (words, compressed) in [
        (vec![], vec!["0x0"]),
        (vec![1], vec!["0x100000000000000000000000000000100000", "0x1", "0x5"]),
        (vec![1, 2], vec!["0x200000000000000000000000000000200000", "0x10001", "0x28"]),
        (vec![2, 3, 1], vec!["0x300000000000000000000000000000300000", "0x40018002", "0x11d"]),
        (
            vec![1, 1, 6, 0x7c7, 0x42, 0],
            vec!["0x10000500000000000000000000000000000600000", "0x841f1c0030001", "0x0", "0x17eff"],
        ),
    ] {
        let (words, compressed) = (felts(&words), hex(&compressed));
        assert_eq!(compress(&words).unwrap(), compressed);
        assert_eq!(decompress(&compressed).unwrap(), words);
    }
}

/// `251 / ceil(log2(base))`: four bits for 16 distinct values, so 62 pointers to a word.
#[test]
fn pointers_to_a_power_of_two_of_values_are_packed_as_the_os_unpacks_them() {
    let repeated = |times: usize| [felts(&(0..16).collect::<Vec<_>>()), vec![Felt::from(15); times]].concat();
    for (repetitions, pointer_words) in [(1, 1), (62, 1), (63, 2), (124, 2), (125, 3)] {
        let words = repeated(repetitions);
        let compressed = compress(&words).unwrap();
        assert_eq!(compressed.len(), 1 + 1 + pointer_words + words.len().div_ceil(83), "{repetitions}");
        assert_eq!(decompress(&compressed).unwrap(), words);
    }
}

#[test]
fn values_go_to_the_smallest_bucket_that_holds_them() {
    let two_to = |bits: u32| Felt::TWO.pow(bits);
    for (index, bits) in BUCKET_BITS.into_iter().enumerate().skip(1) {
        let largest = two_to(bits as u32) - Felt::ONE;
        assert_eq!(bucket(&integer(&largest)), index);
        assert_eq!(bucket(&integer(&(largest + Felt::ONE))), index - 1);
    }
    assert_eq!(bucket(&integer(&(Felt::ZERO - Felt::ONE))), 0);
    assert_eq!(bucket(&integer(&Felt::ZERO)), 5);
}

fn header(numbers: [u64; HEADER_LEN]) -> Felt {
    pack_values(&numbers.map(U256::from), HEADER_BITS)
}

#[test]
fn words_that_are_no_compressed_data_are_refused() {
    let max = COMPRESSIBLE_MAX as u64;
    let one = header([0, 1, 0, 0, 0, 0, 0, 1, 0]);
    let two = header([0, 2, 0, 0, 0, 0, 0, 2, 0]);
    let repeated = header([0, 2, 0, 0, 0, 0, 0, 1, 1]);
    let felt = |value: u64| Felt::from(value);
    use DecompressError::*;
    for (name, words, error) in [
        ("nothing", vec![], Empty),
        ("a number after the ninth", vec![Felt::TWO.pow(180u32)], Header),
        ("another version", vec![header([1, 0, 0, 0, 0, 0, 0, 0, 0])], Version(1)),
        (
            "counts that do not add up",
            vec![header([0, 2, 0, 0, 0, 0, 0, 1, 0]), felt(1), felt(5)],
            Counts { elements: 2, distinct: 1, repetitions: 0 },
        ),
        (
            "repetitions of nothing",
            vec![header([0, 1, 0, 0, 0, 0, 0, 0, 1]), felt(0), felt(6)],
            Counts { elements: 1, distinct: 0, repetitions: 1 },
        ),
        (
            "a length that lies",
            vec![header([0, max, max, 0, 0, 0, 0, 0, 0]), felt(1)],
            Length { expected: 1 + COMPRESSIBLE_MAX + COMPRESSIBLE_MAX.div_ceil(83), found: 2 },
        ),
        ("a word too few", vec![one, felt(1)], Length { expected: 3, found: 2 }),
        ("a word too many", vec![one, felt(1), felt(5), felt(0)], Length { expected: 3, found: 4 }),
        ("a second value that is not counted", vec![one, felt(1 << 15), felt(5)], Digits(1)),
        ("a second bucket that is not counted", vec![one, felt(1), felt(7 + 5)], Digits(2)),
        ("digits beyond the word", vec![one, felt(1), Felt::TWO.pow(240u32) + felt(5)], Digits(2)),
        ("a pointer to a second value where there is one", vec![repeated, felt(9), felt(1), felt(6 * 7 + 5)], Digits(2)),
        ("an empty bucket", vec![one, felt(1), felt(4)], Bucket(0)),
        ("a bucket used up", vec![repeated, felt(1), felt(0), felt(5 * 7 + 5)], Bucket(1)),
        ("a value in a bucket too large", vec![header([0, 1, 0, 0, 0, 0, 1, 0, 0]), felt(1), felt(4)], NotCanonical),
        ("a value named twice", vec![two, felt(1 + (1 << 15)), felt(5 * 7 + 5)], NotCanonical),
        ("a repetition before its value", vec![repeated, felt(1), felt(0), felt(5 * 7 + 6)], NotCanonical),
    ] {
        assert_eq!(decompress(&words), Err(error), "{name}");
    }
}

#[test]
fn what_the_header_cannot_count_is_refused() {
    let words = vec![Felt::ONE; COMPRESSIBLE_MAX + 1];
    assert_eq!(compress(&words), Err(TooManyWords(COMPRESSIBLE_MAX + 1)));
    assert_eq!(compressed_len_at_most(&words[2..], 2), usize::MAX);
    let compressed = compress(&words[1..]).unwrap();
    assert_eq!(decompress(&compressed).unwrap(), words[1..]);
}

#[test]
fn distinct_large_words_take_the_most_room() {
    for count in [0u64, 1, 83, 84, 5_000] {
        let words: Vec<Felt> = (0..count).map(|n| Felt::ZERO - Felt::from(1 + n)).collect();
        assert_eq!(compress(&words).unwrap().len(), compressed_len_max(words.len()));
    }
}

/// Values at the edges of the buckets, values that repeat, and any values.
fn any_word() -> impl Strategy<Value = Felt> {
    prop_oneof![
        2 => (0u64..20).prop_map(Felt::from),
        2 => (0u32..252, 0u64..3).prop_map(|(bits, off)| Felt::TWO.pow(bits) + Felt::from(off) - Felt::ONE),
        1 => any::<u64>().prop_map(Felt::from),
        1 => any::<[u8; 32]>().prop_map(|bytes| Felt::from_bytes_be(&bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decompression_inverts_compression(words in vec(any_word(), 0..1_500)) {
        let compressed = compress(&words).unwrap();
        prop_assert!(compressed.len() <= compressed_len_max(words.len()));
        prop_assert_eq!(compressed_len(&compressed[0]).unwrap(), compressed.len());
        prop_assert_eq!(decompress(&compressed).unwrap(), words);
    }

    #[test]
    fn leaving_words_out_never_needs_more_room(words in vec(any_word(), 1..600), keep in vec(any::<bool>(), 600)) {
        let kept: Vec<Felt> = words.iter().zip(keep).filter(|(_, keep)| *keep).map(|(word, _)| *word).collect();
        prop_assert!(compress(&kept).unwrap().len() <= compress(&words).unwrap().len());
    }

    #[test]
    fn the_bound_holds_for_any_part_with_any_others(
        words in vec(any_word(), 1..600),
        keep in vec(any::<bool>(), 600),
        others in vec(any_word(), 0..9),
    ) {
        let kept = words.iter().zip(keep).filter(|(_, keep)| *keep).map(|(word, _)| *word);
        let part: Vec<Felt> = others.iter().copied().chain(kept).collect();
        prop_assert!(compress(&part).unwrap().len() <= compressed_len_at_most(&words, others.len()));
        prop_assert_eq!(compress(&words).unwrap().len(), compressed_len_at_most(&words, 0));
    }

    #[test]
    fn one_data_one_encoding(words in vec(any_word(), 1..200), at: prop::sample::Index, by in any_word(), put in any_word()) {
        let compressed = compress(&words).unwrap();
        for change in [compressed[at.index(compressed.len())] + by, put] {
            let mut other = compressed.clone();
            other[at.index(compressed.len())] = change;
            if let Ok(read) = decompress(&other) {
                prop_assert_eq!(compress(&read).unwrap(), other);
            }
        }
        prop_assert!(decompress(&compressed[..at.index(compressed.len())]).is_err());
        prop_assert!(decompress(&[&compressed[..], &[put]].concat()).is_err());
    }

    #[test]
    fn arbitrary_words_do_no_harm(words in vec(any_word(), 0..60), counts in vec(0u64..40, 7)) {
        let distinct: u64 = counts[..6].iter().sum();
        let numbers = [0, distinct + counts[6], counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6]];
        let words = [vec![header(numbers)], words].concat();
        for end in 0..=words.len() {
            if let Ok(read) = decompress(&words[..end]) {
                prop_assert_eq!(&compress(&read).unwrap()[..], &words[..end]);
            }
        }
    }
}

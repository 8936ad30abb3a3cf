//! Real data of others against our formats: stateless compression, contract words, blobs, a program output. Where
//! `KEEL_FIXTURES` does not name the folder these tests say that they are skipped; small vectors stand in the tests beside the code.

use crate::blob::{self, Blob, from_blobs, to_blobs};
use crate::compression::{compress, decompress};
use crate::kzg::{self, Commitment, Evaluation};
use crate::packed::{ContractWord, PackedDiff};
use keel_commitment::{Felt, StateDiff};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The fixtures, remembering what was read.
struct Folder {
    path: PathBuf,
    read: RefCell<BTreeSet<String>>,
}

impl Folder {
    /// `None`, said loudly, where it is not there.
    fn open(test: &str) -> Option<Folder> {
        let path = std::env::var_os("KEEL_FIXTURES").map(PathBuf::from);
        if path.is_none() {
            println!("SKIPPED: {test}: KEEL_FIXTURES is not set");
        }
        path.map(|path| Folder { path, read: RefCell::default() })
    }

    fn text(&self, name: &str) -> String {
        self.read.borrow_mut().insert(name.to_owned());
        std::fs::read_to_string(self.path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    fn blob(&self, name: &str) -> Blob {
        Blob::from_bytes(&hex::decode(self.text(name).trim()).unwrap()).unwrap()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Decimal or 0x.
fn felt(value: &Value) -> Felt {
    let text = value.as_str().unwrap();
    if text.starts_with("0x") { Felt::from_hex(text).unwrap() } else { Felt::from_dec_str(text).unwrap() }
}

fn felts(value: &Value) -> Vec<Felt> {
    list(value).iter().map(felt).collect()
}

/// Contract word of before 0.13.3: `class_changed * 2^128 + nonce * 2^64 + updates`, the nonce also where it did not change.
fn old_word(word: &ContractWord) -> Felt {
    let counts = (u128::from(word.nonce) << 64) | u128::from(word.updates);
    Felt::from(counts) + Felt::from(word.class_changed) * Felt::TWO.pow(128u32)
}

fn old_word_back(felt: &Felt) -> Option<ContractWord> {
    let [updates, nonce, class, 0] = felt.to_le_digits() else { return None };
    (class < 2).then_some(ContractWord { nonce, updates, class_changed: class == 1 })
}

fn stateless_vectors(folder: &Folder) {
    let file = folder.json("compression/stateless_vectors.json");
    for vector in list(&file["vectors"]) {
        let (input, output) = (felts(&vector["input"]), felts(&vector["output"]));
        assert_eq!(compress(&input).unwrap(), output, "{}", vector["name"]);
        assert_eq!(decompress(&output).unwrap(), input, "{}", vector["name"]);
    }
    assert_eq!(list(&file["vectors"]).len(), 8);
}

fn da_word_vectors(folder: &Folder) {
    let file = folder.json("compression/da_word_vectors.json");
    for vector in list(&file["vectors"]) {
        let word = ContractWord {
            nonce: vector["nonce"].as_u64().unwrap(),
            updates: vector["n_updates"].as_u64().unwrap(),
            class_changed: vector["class_updated"].as_bool().unwrap(),
        };
        let expected = felt(&vector["word"]);
        let (encoded, decoded) = match vector["version"].as_str().unwrap() {
            "0.13.2" => (old_word(&word), old_word_back(&expected)),
            "0.13.5" => (word.encode(), ContractWord::decode(&expected)),
            other => panic!("version {other}"),
        };
        assert_eq!((encoded, decoded), (expected, Some(word)), "{vector}");
    }
    assert_eq!(list(&file["vectors"]).len(), 11);
}

/// Numbers of any size to the bytes of their blob, and back to what they are below the order.
fn regression(folder: &Folder, name: &str) {
    let numbers = folder.json(&format!("blobs/apollo_{name}_regression_input.json"));
    let bytes = folder.json(&format!("blobs/apollo_{name}_regression_output.json"));
    let bytes: Vec<u8> = list(&bytes).iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
    let numbers: Vec<_> = list(&numbers).iter().map(|number| blob::scalar_of_decimal(number.as_str().unwrap())).collect();
    let blob = Blob::from_bytes(&bytes).unwrap();
    assert_eq!(blob::evaluations(numbers.clone()), blob);
    assert_eq!(blob::coefficients(0, &blob).unwrap(), numbers);
    // They are no words.
    assert!(from_blobs(&[blob]).is_err());
}

fn blob_regression(folder: &Folder) {
    regression(folder, "blob");
}

fn fft_regression(folder: &Folder) {
    regression(folder, "fft");
}

/// The state diff of a mainnet block, with the nonces that its blob carries though they did not change.
fn mainnet_diff(folder: &Folder, number: u64) -> StateDiff {
    let update = folder.json(&format!("blobs/da_{number}_state_update.json"));
    let nonces = folder.json(&format!("blobs/da_{number}_nonces.json"));
    let of = &update["state_diff"];
    let pairs = |name: &str, key: &str, value: &str| -> Vec<(Felt, Felt)> {
        list(&of[name]).iter().map(|entry| (felt(&entry[key]), felt(&entry[value]))).collect()
    };
    let mut diff = StateDiff {
        deployed_contracts: pairs("deployed_contracts", "address", "class_hash").into_iter().collect(),
        replaced_classes: pairs("replaced_classes", "contract_address", "class_hash").into_iter().collect(),
        declared_classes: pairs("declared_classes", "class_hash", "compiled_class_hash").into_iter().collect(),
        nonces: pairs("nonces", "contract_address", "nonce").into_iter().collect(),
        ..StateDiff::default()
    };
    for contract in list(&of["storage_diffs"]) {
        for entry in list(&contract["storage_entries"]) {
            diff.set_storage(felt(&contract["address"]), felt(&entry["key"]), felt(&entry["value"]));
        }
    }
    for entry in list(&nonces) {
        // Without a prefix, and yet hexadecimal: the blob of 638353 says 80 where the file says 50.
        let nonce = Felt::from_hex(entry["nonce"].as_str().unwrap()).unwrap();
        if nonce != Felt::ZERO {
            diff.nonces.entry(felt(&entry["address"])).or_insert(nonce);
        }
    }
    diff
}

/// From its state update to the bytes on Ethereum and back. These blocks have no aliases and no compression.
fn mainnet_blob(folder: &Folder, number: u64) {
    let diff = mainnet_diff(folder, number);
    let blob = folder.blob(&format!("blobs/da_{number}_blob.txt"));
    let words = PackedDiff::of(&diff, |name| Some(*name)).unwrap().encode_with(old_word);
    assert_eq!(to_blobs(&words), std::slice::from_ref(&blob), "{number}");

    let mut padded = from_blobs(&[blob]).unwrap();
    let zeros = padded.split_off(words.len());
    assert!(zeros.iter().all(|word| *word == Felt::ZERO), "{number}");
    let unpacked = PackedDiff::decode_with(&padded, old_word_back).unwrap();
    let names = unpacked.contracts.iter().flat_map(|contract| {
        let keys = contract.storage.iter().map(|(key, _)| *key);
        [contract.address].into_iter().chain(keys)
    });
    let itself = names.map(|name| (name, name)).collect();
    assert_eq!(unpacked.to_diff(&itself, |name| diff.replaced_classes.contains_key(name)).unwrap(), diff, "{number}");
}

fn mainnet_blobs(folder: &Folder) {
    [178, 631_861, 638_353].into_iter().for_each(|number| mainnet_blob(folder, number));
}

/// A transaction to Ethereum with one blob: the output says what the blob holds.
fn program_output(folder: &Folder) {
    let text = folder.text("blobs/l1_6806848_program_output.txt");
    let output: Vec<Felt> = text.split_whitespace().map(|word| Felt::from_dec_str(word).unwrap()).collect();
    let blob = folder.blob("blobs/l1_6806848_blob.txt");
    // Flags: data in blobs, not the full output. Then z, one blob, its commitment and its value.
    assert_eq!(output[8..10], [Felt::ONE, Felt::ZERO]);
    let (z, blobs, rest) = (output[10], output[11], &output[12..]);
    assert_eq!(blobs, Felt::ONE);

    let padded = from_blobs(std::slice::from_ref(&blob)).unwrap();
    let commitment = kzg::commit(&blob).unwrap();
    assert_eq!(commitment.words(), rest[..2]);
    assert_eq!(commitment, Commitment(c_kzg_bytes(&rest[..2])));
    let words = &padded[..used(&padded)];
    assert_eq!(kzg::opening_point(words, &[commitment]), z);
    let values = kzg::evaluations(words, &z);
    assert_eq!(values[0].words(), rest[2..4]);
    let (value, proof) = kzg::prove(&blob, &z).unwrap();
    assert_eq!(value, values[0]);
    assert!(kzg::verify(&commitment, &z, &value, &proof));
    let mut other = value.0;
    other[31] ^= 1;
    assert!(!kzg::verify(&commitment, &z, &Evaluation(other), &proof));
    // Messages: both segments end where their lengths say.
    let to_l1 = segment(&rest[4..]);
    let to_l2 = segment(&rest[4 + 1 + to_l1.len()..]);
    assert_eq!(rest.len(), 4 + 1 + to_l1.len() + 1 + to_l2.len());
}

fn c_kzg_bytes(words: &[Felt]) -> [u8; kzg::POINT_BYTES] {
    let bytes = [words[1].to_bytes_be(), words[0].to_bytes_be()].map(|bytes| bytes[8..].to_vec());
    bytes.concat().try_into().unwrap()
}

fn segment(words: &[Felt]) -> &[Felt] {
    let length = usize::try_from(u64::try_from(words[0]).unwrap()).unwrap();
    &words[1..1 + length]
}

/// How many words of the blob the batch was: from before 0.13.4, so not compressed, and its last word may be zero.
fn used(padded: &[Felt]) -> usize {
    let last = padded.iter().rposition(|word| *word != Felt::ZERO).unwrap();
    let whole = |end: &usize| PackedDiff::decode_with(&padded[..*end], old_word_back).is_ok();
    (last + 1..=padded.len()).find(whole).expect("a packed diff")
}

type Check = fn(&Folder);

/// Every fixture of blobs and compression, by who reads it.
const CHECKS: &[(&str, Check)] = &[
    ("stateless_vectors", stateless_vectors),
    ("da_word_vectors", da_word_vectors),
    ("blob_regression", blob_regression),
    ("fft_regression", fft_regression),
    ("mainnet_blobs", mainnet_blobs),
    ("program_output", program_output),
];

fn run(name: &str) {
    let Some(folder) = Folder::open(name) else { return };
    let (_, check) = CHECKS.iter().find(|(check, _)| *check == name).unwrap();
    check(&folder);
}

#[test]
fn compression_gives_the_words_of_the_os_and_takes_them_back() {
    run("stateless_vectors");
}

#[test]
fn contract_words_of_both_forms() {
    run("da_word_vectors");
}

#[test]
fn blobs_are_those_of_the_sequencer() {
    run("blob_regression");
    run("fft_regression");
}

#[test]
fn mainnet_blobs_follow_from_their_state_updates_and_give_them_back() {
    run("mainnet_blobs");
}

#[test]
fn a_real_program_output_is_opened_where_and_with_the_value_it_says() {
    run("program_output");
}

#[test]
fn every_fixture_of_blobs_and_compression_is_read() {
    let Some(folder) = Folder::open("every_fixture_of_blobs_and_compression_is_read") else { return };
    CHECKS.iter().for_each(|(_, check)| check(&folder));
    let there = ["blobs", "compression"].into_iter().flat_map(|part| {
        let files = std::fs::read_dir(folder.path.join(part)).unwrap();
        files.map(move |file| format!("{part}/{}", file.unwrap().file_name().to_string_lossy()))
    });
    assert_eq!(there.collect::<BTreeSet<_>>(), folder.read.into_inner());
}

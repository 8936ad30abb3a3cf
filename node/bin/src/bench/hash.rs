use super::{Random, Stopwatch, median};
use anyhow::{Result, ensure};
use keel_commitment::hash::{Hasher, Pedersen, Poseidon};
use keel_types::Felt;
use starknet::core::crypto::pedersen_hash;

/// Pairs hashed per run, by every contestant.
const PAIRS: usize = 2_000;
const RUNS: usize = 9;

/// Times the trie's hash functions, one after the other in every run, so that a busy machine is busy for all of them.
pub fn run() -> Result<()> {
    let mut random = Random::new(11);
    let pairs: Vec<(Felt, Felt)> = (0..PAIRS).map(|_| (random.felt(), random.felt())).collect();
    let batches = |size: usize| {
        let pairs = &pairs;
        move || pairs.chunks(size).flat_map(Pedersen::hash_many).collect::<Vec<_>>()
    };
    let single = || pairs.iter().map(|(a, b)| Pedersen::hash(a, b)).collect();
    let poseidon = || pairs.iter().map(|(a, b)| <Poseidon as Hasher>::hash(a, b)).collect();
    let library = || pairs.iter().map(|(a, b)| pedersen_hash(a, b)).collect();
    let contestants: [(&str, &dyn Fn() -> Vec<Felt>); 7] = [
        ("pedersen, library", &library),
        ("pedersen, single", &single),
        ("pedersen, batches of 4", &batches(4)),
        ("pedersen, batches of 16", &batches(16)),
        ("pedersen, batches of 64", &batches(64)),
        ("pedersen, batches of 1000", &batches(1_000)),
        ("poseidon, single", &poseidon),
    ];
    let mut times = vec![vec![]; contestants.len()];
    for _ in 0..RUNS {
        for (times, (_, hash)) in times.iter_mut().zip(&contestants) {
            let watch = Stopwatch::start();
            let hashes = hash();
            times.push(watch.processor_ms() * 1e3 / PAIRS as f64);
            ensure!(hashes.len() == PAIRS, "hash bench: a hash is missing");
        }
    }
    let reference = library();
    ensure!([single(), batches(4)(), batches(64)(), batches(1_000)()].iter().all(|h| *h == reference), "hashes differ");
    println!(
        "hash: microseconds per hash on a processor, one thread, medians of {RUNS} runs of {PAIRS} random pairs, taken in turns"
    );
    for ((name, _), times) in contestants.iter().zip(times) {
        println!("  {name:<26} {:>7.2}", median(times));
    }
    Ok(())
}

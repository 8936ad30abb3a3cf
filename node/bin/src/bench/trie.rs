use super::{Random, median};
use anyhow::Result;
use keel_commitment::hash::Pedersen;
use keel_commitment::trie::MemoryTrie;
use keel_types::Felt;
use std::collections::BTreeMap;
use std::time::Instant;

/// Builds a trie of `leaves` and measures the root after `changes` random leaves changed, five times.
pub fn run(leaves: usize, changes: usize) -> Result<()> {
    let mut random = Random::new(7);
    let mut trie = MemoryTrie::new();
    let mut keys = Vec::with_capacity(leaves);
    let start = Instant::now();
    while keys.len() < leaves {
        let chunk: BTreeMap<Felt, Felt> = (0..50_000.min(leaves - keys.len())).map(|_| (random.felt(), Felt::ONE)).collect();
        keys.extend(chunk.keys().copied());
        trie.set::<Pedersen>(&chunk.into_iter().collect::<Vec<_>>())?;
    }
    let built = start.elapsed();
    let mut times = vec![];
    for round in 0..5u64 {
        let changed: BTreeMap<Felt, Felt> = (0..changes)
            .map(|_| {
                (keys[random.below(keys.len() as u64) as usize], Felt::from(round * 1_000_003 + random.below(1 << 40) + 2))
            })
            .collect();
        let start = Instant::now();
        trie.set::<Pedersen>(&changed.into_iter().collect::<Vec<_>>())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "trie: root after {changes} changed leaves of {leaves}: {:.1} ms (median of 5, one thread, nodes in memory); built in {:.1} s",
        median(times),
        built.as_secs_f64()
    );
    Ok(())
}

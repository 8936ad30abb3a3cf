//! A great many random batches against a trie recomputed from nothing after each of them.

use std::collections::BTreeMap;

use keel_commitment::Felt;
use keel_commitment::hash::{Hasher, Pedersen, Poseidon};
use keel_commitment::trie::{HEIGHT_STATE, MemoryTrie, get, root_from_scratch};

const OPERATIONS: usize = 100_000;
/// Operations in a batch: from one to twice this.
const BATCH_MEAN: usize = 200;
/// Leaves around which a trie's size stays: large enough for all shapes of nodes, small enough to be recomputed 600 times.
const LEAVES: usize = 500;

/// xorshift64*: the same operations in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn felt(&mut self) -> Felt {
        let bytes: Vec<u8> = (0..4).flat_map(|_| self.next().to_be_bytes()).skip(1).collect();
        Felt::from_bytes_be_slice(&bytes)
    }
}

/// How keys are chosen: some function of randomness and of how many keys were chosen before.
type Keys = fn(&mut Random, usize) -> Felt;

const DISTRIBUTIONS: [(&str, Keys); 5] = [
    ("uniform over all keys", |random, _| random.felt() + Felt::TWO.pow(248u32) * Felt::from(random.below(7))),
    ("clusters of 256 keys under 16 long prefixes", |random, _| {
        let prefix = Felt::from(random.below(16) + 1)
            * Felt::from_hex_unchecked("0x37d1f9a2b4c6e8d0f1a3b5c7d9ebfd0f2143658798badcfe01234567");
        prefix + Felt::from(random.below(256))
    }),
    ("sequential from 0", |_, chosen| Felt::from(chosen)),
    ("aliases: sequential from 128, and the counter", |random, chosen| match random.below(8) {
        0 => Felt::ZERO,
        _ => Felt::from(128 + chosen),
    }),
    ("single bits and their neighbours, both ends", |random, _| {
        let bit = Felt::TWO.pow(random.below(251) as u64);
        match random.below(4) {
            0 => Felt::ELEMENT_UPPER_BOUND - bit,
            1 => bit - 1,
            2 => bit + Felt::from(random.below(4)),
            _ => bit,
        }
    }),
];

#[derive(Default)]
struct Counts {
    inserts: usize,
    overwrites: usize,
    deletes: usize,
    /// Of a key that is not there.
    idle_deletes: usize,
    batches: usize,
}

impl Counts {
    fn operations(&self) -> usize {
        self.inserts + self.overwrites + self.deletes + self.idle_deletes
    }
}

/// One batch for a trie that holds `leaves`: about a third each inserts, overwrites and deletes, fewer inserts when it is large.
fn batch(random: &mut Random, keys: Keys, chosen: &mut usize, leaves: &BTreeMap<Felt, Felt>) -> BTreeMap<Felt, Felt> {
    let present: Vec<Felt> = leaves.keys().copied().collect();
    let inserts = if leaves.len() < LEAVES { 5 } else { 2 };
    let mut batch = BTreeMap::new();
    for _ in 0..=random.below(2 * BATCH_MEAN) {
        let old = (!present.is_empty()).then(|| present[random.below(present.len().max(1))]);
        let (key, value) = match (random.below(inserts + 6), old) {
            (0..3, Some(old)) => (old, Felt::from(random.next())),
            (3..6, Some(old)) => (old, Felt::ZERO),
            _ => {
                *chosen += 1;
                let value = if random.below(8) == 0 { Felt::ZERO } else { Felt::from(random.next()) };
                (keys(random, *chosen), value)
            }
        };
        batch.insert(key, value);
    }
    batch
}

/// Random batches with keys of one distribution, until `operations` are done; the root is recomputed after each.
fn run<H: Hasher>(seed: u64, keys: Keys, operations: usize) -> Counts {
    let (mut random, mut counts, mut chosen) = (Random(seed), Counts::default(), 0);
    let (mut trie, mut leaves) = (MemoryTrie::new(), BTreeMap::new());
    while counts.operations() < operations {
        let batch = batch(&mut random, keys, &mut chosen, &leaves);
        for (key, value) in &batch {
            let count = match (leaves.contains_key(key), *value == Felt::ZERO) {
                (false, false) => &mut counts.inserts,
                (true, false) => &mut counts.overwrites,
                (true, true) => &mut counts.deletes,
                (false, true) => &mut counts.idle_deletes,
            };
            *count += 1;
        }
        counts.batches += 1;
        let root = trie.set::<H>(&batch.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>()).unwrap();
        leaves.extend(&batch);
        leaves.retain(|_, value| *value != Felt::ZERO);
        let naive = root_from_scratch::<H>(HEIGHT_STATE, leaves.iter().map(|(key, value)| (*key, *value)));
        assert_eq!(Ok(root), naive, "seed {seed}, batch {}", counts.batches);
        for (key, value) in batch.iter().take(8) {
            assert_eq!(get(&trie, root, key), Ok(*value));
        }
    }
    // The nodes are those of a trie filled at once; and without leaves none is left.
    let mut fresh = MemoryTrie::new();
    fresh.set::<H>(&leaves.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>()).unwrap();
    assert_eq!(trie, fresh);
    trie.set::<H>(&leaves.keys().map(|key| (*key, Felt::ZERO)).collect::<Vec<_>>()).unwrap();
    assert_eq!(trie, MemoryTrie::new());
    counts
}

#[test]
fn a_hundred_thousand_random_inserts_overwrites_and_deletes_agree_with_recomputation() {
    let each = OPERATIONS / (2 * DISTRIBUTIONS.len());
    let mut total = Counts::default();
    for ((name, keys), seed) in DISTRIBUTIONS.into_iter().zip(1..) {
        for counts in [run::<Pedersen>(seed, keys, each), run::<Poseidon>(seed + 100, keys, each)] {
            let Counts { inserts, overwrites, deletes, idle_deletes, batches } = counts;
            println!(
                "{name}: {batches} batches: {inserts} inserts, {overwrites} overwrites, {deletes} + {idle_deletes} deletes"
            );
            assert!(inserts.min(overwrites).min(deletes) > each / 8, "{name}: every kind of operation has its share");
            total.inserts += inserts;
            total.overwrites += overwrites;
            total.deletes += deletes;
            total.idle_deletes += idle_deletes;
            total.batches += batches;
        }
    }
    println!("{} operations in {} batches, each followed by a recomputation", total.operations(), total.batches);
    assert!(total.operations() >= 100_000);
    assert!(total.batches >= 400);
}

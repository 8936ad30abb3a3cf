//! The tries as the node keeps them: in RocksDB, with the history of the newest blocks.

use super::chain::{Folder, next_block};
use super::{Random, Stopwatch, median};
use anyhow::{Context, Result, ensure};
use keel_commitment::StateDiff;
use keel_commitment::trie::verify_proof;
use keel_store::{ReadCounts, StateReader, StateRetention, Store, TrieChanges, TrieId, counting_reads};
use keel_types::{Felt, Height};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Largest trie; the table also has those ten, a hundred and a thousand times smaller, from 10,000 keys on.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Leaves changed in a block.
    #[arg(long, default_value_t = 1_000)]
    changes: usize,
    /// Blocks measured, of each kind.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Proofs measured, of each kind.
    #[arg(long, default_value_t = 2_000)]
    proofs: usize,
    /// Where the stores are built; the system's temporary folder if not given. 10,000,000 keys take some 5 GB.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The contract whose storage is the trie.
const CONTRACT: Felt = Felt::from_hex_unchecked("0x5a7");
const KEYS_MIN: u64 = 10_000;
/// Keys that one block of the build sets.
const BUILD_CHUNK: usize = 50_000;
/// As many blocks can be proved as a node retains at least while this runs.
const PROOF_BLOCKS: u64 = 64;
/// How far back the old proofs are.
const OLD_BLOCKS: u64 = 10;

/// One block in numbers; milliseconds and counts.
struct Measured {
    update_ms: f64,
    update_processor_ms: f64,
    commit_ms: f64,
    commit_processor_ms: f64,
    nodes_read: f64,
    nodes_written: f64,
    reads: ReadCounts,
    commit_reads: ReadCounts,
    bytes_written: f64,
}

/// Proofs of single keys at one block.
struct Proofs {
    per_second: f64,
    per_processor_second: f64,
    nodes: f64,
}

/// Builds each trie and prints a row of the table for it.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.keys >= KEYS_MIN, "tries: at least {KEYS_MIN} keys");
    ensure!(options.changes > 0, "tries: nothing to measure");
    ensure!(options.runs as u64 >= OLD_BLOCKS / 2, "tries: at least {} runs, so that there is an old block", OLD_BLOCKS / 2);
    let sizes: Vec<u64> =
        [1_000, 100, 10, 1].map(|part| options.keys / part).into_iter().filter(|n| *n >= KEYS_MIN).collect();
    println!(
        "tries: blocks that change {} random leaves of one contract's stored trie; medians of {} blocks; one thread.",
        options.changes, options.runs
    );
    println!(
        "cold: the store was just opened, its block cache (128 MB) is empty, files are in the operating system's cache as far as they fit; warm: the blocks after.\n"
    );
    println!(
        "{:>10} {:>8} {:>5} | {:>9} {:>7} {:>9} {:>7} | {:>7} {:>7} {:>9} {:>9} {:>9} | {:>9}",
        "keys",
        "build s",
        "",
        "update ms",
        "(cpu)",
        "commit ms",
        "(cpu)",
        "nodes",
        "written",
        "blk cache",
        "blk files",
        "KB files",
        "KB batch"
    );
    for keys in sizes {
        measure(options, keys).with_context(|| format!("{keys} keys"))?;
    }
    Ok(())
}

fn measure(options: &Options, keys: u64) -> Result<()> {
    let folder = Folder::new(options.dir.as_deref(), "tries")?;
    let mut random = Random::new(keys);
    let mut store = retained(folder.open()?);
    let started = Instant::now();
    let keys = build(&store, &mut random, keys)?;
    let built = started.elapsed().as_secs_f64();
    let (mut cold, mut warm) = (vec![], vec![]);
    for _ in 0..options.runs {
        store = retained(folder.reopen(store)?);
        cold.push(change(&store, &mut random, &keys, options.changes)?);
    }
    for _ in 0..options.runs {
        warm.push(change(&store, &mut random, &keys, options.changes)?);
    }
    print_row(keys.len(), built, "cold", &cold);
    print_row(keys.len(), built, "warm", &warm);
    let tip = store.height().context("no block")?;
    for (name, height) in [("at the tip", tip), ("ten blocks back", Height(tip.0 - OLD_BLOCKS))] {
        let proofs = prove(&store, &mut random, &keys, height, options.proofs)?;
        println!(
            "{:>10} {:>14} | {:.0} proofs/s of one key each, {:.0} per second of processor ({} keys, {:.1} nodes in the mean), {name}",
            keys.len(),
            "",
            proofs.per_second,
            proofs.per_processor_second,
            options.proofs,
            proofs.nodes
        );
    }
    Ok(())
}

fn retained(store: Store) -> Store {
    store.with_state_retention(StateRetention { proof_blocks: PROOF_BLOCKS, state_blocks: 0 })
}

/// Fills the trie from its lowest key to its highest, so that a block of the build touches few nodes of those before.
fn build(store: &Store, random: &mut Random, count: u64) -> Result<Vec<Felt>> {
    let mut keys: Vec<Felt> = (0..count).map(|_| random.felt()).collect();
    keys.sort_unstable_by_key(Felt::to_be_digits);
    keys.dedup();
    for chunk in keys.chunks(BUILD_CHUNK) {
        commit(store, diff(chunk.iter().map(|key| (*key, Felt::from(random.next() | 1)))))?;
    }
    Ok(keys)
}

fn diff(entries: impl Iterator<Item = (Felt, Felt)>) -> StateDiff {
    StateDiff { storage: BTreeMap::from([(CONTRACT, entries.collect())]), ..StateDiff::default() }
}

fn commit(store: &Store, diff: StateDiff) -> Result<()> {
    let tries = store.trie_changes(&diff)?;
    Ok(store.commit_block(&next_block(store, diff, &tries, vec![])?, &tries)?)
}

fn change(store: &Store, random: &mut Random, keys: &[Felt], changes: usize) -> Result<Measured> {
    let any = |random: &mut Random| keys[random.below(keys.len() as u64) as usize];
    let diff = diff((0..changes).map(|_| (any(random), Felt::from(random.next() | 1))));
    let watch = Stopwatch::start();
    let (tries, reads) = counting_reads(|| store.trie_changes(&diff));
    let (tries, update_ms, update_processor_ms) = (tries?, watch.wall_ms(), watch.processor_ms());
    let block = next_block(store, diff, &tries, vec![])?;
    let before = store.bytes_written();
    let watch = Stopwatch::start();
    let (result, commit_reads) = counting_reads(|| store.commit_block(&block, &tries));
    let (commit_ms, commit_processor_ms) = (watch.wall_ms(), watch.processor_ms());
    result?;
    let nodes =
        |which: fn(&keel_commitment::trie::NodeChange) -> bool| all_nodes(&tries).filter(|c| which(c)).count() as f64;
    Ok(Measured {
        update_ms,
        update_processor_ms,
        commit_ms,
        commit_processor_ms,
        // An overwrite reads what it changes and nothing else.
        nodes_read: nodes(|change| change.old.is_some()),
        nodes_written: nodes(|change| change.new.is_some()),
        reads,
        commit_reads,
        bytes_written: (store.bytes_written() - before) as f64,
    })
}

fn all_nodes(tries: &TrieChanges) -> impl Iterator<Item = &keel_commitment::trie::NodeChange> {
    tries.storage.values().chain([&tries.contracts, &tries.classes]).flat_map(|update| &update.nodes)
}

fn print_row(keys: usize, built: f64, name: &str, runs: &[Measured]) {
    let of = |what: fn(&Measured) -> f64| median(runs.iter().map(what).collect());
    println!(
        "{keys:>10} {built:>8.1} {name:>5} | {:>9.1} {:>7.1} {:>9.1} {:>7.1} | {:>7.0} {:>7.0} {:>9.0} {:>9.0} {:>9.0} | {:>9.0}",
        of(|m| m.update_ms),
        of(|m| m.update_processor_ms),
        of(|m| m.commit_ms),
        of(|m| m.commit_processor_ms),
        of(|m| m.nodes_read),
        of(|m| m.nodes_written),
        of(|m| (m.reads.blocks_cached + m.commit_reads.blocks_cached) as f64),
        of(|m| (m.reads.blocks_read + m.commit_reads.blocks_read) as f64),
        of(|m| (m.reads.block_bytes + m.commit_reads.block_bytes) as f64 / 1024.0),
        of(|m| m.bytes_written / 1024.0),
    );
}

/// Storage proofs as `starknet_getStorageProof` makes them: the contract in the contract trie, one key in its storage. Every
/// hundredth is verified, outside the clock.
fn prove(store: &Store, random: &mut Random, keys: &[Felt], height: Height, count: usize) -> Result<Proofs> {
    let (mut seconds, mut processor_seconds, mut nodes) = (0.0, 0.0, 0);
    for i in 0..count {
        let key = keys[random.below(keys.len() as u64) as usize];
        let watch = Stopwatch::start();
        let state = store.state_at(height)?;
        let contracts = state.prove(TrieId::Contracts, &[CONTRACT])?;
        let root = state.root(TrieId::Storage(CONTRACT))?;
        let proof = state.prove(TrieId::Storage(CONTRACT), &[key])?;
        seconds += watch.wall_ms() / 1e3;
        processor_seconds += watch.processor_ms() / 1e3;
        nodes += contracts.len() + proof.len();
        if i % 100 == 0 {
            let value = state.storage(&CONTRACT, &key)?;
            let found = verify_proof::<keel_commitment::hash::Pedersen>(root, &key, &proof.into_iter().collect())?;
            ensure!(found == Some(value), "the proof of {key:#x} shows {found:?}, the state has {value:#x}");
        }
    }
    let count = count as f64;
    Ok(Proofs { per_second: count / seconds, per_processor_second: count / processor_seconds, nodes: nodes as f64 / count })
}

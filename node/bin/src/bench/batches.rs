use super::{Random, Stopwatch, median};
use anyhow::{Context, Result, ensure};
use keel_batches::PackedDiff;
use keel_batches::blob::{BLOBS_MAX, Blob, from_blobs, to_blobs};
use keel_batches::compression::{compress, compressed_len, decompress};
use keel_batches::kzg::{commit, evaluations, opening_point, prove};
use keel_commitment::StateDiff;
use keel_commitment::aliases::{ALIAS_CONTRACT, ALIAS_FIRST, allocate_aliases};
use keel_contracts::starknet::Layout;
use keel_types::{Address, Amount, AssetId, Felt, Genesis, MarketId, PositionValue, StateWrite};
use std::collections::BTreeMap;

/// The table of aliases is not empty: a chain of some age has numbered this many names.
const ALIASES_BEFORE: u64 = 5_000_000;
/// Accounts hold a balance and so many positions.
const POSITIONS: u64 = 3;

/// Milliseconds on a processor of one run.
#[derive(Default)]
struct Times {
    encode: Vec<f64>,
    transform: Vec<f64>,
    commit: Vec<f64>,
    point: Vec<f64>,
    prove: Vec<f64>,
    transform_back: Vec<f64>,
    decode: Vec<f64>,
}

/// A squashed batch of `changes` storage changes of the exchange, once of accounts that were all there before and once of
/// accounts that are all new, whose names get their aliases in it.
pub fn run(genesis: &Genesis, changes: usize, runs: usize) -> Result<()> {
    ensure!(runs > 0 && (1..1_000_000).contains(&changes), "batches bench: 1 to 999,999 changes, 1 run or more");
    let watch = Stopwatch::start();
    commit(&to_blobs(&[Felt::ONE])[0])?;
    println!("batches: {changes} storage changes; trusted setup read in {:.0} ms; medians of {runs}", watch.processor_ms());
    let (diff, names) = known_accounts(genesis, changes);
    measure("accounts known before", &diff, &names, runs)?;
    let (diff, names) = new_accounts(diff, &names);
    measure("accounts new in it", &diff, &names, runs)
}

/// Balances and positions of accounts, as the exchange's storage has them.
fn known_accounts(genesis: &Genesis, changes: usize) -> (StateDiff, BTreeMap<Felt, Felt>) {
    let (mut random, mut layout, mut diff) = (Random::new(3), Layout::new(), StateDiff::default());
    let mut storage = BTreeMap::new();
    while storage.len() < changes {
        let account = Address(random.felt());
        let mut signed = |bound: u64| i128::from(random.below(2 * bound)) - i128::from(bound);
        let positions = (0..POSITIONS).map(|market| StateWrite::Position {
            account,
            market: MarketId(market as u16),
            position: PositionValue {
                size: signed(1_000_000_000_000),
                cost: signed(1_000_000_000_000_000),
                funding_index: signed(1_000_000_000),
            },
        });
        let mut writes: Vec<StateWrite> = positions.collect();
        writes.push(StateWrite::Balance { account, asset: AssetId(0), amount: Amount(signed(1_000_000_000_000_000)) });
        storage.extend(writes.iter().flat_map(|write| layout.storage(genesis, write)));
    }
    storage.into_iter().take(changes).for_each(|(slot, value)| diff.set_storage(genesis.exchange.0, slot, value));
    diff.nonces.insert(genesis.operator.0, Felt::from(1_000_000u64));
    let names: Vec<Felt> = diff.contracts().into_iter().chain(diff.storage[&genesis.exchange.0].keys().copied()).collect();
    let stride = ALIASES_BEFORE / names.len() as u64;
    let names = (0..).zip(names).map(|(n, name)| (name, Felt::from(ALIAS_FIRST + n * stride))).collect();
    (diff, names)
}

fn new_accounts(mut diff: StateDiff, names: &BTreeMap<Felt, Felt>) -> (StateDiff, BTreeMap<Felt, Felt>) {
    let counter = Felt::from(ALIASES_BEFORE);
    let contracts = diff.contracts();
    let stored = |name: &Felt| match names.get(name) {
        Some(alias) if contracts.contains(name) => *alias,
        None if *name == Felt::ZERO => counter,
        _ => Felt::ZERO,
    };
    let aliases = allocate_aliases(&diff, stored);
    let mut names = names.clone();
    for (name, alias) in aliases {
        diff.set_storage(ALIAS_CONTRACT, name, alias);
        names.insert(name, alias);
    }
    (diff, names)
}

fn measure(title: &str, diff: &StateDiff, names: &BTreeMap<Felt, Felt>, runs: usize) -> Result<()> {
    let mut times = Times::default();
    let (mut packed_words, mut words, mut blobs) = (vec![], vec![], Vec::<Blob>::new());
    for _ in 0..runs {
        timed(&mut times.encode, || -> Result<()> {
            packed_words = PackedDiff::of(diff, |name| names.get(name).copied())?.encode();
            words = compress(&packed_words)?;
            Ok(())
        })?;
        timed(&mut times.transform, || blobs = to_blobs(&words));
        let commitments = timed(&mut times.commit, || blobs.iter().map(commit).collect::<Result<Vec<_>, _>>())?;
        let z = timed(&mut times.point, || {
            let z = opening_point(&words, &commitments);
            evaluations(&words, &z);
            z
        });
        timed(&mut times.prove, || blobs.iter().map(|blob| prove(blob, &z)).collect::<Result<Vec<_>, _>>())?;
        let mut padded = timed(&mut times.transform_back, || from_blobs(&blobs))?;
        let length = compressed_len(padded.first().context("a blob has words")?)?;
        padded.truncate(length);
        let read = timed(&mut times.decode, || decompress(&padded).map(|words| PackedDiff::decode(&words)))??;
        ensure!(read.encode() == packed_words, "batches bench: what was read is not what was written");
    }
    let bytes = |words: usize| format!("{words} words, {:.2} MB", words as f64 * 32.0 / 1e6);
    let (raw, transactions) = (packed_words.len(), blobs.len().div_ceil(BLOBS_MAX));
    println!("{title}: {} entries of the diff with aliases", diff.len());
    println!(
        "  packed {}; compressed {} ({:.1} %)",
        bytes(raw),
        bytes(words.len()),
        100.0 * words.len() as f64 / raw as f64
    );
    println!("  {} blobs, {transactions} transactions' worth", blobs.len());
    let each = |times: Vec<f64>| (median(times), blobs.len() as f64);
    let (encode, decode, point) = (median(times.encode), median(times.decode), median(times.point));
    println!("  pack and compress {encode:.0} ms; decompress and unpack {decode:.0} ms; point and values {point:.0} ms");
    let [transform, back, commit, prove] =
        [times.transform, times.transform_back, times.commit, times.prove].map(each).map(|(all, blobs)| all / blobs);
    println!(
        "  a blob: transform {transform:.2} ms, back {back:.2} ms, commitment {commit:.1} ms, point proof {prove:.1} ms"
    );
    Ok(())
}

fn timed<T>(to: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let watch = Stopwatch::start();
    let result = work();
    to.push(watch.processor_ms());
    result
}

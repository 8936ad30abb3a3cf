//! `starknet_getEvents` as an indexer uses it: the whole chain, page by page.

use super::chain::{Folder, next_block};
use super::{Random, median};
use anyhow::{Result, ensure};
use keel_commitment::StateDiff;
use keel_commitment::commitments::Event;
use keel_commitment::hash::selector;
use keel_store::{EventFilter, Invoke, Receipt, Store, Transaction};
use keel_types::{Felt, Height};
use std::path::PathBuf;
use std::time::Instant;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 100_000)]
    blocks: u64,
    /// Where the store is built; the system's temporary folder if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The only emitter, as on the exchange's chain.
const EXCHANGE: Felt = Felt::from_hex_unchecked("0xe1");
const EVENTS_PER_TRANSACTION: usize = 5;
const TRANSACTIONS_PER_BLOCK: u64 = 2;
const ACCOUNTS: u64 = 1_000;
const MARKETS: u64 = 20;
/// One event in so many is of the rare kind.
const RARE_ONE_IN: u64 = 10_000;
/// Largest page of the RPC.
const PAGE: usize = 1_024;
const RUNS: usize = 3;

/// Builds the chain and pages through it.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.blocks > 0, "events: no block to look at");
    let folder = Folder::new(options.dir.as_deref(), "events")?;
    let started = Instant::now();
    let store = folder.open()?;
    let expected = build(&store, options.blocks)?;
    let store = folder.reopen(store)?;
    let events: u64 = options.blocks * TRANSACTIONS_PER_BLOCK * EVENTS_PER_TRANSACTION as u64;
    println!(
        "events: {} blocks of {TRANSACTIONS_PER_BLOCK} transactions and {} events (four keys: kind, market, two of {ACCOUNTS} accounts; four felts of data), {events} in all; one slot changed per block; built in {:.0} s",
        options.blocks,
        TRANSACTIONS_PER_BLOCK as usize * EVENTS_PER_TRANSACTION,
        started.elapsed().as_secs_f64()
    );
    println!("pages of {PAGE} from the first block to the last, medians of {RUNS} passes, one thread\n");
    println!(
        "{:<34} {:>9} {:>7} {:>9} {:>11} {:>8} {:>8}",
        "filter", "found", "pages", "seconds", "events/s", "p50 ms", "p99 ms"
    );
    let any = EventFilter { from: Height(0), to: Height(options.blocks), addresses: vec![], keys: vec![] };
    let account = Felt::from(account_of(7));
    let filters = [
        ("none", any.clone(), Some(events)),
        ("the exchange's address", EventFilter { addresses: vec![EXCHANGE], ..any.clone() }, Some(events)),
        ("a kind, 1 event in 10,000", EventFilter { keys: vec![vec![rare()]], ..any.clone() }, Some(expected)),
        ("a kind nobody emits", EventFilter { keys: vec![vec![selector("Nothing")]], ..any.clone() }, Some(0)),
        ("the kind nearly all have", EventFilter { keys: vec![vec![common()]], ..any.clone() }, Some(events - expected)),
        (
            "trades where one account is maker",
            EventFilter { keys: vec![vec![common()], vec![], vec![account]], ..any },
            None,
        ),
    ];
    for (name, filter, found) in filters {
        measure(&store, name, &filter, found)?;
    }
    Ok(())
}

fn common() -> Felt {
    selector("Trade")
}

fn rare() -> Felt {
    selector("Liquidated")
}

fn account_of(number: u64) -> u64 {
    0x1000_0000 + number
}

/// Commits the blocks; gives the number of rare events in them.
fn build(store: &Store, blocks: u64) -> Result<u64> {
    let (mut random, mut rare_events, mut emitted) = (Random::new(5), 0, 0);
    for block in 0..blocks {
        let content: Vec<(Transaction, Receipt)> = (0..TRANSACTIONS_PER_BLOCK)
            .map(|transaction| {
                let hash = Felt::from(block * TRANSACTIONS_PER_BLOCK + transaction + 1) * Felt::TWO.pow(128u32);
                let events = (0..EVENTS_PER_TRANSACTION).map(|_| {
                    emitted += 1;
                    let is_rare = emitted % RARE_ONE_IN == 0;
                    rare_events += u64::from(is_rare);
                    event(&mut random, if is_rare { rare() } else { common() })
                });
                let receipt = Receipt { transaction_hash: hash, events: events.collect(), ..Receipt::default() };
                (Transaction::Invoke(Invoke { hash, sender: Felt::ONE, nonce: block, calldata: vec![] }), receipt)
            })
            .collect();
        let mut diff = StateDiff::default();
        diff.set_storage(EXCHANGE, Felt::from(block % 64), Felt::from(block + 1));
        let tries = store.trie_changes(&diff)?;
        store.commit_block(&next_block(store, diff, &tries, content)?, &tries)?;
    }
    Ok(rare_events)
}

fn event(random: &mut Random, kind: Felt) -> Event {
    let account = |random: &mut Random| Felt::from(account_of(random.below(ACCOUNTS)));
    let keys = vec![kind, Felt::from(random.below(MARKETS)), account(random), account(random)];
    Event { from_address: EXCHANGE, keys, data: (0..4).map(|_| Felt::from(random.next() >> 16)).collect() }
}

/// Pages through the whole chain; `expected` is how many events must be found.
fn measure(store: &Store, name: &str, filter: &EventFilter, expected: Option<u64>) -> Result<()> {
    let (mut passes, mut pages, mut found) = (vec![], vec![], 0);
    for _ in 0..RUNS {
        (found, pages) = (0, vec![]);
        let (started, mut at) = (Instant::now(), None);
        loop {
            let start = Instant::now();
            let page = store.events(filter, at, PAGE)?;
            pages.push(start.elapsed().as_secs_f64() * 1e3);
            found += page.events.len() as u64;
            at = page.next;
            if at.is_none() {
                break;
            }
        }
        passes.push(started.elapsed().as_secs_f64());
        ensure!(expected.is_none_or(|expected| found == expected), "{name}: found {found}, there are {expected:?}");
    }
    let seconds = median(passes);
    pages.sort_by(f64::total_cmp);
    let at = |quantile: f64| pages[((pages.len() - 1) as f64 * quantile) as usize];
    println!(
        "{name:<34} {found:>9} {:>7} {seconds:>9.3} {:>11.0} {:>8.2} {:>8.2}",
        pages.len(),
        found as f64 / seconds,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

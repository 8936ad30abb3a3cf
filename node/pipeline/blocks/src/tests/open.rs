//! The open block: what is sequenced and durable and not sealed, shown as it will stand in the sealed block.

use super::*;
use crate::{BlockWorker, FILLS_OPEN_MAX, Wait, WorkerConfig};
use keel_commitment::StateDiff;
use keel_contracts::starknet::Layout;
use keel_store::{OpenBlock, OpenTransaction, StateReader, Tip, Transaction};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest time between two records. [exchange, Admission and ordering]
const TICK: Duration = Duration::from_millis(100);

fn open_block(store: &Store) -> OpenBlock {
    store.open_block(OpenBlock::clone)
}

/// Feeds records one by one; `at_record` sees the open block after each, `at_seal` that of a sealed block that is not committed yet.
fn watch(
    chain: &TestChain,
    released: &[Released],
    mut at_record: impl FnMut(&Released, OpenBlock),
    mut at_seal: impl FnMut(&Block, OpenBlock),
) {
    let mut builder = chain.builder();
    for record in released {
        for executed in &record.executed {
            if let Some(sealed) = builder.add(executed, record.ts).unwrap() {
                at_seal(&sealed.block, open_block(&chain.store));
                chain.commit(&sealed);
                let height = Height(sealed.block.header.block.number + 1);
                let empty = OpenBlock { height, ts: sealed.block.header.ts, ..OpenBlock::default() };
                assert_eq!(open_block(&chain.store), empty, "after a commit nothing is open");
            }
        }
        builder.publish().unwrap();
        at_record(record, open_block(&chain.store));
    }
}

fn last_seq(open: &OpenBlock) -> Option<Seq> {
    open.transactions.last().map(|open| open.receipt.last_seq)
}

/// A block's diff without what sealing adds.
fn of_transactions(block: &Block) -> StateDiff {
    let mut diff = block.diff.clone();
    diff.storage.retain(|contract, _| ![Felt::ONE, Felt::TWO].contains(contract));
    diff
}

/// What the commands of an open block's transactions changed, from the commands themselves and the state below.
fn recomputed(chain: &TestChain, released: &[Released], open: &OpenBlock) -> StateDiff {
    let below = chain.store.state_at(Height(open.height.0 - 1)).unwrap();
    let exchange = chain.genesis.exchange.0;
    let mut diff = StateDiff::default();
    let (Some(first), Some(last)) = (open.transactions.first(), last_seq(open)) else { return diff };
    let covered = first.receipt.first_seq..=last;
    let mut layout = Layout::new();
    let commands = released.iter().flat_map(|record| &record.executed).filter(|executed| covered.contains(&executed.seq));
    for write in commands.flat_map(|executed| &executed.writes) {
        for (slot, value) in layout.storage(&chain.genesis, write) {
            diff.set_storage(exchange, slot, value);
        }
    }
    if let Some(entries) = diff.storage.get_mut(&exchange) {
        entries.retain(|slot, value| below.storage(&exchange, slot).unwrap() != *value);
    }
    diff.storage.retain(|_, entries| !entries.is_empty());
    let invokes = open.transactions.iter().filter(|open| matches!(open.transaction, Transaction::Invoke(_))).count();
    if invokes > 0 {
        let operator = chain.genesis.operator.0;
        diff.nonces.insert(operator, below.nonce(&operator).unwrap() + Felt::from(invokes as u64));
    }
    diff
}

/// Every claim about the open blocks of a journal.
fn check(script: &str) {
    let chain = TestChain::new();
    let released = Script::run(&chain.genesis, script);
    let (mut seen, mut before): (Vec<OpenBlock>, OpenBlock) = (vec![], open_block(&chain.store));
    watch(
        &chain,
        &released,
        |record, open| {
            assert_eq!((open.height, open.ts), (Height(chain.tip().0 + 1), record.ts));
            if open.height == before.height {
                assert_eq!(open.transactions[..before.transactions.len()], before.transactions, "what was shown stays");
            }
            assert_eq!(open.diff, recomputed(&chain, &released, &open), "the diff is that of the transactions");
            let shown = last_seq(&open).unwrap_or(chain.store.blocks_seq().unwrap());
            for earlier in
                released.iter().take_while(|earlier| earlier.ts.0 + FILLS_OPEN_MAX.as_nanos() as u64 <= record.ts.0)
            {
                let changed = earlier.executed.iter().rev().find(|executed| !executed.writes.is_empty());
                assert!(changed.is_none_or(|executed| executed.seq <= shown), "a command of {} is not shown", earlier.ts);
            }
            before = open.clone();
            seen.push(open);
        },
        |block, open| {
            let sealed: Vec<_> = block.transactions.iter().cloned().zip(block.receipts.iter().cloned()).collect();
            let shown: Vec<_> = open.transactions.iter().map(|t| (t.transaction.clone(), t.receipt.clone())).collect();
            assert_eq!((shown, open.height), (sealed, block.header.height()), "while it is hashed a block is shown whole");
            assert_eq!(open.diff, of_transactions(block));
            assert_eq!(open.ts, block.header.ts);
        },
    );
    for open in seen {
        let Some(block) = chain.store.block(open.height).unwrap() else { continue };
        for (index, OpenTransaction { transaction, receipt }) in open.transactions.iter().map(|open| &**open).enumerate() {
            assert_eq!(
                (transaction, receipt),
                (&block.transactions[index], &block.receipts[index]),
                "pre-confirmed {index}"
            );
        }
    }
}

/// Scripts of few accounts, records of several commands, pauses around [FILLS_OPEN_MAX].
fn scripts() -> impl Strategy<Value = String> {
    let command = (0..12u32, 0..4u64, 0..3u64, 1..9u64, 0..6u32).prop_map(|(kind, a, b, n, pause)| {
        let command = match kind {
            0 => format!("register {a}"),
            1 | 2 => format!("fill 0 {a} {} {n}", 10 + b),
            3 | 4 => format!("fill 1 {a} {} {}", 10 + b, 15 * n),
            5 => format!("price {} {}", a % 2, n),
            6 => format!("withdraw {a} {n}"),
            // The same amount as a withdrawal: balances come back to what they were.
            7 => format!("deposit {} {a} {n}", 1_000 * b + n),
            8 => "seal".to_owned(),
            9 => format!("rest {a}"),
            _ => "tick".to_owned(),
        };
        match pause {
            0 if command != "seal" => format!("& {command}"),
            0 | 1 => command,
            2 => format!("+1 {command}"),
            3 => format!("+70 {command}"),
            4 => format!("+100 {command}"),
            _ => format!("+200 {command}"),
        }
    });
    prop::collection::vec(command, 1..60).prop_map(|commands| commands.join(" | "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn the_open_block_is_the_beginning_of_the_block_that_will_be_sealed(script in scripts()) {
        check(&format!("tick | {script} | seal | tick | seal"));
    }
}

#[test]
fn what_was_changed_back_leaves_the_diff_of_the_open_block() {
    let script = "deposit 1 1 500 | seal | withdraw 1 5 | deposit 2 1 5 | price 0 5 | price 0 6 | seal";
    check(script);
    let chain = TestChain::new();
    let released = Script::run(&chain.genesis, script);
    let balance = keel_contracts::starknet::Key::Balance(script::account(1), QUOTE).slot();
    let mut changed = vec![];
    watch(
        &chain,
        &released,
        |_, open| {
            let entries = open.diff.storage.get(&chain.genesis.exchange.0);
            changed.push(entries.is_some_and(|entries| entries.contains_key(&balance)));
            let state = chain.store.open_state().unwrap().unwrap();
            let deposited = state.storage(&chain.genesis.exchange.0, &balance).unwrap();
            let expected = [50_000, 50_000, 49_500, 50_000][(changed.len() - 1).min(3)];
            assert_eq!(deposited, keel_contracts::starknet::encode_signed(expected));
        },
        |_, _| {},
    );
    assert_eq!(changed, [true, false, true, false, false, false, false]);
}

#[test]
fn safe_mode_is_shown_with_its_cancel_root() {
    let script = "deposit 1 1 5 | fill 0 1 2 | safe 3 | phase READ_ONLY | phase SPOT | safe 2 | seal";
    let chain = TestChain::new();
    let sealed = std::cell::Cell::new(0);
    watch(
        &chain,
        &Script::run(&chain.genesis, script),
        |_, _| {},
        |block, open| {
            assert_eq!(open.diff, of_transactions(block));
            sealed.set(open.transactions.len());
        },
    );
    assert_eq!(sealed.get(), 6);
}

#[test]
fn with_a_tick_every_100_ms_a_fill_is_shown_within_300_ms() {
    for offset in [1, 37, 99, 100] {
        let script = format!("tick | +{offset} fill 0 1 2 | ") + &"+100 tick | ".repeat(4);
        let chain = TestChain::new();
        let (mut durable, mut shown) = (None, None);
        watch(
            &chain,
            &Script::run(&chain.genesis, &script),
            |record, open| {
                if !record.executed[0].writes.is_empty() {
                    durable = Some(record.ts);
                }
                if !open.transactions.is_empty() {
                    shown.get_or_insert(record.ts);
                }
            },
            |_, _| {},
        );
        let age = Duration::from_nanos(shown.unwrap().0 - durable.unwrap().0);
        assert!(age >= FILLS_OPEN_MAX && age <= FILLS_OPEN_MAX + TICK, "shown after {age:?}");
    }
}

#[test]
fn the_tip_changes_with_what_is_shown_and_with_blocks_and_with_nothing_else() {
    let chain = TestChain::new();
    let script = "tick | register 1 | fill 0 1 2 | rest 1 | +200 tick | tick | seal | deposit 1 1 5";
    let mut builder = chain.builder();
    let mut tips = chain.store.tip_changes();
    let mut seen = vec![];
    for record in Script::run(&chain.genesis, script) {
        tips.borrow_and_update();
        if let Some(sealed) = builder.add(&record.executed[0], record.ts).unwrap() {
            chain.commit(&sealed);
        }
        builder.publish().unwrap();
        seen.push(tips.has_changed().unwrap().then(|| *tips.borrow_and_update()));
    }
    let tip = |height, open| Some(Tip { height: Some(Height(height)), open });
    assert_eq!(seen, [None, tip(0, 1), None, None, tip(0, 2), None, tip(1, 0), tip(1, 1)]);
}

#[test]
fn the_open_block_is_rebuilt_by_replay_wherever_it_was_stopped() {
    let script = "register 1 | deposit 1 1 5 | seal | fill 0 1 2 | +70 fill 1 1 2 | register 2 | fill 0 1 2 | +150 fill 0 1 2 | +60 fill 1 2 1 \
        | price 0 5";
    let whole = TestChain::of(script);
    let expected = open_block(&whole.store);
    assert_eq!((expected.height, expected.transactions.len()), (Height(2), 5));
    let released = Script::run(&whole.genesis, script);
    for stop in 0..=released.len() {
        let genesis = whole.genesis.clone();
        let dir = tempfile::tempdir().unwrap();
        let start = || {
            let store = Store::open(dir.path(), genesis.hash()).unwrap();
            let config = WorkerConfig {
                genesis: genesis.clone(),
                genesis_writes: genesis_writes(&genesis),
                store: store.clone(),
                key: Some(key(&genesis)),
            };
            (store, BlockWorker::start(config).unwrap())
        };
        let feed = |worker: BlockWorker, records: &[Released]| {
            records.iter().for_each(|record| assert!(worker.feed().send(Arc::new(record.clone()))));
            worker.stop().unwrap();
        };
        let (store, worker) = start();
        feed(worker, &released[..stop]);
        // The process ends; what was open is gone with it.
        drop(store);
        let (store, worker) = start();
        assert!(open_block(&store).transactions.is_empty());
        feed(worker, &released);
        assert_eq!(open_block(&store), expected, "stopped after {stop} records");
    }
}

#[test]
fn a_reader_finds_every_transaction_at_one_place_while_blocks_are_committed() {
    let (dir, genesis) = (tempfile::tempdir().unwrap(), Arc::new(genesis()));
    let store = Store::open(dir.path(), genesis.hash()).unwrap();
    let config =
        WorkerConfig { genesis: genesis.clone(), genesis_writes: genesis_writes(&genesis), store: store.clone(), key: None };
    let worker = BlockWorker::start(config).unwrap();
    let blocks = 60;
    let block = |n| format!("register 1 | fill 0 1 2 | deposit {n} 1 5 | +200 fill 1 1 2 | price 0 7 | seal | ");
    let script: String = (1..=blocks).map(block).collect();
    let (done, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reader = std::thread::spawn({
        let (store, done, seen) = (store.clone(), done.clone(), seen.clone());
        move || {
            let mut known = BTreeSet::new();
            let mut looks = 0;
            while !done.load(Ordering::Acquire) {
                let open: BTreeSet<Felt> = store.open_block(|open| {
                    assert_eq!(open.height.0, store.height().unwrap().0 + 1);
                    let hashes: BTreeSet<Felt> = open.transactions.iter().map(|open| open.transaction.hash()).collect();
                    for hash in &hashes {
                        assert_eq!(store.place_of_transaction(hash).unwrap(), None, "a transaction at two places");
                    }
                    hashes
                });
                for hash in known.difference(&open) {
                    assert!(store.place_of_transaction(hash).unwrap().is_some(), "a transaction at no place");
                }
                known.extend(open);
                seen.store(known.len(), Ordering::Release);
                looks += 1;
            }
            (known.len(), looks)
        }
    });
    let feed = worker.feed();
    for released in Script::run(&genesis, &script) {
        let before = seen.load(Ordering::Acquire);
        assert!(feed.send(Arc::new(released)));
        // Whoever is faster: on a busy machine the worker would be done before the reader looked. Not every record shows something new.
        let end = Instant::now() + Duration::from_millis(20);
        while seen.load(Ordering::Acquire) == before && Instant::now() < end {
            std::thread::yield_now();
        }
    }
    assert_eq!(worker.wait_for(Height(blocks), Duration::from_secs(120)), Wait::Committed);
    done.store(true, Ordering::Release);
    let (known, looks) = reader.join().expect("what the reader saw");
    assert!(known >= 5 * 20 && looks >= 100, "the reader saw {known} pre-confirmed transactions in {looks} looks");
    drop(feed);
    worker.stop().unwrap();
}

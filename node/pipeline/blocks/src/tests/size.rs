use super::*;
use crate::{
    BLOCK_ENTRIES_MAX, BLOCK_FILLS_MAX, BLOCK_TRANSACTIONS_MAX, BLOCK_WITHDRAWALS_MAX, BLOCK_WORDS_MAX, DiffCounter,
};

/// Counts a script as the sequencer would: the most entries of each block.
fn counted(released: &[Released]) -> Vec<u64> {
    let (mut counter, mut counts) = (DiffCounter::new(), vec![]);
    for executed in released.iter().flat_map(|record| &record.executed) {
        counter.add(&executed.events, &executed.writes);
        if matches!(executed.command, Command::SealBlock(_)) {
            counts.push(counter.entries());
            counter.reset();
        }
    }
    counts
}

#[test]
fn the_counter_is_never_below_the_diff_of_the_block() {
    let many =
        |n: u64| (0..n).map(|i| format!("register {i} | fill 1 {i} {} | fill 0 {i} 99 | ", 100 + i)).collect::<String>();
    let scripts = [
        "seal".to_owned(),
        "deposit 1 1 5 | withdraw 1 3 | safe 4 | phase READ_ONLY | phase SPOT | seal | safe 1 | seal".to_owned(),
        many(40) + "seal | " + &many(60) + "price 0 5 1 6 | seal |" + &"tick | seal |".repeat(10) + &many(60) + "seal",
    ];
    for script in scripts {
        let chain = TestChain::of(&script);
        let counts = counted(&Script::run(&chain.genesis, &script));
        for (height, counted) in (1..).zip(counts) {
            let real = chain.block(height).diff.len() as u64;
            assert!(counted >= real, "block {height}: counted {counted}, has {real}");
        }
    }
}

#[test]
fn records_seen_before_count_without_aliases() {
    let counts = counted(&Script::run(&genesis(), "fill 0 1 2 | seal | fill 0 1 2 | seal"));
    // Balances of two accounts in two assets and of the fee account: 5 slots; 5 entries are fixed.
    assert_eq!(counts, [5 * 2 + 5, 5 + 5]);
}

#[test]
fn a_block_is_full_by_words_by_transactions_or_by_withdrawals() {
    let position = |n: u64| StateWrite::Position {
        account: Address(Felt::from(n)),
        market: MarketId(1),
        position: PositionValue::default(),
    };
    let mut counter = DiffCounter::new();
    let mut added = 0;
    while !counter.is_full() {
        counter.add(&[], &[position(added)]);
        added += 1;
    }
    // 8 entries of 2 words each, 5 entries fixed.
    assert_eq!(added, (BLOCK_WORDS_MAX / 2 - 5).div_ceil(8));
    assert!(counter.entries() < BLOCK_ENTRIES_MAX);
    counter.reset();
    assert!(!counter.is_full());
    for _ in 0..BLOCK_TRANSACTIONS_MAX - 1 {
        counter.add(&[], &[position(0)]);
        counter.add(&[], &[]);
    }
    assert!(!counter.is_full());
    counter.add(&[], &[position(0)]);
    assert!(counter.is_full());

    counter.reset();
    for count in 1..=BLOCK_WITHDRAWALS_MAX {
        assert!(!counter.is_full());
        counter.add(&[], &[StateWrite::WithdrawalCount { count }]);
    }
    assert!(counter.is_full());
}

#[test]
fn the_largest_command_after_an_almost_full_block_fits_the_calldata_of_one_transaction() {
    // 128 KiB of words; the development chain allows 50 fills a command, 9 entries each at worst, and 40 once.
    const FILLS: u64 = 50;
    let words = BLOCK_WORDS_MAX + 2 * (FILLS * 9 + 40) + 4 * 3 + 10 + 4;
    assert!(words <= 128 * 1024 / 32, "{words} words");
}

#[test]
fn the_largest_command_after_an_almost_full_block_fits_the_blobs_of_one_transaction() {
    // The figures of BLOCK_ENTRIES_MAX: 6 blobs of 4,096 words, 2 words an entry, 3 a contract of four.
    const WORDS: u64 = 6 * 4_096;
    const FILLS: u64 = 900;
    let entries = BLOCK_ENTRIES_MAX + FILLS * 9 + 40;
    assert!(entries * 2 + 4 * 3 + 2 <= WORDS, "{entries} entries");
}

/// What a node answers at most, and what of it a block with receipts may take: field names and small fields are the rest.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

#[test]
fn a_block_closes_by_its_fills_and_then_fits_an_answer_with_its_receipts() {
    // Two accounts trade with each other again and again: few entries, many fills. The last command brings as many as one may.
    let script = format!("{} fill 0 1 2 50 | seal", "fill 0 1 2 50 | ".repeat(BLOCK_FILLS_MAX as usize / 50));
    let chain = TestChain::new();
    let released = Script::run(&chain.genesis, &script);
    let mut counter = DiffCounter::new();
    let executed = released.iter().flat_map(|record| &record.executed);
    let full = executed.take_while(|executed| {
        counter.add(&executed.events, &executed.writes);
        !counter.is_full()
    });
    assert_eq!(full.count() as u64, BLOCK_FILLS_MAX / 50 - 1, "it is full by the command that reaches the limit");
    assert!(counter.entries() < 100, "and by nothing else");

    chain.feed(&released);
    let block = chain.block(1);
    let words = |felts: &[Felt]| felts.iter().map(|felt| format!("{felt:#x}").len() + 3).sum::<usize>();
    let calldata = block.transactions.iter().map(|transaction| match transaction {
        keel_store::Transaction::Invoke(invoke) => words(&invoke.calldata),
        keel_store::Transaction::L1Handler(call) => words(&call.calldata),
    });
    let events = block.receipts.iter().flat_map(|receipt| &receipt.events);
    let events = events.map(|event| 120 + 70 + words(&event.keys) + words(&event.data));
    let bytes = calldata.sum::<usize>() + events.sum::<usize>();
    assert!(bytes < RESPONSE_BYTES_MAX * 3 / 4, "{bytes} bytes");
}

use super::*;
use crate::{
    BLOCK_ENTRIES_MAX, BLOCK_FILLS_MAX, BLOCK_MESSAGE_WORDS_MAX, BLOCK_TRANSACTIONS_MAX, BLOCK_WITHDRAWALS_MAX,
    BLOCK_WORDS_MAX, DiffCounter,
};
use keel_batches::blob::{BLOB_WORDS, BLOBS_MAX, to_blobs};
use keel_batches::compression::compressed_len_max;
use keel_batches::{Batch, BatchLimits, Batcher, DataAvailability, MESSAGE_WORDS_MAX};
use keel_contracts::starknet::Key;
use proptest::prelude::*;

const CALLDATA: SettlementLayer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Calldata };
const BLOBS: SettlementLayer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Blobs };
const STARKNET: SettlementLayer = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::ONE) };

/// Counts a script as the sequencer would: the most entries of each block.
fn counted(released: &[Released]) -> Vec<u64> {
    let (mut counter, mut counts) = (DiffCounter::new(BLOBS), vec![]);
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

fn position(n: u64) -> StateWrite {
    StateWrite::Position { account: Address(Felt::from(n)), market: MarketId(1), position: PositionValue::default() }
}

/// How many times a command with these writes is taken before the block is full.
fn taken(layer: SettlementLayer, writes: impl Fn(u64) -> Vec<StateWrite>) -> u64 {
    let mut counter = DiffCounter::new(layer);
    let count = (0..).find(|n| {
        counter.add(&[], &writes(*n));
        counter.is_full()
    });
    counter.reset();
    assert!(!counter.is_full());
    count.unwrap() + 1
}

#[test]
fn a_block_is_full_by_entries_and_on_calldata_by_words() {
    // 8 entries a position, 2 words each; 5 entries fixed.
    assert_eq!(taken(BLOBS, |n| vec![position(n)]), (BLOCK_ENTRIES_MAX - 5).div_ceil(8));
    assert_eq!(taken(STARKNET, |n| vec![position(n)]), (BLOCK_ENTRIES_MAX - 5).div_ceil(8));
    assert_eq!(taken(CALLDATA, |n| vec![position(n)]), (BLOCK_WORDS_MAX / 2 - 5).div_ceil(8));
}

#[test]
fn a_block_is_full_by_transactions_by_withdrawals_or_by_messages() {
    for layer in [CALLDATA, BLOBS, STARKNET] {
        assert_eq!(taken(layer, |_| vec![position(0)]), BLOCK_TRANSACTIONS_MAX);
        assert_eq!(taken(layer, |count| vec![StateWrite::WithdrawalCount { count }]), BLOCK_WITHDRAWALS_MAX);
    }
    // 8 words a deposit; where they are calldata, with 4 of its entries, and 5 entries fixed.
    let deposit = |message_nonce| vec![StateWrite::MessageConsumed { message_nonce }];
    assert_eq!(taken(BLOBS, deposit), BLOCK_MESSAGE_WORDS_MAX.div_ceil(8));
    assert_eq!(taken(STARKNET, deposit), BLOCK_MESSAGE_WORDS_MAX.div_ceil(8));
    let slots = Key::of(&deposit(0)[0]).variable().slots();
    assert_eq!(taken(CALLDATA, deposit), (BLOCK_WORDS_MAX - 10).div_ceil(8 + 4 * slots));
    // The last command's message still fits the batch.
    assert!(BLOCK_MESSAGE_WORDS_MAX + 8 <= MESSAGE_WORDS_MAX as u64);
}

#[test]
fn the_largest_command_after_an_almost_full_block_fits_the_calldata_of_one_transaction() {
    // 128 KiB of words; the development chain allows 50 fills a command, 9 entries each at worst, and 40 once.
    const FILLS: u64 = 50;
    let data = BLOCK_WORDS_MAX + 2 * (FILLS * 9 + 40) + 4 * 3 + 2;
    // Data that does not compress; header and lengths of the output, selector, offsets and lengths of the calldata.
    let words = compressed_len_max(data as usize) + 12 + 5;
    assert!(words <= 128 * 1024 / 32, "{words} words");
}

#[test]
fn the_largest_command_after_an_almost_full_block_fits_the_blobs_of_one_transaction() {
    // The figures of BLOCK_ENTRIES_MAX: 6 blobs of 4,096 words, 2 words an entry, 3 a contract of four.
    let entries = BLOCK_ENTRIES_MAX + u64::from(FILLS_PER_COMMAND_MAX) * 9 + 40;
    let words = (entries * 2 + 4 * 3 + 2) as usize;
    assert!(words <= BLOBS_MAX * BLOB_WORDS, "{words} words");
    // Compressed, even if no value compresses: keys are aliases, eight to a word.
    let (keys, values) = (entries as usize, words - entries as usize);
    assert!(1 + values + keys.div_ceil(8) + words.div_ceil(83) <= BLOBS_MAX * BLOB_WORDS);
}

/// Batch `id` of a chain that makes one of each block.
fn batch(chain: &TestChain, id: u64) -> Batch {
    let limits = BatchLimits { blocks_max: 1, ..BatchLimits::default() };
    let mut batcher = Batcher::new(chain.store.clone(), &chain.genesis, limits);
    while batcher.step().unwrap().is_some() {}
    let (_, batch) = Batch::load(&chain.store, BatchId(id)).unwrap().unwrap();
    assert_eq!((batch.content.first_block, batch.content.last_block), (Height(id), Height(id)));
    batch
}

fn blob_genesis() -> Genesis {
    let mut genesis = genesis();
    genesis.settlement.layer = BLOBS;
    genesis
}

/// One command that did what several did.
fn merged(several: &[Released]) -> Released {
    let all = || several.iter().flat_map(|record| &record.executed);
    let mut one = several[0].clone();
    one.executed.truncate(1);
    one.executed[0].events = all().flat_map(|executed| executed.events.clone()).collect();
    one.executed[0].writes = all().flat_map(|executed| executed.writes.clone()).collect();
    one
}

#[test]
fn the_worst_block_settles_alone_uncompressed_in_the_blobs_of_one_transaction() {
    // Makers with collateral, from earlier. Then strangers trade until the block is all but full, and last comes the largest
    // command there can be: as many fills as any may have, each with another maker, who never had a position.
    let fills = u64::from(FILLS_PER_COMMAND_MAX);
    let deposits: String = (0..fills).map(|n| format!("deposit {n} {} 5 | ", 50_000 + n)).collect();
    let strangers: String = (0..300).map(|n| format!("fill 1 {} {} | ", 2 * n, 2 * n + 1)).collect();
    let largest: String = (0..fills).map(|n| format!("fill 1 {} 40000 | ", 50_000 + n)).collect();
    let genesis = blob_genesis();
    let run = Script::run(&genesis, &format!("{deposits} seal | {strangers} {largest} seal"));
    let (first_block, rest) = run.split_at(fills as usize + 1);
    let (strangers, rest) = rest.split_at(300);
    let (largest, seal) = rest.split_at(fills as usize);

    let mut counter = DiffCounter::new(BLOBS);
    let mut add = |record: &Released| {
        record.executed.iter().for_each(|executed| counter.add(&executed.events, &executed.writes));
        if matches!(record.executed[0].command, Command::SealBlock(_)) {
            counter.reset();
        }
        counter.is_full()
    };
    first_block.iter().for_each(|record| {
        add(record);
    });
    let taken = strangers.iter().position(&mut add).expect("they fill a block");
    let mut released = [first_block, &strangers[..taken - 1], &[merged(largest)], seal].concat();
    for (seq, executed) in (1..).zip(released.iter_mut().flat_map(|record| &mut record.executed)) {
        executed.seq = Seq(seq);
    }
    let chain = TestChain::of_genesis(genesis);
    chain.feed(&released);

    let entries = chain.block(2).diff.len() as u64;
    assert!(entries > BLOCK_ENTRIES_MAX + 9 * fills - 100, "{entries} entries are not the worst");
    let batch = batch(&chain, 2);
    let packed = batch.content.data.decode().unwrap();
    let (words, compressed) = (packed.encode(), batch.content.data.words().len());
    let blobs = (to_blobs(&words).len(), batch.blobs().len());
    println!("{entries} entries: {} words in {} blobs, compressed {compressed} words in {}", words.len(), blobs.0, blobs.1);
    assert!(blobs.0 <= BLOBS_MAX, "{} blobs", blobs.0);
    assert!(matches!(batch.content.data, DataAvailability::Blobs { .. }) && blobs.1 <= blobs.0);
}

/// Command number `n` of a script; the number makes it another message, price or stranger.
fn command(n: usize, kind: u8, account: u64) -> String {
    match kind {
        0 => format!("register {account}"),
        1 => format!("deposit {n} {account} 7"),
        2 => format!("withdraw {account} 3"),
        3 => format!("price 0 {} 1 {}", n + 5, n + 6),
        4 => format!("fill 0 {account} {}", account + 1),
        5 => format!("fill 0 {account} {} 20", account / 2),
        _ => format!("fill 1 {account} {}", 1_000 + n),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn any_full_block_settles_alone_uncompressed(commands in proptest::collection::vec((0u8..8, 0u64..600), 900)) {
        let genesis = blob_genesis();
        let script: String = commands.iter().enumerate().map(|(n, (kind, account))| command(n, *kind, *account) + " | ").collect();
        let run = Script::run(&genesis, &(script + "seal"));
        let (seal, commands) = run.split_last().unwrap();
        let mut counter = DiffCounter::new(BLOBS);
        let full = commands.iter().position(|record| {
            record.executed.iter().for_each(|executed| counter.add(&executed.events, &executed.writes));
            counter.is_full()
        });
        let mut released = [&commands[..full.map_or(commands.len(), |at| at + 1)], std::slice::from_ref(seal)].concat();
        let last = released.len() as u64;
        released.last_mut().unwrap().executed[0].seq = Seq(last);
        let chain = TestChain::of_genesis(genesis);
        chain.feed(&released);

        let batch = batch(&chain, 1);
        let words = batch.content.data.decode().unwrap().encode().len();
        // Two words an entry, three a contract, the two counts.
        prop_assert!(words as u64 <= 2 * counter.entries() + 4 * 3 + 2, "{} words", words);
        prop_assert!(words <= BLOBS_MAX * BLOB_WORDS);
        let messages = batch.content.to_l1.iter().map(|m| m.words().len()).chain(batch.content.to_l2.iter().map(|m| m.words().len()));
        prop_assert!(messages.sum::<usize>() <= MESSAGE_WORDS_MAX);
    }
}

/// What a node answers at most, and what of it a block with receipts may take: field names and small fields are the rest.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

#[test]
fn a_block_closes_by_its_fills_and_then_fits_an_answer_with_its_receipts() {
    // Two accounts trade with each other again and again: few entries, many fills. The last command brings as many as one may.
    let script = format!("{} fill 0 1 2 50 | seal", "fill 0 1 2 50 | ".repeat(BLOCK_FILLS_MAX as usize / 50));
    let chain = TestChain::new();
    let released = Script::run(&chain.genesis, &script);
    let mut counter = DiffCounter::new(BLOBS);
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

use super::*;
use crate::{BlockFault, check_block, check_chain};
use proptest::prelude::*;

const SCRIPT: &str = "register 1 | deposit 7 1 500 | deposit 8 2 100 | fill 0 1 2 | seal | fill 1 2 1 2 | price 0 5 1 6 | tick | seal \
    | withdraw 1 3 | seal | safe 5 | seal | phase READ_ONLY | phase SPOT | tick | seal | fill 0 1 2 | seal | tick";

fn blocks(chain: &TestChain) -> Vec<Block> {
    (0..=chain.tip().0).map(|height| chain.block(height)).collect()
}

/// Time belongs to the record, so only records of one time may be joined: four commands each have one time here, 70 ms after the four
/// before, and are joined to records of at most `n`.
fn regroup(released: &[Released], n: usize) -> Vec<Released> {
    let join = |records: &[Released]| Released {
        record_hash: records[0].record_hash,
        ts: records[0].ts,
        executed: records.iter().flat_map(|record| record.executed.clone()).collect(),
    };
    let timed = |(index, record): (usize, &Released)| Released {
        ts: Ts(2_000_000_000_000).plus_ms(index as u64 / 4 * 70),
        ..record.clone()
    };
    let timed: Vec<Released> = released.iter().enumerate().map(timed).collect();
    timed.chunk_by(|a, b| a.ts == b.ts).flat_map(|same| same.chunks(n)).map(join).collect()
}

#[test]
fn the_same_journal_gives_the_same_bytes() {
    let first = TestChain::of(SCRIPT);
    let second = TestChain::of(SCRIPT);
    assert_eq!(first.tip(), Height(6));
    assert_eq!(blocks(&first), blocks(&second));
    assert!(blocks(&first).iter().all(|block| block.header.signature.is_some()));
}

#[test]
fn how_commands_are_grouped_and_replayed_makes_no_difference() {
    let genesis = genesis();
    let fills = " | fill 0 1 2 | tick | fill 1 2 1".repeat(9);
    let released = Script::run(&genesis, &format!("{SCRIPT} {fills} | seal | tick"));
    let whole = TestChain::new();
    whole.feed(&regroup(&released, 1));
    let last = whole.block(7);
    assert!(last.transactions.len() > 1, "fills of 27 commands, 70 ms for each four, are parted by their age");
    for n in [2, 3, 4] {
        let chain = TestChain::new();
        chain.feed(&regroup(&released, n));
        assert_eq!(blocks(&chain), blocks(&whole), "records of {n} commands");
    }
    // Stopped anywhere and fed again from the start, as recovery does.
    for stop in [0, 1, 4, 5, 6, 11, 14, 20, 27, 35, 44, released.len()] {
        let chain = TestChain::new();
        chain.feed(&regroup(&released, 1)[..stop]);
        chain.feed(&regroup(&released, 3));
        assert_eq!(blocks(&chain), blocks(&whole), "stopped after {stop} records");
    }
}

#[test]
fn a_node_without_the_key_has_the_same_blocks_unsigned() {
    let signed = TestChain::of(SCRIPT);
    let chain = TestChain::new();
    let mut builder = BlockBuilder::new(chain.genesis.clone(), chain.store.clone(), None).unwrap();
    for record in Script::run(&chain.genesis, SCRIPT) {
        if let Some(sealed) = builder.add(&record.executed[0], record.ts).unwrap() {
            chain.commit(&sealed);
        }
    }
    for (mut ours, theirs) in blocks(&signed).into_iter().zip(blocks(&chain)).skip(1) {
        ours.header.signature = None;
        assert_eq!(ours, theirs);
    }
}

#[test]
fn the_chain_of_hashes_is_recomputed_from_content() {
    let chain = TestChain::of(SCRIPT);
    assert_eq!(check_chain(&chain.genesis, &chain.store, Height(0), chain.tip()).unwrap(), Ok(()));
    assert_eq!(check_chain(&chain.genesis, &chain.store, Height(3), Height(4)).unwrap(), Ok(()));
    let missing = check_chain(&chain.genesis, &chain.store, Height(5), Height(9)).unwrap();
    assert_eq!(missing, Err(BlockFault::Missing(Height(7))));
}

#[test]
fn any_change_of_a_block_is_found() {
    let chain = TestChain::of(SCRIPT);
    let (parent, block) = (chain.block(2).header.hash, chain.block(3));
    let height = Height(3);
    type Change = Box<dyn Fn(&mut Block)>;
    let cases: Vec<(&str, BlockFault, Change)> = vec![
        ("parent", BlockFault::Parent(height), Box::new(|b| b.header.block.parent_hash = Felt::ONE)),
        (
            "calldata",
            BlockFault::TransactionHash(height),
            Box::new(|b| {
                let keel_store::Transaction::Invoke(invoke) = &mut b.transactions[0] else { panic!() };
                invoke.calldata[5] += Felt::ONE;
            }),
        ),
        ("transaction left out", BlockFault::TransactionHash(height), Box::new(|b| drop(b.transactions.pop()))),
        ("event", BlockFault::Content(height), Box::new(|b| b.receipts[0].events[0].data[0] += Felt::ONE)),
        ("message", BlockFault::Content(height), Box::new(|b| b.receipts[0].messages_sent[0].payload[2] += Felt::ONE)),
        ("diff", BlockFault::Content(height), Box::new(|b| b.diff.set_storage(Felt::from(99), Felt::ONE, Felt::ONE))),
        ("root", BlockFault::Hash(height), Box::new(|b| b.header.block.state_root += Felt::ONE)),
        ("time", BlockFault::Hash(height), Box::new(|b| b.header.block.timestamp += 1)),
    ];
    assert_eq!(check_block(&chain.genesis, &block, Some(&parent)), Ok(()));
    for (name, fault, change) in cases {
        let mut changed = block.clone();
        change(&mut changed);
        assert_eq!(check_block(&chain.genesis, &changed, Some(&parent)), Err(fault), "{name}");
    }
}

/// Scripts of few accounts, so that records are overwritten.
fn scripts() -> impl Strategy<Value = String> {
    let command = (0..9u32, 0..4u64, 0..4u64, 1..9u64).prop_map(|(kind, a, b, n)| match kind {
        0 => format!("register {a}"),
        1 => format!("fill 0 {a} {} {n}", 10 + b),
        2 => format!("fill 1 {a} {} {n}", 10 + b),
        3 => format!("price {} {}", a % 2, n),
        4 => format!("withdraw {a} {n}"),
        5 => format!("deposit {} {b} {n}", 1_000 * a + n),
        6 | 7 => "seal".to_owned(),
        _ => "tick".to_owned(),
    });
    prop::collection::vec(command, 1..40).prop_map(|commands| commands.join(" | ") + " | seal")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..Default::default() })]

    #[test]
    fn roots_hashes_and_aliases_hold_for_any_journal(script in scripts()) {
        let chain = TestChain::of(&script);
        prop_assert_eq!(chain.store.check_roots().unwrap(), None);
        prop_assert_eq!(check_chain(&chain.genesis, &chain.store, Height(0), chain.tip()).unwrap(), Ok(()));
        for height in 0..=chain.tip().0 {
            let block = chain.block(height);
            for (contract, entries) in block.diff.storage.iter().filter(|(contract, _)| **contract > Felt::from(15)) {
                for key in entries.keys().chain([contract]) {
                    let alias = chain.store.storage_at(&Felt::TWO, key, Height(height)).unwrap();
                    prop_assert!(alias >= Felt::from(128), "block {} changes {:#x}, which has no alias", height, key);
                }
            }
        }
    }
}

use super::check;
use super::world::{World, genesis};
use expect_test::expect;
use keel_types::*;

#[test]
fn blocks_and_batches_come_in_order() {
    check(
        "batch 0 1 | seal | seal | batch 1 1 | batch 0 3 | batch 0 1 | batch 0 1 | batch 1 1 | batch 1 2",
        expect![[r#"
            #1 system rejected: WRONG_BATCH
            #2 sealed 1
            #3 sealed 2
            #4 system rejected: WRONG_BATCH
            #5 system rejected: WRONG_BATCH
            #6 confirmed 0
            #7 system rejected: WRONG_BATCH
            #8 system rejected: WRONG_BATCH
            #9 confirmed 1"#]],
    );
}

#[test]
fn genesis_writes_every_key_that_must_exist() {
    let world = World::bare(genesis());
    let mut lines: Vec<String> = world.engine.dump().writes.iter().map(|write| format!("{write:?}")).collect();
    lines.retain(|line| !line.starts_with("Balance"));
    expect![[r#"
        Rules
        Asset(AssetId(0))
        Totals { asset: AssetId(0), deposited: Amount(0), withdrawn: Amount(0) }
        Asset(AssetId(1))
        Totals { asset: AssetId(1), deposited: Amount(0), withdrawn: Amount(0) }
        Market(MarketId(0))
        Price { market: MarketId(0), oracle: Price(10000000000), mark: Price(10000000000), ts: Ts(1000000000000000000) }
        Market(MarketId(1))
        Price { market: MarketId(1), oracle: Price(10000000000), mark: Price(10000000000), ts: Ts(1000000000000000000) }
        Funding { market: MarketId(1), index: Amount(0), pool: Amount(0) }
        Market(MarketId(2))
        Price { market: MarketId(2), oracle: Price(10000000000), mark: Price(10000000000), ts: Ts(1000000000000000000) }
        Funding { market: MarketId(2), index: Amount(0), pool: Amount(0) }
        Phase { phase: Open, incident: IncidentId(0), since: Ts(1000000000000000000) }
        WithdrawalCount { count: 0 }"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_block_with_another_height_is_refused() {
    let mut world = World::bare(genesis());
    let engine_digest = world.engine.digest();
    for height in [0, 2] {
        let events = world.apply(Command::SealBlock(SealBlock { height: Height(height), engine_digest }));
        assert_eq!(events, [Event::SystemRejected { reject: Reject::WrongHeight }]);
    }
}

#[test]
#[should_panic(expected = "state diverged")]
fn a_block_with_another_digest_stops_the_engine() {
    let mut world = World::bare(genesis());
    let seal = SealBlock { height: Height(1), engine_digest: Bytes32::default() };
    world.engine.apply(Seq(1), world.now, &Command::SealBlock(seal));
}

#[test]
#[should_panic(expected = "each once")]
fn a_sequence_number_out_of_order_is_refused() {
    let mut world = World::bare(genesis());
    world.engine.apply(Seq(2), world.now, &Command::Tick);
}

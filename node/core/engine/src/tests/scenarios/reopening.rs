//! A venue of 1,000 leveraged accounts is down for twenty minutes, and 10% cheaper when it is back.

use super::super::world::{PERP, PERP_B, SPOT, UNIT, World, address, genesis};
use keel_types::*;
use std::collections::BTreeMap;

const PAIRS: u32 = 500;
const DOWN_MS: u64 = 20 * 60_000;

fn long(i: u32) -> char {
    char::from_u32(0x4e00 + i).expect("a character")
}

fn short(i: u32) -> char {
    char::from_u32(0x6e00 + i).expect("a character")
}

fn usdc(hundredths: u64) -> i128 {
    i128::from(hundredths * UNIT / 100)
}

/// Margin of the i-th long, in hundredths: 10.60, 10.65, and so on.
fn margin_of(i: u32) -> u64 {
    1_060 + 5 * u64::from(i)
}

/// Everybody trades one unit at 100: longs as makers for 0.02, shorts as takers for 0.05.
fn venue() -> World {
    let mut rules = genesis();
    for market in &mut rules.markets {
        if let MarketKind::Perpetual(perpetual) = &mut market.kind {
            perpetual.open_interest_lower = Amount(usdc(100_000_000));
            perpetual.open_interest_upper = Amount(usdc(200_000_000));
            perpetual.open_interest_max = Qty(UNIT * 10_000);
        }
    }
    let mut world = World::bare(rules);
    publish(&mut world, 100);
    let fund = world.genesis.insurance_account;
    let deposit = world.deposit_to(fund, QUOTE, usdc(1_000_000));
    world.apply_fast(deposit);
    for i in 0..PAIRS {
        for (trader, money, side) in [(long(i), margin_of(i), Side::Buy), (short(i), 20_000, Side::Sell)] {
            let register = world.register(trader);
            world.apply_fast(register);
            let deposit = world.deposit(trader, QUOTE, usdc(money));
            world.apply_fast(deposit);
            let order = world.order(trader, PERP, side, Qty(UNIT), Price(100 * UNIT));
            world.apply_fast(Command::Place(order));
        }
    }
    let open = world.engine.account(&address(long(PAIRS - 1))).expect("registered").holdings.market(PERP).position.size;
    assert_eq!(open, i128::from(UNIT));
    world
}

/// Every market at one price, 1 ms later.
fn publish(world: &mut World, price: u64) {
    world.now = world.now.plus_ms(1);
    let reports = [SPOT, PERP, PERP_B].into_iter().flat_map(|market| (0..2).map(move |publisher| (publisher, market)));
    let ts = world.now;
    let reports = reports.map(|(publisher, market)| PriceReport { publisher, market, price: Price(price * UNIT), ts });
    world.apply_fast(Command::Prices(reports.collect()));
}

/// Ticks while there is work; the decisions of liquidations by account.
fn due(world: &mut World) -> BTreeMap<Address, Vec<LiquidationReceipt>> {
    let mut receipts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while world.engine.due(world.now) {
        for event in world.apply_fast(Command::Tick) {
            if let Event::Liquidation(receipt) = event {
                receipts.entry(receipt.account).or_default().push(*receipt);
            }
        }
    }
    receipts
}

fn step(world: &mut World, phase: Phase) {
    let integrity_report = if phase == Phase::Spot { Bytes32([7; 32]) } else { Bytes32::default() };
    let incident = world.engine.phase().incident;
    let step = SetPhase { incident, phase, post_only_until: Ts(0), integrity_report };
    assert!(!world.apply_fast(Command::SetPhase(step)).is_empty());
}

/// A long of margin m is worth m - 0.02 - 10 at 90, against MMR (5% + 0.05%) x 90 = 4.545: those below 14.565, the 80 up to 14.55, are
/// under. Twenty of them bring 5 more in the grace. Funding of the 20 minutes is 90 x 0.0001 / 24 = 0.0004 and decides nothing.
#[test]
fn after_a_gap_of_ten_percent_only_those_are_liquidated_whom_the_rule_names_and_only_after_the_grace() {
    let mut world = venue();
    let reasons = LossReasons::of(LossReason::Restart);
    world.apply_fast(Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: world.now }));
    world.now = world.now.plus_ms(DOWN_MS);
    // Below the largest move that one update may make; the third is where it stands.
    for price in [96, 92, 90] {
        publish(&mut world, price);
        assert_eq!(due(&mut world), BTreeMap::new(), "nobody is liquidated while it is closed");
    }
    for phase in [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open] {
        step(&mut world, phase);
        publish(&mut world, 90);
        assert_eq!(due(&mut world), BTreeMap::new(), "nobody is liquidated in {phase}");
    }
    let until = world.engine.phase().grace_until;
    assert!(until.0 - world.now.0 >= (DOWN_MS - 10) * 1_000_000);
    for i in (0..80).step_by(4) {
        let deposit = world.deposit(long(i), QUOTE, usdc(500));
        world.apply_fast(deposit);
    }
    world.now = Ts(until.0 - 2_000_000);
    publish(&mut world, 90);
    assert_eq!(due(&mut world), BTreeMap::new(), "nobody is liquidated in the grace");

    // Somebody bids at the oracle's price, so that closing moves no mark.
    let bidder = 'b';
    let register = world.register(bidder);
    world.apply_fast(register);
    let deposit = world.deposit(bidder, QUOTE, usdc(1_000_000));
    world.apply_fast(deposit);
    let bid = world.order(bidder, PERP, Side::Buy, Qty(100 * UNIT), Price(90 * UNIT));
    world.apply_fast(Command::Place(bid));
    let mut liquidated: BTreeMap<Address, Vec<LiquidationReceipt>> = BTreeMap::new();
    for _ in 0..6 {
        world.now = world.now.plus_ms(1_000);
        publish(&mut world, 90);
        for (account, receipts) in due(&mut world) {
            liquidated.entry(account).or_default().extend(receipts);
        }
    }
    let expected: Vec<Address> = (0..80).filter(|i| i % 4 != 0).map(|i| address(long(i))).collect();
    let mut found: Vec<Address> = liquidated.keys().copied().collect();
    found.sort_by_key(|account| account.0.to_bytes_be());
    assert_eq!(found, expected);
    for (account, receipts) in &liquidated {
        for receipt in receipts {
            assert_eq!(keel_ledger::liquidation::recompute(receipt), [], "{account}");
            let marks: Vec<Price> = receipt.inputs.markets.iter().map(|market| market.mark).collect();
            assert_eq!(marks, [Price(90 * UNIT)], "on a mark that is the oracle");
        }
        let margin = world.engine.account(account).expect("known").margin;
        assert!(margin.value >= margin.maintenance, "{account} was left under: {margin:?}");
    }
    let keeps = |trader: char| world.engine.account(&address(trader)).expect("known").holdings.market(PERP).position.size;
    assert!((80..PAIRS).all(|i| keeps(long(i)) == i128::from(UNIT)), "a healthy long lost its position");
    assert!((0..PAIRS).all(|i| keeps(short(i)) == -i128::from(UNIT)), "a short lost its position");
    assert_eq!(world.engine.check(), []);
    world.check_history();
}

//! What the Cairo VM did when it executed the exchange class (`starknet/execution/execution.json`, recorded by `record.py`), repeated
//! natively: calldata, storage, events and messages must be the same to the word.

use super::*;
use crate::genesis::tests::dev_genesis;
use keel_types::*;
use serde_json::Value;
use std::collections::BTreeMap;

const RECORDED: &str = include_str!("../../starknet/execution/execution.json");
const ALICE: u64 = 0xa11ce;
const BOB: u64 = 0xb0b;

type Storage = BTreeMap<Felt, Felt>;

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}
fn felt(value: &Value) -> Felt {
    Felt::from_hex_unchecked(value.as_str().unwrap())
}
fn felts(value: &Value) -> Vec<Felt> {
    value.as_array().unwrap().iter().map(felt).collect()
}
fn storage(value: &Value) -> Storage {
    let entries = value.as_object().unwrap().iter();
    entries.map(|(key, value)| (Felt::from_hex_unchecked(key), felt(value))).collect()
}
fn account(x: u64) -> Address {
    Address(x.into())
}

/// The chain state of a new engine, as the constructor and the listings of assets and markets leave it.
fn genesis_writes(genesis: &Genesis) -> Vec<StateWrite> {
    let mut writes = vec![StateWrite::Rules, StateWrite::WithdrawalCount { count: 0 }];
    for asset in (0..genesis.assets.len() as u16).map(AssetId) {
        writes.push(StateWrite::Asset(asset));
        writes.push(StateWrite::Totals { asset, deposited: Amount(0), withdrawn: Amount(0) });
    }
    for (i, spec) in genesis.markets.iter().enumerate() {
        let market = MarketId(i as u16);
        let price = spec.initial_price;
        writes.push(StateWrite::Market(market));
        writes.push(StateWrite::Price { market, oracle: price, mark: price, ts: Ts(0) });
        if matches!(spec.kind, MarketKind::Perpetual(_)) {
            writes.push(StateWrite::Funding { market, index: Amount(0), pool: Amount(0) });
        }
    }
    writes
}

#[test]
fn genesis_storage_is_what_the_cairo_constructor_and_listings_store() {
    let (genesis, mut layout, recorded) = (dev_genesis(), Layout::new(), recorded());
    let ours: Storage = genesis_writes(&genesis).iter().flat_map(|write| layout.storage(&genesis, write)).collect();
    let theirs = storage(&recorded["genesis"]);
    assert_eq!(ours.len(), 160);
    assert_eq!(ours, theirs);
    for (market, events) in recorded["listed"].as_array().unwrap()[3..].iter().enumerate() {
        let event = event_market_listed(&genesis, MarketId(market as u16));
        assert_eq!((felts(&events[0]["keys"]), felts(&events[0]["data"])), (event.keys, event.data));
    }
}

/// What a step of the recording must be natively.
struct Step {
    selector: Felt,
    calldata: Vec<Felt>,
    writes: Vec<(StateWrite, Option<Felt>)>,
    events: Vec<ExchangeEvent>,
    message: Option<Vec<Felt>>,
}

fn step(call: Call, writes: Vec<StateWrite>, events: Vec<ExchangeEvent>) -> Step {
    let writes = writes.into_iter().map(|write| (write, None)).collect();
    Step { selector: call.selector, calldata: call.calldata, writes, events, message: None }
}

fn registration(genesis: &Genesis, who: u64, key: u64, template: u8) -> Step {
    let (account, key) = (account(who), StarkKey(key.into()));
    step(
        register(genesis, account, key, template),
        vec![StateWrite::Account { account, key, template }],
        vec![event_registered(account, key, template)],
    )
}

fn deposit(genesis: &Genesis, nonce: u64, who: u64, asset: u16, units: u128, balance: i128, deposited: i128) -> Step {
    let spec = &genesis.assets[usize::from(asset)];
    let amount = Amount(units as i128 * i128::from(spec.quantums_per_l1_unit));
    let (account, asset) = (account(who), AssetId(asset));
    let call =
        Call { to: genesis.exchange, selector: HANDLE_DEPOSIT, calldata: vec![spec.token.0, account.0, units.into()] };
    let writes = vec![
        StateWrite::MessageConsumed { message_nonce: nonce },
        StateWrite::Balance { account, asset, amount: Amount(balance) },
        StateWrite::Totals { asset, deposited: Amount(deposited), withdrawn: Amount(0) },
    ];
    step(call, writes, vec![event_deposited(account, asset, amount, nonce)])
}

fn fills(genesis: &Genesis) -> Step {
    let market = MarketId(2);
    let side = |who: u64, order: u64, fee: i128, pnl: i128| FillSide {
        account: account(who),
        order: MessageHash(order.into()),
        fee: Amount(fee),
        realized_pnl: Amount(pnl),
    };
    let fill = Fill {
        market,
        trade: TradeId(1),
        price: Price(300_000_000_000),
        size: Qty(100_000),
        taker_side: Side::Buy,
        maker: side(BOB, 0xaa, -15, 0),
        taker: side(ALICE, 0xbb, 90, -4),
    };
    let balances = [(account(ALICE), QUOTE, Amount(499_999_910)), (account(BOB), QUOTE, Amount(-85))];
    let position = |size: i128, cost: i128| PositionValue { size, cost, funding_index: 0 };
    let positions =
        [(account(ALICE), market, position(100_000, 300_000_000)), (account(BOB), market, position(-100_000, -300_000_000))];
    let funding = (market, Amount(-3), Amount(4));
    let mut writes = vec![StateWrite::Funding { market, index: funding.1, pool: funding.2 }];
    writes.extend(balances.map(|(account, asset, amount)| StateWrite::Balance { account, asset, amount }));
    writes.extend(positions.map(|(account, market, position)| StateWrite::Position { account, market, position }));
    step(
        settle_fills(genesis, market, &[fill], &balances, &positions, &[funding]),
        writes,
        vec![event_trade(&fill), event_funding_set(funding)],
    )
}

fn prices(genesis: &Genesis) -> Step {
    let ts = Ts(1_767_225_600_000_000_001);
    let prices = [(MarketId(0), Price(310_000_000_000), Price(310_000_000_001)), (MarketId(2), Price(5), Price(6))];
    let writes = prices.map(|(market, oracle, mark)| StateWrite::Price { market, oracle, mark, ts });
    step(set_prices(genesis, &prices, ts), writes.to_vec(), prices.map(|price| event_price_set(price, ts)).to_vec())
}

fn funding(genesis: &Genesis) -> Step {
    let update = (MarketId(3), Amount(8), Amount(-9));
    let write = StateWrite::Funding { market: update.0, index: update.1, pool: update.2 };
    step(set_funding(genesis, &[update]), vec![write], vec![event_funding_set(update)])
}

fn withdrawal(genesis: &Genesis) -> Step {
    let withdrawal = Withdrawal {
        id: 1,
        account: account(ALICE),
        asset: QUOTE,
        amount: Amount(400_000_000),
        l1_amount: 4_000_000,
        token: genesis.assets[0].token,
        recipient: L1Address::ethereum([0x22; 20]),
        hash: MessageHash(0xcc.into()),
    };
    let writes = vec![
        StateWrite::Balance { account: withdrawal.account, asset: QUOTE, amount: Amount(99_999_910) },
        StateWrite::Totals { asset: QUOTE, deposited: Amount(500_000_100), withdrawn: Amount(400_000_000) },
        StateWrite::WithdrawalCount { count: 1 },
    ];
    let step = step(withdraw(genesis, &withdrawal), writes, vec![event_withdrawn(&withdrawal)]);
    Step { message: Some(withdrawal_message(&withdrawal)), ..step }
}

fn phase(phase: Phase, incident: u32, since: u64) -> StateWrite {
    StateWrite::Phase { phase, incident: IncidentId(incident), since: Ts(since) }
}

fn safe_mode(genesis: &Genesis, value: IncidentValue, root: Felt, since: u64) -> Step {
    let call = enter_safe_mode(genesis, &value, root, Ts(since));
    let writes = vec![(StateWrite::Incident(value), Some(root)), (phase(Phase::Halted, value.incident.0, since), None)];
    let events = vec![event_safe_mode_entered(&value, root)];
    Step { selector: call.selector, calldata: call.calldata, writes, events, message: None }
}

fn expected_steps(genesis: &Genesis) -> Vec<Step> {
    let incident = IncidentValue {
        incident: IncidentId(1),
        reasons: LossReasons(6),
        observed_ts: Ts(50),
        seq: Seq(60),
        cancelled: 3,
        integrity_report: Bytes32::default(),
    };
    let mut report = Bytes32::default();
    (report.0[15], report.0[31]) = (9, 7);
    let opened = StateWrite::Incident(IncidentValue { integrity_report: report, ..incident });
    let empty = IncidentValue {
        incident: IncidentId(2),
        reasons: LossReasons(0),
        observed_ts: Ts(0),
        seq: Seq(61),
        cancelled: 0,
        ..incident
    };
    vec![
        registration(genesis, ALICE, 0xf00d, 0),
        registration(genesis, BOB, 0xbeef, 1),
        deposit(genesis, 7, ALICE, 0, 5_000_000, 500_000_000, 500_000_000),
        deposit(genesis, 8, ALICE, 0, 1, 500_000_100, 500_000_100),
        deposit(genesis, 9, BOB, 1, 250, 250, 250),
        fills(genesis),
        prices(genesis),
        funding(genesis),
        withdrawal(genesis),
        safe_mode(genesis, incident, 0xabc.into(), 70),
        step(
            set_phase(genesis, IncidentId(1), Phase::Spot, Ts(80), &report),
            vec![opened, phase(Phase::Spot, 1, 80)],
            vec![event_phase_changed(IncidentId(1), Phase::Spot, Ts(80))],
        ),
        safe_mode(genesis, empty, Felt::ZERO, 90),
    ]
}

#[test]
fn every_call_does_in_the_cairo_vm_what_it_does_natively() {
    let (genesis, mut layout, recorded) = (dev_genesis(), Layout::new(), recorded());
    let mut state = storage(&recorded["genesis"]);
    let taken: Vec<&Value> = recorded["steps"].as_array().unwrap().iter().filter(|step| step["call"].is_string()).collect();
    let expected = expected_steps(&genesis);
    assert_eq!(taken.len(), expected.len());
    for (theirs, ours) in taken.into_iter().zip(expected) {
        let name = theirs["call"].as_str().unwrap();
        assert_eq!(starknet_keccak(name), ours.selector, "{name}");
        assert_eq!(felts(&theirs["calldata"]), ours.calldata, "calldata of {name}");

        let mut changed = Storage::new();
        for (write, root) in &ours.writes {
            let slots = match write {
                StateWrite::Incident(value) => layout.storage_incident(value, *root),
                write => layout.storage(&genesis, write),
            };
            changed.extend(slots);
        }
        changed.retain(|slot, value| state.get(slot) != Some(value));
        assert_eq!(storage(&theirs["storage"]), changed, "storage after {name}");
        state.extend(changed);

        let events: Vec<ExchangeEvent> = theirs["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| ExchangeEvent { keys: felts(&event["keys"]), data: felts(&event["data"]) })
            .collect();
        assert_eq!(events, ours.events, "events of {name}");
        let messages: Vec<(Felt, Vec<Felt>)> = theirs["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| (felt(&message["to"]), felts(&message["payload"])))
            .collect();
        let bridge = genesis.settlement.bridge.0;
        assert_eq!(messages, ours.message.map(|payload| (bridge, payload)).into_iter().collect::<Vec<_>>(), "{name}");
    }
    assert!(state.values().all(|value| *value != Felt::ZERO));
}

#[test]
fn the_cairo_handler_refused_every_forged_deposit() {
    let recorded = recorded();
    let refused: Vec<&str> =
        recorded["steps"].as_array().unwrap().iter().filter_map(|step| step["refused"].as_str()).collect();
    for reason in ["NOT_THE_BRIDGE", "UNKNOWN_TOKEN", "BAD_AMOUNT", "OVER_THE_CAP", "BAD_RECIPIENT", "CONSUMED"] {
        assert!(refused.contains(&reason), "{reason}");
    }
}

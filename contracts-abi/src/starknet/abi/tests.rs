use super::*;
use crate::genesis::tests::dev_genesis;
use crate::starknet::{exchange_class, starknet_keccak};
use keel_types::{L1Address, LossReasons, MessageHash, Qty, Seq, TradeId};
use serde_json::Value;

#[test]
fn selectors_are_the_keccak_of_their_names() {
    for (name, selector) in SELECTORS {
        assert_eq!(starknet_keccak(name), *selector, "{name}");
    }
}

#[test]
fn selectors_are_those_of_the_class() {
    let class: Value = serde_json::from_str(exchange_class().sierra).unwrap();
    let points = |kind: &str| -> Vec<Felt> {
        let points = class["entry_points_by_type"][kind].as_array().unwrap().iter();
        points.map(|point| Felt::from_hex_unchecked(point["selector"].as_str().unwrap())).collect()
    };
    assert_eq!(points("L1_HANDLER"), [HANDLE_DEPOSIT]);
    let external = points("EXTERNAL");
    for selector in [
        REGISTER,
        SET_SESSION_KEY,
        REVOKE_SESSION_KEY,
        SETTLE_FILLS,
        SET_FUNDING,
        SET_PRICES,
        TRANSFER,
        WITHDRAW,
        ENTER_SAFE_MODE,
        SET_PHASE,
        LIST_ASSET,
        LIST_MARKET,
    ] {
        assert!(external.contains(&selector), "{selector:#x}");
    }
}

fn abi() -> Vec<Value> {
    let Value::Array(items) = serde_json::from_str(exchange_class().abi).unwrap() else { panic!("an ABI is a list") };
    items
}

/// Reads a value of a Cairo type off the words and writes it as text: the ABI decides what the words mean.
fn decode(abi: &[Value], kind: &str, words: &mut &[Felt]) -> String {
    let mut take = || {
        let (first, rest) = words.split_first().expect("a word for every value");
        *words = rest;
        *first
    };
    if let Some(element) = kind.strip_prefix("core::array::Array::<").and_then(|rest| rest.strip_suffix('>')) {
        let count = u64::try_from(take()).unwrap();
        let elements: Vec<String> = (0..count).map(|_| decode(abi, element, words)).collect();
        return format!("[{}]", elements.join(", "));
    }
    if kind.starts_with("core::") {
        let word = take();
        let bits = kind.strip_prefix("core::integer::u").and_then(|bits| bits.parse::<u32>().ok());
        if let Some(bits) = bits {
            assert!(word < Felt::TWO.pow(bits), "{word:#x} is no {kind}");
        }
        return if word > Felt::TWO.pow(250u32) { format!("-{:#x}", -word) } else { format!("{word:#x}") };
    }
    let found = abi.iter().find(|item| item["type"] == "struct" && item["name"] == kind);
    let members = found.unwrap_or_else(|| panic!("the ABI has no {kind}"))["members"].as_array().unwrap();
    let members: Vec<String> = members
        .iter()
        .map(|member| {
            let value = decode(abi, member["type"].as_str().unwrap(), words);
            format!("{}: {value}", member["name"].as_str().unwrap())
        })
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// Decodes a call with the ABI of the class, and compares its arguments.
#[track_caller]
fn check_call(call: Call, name: &str, expected: &[&str]) {
    let abi = abi();
    assert_eq!((call.to, call.selector), (dev_genesis().exchange, starknet_keccak(name)));
    let functions = abi.iter().filter(|item| item["type"] == "interface").flat_map(|item| item["items"].as_array().unwrap());
    let function = functions.chain(abi.iter()).find(|item| item["name"] == name && item["inputs"].is_array()).unwrap();
    let mut words = &call.calldata[..];
    let arguments: Vec<String> = function["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| {
            let value = decode(&abi, input["type"].as_str().unwrap(), &mut words);
            format!("{}: {value}", input["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(arguments, expected);
    assert!(words.is_empty(), "{name} takes all of its calldata");
}

/// The same for an event.
#[track_caller]
fn check_event(event: ExchangeEvent, name: &str, expected: &[&str]) {
    let abi = abi();
    let full_name = format!("keel::exchange::exchange::{name}");
    let declared = abi.iter().find(|item| item["type"] == "event" && item["name"] == full_name.as_str()).unwrap();
    assert_eq!(event.keys[0], starknet_keccak(name));
    let (mut keys, mut data) = (&event.keys[1..], &event.data[..]);
    let members: Vec<String> = declared["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| {
            let words = if member["kind"] == "key" { &mut keys } else { &mut data };
            let value = decode(&abi, member["type"].as_str().unwrap(), words);
            format!("{}: {value}", member["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(members, expected);
    assert!(keys.is_empty() && data.is_empty(), "{name} has no other words");
}

fn address(x: u64) -> Address {
    Address(x.into())
}

fn fill() -> Fill {
    let side = |account: u64, order: u64, fee: i128, realized_pnl: i128| FillSide {
        account: address(account),
        order: MessageHash(order.into()),
        fee: Amount(fee),
        realized_pnl: Amount(realized_pnl),
    };
    Fill {
        market: MarketId(3),
        trade: TradeId(9),
        price: Price(100),
        size: Qty(2),
        taker_side: Side::Sell,
        maker: side(0xa, 0xaa, -1, 0),
        taker: side(0xb, 0xbb, 3, -4),
    }
}

fn withdrawal() -> Withdrawal {
    Withdrawal {
        id: 5,
        account: address(0xa),
        asset: AssetId(0),
        amount: Amount(700),
        l1_amount: 7,
        token: L1Address::ethereum([0x11; 20]),
        recipient: L1Address::ethereum([0x22; 20]),
        hash: MessageHash(0xcc.into()),
    }
}

fn incident() -> IncidentValue {
    IncidentValue {
        incident: IncidentId(1),
        reasons: LossReasons(4),
        observed_ts: Ts(10),
        seq: Seq(20),
        cancelled: 3,
        integrity_report: Bytes32::default(),
    }
}

#[test]
fn calls_decode_with_the_abi_of_the_class() {
    let genesis = dev_genesis();
    check_call(
        register(&genesis, address(0xa), StarkKey(0xf.into()), 1),
        "register",
        &["account: 0xa", "key: 0xf", "template: 0x1"],
    );
    check_call(
        settle_fills(
            &genesis,
            MarketId(3),
            &[fill()],
            &[(address(0xa), AssetId(0), Amount(-6))],
            &[(address(0xb), MarketId(3), PositionValue { size: -2, cost: -200, funding_index: 1 })],
            &[(MarketId(3), Amount(1), Amount(-2))],
        ),
        "settle_fills",
        &[
            "market: 0x3",
            "fills: [{trade: 0x9, price: 0x64, size: 0x2, taker_side: 0x1, maker: 0xa, maker_order: 0xaa, maker_fee: -0x1, \
             maker_pnl: 0x0, taker: 0xb, taker_order: 0xbb, taker_fee: 0x3, taker_pnl: -0x4}]",
            "balances: [{account: 0xa, asset: 0x0, amount: -0x6}]",
            "positions: [{account: 0xb, market: 0x3, size: -0x2, cost: -0xc8, funding_index: 0x1}]",
            "funding: [{market: 0x3, index: 0x1, pool: -0x2}]",
        ],
    );
    check_call(
        set_funding(&genesis, &[(MarketId(3), Amount(1), Amount(-2))]),
        "set_funding",
        &["funding: [{market: 0x3, index: 0x1, pool: -0x2}]"],
    );
    check_call(
        set_prices(&genesis, &[(MarketId(0), Price(7), Price(8)), (MarketId(1), Price(9), Price(10))], Ts(5)),
        "set_prices",
        &["prices: [{market: 0x0, oracle: 0x7, mark: 0x8}, {market: 0x1, oracle: 0x9, mark: 0xa}]", "ts: 0x5"],
    );
    check_call(
        withdraw(&genesis, &withdrawal()),
        "withdraw",
        &[
            "account: 0xa",
            "asset: 0x0",
            "amount: 0x2bc",
            "recipient: 0x2222222222222222222222222222222222222222",
            "withdrawal: 0x5",
            "message_hash: 0xcc",
        ],
    );
    check_call(
        enter_safe_mode(&genesis, &incident(), 0xee.into(), Ts(11)),
        "enter_safe_mode",
        &[
            "incident: 0x1",
            "reasons: 0x4",
            "observed_ts: 0xa",
            "seq: 0x14",
            "cancelled: 0x3",
            "cancel_root: 0xee",
            "since: 0xb",
        ],
    );
    let mut report = Bytes32::default();
    report.0[15] = 1;
    report.0[31] = 2;
    check_call(
        set_phase(&genesis, IncidentId(1), Phase::Spot, Ts(12), &report),
        "set_phase",
        &["incident: 0x1", "phase: 0x2", "since: 0xc", "integrity_report_low: 0x2", "integrity_report_high: 0x1"],
    );
}

#[test]
fn events_decode_with_the_abi_of_the_class() {
    let genesis = dev_genesis();
    check_event(
        event_trade(&fill()),
        "Trade",
        &[
            "market: 0x3",
            "maker: 0xa",
            "taker: 0xb",
            "trade: 0x9",
            "price: 0x64",
            "size: 0x2",
            "taker_side: 0x1",
            "maker_order: 0xaa",
            "maker_fee: -0x1",
            "maker_pnl: 0x0",
            "taker_order: 0xbb",
            "taker_fee: 0x3",
            "taker_pnl: -0x4",
        ],
    );
    check_event(
        event_registered(address(0xa), StarkKey(0xf.into()), 1),
        "Registered",
        &["account: 0xa", "public_key: 0xf", "template: 0x1"],
    );
    check_event(
        event_deposited(address(0xa), AssetId(1), Amount(7), 8),
        "Deposited",
        &["account: 0xa", "asset: 0x1", "amount: 0x7", "message_nonce: 0x8"],
    );
    check_event(
        event_withdrawn(&withdrawal()),
        "Withdrawn",
        &[
            "account: 0xa",
            "asset: 0x0",
            "amount: 0x2bc",
            "recipient: 0x2222222222222222222222222222222222222222",
            "withdrawal: 0x5",
            "message_hash: 0xcc",
        ],
    );
    check_event(
        event_price_set((MarketId(1), Price(7), Price(8)), Ts(5)),
        "PriceSet",
        &["market: 0x1", "oracle: 0x7", "mark: 0x8", "ts: 0x5"],
    );
    check_event(
        event_funding_set((MarketId(3), Amount(1), Amount(-2))),
        "FundingSet",
        &["market: 0x3", "index: 0x1", "pool: -0x2"],
    );
    check_event(
        event_phase_changed(IncidentId(1), Phase::Open, Ts(5)),
        "PhaseChanged",
        &["incident: 0x1", "phase: 0x4", "since: 0x5"],
    );
    check_event(
        event_safe_mode_entered(&incident(), 0xee.into()),
        "SafeModeEntered",
        &["incident: 0x1", "reasons: 0x4", "observed_ts: 0xa", "seq: 0x14", "cancelled: 0x3", "cancel_root: 0xee"],
    );
    check_event(
        event_market_listed(&genesis, MarketId(2)),
        "MarketListed",
        &["market: 0x2", "name: 0x4554482d555344432d50455250", "kind: 0x2"],
    );
}

#[test]
fn a_transaction_is_a_list_of_calls() {
    let genesis = dev_genesis();
    let calls = [
        register(&genesis, address(0xa), StarkKey(0xf.into()), 1),
        set_phase(&genesis, IncidentId(1), Phase::Open, Ts(12), &Bytes32::default()),
    ];
    let calldata = Call::execute_calldata(&calls);
    assert_eq!(calldata[..4], [2.into(), genesis.exchange.0, REGISTER, 3.into()]);
    assert_eq!(calldata[7..10], [genesis.exchange.0, SET_PHASE, 5.into()]);
    assert_eq!(calldata.len(), 1 + 3 + 3 + 3 + 5);
}

#[test]
fn a_withdrawal_tells_the_bridge_what_to_pay() {
    let w = withdrawal();
    assert_eq!(withdrawal_message(&w), [w.token.0, w.recipient.0, 7.into(), 5.into()]);
}

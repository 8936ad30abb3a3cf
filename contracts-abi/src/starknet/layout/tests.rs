use super::*;
use crate::genesis::tests::dev_genesis;
use crate::starknet::exchange_class;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ACCOUNT: &str = "0x7bbd6e1638e5c60e8a4e9e9797d65a200f7041532a3f214ab9d168d1a64f7a0";
const PUBLIC_KEY: &str = "0x687883c347d2346bcebcb39b12392e6b8bcdba89efca8d9a30704ee9d8e929a";

fn felt(hex: &str) -> Felt {
    Felt::from_hex_unchecked(hex)
}

#[test]
fn slots_are_those_of_starknet_py() {
    // starknet-py 0.30.0, `get_storage_var_address(name, *keys)`; starknet.js 10.8.0 agrees on balances, session_markets, incidents.
    let account = Address(felt(ACCOUNT));
    let key = StarkKey(felt(PUBLIC_KEY));
    let cases = [
        (Key::Version, "0x21b4dd49a85c82b73f138b112d5135149203ed36c1ec80c46f8c572daa7c5ec"),
        (Key::Rules, "0x270112326d064ae33b85740e425776f50469599a1d0df740179b5695eccee7b"),
        (Key::Publisher(2), "0x38ee4a621ecb2a8ceb94688e978a6855be4d4f26c12a2697e2e4f65917cbf5d"),
        (Key::AssetCount, "0x2c105f3d459257a875eaef111254b81917b3aa38acde2e618c558a030c42942"),
        (Key::Asset(AssetId(1)), "0x2c9d418e88b23ba6177b60d5d842ed6c78ed5a0b46f08f2b75e2f60f608885a"),
        (Key::MarketCount, "0x34b53bfc209bd95471a64893a17d5f18812ef65e53cf785999990babfc31eb8"),
        (Key::Market(MarketId(3)), "0x23e8436c36082b84b1fb696b30bc05c80890e4cc838a6bca9e7117ae23d5ee1"),
        (Key::Account(account), "0x486dd17dd3fcb216ad05ea07265b12d18be386f2d05d4007b74516f1ff21178"),
        (Key::SessionKey(account, key), "0x55b8d77e413518fdc5462140e364a88a89ae946e9423194018ec82175df7918"),
        (Key::SessionMarket(account, key, 1), "0x89bd1e7e271943ef19f4c401399da2b4442d5ef556b692323320fe01f77b2b"),
        (Key::Balance(account, AssetId(0)), "0x6443ae2763ab16d79cbd3d2e38cf9b8cee2e1a31fe9569a75144cc51052157"),
        (Key::Balance(account, AssetId(2)), "0x594167d35ba0718c01f3037936f446261ed4cc9524db69ab13a8f8754cc8e16"),
        (Key::Position(account, MarketId(3)), "0x9f31ca41f6df56bb421582f0ac1dd3d6fb6ee71529453cd15a34fd066bd00f"),
        (Key::Funding(MarketId(3)), "0x4d3d3f121b25d240ee935f550650d688bb1582536a2308c51d4a23070d8c12e"),
        (Key::Price(MarketId(0)), "0x30e2b4c99e912eff28a64f18dd4ce143a05220561a970d2756244098cae5746"),
        (Key::Totals(AssetId(0)), "0x719fb600319fbdac1ff077e4990b4a7486c9b866c3eec300042678d1835cf64"),
        (Key::MessageConsumed(7), "0x58a8ea4e3856c7e72c28054439a8067d8b844828f00104cfaf41731fde37ff0"),
        (Key::WithdrawalCount, "0xb29d981a26fa9b63cc0a0172f884d7b00f3188e1d556749e683098ad34098e"),
        (Key::Phase, "0x4afc92e51b72a7eef1017771636e1cb149c1d10bdfc3a1daefef6088f920be"),
        (Key::Incident(IncidentId(1)), "0x42ae55eff183b18e5580b85009e4c30a8b66a830129b5b529633ac8a2ba6d4"),
    ];
    let mut layout = Layout::new();
    for (key, slot) in cases {
        assert_eq!(key.slot(), felt(slot), "{key:?}");
        // The second time from memory.
        assert_eq!((layout.slot(key), layout.slot(key)), (felt(slot), felt(slot)), "{key:?}");
    }
}

#[test]
fn the_cairo_source_declares_these_variables_in_this_order() {
    let source = include_str!("../../../starknet/src/exchange.cairo");
    let storage = source.split_once("struct Storage {").unwrap().1.split_once('}').unwrap().0;
    let declared: Vec<&str> = storage
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.is_empty())
        .map(|line| line.split_once(':').unwrap().0)
        .collect();
    let ours: Vec<&str> = Variable::ALL.iter().map(|variable| variable.name()).collect();
    assert_eq!(declared, ours);
}

/// Names of a record's words, from the ABI.
fn members(record: &str) -> Vec<String> {
    let abi: serde_json::Value = serde_json::from_str(exchange_class().abi).unwrap();
    let name = format!("keel::layout::{record}");
    let found = abi.as_array().unwrap().iter().find(|item| item["type"] == "struct" && item["name"] == name.as_str());
    let members = found.unwrap_or_else(|| panic!("the ABI has no struct {name}"))["members"].as_array().unwrap();
    members.iter().map(|member| member["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn records_have_as_many_words_as_in_cairo() {
    for (variable, record) in [
        (Variable::Rules, "Rules"),
        (Variable::Assets, "Asset"),
        (Variable::Markets, "Market"),
        (Variable::Accounts, "Account"),
        (Variable::SessionKeys, "SessionKey"),
        (Variable::Positions, "Position"),
        (Variable::Funding, "Funding"),
        (Variable::Prices, "Price"),
        (Variable::Totals, "Totals"),
        (Variable::Phase, "PhaseState"),
        (Variable::Incidents, "Incident"),
    ] {
        assert_eq!(members(record).len() as u64, variable.slots(), "{record}");
    }
}

/// Stored words of a write's main record, by their names in Cairo.
fn named(record: &str, write: &StateWrite) -> BTreeMap<String, Felt> {
    let genesis = dev_genesis();
    let mut layout = Layout::new();
    let base = layout.slot(Key::of(write));
    let stored: BTreeMap<Felt, Felt> = layout.storage(&genesis, write).into_iter().collect();
    members(record).into_iter().enumerate().map(|(i, name)| (name, stored[&(base + Felt::from(i))])).collect()
}

#[track_caller]
fn check(record: &str, write: StateWrite, expected: &[(&str, Felt)]) {
    let words = named(record, &write);
    for (name, value) in expected {
        assert_eq!(words[*name], *value, "{record}.{name}");
    }
    assert_eq!(words.len(), expected.len(), "every word of {record} is checked");
}

#[test]
fn every_word_stands_where_cairo_has_it() {
    let count = |x: u128| Felt::from(x) + Felt::ONE;
    let signed = |x: i128| Felt::from(x) + Felt::TWO.pow(127u32);
    let one = Felt::ONE;
    let account = Address(felt(ACCOUNT));
    check(
        "Account",
        StateWrite::Account { account, key: StarkKey(felt(PUBLIC_KEY)), template: 0 },
        &[("version", one), ("key", felt(PUBLIC_KEY)), ("template", count(0))],
    );
    let position = PositionValue { size: -5, cost: -700, funding_index: 3 };
    check(
        "Position",
        StateWrite::Position { account, market: MarketId(2), position },
        &[("version", one), ("size", signed(-5)), ("cost", signed(-700)), ("funding_index", signed(3))],
    );
    check(
        "Funding",
        StateWrite::Funding { market: MarketId(2), index: Amount(-1), pool: Amount(9) },
        &[("version", one), ("index", signed(-1)), ("pool", signed(9))],
    );
    check(
        "Price",
        StateWrite::Price { market: MarketId(0), oracle: Price(30), mark: Price(31), ts: Ts(0) },
        &[("version", one), ("oracle", 30.into()), ("mark", 31.into()), ("ts", count(0))],
    );
    check(
        "Totals",
        StateWrite::Totals { asset: AssetId(0), deposited: Amount(10), withdrawn: Amount(4) },
        &[("version", one), ("deposited", signed(10)), ("withdrawn", signed(4))],
    );
    check(
        "PhaseState",
        StateWrite::Phase { phase: Phase::Spot, incident: IncidentId(4), since: Ts(77) },
        &[("version", one), ("phase", count(2)), ("incident", count(4)), ("since", count(77))],
    );
    check(
        "Asset",
        StateWrite::Asset(AssetId(0)),
        &[
            ("version", one),
            ("symbol", short_string("USDC")),
            ("token", felt("0x5fbdb2315678afecb367f032d93f642f64180aa3")),
            ("quantums_per_l1_unit", 100.into()),
            ("deposit_max", 1_000_000_000_000_000u64.into()),
        ],
    );
}

#[test]
fn every_word_of_a_market_stands_where_cairo_has_it() {
    let count = |x: u128| Felt::from(x) + Felt::ONE;
    let signed = |x: i128| Felt::from(x) + Felt::TWO.pow(127u32);
    let unit = 100_000_000u64;
    check(
        "Market",
        StateWrite::Market(MarketId(3)),
        &[
            ("version", Felt::ONE),
            ("name", short_string("BTC-USDC-PERP")),
            ("kind", Felt::TWO),
            ("base_asset", count(65_535)),
            ("tick_size", 10_000_000.into()),
            ("lot_size", 10_000.into()),
            ("fee_maker", signed(-50)),
            ("fee_taker", signed(300)),
            ("band", 50_000.into()),
            ("notional_min", (10 * unit).into()),
            ("notional_max", (5_000_000 * unit).into()),
            ("price_max", (10_000_000 * unit).into()),
            ("size_max", (1_000 * unit).into()),
            ("oracle_move_max", count(50_000)),
            ("initial_price", (60_000 * unit).into()),
            ("imf", count(20_000)),
            ("mmf_factor", count(500_000)),
            ("open_interest_lower", count(100_000_000 * u128::from(unit))),
            ("open_interest_upper", count(400_000_000 * u128::from(unit))),
            ("open_interest_max", count(6_000 * u128::from(unit))),
            ("position_max", count(500 * u128::from(unit))),
            ("funding_rate_max", count(40_000)),
            ("liquidation_fee", count(10_000)),
            ("impact_notional", count(20_000 * u128::from(unit))),
        ],
    );
}

#[test]
fn every_word_of_the_rules_stands_where_cairo_has_it() {
    let genesis = dev_genesis();
    let count = |x: u64| Felt::from(x) + Felt::ONE;
    check(
        "Rules",
        StateWrite::Rules,
        &[
            ("version", Felt::ONE),
            ("rules_version", Felt::ONE),
            ("settlement_chain_id", 31_337.into()),
            ("operator", genesis.operator.0),
            ("bridge", felt("0x5fc8d32690cc91d4c39d9d3abcbd16989f875707")),
            ("fee_account", genesis.fee_account.0),
            ("insurance_account", genesis.insurance_account.0),
            ("quorum", Felt::TWO),
            ("publisher_count", Felt::THREE),
            ("report_age_max_ms", count(5_000)),
            ("stale_ms", count(10_000)),
        ],
    );
}

fn incident(cancelled: u32) -> IncidentValue {
    let mut integrity_report = Bytes32::default();
    integrity_report.0[0] = 9;
    integrity_report.0[31] = 7;
    IncidentValue {
        incident: IncidentId(2),
        reasons: LossReasons(6),
        observed_ts: Ts(50),
        seq: Seq(60),
        cancelled,
        integrity_report,
    }
}

#[test]
fn an_incident_keeps_its_cancel_root() {
    let root = Felt::from(0xabcu32);
    let mut layout = Layout::new();
    let slot = layout.slot(Key::Incident(IncidentId(2))) + Felt::from(CANCEL_ROOT_OFFSET);
    for (cancelled, given, stored) in [
        (3, Some(root), Some(root)),
        (3, None, None),
        (0, None, Some(NO_CANCEL_ROOT)),
        (0, Some(root), Some(NO_CANCEL_ROOT)),
    ] {
        let slots: BTreeMap<Felt, Felt> = layout.storage_incident(&incident(cancelled), given).into_iter().collect();
        assert_eq!(slots.get(&slot).copied(), stored, "cancelled {cancelled}, root {given:?}");
        assert_eq!(slots.len(), 7 + usize::from(stored.is_some()));
        assert!(slots.values().all(|value| *value != Felt::ZERO));
    }
    assert_eq!(NO_CANCEL_ROOT, short_string("NONE"));
    assert_eq!(members("Incident")[CANCEL_ROOT_OFFSET as usize], "cancel_root");
}

#[test]
fn an_incident_comes_back_from_storage_once_its_root_is_there() {
    let genesis = dev_genesis();
    let mut layout = Layout::new();
    let write = StateWrite::Incident(incident(3));
    let stored: BTreeMap<Felt, Felt> = layout.storage(&genesis, &write).into_iter().collect();
    let missing = layout.load(&genesis, &write, &mut |slot| stored.get(&slot).copied().unwrap_or_default());
    let key = Key::Incident(IncidentId(2));
    assert_eq!(missing, Err(LoadError { key, offset: CANCEL_ROOT_OFFSET, kind: LoadErrorKind::Missing }));
    let stored: BTreeMap<Felt, Felt> = layout.storage_incident(&incident(3), Some(Felt::from(5))).into_iter().collect();
    let loaded = layout.load(&genesis, &write, &mut |slot| stored.get(&slot).copied().unwrap_or_default());
    assert_eq!(loaded, Ok(write));
}

#[test]
#[should_panic(expected = "oracle price is zero")]
fn a_zero_price_is_never_stored() {
    let write = StateWrite::Price { market: MarketId(0), oracle: Price(0), mark: Price(1), ts: Ts(1) };
    Layout::new().storage(&dev_genesis(), &write);
}

fn any_signed() -> impl Strategy<Value = i128> {
    prop_oneof![Just(0), Just(i128::MAX), Just(i128::MIN + 1), (i128::MIN + 1).., -1000i128..1000]
}
fn any_account() -> impl Strategy<Value = Address> {
    (1u64..).prop_map(|x| Address(Felt::from(x) * Felt::from(u64::MAX)))
}
fn any_market() -> impl Strategy<Value = MarketId> {
    (0u16..4).prop_map(MarketId)
}
fn any_asset() -> impl Strategy<Value = AssetId> {
    (0u16..3).prop_map(AssetId)
}
fn any_ts() -> impl Strategy<Value = Ts> {
    prop_oneof![Just(0), any::<u64>()].prop_map(Ts)
}
fn any_phase() -> impl Strategy<Value = Phase> {
    proptest::sample::select(Phase::ALL)
}

fn any_write() -> impl Strategy<Value = StateWrite> {
    let account = (any_account(), 1u64.., any::<u8>()).prop_map(|(account, key, template)| StateWrite::Account {
        account,
        key: StarkKey(key.into()),
        template,
    });
    let balance = (any_account(), any_asset(), any_signed()).prop_map(|(account, asset, amount)| StateWrite::Balance {
        account,
        asset,
        amount: Amount(amount),
    });
    let position = (any_account(), any_market(), any_signed(), any_signed(), any_signed()).prop_map(
        |(account, market, size, cost, funding_index)| StateWrite::Position {
            account,
            market,
            position: PositionValue { size, cost, funding_index },
        },
    );
    let funding = (any_market(), any_signed(), any_signed()).prop_map(|(market, index, pool)| StateWrite::Funding {
        market,
        index: Amount(index),
        pool: Amount(pool),
    });
    let price = (any_market(), 1u64.., 1u64.., any_ts()).prop_map(|(market, oracle, mark, ts)| StateWrite::Price {
        market,
        oracle: Price(oracle),
        mark: Price(mark),
        ts,
    });
    let totals = (any_asset(), any_signed(), any_signed()).prop_map(|(asset, deposited, withdrawn)| StateWrite::Totals {
        asset,
        deposited: Amount(deposited),
        withdrawn: Amount(withdrawn),
    });
    let message = any::<u64>().prop_map(|message_nonce| StateWrite::MessageConsumed { message_nonce });
    let withdrawals = prop_oneof![Just(0), any::<u64>()].prop_map(|count| StateWrite::WithdrawalCount { count });
    let phase = (any_phase(), 0u32..3, any_ts()).prop_map(|(phase, incident, since)| StateWrite::Phase {
        phase,
        incident: IncidentId(incident),
        since,
    });
    let incident = (1u32.., any::<u32>(), any_ts(), any::<u64>(), prop::array::uniform32(0u8..)).prop_map(
        |(incident, reasons, observed_ts, seq, report)| {
            StateWrite::Incident(IncidentValue {
                incident: IncidentId(incident),
                reasons: LossReasons(reasons),
                observed_ts,
                seq: Seq(seq),
                cancelled: 0,
                integrity_report: Bytes32(report),
            })
        },
    );
    prop_oneof![
        account,
        balance,
        position,
        funding,
        price,
        totals,
        message,
        withdrawals,
        phase,
        incident,
        any_market().prop_map(StateWrite::Market),
        any_asset().prop_map(StateWrite::Asset),
        Just(StateWrite::Rules),
    ]
}

proptest! {
    #[test]
    fn every_write_stores_only_non_zero_words_and_comes_back(write in any_write()) {
        let genesis = dev_genesis();
        let mut layout = Layout::new();
        let slots = layout.storage(&genesis, &write);
        prop_assert!(!slots.is_empty());
        prop_assert!(slots.iter().all(|(key, value)| *value != Felt::ZERO && *key < keel_types::address_bound()));
        let stored: BTreeMap<Felt, Felt> = slots.iter().copied().collect();
        prop_assert_eq!(stored.len(), slots.len(), "no slot is written twice");
        let mut read = |slot: Felt| stored.get(&slot).copied().unwrap_or_default();
        prop_assert_eq!(layout.load(&genesis, &write, &mut read), Ok(write.clone()));
        // A lost word is an error, never a zero.
        for lost in stored.keys() {
            let mut read = |slot: Felt| if slot == *lost { Felt::ZERO } else { stored.get(&slot).copied().unwrap_or_default() };
            let error = layout.load(&genesis, &write, &mut read).expect_err("a word is lost");
            prop_assert_eq!(error.kind, LoadErrorKind::Missing);
        }
    }
}

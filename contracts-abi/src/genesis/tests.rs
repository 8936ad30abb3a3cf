use super::*;
use crate::starknet::{account_class, template_address};
use serde_json::Value;
use sha3::{Digest, Keccak256};

const DEV_KEYS: &str = include_str!("../../../genesis/dev-keys.json");
const SCHEMA: &str = include_str!("../../../genesis/schema.json");

/// The development genesis.
pub(crate) fn dev_genesis() -> Genesis {
    load(DEV).expect("dev.json is a genesis")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// dev.json with one value replaced; `Null` removes it.
fn edited(pointer: &str, value: Value) -> Value {
    let mut document = json(DEV);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(map) if value.is_null() => {
            map.remove(name).unwrap();
        }
        Value::Object(map) => {
            map.insert(name.to_string(), value);
        }
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer} is no field"),
    }
    document
}

fn field_of(document: &Value) -> String {
    match load(&document.to_string()) {
        Ok(_) => "accepted".to_string(),
        Err(GenesisError::Field { field, .. }) => field,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_development_chain_is_as_agreed() {
    let genesis = dev_genesis();
    assert_eq!(genesis.chain_id.0, short_string("KEEL_DEV"));
    let markets: Vec<&str> = genesis.markets.iter().map(|market| market.name.as_str()).collect();
    assert_eq!(markets, ["ETH-USDC", "BTC-USDC", "ETH-USDC-PERP", "BTC-USDC-PERP"]);
    assert_eq!(genesis.markets[1].kind, MarketKind::Spot { base: AssetId(2) });
    assert_eq!(genesis.asset(keel_types::QUOTE).unwrap().quantums_per_l1_unit, 100);
    assert_eq!((genesis.oracle.publishers.len(), genesis.oracle.quorum), (3, 2));
    let layer = SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs };
    assert_eq!(genesis.settlement.layer, layer);
    assert_eq!((genesis.settlement.deposit_depth, genesis.settlement.confirm_depth), (3, 2));
    assert_eq!(genesis.account_templates[0].name, "keel");
    assert_eq!(genesis.account_templates[0].class_hash.0, account_class().class_hash);
    assert_eq!(genesis.markets[2].fee_maker_ppm, -50);
    assert_eq!(genesis.markets[2].initial_price, Price(300_000_000_000));
}

/// Address of the contract that an account creates: the last 20 bytes of keccak(rlp([account, nonce])); nonce below 128.
fn create_address(deployer: &str, nonce: u8) -> String {
    let deployer = dev_genesis().settlement.layer.parse_address(deployer).unwrap();
    let mut rlp = vec![0xc0 + 22, 0x80 + 20];
    rlp.extend(deployer.to_ethereum().unwrap());
    rlp.push(if nonce == 0 { 0x80 } else { nonce });
    let digest: [u8; 32] = Keccak256::digest(&rlp).into();
    keel_types::L1Address::ethereum(digest[12..].try_into().unwrap()).to_string()
}

#[test]
fn settlement_contracts_are_where_the_first_development_account_puts_them() {
    let keys = json(DEV_KEYS);
    let deployer = keys["settlement"]["deployer"]["address"].as_str().unwrap();
    let dev = json(DEV);
    let places = [
        "/assets/0/token",
        "/assets/1/token",
        "/assets/2/token",
        "/settlement/registry",
        "/settlement/core",
        "/settlement/bridge",
    ];
    for (nonce, place) in places.iter().enumerate() {
        assert_eq!(dev.pointer(place).unwrap(), create_address(deployer, nonce as u8).as_str(), "{place}");
    }
}

#[test]
fn development_keys_are_those_of_the_genesis() {
    let (genesis, keys) = (dev_genesis(), json(DEV_KEYS));
    let key = |value: &Value| {
        let private = Felt::from_hex_unchecked(value["private_key"].as_str().unwrap());
        let public = starknet_crypto::get_public_key(&private);
        assert_eq!(public, Felt::from_hex_unchecked(value["public_key"].as_str().unwrap()));
        StarkKey(public)
    };
    let account = |value: &Value| {
        let address = template_address(&genesis.account_templates[0], key(value));
        assert_eq!(address.to_string(), value["account"].as_str().unwrap());
        address
    };
    assert_eq!(key(&keys["operator"]), genesis.block_key);
    assert_eq!(account(&keys["operator"]), genesis.operator);
    assert_eq!(account(&keys["fee"]), genesis.fee_account);
    assert_eq!(account(&keys["insurance"]), genesis.insurance_account);
    let publishers: Vec<StarkKey> = keys["publishers"].as_array().unwrap().iter().map(key).collect();
    assert_eq!(publishers, genesis.oracle.publishers);
    let traders: Vec<Address> = keys["traders"].as_array().unwrap().iter().map(account).collect();
    assert_eq!(traders.len(), 8);
    assert!(keys["WARNING"].as_str().unwrap().contains("DEVELOPMENT KEYS"));
}

#[test]
fn the_schema_accepts_the_development_genesis() {
    let schema = jsonschema::validator_for(&json(SCHEMA)).unwrap();
    let errors: Vec<String> =
        schema.iter_errors(&json(DEV)).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// What the schema can see as well as the loader: (pointer, value, field named).
fn shape_cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/chain_id", Value::Null, "chain_id"),
        ("/chain_id", "".into(), "chain_id"),
        ("/chain_id", "0x4b".into(), "chain_id"),
        ("/chain_id", "SN_MAIN".into(), "chain_id"),
        ("/chain_idx", "KEEL".into(), "chain_idx"),
        ("/rules_version", 0.into(), "rules_version"),
        ("/rules_version", "1".into(), "rules_version"),
        ("/time_ms", (-1).into(), "time_ms"),
        ("/starknet_version", "0.13.0".into(), "starknet_version"),
        ("/exchange", "0x00012".into(), "exchange"),
        ("/exchange", 18.into(), "exchange"),
        ("/operator", "17".into(), "operator"),
        ("/settlement/layer", "bitcoin".into(), "settlement.layer"),
        ("/settlement/layer", "starknet".into(), "settlement.data"),
        ("/settlement/data", Value::Null, "settlement.data"),
        ("/settlement/data", "chunks".into(), "settlement.data"),
        ("/settlement/chain_id", "0x7a69".into(), "settlement.chain_id"),
        ("/assets/1/token", "0x8".into(), "assets[1].token"),
        ("/settlement/core", "0x12".into(), "settlement.core"),
        ("/settlement/confirm_depth", 0.into(), "settlement.confirm_depth"),
        ("/settlement/deposit_depth", "3".into(), "settlement.deposit_depth"),
        ("/settlement/finality", 3.into(), "settlement.finality"),
        ("/account_templates", Value::Array(vec![]), "account_templates"),
        ("/account_templates/0/salt", "Key".into(), "account_templates[0].salt"),
        ("/assets/0/l1_decimals", 18.into(), "assets[0].l1_decimals"),
        ("/assets/1/symbol", "1INCH".into(), "assets[1].symbol"),
        ("/assets/1/deposit_max", 10.into(), "assets[1].deposit_max"),
        ("/assets/1/name", "Ether".into(), "assets[1].name"),
        ("/markets/0/tick_size", Value::Null, "markets[0].tick_size"),
        ("/markets/0/tick_size", "0.000000001".into(), "markets[0].tick_size"),
        ("/markets/0/tick_size", "1e-2".into(), "markets[0].tick_size"),
        ("/markets/0/lot_size", "-1".into(), "markets[0].lot_size"),
        ("/markets/1/fee_taker", "0.0000001".into(), "markets[1].fee_taker"),
        ("/markets/1/type", "future".into(), "markets[1].type"),
        ("/markets/1/imf", "0.1".into(), "markets[1].imf"),
        ("/markets/2/base", "ETH".into(), "markets[2].base"),
        ("/markets/2/imf", Value::Null, "markets[2].imf"),
        ("/markets/3/name", "BTC USDC".into(), "markets[3].name"),
        ("/markets/3/impact_notional", "".into(), "markets[3].impact_notional"),
        ("/oracle/quorum", 0.into(), "oracle.quorum"),
        ("/oracle/publishers/1", "0xz".into(), "oracle.publishers[1]"),
        ("/oracle/stale_ms", 0.into(), "oracle.stale_ms"),
        ("/limits/fills_per_command", 1001.into(), "limits.fills_per_command"),
        ("/limits/nonces_per_account", 65_537.into(), "limits.nonces_per_account"),
        ("/limits/orders_per_account_market", 0.into(), "limits.orders_per_account_market"),
    ]
}

#[test]
fn a_bad_shape_is_refused_by_name_and_by_the_schema() {
    let schema = jsonschema::validator_for(&json(SCHEMA)).unwrap();
    for (pointer, value, field) in shape_cases() {
        let document = edited(pointer, value.clone());
        assert_eq!(field_of(&document), field, "{pointer} = {value}");
        assert!(!schema.is_valid(&document), "the schema accepts {pointer} = {value}");
    }
}

#[test]
fn a_genesis_that_breaks_a_rule_is_refused_by_name() {
    let dev = json(DEV);
    let at = |pointer: &str| dev.pointer(pointer).unwrap().clone();
    let prime = "0x800000000000011000000000000000000000000000000000000000000000001";
    let cases = [
        ("/exchange", at("/fee_account"), "exchange"),
        ("/exchange", "0x1".into(), "exchange"),
        ("/exchange", "0x10".into(), "exchange"),
        ("/operator", "0x10".into(), "operator"),
        ("/sequencer", at("/exchange"), "sequencer"),
        ("/fee_token", "0x10".into(), "fee_token"),
        ("/insurance_account", at("/fee_account"), "insurance_account"),
        (
            "/insurance_account",
            "0x7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00".into(),
            "insurance_account",
        ),
        ("/config_hash", "0x1".into(), "config_hash"),
        ("/program_hash", prime.into(), "program_hash"),
        ("/program_hash", "0x1".into(), "program_hash"),
        ("/rules_version", 2.into(), "exchange"),
        ("/block_key", "0x5".into(), "block_key"),
        ("/settlement/bridge", at("/settlement/core"), "settlement.bridge"),
        ("/settlement/registry", at("/assets/0/token"), "settlement.registry"),
        ("/settlement/core", "0x0000000000000000000000000000000000000000".into(), "settlement.core"),
        ("/account_templates/1/name", "keel".into(), "account_templates[1].name"),
        ("/account_templates/1/constructor_calldata/1", "0x1".into(), "account_templates[1].constructor_calldata"),
        ("/assets/0/symbol", "ETH".into(), "assets[1]"),
        ("/assets/1/token", at("/assets/0/token"), "assets[1]"),
        ("/assets/0/deposit_max", "1000000000001".into(), "assets[0].deposit_max"),
        ("/assets/0/deposit_max", "0".into(), "assets[0].deposit_max"),
        ("/assets/0/deposit_max", "99999999999999999999999999999999999999999".into(), "assets[0].deposit_max"),
        ("/markets/0/base", "USDC".into(), "markets[0].base"),
        ("/markets/0/base", "DOGE".into(), "markets[0].base"),
        ("/markets/0/tick_size", "0.00000001".into(), "markets[0].tick_size"),
        ("/markets/0/tick_size", "0".into(), "markets[0].tick_size"),
        ("/markets/0/price_max", "184467440738".into(), "markets[0].price_max"),
        ("/markets/0/price_max", "100000001".into(), "markets[0].price_max"),
        ("/markets/0/initial_price", "1000000.01".into(), "markets[0].initial_price"),
        ("/markets/0/notional_min", "5000001".into(), "markets[0].notional_min"),
        ("/markets/0/fee_maker", "-0.0005".into(), "markets[0].fee_maker"),
        ("/markets/0/fee_taker", "-0.0001".into(), "markets[0].fee_taker"),
        ("/markets/0/band", "1".into(), "markets[0].band"),
        ("/markets/0/band", "0".into(), "markets[0].band"),
        ("/markets/1/name", "ETH-USDC".into(), "markets[1].name"),
        ("/markets/2/imf", "1.1".into(), "markets[2].imf"),
        ("/markets/2/mmf_factor", "1".into(), "markets[2].mmf_factor"),
        ("/markets/2/position_max", "1000001".into(), "markets[2].position_max"),
        ("/markets/2/open_interest_lower", "200000000".into(), "markets[2].open_interest_lower"),
        ("/oracle/quorum", 1.into(), "oracle.quorum"),
        ("/oracle/quorum", 4.into(), "oracle.quorum"),
        ("/oracle/publishers/1", at("/oracle/publishers/0"), "oracle.publishers[1]"),
        ("/oracle/publishers/1", "0x5".into(), "oracle.publishers[1]"),
    ];
    for (pointer, value, field) in cases {
        assert_eq!(field_of(&edited(pointer, value.clone())), field, "{pointer} = {value}");
    }
}

/// dev.json, but for where it settles.
fn on_starknet() -> Value {
    let mut document = json(DEV);
    let address = |n: usize| Value::from(format!("0x{n}{}", "1".repeat(60)));
    for i in 0..3 {
        document["assets"][i]["token"] = address(i + 1);
    }
    document["settlement"] = serde_json::json!({
        "layer": "starknet", "chain_id": "0x534e5f5345504f4c4941", "core": address(4), "bridge": address(5),
        "registry": address(6), "deposit_depth": 0, "confirm_depth": 1,
    });
    document
}

#[test]
fn a_chain_may_settle_on_starknet() {
    let mut document = on_starknet();
    // Its exchange knows the bridge and therefore has another address; the error says which.
    let problem = |document: &Value, at: &str| match load(&document.to_string()) {
        Err(GenesisError::Field { field, problem: Problem::Value(why) }) if field == at => why,
        other => panic!("{at}: {other:?}"),
    };
    for field in ["exchange", "fee_token", "config_hash"] {
        let why = problem(&document, field);
        document[field] = why.split_whitespace().nth(2).unwrap().trim_end_matches(',').into();
    }
    let genesis = load(&document.to_string()).unwrap();
    assert_eq!(genesis.settlement.layer, SettlementLayer::Starknet { chain_id: FeltBytes(short_string("SN_SEPOLIA")) });
    assert_eq!(genesis.settlement.core.to_string(), format!("0x4{}", "1".repeat(60)));
    let schema = jsonschema::validator_for(&json(SCHEMA)).unwrap();
    assert!(schema.is_valid(&document), "{:?}", schema.iter_errors(&document).map(|e| e.to_string()).collect::<Vec<_>>());
    for (field, value) in
        [("data", "calldata".into()), ("chain_id", 5.into()), ("core", "0x0".into()), ("core", "0xg".into())]
    {
        let mut document = document.clone();
        document["settlement"][field] = value;
        assert_eq!(field_of(&document), format!("settlement.{field}"));
    }
}

#[test]
fn an_error_says_what_the_value_must_be() {
    let document = edited("/fee_token", "0x10".into());
    let error = load(&document.to_string()).unwrap_err().to_string();
    let right = format!("{:#x}", dev_genesis().fee_token.0);
    assert_eq!(error, format!("genesis field fee_token: must be {right}, which follows from the other fields"));
    assert!(matches!(load("{"), Err(GenesisError::Json(_))));
}

#[test]
fn every_limit_in_the_schema_says_why() {
    fn walk(path: &str, schema: &Value) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let path = format!("{path}/{name}");
                let described = property["description"].as_str().is_some_and(|text| text.len() > 10);
                assert!(described, "{path} has no description");
                walk(&path, property);
                walk(&path, &property["items"]);
            }
        }
        for case in schema["oneOf"].as_array().into_iter().flatten() {
            walk(path, case);
        }
    }
    walk("", &json(SCHEMA));
}

//! Reads `genesis/*.json`: human decimals in, the engine's integers out. Every refusal names its field.
//!
//! The shape and the reason of each limit stand in `genesis/schema.json`; what a schema cannot say (addresses follow from
//! keys and rules, no product overflows) is checked here and in [Genesis::check].

mod reader;

use crate::starknet::{config_hash, exchange_address, fee_token_address, operator_address, program_hash, short_string};
use keel_types::{
    AccountTemplate, Address, Amount, AssetId, AssetSpec, DataForm, EngineLimits, FILLS_PER_COMMAND_MAX, FeltBytes, Genesis,
    MarketKind, MarketSpec, OracleSpec, PerpetualSpec, Price, Qty, SettlementLayer, SettlementSpec, StarkKey, TemplateWord,
    Ts,
};
use reader::{Fields, Node};
use starknet_types_core::felt::Felt;
use std::fmt;

/// The protocol version this node implements; a genesis names it so that both ends agree. [spec settlement, Chain constants]
pub const STARKNET_VERSION: &str = "0.14.2";

/// Text of `genesis/dev.json`, the development chain.
pub const DEV: &str = include_str!("../../genesis/dev.json");

/// Decimals of prices, sizes and amounts.
const QUANTUM_DECIMALS: u32 = 8;
/// Decimals of rates.
const RATE_DECIMALS: u32 = 6;
/// Chain ids that are not ours to use: a signature for one chain must never hold on another.
const FOREIGN_CHAIN_IDS: &[&str] = &["SN_MAIN", "SN_SEPOLIA", "SN_INTEGRATION_SEPOLIA", "SN_GOERLI"];

/// Why a genesis is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenesisError {
    /// Not JSON at all.
    Json(String),
    /// A field is at fault.
    Field {
        /// Path of the field, as `markets[2].tick_size`.
        field: String,
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    Missing,
    /// No such field exists.
    Unknown,
    /// It should have been this.
    Type(&'static str),
    /// Its value breaks this rule.
    Value(String),
}

impl fmt::Display for GenesisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GenesisError::Json(why) => write!(f, "genesis is not JSON: {why}"),
            GenesisError::Field { field, problem } => {
                write!(f, "genesis field {field}: ")?;
                match problem {
                    Problem::Missing => f.write_str("missing"),
                    Problem::Unknown => f.write_str("unknown field"),
                    Problem::Type(expected) => write!(f, "must be {expected}"),
                    Problem::Value(why) => f.write_str(why),
                }
            }
        }
    }
}

impl std::error::Error for GenesisError {}

/// The genesis of a chain, from the text of its file.
///
/// Refused are unknown fields, values out of range, rules under which money could overflow or be inexact, and addresses or hashes
/// that are not those that follow from the rest.
pub fn load(json: &str) -> Result<Genesis, GenesisError> {
    let document = serde_json::from_str(json).map_err(|error| GenesisError::Json(error.to_string()))?;
    let root = Node::root(&document);
    let fields = root.fields(&[
        "$schema",
        "chain_id",
        "starknet_version",
        "program_hash",
        "config_hash",
        "rules_version",
        "time_ms",
        "block_key",
        "exchange",
        "operator",
        "fee_token",
        "sequencer",
        "fee_account",
        "insurance_account",
        "settlement",
        "account_templates",
        "assets",
        "markets",
        "oracle",
        "limits",
    ])?;
    let settlement = read_settlement(&fields.get("settlement")?)?;
    let assets = each(&fields.get("assets")?, |node| read_asset(node, &settlement.layer))?;
    let markets = each(&fields.get("markets")?, |node| read_market(node, &assets))?;
    let genesis = Genesis {
        chain_id: read_chain_id(&fields)?,
        rules_version: fields.get("rules_version")?.integer(1, u32::MAX.into())?,
        ts: read_time(&fields)?,
        exchange: fields.get("exchange")?.address()?,
        operator: fields.get("operator")?.address()?,
        fee_token: fields.get("fee_token")?.address()?,
        sequencer: fields.get("sequencer")?.address()?,
        block_key: fields.get("block_key")?.stark_key()?,
        settlement,
        account_templates: read_templates(&fields.get("account_templates")?)?,
        fee_account: fields.get("fee_account")?.address()?,
        insurance_account: fields.get("insurance_account")?.address()?,
        assets,
        markets,
        oracle: read_oracle(&fields.get("oracle")?)?,
        limits: read_limits(&fields.get("limits")?)?,
    };
    check_rules(&genesis)?;
    check_distinct(&genesis)?;
    check_computed(&fields, &genesis)?;
    Ok(genesis)
}

fn each<T>(list: &Node, read: impl Fn(&Node) -> Result<T, GenesisError>) -> Result<Vec<T>, GenesisError> {
    list.list()?.iter().map(read).collect()
}

fn read_chain_id(fields: &Fields) -> Result<FeltBytes, GenesisError> {
    let node = fields.get("chain_id")?;
    let name = node.name()?;
    if FOREIGN_CHAIN_IDS.contains(&name) {
        return Err(node.wrong("is the id of another chain"));
    }
    Ok(FeltBytes(short_string(name)))
}

fn read_time(fields: &Fields) -> Result<Ts, GenesisError> {
    // Year 2554 is where nanoseconds leave 64 bits.
    Ok(Ts::from_ms(fields.get("time_ms")?.integer(1, u64::MAX / 1_000_000)?))
}

fn read_settlement(node: &Node) -> Result<SettlementSpec, GenesisError> {
    let common = ["layer", "chain_id", "core", "bridge", "registry", "deposit_depth", "confirm_depth"];
    let with_data = [&common[..], &["data"]].concat();
    let fields = node.fields(&with_data)?;
    let chain_id = || fields.get("chain_id");
    let layer = match fields.get("layer")?.choice(&["ethereum", "starknet"])? {
        0 => {
            let data = match fields.get("data")?.choice(&["blobs", "calldata"])? {
                0 => DataForm::Blobs,
                _ => DataForm::Calldata,
            };
            SettlementLayer::Ethereum { chain_id: chain_id()?.integer(1, u64::MAX)?, data }
        }
        // Data has one form there.
        _ => {
            node.fields(&common)?;
            SettlementLayer::Starknet { chain_id: chain_id()?.non_zero_felt()? }
        }
    };
    Ok(SettlementSpec {
        layer,
        core: fields.get("core")?.l1_address(&layer)?,
        bridge: fields.get("bridge")?.l1_address(&layer)?,
        registry: fields.get("registry")?.l1_address(&layer)?,
        deposit_depth: fields.get("deposit_depth")?.integer(0, 10_000)?,
        confirm_depth: fields.get("confirm_depth")?.integer(1, 10_000)?,
    })
}

fn read_templates(node: &Node) -> Result<Vec<AccountTemplate>, GenesisError> {
    let templates = each(node, read_template)?;
    if templates.is_empty() || templates.len() > 256 {
        return Err(node.wrong("must have between 1 and 256 templates"));
    }
    for (i, template) in templates.iter().enumerate() {
        if templates[..i].iter().any(|other| other.name == template.name) {
            return Err(field_error(format!("account_templates[{i}].name"), "must be unique"));
        }
    }
    Ok(templates)
}

fn read_template(node: &Node) -> Result<AccountTemplate, GenesisError> {
    let fields = node.fields(&["name", "class_hash", "salt", "constructor_calldata"])?;
    let word = |node: &Node| match node.text()? {
        "key" => Ok(TemplateWord::Key),
        _ => Ok(TemplateWord::Const(FeltBytes(node.felt()?))),
    };
    let template = AccountTemplate {
        name: fields.get("name")?.name()?.to_string(),
        class_hash: fields.get("class_hash")?.non_zero_felt()?,
        salt: word(&fields.get("salt")?)?,
        constructor_calldata: each(&fields.get("constructor_calldata")?, word)?,
    };
    if !template.constructor_calldata.contains(&TemplateWord::Key) {
        return Err(fields.get("constructor_calldata")?.wrong("must contain \"key\": else the account is not the key's"));
    }
    Ok(template)
}

fn read_asset(node: &Node, layer: &SettlementLayer) -> Result<AssetSpec, GenesisError> {
    let fields = node.fields(&["symbol", "token", "l1_decimals", "deposit_max"])?;
    let l1_decimals: u32 = fields.get("l1_decimals")?.integer(0, QUANTUM_DECIMALS.into())?;
    Ok(AssetSpec {
        symbol: fields.get("symbol")?.name()?.to_string(),
        token: fields.get("token")?.l1_address(layer)?,
        quantums_per_l1_unit: 10u64.pow(QUANTUM_DECIMALS - l1_decimals),
        deposit_max: amount(&fields, "deposit_max")?,
    })
}

const MARKET_FIELDS: [&str; 14] = [
    "name",
    "type",
    "tick_size",
    "lot_size",
    "fee_maker",
    "fee_taker",
    "band",
    "notional_min",
    "notional_max",
    "price_max",
    "size_max",
    "oracle_move_max",
    "initial_price",
    "base",
];
const PERPETUAL_FIELDS: [&str; 9] = [
    "imf",
    "mmf_factor",
    "open_interest_lower",
    "open_interest_upper",
    "open_interest_max",
    "position_max",
    "funding_rate_max",
    "liquidation_fee",
    "impact_notional",
];

fn read_market(node: &Node, assets: &[AssetSpec]) -> Result<MarketSpec, GenesisError> {
    let all: Vec<&str> = MARKET_FIELDS.into_iter().chain(PERPETUAL_FIELDS).collect();
    let is_perpetual = node.fields(&all)?.get("type")?.choice(&["spot", "perpetual"])? == 1;
    let kind = if is_perpetual {
        let known: Vec<&str> = all.into_iter().filter(|field| *field != "base").collect();
        MarketKind::Perpetual(read_perpetual(&node.fields(&known)?)?)
    } else {
        let base = node.fields(&MARKET_FIELDS)?.get("base")?;
        let symbol = base.text()?;
        let position = assets.iter().position(|asset| asset.symbol == symbol);
        let id = position.ok_or_else(|| base.wrong("must be the symbol of a listed asset"))?;
        MarketKind::Spot { base: AssetId(u16::try_from(id).map_err(|_| base.wrong("too many assets"))?) }
    };
    let fields = node.fields(&[&MARKET_FIELDS[..], &PERPETUAL_FIELDS[..]].concat())?;
    Ok(MarketSpec {
        name: fields.get("name")?.name()?.to_string(),
        kind,
        tick_size: price(&fields, "tick_size")?,
        lot_size: size(&fields, "lot_size")?,
        fee_maker_ppm: fields.get("fee_maker")?.decimal(RATE_DECIMALS)?,
        fee_taker_ppm: fields.get("fee_taker")?.decimal(RATE_DECIMALS)?,
        band_ppm: rate(&fields, "band", 1)?,
        notional_min: amount(&fields, "notional_min")?,
        notional_max: amount(&fields, "notional_max")?,
        price_max: price(&fields, "price_max")?,
        size_max: size(&fields, "size_max")?,
        oracle_move_max_ppm: rate(&fields, "oracle_move_max", 1)?,
        initial_price: price(&fields, "initial_price")?,
    })
}

fn read_perpetual(fields: &Fields) -> Result<PerpetualSpec, GenesisError> {
    Ok(PerpetualSpec {
        imf_ppm: rate(fields, "imf", 1)?,
        mmf_factor_ppm: rate(fields, "mmf_factor", 1)?,
        open_interest_lower: amount(fields, "open_interest_lower")?,
        open_interest_upper: amount(fields, "open_interest_upper")?,
        open_interest_max: size(fields, "open_interest_max")?,
        position_max: size(fields, "position_max")?,
        funding_rate_max_ppm: rate(fields, "funding_rate_max", 0)?,
        liquidation_fee_ppm: rate(fields, "liquidation_fee", 0)?,
        impact_notional: amount(fields, "impact_notional")?,
    })
}

fn read_oracle(node: &Node) -> Result<OracleSpec, GenesisError> {
    let fields = node.fields(&["publishers", "quorum", "report_age_max_ms", "stale_ms"])?;
    let publishers: Vec<StarkKey> = each(&fields.get("publishers")?, |node| node.stark_key())?;
    for (i, key) in publishers.iter().enumerate() {
        if publishers[..i].contains(key) {
            return Err(field_error(format!("oracle.publishers[{i}]"), "must be unique: one publisher, one voice"));
        }
    }
    let oracle = OracleSpec {
        publishers,
        quorum: fields.get("quorum")?.integer(1, 255)?,
        report_age_max_ms: fields.get("report_age_max_ms")?.integer(1, 3_600_000)?,
        stale_ms: fields.get("stale_ms")?.integer(1, 3_600_000)?,
    };
    if usize::from(oracle.quorum) * 2 <= oracle.publishers.len() {
        return Err(fields.get("quorum")?.wrong("must be more than half of the publishers"));
    }
    Ok(oracle)
}

fn read_limits(node: &Node) -> Result<EngineLimits, GenesisError> {
    let fields = node.fields(&["orders_per_account_market", "nonces_per_account", "fills_per_command"])?;
    Ok(EngineLimits {
        orders_per_account_market: fields.get("orders_per_account_market")?.integer(1, 10_000)?,
        nonces_per_account: fields.get("nonces_per_account")?.integer(1, 65_536)?,
        fills_per_command: fields.get("fills_per_command")?.integer(1, FILLS_PER_COMMAND_MAX.into())?,
    })
}

fn price(fields: &Fields, name: &str) -> Result<Price, GenesisError> {
    let node = fields.get(name)?;
    match node.decimal(QUANTUM_DECIMALS)? {
        0 => Err(node.wrong("must be positive")),
        price => Ok(Price(price)),
    }
}

fn size(fields: &Fields, name: &str) -> Result<Qty, GenesisError> {
    let node = fields.get(name)?;
    match node.decimal(QUANTUM_DECIMALS)? {
        0 => Err(node.wrong("must be positive")),
        size => Ok(Qty(size)),
    }
}

/// A positive amount.
fn amount(fields: &Fields, name: &str) -> Result<Amount, GenesisError> {
    let node = fields.get(name)?;
    match node.decimal(QUANTUM_DECIMALS)? {
        amount if amount <= 0 => Err(node.wrong("must be positive")),
        amount => Ok(Amount(amount)),
    }
}

/// A rate of at most 1, in parts in a million.
fn rate(fields: &Fields, name: &str, min: u32) -> Result<u32, GenesisError> {
    let node = fields.get(name)?;
    match node.decimal(RATE_DECIMALS)? {
        ppm if ppm < min || ppm > 1_000_000 => {
            Err(node.wrong(if min == 0 { "must be between 0 and 1" } else { "must be above 0 and at most 1" }))
        }
        ppm => Ok(ppm),
    }
}

fn field_error(field: String, why: impl Into<String>) -> GenesisError {
    GenesisError::Field { field, problem: Problem::Value(why.into()) }
}

/// [Genesis::check], whose errors are `field: why`.
fn check_rules(genesis: &Genesis) -> Result<(), GenesisError> {
    genesis.check().map_err(|error| match error.split_once(": ") {
        Some((field, why)) => field_error(field.to_string(), why),
        None => field_error(String::new(), error),
    })
}

/// Contracts and accounts that must not be one another.
fn check_distinct(genesis: &Genesis) -> Result<(), GenesisError> {
    let ours = [
        ("fee_account", genesis.fee_account),
        ("insurance_account", genesis.insurance_account),
        ("exchange", genesis.exchange),
        ("fee_token", genesis.fee_token),
    ];
    for (i, (field, address)) in ours.iter().enumerate() {
        if ours[..i].iter().any(|(_, other)| other == address) {
            return Err(field_error(field.to_string(), "must not be the address of something else"));
        }
    }
    let settlement = &genesis.settlement;
    let theirs = [("core", settlement.core), ("bridge", settlement.bridge), ("registry", settlement.registry)];
    for (i, (field, address)) in theirs.iter().enumerate() {
        let is_token = genesis.asset_of_token(*address).is_some();
        if is_token || theirs[..i].iter().any(|(_, other)| other == address) {
            return Err(field_error(format!("settlement.{field}"), "must not be the address of something else"));
        }
    }
    Ok(())
}

/// What follows from the rest must be what it is: both ends of settlement start from these.
fn check_computed(fields: &Fields, genesis: &Genesis) -> Result<(), GenesisError> {
    let version = fields.get("starknet_version")?;
    if version.text()? != STARKNET_VERSION {
        return Err(version.wrong(format!("this node implements {STARKNET_VERSION}")));
    }
    let address = |Address(felt)| felt;
    let computed: [(&str, Felt); 6] = [
        ("operator", address(operator_address(genesis.block_key))),
        ("sequencer", address(genesis.operator)),
        ("exchange", address(exchange_address(genesis))),
        ("fee_token", address(fee_token_address(genesis))),
        ("config_hash", config_hash(genesis.chain_id.0, genesis.fee_token)),
        ("program_hash", program_hash(genesis.rules_version)),
    ];
    for (field, expected) in computed {
        let node = fields.get(field)?;
        if node.felt()? != expected {
            return Err(node.wrong(format!("must be {expected:#x}, which follows from the other fields")));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;

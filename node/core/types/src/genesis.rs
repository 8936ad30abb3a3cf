use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};

/// The rules of one chain, as the engine needs them: parsed, range-checked, all integers.
/// Read from `genesis/*.json` by the binary; its BLAKE3 hash names it in snapshots and start-up checks.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// Short string, as a felt.
    pub chain_id: FeltBytes,
    pub rules_version: u32,
    /// Time of block 0.
    pub ts: Ts,
    /// The exchange contract on our chain.
    pub exchange: Address,
    /// Sender of our transactions.
    pub operator: Address,
    pub fee_token: Address,
    /// Sequencer address in block headers.
    pub sequencer: Address,
    /// x coordinate of the key that signs block hashes.
    pub block_key: StarkKey,
    pub settlement: SettlementSpec,
    pub account_templates: Vec<AccountTemplate>,
    /// Receives fees.
    pub fee_account: Address,
    pub insurance_account: Address,
    /// Asset 0 is quote and collateral.
    pub assets: Vec<AssetSpec>,
    pub markets: Vec<MarketSpec>,
    pub oracle: OracleSpec,
    pub limits: EngineLimits,
}

/// The one settlement layer of the chain and our contracts on it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SettlementSpec {
    pub layer: SettlementLayer,
    pub core: L1Address,
    pub bridge: L1Address,
    pub registry: L1Address,
    /// Blocks above a deposit's block before it is final; 0 = the `finalized` tag (Ethereum), ACCEPTED_ON_L1 (Starknet).
    pub deposit_depth: u64,
    /// Blocks above our state update before a batch is CONFIRMED.
    pub confirm_depth: u64,
}

/// Where batches settle; one layer per chain, for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum SettlementLayer {
    Ethereum {
        /// EIP-155 id.
        chain_id: u64,
        data: DataForm,
    },
    /// Data goes there in chunks of calldata.
    Starknet {
        /// Short string, as a felt.
        chain_id: FeltBytes,
    },
}

/// How the data of a batch reaches Ethereum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum DataForm {
    Blobs,
    Calldata,
}

impl SettlementLayer {
    /// Its chain id as a felt: the EIP-155 number, or the short string.
    pub fn chain_id(&self) -> Felt {
        match self {
            SettlementLayer::Ethereum { chain_id, .. } => (*chain_id).into(),
            SettlementLayer::Starknet { chain_id } => chain_id.0,
        }
    }
    /// Whether data goes there as calldata of one transaction, which takes far less than blobs.
    pub fn is_calldata(&self) -> bool {
        matches!(self, SettlementLayer::Ethereum { data: DataForm::Calldata, .. })
    }
    /// Whether the address can exist there: 1..2^160 on Ethereum, 1..2^251-256 on Starknet.
    pub fn admits(&self, address: L1Address) -> bool {
        address.0 != Felt::ZERO
            && match self {
                SettlementLayer::Ethereum { .. } => address.to_ethereum().is_some(),
                SettlementLayer::Starknet { .. } => address.0 < address_bound(),
            }
    }
    /// An address of the layer from its text: `0x` and exactly 40 hex digits on Ethereum, `0x` and at most 64 on Starknet.
    ///
    /// # Errors
    /// What the text should have been.
    pub fn parse_address(&self, text: &str) -> Result<L1Address, &'static str> {
        let expected = match self {
            SettlementLayer::Ethereum { .. } => "must be 0x and 40 hex digits, not zero",
            SettlementLayer::Starknet { .. } => "must be 0x and hex digits, at least 1 and below 2^251 - 256",
        };
        let digits = text.strip_prefix("0x").ok_or(expected)?;
        let length = match self {
            SettlementLayer::Ethereum { .. } => digits.len() == 40,
            SettlementLayer::Starknet { .. } => (1..=64).contains(&digits.len()),
        };
        if !length || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(expected);
        }
        // Reduced by the prime a wide number would be another address.
        let below_prime = |felt: &Felt| format!("{felt:064x}") == format!("{:0>64}", digits.to_ascii_lowercase());
        let felt = Felt::from_hex(text).ok().filter(below_prime).ok_or(expected)?;
        let address = L1Address(felt);
        if self.admits(address) { Ok(address) } else { Err(expected) }
    }
}

impl std::fmt::Display for SettlementLayer {
    /// Its name and chain id.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SettlementLayer::Ethereum { chain_id, .. } => write!(f, "Ethereum chain {chain_id}"),
            SettlementLayer::Starknet { chain_id } => write!(f, "Starknet chain {chain_id}"),
        }
    }
}

/// A shape of account contract whose address can be computed from a key. [spec exchange, Accounts and keys]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct AccountTemplate {
    pub name: String,
    pub class_hash: FeltBytes,
    pub salt: TemplateWord,
    pub constructor_calldata: Vec<TemplateWord>,
}

/// A word of an account template.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum TemplateWord {
    /// The public key.
    Key,
    Const(FeltBytes),
}

/// An asset.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct AssetSpec {
    /// At most 31 ASCII characters.
    pub symbol: String,
    pub token: L1Address,
    /// Quantums per unit of the token on the settlement layer (USDC with 6 decimals: 100).
    pub quantums_per_l1_unit: u64,
    /// Most quantums one deposit may bring.
    pub deposit_max: Amount,
}

/// What a market trades.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum MarketKind {
    Spot { base: AssetId },
    Perpetual(PerpetualSpec),
}

/// A market. Quote is always [QUOTE].
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct MarketSpec {
    /// `ETH-USDC`, `BTC-USDC-PERP`; at most 31 ASCII characters.
    pub name: String,
    pub kind: MarketKind,
    pub tick_size: Price,
    pub lot_size: Qty,
    /// Charged on notional; negative = rebate, never more than the taker fee.
    pub fee_maker_ppm: i32,
    pub fee_taker_ppm: i32,
    /// A buy never trades above mark x (1 + band), a sell never below mark x (1 - band).
    pub band_ppm: u32,
    pub notional_min: Amount,
    pub notional_max: Amount,
    pub price_max: Price,
    pub size_max: Qty,
    /// A median moving more than this is held.
    pub oracle_move_max_ppm: u32,
    /// Oracle and mark at genesis, so that no price is ever absent; stale until publishers report.
    pub initial_price: Price,
}

/// Margin and funding of a perpetual. Fields of rules that come later (funding, liquidation) are final here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PerpetualSpec {
    /// Initial margin fraction.
    pub imf_ppm: u32,
    /// Maintenance = initial x this factor.
    pub mmf_factor_ppm: u32,
    /// Open interest (quote quantums) at which imf starts to rise, and at which it is 1.
    pub open_interest_lower: Amount,
    pub open_interest_upper: Amount,
    /// Open interest cap, base quantums.
    pub open_interest_max: Qty,
    /// Largest |position| including open orders of the same side, base quantums.
    pub position_max: Qty,
    /// Cap of the 8-hour funding rate.
    pub funding_rate_max_ppm: u32,
    pub liquidation_fee_ppm: u32,
    /// Impact notional of the premium sample.
    pub impact_notional: Amount,
}

/// Who may publish prices. [spec exchange, Oracle]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct OracleSpec {
    pub publishers: Vec<StarkKey>,
    /// Publishers with a fresh report before a median is taken.
    pub quorum: u8,
    /// A report older than this does not count towards the quorum.
    pub report_age_max_ms: u64,
    /// No quorum price for this long: the market is stale.
    pub stale_ms: u64,
}

/// Bounds of the engine. Each with its reason in `genesis/schema.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct EngineLimits {
    pub orders_per_account_market: u32,
    /// Live nonces per account, cancels apart. [spec exchange, Replay: 65,536]
    pub nonces_per_account: u32,
    /// Fills one command may make; keeps a block inside the blobs of one transaction.
    pub fills_per_command: u32,
}

/// At most this far ahead may a message's `valid_until` be: orders, modifies, cancels, sessions. [spec exchange, Two times]
pub const VALID_UNTIL_AHEAD_ORDER_MS_MAX: u64 = 120_000;
/// The same for every other message.
pub const VALID_UNTIL_AHEAD_OTHER_MS_MAX: u64 = 86_400_000;
/// A nonce and its outcome are kept this long after `valid_until`. [spec exchange, Replay]
pub const NONCE_KEEP_AFTER_MS: u64 = 60_000;
/// A price report may be dated at most this far ahead. [spec exchange, Oracle]
pub const REPORT_AHEAD_MS_MAX: u64 = 1_000;
/// Largest L2 address a message may name, exclusive: 2^251 - 256. [spec settlement, Messages and money]
pub fn address_bound() -> Felt {
    Felt::TWO.pow(251u32) - Felt::from(256u32)
}

impl Genesis {
    /// BLAKE3 of the canonical encoding.
    pub fn hash(&self) -> Bytes32 {
        Bytes32(*blake3::hash(&borsh::to_vec(self).expect("writing to a Vec cannot fail")).as_bytes())
    }
    /// A market by its wire name.
    pub fn market_id(&self, name: &str) -> Option<MarketId> {
        self.markets.iter().position(|m| m.name == name).map(|i| MarketId(i as u16))
    }
    /// A market's parameters.
    pub fn market(&self, id: MarketId) -> Option<&MarketSpec> {
        self.markets.get(usize::from(id.0))
    }
    /// An asset by its symbol.
    pub fn asset_id(&self, symbol: &str) -> Option<AssetId> {
        self.assets.iter().position(|a| a.symbol == symbol).map(|i| AssetId(i as u16))
    }
    /// An asset's parameters.
    pub fn asset(&self, id: AssetId) -> Option<&AssetSpec> {
        self.assets.get(usize::from(id.0))
    }
    /// The asset a token on the settlement layer stands for.
    pub fn asset_of_token(&self, token: L1Address) -> Option<AssetId> {
        self.assets.iter().position(|a| a.token == token).map(|i| AssetId(i as u16))
    }

    /// Refuses rules under which a fill could overflow or be inexact. [spec exchange, Units: refused at genesis, not discovered in a fill]
    /// The error names the field.
    pub fn check(&self) -> Result<(), String> {
        let fail = |field: String, why: &str| Err(format!("{field}: {why}"));
        if self.assets.is_empty() {
            return fail("assets".into(), "asset 0, the quote asset, is missing");
        }
        for (i, asset) in self.assets.iter().enumerate() {
            if asset.quantums_per_l1_unit == 0 {
                return fail(format!("assets[{i}].l1_decimals"), "more than 8 decimals cannot be represented");
            }
            if asset.deposit_max.0 <= 0 || asset.deposit_max.0 > MONEY_MAX {
                return fail(format!("assets[{i}].deposit_max"), "must be positive and at most 1e12 units");
            }
            if self.assets[..i].iter().any(|other| other.symbol == asset.symbol || other.token == asset.token) {
                return fail(format!("assets[{i}]"), "symbol and token must be unique");
            }
        }
        for (i, market) in self.markets.iter().enumerate() {
            let at = |field: &str| format!("markets[{i}].{field}");
            let (tick, lot) = (market.tick_size.0, market.lot_size.0);
            if tick == 0 || lot == 0 || u128::from(tick) * u128::from(lot) % u128::from(QUANTUMS_PER_UNIT) != 0 {
                return fail(at("tick_size"), "tick_size x lot_size must be a positive multiple of one quantum of quote");
            }
            let notional_max =
                u128::from(market.price_max.0) * u128::from(market.size_max.0) / u128::from(QUANTUMS_PER_UNIT);
            if market.price_max.0 == 0 || market.size_max.0 == 0 || notional_max > MONEY_MAX as u128 {
                return fail(at("price_max"), "price_max x size_max must be positive and at most 1e12 units of quote");
            }
            if !market.price_max.0.is_multiple_of(tick) {
                return fail(at("price_max"), "must be on tick: it can become the limit of a market order");
            }
            if market.initial_price.0 == 0 || market.initial_price > market.price_max {
                return fail(at("initial_price"), "must be positive and at most price_max");
            }
            if market.notional_min.0 <= 0 || market.notional_min > market.notional_max {
                return fail(at("notional_min"), "must be positive and at most notional_max");
            }
            if market.fee_taker_ppm < 0 || market.fee_maker_ppm > 100_000 || market.fee_taker_ppm > 100_000 {
                return fail(at("fee_taker"), "fees are at most 10% and a taker pays no rebate");
            }
            if market.fee_maker_ppm < -market.fee_taker_ppm {
                return fail(at("fee_maker"), "a rebate cannot exceed the taker fee");
            }
            if market.band_ppm == 0 || i128::from(market.band_ppm) >= PPM {
                return fail(at("band"), "must be above 0 and below 1");
            }
            if self.markets[..i].iter().any(|other| other.name == market.name) {
                return fail(at("name"), "must be unique");
            }
            match market.kind {
                MarketKind::Spot { base } if base == QUOTE || self.asset(base).is_none() => {
                    return fail(at("base"), "must be a listed asset other than the quote asset");
                }
                MarketKind::Spot { .. } => {}
                MarketKind::Perpetual(perpetual) => {
                    if perpetual.imf_ppm == 0 || i128::from(perpetual.imf_ppm) > PPM {
                        return fail(at("imf"), "must be above 0 and at most 1");
                    }
                    if perpetual.mmf_factor_ppm == 0 || i128::from(perpetual.mmf_factor_ppm) >= PPM {
                        return fail(at("mmf_factor"), "must be above 0 and below 1");
                    }
                    let position_notional = u128::from(market.price_max.0) * u128::from(perpetual.position_max.0);
                    if perpetual.position_max.0 == 0 || position_notional / u128::from(QUANTUMS_PER_UNIT) > MONEY_MAX as u128
                    {
                        return fail(
                            at("position_max"),
                            "price_max x position_max must be positive and at most 1e12 units of quote",
                        );
                    }
                    if perpetual.open_interest_lower >= perpetual.open_interest_upper {
                        return fail(at("open_interest_lower"), "must be below open_interest_upper");
                    }
                }
            }
        }
        let publishers = self.oracle.publishers.len();
        if self.oracle.quorum == 0 || usize::from(self.oracle.quorum) > publishers || publishers > 255 {
            return fail("oracle.quorum".into(), "must be between 1 and the number of publishers");
        }
        let (fills, calldata) = (self.limits.fills_per_command, self.settlement.layer.is_calldata());
        if fills == 0 || fills > FILLS_PER_COMMAND_MAX {
            return fail("limits.fills_per_command".into(), "must be between 1 and 900");
        }
        if calldata && fills > FILLS_PER_COMMAND_CALLDATA_MAX {
            return fail("limits.fills_per_command".into(), "must be between 1 and 50 where data goes as calldata");
        }
        Ok(())
    }
}

/// Largest amount any single rule may admit: 1e12 units (1e20 quantums), far inside i128 for sums of 2^32 accounts.
pub const MONEY_MAX: i128 = 1_000_000_000_000 * QUANTUMS_PER_UNIT as i128;
/// A command with this many fills still fits a block that was just under its limit. [spec settlement, Blocks]
pub const FILLS_PER_COMMAND_MAX: u32 = 900;
/// The same where data goes to Ethereum as calldata: one transaction takes 4,096 words there, a fill adds up to 18.
pub const FILLS_PER_COMMAND_CALLDATA_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_its_layer_writes_it_and_no_other() {
        let ethereum = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Blobs };
        let starknet = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::ONE) };
        let (forty, bound) = ("f".repeat(40), format!("7{}00", "f".repeat(60)));
        let cases = [
            (ethereum, forty.clone(), true),
            (ethereum, "F".repeat(40), true),
            (ethereum, "0".repeat(40), false),
            (ethereum, format!("0{forty}"), false),
            (ethereum, "1".into(), false),
            (ethereum, format!("1{forty}"), false),
            (starknet, "1".into(), true),
            (starknet, format!("1{forty}"), true),
            (starknet, format!("00{forty}"), true),
            (starknet, format!("7{}feff", "f".repeat(58)), true),
            (starknet, bound, false),
            (starknet, "0".into(), false),
            (starknet, String::new(), false),
            (starknet, "f".repeat(64), false),
            (starknet, format!("0{}", "f".repeat(64)), false),
            (starknet, "+1".into(), false),
        ];
        for (layer, digits, accepted) in cases {
            let read = layer.parse_address(&format!("0x{digits}"));
            assert_eq!(read.is_ok(), accepted, "{layer}: 0x{digits}");
            assert_eq!(layer.parse_address(&digits).ok(), None, "{digits} without its prefix");
            let Ok(address) = read else { continue };
            assert_eq!(layer.parse_address(&address.to_string()), Ok(address), "its own text");
        }
        let address = L1Address(Felt::from(0xabc));
        assert_eq!(address.to_string(), "0x0000000000000000000000000000000000000abc");
        assert!(ethereum.admits(address) && starknet.admits(address));
    }
}

//! A chain of its own for the engine's targets: small bounds are soon reached, and the corpus does not depend on `genesis/dev.json`.

use keel_types::*;

/// One unit in quantums.
pub const UNIT: u64 = QUANTUMS_PER_UNIT;
/// Time of genesis: any instant.
pub const START: Ts = Ts(1_000_000_000_000_000_000);
/// Every market begins at this price.
pub const PRICE: u64 = 100 * UNIT;

/// One spot market and two perpetuals at 100: tick 0.01, lot 0.001, imf 10%, mmf 5%; three publishers, a quorum of two; three fills and
/// four orders at most.
pub fn genesis() -> Genesis {
    let felt = |n: u64| Felt::from(n);
    let units = |n: u64| Amount(i128::from(n) * i128::from(UNIT));
    let asset = |symbol: &str, n: u8, quantums_per_l1_unit: u64| AssetSpec {
        symbol: symbol.into(),
        token: L1Address::ethereum([n; 20]),
        quantums_per_l1_unit,
        deposit_max: units(1_000_000),
    };
    let market = |name: &str, kind, fee_maker_ppm| MarketSpec {
        name: name.into(),
        kind,
        tick_size: Price(UNIT / 100),
        lot_size: Qty(UNIT / 1_000),
        fee_maker_ppm,
        fee_taker_ppm: 500,
        band_ppm: 100_000,
        notional_min: units(1),
        notional_max: units(1_000_000),
        price_max: Price(10_000 * UNIT),
        size_max: Qty(10_000 * UNIT),
        oracle_move_max_ppm: 200_000,
        initial_price: Price(PRICE),
    };
    let perpetual = |liquidation_fee_ppm| {
        MarketKind::Perpetual(PerpetualSpec {
            imf_ppm: 100_000,
            mmf_factor_ppm: 500_000,
            open_interest_lower: units(20_000),
            open_interest_upper: units(100_000),
            open_interest_max: Qty(400 * UNIT),
            position_max: Qty(300 * UNIT),
            funding_rate_max_ppm: 10_000,
            liquidation_fee_ppm,
            impact_notional: units(1_000),
        })
    };
    Genesis {
        chain_id: FeltBytes(felt(1)),
        rules_version: 1,
        ts: START,
        exchange: Address(felt(2)),
        operator: Address(felt(3)),
        fee_token: Address(felt(4)),
        sequencer: Address(felt(5)),
        block_key: StarkKey(felt(6)),
        settlement: SettlementSpec {
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Calldata },
            core: L1Address::ethereum([1; 20]),
            bridge: L1Address::ethereum([2; 20]),
            registry: L1Address::ethereum([3; 20]),
            deposit_depth: 3,
            confirm_depth: 3,
        },
        account_templates: Vec::new(),
        fee_account: Address(felt(0xfee)),
        insurance_account: Address(felt(0x1f)),
        assets: vec![asset("USDC", 10, 100), asset("ETH", 11, 1)],
        markets: vec![
            market("ETH-USDC", MarketKind::Spot { base: AssetId(1) }, 100),
            market("ETH-USDC-PERP", perpetual(10_000), 200),
            market("BTC-USDC-PERP", perpetual(100), -100),
        ],
        oracle: OracleSpec {
            publishers: vec![StarkKey(felt(7)), StarkKey(felt(8)), StarkKey(felt(9))],
            quorum: 2,
            report_age_max_ms: 5_000,
            stale_ms: 10_000,
        },
        limits: EngineLimits { orders_per_account_market: 4, nonces_per_account: 64, fills_per_command: 3 },
    }
}

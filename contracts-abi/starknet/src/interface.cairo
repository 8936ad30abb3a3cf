//! The calls and views of the exchange class.

use keel::layout::{
    Account, Asset, Funding, Incident, Market, PhaseState, Position, Price, Rules, SessionKey, Totals
};
use starknet::ContractAddress;

/// One match, at the maker's price. Fees are negative for a rebate; realised profit is 0 on spot.
#[derive(Copy, Drop, Serde)]
struct Fill {
    trade: u64,
    price: u64,
    size: u64,
    /// 0 = the taker buys, 1 = the taker sells.
    taker_side: u8,
    maker: ContractAddress,
    maker_order: felt252,
    maker_fee: felt252,
    maker_pnl: felt252,
    taker: ContractAddress,
    taker_order: felt252,
    taker_fee: felt252,
    taker_pnl: felt252,
}

/// The new balance of an account.
#[derive(Copy, Drop, Serde)]
struct BalanceUpdate {
    account: ContractAddress,
    asset: u16,
    amount: felt252,
}

/// The new position of an account.
#[derive(Copy, Drop, Serde)]
struct PositionUpdate {
    account: ContractAddress,
    market: u16,
    size: felt252,
    cost: felt252,
    funding_index: felt252,
}

/// The new funding index and pool of a market.
#[derive(Copy, Drop, Serde)]
struct FundingUpdate {
    market: u16,
    index: felt252,
    pool: felt252,
}

/// The new prices of a market.
#[derive(Copy, Drop, Serde)]
struct PriceUpdate {
    market: u16,
    oracle: u64,
    mark: u64,
}

/// Parameters of an asset, as listed.
#[derive(Copy, Drop, Serde)]
struct AssetParameters {
    symbol: felt252,
    token: felt252,
    quantums_per_l1_unit: u64,
    deposit_max: u128,
}

/// Parameters of a market, as listed: the words of `Market` after its version, decoded.
#[derive(Copy, Drop, Serde)]
struct MarketParameters {
    name: felt252,
    kind: u8,
    base_asset: u16,
    tick_size: u64,
    lot_size: u64,
    fee_maker: felt252,
    fee_taker: felt252,
    band: u32,
    notional_min: u128,
    notional_max: u128,
    price_max: u64,
    size_max: u64,
    oracle_move_max: u32,
    initial_price: u64,
    imf: u32,
    mmf_factor: u32,
    open_interest_lower: u128,
    open_interest_upper: u128,
    open_interest_max: u64,
    position_max: u64,
    funding_rate_max: u32,
    liquidation_fee: u32,
    impact_notional: u128,
}

/// Calls of the operator: what the node's transactions carry. Every one asserts that the operator calls.
#[starknet::interface]
trait IOperator<TContractState> {
    fn list_asset(ref self: TContractState, asset: u16, parameters: AssetParameters);
    fn list_market(ref self: TContractState, market: u16, parameters: MarketParameters);
    fn register(
        ref self: TContractState, account: ContractAddress, key: felt252, template: u8
    );
    fn set_session_key(
        ref self: TContractState,
        account: ContractAddress,
        key: felt252,
        expiry: u64,
        scope: felt252,
        markets: Array<u16>,
        max_order_notional: u128
    );
    fn revoke_session_key(
        ref self: TContractState, account: ContractAddress, key: felt252, seq: u64
    );
    fn settle_fills(
        ref self: TContractState,
        market: u16,
        fills: Array<Fill>,
        balances: Array<BalanceUpdate>,
        positions: Array<PositionUpdate>,
        funding: Array<FundingUpdate>
    );
    fn set_funding(ref self: TContractState, funding: Array<FundingUpdate>);
    fn set_prices(ref self: TContractState, prices: Array<PriceUpdate>, ts: u64);
    fn transfer(
        ref self: TContractState,
        sender: ContractAddress,
        recipient: ContractAddress,
        asset: u16,
        amount: u128,
        message_hash: felt252
    );
    fn withdraw(
        ref self: TContractState,
        account: ContractAddress,
        asset: u16,
        amount: u128,
        recipient: felt252,
        withdrawal: u64,
        message_hash: felt252
    );
    fn enter_safe_mode(
        ref self: TContractState,
        incident: u32,
        reasons: u32,
        observed_ts: u64,
        seq: u64,
        cancelled: u32,
        cancel_root: felt252,
        since: u64
    );
    fn set_phase(
        ref self: TContractState,
        incident: u32,
        phase: u8,
        since: u64,
        integrity_report_low: u128,
        integrity_report_high: u128
    );
}

/// Views. Each panics with MISSING when the record was never written.
#[starknet::interface]
trait IViews<TContractState> {
    fn get_version(self: @TContractState) -> felt252;
    fn get_rules(self: @TContractState) -> Rules;
    fn get_publisher(self: @TContractState, index: u8) -> felt252;
    fn get_account(self: @TContractState, account: ContractAddress) -> Account;
    fn get_session_key(
        self: @TContractState, account: ContractAddress, key: felt252
    ) -> SessionKey;
    fn get_session_market(
        self: @TContractState, account: ContractAddress, key: felt252, index: u16
    ) -> u16;
    /// Signed quantums; an account that never held the asset has none (MISSING).
    fn get_balance(self: @TContractState, account: ContractAddress, asset: u16) -> felt252;
    fn get_position(
        self: @TContractState, account: ContractAddress, market: u16
    ) -> Position;
    fn get_asset_count(self: @TContractState) -> u16;
    fn get_asset(self: @TContractState, asset: u16) -> Asset;
    fn get_market_count(self: @TContractState) -> u16;
    fn get_market(self: @TContractState, market: u16) -> Market;
    fn get_funding(self: @TContractState, market: u16) -> Funding;
    fn get_price(self: @TContractState, market: u16) -> Price;
    fn get_totals(self: @TContractState, asset: u16) -> Totals;
    fn is_message_consumed(self: @TContractState, message_nonce: u64) -> bool;
    fn get_withdrawal_count(self: @TContractState) -> u64;
    fn get_phase(self: @TContractState) -> PhaseState;
    fn get_incident(self: @TContractState, incident: u32) -> Incident;
}

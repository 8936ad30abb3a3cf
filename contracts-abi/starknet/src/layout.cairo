//! The words and records of the exchange's storage. The variables they stand in are listed in `exchange.cairo`.
//!
//! No stored word is ever zero, since zero means "absent" in the state trie. There are three kinds of words:
//! - `Word`: a value that cannot be zero (a key, an address, a price, the version of a record), stored as it is;
//! - `Count`: an unsigned number that may be zero, stored as x + 1;
//! - `Signed`: a signed number, stored as x + 2^127.
//! Reading an absent word panics with MISSING: a lost value is never taken for zero.
//! A record is a struct in consecutive slots, and leads with its version. Where a word may rightly be absent, it says so.

use option::OptionTrait;
use starknet::StorePacking;
use traits::{Into, TryInto};

/// A value that is never zero, stored as it is.
#[derive(Copy, Drop, Serde)]
struct Word {
    value: felt252
}

/// An unsigned number, stored as x + 1.
#[derive(Copy, Drop, Serde)]
struct Count {
    value: u128
}

/// A signed number (a felt; negative ones are below zero modulo the prime), stored as x + 2^127; |x| < 2^127.
#[derive(Copy, Drop, Serde)]
struct Signed {
    value: felt252
}

const TWO_POW_127: felt252 = 0x80000000000000000000000000000000;

impl WordPacking of StorePacking<Word, felt252> {
    fn pack(value: Word) -> felt252 {
        assert(value.value != 0, 'ZERO_WORD');
        value.value
    }
    fn unpack(value: felt252) -> Word {
        assert(value != 0, 'MISSING');
        Word { value }
    }
}

impl CountPacking of StorePacking<Count, felt252> {
    fn pack(value: Count) -> felt252 {
        value.value.into() + 1
    }
    fn unpack(value: felt252) -> Count {
        assert(value != 0, 'MISSING');
        Count { value: (value - 1).try_into().expect('BAD_COUNT') }
    }
}

impl SignedPacking of StorePacking<Signed, felt252> {
    fn pack(value: Signed) -> felt252 {
        let stored: u128 = (value.value + TWO_POW_127).try_into().expect('SIGNED_RANGE');
        assert(stored != 0, 'SIGNED_RANGE');
        stored.into()
    }
    fn unpack(value: felt252) -> Signed {
        assert(value != 0, 'MISSING');
        Signed { value: value - TWO_POW_127 }
    }
}

/// Money and quantities are integers in quantums of 1e-8; prices are quote quantums for one base unit; rates are parts in
/// a million; times are nanoseconds since the Unix epoch; asset 0 is the quote asset.
#[derive(Copy, Drop, Serde, starknet::Store)]
struct Account {
    version: Word,
    /// Main Stark key, x coordinate.
    key: Word,
    /// Index of the account template in genesis.
    template: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct SessionKey {
    version: Word,
    expiry: Count,
    /// Bits: 1 = trade.
    scope: Word,
    /// Markets the key may trade, listed in `session_markets`; 0 = all.
    market_count: Count,
    /// 0 = unlimited.
    max_order_notional: Count,
    /// Sequence number at which the key was revoked; 0 = it was not.
    revoked_seq: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Position {
    version: Word,
    size: Signed,
    cost: Signed,
    /// Funding index when funding was last realised.
    funding_index: Signed,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Asset {
    version: Word,
    /// Short string.
    symbol: Word,
    /// Token on the settlement layer.
    token: Word,
    /// Quantums in one unit of that token.
    quantums_per_l1_unit: Word,
    /// Most quantums one deposit may bring.
    deposit_max: Word,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Market {
    version: Word,
    /// Short string.
    name: Word,
    /// 1 = spot, 2 = perpetual.
    kind: Word,
    /// Asset id; 65535 for a perpetual.
    base_asset: Count,
    tick_size: Word,
    lot_size: Word,
    fee_maker: Signed,
    fee_taker: Signed,
    band: Word,
    notional_min: Word,
    notional_max: Word,
    price_max: Word,
    size_max: Word,
    oracle_move_max: Count,
    initial_price: Word,
    // The rest is zero for a spot market.
    imf: Count,
    mmf_factor: Count,
    open_interest_lower: Count,
    open_interest_upper: Count,
    open_interest_max: Count,
    position_max: Count,
    funding_rate_max: Count,
    liquidation_fee: Count,
    impact_notional: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Funding {
    version: Word,
    /// Quote quantums per base unit.
    index: Signed,
    /// The market's funding pool.
    pool: Signed,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Price {
    version: Word,
    oracle: Word,
    mark: Word,
    ts: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Totals {
    version: Word,
    deposited: Signed,
    withdrawn: Signed,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct PhaseState {
    version: Word,
    /// 0 HALTED, 1 READ_ONLY, 2 SPOT, 3 REDUCE_ONLY, 4 OPEN.
    phase: Count,
    /// 0 = none.
    incident: Count,
    since: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Incident {
    version: Word,
    /// Bit set, in the order of the list of reasons.
    reasons: Count,
    observed_ts: Count,
    seq: Count,
    /// Orders that were cancelled.
    cancelled: Count,
    /// Root of the Merkle tree over them; 'NONE' when there were none.
    cancel_root: Word,
    /// Hash of the integrity report that opened SPOT; 0 until then.
    integrity_report_low: Count,
    integrity_report_high: Count,
}

#[derive(Copy, Drop, Serde, starknet::Store)]
struct Rules {
    version: Word,
    rules_version: Word,
    /// EIP-155 id of the settlement layer.
    settlement_chain_id: Word,
    /// The only account that may call this contract.
    operator: Word,
    /// The only contract on the settlement layer whose messages count.
    bridge: Word,
    fee_account: Word,
    insurance_account: Word,
    /// Publishers with a fresh report before a median is taken.
    quorum: Word,
    publisher_count: Word,
    report_age_max_ms: Count,
    stale_ms: Count,
}

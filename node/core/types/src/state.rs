use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};

/// One write of **chain state**: what the block's state diff and the root cover. Money and rules, not the order book.
///
/// Each carries the whole new value, so a block's diff is the last write of each key. How it is laid out as contract
/// storage, and why no stored value can be zero, is the business of `contracts-abi` (the Cairo `exchange` class).
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum StateWrite {
    Account {
        account: Address,
        key: StarkKey,
        template: u8,
    },
    Balance {
        account: Address,
        asset: AssetId,
        amount: Amount,
    },
    Position {
        account: Address,
        market: MarketId,
        position: PositionValue,
    },
    /// Funding index (quote quantums per base unit) and the market's funding pool F.
    Funding {
        market: MarketId,
        index: Amount,
        pool: Amount,
    },
    /// Prices in use.
    Price {
        market: MarketId,
        oracle: Price,
        mark: Price,
        ts: Ts,
    },
    /// Everything ever deposited and withdrawn of an asset, in quantums. [spec exchange, Conservation]
    Totals {
        asset: AssetId,
        deposited: Amount,
        withdrawn: Amount,
    },
    /// A message of the settlement layer was consumed.
    MessageConsumed {
        message_nonce: u64,
    },
    /// The last withdrawal's number.
    WithdrawalCount {
        count: u64,
    },
    Phase {
        phase: Phase,
        incident: IncidentId,
        since: Ts,
    },
    Incident(IncidentValue),
    /// Genesis and market updates.
    Market(MarketId),
    Asset(AssetId),
    /// Rules version, publishers, fee and insurance accounts: written once, at genesis.
    Rules,
    SessionKey {
        account: Address,
        key: StarkKey,
        terms: SessionTerms,
        /// Command that ended it; 0 while it may be used.
        revoked: Seq,
    },
}

/// What a session key may do: trade, until a time, within bounds. [spec exchange, Accounts and keys]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SessionTerms {
    pub expiry: Ts,
    /// Rising; empty: all markets.
    pub markets: Vec<MarketId>,
    /// Largest notional of one order, quote quantums; 0: the market's own bound.
    pub max_order_notional: Amount,
}

/// A position as the chain stores it. [spec exchange, Perpetuals]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct PositionValue {
    /// Signed base quantums.
    pub size: i128,
    /// Signed quote quantums paid for it.
    pub cost: i128,
    /// Funding index when funding was last realised.
    pub funding_index: i128,
}

/// An incident as the chain stores it. The cancel root is added off the sequencing thread. [spec safe-mode]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct IncidentValue {
    pub incident: IncidentId,
    pub reasons: LossReasons,
    pub observed_ts: Ts,
    pub seq: Seq,
    pub cancelled: u32,
    /// Hash of the integrity report that opened SPOT; zero until then.
    pub integrity_report: Bytes32,
}

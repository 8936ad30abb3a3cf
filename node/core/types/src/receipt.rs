use crate::order::text_enum;
use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

text_enum! {
    /// Steps of a liquidation. [spec exchange, Liquidation]
    LiquidationStep {
        /// All orders of the account are cancelled.
        Cancel = "CANCEL",
        /// Part of all positions is closed on the book.
        Close = "CLOSE",
        /// The insurance fund takes the account over at mark.
        TakeOver = "TAKE_OVER",
        /// Opposite positions are closed against it at the bankruptcy price.
        Deleverage = "DELEVERAGE",
    }
}

/// One step of a liquidation: what it was decided on and what was decided. `keel receipt recompute` derives the second from the first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct LiquidationReceipt {
    pub account: Address,
    /// Tries at closing on the book before this one.
    pub attempts: u8,
    /// The account before the step.
    pub inputs: MarginInputs,
    /// The insurance fund before the step, where the step looks at it.
    pub fund: Option<MarginInputs>,
    pub decision: LiquidationDecision,
}

/// What one step decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub enum LiquidationDecision {
    Cancel {
        /// Orders cancelled.
        count: u32,
    },
    Close {
        /// Fifths of every position that are closed.
        fifths: u8,
        orders: Vec<CloseOrder>,
        /// Account value after the fills and before the fee, at least 0: what caps it.
        equity_left: Amount,
        /// Quote quantums charged in all, to the insurance fund.
        fee: Amount,
    },
    TakeOver {
        /// Quote quantums the account kept after its positions were taken at mark and the fee.
        left: Amount,
        /// Quote quantums charged, to the insurance fund.
        fee: Amount,
        /// Quote quantums the fund paid for what the account owed.
        deficit: Amount,
    },
    Deleverage {
        market: MarketId,
        side: Side,
        /// The bankruptcy price, to the tick.
        price: Price,
        /// Base quantums closed in all.
        size: Qty,
        shares: Vec<DeleverageShare>,
        /// What counterparties had: every profitable opposite position, by address.
        candidates: Vec<DeleverageCandidate>,
    },
}

/// One closing order of step 2, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct CloseOrder {
    pub market: MarketId,
    pub side: Side,
    pub size: Qty,
    /// The bankruptcy price, to the tick.
    pub limit: Price,
    pub filled: Qty,
    /// Quote quantums traded.
    pub quote: Amount,
}

/// An opposite position and what its weight is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct DeleverageCandidate {
    pub account: Address,
    /// Signed base quantums.
    pub size: Amount,
    pub cost: Amount,
    /// Unrealised result with funding, quote quantums.
    pub profit: Amount,
    /// Account value, quote quantums.
    pub value: Amount,
}

/// What one account gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct DeleverageShare {
    pub account: Address,
    pub size: Qty,
}

/// Everything an account's margin is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct MarginInputs {
    /// Quote balance less spot reservations, quantums.
    pub collateral: Amount,
    /// Markets with a position, by number.
    pub markets: Vec<MarketInputs>,
}

/// One market's part in [MarginInputs].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct MarketInputs {
    pub market: MarketId,
    /// Signed base quantums.
    pub size: Amount,
    pub cost: Amount,
    pub entry_index: Amount,
    pub funding_index: Amount,
    pub mark: Price,
    /// Initial margin fraction in use.
    pub imf_ppm: u32,
    pub mmf_ppm: u32,
    /// Provision for the fee of closing.
    pub fee_ppm: i32,
    pub liquidation_fee_ppm: u32,
    pub tick_size: Price,
    pub lot_size: Qty,
    pub price_max: Price,
}

use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What happened. The engine's only output beside [StateWrite]s; closed; borsh tags are final, new events are appended.
///
/// A user's command always yields exactly one of: [Event::Rejected], [Event::Replayed], or the events of its success.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Event {
    Registered {
        account: Address,
        key: StarkKey,
        template: u8,
    },
    /// The command was refused. `nonce_consumed`: whether its nonce is now used. [spec exchange, Replay]
    Rejected {
        account: Address,
        hash: MessageHash,
        reject: Reject,
        nonce_consumed: bool,
    },
    /// The identical message came before: its recorded outcome, nothing else happened.
    Replayed {
        account: Address,
        hash: MessageHash,
        outcome: Outcome,
    },
    /// A transition of an order.
    Order(OrderUpdate),
    Fill(Fill),
    /// A cancel command succeeded for `count` orders; each has an [Event::Order] before this.
    Cancelled {
        account: Address,
        hash: MessageHash,
        count: u32,
    },
    Withdrawn(Withdrawal),
    Deposited {
        account: Address,
        asset: AssetId,
        amount: Amount,
        message_nonce: u64,
    },
    /// A deposit that cannot be credited; it stays on the settlement contract, refundable there.
    DepositRefused {
        message_nonce: u64,
        reject: Reject,
    },
    /// A new median, taken into use: oracle and mark of the market.
    Price {
        market: MarketId,
        oracle: Price,
        mark: Price,
    },
    /// A report was discarded for good. [spec exchange, Oracle]
    ReportDiscarded {
        publisher: u8,
        market: MarketId,
        price: Price,
        ts: Ts,
        reason: ReportDiscard,
    },
    /// A median moved more than `max_move` and is held until confirmed.
    PriceHeld {
        market: MarketId,
        median: Price,
    },
    BlockSealed {
        height: Height,
    },
    BatchConfirmed {
        batch: BatchId,
    },
    SafeModeEntered {
        incident: IncidentId,
        reasons: LossReasons,
        cancelled: u32,
    },
    PhaseChanged {
        incident: IncidentId,
        from: Phase,
        to: Phase,
    },
    Resumed {
        incident: IncidentId,
        operator: u8,
    },
    /// A command of the node itself was refused; two of its parts disagree.
    SystemRejected {
        reject: Reject,
    },
    SessionKeySet {
        account: Address,
        key: StarkKey,
        terms: SessionTerms,
    },
    SessionKeyRevoked {
        account: Address,
        key: StarkKey,
        seq: Seq,
    },
    SessionOpened {
        account: Address,
        hash: MessageHash,
    },
    /// The account's dead man's switch; 0: taken back.
    CancelScheduled {
        account: Address,
        at: Ts,
    },
    Transferred {
        account: Address,
        recipient: Address,
        asset: AssetId,
        amount: Amount,
        hash: MessageHash,
    },
    /// An order was triggered and then refused; an [Event::Order] that ends it follows.
    TriggerRefused {
        order: MessageHash,
        account: Address,
        reject: Reject,
    },
    /// Funding of a market accrued. [spec exchange, Oracle, mark, funding]
    Funding {
        market: MarketId,
        /// Rate from now on, 1e-8 per 8 hours.
        rate: i64,
        /// Quote quantums per base unit, accrued since genesis.
        index: Amount,
        /// Accrued up to then.
        ts: Ts,
    },
    /// One step of a liquidation, with everything needed to recompute it. [spec exchange, Liquidation]
    Liquidation(Box<LiquidationReceipt>),
    /// What was left of a cancelled order is placed again, as a new order; what came of that follows.
    OrderRestored {
        account: Address,
        /// The message that asked for it.
        hash: MessageHash,
        incident: IncidentId,
        /// As it was cancelled.
        order: MessageHash,
        /// The order that takes its place: [RestoreOrders::order_restored].
        restored: MessageHash,
    },
    /// A message that restores orders could not restore this one, which may be tried again.
    RestoreRefused {
        account: Address,
        hash: MessageHash,
        order: MessageHash,
        reject: Reject,
    },
}

/// One transition of one order. [spec exchange, Orders]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct OrderUpdate {
    pub order: MessageHash,
    pub account: Address,
    pub market: MarketId,
    pub side: Side,
    pub price: Price,
    pub client_id: u128,
    pub state: OrderState,
    pub reason: Reason,
    pub initiator: Initiator,
    /// Total size, fills included.
    pub size: Qty,
    pub filled: Qty,
    /// Incident of a SAFE_MODE cancel, else 0.
    pub incident: IncidentId,
}

impl OrderUpdate {
    /// What had not been filled.
    pub fn remaining(&self) -> Qty {
        Qty(self.size.0 - self.filled.0)
    }
}

/// One match, at the maker's price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Fill {
    pub market: MarketId,
    pub trade: TradeId,
    pub price: Price,
    pub size: Qty,
    pub taker_side: Side,
    pub maker: FillSide,
    pub taker: FillSide,
}

/// One party of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct FillSide {
    pub account: Address,
    pub order: MessageHash,
    /// Quote quantums charged (negative: a rebate).
    pub fee: Amount,
    /// Quote quantums realised by a reduction of a position; 0 on spot.
    pub realized_pnl: Amount,
}

/// A withdrawal: debited here, claimable on the settlement layer once its batch is confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Withdrawal {
    /// Contiguous from 1.
    pub id: u64,
    pub account: Address,
    pub asset: AssetId,
    /// Quantums debited.
    pub amount: Amount,
    /// The same in units of the token on the settlement layer, as the message carries it.
    pub l1_amount: u128,
    pub token: L1Address,
    pub recipient: L1Address,
    pub hash: MessageHash,
}

/// What became of a user's command, as first answered; kept with its nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Outcome {
    pub seq: Seq,
    pub ts: Ts,
    pub result: OutcomeResult,
}

/// See [Outcome].
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum OutcomeResult {
    Rejected(Reject),
    /// State right after the command, and the quote quantums traded by it.
    Order {
        state: OrderState,
        reason: Reason,
        size: Qty,
        filled: Qty,
        quote_filled: Amount,
    },
    Cancelled {
        count: u32,
    },
    Registered,
    Withdrawn {
        id: u64,
    },
    SessionKeySet,
    SessionKeyRevoked,
    SessionOpened,
    /// The dead man's switch now stands at this time; 0: taken back.
    Scheduled {
        at: Ts,
    },
    Transferred,
    /// Orders placed again, and orders that could not be.
    Restored {
        restored: u32,
        refused: u32,
    },
}

crate::order::text_enum! {
    /// Why a price report was discarded for good.
    ReportDiscard {
        NotPositive = "NOT_POSITIVE",
        FromTheFuture = "FROM_THE_FUTURE",
        NotNewer = "NOT_NEWER",
        UnknownPublisher = "UNKNOWN_PUBLISHER",
        UnknownMarket = "UNKNOWN_MARKET",
        /// Above the market's `price_max`: amounts at such a price could overflow.
        AboveMaximum = "ABOVE_MAXIMUM",
    }
}

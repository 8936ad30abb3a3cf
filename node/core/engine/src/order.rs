use borsh::{BorshDeserialize, BorshSerialize};
use keel_book::OrderHandle;
use keel_ledger::OpenOrder;
use keel_types::*;

/// Time priority of an order, which no other has: the command that put it where it is, and which of the orders it put there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Turn(u64);

impl Turn {
    /// Before every other.
    pub const FIRST: Turn = Turn(0);

    pub fn new(seq: Seq, n: usize) -> Turn {
        const { assert!(RESTORE_ORDERS_MAX <= 128) }
        assert!(n < 128 && seq.0 < 1 << 57, "a command places few orders");
        Turn(seq.0 << 7 | n as u64)
    }
}

/// An open order: resting, or waiting for its trigger. A resting one's place in the queue is the book's; this is everything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    pub hash: MessageHash,
    /// Index of the account.
    pub account: u32,
    pub market: MarketId,
    pub side: Side,
    /// Limit price; 0 only while untriggered, for a market type without a worst price.
    pub price: Price,
    pub size: Qty,
    pub filled: Qty,
    pub client_id: u128,
    pub reduce_only: bool,
    pub order_type: OrderType,
    pub time_in_force: TimeInForce,
    pub self_trade: SelfTradeMode,
    pub trigger_price: Price,
    pub good_til: Ts,
    /// A trigger, and a modify that gives up its place, renew it.
    pub turn: Turn,
    /// Whether the slot holds a resting order: in the book, counted in margin, reserved for.
    pub live: bool,
    /// Whether it holds one that waits for its trigger: in no book, and nothing is reserved for it.
    pub untriggered: bool,
    /// Set once installed in the book.
    pub handle: Option<OrderHandle>,
}

impl Order {
    pub fn remaining(&self) -> Qty {
        Qty(self.size.0 - self.filled.0)
    }

    pub fn open_order(&self) -> OpenOrder {
        OpenOrder { side: self.side, price: self.price, reduce_only: self.reduce_only }
    }

    /// Resting or untriggered.
    pub fn is_open(&self) -> bool {
        self.live || self.untriggered
    }

    /// Whether its end has come: it never trades again, even when nobody has taken it out yet.
    pub fn is_expired(&self, now: Ts) -> bool {
        self.good_til != Ts(0) && self.good_til <= now
    }

    pub fn open_state(&self) -> OrderState {
        if self.untriggered {
            return OrderState::Untriggered;
        }
        if self.filled.is_zero() { OrderState::Open } else { OrderState::PartiallyFilled }
    }
}

/// Whether an order of `side` with `limit` trades at `price`.
pub(crate) fn reaches(side: Side, limit: Price, price: Price) -> bool {
    match side {
        Side::Buy => limit >= price,
        Side::Sell => limit <= price,
    }
}

/// Whether orders of the type wait for the mark.
pub(crate) fn is_trigger(order_type: OrderType) -> bool {
    triggered_type(order_type) != order_type
}

/// What an order of the type is once triggered.
pub(crate) fn triggered_type(order_type: OrderType) -> OrderType {
    match order_type {
        OrderType::Limit | OrderType::StopLimit | OrderType::TakeProfitLimit => OrderType::Limit,
        OrderType::Market | OrderType::StopMarket | OrderType::TakeProfitMarket => OrderType::Market,
    }
}

/// Whether it fires at a mark at or above its trigger price: a stop buy, a take-profit sell. The others fire at or below.
pub(crate) fn fires_above(order_type: OrderType, side: Side) -> bool {
    let stop = matches!(order_type, OrderType::StopLimit | OrderType::StopMarket);
    stop == (side == Side::Buy)
}

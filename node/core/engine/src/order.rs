use keel_book::OrderHandle;
use keel_ledger::OpenOrder;
use keel_types::*;

/// A resting order. Its place in the queue is the book's; this is everything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    pub hash: MessageHash,
    /// Index of the account.
    pub account: u32,
    pub market: MarketId,
    pub side: Side,
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
    /// Command that placed it: its time priority.
    pub seq: Seq,
    /// Whether the slot holds an open order.
    pub live: bool,
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

    pub fn open_state(&self) -> OrderState {
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

use super::cancel::Ending;
use super::place::{Origin, check_notional, check_numbers};
use super::signed::{Scope, Terms};
use crate::Engine;
use crate::order::Order;
use keel_types::*;

impl Engine {
    /// New limit price and total size of an open order, which keeps its id. [spec exchange, Orders: modify]
    ///
    /// Less size at the same price keeps the place in the queue. Anything else gives it up: what is left to fill is checked, matched and
    /// rests like a new order. A refusal leaves the order as it was.
    pub(crate) fn modify(&mut self, c: &ModifyOrder) {
        self.signed(&c.signed, Terms::ORDER, |engine, account| engine.modify_order(c, account));
    }

    fn modify_order(&mut self, c: &ModifyOrder, account: u32) -> Result<OutcomeResult, Reject> {
        if self.now.phase.phase < Phase::Spot {
            return Err(Reject::PhaseForbids);
        }
        let slot = self.open_order(account, &c.order)?;
        let old = *self.orders.get(slot);
        if old.is_expired(self.now.ts) {
            return Err(Reject::OrderNotOpen);
        }
        // As a new order of the whole size, its own type where it still waits.
        let order_type = if old.untriggered { old.order_type } else { OrderType::Limit };
        let trigger_price = if old.untriggered { old.trigger_price } else { Price(0) };
        let whole = PlaceOrder { size: c.size, price: c.price, order_type, trigger_price, ..self.as_command(&old) };
        let spec = self.rules.market(old.market);
        self.session_allows(&c.signed, account, Scope::Order(old.market, self.order_notional(&whole)))?;
        if (c.price, c.size) == (old.price, old.size) {
            return Err(Reject::NothingToModify);
        }
        check_numbers(&whole, spec)?;
        // With nothing left to fill it would be a cancel under another name.
        if c.size <= old.filled {
            return Err(Reject::SizeBelowFilled);
        }
        check_notional(&whole, spec, self.order_notional(&whole))?;
        if old.untriggered || (c.price == old.price && c.size < old.size) {
            return Ok(self.modify_in_place(slot, &old, c));
        }

        let before = self.margin(account);
        self.take_out(slot);
        let rest = PlaceOrder { size: Qty(c.size.0 - old.filled.0), ..whole };
        let taker = self.check_order(&rest, account, Origin::Modified { slot, filled: old.filled })?;
        self.execute(&taker, Some(before))
    }

    /// Less of a resting order, or anything of one that waits for its trigger.
    fn modify_in_place(&mut self, slot: u32, old: &Order, c: &ModifyOrder) -> OutcomeResult {
        if old.live {
            self.checkpoint();
            self.release_down_to(old, Qty(c.size.0 - old.filled.0));
        }
        let order = self.orders.edit(slot);
        order.price = c.price;
        order.size = c.size;
        let (state, filled) = (order.open_state(), order.filled);
        let reason = Reason::Modified;
        self.order_event(slot, state, Ending::new(reason, Initiator::User));
        OutcomeResult::Order { state, reason, size: c.size, filled, quote_filled: Amount(0) }
    }
}

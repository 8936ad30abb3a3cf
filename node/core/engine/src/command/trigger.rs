use super::cancel::Ending;
use super::place::{Origin, check_notional, check_numbers, is_killed};
use crate::Engine;
use crate::order::{Order, triggered_type};
use keel_types::*;

impl Engine {
    /// A new order that waits for the mark. It is in no book and reserves nothing; it counts among the account's orders. What needs
    /// money, the band or a position is asked when it is triggered. One whose price the mark has already reached fires at once.
    pub(super) fn place_untriggered(&mut self, c: &PlaceOrder, account: u32) -> Result<OutcomeResult, Reject> {
        let spec = self.rules.market(c.market);
        if !self.phase_allows(c, spec) {
            return Err(Reject::PhaseForbids);
        }
        check_numbers(c, spec)?;
        check_notional(c, spec, self.order_notional(c))?;
        self.check_limits(c, account, Origin::New, true)?;

        let slot = self.add_order(account, c);
        self.orders.edit(slot).untriggered = true;
        self.holdings.edit(account).market_mut(c.market).orders += 1;
        self.order_event(slot, OrderState::Untriggered, Ending::new(Reason::None, Initiator::User));
        Ok(OutcomeResult::Order {
            state: OrderState::Untriggered,
            reason: Reason::None,
            size: c.size,
            filled: Qty(0),
            quote_filled: Amount(0),
        })
    }

    /// The mark has reached an order: it is placed like a new one, under the same id and the same checks. [spec exchange, Orders]
    ///
    /// A reduce-only order shrinks to what there is to reduce. A refusal ends it, and everything else it did is dropped.
    pub(super) fn trigger(&mut self, slot: u32) {
        self.stage_triggered(slot);
        let order = *self.orders.get(slot);
        let mut c = self.as_command(&order);
        if order.reduce_only {
            let reducible = self.holdings.get(order.account).market(order.market).reducible(order.side);
            c.size = Qty(i128::from(c.size.0).min(reducible) as u64);
            if c.size.is_zero() {
                let ending = Ending::new(Reason::ReduceOnly, Initiator::Risk);
                return self.order_event(slot, OrderState::Cancelled, ending);
            }
        }
        let taker = self.check_order(&c, order.account, Origin::Triggered { slot });
        let reject = match taker.and_then(|taker| self.execute(&taker, None)) {
            Ok(outcome) if is_killed(&outcome) => None,
            Ok(_) => return,
            Err(reject) => Some(reject),
        };
        self.begin_tick();
        self.stage_triggered(slot);
        let reason = match reject {
            None => Reason::FillOrKill,
            Some(reject) => {
                let account = self.address(order.account);
                self.plan.events.push(Event::TriggerRefused { order: order.hash, account, reject });
                Reason::TriggerRefused
            }
        };
        self.order_event(slot, OrderState::Cancelled, Ending::new(reason, Initiator::Engine));
    }

    /// It waits no more, and says so.
    fn stage_triggered(&mut self, slot: u32) {
        self.take_out(slot);
        self.order_event(slot, OrderState::Triggered, Ending::new(Reason::Triggered, Initiator::Engine));
    }

    /// An order as the command that would place it now. Nothing signed it; its hash is its id.
    pub(super) fn as_command(&self, order: &Order) -> PlaceOrder {
        let signed = Signed {
            account: self.address(order.account),
            nonce: 0,
            valid_until: Ts(0),
            hash: order.hash,
            session_key: StarkKey::default(),
        };
        PlaceOrder {
            signed,
            market: order.market,
            side: order.side,
            order_type: triggered_type(order.order_type),
            size: order.remaining(),
            price: order.price,
            trigger_price: Price(0),
            time_in_force: order.time_in_force,
            good_til: order.good_til,
            reduce_only: order.reduce_only,
            self_trade: order.self_trade,
            client_id: order.client_id,
        }
    }
}
